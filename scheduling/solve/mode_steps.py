# SPDX-License-Identifier: Apache-2.0
"""Mode steps of falling efficiency: hashrate gained per additional watt of a unit that is on.

From a group's lowest mode the steps follow the upper hull of (power, hashrate), so that each step is less efficient than the
one before it; a mode under the hull is never optimal and is skipped.
"""

from dataclasses import dataclass

import numpy as np

from scheduling.problem.problem import Floats, Ints, Problem


@dataclass(frozen=True, slots=True)
class ModeSteps:
    """Steps above the lowest mode while modes up to `mode_max` are allowed, shape [group, step].

    `source` and `to` are modes, `watts` and `hashes` the increments (0 where there is no step), `worth` hashrate per watt,
    falling with the step; `base_w`, `base_hs` of the lowest mode, `top_w` power after the last step, shape [group].
    """

    mode_max: int
    base_w: Floats
    base_hs: Floats
    top_w: Floats
    source: Ints
    to: Ints
    watts: Floats
    hashes: Floats
    worth: Floats


def mode_steps(problem: Problem, mode_max: int) -> ModeSteps:
    """The steps of all groups while modes 0..mode_max are allowed."""
    power, rate = problem.step_w(), problem.groups.mode_hashrate_hs
    count, modes = power.shape
    top = min(mode_max, modes - 1)
    rows = np.arange(count)
    at = np.zeros(count, dtype=np.int64)
    shape = (count, max(modes - 1, 1))
    source, to = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    watts, hashes = np.zeros(shape), np.zeros(shape)
    for position in range(top):
        dw = power[:, : top + 1] - power[rows, at][:, None]
        dh = rate[:, : top + 1] - rate[rows, at][:, None]
        climbs = (dw > 0) & (dh > 0)
        slope = np.where(climbs, dh / np.where(climbs, dw, 1.0), 0.0)
        best = top - np.argmax(slope[:, ::-1], axis=1)
        found = slope[rows, best] > 0
        source[:, position], to[:, position] = at, np.where(found, best, at)
        watts[:, position] = np.where(found, dw[rows, best], 0.0)
        hashes[:, position] = np.where(found, dh[rows, best], 0.0)
        at = to[:, position]
    worth = np.divide(hashes, watts, out=np.zeros(shape), where=watts > 0)
    return ModeSteps(top, power[:, 0], rate[:, 0], power[rows, at], source, to, watts, hashes, worth)


def all_mode_steps(problem: Problem) -> dict[int, ModeSteps]:
    """The steps for each `mode_max` that occurs in the horizon."""
    return {int(top): mode_steps(problem, int(top)) for top in np.unique(problem.site.mode_max)}
