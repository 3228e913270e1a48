# SPDX-License-Identifier: Apache-2.0
"""What fits under the feeders: all steps of all groups on a feeder, taken in falling efficiency until its room is used up.

With every unit on, the part `alpha` of each step that fits turns feeder caps into smaller coefficients, so that a programme
over classes of groups needs no feeder row. Slot by slot, with the units that are on, the first step that does not fit is
the merit-order price of the feeder.

A group's steps are off-to-lowest mode, then the ladder's rungs. Where a rung is more efficient than what stands below it,
the steps share the efficiency of the whole (upper concave hull from zero), so that they are taken together.
"""

from dataclasses import dataclass

import numpy as np

from scheduling.problem.problem import Floats, Ints, Problem
from scheduling.solve.ladder import Ladder


@dataclass(frozen=True, slots=True)
class Walk:
    """All steps sorted by feeder and, inside it, falling efficiency; flat arrays, shape [step].

    `group`, `rung` (0: off to lowest mode), `watts` per unit, `worth` hashes per watt by the hull, `feeder`, `first`: the
    position at which its feeder begins.
    """

    group: Ints
    rung: Ints
    watts: Floats
    worth: Floats
    feeder: Ints
    first: Ints

    def only(self, at: Ints) -> "Walk":
        """The steps at these positions (whole feeders, in order)."""
        feeder = self.feeder[at]
        return Walk(self.group[at], self.rung[at], self.watts[at], self.worth[at], feeder, _first(feeder))

    def fits(self, units: Floats, room_w: Floats) -> Floats:
        """Part of each step that fits, 0..1, for units[step] (or [step, slot]) against room_w[feeder] (or [feeder, slot])."""
        before, wide = self.before(units)
        room = room_w[self.feeder]
        watts = np.where(wide > 0, wide, 1.0)
        return np.where(wide > 0, np.clip((room - before) / watts, 0.0, 1.0), (room > before).astype(np.float64))

    def before(self, units: Floats) -> tuple[Floats, Floats]:
        """(power of what stands before each step on its feeder, power of the step itself), shape as `units`."""
        watts = self.watts if units.ndim == 1 else self.watts[:, None]
        wide = units * watts
        total = np.cumsum(wide, axis=0)
        prior = total - wide
        return prior - prior[self.first], wide


def _first(feeder: Ints) -> Ints:
    new = np.concatenate(([True], feeder[1:] != feeder[:-1]))[: len(feeder)]
    return np.maximum.accumulate(np.where(new, np.arange(len(feeder)), 0))


def walk(problem: Problem, ladder: Ladder) -> Walk:
    """The steps of all groups while a ladder holds."""
    watts = np.concatenate((ladder.base_w[:, None], ladder.watts), axis=1)
    hashes = np.concatenate((ladder.base_hs[:, None], ladder.hashes), axis=1)
    worth = _hull_slopes(watts, hashes)
    group, rung = np.nonzero(watts > 0)
    feeder = problem.groups.feeder[group]
    order = np.lexsort((group, rung, -worth[group, rung], feeder))
    group, rung, feeder = group[order], rung[order], feeder[order]
    return Walk(group, rung, watts[group, rung], worth[group, rung], feeder, _first(feeder))


def _hull_slopes(watts: Floats, hashes: Floats) -> Floats:
    """Slope of the upper concave hull over each step, shape [group, step]."""
    count, steps = watts.shape
    w = np.concatenate((np.zeros((count, 1)), np.cumsum(watts, axis=1)), axis=1)
    h = np.concatenate((np.zeros((count, 1)), np.cumsum(hashes, axis=1)), axis=1)
    slopes = np.zeros((count, steps))
    for step in range(steps):
        # The hull over step k is the least, over begins i <= k, of the greatest slope from i to some end j > k.
        best = np.full(count, np.inf)
        for begin in range(step + 1):
            rise = np.maximum(w[:, step + 1 :] - w[:, begin : begin + 1], 1e-12)
            best = np.minimum(best, ((h[:, step + 1 :] - h[:, begin : begin + 1]) / rise).max(axis=1))
        slopes[:, step] = best
    return slopes


@dataclass(frozen=True, slots=True)
class Shares:
    """Effective power and hashrate per unit with every unit on, shape [group, step], cumulated: step 0 in its lowest mode,
    the last on its last rung. Holds for `slots`."""

    slots: Ints
    mode_max: int
    power_w: Floats
    hashrate_hs: Floats


def shares(problem: Problem, rungs: dict[int, Ladder], walks: dict[int, Walk]) -> list[Shares]:
    """One entry for each combination of allowed modes and feeder rooms that occurs in the horizon."""
    room = problem.feeder_room_w()
    units = problem.groups.units.astype(np.float64)
    total = np.bincount(problem.groups.feeder, weights=units * problem.step_w().max(axis=1), minlength=len(room))
    key = np.concatenate((problem.site.mode_max[None, :].astype(np.float64), np.minimum(room, total[:, None])))
    _, first, inverse = np.unique(key, axis=1, return_index=True, return_inverse=True)
    found = []
    for index, slot in enumerate(first):
        top = int(problem.site.mode_max[slot])
        steps, ladder = walks[top], rungs[top]
        alpha = np.zeros((len(units), 1 + ladder.watts.shape[1]))
        alpha[steps.group, steps.rung] = steps.fits(units[steps.group], np.maximum(room[:, slot], 0.0))
        alpha = np.minimum.accumulate(alpha, axis=1) if alpha.size else alpha
        watts = np.concatenate((ladder.base_w[:, None], ladder.watts), axis=1) * alpha
        hashes = np.concatenate((ladder.base_hs[:, None], ladder.hashes), axis=1) * alpha
        at = np.flatnonzero(inverse.ravel() == index)
        found.append(Shares(at, top, np.cumsum(watts, axis=1), np.cumsum(hashes, axis=1)))
    return found
