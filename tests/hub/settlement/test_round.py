# SPDX-License-Identifier: Apache-2.0
"""Rounds of the treasury against the make-believe pool, bank and venue over real HTTP; and after a kill at any call."""

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hub.metering.energy import Billed
from hub.settlement.duty import SettleDuty
from hub.settlement.round import RoundResult, settle_once
from tests.builders.settlement import CONTRACT, MONDAY_MS, World, desk, serve, silent
from tests.servers import count
from treasury.account import Balance
from treasury.checks import check
from treasury.io.ledger_sqlite import SqliteLedger, open_ledger
from treasury.open_items import Step


async def three_rounds(world: World, ledger: SqliteLedger) -> RoundResult:
    servers = await serve(world)
    try:
        for _ in range(3):
            world.now_ms += 31_000
            done = await settle_once(desk(world, ledger, servers))
    finally:
        await servers.close()
    return done


def test_payouts_are_received_divided_sold_and_settled_to_the_last_satoshi(tmp_path: Path):
    world, ledger = World(), open_ledger(tmp_path / "ledger.sqlite")
    done = asyncio.run(three_rounds(world, ledger))
    assert done.held == ()
    assert done.payouts == 3
    assert done.received_sat == done.posted_sat > 3_000
    assert done.residual_sat == 0
    assert done.city_sat == sum(round(b["received_sat"] * 0.05 + 1e-9) for k, b in world.events if k == "payout.posted")
    assert done.sold_sat >= 0.75 * done.received_sat
    assert done.tenge_tiyn > 0
    balances = ledger.balances()
    assert balances["Expenses:Energy:Mining"].net == pytest.approx(93 / 3600 * 3_300_000, abs=2)
    assert balances["Assets:Exchange:Example-Venue:CENT"].net == 0
    assert check(ledger) == []
    assert [kind for kind, _ in world.events].count("payout.posted") == 3
    for entry in ledger.entries():
        evidence = getattr(entry.body, "evidence", None)
        assert evidence is None or evidence in world.kept, "each transfer's evidence is held"
    ledger.close()


def test_a_second_run_books_nothing_again(tmp_path: Path):
    async def run() -> tuple[int, int, list[str]]:
        world, ledger = World(), open_ledger(tmp_path / "ledger.sqlite")
        servers = await serve(world)
        world.now_ms += 31_000
        await settle_once(desk(world, ledger, servers))
        size, events = ledger.head().size, len(world.events)
        again = await settle_once(desk(world, ledger, servers))
        assert again.held == ()
        await servers.close()
        fresh = [kind for kind, _ in world.events[events:]]
        ledger.close()
        return size, open_ledger(tmp_path / "ledger.sqlite").head().size, fresh

    before, after, fresh = asyncio.run(run())
    assert before == after
    assert fresh == []


def test_rounds_that_are_asked_for_at_once_divide_no_payout_twice(tmp_path: Path):
    async def run() -> None:
        world, ledger, told_wh = World(), open_ledger(tmp_path / "ledger.sqlite"), itertools.count(1_000_000)
        servers = await serve(world)
        world.now_ms += 31_000
        # A meter's late word: each round knows more than the one before.
        energy = {"energy": lambda span: Billed(next(told_wh), {"what": f"billing meter over {span}", "meters": []})}
        duty = SettleDuty(desk(world, ledger, servers, **energy), 5.0, lambda: MONDAY_MS)
        await asyncio.gather(duty.do(), duty.do(), duty.do())
        assert duty.last is not None and duty.last.held == () and duty.last.payouts >= 1
        posted = [body["id"] for kind, body in world.events if kind == "payout.posted"]
        assert len(posted) == len(set(posted)) >= 1
        assert await duty.close_books() == world.now_ms and duty.closed
        world.now_ms += 31_000
        await duty.do()
        assert duty.last.received_sat == duty.last.posted_sat
        assert [kind for kind, _ in world.events].count("payout.posted") == len(posted), "the books are closed"
        await servers.close()
        assert check(ledger) == []
        ledger.close()

    asyncio.run(run())


