# SPDX-License-Identifier: Apache-2.0
"""Closing of a period's books: it waits for the meter, receives nothing later, and names each payout that stays open."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hub.config import load
from hub.console.page import Renderer
from hub.journal.recorder import Recorder, at_once
from hub.metering.energy import Billed, EnergyBook, Unbilled
from hub.reports.treasury_statement import treasury_statement
from hub.settlement.duty import SettleDuty, open_text
from hub.settlement.round import SettlementContext, settle_once
from hub.wiring.duties import ground, settle_duty
from kernel.clock import iso, system_clock
from kernel.errors import Fault, TransportError
from kernel.reading import Absence
from kernel.span import Span
from telemetry.io.archive_parquet import ParquetArchive
from telemetry.io.journal_sqlite import open_journal
from tests.builders.fake_hub import FakeHub
from tests.builders.settlement import CONTRACT, MONDAY_MS, ROOT, World, desk, serve, silent
from tests.builders.site_files import SITE
from tests.telemetry.store.journal_cases import T0_MS, batch, meter
from treasury.checks import check
from treasury.io.ledger_sqlite import SqliteLedger, open_ledger
from treasury.ledger import Outcome, Rejected
from treasury.open_items import Step
from treasury.payout import PoolPayout, PoolRecords
from treasury.transfer import Transfer

DAY_MS = 86_400_000


class Pool:
    """A pool that pays when a test says so, a second before now, and may be down. `asked` counts the requests."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.clock, self.payouts, self.down, self.asked = clock, list[PoolPayout](), False, 0
        self.amount = 1_304

    def pay(self) -> PoolPayout:
        number = len(self.payouts)
        self.payouts.append(
            PoolPayout("braiins", "hub 1", f"tx {number}", self.clock() - 1_000, self.amount, 7, "bc1", "ab" * 32)
        )
        return self.payouts[-1]

    async def read(self, first: date, last: date) -> PoolRecords:
        self.asked += 1
        if self.down:
            raise TransportError(Absence.UNREACHABLE, "pool: nobody is there")
        start_ms = (first - date(1970, 1, 1)).days * DAY_MS
        return PoolRecords((), tuple(paid for paid in self.payouts if paid.at_ms >= start_ms), (b"{}",))


def billed(span: Span) -> Billed:
    return Billed(round(span.hours * 3_300_000), {"what": "billing meter", "meters": []})


async def with_pool(tmp_path: Path, story: Callable[[World, Pool, SqliteLedger, Any], Any]) -> None:
    """A story with a pool of its own; rates and venue over HTTP."""
    world, ledger = World(), open_ledger(tmp_path / "ledger.sqlite")
    servers, pool = await serve(world), Pool(lambda: world.now_ms)
    try:
        await story(
            world,
            pool,
            ledger,
            lambda **more: desk(**{"world": world, "ledger": ledger, "servers": servers, "pool": pool, **more}),
        )
        assert check(ledger) == []
    finally:
        await servers.close()
        ledger.close()


def test_the_books_close_when_the_late_reading_comes_however_many_rounds_that_takes(tmp_path: Path):
    async def story(world: World, pool: Pool, ledger: SqliteLedger, made: Callable[..., SettlementContext]) -> None:
        rounds = 0

        def late(span: Span) -> Billed | Unbilled:
            nonlocal rounds
            rounds, world.now_ms = rounds + 1, world.now_ms + 2_000
            return billed(span) if rounds > 12 else silent(span)

        world.now_ms += 32_000
        pool.pay()
        duty = SettleDuty(made(energy=late), 5.0, lambda: MONDAY_MS)
        assert await duty.close_books() == MONDAY_MS + 32_000
        assert duty.closed and duty.open_items() == ([], [])
        assert duty.last is not None and duty.last.residual_sat == 0 and duty.last.received_sat == 1_304
        assert rounds == 13 and pool.asked == 1, "only the meter is asked again"

    asyncio.run(with_pool(tmp_path, story))


