# SPDX-License-Identifier: Apache-2.0
"""Feeders and their phases as branches with a cap each: the feeders of the planning problem.

A breaker trips on the phase that carries most. Where a feeder has single-phase units, each of its phases is a branch with a
third of the cap left by three-phase units; these form one more branch. The caps of the branches sum to the feeder's, so a
plan that keeps them keeps it. The split by nameplate is cautious: a part unused by one kind is not available to the other.
"""

from dataclasses import dataclass

import numpy as np

from miner_control.fleet.fleet import Roster
from scheduling.problem.problem import Floats, Ints

PHASES = 3


@dataclass(frozen=True, slots=True)
class Branches:
    """Branches of a site.

    - `names[b]` (`feeder`, `feeder/l1`: the last parts of limits' scopes); `feeder[b]`: feeder of the roster; `share[b]` of
      its cap; `auxiliary_w[b]`: power of three-phase units at rated power on that phase.
    - `of_unit[n]`, `of_group[g]`: branch of a unit and of a planning group; `unit_group[n]`: planning group of a unit;
      `group[g]`: its roster group.
    """

    names: tuple[str, ...]
    feeder: Ints
    share: Floats
    auxiliary_w: Floats
    of_unit: Ints
    of_group: Ints
    unit_group: Ints
    group: Ints
    group_names: tuple[str, ...]


def branches_of(roster: Roster) -> Branches:
    """The branches of a roster; without known phases these are its feeders, and its groups the planning groups."""
    feeders, count = len(roster.feeder_names), len(roster.groups)
    single = roster.phase >= 0
    if not bool(single.any()):
        feeder_of_group = np.array([group.feeder for group in roster.groups], dtype=np.int64)
        return Branches(
            roster.feeder_names, np.arange(feeders), np.ones(feeders), np.zeros(feeders), roster.feeder, feeder_of_group,
            roster.group, np.arange(count), tuple(group.name for group in roster.groups),
        )  # fmt: skip
    lanes = PHASES + 1
    lane = np.where(single, roster.phase % PHASES + 1, 0).astype(np.int64)
    nominal_w = roster.mode_power_w[roster.group, roster.normal[roster.group]]
    watts = np.bincount(roster.feeder * 2 + single, weights=nominal_w, minlength=2 * feeders).reshape(feeders, 2)
    split = watts[:, 1] > 0
    whole = np.divide(watts[:, 0], watts.sum(axis=1), out=np.ones(feeders), where=watts.sum(axis=1) > 0)
    names, feeder, share, auxiliary_w = list[str](), list[int](), list[float](), list[float]()
    place = np.full(feeders * lanes, -1, dtype=np.int64)
    for at, name in enumerate(roster.feeder_names):
        if not split[at] or whole[at] > 0:
            place[at * lanes] = len(names)
            names.append(name)
            feeder.append(at)
            share.append(float(whole[at]) if split[at] else 1.0)
            auxiliary_w.append(0.0)
        for phase in range(1, lanes if split[at] else 1):
            place[at * lanes + phase] = len(names)
            names.append(f"{name}/l{phase}")
            feeder.append(at)
            share.append(float(1.0 - whole[at]) / PHASES)
            auxiliary_w.append(float(watts[at, 0]) / PHASES)
    pairs, unit_group = np.unique(roster.group * lanes + lane, return_inverse=True)
    group, phase_of = pairs // lanes, pairs % lanes
    group_feeder = np.array([roster.groups[at].feeder for at in group], dtype=np.int64)
    named = tuple(
        roster.groups[at].name + (f"/l{phase}" if phase else "")
        for at, phase in zip(group.tolist(), phase_of.tolist(), strict=True)
    )
    return Branches(
        tuple(names), np.array(feeder, dtype=np.int64), np.array(share), np.array(auxiliary_w),
        place[roster.feeder * lanes + lane], place[group_feeder * lanes + phase_of],
        unit_group.ravel().astype(np.int64), group, named,
    )  # fmt: skip
