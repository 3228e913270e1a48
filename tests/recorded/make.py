# SPDX-License-Identifier: Apache-2.0
"""Recording of a small hub's folder by the code of before the packages were rearranged.

    python -m tests.recorded.make FOLDER

It was run once, at the commit that `before_rooms/README.md` names, and stays here to say how the folder came about: its imports
and those of `folder.py`, `life.py` and `story.py` are of that commit. It is not to be run again: what newer code records proves
nothing about older journals. Where the test of the recording fails, the code is to be put right, or `state_dump.py`, which
follows the code's names.
"""

import copy
import json
import logging
import math
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hub.settling
import numpy as np
from hub.recorder import Recorder, at_once
from hub.runtime import Rhythm
from hub.simulation import SimulatedContainer, SimulatedMeter, SimulatedMiner, SimulatedSite
from hub.twin.exchange import Ask
from hub.twin.finance import CentralBank, FinanceSpec, Pool, Venue
from hub.virtual_time import VirtualLoop, run
from miner_control.command import Intent, SetCredential
from miner_control.load import SwitchPort
from miner_control.register import Register
from telemetry.source import Tier

import hub.wiring
import treasury.io.pool_braiins
import treasury.io.rates_nbk
import treasury.io.venue_http
from hub.config import Config, load
from hub.state import SiteState
from hub.wiring import Wired, put_together
from hub.wiring.devices import periods
from hub.wiring.duties import ground
from hub.wiring.keeping import keeping
from kernel.clock import Clock
from kernel.errors import TransportError
from kernel.reading import Field, Reading, Reason
from kernel.receipt import Accepted, Receipt, Refused, Unsupported, Verified
from telemetry.io.archive_parquet import ParquetArchive
from telemetry.io.journal_sqlite import open_journal
from tests.recorded.folder import EPOCH_MS, NORTH, SOUTH, write_configs, write_folder
from tests.recorded.shipped import shipped_as

GATHER_S = 140.0
OFTEN = {Tier.FAST: 60.0, Tier.SLOW: 600.0, Tier.DAILY: 86_400.0}
RARELY = {Tier.FAST: 160.0, Tier.SLOW: 640.0}
"""What changes little is asked rarely, so that the recording stays small."""


