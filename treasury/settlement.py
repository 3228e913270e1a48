# SPDX-License-Identifier: Apache-2.0
"""Dollars of a sale become tenge in the bank at a recorded official rate, and say which day's rate it was.

A rate is exact: a decimal over its quant. Where the bank credits another amount than the rate gives, the difference is
booked as exchange gain or loss, never lost.
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
    """Tenge for `quant` of a currency. `published` is the day of the table, `asked` the day it is used for."""

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
        """Which rule chose the day, in words."""
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
        """The rate published for exactly that day, or None where the table has none."""


async def rate_for(feed: RateFeed, currency: str, day: date) -> RecordedRate | None:
    """The rate of a day, else the last one published before it (at most 14 days back), which then says so."""
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
    """What a hundredth of a tenge is in satoshi, at a price and a rate."""
    return Fraction(10**8) / (usd_per_btc * rate.per_one * 100)


def accounts() -> list[Account]:
    """The accounts that a settlement posts to, besides those of the venue."""
    return [Account(CLEARING_TIYN, Unit.TIYN), Account(BANK, Unit.TIYN), Account(FX_RESULT, Unit.TIYN)]


def settlement(trade: Trade, rate: RecordedRate, evidence: str, credited_tiyn: int | None = None) -> list[Transfer]:
    """Net proceeds out of dollars into tenge; the bank's own amount, where known, less what the rate gives is FX result."""
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
