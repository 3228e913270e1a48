# SPDX-License-Identifier: Apache-2.0
"""The running hub learns its miners from its own commands: within 10 % of their truth, seen by control, restart and replay."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grid.order import read_order
from grid.order_book import Authority
from hub.app.demo_site import write_simulated_site
from hub.app.replay import replay_folder
from hub.app.simulate import EPOCH, simulated
from hub.app.virtual_time import VirtualLoop, run
from hub.config import load
from hub.query.learnt import learnt_lines
from hub.wiring import Assembly, folded, reading
from kernel.clock import from_iso, iso, loop_clock
from miner_control.fleet.command import Sleep, Wake
from miner_control.fleet.envelope import Provenance
from miner_control.fleet.fleet import UNSURE, never_commanded
from miner_control.learning.dynamics import Dynamics, Episode, Estimate, Track, refine
from miner_control.learning.windows import KEPT, IdentificationBook, Steadiness, SteadyMode, steady_round
from tests.builders.ramps import truth
from tests.miner_control.fleets import NOW_MS, envelope, roster, seen
from twin.models import MODELS
from twin.site import Site
from twin.spec import TwinSpec

TAUGHT = {"antminer-s21": 1, "whatsminer-m50s": 1, "luxos-s19k-pro": 1}
HOURS = 5.0


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Assembly]:
    """Five hours of a site whose miners are polled each 10 s; a dispatcher takes nearly all of its load for one."""
    folder = tmp_path_factory.mktemp("learning")
    loop, epoch_ms = VirtualLoop(), from_iso(EPOCH)
    clock = loop_clock(epoch_ms, loop.time)
    spec = TwinSpec(hub="alatau", site="north", miners=30, seed=3, models=TAUGHT, faults={})
    path = write_simulated_site(folder, Site(spec, epoch_ms), spec, epoch_ms)
    path.write_text(path.read_text().replace("miner_fast_s = 60.0", "miner_fast_s = 10.0"))
    config = load(path, environment={})

    async def main() -> Assembly:
        wired = await simulated(config, folder, folder / config.hub.data, spec, clock)
        running = asyncio.create_task(wired.hub.run())
        await asyncio.sleep(3600.0)
        now_ms = clock.now_ms()
        body = {"scope": "alatau/north", "power_w": 5_000, "until": iso(now_ms + 3_600_000), "reference": "lesson-1"}
        order = read_order(body, "test", "test", now_ms)
        _, happenings = wired.hub.components.state.book.receive(
            order, Authority("test", ("alatau/north",)), now_ms, body
        )
        await wired.hub.take(happenings, "alatau/north")
        await asyncio.sleep((HOURS - 1.0) * 3600.0)
        wired.hub.stop()
        await running
        return wired

    return folder, run(main(), loop)


@pytest.mark.parametrize("name", list(TAUGHT))
def test_what_the_running_hub_learns_is_within_ten_per_cent(lived: tuple[Path, Assembly], name: str) -> None:
    _, wired = lived
    model = MODELS[name]
    site = wired.hub.components.state.sites["alatau/north"]
    assumed = site.assumed[model.label, model.dialect]
    known = next(one.envelope for one in site.roster.groups if one.envelope.key == assumed.key)
    down_s, up_s, lost_s = truth(name)
    assert known.provenance is Provenance.LEARNT
    assert known.ramp_up_s == pytest.approx(up_s, rel=0.10)
    assert known.start_lost_s == pytest.approx(lost_s, rel=0.10)
    assert known.sleep_w == pytest.approx(model.sleep_w, rel=0.10)
    if down_s > 60.0:
        assert known.ramp_down_s == pytest.approx(down_s, rel=0.10)
    else:
        assert known.ramp_down_s == assumed.ramp_down_s, "polls 15 s apart cannot time a fall of seconds"
    normal = known.mode(known.normal)
    assert normal.power_w == pytest.approx(model.power_w, rel=0.10)
    assert normal.hashrate_hs == pytest.approx(model.hashrate_hs, rel=0.10)
    learnt = site.identification.reported[known.key]
    assert learnt.ramp_up_s is not None and learnt.ramp_up_s.count >= 3 and learnt.ramp_up_s.confidence >= 0.6
    assert (learnt.ramp_up_s.value, assumed.ramp_up_s) == (known.ramp_up_s, pytest.approx(assumed.ramp_up_s))


def test_it_is_reported_seldom_and_a_restart_and_a_replay_know_it(lived: tuple[Path, Assembly]) -> None:
    folder, wired = lived
    config = load(folder / "hub.toml", environment={})
    journal = reading(folder / config.hub.data)
    reported = [event.body for _, event in journal.events(["dynamics.identified"])]
    assert 3 <= len(reported) <= 6 * len(TAUGHT), "news, not a stream"
    assert all(len(values) <= KEPT for body in reported for values in body["held"].values())
    ours = wired.hub.components.state.sites["alatau/north"]
    again = folded(config, journal).sites["alatau/north"]
    assert again.roster.groups == ours.roster.groups and again.identification.reported == ours.identification.reported
    assert np.array_equal(again.roster.mode_power_w, ours.roster.mode_power_w)
    found = replay_folder(folder)
    assert found.difference is None and found.commands > 2 * 25


def test_miners_that_tell_no_power_are_learnt_through_their_feeders_meters(tmp_path: Path) -> None:
    """Orders take more or less of the load for an hour each: the feeders' meters tell what one of the silent draws."""
    loop, epoch_ms = VirtualLoop(), from_iso(EPOCH)
    clock = loop_clock(epoch_ms, loop.time)
    mix = {"antminer-s19-pro": 2, "whatsminer-m50s": 1}
    spec = TwinSpec(hub="alatau", site="north", miners=45, seed=4, models=mix, feeders=2)
    config = load(write_simulated_site(tmp_path, Site(spec, epoch_ms), spec, epoch_ms), environment={})

    async def main() -> Assembly:
        wired = await simulated(config, tmp_path, tmp_path / config.hub.data, spec, clock)
        running = asyncio.create_task(wired.hub.run())
        for at, share in enumerate((0.45, 0.6, 0.75, 0.9)):
            await asyncio.sleep(2700.0)
            now_ms = clock.now_ms()
            cap_w = round(share * 45 * 3250.0)
            body = {"scope": "alatau/north", "power_w": cap_w, "until": iso(now_ms + 3_600_000), "reference": f"m-{at}"}
            order = read_order(body, "test", "test", now_ms)
            _, happened = wired.hub.components.state.book.receive(
                order, Authority("test", ("alatau/north",)), now_ms, body
            )
            await wired.hub.take(happened, "alatau/north")
            await asyncio.sleep(3600.0)
        await asyncio.sleep(3600.0)
        wired.hub.stop()
        await running
        return wired

    wired = run(main(), loop)
    site = wired.hub.components.state.sites["alatau/north"]
    silent = ("Antminer S19 Pro", "antminer")
    learnt = site.identification.reported[silent]
    assert learnt.sleep_w is None, "nobody told it"
    assert learnt.mode_power_w is not None and learnt.mode_power_w["normal"].confidence >= 0.6
    assert learnt.mode_power_w["normal"].value == pytest.approx(MODELS["antminer-s19-pro"].power_w, rel=0.10)
    known = next(one.envelope for one in site.roster.groups if one.envelope.key == silent)
    assert (
        known.mode("normal").power_w
        == learnt.mode_power_w["normal"].value
        != site.assumed[silent].mode("normal").power_w
    )