class World:
    """Virtual time whose clock can be set, and what outlives a hub: both sites, pool, bank and venue."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop, self.set_ms = loop, 0
        self.clock = Clock(now_ms=lambda: EPOCH_MS + round(loop.time() * 1000) + self.set_ms, monotonic_s=loop.time)
        self.sites = {spec.site: SimulatedSite(spec, self.clock) for spec in (NORTH, SOUTH)}
        self.north = self.sites["north"]
        spec = FinanceSpec(payout_every_s=NORTH.payout_every_s)
        # Hundreds of hashes for each that is done: a dozen miners would wait a day for a payout that can be divided.
        self._pool = Pool(spec, NORTH.seed, lambda: 500 * self.north.hashes_done(), self.clock)
        self._answers = {9001: self._pool, 9002: CentralBank(spec, self.clock), 9003: Venue(spec, self.clock)}
        self.schedules: dict[str, dict[str, Any]] = {}
        """What firmwares say of their own schedules, by miner."""
        self.relay = Relay(self.clock)
        self.dump: dict[str, Any] = {}

    async def fetch(self, what: str, method: str, url: str, **more: Any) -> bytes:
        """`treasury.io.web.fetch` without a socket."""
        parts = urlsplit(url)
        body = json.dumps(more["body"]).encode() if more.get("body") is not None else b""
        headers = {name.lower(): value for name, value in (more.get("headers") or {}).items()}
        answer = self._answers[int(parts.port or 0)].answer(
            Ask(method, parts.path, dict(more.get("params") or {}), headers, body)
        )
        if answer.status != 200:
            raise TransportError(Reason.REFUSED, f"{what}: HTTP {answer.status}")
        return answer.body


def coarse(reading: Reading) -> Reading:
    """The reading with figures as devices have them: five digits, and whole watt-hours. Noise in the last bits would be most of
    the recording."""
    values: dict[str, Field] = {}
    for name, value in reading.values.items():
        if isinstance(value, float) and value:
            exponent = 0 if name.startswith("energy_") else math.frexp(value)[1] - 16
            value = math.ldexp(round(math.ldexp(value, -exponent)), exponent)
        values[name] = value
    return replace(reading, values=values)


class Miner(SimulatedMiner):
    """A simulated miner that also takes a new password and says which of its own schedules are on."""

    world: World

    async def read(self, tier: Tier) -> Reading:
        found = await super().read(tier)
        told = self.world.schedules.get(self.device)
        more: dict[str, Any] = {} if told is None else {"schedules_json": json.dumps(told)}
        if tier is Tier.DAILY and "duplicate_serial" in self._unit.faults:
            other = self._simulated.site.units[self._index - 1].place
            more |= {"serial": other.serial, "mac": other.mac}
        return coarse(replace(found, values={**found.values, **more}))

    async def carry_out(self, intent: Intent, deadline_s: float) -> Receipt:
        if isinstance(intent, SetCredential) and self._unit.model.dialect == "whatsminer":
            return Accepted()
        return await super().carry_out(intent, deadline_s)


class Meter:
    """A simulated meter that tells what is decided by each time, and the rest now and then."""

    kind = "meter"
    OFTEN = ("power_w", "energy_import_wh", "power_l1_w", "power_l2_w", "power_l3_w")

    def __init__(self, meter: SimulatedMeter, keep: Callable[[bytes], str]) -> None:
        self.device, self.lane, self._meter, self._keep = meter.device, meter.lane, meter, keep

    async def read(self, tier: Tier) -> Reading:
        found = coarse(await self._meter.read(tier))
        if tier is not Tier.FAST:
            frame = f"frame of {self.device} at {found.at_ms}".encode()
            return replace(found, evidence=self._keep(frame)) if self.device.endswith("north/meter-main") else found
        return replace(found, values={name: found.values[name] for name in self.OFTEN})


class Told:
    """A simulated container that tells coarse figures."""

    kind = "container"

    def __init__(self, container: SimulatedContainer) -> None:
        self.device, self.lane, self._container = container.device, container.lane, container

    async def read(self, tier: Tier) -> Reading:
        return coarse(await self._container.read(tier))


class Sparing(Recorder):
    """The hub's recorder with readings in larger batches: at most one of a kind each `GATHER_S`."""

    _heard_s = -GATHER_S

    async def flush(self, *, required: bool = False) -> None:
        now_s, held = self._clock.monotonic_s(), self._readings
        if now_s - self._heard_s < GATHER_S:
            self._readings = deque()
        else:
            self._heard_s, held = now_s, deque()
        await super().flush(required=required)
        self._readings = deque([*held, *self._readings])


class Relay:
    """A relay of eight outputs that reads each write back."""

    device, kind, lane = "alatau/north/relay-1", "switch", "relay-1"

    def __init__(self, clock: Clock) -> None:
        self._clock, self.on = clock, [False] * 8

    async def read(self, tier: Tier) -> Reading:
        told = {f"output_{at}_state": "on" if on else "off" for at, on in enumerate(self.on, start=1)}
        return Reading(self.device, self.kind, self._clock.now_ms(), {**told, "temp_c": 31.0})

    async def switch(self, name: str, index: int, on: bool, *, deadline_s: float) -> Receipt:
        if name != "output":
            return Unsupported(f"no output {name}")
        if index > len(self.on):
            return Refused("2", "illegal data address")
        self.on[index - 1] = on
        return Verified(await self.read(Tier.SLOW), 0.0)


class Plain:
    """A source that tells what a function gives."""

    def __init__(self, device: str, kind: str, clock: Clock, tell: Any) -> None:
        self.device, self.kind, self.lane, self._clock, self._tell = device, kind, device, clock, tell

    async def read(self, tier: Tier) -> Reading:
        return Reading(self.device, self.kind, self._clock.now_ms(), self._tell())


