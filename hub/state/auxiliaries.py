# SPDX-License-Identifier: Apache-2.0
"""The loads and loops around a site's miners: from the configuration, and as they stand at an instant."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hub.config.devices import Served
from hub.config.models import Site
from hub.state.cooling_loops import FRESH_S, LoopSources, watched
from kernel.errors import ConfigError, Fault
from miner_control.control.auxiliary_load import (
    OUTPUT,
    Floats,
    Load,
    LoadBook,
    LoadKind,
    check_loads,
    output_metrics,
    output_state,
    shares_w,
)
from miner_control.control.cold_protection import Loop
from miner_control.fleet.miner import Miner
from miner_control.inventory.asset_register import AssetRegister
from telemetry.collect.snapshot import Snapshot


@dataclass(frozen=True)
class Auxiliaries:
    """What stands around the miners of a site."""

    loads: tuple[Load, ...] = ()
    loops: tuple[LoopSources, ...] = ()
    auxiliary_w: Floats | None = None
    """What each unit's running brings of the loads, shape [N]; None where no load's power is known."""
    run_on_s: float = 300.0

    @cached_property
    def by_key(self) -> Mapping[str, Load]:
        """Loads by device key."""
        return {load.key: load for load in self.loads}


def around(site: Site, key: str, register: AssetRegister, index: Mapping[str, int]) -> Auxiliaries:
    """The loads and loops that the configuration names. `index`: device key to unit of the roster.

    Raises ConfigError with every fault: devices that are not there, miners that nobody knows, outputs named twice.
    """
    faults: list[Fault] = []
    switching = {part.name for _, part in site.devices()}
    relays = {part.name for part in site.switches}
    loads, loops = [], []
    for part in site.loads:
        place = f"load {part.name}"
        if part.device not in switching:
            faults.append(_no_device(place, part.device, switching))
        served = _served(place, part.serves, register, faults)
        feeds, feeder = frozenset(miner.device for miner in served), _feeder(served)
        device, kind = f"{key}/{part.device}", LoadKind(part.kind)
        group = part.group or (OUTPUT if part.device in relays else "")
        loads.append(Load(part.name, kind, device, part.index, feeder, part.power_w, feeds, group))
    for spec in site.cooling_loops:
        place = f"loop {spec.name}"
        units = _units(_served(place, spec.serves, register, faults), index)
        loop = Loop(
            spec.name, units, None, None, None, None, spec.inlet_min_c, spec.inlet_max_c, spec.liquid, spec.loss_w_per_k,
            spec.frost_protection_c, return_high_c=spec.return_max_c, pressure_low_bar=spec.pressure_min_bar,
        )  # fmt: skip
        loops.append(watched(spec, loop, site, key, faults))
    names = [*(part.name for part in site.loads), *(part.name for _, part in site.devices())]
    faults += [
        Fault(f"load {name}", "is the name of another load or device", "Give each its own")
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    faults += check_loads(loads)
    if faults:
        raise ConfigError(faults)
    return Auxiliaries(
        tuple(loads), tuple(loops), _auxiliary_w(loads, index), site.run_on_s / site.simulated_speed_factor
    )


def moved(before: Auxiliaries, site: Site, register: AssetRegister, index: Mapping[str, int]) -> Auxiliaries:
    """The same loads and loops around miners that stand elsewhere by now. What nobody hangs on any more serves nobody."""
    if not before.loads and not before.loops:
        return before
    loads = {part.name: _feeds(part.serves, register) for part in site.loads}
    loops = {spec.name: _feeds(spec.serves, register) for spec in site.cooling_loops}
    again = tuple(
        replace(load, feeds=frozenset(m.device for m in loads[load.name]), feeder=_feeder(loads[load.name]))
        for load in before.loads
    )
    return replace(
        before,
        loads=again,
        loops=tuple(
            replace(one, loop=replace(one.loop, units=_units(loops[one.loop.name], index))) for one in before.loops
        ),
        auxiliary_w=_auxiliary_w(again, index),
    )


def _auxiliary_w(loads: Iterable[Load], index: Mapping[str, int]) -> Floats | None:
    found = shares_w(loads, index)
    return found if bool(found.any()) else None


def _feeds(served: Served, register: AssetRegister) -> list[Miner]:
    names = set(served.miners)
    return [
        miner
        for miner in register.miners
        if miner.rack in served.racks
        or miner.feeder in served.feeders
        or (names and miner.device.rpartition("/")[2] in names)
    ]


def _feeder(miners: Sequence[Miner]) -> str:
    """The feeder that all of them hang on; "" where they hang on several."""
    feeders = {miner.feeder for miner in miners}
    return feeders.pop() if len(feeders) == 1 else ""


def _units(miners: Iterable[Miner], index: Mapping[str, int]) -> np.ndarray:
    return np.array(sorted(index[miner.device] for miner in miners), dtype=np.int64)


def _no_device(place: str, name: str, known: Iterable[str]) -> Fault:
    return Fault(f"{place} device", f"no {name!r} at the site", f"Name one of: {', '.join(sorted(known)) or 'none'}")


def _served(place: str, served: Served, register: AssetRegister, faults: list[Fault]) -> list[Miner]:
    found = _feeds(served, register)
    here = {miner.rack for miner in register.miners} | {miner.feeder for miner in register.miners}
    names = {miner.device.rpartition("/")[2] for miner in register.miners}
    strange = [*sorted(set(served.miners) - names), *sorted({*served.racks, *served.feeders} - here)]
    faults += [Fault(f"{place} serves", f"{one} is not in the inventory", "Correct it") for one in strange]
    if not found and not strange:
        faults.append(Fault(f"{place} serves", "nobody", 'Name racks, feeders or miners: serves = { racks = ["r1"] }'))
    return found


def loads_on(snapshot: Snapshot, book: LoadBook, loads: Sequence[Load], now_ms: int) -> dict[str, bool | None]:
    """Each load by name: on, off, or None where neither the device's report nor a verified switching shows it.

    What the device tells of itself goes before an older proof of ours. A relay that speaks only when it is switched, by hand too,
    does not lose its report by falling silent: an old report is no proof, and a contradicted one is none any more.
    """
    found: dict[str, bool | None] = {}
    for load in loads:
        on, shown_ms = book.on(load.key)
        reading = snapshot.reading(load.device, output_metrics(load))
        if reading is not None and reading.at_ms > shown_ms:
            reported = output_state(reading, load.group or load.kind.value, load.index)
            if reported is not None and now_ms - reading.at_ms <= FRESH_S * 1000:
                on = reported
            elif reported is not None and reported != on:
                on = None
        found[load.name] = on
    return found
