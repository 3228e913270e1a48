# SPDX-License-Identifier: Apache-2.0
"""What a site that only observes would have earned: by hand, and over a simulated half day told again from its journal."""

import asyncio
import json
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from typer.testing import CliRunner

from grid.tariff import all_in
from grid.tariff import load as load_tariff
from hub.app.demo_site import write_simulated_site
from hub.app.replay import replay_folder
from hub.app.simulate import EPOCH, simulated
from hub.app.virtual_time import VirtualLoop, run
from hub.cli.app import app
from hub.config import load
from hub.control.shadow_tick import glimpse
from hub.market.price_duty import HASHPRICE, MARKET
from hub.state.curve_body import curve_from_json
from hub.state.shadow import LONGEST_MS, ShadowBook, ShadowTick
from hub.wiring import folded, reading
from kernel.clock import MS_PER_HOUR, from_iso, loop_clock
from kernel.curve import Curve, known
from kernel.span import Slots
from miner_control.control.allocate import Allocation
from tests.miner_control.fleets import NOW_MS, envelope, fleet, roster
from twin.site import Site
from twin.spec import TwinSpec

ZONE = ZoneInfo("Asia/Almaty")


def curve(name: str, unit: str, value: float) -> Curve:
    return Curve(name, unit, np.array([NOW_MS]), np.array([NOW_MS + 3_600_000]), np.array([value]), NOW_MS, "test")


def tick(book: ShadowBook, at_ms: int, seen: ShadowTick, asleep: list[str] | None = None) -> dict[str, object]:
    changes, no_more = book.differences([(device, {"intent": "Sleep"}, "plan") for device in asleep or []])
    return {"tick_ms": at_ms, "changes": changes, "no_more": no_more, "shadow": seen.to_json()}


def test_a_tick_sees_both_powers_both_hashrates_and_the_prices_of_its_instant() -> None:
    who = fleet(roster([envelope()], 10))
    lowered = Allocation(np.array([0, 1]), np.array([-1, 0]), 7 * 3000.0 + 1800.0 + 3000.0 + 20.0, 0.0, np.zeros(1))
    seen = glimpse(who, lowered, 33_000.0, 1.1, [curve(HASHPRICE, "KZT/PH/day", 20_000.0)], None)
    assert seen.power_w == 33_000.0
    assert seen.would_w == pytest.approx(33_000.0 - 1.1 * (2980.0 + 1200.0))
    assert seen.would_hs == pytest.approx(seen.hashrate_hs - 100e12 - 31e12)
    assert (seen.energy_price_per_mwh, seen.hash_value_per_ph_day) == (None, pytest.approx(20_000.0))
    assert "tariff" in seen.unpriced
    alone = glimpse(who, lowered, None, 1.1, [curve(HASHPRICE, "USD/BTC", 1.0)], None)
    assert alone.power_w == pytest.approx(33_000.0) and alone.hash_value_per_ph_day is None


