# SPDX-License-Identifier: Apache-2.0
"""Modes as rungs of falling efficiency: what one more watt on a unit that is on buys in hashes.

From a group's lowest mode the ladder climbs the upper hull of (power, hashrate), so that each rung is less efficient than
the one below it; a mode under the hull is never worth standing on and is skipped.
"""

from dataclasses import dataclass

import numpy as np

from scheduling.problem.problem import Floats, Ints, Problem


@dataclass(frozen=True, slots=True)
class Ladder:
    """Rungs above the lowest mode while modes up to `mode_max` are allowed, shape [group, rung].

    `source` and `to` are modes, `watts` and `hashes` what the step adds (0 where there is no rung), `worth` hashes per
    watt, falling along a ladder; `base_w`, `base_hs` the lowest mode's own, `top_w` power on the last rung, shape [group].
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


def ladder(problem: Problem, mode_max: int) -> Ladder:
    """The rungs of all groups while modes 0..mode_max are allowed."""
    power, rate = problem.step_w(), problem.groups.mode_hashrate_hs
    count, modes = power.shape
    top = min(mode_max, modes - 1)
    rows = np.arange(count)
    at = np.zeros(count, dtype=np.int64)
    shape = (count, max(modes - 1, 1))
    source, to = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    watts, hashes = np.zeros(shape), np.zeros(shape)
    for rung in range(top):
        dw = power[:, : top + 1] - power[rows, at][:, None]
        dh = rate[:, : top + 1] - rate[rows, at][:, None]
        climbs = (dw > 0) & (dh > 0)
        slope = np.where(climbs, dh / np.where(climbs, dw, 1.0), 0.0)
        best = top - np.argmax(slope[:, ::-1], axis=1)
        found = slope[rows, best] > 0
        source[:, rung], to[:, rung] = at, np.where(found, best, at)
        watts[:, rung] = np.where(found, dw[rows, best], 0.0)
        hashes[:, rung] = np.where(found, dh[rows, best], 0.0)
        at = to[:, rung]
    worth = np.divide(hashes, watts, out=np.zeros(shape), where=watts > 0)
    return Ladder(top, power[:, 0], rate[:, 0], power[rows, at], source, to, watts, hashes, worth)


def ladders(problem: Problem) -> dict[int, Ladder]:
    """One ladder for each `mode_max` that occurs in the horizon."""
    return {int(top): ladder(problem, int(top)) for top in np.unique(problem.site.mode_max)}