def test_what_stays_open_is_named_with_amount_age_and_the_meter_that_is_awaited(tmp_path: Path):
    async def story(world: World, pool: Pool, ledger: SqliteLedger, made: Callable[..., SettlementContext]) -> None:
        def never(span: Span) -> Unbilled:
            world.now_ms += 9_000
            return silent(span)

        world.now_ms += 32_000
        paid, at = pool.pay(), made(energy=never)
        duty = SettleDuty(at, 5.0, lambda: MONDAY_MS)
        assert duty.open_items() == (None, []), "not known before the first round"
        await duty.close_books()
        waiting, held = duty.open_items()
        assert not duty.closed and waiting is not None and len(held) == 1
        (line,) = waiting
        assert (line["payout"], line["step"], line["amount_sat"], line["since_ms"]) == (
            str(paid.id), "division", 1_304, MONDAY_MS + 31_000,
        )  # fmt: skip
        assert "hub-1/north/main" in line["reason"] and line["reason"] in held[0]
        assert "1304 sat" in open_text(line) and "2026-11-23T08:00:31" in open_text(line)
        assert world.now_ms >= MONDAY_MS + 32_000 + 60_000, "a round was made after the patience"
        named = treasury_statement(ledger, Span(MONDAY_MS, world.now_ms), "hub")["undivided"]
        assert [(item["payout"], item["amount_sat"]) for item in named] == [(str(paid.id), 1_304)]
        assert treasury_statement(ledger, Span(MONDAY_MS, MONDAY_MS + 31_000), "hub")["undivided"] == []
        at.energy = billed
        await duty.do()
        assert duty.open_items() == (waiting, held), "what was named stays so: a later reading is the next period's"

    asyncio.run(with_pool(tmp_path, story))


def test_a_payout_that_comes_while_the_books_close_is_the_next_periods(tmp_path: Path):
    async def story(world: World, pool: Pool, ledger: SqliteLedger, made: Callable[..., SettlementContext]) -> None:
        world.now_ms += 32_000
        first, duty = pool.pay(), SettleDuty(made(), 5.0, lambda: MONDAY_MS)
        closing = list[asyncio.Task[int]]()

        def close_now() -> None:
            # A round of the loop is under way: its answer holds a payout of after the close.
            closing.append(asyncio.create_task(duty.close_books()))

        async def slow_read(first_day: date, last_day: date) -> PoolRecords:
            close_now()
            await asyncio.sleep(0)
            world.now_ms += 3_000
            pool.pay()
            return await Pool.read(pool, first_day, last_day)

        pool.read = slow_read  # type: ignore[method-assign]
        round_ = asyncio.create_task(duty.do())
        while not closing:
            await asyncio.sleep(0.01)
        del pool.read  # type: ignore[attr-defined]
        await round_
        assert await closing[0] == MONDAY_MS + 32_000
        assert duty.closed and ledger.last("payout.received", world.now_ms + 1).body.id == first.id  # type: ignore[union-attr]
        await duty.do()
        assert ledger.balances()[CONTRACT.undivided].net == 0, "closed is closed"
        assert duty.last is not None and duty.last.received_sat == 1_304
        again = await settle_once(made())
        assert again.closed and again.received_sat == 2 * 1_304, "the next period receives it"

    asyncio.run(with_pool(tmp_path, story))


def test_a_received_payout_is_divided_and_named_while_the_pool_is_down_and_after_a_restart(tmp_path: Path):
    async def story(world: World, pool: Pool, ledger: SqliteLedger, made: Callable[..., SettlementContext]) -> None:
        world.now_ms += 32_000
        paid = pool.pay()
        assert [item.payout for item in (await settle_once(made(energy=silent))).waiting] == [paid.id]
        pool.down = True
        restarted = await settle_once(made(energy=silent))
        assert [(item.payout, item.amount_sat) for item in restarted.waiting] == [(paid.id, 1_304)]
        assert [fault.place for fault in restarted.held] == ["pool"]
        done = await settle_once(made())
        assert done.waiting == () and done.residual_sat == 0 and done.sold_sat > 0
        voucher = next(raw for raw in world.kept.values() if b"mining-hub.division" in raw)
        assert b'"fee_sat":7' in voucher and b'"key":"tx 0"' in voucher and b'"account":"hub 1"' in voucher

    asyncio.run(with_pool(tmp_path, story))


