# SPDX-License-Identifier: Apache-2.0
"""A site that generates behind its main meter: what its meters mean, and a running hub with demand above the connection."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hub.app.live import Running, start
from hub.app.replay import replay_folder
from hub.config import load
from hub.control.plan_duty import take_blocks
from hub.control.shadow_tick import glimpse
from hub.control.tick import TickSettings, decide
from hub.query import status
from hub.state.fold import HubState
from hub.state.site import SiteState
from hub.state.site_generation import awaits_meter
from hub.state.situation import Freshness, SiteSituation, situation_at
from hub.wiring.state import catalogue, empty_state
from kernel.clock import MS_PER_HOUR, iso, system_clock
from kernel.curve import Curve
from kernel.errors import ConfigError
from kernel.reading import Reading
from kernel.span import floor_ms
from miner_control.control.allocate import Allocation
from scheduling.plan import Schedule
from tests.hub_site import World, until, world

CAP_W, OWN_W = 26_000.0, 12_000.0
"""Eight miners draw about 31 kW at the meter when nothing is generated."""


def with_generation(site: World) -> Any:
    start_ms = floor_ms(system_clock().now_ms(), MS_PER_HOUR) - MS_PER_HOUR
    ends = f"{iso(start_ms)},{iso(start_ms + 72 * MS_PER_HOUR)}"
    head = f"# name: generation\n# unit: MW\n# known_at: {iso(start_ms)}\n# source: test\nstart,end,value\n"
    (site.folder / "feeds" / "generation.csv").write_text(f"{head}{ends},{OWN_W / 1e6}\n")
    text = site.config.read_text()
    capacity = next(line for line in text.splitlines() if line.startswith("import_cap_w"))
    site.config.write_text(text.replace(capacity, f"import_cap_w = {CAP_W}"))
    return load(site.config, environment={})


def sleeps(hub: Running) -> list[Any]:
    journal = hub.wired.hub.components.recorder.journal
    issued = [event.body for _, event in journal.events(["command.issued"])]
    return [body for body in issued if body["intent"] == "Sleep"]


def hashing(hub: Running) -> int:
    return int(hub.ports.sites.status("north")["counts"]["hashing"])


@pytest.mark.timeout(300)
def test_generation_carries_miners_above_the_connection_until_it_is_gone(tmp_path: Path) -> None:
    async def main(site: World) -> None:
        config = with_generation(site)
        async with start(config, tmp_path) as hub:
            here = hub.wired.hub.components.state.sites["alatau/north"]
            factor = here.overhead_factor
            await until("a plan with generation", lambda: here.plan is not None and "generation_w" in here.plan, 60)
            await until("all hash", lambda: hashing(hub) == 8, 60)
            assert here.plan is not None
            assert here.plan["power_w"][0] + here.plan["generation_w"][0] > CAP_W > here.plan["power_w"][0]
            for _ in range(20):
                power = hub.ports.sites.status("north")["power"]
                assert hashing(hub) == 8 and power["main"]["value"] < CAP_W < power["miners"]["value"]
                assert power["gap_pct"] is None, "a net meter says nothing about losses"
                await asyncio.sleep(1.0)
            assert not sleeps(hub) and here.overhead_factor == factor
        await asyncio.sleep(16.0)
        async with start(config, tmp_path) as hub:
            await until("it is back", lambda: hub.wired.hub.ticks > 5, 60)
            assert not sleeps(hub) and hashing(hub) == 8, (
                "a restart finds no meter's reading yet: it is no reason to shed"
            )
            site.control("/fault", {"service": True, "faults": ["generation_off"]})
            await until("miners sleep", lambda: sleeps(hub), 20)
            await until(
                "the meter obeys", lambda: hub.ports.sites.status("north")["power"]["main"]["value"] <= CAP_W, 60
            )
            assert 0 < len({body["device"] for body in sleeps(hub)}) < 8
            counted_w = (hub.wired.hub.components.state.sites["alatau/north"].tick or {}).get("generation_w", 0.0)
            assert counted_w < 0.1 * OWN_W, "what the readings of miners and meter differ by, no more"
        replayed = await asyncio.to_thread(replay_folder, tmp_path)
        assert replayed.difference is None and replayed.commands > 0

    spec = {"models": {"antminer-s21": 1}, "feeders": 1, "pace": 160.0, "generation": ((0.0, OWN_W),)}
    with world(tmp_path, miners=8, miner_host="127.78.27.1", **spec) as site:
        asyncio.run(main(site))


# --- what the meters mean, on a site of four miners without a running hub --------------------------------------------------

METER = """
[[sites.meters]]
name = "solar"
role = "generation"
profile = "abb_b23"
host = "127.0.0.1"
unit = 9
%s
"""
TAKE = """
take_or_pay = [{ name = "base", energy_mwh_per_day = 1, penalty_per_mwh = 5, source = "contract", valid_from = 2020-01-01 }]
"""
PUMP = """
import_cap_w = 11000.0
switches = [{ name = "yard", profile = "modbus_contactors", host = "127.0.0.1", parameters = { outputs = 2 } }]
loads = [{ name = "pump", kind = "pump", device = "yard", index = 2, power_w = 2000, serves = { feeders = ["f1"] } }]
"""
FACTOR, LOAD_W = 1.05, 12_000.0
SETTINGS = TickSettings(60.0)


class Quiet:
    """A state whose four miners draw 12 kW, and what its meters and curves are made to say."""

    def __init__(self, folder: Path, meter: str | None = None, more: str = TAKE) -> None:
        with world(folder, miners=4, miner_host="127.78.28.1", feeders=1, containers=0) as site:
            text = site.config.read_text().replace(
                'inventory = "inventory.csv"', f'inventory = "inventory.csv"{more}', 1
            )
            if "import_cap_w" in more:
                text = "".join(line for line in text.splitlines(True) if not line.startswith("import_cap_w = 1000"))
            site.config.write_text(text + ("" if meter is None else METER % meter))
            self.config = load(site.config, environment={})
        self.state: HubState = empty_state(self.config, catalogue())
        self.site: SiteState = self.state.sites["alatau/north"]
        self.site.overhead_factor = FACTOR
        self.now_ms = system_clock().now_ms()
        for device in self.site.roster.devices:
            values = {"state": "hashing", "mode": "normal", "power_w": LOAD_W / 4, "hashrate_hs": 2e14}
            self.state.snapshot.hear(Reading(device, "miner", self.now_ms - 1000, values))

    def says(self, meter: str, power_w: float, age_s: float = 0.5) -> None:
        self.state.traces[f"alatau/north/{meter}"].add(self.now_ms - round(age_s * 1000), power_w)

    def forecast(self, power_w: float, known_s: float, start_s: float = -3_600.0) -> None:
        at_ms = np.array([self.now_ms + round(start_s * 1000)])
        curve = Curve("generation", "MW", at_ms, at_ms + MS_PER_HOUR * 2, np.array([power_w / 1e6]),
                      self.now_ms + round(known_s * 1000), "test")  # fmt: skip
        self.state.curves["generation"] = [*self.state.curves.get("generation", []), curve]

    def tick(self) -> dict[str, Any]:
        return dict(decide(self.state, self.site, self.now(), SETTINGS).body)

    def gap_pct(self) -> float | None:
        return status.power(self.site, self.now())["gap_pct"]

    def now(self) -> SiteSituation:
        return situation_at(self.state, self.site, self.now_ms, Freshness(60.0))

    def drawn_w(self) -> float:
        return self.now().drawn_w


def test_a_net_meter_teaches_no_losses_and_its_site_is_seen_as_it_draws(tmp_path: Path) -> None:
    quiet = Quiet(tmp_path)
    demand_w = FACTOR * LOAD_W
    quiet.says("meter-main", demand_w)
    assert quiet.tick()["overhead_seen"] == pytest.approx(FACTOR) and quiet.drawn_w() == pytest.approx(demand_w)
    assert quiet.gap_pct() == pytest.approx(100 * (1 - 1 / FACTOR))
    assert not awaits_meter(quiet.state, quiet.site, quiet.now_ms, 15.0)
    quiet.forecast(4_000.0, known_s=-60.0)
    quiet.says("meter-main", demand_w - 4_000.0, age_s=0.4)
    body = quiet.tick()
    assert body["overhead_seen"] is None and quiet.gap_pct() is None
    assert body["generation_w"] == pytest.approx(4_000.0) and quiet.drawn_w() == pytest.approx(demand_w - 4_000.0)
    quiet.forecast(9_000.0, known_s=-30.0, start_s=3_600.0)
    assert quiet.tick()["generation_w"] == pytest.approx(4_000.0), "tomorrow's forecast says nothing of now"
    quiet.forecast(0.0, known_s=-20.0)
    assert quiet.tick()["overhead_seen"] == pytest.approx((demand_w - 4_000.0) / LOAD_W), "at night the meter is all"
    quiet.now_ms += 16_000
    assert "generation_w" not in quiet.tick() and quiet.drawn_w() == pytest.approx(demand_w)


def test_what_was_counted_on_a_tick_ago_holds_while_miners_change(tmp_path: Path) -> None:
    quiet = Quiet(tmp_path)
    quiet.forecast(4_000.0, known_s=-60.0)
    quiet.says("meter-main", FACTOR * LOAD_W - 3_000.0)
    ramping = {"state": "ramping", "mode": "normal", "power_w": 100.0, "hashrate_hs": 0.0}
    quiet.state.snapshot.hear(Reading(quiet.site.roster.devices[0], "miner", quiet.now_ms - 500, ramping))
    assert quiet.tick().get("generation_w", 0.0) < 100.0
    for age_s, counted in ((2.0, 3_000.0), (20.0, 0.0)):
        quiet.site.tick = {"tick_ms": quiet.now_ms - round(age_s * 1000), "generation_w": 3_000.0}
        assert quiet.tick().get("generation_w", 0.0) == pytest.approx(counted, abs=100.0), age_s


def test_generation_is_room_for_a_pump_that_must_start_first(tmp_path: Path) -> None:
    quiet = Quiet(tmp_path, more=PUMP)
    sleeper = {"state": "asleep", "mode": "normal", "power_w": 20.0, "hashrate_hs": 0.0}
    quiet.state.snapshot.hear(Reading(quiet.site.roster.devices[0], "miner", quiet.now_ms - 500, sleeper))
    quiet.state.snapshot.hear(Reading("alatau/north/yard", "switch", quiet.now_ms - 500, {"output_2_state": "off"}))
    quiet.says("meter-main", FACTOR * (0.75 * LOAD_W + 20.0) - 5_000.0)
    quiet.site.schedule = Schedule("p", np.array([0, 1 << 47]), np.array([200_000.0]), ("it pays",))

    def rules() -> list[str]:
        return [rule for rule, _, _ in quiet.tick()["restraints"]]

    assert rules() == [], "a cap of 11 kW has no room for a fourth miner"
    quiet.forecast(5_000.0, known_s=-60.0)
    assert rules() == ["cooling first"], "with 5 kW of generation there is, and for its pump"


def test_a_generation_meter_tells_what_no_figure_of_a_miner_has_to(tmp_path: Path) -> None:
    quiet = Quiet(tmp_path, "")
    demand_w = 1.08 * LOAD_W
    assert awaits_meter(quiet.state, quiet.site, quiet.now_ms, 15.0), "it was not read yet"
    quiet.says("meter-main", demand_w - 5_000.0)
    assert quiet.tick()["overhead_seen"] is None and quiet.gap_pct() is None, "silent: not known how much it is"
    quiet.says("solar", 5_000.0)
    body = quiet.tick()
    assert body["generation_w"] == 5_000.0 and body["overhead_seen"] == pytest.approx(1.08)
    assert quiet.gap_pct() == pytest.approx(100 * (1 - 1 / 1.08))
    assert not awaits_meter(quiet.state, quiet.site, quiet.now_ms, 15.0)
    assert [ref.role for ref in quiet.site.meter_refs()] == ["main", "feeder", "generation"]


def test_a_generation_meter_cannot_be_the_billing_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Quiet(tmp_path, "billing = true")
    (fault,) = caught.value.faults
    assert "energy of a generation meter is not billed" in str(fault)


def test_what_flows_out_is_neither_bought_nor_taken_back(tmp_path: Path) -> None:
    quiet = Quiet(tmp_path)
    fleet = quiet.now().fleet
    none = Allocation(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), LOAD_W, 0.0, np.zeros(1))
    assert glimpse(fleet, none, None, FACTOR, [], None, generation_w=2_600.0).power_w == pytest.approx(10_000.0)
    more = replace(none, power_w=LOAD_W - 2_000.0)
    out = glimpse(fleet, more, -500.0, FACTOR, [], None)
    assert (out.power_w, out.would_w) == (0.0, 0.0)
    quiet.now_ms = floor_ms(quiet.now_ms, 24 * MS_PER_HOUR) + 10 * MS_PER_HOUR
    for age_s, power_w in ((7_200.0, 4_000.0), (3_600.0, 4_000.0), (3_599.0, -4_000.0), (1.0, -4_000.0)):
        quiet.says("meter-main", power_w, age_s)
    used_wh = take_blocks(quiet.config, quiet.state, quiet.site, quiet.now_ms)[0].used_wh
    assert used_wh == pytest.approx(4_000.0, abs=2.0)
