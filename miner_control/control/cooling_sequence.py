# SPDX-License-Identifier: Apache-2.0
"""Cooling sequence: control step for loops and auxiliary loads, after the guard and before sending.

- Cooling starts before miners wake and stops after they sleep; a loop in frost keeps its flow and enough heat.
- Wakes are held while cold, damp or missing flow forbid them; a loop that is too cold is pre-warmed.
- Wakes may be taken away, and those sleeps of the plan that heat needs; a sleep for an order or a limit is never held back.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from miner_control.control.allocate import Allocation
from miner_control.control.auxiliary_load import COOLING, Load, LoadKind, after_shed, before_wake
from miner_control.control.cold_protection import Loop, hold_wakes, less, staged_sleep, wake_fault
from miner_control.control.guard import Restraint
from miner_control.fleet.fleet import ASLEEP, Bools, Fleet, Ints

WARM_ENOUGH_K = 3.0
PRE_WARM = "pre-warm"


@dataclass(frozen=True, slots=True)
class Switching:
    """One load to switch, with its reason."""

    load: Load
    on: bool
    reason: str


@dataclass(frozen=True, slots=True)
class CoolingResult:
    """The allocation that may be carried out, the changes taken away, and the loads to switch."""

    allocation: Allocation
    restraints: tuple[Restraint, ...]
    switchings: tuple[Switching, ...]


def sequence_cooling(
    fleet: Fleet,
    proposed: Allocation,
    loads: Sequence[Load],
    on: Mapping[str, bool | None],
    loops: Sequence[Loop],
    *,
    by_plan: Bools,
    busy: frozenset[str] = frozenset(),
    run_on_s: float = 300.0,
    most_w: float = math.inf,
) -> CoolingResult:
    """Apply the cooling sequence to a proposed allocation.

    `on` by load name (None: unknown); `by_plan` marks changes that only the plan requests, shape of `proposed.units`;
    `busy` names loads with a switching in progress; `run_on_s`: run-on time of cooling; `most_w`: highest power the site
    may draw, counted as `proposed.power_w` is, running loads already included.
    """
    restraints: list[Restraint] = []
    allocation = _heat_kept(fleet, proposed, loops, by_plan, restraints)
    allocation = _with_room(fleet, allocation, loads, on, most_w, restraints)
    wakes = allocation.units[(fleet.wanted[allocation.units] == ASLEEP) & (allocation.modes > ASLEEP)]
    waking = frozenset(fleet.devices[unit] for unit in wakes.tolist())
    switchings: list[Switching] = []
    needed = before_wake(loads, waking, on)
    switchings += [Switching(load, True, "miners are about to wake") for load in needed]
    allocation = _cooling_first(fleet, allocation, needed, restraints)
    guarded = hold_wakes(fleet, allocation, loops)
    restraints += guarded.restraints
    switchings += _cooling_last(fleet, loads, on, loops, waking, run_on_s)
    switchings += _heaters(fleet, loads, on, loops, wakes)
    wanted = [one for one in switchings if one.load.name not in busy]
    return CoolingResult(guarded.allocation, tuple(restraints), tuple(wanted))


def _heat_kept(
    fleet: Fleet, proposed: Allocation, loops: Sequence[Loop], by_plan: Bools, restraints: list[Restraint]
) -> Allocation:
    leaving = proposed.units[by_plan & (proposed.modes == ASLEEP) & (fleet.wanted[proposed.units] > ASLEEP)]
    staying: list[Ints] = []
    for loop in loops:
        leaving, stay = staged_sleep(fleet, loop, leaving)
        if len(stay):
            staying.append(stay)
            restraints.append(Restraint("cold guard", f"{loop.name}: heat is kept, the loop would freeze", stay))
    if not staying:
        return proposed
    return less(fleet, proposed, ~np.isin(proposed.units, np.concatenate(staying)))


def _with_room(
    fleet: Fleet,
    proposed: Allocation,
    loads: Sequence[Load],
    on: Mapping[str, bool | None],
    most_w: float,
    restraints: list[Restraint],
) -> Allocation:
    """Power of a pump or fan that must start before miners wake. Where the room is too small for both, fewer of its miners
    wake, the least efficient ones staying asleep; where it is too small for the load, none."""
    allocation, starting_w = proposed, 0.0
    for load in loads:
        if load.kind not in COOLING or load.power_w <= 0 or on.get(load.name) is not False:
            continue
        wakes = (fleet.wanted[allocation.units] == ASLEEP) & (allocation.modes > ASLEEP)
        fed = np.array([fleet.roster.index[device] for device in load.feeds], dtype=np.int64)
        served = np.flatnonzero(wakes & np.isin(allocation.units, fed))
        if not len(served):
            continue
        short_w = allocation.power_w + starting_w + load.power_w - most_w
        if short_w > 0:
            units, modes = allocation.units[served], allocation.modes[served]
            group = fleet.roster.group[units]
            power_w = fleet.roster.mode_power_w[group, modes]
            order = np.argsort(fleet.roster.mode_hashrate_hs[group, modes] / power_w, kind="stable")
            freed_w = np.cumsum(power_w[order] - fleet.settled_w[units[order]])
            left = served[order[: int(np.searchsorted(freed_w, short_w)) + 1]]
            text = f"{load.name} draws {load.power_w:.0f} W and must start first: no room for both"
            restraints.append(Restraint("room for cooling", text, allocation.units[left]))
            kept = np.ones(len(allocation.units), dtype=np.bool_)
            kept[left] = False
            allocation = less(fleet, allocation, kept)
            if len(left) == len(served):
                continue
        starting_w += load.power_w
    return allocation


def _cooling_first(
    fleet: Fleet, proposed: Allocation, needed: Sequence[Load], restraints: list[Restraint]
) -> Allocation:
    kept = np.ones(len(proposed.units), dtype=np.bool_)
    for load in needed:
        fed = np.array([fleet.roster.index[device] for device in load.feeds], dtype=np.int64)
        wakes = (fleet.wanted[proposed.units] == ASLEEP) & (proposed.modes > ASLEEP)
        held = wakes & kept & np.isin(proposed.units, fed)
        if bool(held.any()):
            kept &= ~held
            text = f"{load.name} is not known to be on: it is switched on first"
            restraints.append(Restraint("cooling first", text, proposed.units[held]))
    return proposed if bool(kept.all()) else less(fleet, proposed, kept)


def _cooling_last(
    fleet: Fleet,
    loads: Sequence[Load],
    on: Mapping[str, bool | None],
    loops: Sequence[Loop],
    waking: frozenset[str],
    run_on_s: float,
) -> list[Switching]:
    if not any(on.get(load.name) is not False for load in loads):
        return []
    rested = (fleet.mode == ASLEEP) & (fleet.wanted == ASLEEP) & (fleet.now_ms - fleet.since_ms >= run_on_s * 1000)
    cold = frozenset(fleet.devices[unit] for loop in loops if _may_freeze(loop) for unit in loop.units.tolist())
    asleep = frozenset(fleet.devices[unit] for unit in np.flatnonzero(rested).tolist()) - waking
    idle = after_shed(loads, asleep, on, cooled=True)
    return [
        Switching(load, False, f"all that it serves sleeps since {run_on_s:.0f} s")
        for load in idle
        if not (load.kind is LoadKind.PUMP and load.feeds & cold)
    ]


def _may_freeze(loop: Loop) -> bool:
    """A liquid loop is kept flowing while it is cold outside, or while the outside temperature is unknown."""
    return loop.liquid and (loop.ambient_c is None or loop.ambient_c < loop.keep_c)


def _heaters(
    fleet: Fleet, loads: Sequence[Load], on: Mapping[str, bool | None], loops: Sequence[Loop], wakes: Ints
) -> list[Switching]:
    found = []
    for load in loads:
        if load.kind is not LoadKind.HEATER:
            continue
        for loop in loops:
            if loop.supply_c is None or not any(fleet.devices[unit] in load.feeds for unit in loop.units.tolist()):
                continue
            waits = bool(np.isin(wakes, loop.units).any()) and PRE_WARM in wake_fault(loop)
            if (waits or loop.supply_c < loop.keep_c) and on.get(load.name) is not True:
                why = f"{loop.name}: inlet {loop.supply_c:.0f} C, " + ("pre-warm" if waits else "frost")
                found.append(Switching(load, True, why))
            elif loop.supply_c >= loop.low_c + WARM_ENOUGH_K and on.get(load.name) is not False:
                found.append(Switching(load, False, f"{loop.name}: inlet {loop.supply_c:.0f} C is warm enough"))
    return found
