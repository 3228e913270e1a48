# SPDX-License-Identifier: Apache-2.0
"""A settlement context over simulated pool, rates and venue."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hub.metering.energy import Billed, Unbilled
from hub.settlement.round import SettlementContext
from kernel.clock import Clock, from_iso
from kernel.ids import sha256_hex
from kernel.span import Span
from treasury.contract import Contract, load_contract
from treasury.io.ledger_sqlite import SqliteLedger
from treasury.io.pool_braiins import BraiinsPool
from treasury.io.rates_nbk import NationalBank
from treasury.io.venue_http import VenueHttp
from twin.finance import FinanceSpec, serve_finance

ROOT = Path(__file__).resolve().parents[2]


MONDAY_MS = from_iso("2026-11-23T08:00:00Z")


CONTRACT = load_contract(ROOT / "configs" / "contracts" / "example-hub.toml")


HASHES_PER_S = 1e17


@dataclass
class World:
    """A clock that the test turns, and everything that outlives a hub."""

    now_ms: int = MONDAY_MS
    kept: dict[str, bytes] = field(default_factory=dict)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    down: set[str] = field(default_factory=set)

    @property
    def clock(self) -> Clock:
        return Clock(now_ms=lambda: self.now_ms, monotonic_s=lambda: self.now_ms / 1000)

    def keep(self, raw: bytes) -> str:
        self.kept[sha256_hex(raw)] = raw
        return sha256_hex(raw)

    async def commit(self, kind: str, body: Any) -> None:
        self.events.append((kind, dict(body)))

    def hashes(self) -> float:
        return (self.now_ms - MONDAY_MS) / 1000 * HASHES_PER_S


def desk(
    world: World, ledger: SqliteLedger, servers: Any, contract: Contract = CONTRACT, **more: Any
) -> SettlementContext:
    parts: dict[str, Any] = {
        "ledger": ledger,
        "contract": contract,
        "pool": BraiinsPool(servers.pool_url, "hub", servers.pool_token, world.clock, gap_s=0),
        "rates": NationalBank(servers.rates_url),
        "venue": VenueHttp(servers.venue_url, "example-venue"),
        "keep": world.keep,
        "commit": world.commit,
        "energy": lambda span: Billed(
            round(span.hours * 3_300_000), {"what": f"billing meter over {span}", "meters": []}
        ),
        "clock": world.clock,
        "since_ms": MONDAY_MS,
        "posted": {body["id"] for kind, body in world.events if kind in ("payout.posted", "sale.posted")},
    }
    return SettlementContext(**{**parts, **more})


def silent(span: Span) -> Unbilled:
    """Energy of a span while the billing meter has told nothing since its twelfth second."""
    return Unbilled(span, "hub-1/north/main", 0.4, MONDAY_MS + 12_000)


def serve(world: World) -> Any:
    return serve_finance(
        seed=1, host="127.0.0.1", clock=world.clock, hashes_done=world.hashes, faults=lambda: frozenset(world.down),
        spec=FinanceSpec(payout_every_s=30.0),
    )  # fmt: skip