def test_dead_feeds_hold_what_rests_on_them_and_nothing_else(tmp_path: Path):
    async def run() -> None:
        world, ledger = World(), open_ledger(tmp_path / "ledger.sqlite")
        servers = await serve(world)
        world.now_ms += 31_000
        world.down = {"pool_dead"}
        dead = await settle_once(desk(world, ledger, servers))
        assert [fault.place for fault in dead.held] == ["pool"]
        assert dead.received_sat == 0
        world.down = {"rates_dead"}
        waiting = await settle_once(desk(world, ledger, servers))
        assert waiting.received_sat > 0
        assert waiting.posted_sat == 0, "divided only when the power's price is known; never at a guess"
        assert [fault.place for fault in waiting.held] == ["rates"]
        assert [(item.step, item.amount_sat) for item in waiting.waiting] == [(Step.DIVISION, waiting.residual_sat)]
        assert "sat_per_tiyn is unknown: rates:" in waiting.waiting[0].reason
        world.down = {"venue_dead"}
        assert (await settle_once(desk(world, ledger, servers))).posted_sat == 0
        world.down = set()
        unknown = await settle_once(desk(world, ledger, servers, energy=silent))
        assert unknown.held == (), "a fresh payout waits for its meter: that is no fault"
        item = unknown.waiting[0]
        assert (item.amount_sat, item.since_ms) == (unknown.residual_sat, MONDAY_MS + 31_000)
        assert "billing meter hub-1/north/main" in item.reason and "08:00:12" in item.reason
        world.now_ms += 61_000
        late = await settle_once(desk(world, ledger, servers, energy=silent))
        assert [fault.problem for fault in late.held][:1] == [item.reason], "an old one is a fault: the meter is silent"
        assert len(late.waiting) == 2
        done = await settle_once(desk(world, ledger, servers))
        assert done.held == ()
        assert done.residual_sat == 0
        assert done.tenge_tiyn > 0
        assert check(ledger) == []
        await servers.close()
        ledger.close()

    asyncio.run(run())


def test_nothing_is_sold_without_a_licence_on_the_day(tmp_path: Path):
    async def run() -> None:
        world, ledger = World(), open_ledger(tmp_path / "ledger.sqlite")
        servers = await serve(world)
        world.now_ms += 31_000
        expired = tuple(replace(venue, valid_to=venue.valid_from.replace(month=6)) for venue in CONTRACT.venues)
        done = await settle_once(desk(world, ledger, servers, replace(CONTRACT, venues=expired)))
        assert done.residual_sat == 0
        assert done.sold_sat == 0
        assert any("no licence holds" in fault.problem for fault in done.held)
        await servers.close()
        ledger.close()

    asyncio.run(run())


def test_a_part_too_small_for_the_venue_stays_in_the_wallet_and_is_no_fault(tmp_path: Path):
    async def run() -> None:
        world, ledger = World(), open_ledger(tmp_path / "ledger.sqlite")
        servers = await serve(world)
        world.now_ms += 31_000
        sales = [
            replace(edition, sale=replace(edition.sale, least_sat=10**9))
            for edition in CONTRACT.editions
            if edition.sale
        ]
        done = await settle_once(desk(world, ledger, servers, replace(CONTRACT, editions=tuple(sales))))
        assert (done.held, done.sold_sat, done.residual_sat) == ((), 0, 0)
        assert ledger.balances()[CONTRACT.wallet].net == done.received_sat > 0
        await servers.close()
        ledger.close()

    asyncio.run(run())


class Killed(BaseException):
    """The hub is gone: no except clause of its own sees it."""


def test_killed_at_any_call_and_run_again_gives_the_same_books(tmp_path: Path):
    """Each call to the outside (journal, evidence, ledger, feeds) is once the last before the end."""

    def books(ledger: SqliteLedger) -> dict[str, Balance]:
        return {code: balance for code, balance in ledger.balances().items() if balance != Balance()}

    async def run(kill_at: int) -> tuple[dict[str, Balance], int, bool]:
        world, path = World(), tmp_path / f"ledger-{kill_at}.sqlite"
        ledger, servers = open_ledger(path), await serve(world)
        world.now_ms += 31_000
        calls = 0

        def tick() -> None:
            nonlocal calls
            calls += 1
            if calls == kill_at:
                raise Killed

        def keep(raw: bytes) -> str:
            tick()
            return world.keep(raw)

        async def commit(kind: str, body: Any) -> None:
            tick()
            await world.commit(kind, body)
            tick()

        class Counted:
            def __getattr__(self, name: str) -> Any:
                def call(*arguments: Any) -> Any:
                    tick()
                    result = getattr(ledger, name)(*arguments)
                    tick()
                    return result

                return call

        killed = False
        try:
            await settle_once(desk(world, Counted(), servers, keep=keep, commit=commit))  # type: ignore[arg-type]
        except Killed:
            killed = True
        ledger.close()
        ledger = open_ledger(path)
        done = await settle_once(desk(world, ledger, servers))
        assert done.held == ()
        assert check(ledger) == []
        result = books(ledger)
        posted = [body["id"] for kind, body in world.events if kind == "payout.posted"]
        assert len(posted) == len(set(posted)), "the event of a payout is said once"
        ledger.close()
        await servers.close()
        return result, len(set(posted)), killed

    async def all_points() -> None:
        whole, posted, killed = await run(0)
        assert (posted, killed) == (1, False)
        point = 0
        while True:
            point += count(3, 1)
            result, posted, killed = await run(point)
            assert result == whole, f"killed at call {point}"
            assert posted == 1
            if not killed:
                break
        assert point > 40

    asyncio.run(all_points())