def test_a_receipt_of_another_pool_is_named(tmp_path: Path):
    async def story(world: World, pool: Pool, ledger: SqliteLedger, made: Callable[..., SettlementContext]) -> None:
        world.now_ms += 32_000
        paid = pool.pay()
        await settle_once(made(energy=silent))
        pool.payouts.clear()
        for _ in range(2):
            done = await settle_once(made(contract=replace(CONTRACT, pool="other")))
            assert [(item.payout, item.amount_sat) for item in done.waiting] == [(paid.id, 1_304)]
            assert "another pool than other" in done.waiting[0].reason

    asyncio.run(with_pool(tmp_path, story))


def test_a_payout_that_waits_longer_than_the_pool_is_asked_again_for_is_not_forgotten(tmp_path: Path):
    async def story(world: World, pool: Pool, ledger: SqliteLedger, made: Callable[..., SettlementContext]) -> None:
        world.now_ms += 32_000
        old = pool.pay()
        await settle_once(made(energy=silent))
        world.now_ms += 8 * DAY_MS
        pool.pay()
        still = await settle_once(made(energy=silent))
        assert still.waiting[0].payout == old.id and len(still.waiting) == 2
        world.now_ms += DAY_MS
        done = await settle_once(made())
        assert done.residual_sat == 0 and done.waiting == ()

    asyncio.run(with_pool(tmp_path, story))


def test_a_sale_that_fails_is_named_and_made_later_although_the_pool_is_down(tmp_path: Path):
    async def story(world: World, pool: Pool, ledger: SqliteLedger, made: Callable[..., SettlementContext]) -> None:
        at = made()
        assert at.venue is not None
        sell = at.venue.sell

        async def out_of_service(client_id: Any, amount_sat: int) -> Any:
            raise TransportError(Absence.UNREACHABLE, "venue: out of service")

        at.venue.sell = out_of_service  # type: ignore[method-assign]
        world.now_ms += 32_000
        paid = pool.pay()
        failed = await settle_once(at)
        assert [(item.payout, item.step, item.amount_sat) for item in failed.waiting] == [(paid.id, Step.SALE, 978)]
        assert "out of service" in failed.waiting[0].reason and failed.residual_sat == 0
        at.venue.sell, pool.down = sell, True  # type: ignore[method-assign]
        world.down = {"rates_dead"}
        unsettled = await settle_once(at)
        assert [(item.step, item.amount_sat) for item in unsettled.waiting] == [(Step.TENGE, 978)]
        assert "rates" in unsettled.waiting[0].reason
        world.down = set()
        done = await settle_once(at)
        assert done.waiting == () and done.tenge_tiyn > 0

    asyncio.run(with_pool(tmp_path, story))


class Refusing:
    """A ledger that refuses transfers of a kind."""

    def __init__(self, ledger: SqliteLedger, kind: str) -> None:
        self._ledger, self.kind = ledger, kind

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def post(self, transfers: Sequence[Transfer], now_ms: int) -> Outcome:
        if self.kind and any(transfer.kind.startswith(self.kind) for transfer in transfers):
            return Rejected((Fault("transfer", f"{self.kind} is refused", "Ask why"),))
        return self._ledger.post(transfers, now_ms)


@pytest.mark.parametrize(
    ("kind", "step"),
    [("payout.received", Step.RECEIPT), ("waterfall", Step.DIVISION), ("sale", Step.SALE), ("settlement", Step.TENGE)],
)
def test_what_the_ledger_refuses_is_open_and_announced_by_nobody(tmp_path: Path, kind: str, step: Step):
    async def story(world: World, pool: Pool, ledger: SqliteLedger, made: Callable[..., SettlementContext]) -> None:
        world.now_ms += 32_000
        refusing, paid = Refusing(ledger, kind), pool.pay()

        duty = SettleDuty(made(ledger=refusing), 5.0, lambda: MONDAY_MS)
        await duty.close_books(patience_s=0.0)
        await duty.close_books(patience_s=0.0)
        assert duty.last is not None and not duty.closed
        assert [(item.payout, item.step) for item in duty.last.waiting] == [(paid.id, step)]
        assert f"{kind} is refused" in duty.last.waiting[0].reason
        kinds = [kind for kind, _ in world.events]
        assert ("payout.posted" in kinds) == (step in (Step.SALE, Step.TENGE))
        refusing.kind = ""
        await duty.close_books(patience_s=0.0)
        assert duty.closed and duty.last.residual_sat == 0

    asyncio.run(with_pool(tmp_path, story))


