# SPDX-License-Identifier: Apache-2.0
"""Modes from units on and power per slot: modes have no switching cost, so every slot is independent."""

import numpy as np

from scheduling.problem.problem import Floats, Ints, Problem
from scheduling.solve.mode_steps import ModeSteps, all_mode_steps


def fill(problem: Problem, on: Ints, target_w: Floats, mode_sets: dict[int, ModeSteps] | None = None) -> Ints:
    """Counts per mode, shape [group, mode, slot]: all `on[g, t]` units in their lowest mode, then steps in falling efficiency
    while the slot's flexible power stays at or below `target_w[t]` and each feeder within its room.

    The remainder of the target is less than the smallest possible step. Where the lowest modes alone exceed the target, they
    stay: units on are not changed here.
    """
    groups_n, modes_n, slots_n, _ = problem.shape
    counts = np.zeros((groups_n, modes_n, slots_n), dtype=np.int64)
    mode_sets = all_mode_steps(problem) if mode_sets is None else mode_sets
    room = problem.feeder_room_w()
    for top, mode_steps in mode_sets.items():
        slots = np.flatnonzero(problem.site.mode_max == top)
        if len(slots):
            counts[:, :, slots] = _fill(problem, mode_steps, on[:, slots], target_w[slots], room[:, slots])
    return counts


def _fill(problem: Problem, mode_steps: ModeSteps, on: Ints, target_w: Floats, feeder_room_w: Floats) -> Ints:
    groups_n, modes_n, _, feeders_n = problem.shape
    feeder = problem.groups.feeder
    counts = np.zeros((groups_n, modes_n, on.shape[1]), dtype=np.int64)
    counts[:, 0] = on
    low_w = on * mode_steps.base_w[:, None]
    room = target_w - low_w.sum(axis=0)
    feeder_room = feeder_room_w.copy()
    np.subtract.at(feeder_room, feeder, low_w)
    group, step = np.nonzero(mode_steps.watts > 0)
    order = np.argsort(-mode_steps.worth[group, step], kind="stable")
    widest = np.zeros(feeders_n)
    np.add.at(widest, feeder, problem.groups.units * mode_steps.top_w)
    tight = widest > feeder_room_w.min(axis=1)
    for g, k in zip(group[order].tolist(), step[order].tolist(), strict=True):
        watts = mode_steps.watts[g, k]
        available = counts[g, mode_steps.source[g, k]]
        reach = np.minimum(room, feeder_room[feeder[g]]) if tight[feeder[g]] else room
        moved = np.clip(np.floor(reach / watts), 0, available).astype(np.int64)
        counts[g, mode_steps.source[g, k]] -= moved
        counts[g, mode_steps.to[g, k]] += moved
        used = moved * watts
        room -= used
        if tight[feeder[g]]:
            feeder_room[feeder[g]] -= used
    return counts
