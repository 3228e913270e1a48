# SPDX-License-Identifier: Apache-2.0
"""From units on and a power for each slot to modes: modes have no switching cost, so every slot stands alone."""

import numpy as np

from scheduling.problem.problem import Floats, Ints, Problem
from scheduling.solve.ladder import Ladder, ladders


def fill(problem: Problem, on: Ints, target_w: Floats, rungs: dict[int, Ladder] | None = None) -> Ints:
    """Counts per mode, shape [group, mode, slot]: all `on[g, t]` units in their lowest mode, then rungs in falling
    efficiency while the slot's flexible power stays at or below `target_w[t]` and each feeder within its room.

    What is left of the target is less than the smallest rung that could still be climbed. Where the lowest modes alone
    exceed the target, they stay: counts of units on are not this function's to change.
    """
    groups_n, modes_n, slots_n, _ = problem.shape
    counts = np.zeros((groups_n, modes_n, slots_n), dtype=np.int64)
    rungs = ladders(problem) if rungs is None else rungs
    room = problem.feeder_room_w()
    for top, ladder in rungs.items():
        slots = np.flatnonzero(problem.site.mode_max == top)
        if len(slots):
            counts[:, :, slots] = _fill(problem, ladder, on[:, slots], target_w[slots], room[:, slots])
    return counts


def _fill(problem: Problem, ladder: Ladder, on: Ints, target_w: Floats, feeder_room_w: Floats) -> Ints:
    groups_n, modes_n, _, feeders_n = problem.shape
    feeder = problem.groups.feeder
    counts = np.zeros((groups_n, modes_n, on.shape[1]), dtype=np.int64)
    counts[:, 0] = on
    low_w = on * ladder.base_w[:, None]
    room = target_w - low_w.sum(axis=0)
    feeder_room = feeder_room_w.copy()
    np.subtract.at(feeder_room, feeder, low_w)
    group, step = np.nonzero(ladder.watts > 0)
    order = np.argsort(-ladder.worth[group, step], kind="stable")
    widest = np.zeros(feeders_n)
    np.add.at(widest, feeder, problem.groups.units * ladder.top_w)
    tight = widest > feeder_room_w.min(axis=1)
    for g, k in zip(group[order].tolist(), step[order].tolist(), strict=True):
        watts = ladder.watts[g, k]
        available = counts[g, ladder.source[g, k]]
        reach = np.minimum(room, feeder_room[feeder[g]]) if tight[feeder[g]] else room
        moved = np.clip(np.floor(reach / watts), 0, available).astype(np.int64)
        counts[g, ladder.source[g, k]] -= moved
        counts[g, ladder.to[g, k]] += moved
        used = moved * watts
        room -= used
        if tight[feeder[g]]:
            feeder_room[feeder[g]] -= used
    return counts
