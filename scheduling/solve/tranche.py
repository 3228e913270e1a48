# SPDX-License-Identifier: Apache-2.0
"""Aggregation of the fleet into a few classes of like efficiency: a linear programme solved in a fraction of a second.

Groups are sorted by the efficiency of their middle mode and cut into classes of equal power (separate where minimum times
differ). A class is a group of the full model with unit-weighted means of *effective* steps (`shares`): the feeder caps are in
its coefficients. Its duals price the site for all groups; its value is no proof.
"""

from dataclasses import dataclass, replace

import numpy as np

from scheduling.problem.problem import Floats, Groups, Ints, Problem
from scheduling.solve.model import Model, Steps, build
from scheduling.solve.shares import Shares


@dataclass(frozen=True, slots=True)
class Tranches:
    """`of[g]` is the class of a group; `steps` the classes' effective power and hashrate; `problem` the pooled problem."""

    of: Ints
    problem: Problem
    steps: Steps


def classes(problem: Problem, parts: list[Shares], count: int) -> Ints:
    """The class of each group, shape [group]: at most `count` for each pair of minimum times."""
    groups = problem.groups
    main = max(parts, key=lambda part: len(part.slots))
    middle = min(1, main.power_w.shape[1] - 1)
    watts = groups.units * np.maximum(main.power_w[:, middle], 1e-9)
    step = problem.step_w()[:, min(1, problem.shape[1] - 1)]
    rate = groups.mode_hashrate_hs[:, min(1, problem.shape[1] - 1)]
    worth = np.divide(rate, step, out=np.zeros_like(rate), where=step > 0)
    _, kind = np.unique(
        np.stack((groups.min_on_s, groups.min_off_s, groups.starts_left >= 0)), axis=1, return_inverse=True
    )
    kind = kind.ravel()
    found = np.zeros(len(groups.units), dtype=np.int64)
    used = 0
    for one in range(int(kind.max(initial=-1)) + 1):
        at = np.flatnonzero(kind == one)
        order = at[np.argsort(-worth[at], kind="stable")]
        if count >= 0.6 * len(at):
            found[order] = used + np.arange(len(order))
            used += len(order)
            continue
        filled = np.cumsum(watts[order])
        cut = np.minimum((count * (filled - watts[order] / 2) / filled[-1]).astype(np.int64), count - 1)
        _, rank = np.unique(cut, return_inverse=True)
        found[order] = used + rank
        used += int(rank.max()) + 1
    return found


def pooled(problem: Problem, parts: list[Shares], of: Ints) -> Tranches:
    """The problem of classes."""
    groups, slots_n = problem.groups, len(problem.slots)
    count = int(of.max()) + 1
    units = np.bincount(of, weights=groups.units, minlength=count)

    def mean(values: Floats) -> Floats:
        weighted = values * groups.units.reshape(-1, *([1] * (values.ndim - 1)))
        summed = np.zeros((count, *values.shape[1:]))
        np.add.at(summed, of, weighted)
        return summed / np.maximum(units, 1).reshape(-1, *([1] * (values.ndim - 1)))

    def total(values: Ints) -> Ints:
        summed = np.zeros((count, *values.shape[1:]), dtype=np.int64)
        np.add.at(summed, of, values)
        return summed

    positions = parts[0].power_w.shape[1]
    power, rate = np.empty((count, positions, slots_n)), np.empty((count, positions, slots_n))
    for part in parts:
        power[:, :, part.slots] = np.maximum(mean(part.power_w), 1e-5)[:, :, None]
        rate[:, :, part.slots] = mean(part.hashrate_hs)[:, :, None]
    first = np.array([int(np.argmax(of == k)) for k in range(count)])
    main = max(parts, key=lambda part: len(part.slots))
    like = Groups(
        names=tuple(f"class {k}" for k in range(count)),
        units=units.astype(np.int64),
        mode_names=tuple(f"step {step}" for step in range(positions)),
        mode_power_w=mean(main.power_w) + mean(groups.sleep_w)[:, None],
        mode_hashrate_hs=mean(main.hashrate_hs),
        sleep_w=mean(groups.sleep_w),
        start_cost=mean(groups.start_cost),
        start_lost_hashes=mean(groups.start_lost_hashes),
        min_on_s=groups.min_on_s[first],
        min_off_s=groups.min_off_s[first],
        feeder=np.zeros(count, dtype=np.int64),
        on_now=total(groups.on_now),
        locked_on=total(groups.locked_on),
        locked_off=total(groups.locked_off),
        starts_left=np.where(groups.starts_left[first] >= 0, total(groups.starts_left), -1),
    )
    site = replace(problem.site, mode_max=np.full(slots_n, positions - 1, dtype=np.int64))
    return Tranches(of, replace(problem, groups=like, site=site), Steps(power, rate))


def programme(tranches: Tranches, margin_w: float) -> Model:
    """The linear programme of the classes, with a margin inside the ramp for placing whole units later."""
    return build(tranches.problem, steps=tranches.steps, margin_w=margin_w)