def falls(down_s: float, count: int) -> list[Episode]:
    at_ms = NOW_MS + np.arange(-1_000, 300_000, 1_000)
    reported = np.ones(len(at_ms), dtype=np.bool_)
    power = np.where(at_ms < NOW_MS + down_s * 1000, 3000.0, 20.0)
    return [Episode(("m", "f"), "d", Sleep(), NOW_MS, Track(at_ms, power, reported, power, reported))] * count


def test_news_is_what_became_sure_or_changed() -> None:
    book = IdentificationBook()
    book.take(falls(50.0, 2))
    assert book.reportable() == [], "two are not enough"
    book.take(falls(50.0, 1))
    assert book.reportable() == [("m", "f")]
    state = IdentificationBook()
    state.apply(book.body(("m", "f")))
    book.apply(book.body(("m", "f")))
    assert book.reportable() == [] and state.learnt(("m", "f")) == book.learnt(("m", "f"))
    book.take(falls(51.0, KEPT))
    assert book.reportable() == [], "within the noise"
    book.take(falls(80.0, KEPT))
    assert book.reportable() == [("m", "f")], "a new firmware, say"
    assert state.copy().learnt(("m", "f")) == state.learnt(("m", "f"))


def test_only_who_has_long_been_in_one_mode_teaches_its_watts() -> None:
    who = roster([envelope()], 6)
    asked, steady = never_commanded(who), Steadiness.of(who)

    def look(after_s: float, mode: int = 1) -> list[SteadyMode]:
        now_ms = NOW_MS + round(after_s * 1000)
        said = replace(seen(who, mode=mode, scale=0.9), at_ms=np.full(6, now_ms - 1000))
        return steady_round(who, said, steady.look(said, asked, now_ms, 60.0, 1800.0))

    assert look(0.0) == [] and look(1700.0) == []
    (found,) = look(1900.0)
    assert (found.key, found.mode) == (("m", "antminer"), "normal")
    assert found.power_w == Estimate(pytest.approx(2700.0), 0.0, 6)
    asked.proven_ms[:5] = NOW_MS + 1_000_000
    (found,) = look(2000.0)
    assert found.power_w is not None and found.power_w.count == 1, "five were commanded since"
    assert look(2100.0, mode=0) == [], "another mode begins anew"
    assert steady.mode.tolist() == [0] * 6 and UNSURE not in steady.mode


