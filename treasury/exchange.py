# SPDX-License-Identifier: Apache-2.0
"""Sale of bitcoin for dollars at a licensed venue, booked as a linked pair through clearing.

A venue may be used on a day only if the contract lists it with a licence valid on that day. The amount to sell is rounded up:
a duty to sell a share is not met by one satoshi less.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Protocol
from uuid import UUID

from kernel.errors import ConfigError, Fault
from kernel.money import Unit
from treasury.account import Account, account_part
from treasury.contract import VenueLicence
from treasury.transfer import Transfer, transfer_id

CLEARING_SAT, CLEARING_CENT = "Equity:Clearing:FX:SAT", "Equity:Clearing:FX:CENT"
VENUE_FEE = "Expenses:Venue-Fee"


@dataclass(frozen=True, slots=True)
class Quote:
    """Price of one bitcoin in dollars at an instant, with the raw bytes as evidence."""

    usd_per_btc: Fraction
    at_ms: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Trade:
    """A sale as reported by the venue. `proceeds_cent`: before the fee."""

    venue: str
    trade_id: str
    client_id: UUID
    sold_sat: int
    price_usd: str
    proceeds_cent: int
    fee_cent: int
    at_ms: int
    raw: bytes

    @property
    def net_cent(self) -> int:
        return self.proceeds_cent - self.fee_cent


class Venue(Protocol):
    """A venue that sells on our account. Raises TransportError or DecodeError; the same client id gives the same trade."""

    async def quote(self) -> Quote:
        """The last price."""

    async def sell(self, client_id: UUID, amount_sat: int) -> Trade:
        """Sell now, at the market."""


def order_id(payout_ms: int, *key: str) -> UUID:
    """Client id of the sale of one payout: known before the sale is requested, and the same after a crash."""
    return transfer_id(payout_ms, *key, "sale")


def order_transfer_id(client_id: UUID, kind: str) -> UUID:
    """Id of one transfer of a sale, from its client id alone, so that the ledger shows whether a sale is booked."""
    return transfer_id(client_id.int >> 80, str(client_id), kind)


def licence_on(venues: Sequence[VenueLicence], name: str, day: date) -> VenueLicence:
    """Licence of a venue on a day. ConfigError where it has none: nothing may be sold there."""
    for venue in venues:
        if venue.name == name and venue.valid_from <= day < venue.valid_to:
            return venue
    held = [f"{v.number} from {v.valid_from} until {v.valid_to}" for v in venues if v.name == name]
    text = f"no licence holds on {day} (known: {', '.join(held) or 'none'})"
    raise ConfigError([Fault(f"venue {name}", text, "Confirm a licence with its days, or sell elsewhere")])


def amount_to_sell(received_sat: int, share: Fraction) -> int:
    """Smallest whole number of satoshi that is at least the share."""
    return -(-received_sat * share.numerator // share.denominator)


def venue_accounts(venue: str) -> tuple[str, str]:
    """(bitcoin, dollars) held at a venue."""
    part = account_part(venue)
    return f"Assets:Exchange:{part}:SAT", f"Assets:Exchange:{part}:CENT"


def accounts(venue: str) -> list[Account]:
    """Accounts to which a sale posts, in addition to the wallet."""
    coins, dollars = venue_accounts(venue)
    return [
        Account(coins, Unit.SAT), Account(dollars, Unit.CENT), Account(CLEARING_SAT, Unit.SAT), Account(CLEARING_CENT, Unit.CENT),
        Account(VENUE_FEE, Unit.CENT),
    ]  # fmt: skip


def sale(trade: Trade, wallet: str, evidence: str) -> list[Transfer]:
    """Transfers of a sale: to the venue, from bitcoin into dollars, less the fee."""
    coins, dollars = venue_accounts(trade.venue)
    link = order_transfer_id(trade.client_id, "link.sale")
    note = f"{trade.trade_id} at {trade.price_usd} USD/BTC"

    def one(kind: str, debit: str, credit: str, amount: int, unit: Unit, linked: UUID | None = None) -> Transfer:
        made = order_transfer_id(trade.client_id, kind)
        return Transfer(made, debit, credit, amount, unit, kind, trade.at_ms, evidence, linked, note=note)

    moved = [
        one("sale.deposited", coins, wallet, trade.sold_sat, Unit.SAT),
        one("sale.sold", CLEARING_SAT, coins, trade.sold_sat, Unit.SAT, link),
        one("sale.bought", dollars, CLEARING_CENT, trade.proceeds_cent, Unit.CENT, link),
    ]
    return [*moved, one("sale.fee", VENUE_FEE, dollars, trade.fee_cent, Unit.CENT)] if trade.fee_cent else moved
