# SPDX-License-Identifier: Apache-2.0
"""Guard: last check of an allocation, which may lower power and never raises it.

- Heat: a unit above its stop temperature goes to sleep; above its hot temperature it is not raised.
- A site whose meter is silent raises nothing, since the effect could not be observed.
- No rule holds back a reduction.

The rate of rise is limited when commands leave, by `miner_control.control.inrush`.
"""

from dataclasses import dataclass

import numpy as np

from miner_control.control.allocate import Allocation
from miner_control.fleet.fleet import ASLEEP, Bools, Fleet, Floats, Ints, per_feeder


@dataclass(frozen=True, slots=True)
class Heat:
    """Chip (or board) temperature of each unit, shape [N], where `known`; and the two thresholds."""

    chip_c: Floats
    known: Bools
    hot_c: float = 90.0
    stop_c: float = 100.0


@dataclass(frozen=True, slots=True)
class Restraint:
    """One rule that lowered power: its name, the reason as text, and the units."""

    rule: str
    reason: str
    units: Ints


@dataclass(frozen=True, slots=True)
class Guarded:
    """The allocation that may be carried out, and the restraints applied to the proposed one."""

    allocation: Allocation
    restraints: tuple[Restraint, ...]


def guard(
    fleet: Fleet,
    proposed: Allocation,
    *,
    meter_fresh: bool = True,
    heat: Heat | None = None,
) -> Guarded:
    """Check a proposed allocation; the result states each restraint."""
    before = fleet.wanted.astype(np.int64)
    level = before.copy()
    level[proposed.units] = proposed.modes
    option = fleet.option_w()
    rows = np.arange(len(level))
    restraints: list[Restraint] = []

    def lower(units: Ints, to: Ints, rule: str, reason: str) -> None:
        if len(units):
            level[units] = to
            restraints.append(Restraint(rule, reason, units))

    if heat is not None:
        can_sleep = fleet.roster.can_sleep[fleet.roster.group]
        reachable = fleet.fresh & fleet.roster.ours
        burning = np.flatnonzero(heat.known & (heat.chip_c >= heat.stop_c) & reachable & (level > ASLEEP))
        burning = burning[can_sleep[burning] | (level[burning] > 0)]
        floor = np.where(can_sleep[burning], ASLEEP, 0)
        lower(burning, floor, "stop temperature", f"chip at or above {heat.stop_c:g} C")
        hot = np.flatnonzero(heat.known & (heat.chip_c >= heat.hot_c) & (level > before))
        lower(hot, before[hot], "hot", f"chip at or above {heat.hot_c:g} C: not raised")
    if not meter_fresh:
        blind = np.flatnonzero(level > before)
        lower(blind, before[blind], "stale meter", "the site meter is silent: nothing is raised")

    units = np.flatnonzero(level != before)
    settled = fleet.settled_w.copy()
    settled[units] = option[rows[units], level[units] + 1]
    asked = fleet.settled_w.copy()
    asked[proposed.units] = option[proposed.units, proposed.modes + 1]
    target_w = proposed.power_w - proposed.over_w
    total_w = float(settled.sum())
    return Guarded(
        Allocation(
            units=units,
            modes=level[units],
            power_w=total_w,
            over_w=max(0.0, total_w - target_w) if proposed.over_w > 0 else 0.0,
            feeder_over_w=np.maximum(0.0, proposed.feeder_over_w - per_feeder(fleet.roster, asked - settled)),
        ),
        tuple(restraints),
    )
