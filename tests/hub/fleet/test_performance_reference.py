# SPDX-License-Identifier: Apache-2.0
"""A running hub knows what is usual of each miner: who wears out and whom a pool takes no shares of becomes a ticket."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hub.app.demo_site import write_simulated_site
from hub.app.replay import replay_folder
from hub.app.simulate import EPOCH
from hub.app.virtual_time import VirtualLoop, run
from hub.cli.app import app
from hub.config import load
from hub.control.runtime import Periods
from hub.fleet.condition_monitor import ConditionDuty
from hub.journal.recorder import at_once
from hub.query.learnt import usual_json
from hub.wiring import Assembly, folded, put_together, reading
from hub.wiring.duties import ground
from kernel.clock import from_iso, loop_clock
from miner_control.health.performance_reference import FIGURES
from twin.in_memory import SimulatedSite
from twin.site import Site
from twin.spec import TwinSpec

MODELS = {"antminer-s21": 2, "bitaxe-supra": 1}
SPARSE = {"miner_fast_s = 60.0": "miner_fast_s = 300.0", "meter_s = 30.0": "meter_s = 300.0", "tick_s = 120.0": "tick_s = 600.0",
          "stale_after_s = 200.0": "stale_after_s = 1300.0",
          "simulated_speed_factor = 1.0": "simulated_speed_factor = 1.0\nobserve_only = true"}  # fmt: skip


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Assembly, list[str]]:
    """A day of nine miners in virtual time. Two wear out, of whom one is mended; one is paid no more.

    The hub only observes: all of them hash all day, small ones that find a share in three quarters of an hour too.
    """
    folder = tmp_path_factory.mktemp("usual")
    loop, epoch_ms = VirtualLoop(), from_iso(EPOCH)
    clock = loop_clock(epoch_ms, loop.time)
    spec = TwinSpec(hub="alatau", site="north", miners=9, seed=5, models=MODELS, faults={}, feeders=1, containers=0)
    path = write_simulated_site(folder, Site(spec, epoch_ms), spec, epoch_ms)
    text = path.read_text()
    for often, seldom in SPARSE.items():
        assert often in text
        text = text.replace(often, seldom)
    path.write_text(text)
    config = load(path, environment={})
    world = SimulatedSite(spec, clock)
    large = [unit for unit in world.site.units if unit.model.name == "antminer-s21"]
    worn, mended, unpaid, *_ = large
    rhythm = Periods(60.0, 60.0, 3600.0, 600.0, 3600.0, 3600.0, 600.0, 3600.0, 3600.0)

    async def main() -> Assembly:
        base = await ground(config, folder, folder / config.hub.data, clock, at_once(), np.random.default_rng(1))
        wired = put_together(
            base, lambda site, register: ({one.device: one for one in world.miners}, list(world.meters), {}), (),
            wiring="simulated", tick_s=15.0, rhythm=rhythm,
        )  # fmt: skip
        running = asyncio.create_task(wired.hub.run())
        await asyncio.sleep(11 * 3600.0)
        assert wired.hub.components.state.sites["alatau/north"].tickets.tickets(closed=True) == [], "a healthy fleet"
        for unit, faults in ((worn, {"worn"}), (mended, {"worn"}), (unpaid, {"no_shares"})):
            world.site.set_faults(unit, faults, clock.now_ms())
        await asyncio.sleep(6 * 3600.0)
        world.site.set_faults(mended, set(), clock.now_ms())
        await asyncio.sleep(5 * 3600.0)
        await wired.hub.components.recorder.flush()
        wired.hub.stop()
        await running
        return wired

    return folder, run(main(), loop), [unit.place.device for unit in (worn, mended, unpaid)]


def test_who_wears_out_is_a_ticket_with_its_evidence_until_it_is_mended(
    lived: tuple[Path, Assembly, list[str]],
) -> None:
    _, wired, (worn, mended, _) = lived
    site = wired.hub.components.state.sites["alatau/north"]
    found = {one.device: one for one in site.tickets.tickets(closed=True) if one.what == "degrading efficiency"}
    assert set(found) == {worn, mended}
    assert found[worn].open and not found[mended].open and found[worn].times == found[mended].times == 1
    evidence = found[worn].evidence
    assert 1.08 < evidence["j_per_th"] / evidence["usual_j_per_th"] < 1.2
    assert "more than it used to" in found[worn].text and evidence["usual_chip_c"] > 40.0


def test_who_is_paid_no_shares_is_a_ticket_though_its_pool_calls_itself_alive(
    lived: tuple[Path, Assembly, list[str]],
) -> None:
    _, wired, (*_, unpaid) = lived
    site = wired.hub.components.state.sites["alatau/north"]
    (ticket,) = (one for one in site.tickets.tickets(closed=True) if one.what == "stale pool")
    assert ticket.device == unpaid and ticket.open
    assert ticket.evidence["no_share_s"] >= 900.0 and ticket.evidence["pool_state"] == "alive"


def test_nobody_else_is_a_ticket(lived: tuple[Path, Assembly, list[str]]) -> None:
    _, wired, devices = lived
    site = wired.hub.components.state.sites["alatau/north"]
    assert {one.device for one in site.tickets.tickets(closed=True)} == set(devices)


def test_a_restart_knows_what_is_usual_and_closes_nothing(lived: tuple[Path, Assembly, list[str]]) -> None:
    folder, wired, (worn, *_) = lived
    config = load(folder / "hub.toml", environment={})
    journal = reading(folder / config.hub.data)
    (reported,) = [event.body for _, event in journal.events(["performance.updated"])]
    assert (
        set(reported) == {"day_ms", "devices", *FIGURES} and len(reported["devices"]) == len(reported["j_per_th"]) == 9
    )
    ours, again = wired.hub.components.state.sites["alatau/north"], folded(config, journal)
    site = again.sites["alatau/north"]
    assert np.array_equal(site.usual.usual, ours.usual.usual)
    recorder, clock = wired.hub.components.recorder, wired.hub.components.clock
    watch = ConditionDuty(again, recorder, clock, at_once(), 600.0, 7200.0)
    assert all(watch.look(clock.now_ms()) == [] for _ in range(4)), "not known lately is not mended"
    shown = usual_json(site.usual, site.roster.index[worn], again.snapshot.kind("miner").reading(worn))
    assert shown is not None and shown["days"] == 1
    assert shown["j_per_th"]["now"] > 1.08 * shown["j_per_th"]["reference"] and shown["chip_c"]["reference"] > 40.0
    result = CliRunner().invoke(app, ["miners", "show", str(folder), worn, "--json"])
    assert replay_folder(folder).difference is None
    assert result.exit_code == 0 and json.loads(result.stdout)["performance"]["j_per_th"] == shown["j_per_th"]
