# SPDX-License-Identifier: Apache-2.0
"""Cold protection: minimum heat and flow of liquid loops, and wake interlocks for cold or damp.

Sleeping every miner of a hydro loop in frost freezes it; waking a cold board in damp air wets it. The first is a lower bound
on the power that must stay on (a heat duty for the planner, staged sleep for a shed), the second holds wakes back until
the loop is pre-warmed. Dew point: Magnus formula, WMO coefficients 17.62 and 243.12 C.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from miner_control.control.allocate import Allocation
from miner_control.control.guard import Guarded, Restraint
from miner_control.fleet.fleet import ASLEEP, Bools, Fleet, Ints, per_feeder


def dew_point_c(temp_c: float, humidity_pct: float) -> float:
    """Dew point of air. `humidity_pct` is relative, above 0 and at most 100 (else ValueError)."""
    if not 0.0 < humidity_pct <= 100.0:
        raise ValueError(f"relative humidity {humidity_pct} % is not above 0 and at most 100")
    gamma = math.log(humidity_pct / 100.0) + 17.62 * temp_c / (243.12 + temp_c)
    return 243.12 * gamma / (17.62 - gamma)


@dataclass(frozen=True, slots=True)
class Loop:
    """One cooling loop (a container's water, or an aisle's air) as last measured; None where no fresh value exists.

    - `units`: indexes into the fleet. `low_c`, `high_c`: range of inlet temperature in which its miners may start.
    - `loss_w_per_k`: heat loss to the outside per kelvin; `keep_c`: lowest loop temperature at standstill.
    - `room_c`: air around the boards (None: that of `ambient_c`), with the dew point of `humidity_pct` unless `dew_c` is
      measured.
    - Bounds of return temperature and pressure apply where they are given.
    """

    name: str
    units: Ints
    supply_c: float | None
    ambient_c: float | None
    humidity_pct: float | None
    flow_ok: bool | None
    low_c: float
    high_c: float
    liquid: bool
    loss_w_per_k: float = 0.0
    keep_c: float = 5.0
    return_c: float | None = None
    room_c: float | None = None
    dew_c: float | None = None
    pressure_bar: float | None = None
    return_high_c: float | None = None
    pressure_low_bar: float | None = None


def heat_floor_w(loop: Loop) -> float:
    """Least power that the miners of a liquid loop must draw to keep it at `keep_c`; 0 for air, or where it is warm outside.

    An unknown outside temperature counts as -30 C: a frozen loop costs more than the energy.
    """
    if not loop.liquid:
        return 0.0
    outside_c = loop.ambient_c if loop.ambient_c is not None else -30.0
    return max(0.0, loop.keep_c - outside_c) * loop.loss_w_per_k


def wake_fault(loop: Loop) -> str:
    """Reason why no miner of a loop may wake now; "" where they may."""
    if loop.liquid and loop.flow_ok is not True:
        return "no proof of flow"
    if loop.pressure_low_bar is not None and (loop.pressure_bar is None or loop.pressure_bar < loop.pressure_low_bar):
        reported = "pressure unknown" if loop.pressure_bar is None else f"pressure {loop.pressure_bar:.1f} bar"
        return f"{reported}, at least {loop.pressure_low_bar:.1f} bar are needed"
    if loop.return_high_c is not None and loop.return_c is not None and loop.return_c > loop.return_high_c:
        return f"return {loop.return_c:.0f} C is above {loop.return_high_c:.0f} C"
    if loop.supply_c is None:
        return "inlet temperature unknown" if loop.liquid else ""
    if loop.supply_c < loop.low_c:
        return f"inlet {loop.supply_c:.0f} C is below {loop.low_c:.0f} C: pre-warm first"
    if loop.supply_c > loop.high_c:
        return f"inlet {loop.supply_c:.0f} C is above {loop.high_c:.0f} C"
    dew_c = _dew_c(loop)
    if dew_c is not None and loop.supply_c < dew_c + 1.0:
        return f"inlet {loop.supply_c:.0f} C is at the dew point of {dew_c:.0f} C: water would settle"
    return ""


def _dew_c(loop: Loop) -> float | None:
    if loop.dew_c is not None:
        return loop.dew_c
    air_c = loop.ambient_c if loop.room_c is None else loop.room_c
    if air_c is None or loop.humidity_pct is None or loop.humidity_pct <= 0:
        return None
    return dew_point_c(air_c, min(loop.humidity_pct, 100.0))


def hold_wakes(fleet: Fleet, proposed: Allocation, loops: Sequence[Loop]) -> Guarded:
    """Remove the wakes that cold, damp or missing flow forbid. Never raises power: sleeping units stay asleep."""
    wakes = (fleet.wanted[proposed.units] == ASLEEP) & (proposed.modes > ASLEEP)
    kept = np.ones(len(proposed.units), dtype=np.bool_)
    restraints = []
    for loop in loops:
        why = wake_fault(loop)
        held = wakes & kept & np.isin(proposed.units, loop.units)
        if why and bool(held.any()):
            kept &= ~held
            restraints.append(Restraint("cold guard", f"{loop.name}: {why}", proposed.units[held]))
    return Guarded(less(fleet, proposed, kept) if restraints else proposed, tuple(restraints))


def less(fleet: Fleet, proposed: Allocation, kept: Bools) -> Allocation:
    """The proposal without the changes that are not `kept` (shape of `proposed.units`), with its power recomputed."""
    option = fleet.option_w()
    held_w = np.zeros(len(fleet))
    out = proposed.units[~kept]
    held_w[out] = option[out, proposed.modes[~kept] + 1] - fleet.settled_w[out]
    return Allocation(
        units=proposed.units[kept],
        modes=proposed.modes[kept],
        power_w=proposed.power_w - float(held_w.sum()),
        over_w=max(0.0, proposed.over_w - float(held_w.sum())),
        feeder_over_w=np.maximum(0.0, proposed.feeder_over_w - per_feeder(fleet.roster, held_w)),
    )


def staged_sleep(fleet: Fleet, loop: Loop, leaving: Ints) -> tuple[Ints, Ints]:
    """(units that may sleep now, units that stay on for heat) of those leaving a loop.

    The most efficient ones stay, the fewest that keep `heat_floor_w` together with the units that stay anyway. An order
    outranks this: then the caller drains the loop instead.
    """
    floor_w = heat_floor_w(loop)
    inside = np.intersect1d(leaving, loop.units)
    others = np.setdiff1d(loop.units, leaving)
    on_w = float(fleet.settled_w[others[fleet.wanted[others] >= 0]].sum())
    if on_w >= floor_w or not len(inside):
        return leaving, inside[:0]
    group = fleet.roster.group[inside]
    normal = fleet.roster.normal[group]
    worth = fleet.roster.mode_hashrate_hs[group, normal] / fleet.roster.mode_power_w[group, normal]
    order = inside[np.argsort(-worth, kind="stable")]
    running = on_w + np.cumsum(fleet.settled_w[order])
    needed = int(np.searchsorted(running, floor_w)) + 1
    staying = order[:needed]
    return np.setdiff1d(leaving, staying), staying