def test_the_book_holds_a_tick_until_the_next_and_counts_by_local_day() -> None:
    who, book = roster([envelope()], 3), ShadowBook(ZONE)
    before_midnight_ms = from_iso("2026-03-02T00:00:00+05:00") - 600_000
    seen = ShadowTick(30_000.0, 10_000.0, 1e15, 0.5e15, 20_000.0, 24_000.0, "")
    m = who.devices[0]
    book.apply(tick(book, before_midnight_ms, seen, [m]), who)
    again = tick(book, before_midnight_ms + 600_000, seen, [m])
    assert (again["changes"], again["no_more"]) == ([], []), "what is repeated is not journalled again"
    book.apply(again, who)
    book.apply(tick(book, before_midnight_ms + 1_200_000, seen), who)
    assert list(book.days) == ["2026-03-01", "2026-03-02"]
    first, second = book.days["2026-03-01"], book.days["2026-03-02"]
    assert first.not_bought_mwh == pytest.approx(0.02 / 6) and first.not_done_ph_days == pytest.approx(0.5 / 144)
    assert first.worth == pytest.approx(0.02 / 6 * 20_000.0 - 0.5 / 144 * 24_000.0)
    assert (first.starts, second.starts) == (0, 1), "who would sleep no longer would have had to start"
    start_ph_days = 200.0 * 100e12 / (1e15 * 86_400)
    assert second.hashes_worth == pytest.approx((0.5 / 144 + start_ph_days) * 24_000.0)
    book.apply(tick(book, before_midnight_ms + 1_200_000 + 10 * LONGEST_MS, seen), who)
    assert book.days["2026-03-02"].hours == pytest.approx(1 / 6 + LONGEST_MS / MS_PER_HOUR), (
        "a hub that is down sees nothing"
    )
    reported = book.to_json("KZT")
    assert reported["total"]["hours"] == pytest.approx(sum(line["hours"] for line in reported["days"]))
    book.apply({"tick_ms": before_midnight_ms + 10**9, "changes": []}, who)
    book.apply(tick(book, before_midnight_ms + 10**9 + 1000, seen), who)
    assert book.to_json("KZT")["total"] == reported["total"], "what was commanded is no shadow"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated site that only observes, from midnight over the dear morning."""
    folder = tmp_path_factory.mktemp("shadow")
    loop, epoch_ms = VirtualLoop(), from_iso(EPOCH)
    clock = loop_clock(epoch_ms, loop.time)
    spec = TwinSpec(hub="alatau", site="north", miners=40, seed=5, faults={})
    path = write_simulated_site(folder, Site(spec, epoch_ms), spec, epoch_ms)
    path.write_text(path.read_text().replace("[[sites]]", "[[sites]]\nobserve_only = true", 1))
    config = load(path, environment={})

    async def main() -> None:
        wired = await simulated(config, folder, folder / config.hub.data, spec, clock)
        running = asyncio.create_task(wired.hub.run())
        await asyncio.sleep(12 * 3600.0)
        wired.hub.stop()
        await running

    run(main(), loop)
    return folder


def test_a_site_that_only_observes_tells_what_commanding_would_have_earned(watched: Path) -> None:
    config = load(watched / "hub.toml", environment={})
    journal = reading(watched / config.hub.data)
    ticks = [event.body for _, event in journal.events(["tick.decided"])]
    assert not list(journal.events(["command.issued"])), "nothing was commanded"
    total = folded(config, journal).sites["alatau/north"].shadow.to_json("KZT")["total"]

    hours = np.diff([body["tick_ms"] for body in ticks]) / MS_PER_HOUR
    rows = [body["shadow"] for body in ticks][:-1]
    mwh = sum((row["power_w"] - row["would_w"]) / 1e6 * hour for row, hour in zip(rows, hours, strict=True))
    saved = sum(
        (row["power_w"] - row["would_w"]) / 1e6 * hour * row["energy_price_per_mwh"]
        for row, hour in zip(rows, hours, strict=True)
        if row["energy_price_per_mwh"] is not None and row["hash_value_per_ph_day"] is not None
    )
    assert total["hours"] == pytest.approx(float(sum(hours))) and total["hours"] > 11.9
    assert total["priced_hours"] > 11.5
    assert total["not_bought_mwh"] == pytest.approx(mwh) and total["energy_worth"] == pytest.approx(saved)
    assert any(abs(row["would_w"] - row["power_w"]) > 1000.0 for row in rows), "the plan would have moved something"
    repeated = sum(len(body["changes"]) for body in ticks)
    assert 0 < repeated < 10 * 40, "the journal holds what differs from tick to tick"
    assert total["worth"] == pytest.approx(total["energy_worth"] - total["hashes_worth"])
    found = replay_folder(watched)
    assert found.difference is None and found.ticks > 300 and found.commands == 0


def test_the_command_line_tells_it_by_day(watched: Path) -> None:
    done = CliRunner().invoke(app, ["plan", "shadow", str(watched), "--json"])
    assert done.exit_code == 0
    answer = json.loads(done.stdout.splitlines()[-1])
    assert [line["day"] for line in answer["days"]] == ["2026-03-02"] and answer["currency"] == "KZT"
    table = CliRunner().invoke(app, ["plan", "shadow", str(watched)])
    assert table.exit_code == 0 and "2026-03-02" in table.stdout and "all" in table.stdout


def test_prices_are_those_known_then(watched: Path) -> None:
    config = load(watched / "hub.toml", environment={})
    assert config.planning.tariff is not None
    tariff = load_tariff(config.planning.tariff.read_text(), "t")
    journal = reading(watched / config.hub.data)
    curves, seen = [], 0
    for position, event in journal.events(["tick.decided", "price.curve"]):
        body = event.body
        if event.kind == "price.curve":
            curves.append((position, curve_from_json(body)))
            continue
        held = [one for at, one in curves if at <= body["position"]]
        if body["shadow"]["unpriced"]:
            assert known(held, MARKET, body["tick_ms"]) is None or known(held, HASHPRICE, body["tick_ms"]) is None
            continue
        slot = Slots(np.array([body["tick_ms"], body["tick_ms"] + 1000]))
        bill = all_in(tariff, slot, known(held, MARKET, body["tick_ms"]))
        assert body["shadow"]["energy_price_per_mwh"] == pytest.approx(1e6 * float(bill.price_per_wh[0]))
        seen += 1
    assert seen > 300 and len({round(one.values[0]) for _, one in curves}) > 1
