# SPDX-License-Identifier: Apache-2.0
"""A hub's day in virtual time: the live hub's own rooms on simulated devices, with an order in the middle.

Nothing here knows the wall clock: the same days, seed and miners give the same bytes.
"""

import asyncio
import gc
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from grid.order import read_order
from grid.order_book import Authority
from hub.app.demo_site import ORDER_SHARE, write_simulated_site
from hub.app.run_figures import run_figures
from hub.app.virtual_time import VirtualLoop, run
from hub.config import Config, load
from hub.control.runtime import Periods
from hub.journal.recorder import at_once
from hub.state.site import SiteState
from hub.wiring import Assembly, put_together
from hub.wiring.duties import ground
from kernel.clock import Clock, from_iso, iso, loop_clock
from kernel.span import Span
from kernel.units import S_PER_DAY
from miner_control.control.auxiliary_load import SwitchPort
from miner_control.fleet.driver import MinerDriver
from miner_control.inventory.asset_register import AssetRegister
from telemetry.collect.source import Source
from twin.in_memory import SimulatedSite
from twin.site import Site
from twin.spec import TwinSpec

EPOCH = "2026-03-02T00:00:00+05:00"
ORDER_FROM, ORDER_FOR = 0.75, 1.0 / 24.0


def simulate(days: float, seed: int, miners: int, folder: Path | None = None) -> dict[str, Any]:
    """Live through `days` and give the figures. Without a folder nothing is kept."""
    with tempfile.TemporaryDirectory() as made:
        return _simulate(days, seed, miners, folder or Path(made))


def _simulate(days: float, seed: int, miners: int, folder: Path) -> dict[str, Any]:
    loop = VirtualLoop()
    epoch_ms = from_iso(EPOCH)
    clock = loop_clock(epoch_ms, loop.time)
    spec = TwinSpec(hub="alatau", site="north", miners=miners, seed=seed)
    config = load(write_simulated_site(folder, Site(spec, epoch_ms), spec, epoch_ms), environment={})

    async def main() -> dict[str, Any]:
        wired = await simulated(config, folder, folder / config.hub.data, spec, clock)
        # Nothing built so far is garbage, and readings hold no circles: the collector of circles may rest.
        gc.freeze()
        gc.set_threshold(100_000, 50, 100)
        running = asyncio.create_task(wired.hub.run())
        length_s = days * S_PER_DAY
        await asyncio.sleep(length_s * ORDER_FROM)
        await _order(wired, clock, epoch_ms + round(length_s * 1000 * (ORDER_FROM + ORDER_FOR)))
        await asyncio.sleep(length_s * (1.0 - ORDER_FROM))
        span = Span(epoch_ms + 60_000, clock.now_ms() - 60_000)
        await wired.hub.components.recorder.flush()
        figures = run_figures(wired, config, span, miners)
        wired.hub.stop()
        await running
        return {"days": days, "seed": seed, **figures, "position": wired.hub.components.recorder.position}

    return run(main(), loop)


async def _order(wired: Assembly, clock: Clock, until_ms: int) -> None:
    """A dispatcher asks for less, until an hour later."""
    components = wired.hub.components
    site = next(iter(components.state.sites.values()))
    last = components.state.traces[site.main or ""].last()
    if last is None:
        return
    body = {"scope": site.key, "power_w": round(last[1] * ORDER_SHARE), "until": iso(until_ms), "reference": "sim-1"}
    now_ms = clock.now_ms()
    order = read_order(body, "simulation", "simulated", now_ms)
    _, happenings = components.state.book.receive(order, Authority("simulation", (site.key,)), now_ms, body)
    await wired.hub.take(happenings, site.key)


async def simulated(config: Config, folder: Path, data: Path, spec: TwinSpec, clock: Clock) -> Assembly:
    """The same hub on simulated devices behind the ports, for virtual time. `spec` is of the configuration's one site."""
    base = await ground(config, folder, data, clock, at_once(), np.random.default_rng([spec.seed, 17]))
    world = SimulatedSite(spec, clock)

    def devices(
        site: SiteState, register: AssetRegister
    ) -> tuple[dict[str, MinerDriver], list[Source], dict[str, MinerDriver]]:
        containers = {container.device: container for container in world.containers}
        loads: dict[str, MinerDriver] = {
            load.key: SwitchPort(load, containers[load.device]) for load in site.around.loads
        }
        return {miner.device: miner for miner in world.miners}, [*world.meters, *world.containers], loads

    return put_together(
        base,
        devices,
        (),
        wiring="simulated",
        tick_s=15.0,
        rhythm=Periods(60.0, 15.0, 60.0, 60.0, 60.0, 300.0, 3600.0, 60.0, 900.0),
    )
