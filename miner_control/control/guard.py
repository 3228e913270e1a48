# SPDX-License-Identifier: Apache-2.0
"""The last word before a command leaves: it may lower power, never raise it, and it says why.

Heat: a unit above its stop temperature goes to sleep, above its hot temperature it is not raised. A site whose meter is
silent raises nothing: it would be blind to what it does. A rise is cut to what the ramp allows in this step, the most
efficient units first. Lowering is never held back by any rule.
"""

from dataclasses import dataclass

import numpy as np

from miner_control.control.allocate import Allocation
from miner_control.fleet.fleet import ASLEEP, Bools, Fleet, Floats, Ints, per_feeder


@dataclass(frozen=True, slots=True)
class Heat:
    """Chip (or board) temperature of each unit, shape [N], where `known`; and the two temperatures that matter."""

    chip_c: Floats
    known: Bools
    hot_c: float = 90.0
    stop_c: float = 100.0


@dataclass(frozen=True, slots=True)
class Restraint:
    """One rule that lowered something: which, why in words, and on which units."""

    rule: str
    reason: str
    units: Ints


@dataclass(frozen=True, slots=True)
class Guarded:
    """The allocation that may be carried out, and what was taken away from the one proposed."""

    allocation: Allocation
    restraints: tuple[Restraint, ...]


def guard(
    fleet: Fleet,
    proposed: Allocation,
    *,
    meter_fresh: bool = True,
    rise_w: float | None = None,
    heat: Heat | None = None,
    feeder_cap_w: Floats | None = None,
) -> Guarded:
    """Judge a proposal. `rise_w`: the most that the fleet's settled power may rise by this step (None: free)."""
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
    if rise_w is not None:
        raised = np.flatnonzero(level > before)
        watts = option[raised, level[raised] + 1] - fleet.settled_w[raised]
        lowered = np.flatnonzero(level < before)
        freed_w = float((fleet.settled_w[lowered] - option[lowered, level[lowered] + 1]).sum())
        if float(watts.sum()) - freed_w > rise_w:
            group = fleet.roster.group[raised]
            rate = fleet.roster.mode_hashrate_hs[group, np.maximum(level[raised], 0)]
            order = np.argsort(watts / np.maximum(rate, 1.0), kind="stable")
            kept = np.zeros(len(raised), dtype=np.bool_)
            kept[order] = np.cumsum(watts[order]) <= max(0.0, rise_w)
            late = raised[~kept]
            lower(late, before[late], "ramp", f"the rise of this step is limited to {rise_w:.0f} W")

    units = np.flatnonzero(level != before)
    settled = fleet.settled_w.copy()
    settled[units] = option[rows[units], level[units] + 1]
    caps = np.full(len(fleet.roster.feeder_names), np.inf) if feeder_cap_w is None else feeder_cap_w
    target_w = proposed.power_w - proposed.over_w
    total_w = float(settled.sum())
    return Guarded(
        Allocation(
            units=units,
            modes=level[units],
            power_w=total_w,
            over_w=max(0.0, total_w - target_w) if proposed.over_w > 0 else 0.0,
            feeder_over_w=np.maximum(0.0, per_feeder(fleet.roster, settled) - caps),
        ),
        tuple(restraints),
    )