def test_a_round_that_was_cut_short_closes_nothing(tmp_path: Path):
    async def story(world: World, pool: Pool, ledger: SqliteLedger, made: Callable[..., SettlementContext]) -> None:
        at, full = made(), False

        async def commit(kind: str, body: Any) -> None:
            if full:
                raise OSError("no space left on the disk")
            await world.commit(kind, body)

        at.commit = commit
        world.now_ms += 32_000
        pool.pay()
        duty = SettleDuty(at, 5.0, lambda: MONDAY_MS)
        await duty.do()
        assert duty.closed
        world.now_ms, full = world.now_ms + 20_000, True
        pool.pay()
        await duty.close_books(patience_s=0.0)
        assert not duty.closed and "no space left" in duty.open_items()[1][-1]
        full = False
        await duty.close_books(patience_s=0.0)
        assert duty.closed
        never = SettleDuty(made(), 5.0, lambda: None)
        await never.close_books(patience_s=0.0)
        assert not never.closed and "first reading" in never.open_items()[1][0]

    asyncio.run(with_pool(tmp_path, story))


def test_the_page_lists_open_payouts_with_amount_age_and_reason():
    view = FakeHub(system_clock(), miners=10)
    view.faults = view.faults | {"pool"}
    (_, html) = Renderer().pieces(view.ports(), "alma", view.status("alma"))["ledger"]
    text = html.replace("\u202f", " ")
    for part in (
        "1 304 sat",
        "0193f0a2-0000",
        "division: energy_wh is unknown",
        "alatau/north/main",
        "pool: no answer",
    ):
        assert part in text, text
    view.faults = view.faults - {"pool"}
    assert "Open payout" not in Renderer().pieces(view.ports(), "alma", view.status("alma"))["ledger"][1]


def test_mining_is_settled_from_the_first_reading_that_archive_or_journal_holds(tmp_path: Path):
    money = f'[money]\ncontract = "{ROOT}/configs/contracts/example-hub.toml"\npool_url = "http://127.0.0.1:9"\n'
    (tmp_path / "hub.toml").write_text(SITE + money)
    journal = open_journal(tmp_path / "data")
    for minute in range(150):
        journal.append([batch("meter", [meter(1, T0_MS + 60_000 * minute, float(minute))])], [])
    archive = ParquetArchive(tmp_path / "data" / "archive", journal)
    archive.seal(T0_MS + 150 * 60_000)
    assert journal.trim(archive.sealed_position()) > 0
    journal.close()

    async def story() -> None:
        world = World(now_ms=T0_MS + 150 * 60_000)
        config = load(tmp_path / "hub.toml", environment={})
        base = await ground(config, tmp_path, tmp_path / "data", world.clock, at_once(), np.random.default_rng(1))
        duty = settle_duty(base, Recorder(base.journal, world.clock, base.state.apply, at_once()))
        assert duty is not None and duty._begin() == T0_MS
        base.ledger.close()
        base.journal.close()

    asyncio.run(story())


def test_energy_that_cannot_be_billed_names_the_meter_and_what_is_missing(tmp_path: Path):
    journal = open_journal(tmp_path / "data")
    book = EnergyBook(ParquetArchive(tmp_path / "archive", journal))
    span = Span(T0_MS + 60_000, T0_MS + 600_000)
    assert str(book.billed([], span)) == "no billing meter is configured"
    assert "there is none yet" in str(book.billed(["hub/site/meter-1"], span))
    journal.append([batch("meter", [meter(1, T0_MS + 1_000 * second, 1.0 * second) for second in (0, 60, 120)])], [])
    late = book.billed(["hub/site/meter-1"], span)
    assert isinstance(late, Unbilled) and late.last_ms == T0_MS + 120_000
    assert f"from {iso(span.end_ms)} on is awaited; its last is of {iso(T0_MS + 120_000)}" in str(late)
    assert "billing meter hub/site/meter-1" in str(late)
    journal.append([batch("meter", [meter(1, T0_MS + 700_000, 700.0)])], [])
    assert isinstance(book.billed(["hub/site/meter-1"], span), Billed), "the counter bridges the gap"
    early = book.billed(["hub/site/meter-1"], Span(T0_MS - 540_000, T0_MS + 60_000))
    assert "reported 10.0% of" in str(early)
    journal.close()
