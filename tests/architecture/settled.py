# SPDX-License-Identifier: Apache-2.0
"""A settlement on fixed answers of pool, bank and venue: every transfer, id and voucher that a payout gives.

One payout that is too small for its power (a shortfall), one that is divided, sold and settled; all in a ledger made for it.
"""

import asyncio
import json
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

from hub.metering.energy import Billed
from hub.settlement.round import SettlementContext, settle_once
from kernel.clock import Clock, from_iso
from kernel.ids import sha256_hex
from kernel.span import Span
from treasury import exchange, settlement
from treasury.contract import Contract
from treasury.exchange import Quote, Trade
from treasury.io.ledger_sqlite import open_ledger
from treasury.listing import journal_rows
from treasury.payout import PoolPayout, PoolRecords, PoolReward
from treasury.settlement import RecordedRate

BEGUN_MS = from_iso("2026-02-02T00:00:00Z")
NOW_MS = from_iso("2026-02-03T12:00:00Z")


class FixedPool:
    """A reward of a day and two payouts, the first too small for its power."""

    async def read(self, first: date, last: date) -> PoolRecords:
        raw = (b'{"rewards": "fixed"}', b'{"payouts": "fixed"}')
        rewards = (PoolReward("braiins", "hub1", date(2026, 2, 2), 5_000_000, sha256_hex(raw[0])),)
        payouts = tuple(
            PoolPayout("braiins", "hub1", key, at_ms, amount, 100, "bc1qfixed", sha256_hex(raw[1]))
            for key, at_ms, amount in (
                ("tx-1", from_iso("2026-02-03T06:00:00Z"), 3_000),
                ("tx-2", from_iso("2026-02-03T11:00:00Z"), 3_000_000),
            )
        )
        return PoolRecords(rewards, payouts, raw)


class FixedBank:
    """One official rate each day."""

    async def rate(self, currency: str, day: date) -> RecordedRate | None:
        return RecordedRate(currency, "512.34", 1, day, day, "fixed", f"rate of {day}".encode())


class FixedVenue:
    """One price; each sale is done at once."""

    async def quote(self) -> Quote:
        return Quote(Fraction(95_000), NOW_MS, b'{"last": "95000.00"}')

    async def sell(self, client_id: UUID, amount_sat: int) -> Trade:
        cents = amount_sat * 9_500_000 // 10**8
        raw = f"trade of {amount_sat}".encode()
        return Trade("example-venue", "T1", client_id, amount_sat, "95000.00", cents, 3, NOW_MS, raw)


def settled(contract: Contract, place: Path) -> dict[str, Any]:
    """Rows of the ledger and the vouchers that they rest on, in a file below `place`."""
    kept: dict[str, bytes] = {}

    def keep(raw: bytes) -> str:
        kept[sha256_hex(raw)] = raw
        return sha256_hex(raw)

    async def commit(kind: str, body: Any) -> None:
        return None

    def energy(span: Span) -> Billed:
        return Billed(120_000, {"what": f"billing meter over {span}", "meters": []})

    place.mkdir(parents=True, exist_ok=True)
    ledger = open_ledger(place / "ledger.sqlite")
    clock = Clock(lambda: NOW_MS, lambda: NOW_MS / 1000)
    desk = SettlementContext(
        ledger, contract, FixedPool(), FixedBank(), FixedVenue(), keep, commit, energy, clock, BEGUN_MS
    )  # fmt: skip
    done = asyncio.run(settle_once(desk))
    assert done.closed, done
    rows = list(journal_rows(ledger))
    ledger.close()
    vouchers = [json.loads(raw) for raw in kept.values() if raw.startswith(b'{"') and b"mining-hub." in raw]
    return {
        "accounts": {row["account"]: [row["unit"], row["keeps"]] for row in rows if row["entry"] == "account"},
        "transfers": [
            " ".join([row["kind"], row["id"], row["debit"], row["credit"], str(row["amount"]), row["unit"]])
            for row in rows
            if row["entry"] == "transfer"
        ],
        "links": sorted({row["link"] for row in rows if row["link"]}),
        "vouchers": {body["kind"]: fields(body) for body in vouchers},
    }


def differences(contract: Contract) -> list[str]:
    """Kinds and accounts of a bank that credited more, and less, than the rate gives."""
    trade = Trade("example-venue", "T1", UUID(int=7), 1_000, "95000.00", 950, 3, NOW_MS, b"trade")
    rate = RecordedRate("USD", "512.34", 1, date(2026, 2, 3), date(2026, 2, 3), "fixed", b"rate")
    tiyn = settlement.tiyn_for(trade.net_cent, rate)
    made = [one for more in (5, -5) for one in settlement.settlement(trade, rate, "0" * 64, tiyn + more)]
    made += exchange.sale(trade, contract.wallet, "0" * 64)
    return sorted({f"{one.kind} {one.id} {one.debit} {one.credit}" for one in made})


def fields(document: Any, place: str = "") -> list[str]:
    """Every path of a JSON document, lists as `[]`."""
    if isinstance(document, dict):
        return sorted({path for key, value in document.items() for path in fields(value, f"{place}/{key}")})
    if isinstance(document, list):
        return sorted({path for value in document for path in fields(value, f"{place}[]")}) or [f"{place}[]"]
    return [place]
