# SPDX-License-Identifier: Apache-2.0
"""Settlement of a sale: dollars into tenge at a recorded official rate.

A rate is exact: a decimal over its quant; the transfer notes which day's rate was used. Where the bank credits another amount
than the rate gives, the difference is booked as exchange gain or loss.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from typing import Any, Protocol
from uuid import UUID

from kernel.money import Unit
from treasury.account import Account
from treasury.exchange import CLEARING_CENT, Trade, order_transfer_id, venue_accounts
from treasury.transfer import Transfer

CLEARING_TIYN = "Equity:Clearing:FX:TIYN"
BANK = "Assets:Bank:Tenge"
FX_RESULT = "Income:FX-Difference"
DAYS_BACK_MOST = 14


@dataclass(frozen=True, slots=True)
class RecordedRate:
    """Tenge for `quant` of a currency. `published`: day of the table; `asked`: day for which it is used."""

    currency: str
    value: str
    quant: int
    published: date
    asked: date
    source: str
    raw: bytes

    @property
    def per_one(self) -> Fraction:
        return Fraction(self.value) / self.quant

    @property
    def rule(self) -> str:
        """Rule by which the day was chosen, as text."""
        if self.published == self.asked:
            return "rate of the day"
        return f"no rate for {self.asked}: the previous published, of {self.published}"

    def to_json(self, evidence: str) -> dict[str, Any]:
        return {
            "pair": f"{self.currency}/KZT", "value": self.value, "quant": self.quant, "published": str(self.published),
            "asked": str(self.asked), "rule": self.rule, "source": self.source, "evidence": evidence,
        }  # fmt: skip


class RateFeed(Protocol):
    """Official rates by the day. Raises TransportError or DecodeError."""

    async def rate(self, currency: str, day: date) -> RecordedRate | None:
        """Rate published for exactly that day, or None where the table has none."""


async def rate_for(feed: RateFeed, currency: str, day: date) -> RecordedRate | None:
    """Rate of a day, else the last one published before it (at most DAYS_BACK_MOST days), marked as such; None where there is
    none.
    """
    for back in range(DAYS_BACK_MOST + 1):
        found = await feed.rate(currency, day - timedelta(days=back))
        if found is not None:
            return RecordedRate(currency, found.value, found.quant, found.published, day, found.source, found.raw)
    return None


def tiyn_for(cents: int, rate: RecordedRate) -> int:
    """Tiyn for cents (both hundredths), rounded half up."""
    exact = cents * rate.per_one
    return (2 * exact.numerator + exact.denominator) // (2 * exact.denominator)


def sat_per_tiyn(usd_per_btc: Fraction, rate: RecordedRate) -> Fraction:
    """Satoshi per tiyn (a hundredth of a tenge), at a price and a rate."""
    return Fraction(10**8) / (usd_per_btc * rate.per_one * 100)


def accounts() -> list[Account]:
    """Accounts to which a settlement posts, in addition to those of the venue."""
    return [Account(CLEARING_TIYN, Unit.TIYN), Account(BANK, Unit.TIYN), Account(FX_RESULT, Unit.TIYN)]


def settlement(trade: Trade, rate: RecordedRate, evidence: str, credited_tiyn: int | None = None) -> list[Transfer]:
    """Transfers of the net proceeds from dollars into tenge.

    `credited_tiyn`: amount credited by the bank; its difference to the amount by the rate is exchange result (None: not
    known).
    """
    _, dollars = venue_accounts(trade.venue)
    link = order_transfer_id(trade.client_id, "link.settlement")
    note = f"{trade.trade_id} at {rate.value} KZT for {rate.quant} {rate.currency}, {rate.rule}"
    tiyn = tiyn_for(trade.net_cent, rate)

    def one(kind: str, debit: str, credit: str, amount: int, unit: Unit, linked: UUID | None = None) -> Transfer:
        made = order_transfer_id(trade.client_id, kind)
        return Transfer(made, debit, credit, amount, unit, kind, trade.at_ms, evidence, linked, note=note)

    moved = [
        one("settlement.sold", CLEARING_CENT, dollars, trade.net_cent, Unit.CENT, link),
        one("settlement.tenge", BANK, CLEARING_TIYN, tiyn, Unit.TIYN, link),
    ]
    more = 0 if credited_tiyn is None else credited_tiyn - tiyn
    if more > 0:
        moved.append(one("settlement.gain", BANK, FX_RESULT, more, Unit.TIYN))
    if more < 0:
        moved.append(one("settlement.loss", FX_RESULT, BANK, -more, Unit.TIYN))
    return moved
