# SPDX-License-Identifier: Apache-2.0
"""Shares of mode steps that fit under the feeders: all steps of a feeder in falling efficiency, up to its room.

With every unit on, the fitting part `alpha` of each step turns feeder caps into smaller coefficients, so that a programme
over classes of groups needs no feeder row. Slot by slot, with the units that are on, the first step that does not fit gives
the merit-order price of the feeder.

A group's steps are off to lowest mode, then the mode steps. Where a step is more efficient than the one before it, the steps
share the efficiency of the whole (upper concave hull from zero), so that they are taken together.
"""

from dataclasses import dataclass

import numpy as np

from scheduling.problem.problem import Floats, Ints, Problem
from scheduling.solve.mode_steps import ModeSteps


@dataclass(frozen=True, slots=True)
class SortedSteps:
    """All steps sorted by feeder and, within it, falling efficiency; flat arrays, shape [step].

    `group`, `level` (0: off to lowest mode), `watts` per unit, `worth` hashrate per watt by the hull, `feeder`, `first`: the
    position at which its feeder begins.
    """

    group: Ints
    level: Ints
    watts: Floats
    worth: Floats
    feeder: Ints
    first: Ints

    def only(self, at: Ints) -> "SortedSteps":
        """The steps at these positions (whole feeders, in order)."""
        feeder = self.feeder[at]
        return SortedSteps(self.group[at], self.level[at], self.watts[at], self.worth[at], feeder, _first(feeder))

    def fits(self, units: Floats, room_w: Floats) -> Floats:
        """Part of each step that fits, 0..1, for units[step] (or [step, slot]) against room_w[feeder] (or [feeder, slot])."""
        before, wide = self.before(units)
        room = room_w[self.feeder]
        watts = np.where(wide > 0, wide, 1.0)
        return np.where(wide > 0, np.clip((room - before) / watts, 0.0, 1.0), (room > before).astype(np.float64))

    def before(self, units: Floats) -> tuple[Floats, Floats]:
        """(power of the steps before each one on its feeder, power of the step itself), shape as `units`."""
        watts = self.watts if units.ndim == 1 else self.watts[:, None]
        wide = units * watts
        total = np.cumsum(wide, axis=0)
        prior = total - wide
        return prior - prior[self.first], wide


def _first(feeder: Ints) -> Ints:
    new = np.concatenate(([True], feeder[1:] != feeder[:-1]))[: len(feeder)]
    return np.maximum.accumulate(np.where(new, np.arange(len(feeder)), 0))


def sorted_steps(problem: Problem, mode_steps: ModeSteps) -> SortedSteps:
    """The steps of all groups, sorted, for one set of mode steps."""
    watts = np.concatenate((mode_steps.base_w[:, None], mode_steps.watts), axis=1)
    hashes = np.concatenate((mode_steps.base_hs[:, None], mode_steps.hashes), axis=1)
    worth = _hull_slopes(watts, hashes)
    group, level = np.nonzero(watts > 0)
    feeder = problem.groups.feeder[group]
    order = np.lexsort((group, level, -worth[group, level], feeder))
    group, level, feeder = group[order], level[order], feeder[order]
    return SortedSteps(group, level, watts[group, level], worth[group, level], feeder, _first(feeder))


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
    """Effective power and hashrate per unit with every unit on, shape [group, step], cumulative: step 0 in its lowest mode,
    the last after its last step. Valid for `slots`."""

    slots: Ints
    mode_max: int
    power_w: Floats
    hashrate_hs: Floats


def shares(problem: Problem, mode_sets: dict[int, ModeSteps], sorted_sets: dict[int, SortedSteps]) -> list[Shares]:
    """One entry for each combination of allowed modes and feeder rooms that occurs in the horizon."""
    room = problem.feeder_room_w()
    units = problem.groups.units.astype(np.float64)
    total = np.bincount(problem.groups.feeder, weights=units * problem.step_w().max(axis=1), minlength=len(room))
    key = np.concatenate((problem.site.mode_max[None, :].astype(np.float64), np.minimum(room, total[:, None])))
    _, first, inverse = np.unique(key, axis=1, return_index=True, return_inverse=True)
    found = []
    for index, slot in enumerate(first):
        top = int(problem.site.mode_max[slot])
        steps, mode_steps = sorted_sets[top], mode_sets[top]
        alpha = np.zeros((len(units), 1 + mode_steps.watts.shape[1]))
        alpha[steps.group, steps.level] = steps.fits(units[steps.group], np.maximum(room[:, slot], 0.0))
        alpha = np.minimum.accumulate(alpha, axis=1) if alpha.size else alpha
        watts = np.concatenate((mode_steps.base_w[:, None], mode_steps.watts), axis=1) * alpha
        hashes = np.concatenate((mode_steps.base_hs[:, None], mode_steps.hashes), axis=1) * alpha
        at = np.flatnonzero(inverse.ravel() == index)
        found.append(Shares(at, top, np.cumsum(watts, axis=1), np.cumsum(hashes, axis=1)))
    return found