async def wired(world: World, config: Config, folder: Path) -> Wired:
    """The hub's own parts on the simulated devices of both sites, with archive, billing and retention."""
    base = await ground(config, folder, folder / "data", world.clock, at_once(), np.random.default_rng([11, 17]))

    def devices(site: SiteState, register: Register) -> Any:
        here = world.sites[site.config.name]
        miners: dict[str, Any] = {}
        for one in here.miners:
            made = Miner(here, one._unit)
            made.world = world
            miners[made.device] = made
        others: list[Any] = [*(Meter(one, base.journal.keep) for one in here.meters), *map(Told, here.containers)]
        if site.config.name == "north":
            generation = here.site.generation
            told = lambda: {  # noqa: E731
                "power_w": generation.power_w(here.now()), "energy_import_wh": 1_000.0, "serial": "PV1",
            }  # fmt: skip
            others += [
                Plain("alatau/north/meter-pv", "meter", world.clock, told),
                Plain("alatau/north/rtd-1", "sensor", world.clock, lambda: {"temp_c": 24.5, "humidity_pct": 40.0}),
                world.relay,
            ]
        switching = {one.device: one for one in [*here.containers, world.relay]}
        loads = {load.key: SwitchPort(load, switching[load.device]) for load in site.around.loads}
        return miners, others, loads

    quiet = config.model_copy(update={"sinks": ()})
    kept = keeping(type(base)(**{name: getattr(base, name) for name in base.__slots__} | {"config": quiet}))
    rhythm = Rhythm(record_s=5, orders_s=10, clock_s=60, plan_s=30, feeds_s=60, alarms_s=30, watch_s=25, work_s=10,
                    learn_s=120)  # fmt: skip
    hub.settling.PAUSE_S = 20.0
    hub.wiring.Recorder = Sparing
    paces = {"meter": OFTEN, "container": RARELY, "sensor": RARELY, "switch": RARELY}
    hub.wiring.periods = lambda config: {**periods(config), **paces}
    # Each hour in files would be larger than the journal: one is sealed, in the story.
    duties = [duty for duty in kept.duties if duty.name != "archive"]
    made = put_together(
        base, devices, (), wiring="simulated", tick_s=5.0, rhythm=rhythm, keep=duties, closers=kept.closers
    )
    made.hub.terms = replace(made.hub.terms, gap_s=90.0)
    return made


def old_readings(folder: Path) -> None:
    """Readings of a sensor from days before, in the archive: retention will find them too old."""
    from kernel.metric import SCHEMAS, TEXT_METRICS
    from kernel.reading import batch_of

    begun_ms = EPOCH_MS - 4 * 86_400_000
    rows = [Reading("alatau/north/rtd-1", "sensor", begun_ms + at * 60_000, {"temp_c": 20.0 + at}) for at in range(5)]
    with open_journal(folder / "data") as journal:
        journal.append([batch_of("sensor", list(SCHEMAS["sensor"]), TEXT_METRICS["sensor"], rows)], [])
        ParquetArchive(folder / "data" / "archive", journal).seal(EPOCH_MS)


def main() -> None:
    from tests.recorded.look import look
    from tests.recorded.pack import pack
    from tests.recorded.story import first_life, second_life, third_life

    logging.disable(logging.CRITICAL)
    target = Path(sys.argv[1])
    loop = VirtualLoop()
    world = World(loop)
    for module in (treasury.io.pool_braiins, treasury.io.rates_nbk, treasury.io.venue_http):
        module.fetch = world.fetch  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as made:
        folder, configs = Path(made) / "hub", Path(made) / "configs"
        folder.mkdir()
        write_folder(folder)
        write_configs(configs)
        with shipped_as(configs):
            old_readings(folder)
            config = load(folder / "hub.toml", environment={})

            async def both() -> None:
                await first_life(world, config, folder)
                await second_life(world, config, folder)
                await third_life(world, config, folder)

            run(both(), loop)
            pack(folder, configs, {}, target)
            found = look(unpacked(target, Path(made) / "again"))
            assert _told(found["states"][-1]) == _told(json.loads(json.dumps(world.dump))), (
                "the disk folds to what was alive"
            )
            pack(folder, configs, found, target)


def _told(state: dict[str, Any]) -> dict[str, Any]:
    """Without the one thing that a running hub forgets by what it sees: who is awaited after a wake and hashes by now."""
    state = copy.deepcopy(state)
    for site in state["sites"].values():
        site["wake_recovery"]["awaited"] = {}
    return state


def unpacked(target: Path, place: Path) -> Path:
    """The recording unpacked again, from wherever it was written."""
    import tests.recorded.pack as packing

    packing.RECORDED = target
    return packing.unpack(place)


if __name__ == "__main__":
    main()
