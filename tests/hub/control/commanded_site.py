# SPDX-License-Identifier: Apache-2.0
"""A simulated site at real pace whose hub is commanded, stopped and started again in virtual time, and the alarms that follow.

The devices outlive the hub: a restart finds them as they are by then. Polls, ticks and alarms turn as often as at a live site.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from grid.order import read_order
from grid.order_book import Authority
from hub import wiring
from hub.app.demo_site import write_simulated_site
from hub.app.virtual_time import VirtualLoop, run
from hub.config import load
from hub.control.runtime import Periods
from hub.journal.recorder import at_once
from hub.state.fold import HubState
from hub.state.site import SiteState
from hub.wiring.duties import ground
from kernel.clock import from_iso, iso, loop_clock
from kernel.reading import Reading
from miner_control.control.auxiliary_load import SwitchPort
from miner_control.fleet.driver import MinerDriver
from miner_control.inventory.asset_register import AssetRegister
from telemetry.collect.source import Source, Tier
from twin.in_memory import SimulatedMeter, SimulatedSite
from twin.site import Site
from twin.spec import TwinSpec

EPOCH_MS = from_iso("2026-03-02T00:00:00+05:00")
KEY = "alatau/north"
RHYTHM = Periods(5.0, 10.0, 30.0, 60.0, 300.0, 5.0, 60.0, 10.0, 3600.0)
MODELS = {
    "antminer-s21": 2, "antminer-s19k-pro": 3, "whatsminer-m50s": 3, "whatsminer-m60s": 2, "luxos-s19k-pro": 2,
    "vnish-s21-pro": 2, "braiins-s21-pro": 2, "avalon-a1466": 2, "epic-s19-xp": 1, "auradine-at2880": 1,
    "antminer-s21-hyd": 2,
}  # fmt: skip
AROUND = """
run_on_s = 120.0
loads = [
  { name = "oil-pump", kind = "pump", device = "container-1", power_w = 2000, serves = { feeders = ["f1", "f2"] } },
  { name = "dry-cooler", kind = "fan", device = "container-1", power_w = 900, serves = { feeders = ["f1", "f2"] } },
]
cooling_loops = [
  { name = "tank", device = "container-1", serves = { feeders = ["f1", "f2"] }, inlet_min_c = 5, frost_protection_c = -30 },
]
containers = [{ name = "container-1", profile = "bitdeer_d40", topic = "container-1-" }]
"""


class HallSensor:
    """A sensor in the hall: outside air, and warmer by what the miners draw."""

    kind = "sensor"
    device = f"{KEY}/hall"
    lane = "hall"

    def __init__(self, world: SimulatedSite) -> None:
        self._world = world

    async def read(self, tier: Tier) -> Reading:
        now_ms = self._world.now()
        machines = self._world.site.machines
        load = float(machines.power().sum() / machines.nominal_w.sum())
        air_c = machines.weather.at(now_ms)
        return Reading(self.device, self.kind, now_ms, {"temp_c": air_c + 12.0 * load, "humidity_pct": 40.0})


class RatedMeter:
    """A meter of the site whose current transformers may have another ratio than it was told."""

    kind, lane = "meter", "meters"

    def __init__(self, meter: SimulatedMeter, ratios: Mapping[str, float]) -> None:
        self.device, self._meter, self._ratios = meter.device, meter, ratios

    async def read(self, tier: Tier) -> Reading:
        found, ratio = await self._meter.read(tier), self._ratios.get(self._meter.meter.name, 1.0)
        return replace(found, values={**found.values, "power_w": ratio * (found.number("power_w") or 0.0)})


@dataclass
class Commanded:
    """The site, its hub while it runs, and the clock."""

    folder: Path
    spec: TwinSpec
    loop: VirtualLoop = field(default_factory=VirtualLoop)
    settings: Mapping[str, str] = field(default_factory=dict)
    wired: Any = None
    running: "asyncio.Task[None] | None" = None
    orders: int = 0
    ratios: dict[str, float] = field(default_factory=dict)
    """Meters (by name) that show so much of the truth."""

    def __post_init__(self) -> None:
        self.clock = loop_clock(EPOCH_MS, self.loop.time)
        path = write_simulated_site(self.folder, Site(self.spec, EPOCH_MS), self.spec, EPOCH_MS)
        text = path.read_text().replace('inventory = "inventory.csv"', f'inventory = "inventory.csv"{AROUND}', 1)
        changes = {
            "tick_s = 120.0": "tick_s = 10.0", "stale_after_s = 200.0": "stale_after_s = 30.0",
            "command_deadline_s = 1800.0": "command_deadline_s = 120.0", "miner_fast_s = 60.0": "miner_fast_s = 5.0",
            "miner_slow_s = 3600.0": "miner_slow_s = 300.0", "meter_s = 30.0": "meter_s = 5.0",
            "inrush_w_per_s = 400000.0": "inrush_w_per_s = 150.0", **self.settings,
        }  # fmt: skip
        for old, new in changes.items():
            assert old in text, old
            text = text.replace(old, new)
        path.write_text(text)
        self.config = load(path, environment={})
        self.world = SimulatedSite(self.spec, self.clock)

    # --- the hub ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        base = await ground(
            self.config, self.folder, self.folder / "data", self.clock, at_once(), np.random.default_rng(5)
        )

        def devices(
            site: SiteState, register: AssetRegister
        ) -> tuple[dict[str, MinerDriver], list[Source], dict[str, MinerDriver]]:
            containers = {one.device: one for one in self.world.containers}
            loads: dict[str, MinerDriver] = {
                one.key: SwitchPort(one, containers[one.device]) for one in site.around.loads
            }
            meters = [RatedMeter(meter, self.ratios) for meter in self.world.meters]
            others: list[Source] = [*meters, *self.world.containers, HallSensor(self.world)]
            return {miner.device: miner for miner in self.world.miners}, others, loads

        self.wired = wiring.put_together(base, devices, (), wiring="simulated", tick_s=2.5, rhythm=RHYTHM)
        self.running = asyncio.create_task(self.wired.hub.run())

    async def stop(self) -> None:
        assert self.running is not None
        self.wired.hub.stop()
        await self.running
        self.running = None

    async def restart(self, down_s: float = 30.0) -> None:
        await self.stop()
        await asyncio.sleep(down_s)
        await self.start()

    @property
    def state(self) -> HubState:
        return self.wired.hub.components.state  # type: ignore[no-any-return]

    @property
    def site(self) -> SiteState:
        return self.state.sites[KEY]

    # --- what is asked of it --------------------------------------------------------------------------------------------

    async def order(self, power_w: float, for_s: float) -> None:
        """A dispatcher's limit for so long from now."""
        now_ms = self.clock.now_ms()
        self.orders += 1
        body = {
            "scope": KEY, "power_w": power_w, "until": iso(now_ms + round(for_s * 1000)), "reference": f"t-{self.orders}",
        }  # fmt: skip
        order = read_order(body, "test", "simulated", now_ms)
        _, happenings = self.state.book.receive(order, Authority("test", (KEY,)), now_ms, body)
        await self.wired.hub.take(happenings, KEY)

    def meter_w(self) -> float:
        last = self.state.traces[f"{KEY}/meter-main"].last()
        assert last is not None
        return last[1]

    def modes(self) -> dict[str, int]:
        """How many miners truly do what."""
        machines = self.world.site.machines
        machines.advance(self.clock.now_ms())
        found: dict[str, int] = {}
        for index in range(machines.n):
            state = machines.state(index)
            if state == "hashing" and machines.want_w[index] < 0.99 * machines.nominal_w[index]:
                state = "lowered"
            found[state] = found.get(state, 0) + 1
        return found

    # --- what came of it ------------------------------------------------------------------------------------------------

    def changes(self) -> list[tuple[int, Mapping[str, Any]]]:
        """(instant, body) of every change of an alarm so far."""
        journal = self.wired.hub.components.recorder.journal
        return [(event.at_ms, event.body) for _, event in journal.events(["alarm.changed"])]

    def shown(self) -> list[tuple[int, Mapping[str, Any]]]:
        """Those changes by which an alarm came onto the operator's list."""
        return [
            (at_ms, body)
            for at_ms, body in self.changes()
            if (body["what"] == "raised" and not body.get("suppressed")) or body["what"] == "unsuppressed"
        ]

    def annunciated(self) -> list[str]:
        """The same as text: seconds since the start, what, rule, scope, value."""
        return [
            f"{(at_ms - EPOCH_MS) / 1000:.0f} s {body['what']} {body['rule']} at {body['scope']} ({body.get('value')})"
            for at_ms, body in self.shown()
        ]


def lived(made: Commanded, story: Callable[[Commanded], Awaitable[None]]) -> None:
    """The story from the hub's first start to its orderly end."""

    async def main() -> None:
        await made.start()
        try:
            await story(made)
        finally:
            if made.running is not None:
                await made.stop()

    run(main(), made.loop)