def test_a_firmware_that_is_asked_in_watts_is_not_chased() -> None:
    by_watts = envelope(commands=frozenset({"Sleep", "Wake", "PowerTarget"}))
    learnt = Dynamics(
        mode_power_w={"normal": Estimate(2700.0, 1.0, 50)}, mode_hashrate_hs={"normal": Estimate(9e13, 1.0, 50)}
    )
    better = refine(by_watts, learnt)
    assert better.mode("normal").power_w == 3000.0 and better.mode("normal").hashrate_hs == 9e13
    assert refine(envelope(), learnt).mode("normal").power_w == 2700.0


def test_lines_say_what_is_in_use_and_what_only_seen() -> None:
    by_watts = envelope("w", commands=frozenset({"Sleep", "Wake", "PowerTarget"}))
    learnt = Dynamics(
        ramp_up_s=Estimate(100.0, 90.0, 2),
        mode_power_w={"normal": Estimate(2700.0, 1.0, 50)},
        mode_hashrate_hs={"normal": Estimate(9e13, 1.0, 50)},
    )
    found = {by_watts.key: learnt, ("m", "antminer"): learnt}
    lines = learnt_lines(found, {by_watts.key: by_watts, ("m", "antminer"): envelope()})
    observed_of = {
        (line["model"], line["what"]): (line["identified"], line["assumed"], line["in_use"]) for line in lines
    }
    assert observed_of["m", "ramp_up_s"] == (100.0, 300.0, False), "not sure"
    assert observed_of["m", "mode_power_w"] == (2700.0, 3000.0, True)
    assert observed_of["m", "mode_j_per_th"] == (pytest.approx(30.0), pytest.approx(30.0), True)
    assert observed_of["w", "mode_power_w"] == (2700.0, 3000.0, False), "asked for by its watts"
    assert observed_of["w", "mode_hashrate_hs"] == (9e13, 1e14, True)
    (alone,) = learnt_lines({("gone", "x"): Dynamics(sleep_w=Estimate(9.0, 0.0, 9))}, {})
    assert alone["assumed"] is None and not alone["in_use"]


def test_seldom_polls_time_no_ramp() -> None:
    at_ms = NOW_MS + np.arange(-30_000, 1_200_000, 60_000)
    reported = np.ones(len(at_ms), dtype=np.bool_)
    falling = np.where(at_ms < NOW_MS + 20_000, 3000.0, 20.0)
    coarse = Episode(("m", "f"), "d", Sleep(), NOW_MS, Track(at_ms, falling, reported, falling, reported))
    rising = np.where(at_ms < NOW_MS + 40_000, 0.0, 1e14)
    quick = Episode(("m", "f"), "d", Wake(), NOW_MS, Track(at_ms, rising, reported, rising, reported))
    book = IdentificationBook()
    book.take([coarse, quick] * 3)
    found = book.learnt(("m", "f"))
    assert found.ramp_down_s is None and found.ramp_up_s is None
    assert found.sleep_w is not None and found.sleep_w.value == 20.0, "how deep it fell is known all the same"
