# SPDX-License-Identifier: Apache-2.0
"""Shadow prices of shared rules: one multiplier per row that joins groups to the site, from a programme's duals."""

from dataclasses import dataclass

import numpy as np

from scheduling.problem.problem import Floats, Ints, Problem
from scheduling.solve.model import Model
from scheduling.solve.program import Solution


@dataclass(frozen=True, slots=True)
class Prices:
    """Money per W through a slot, shape [slot], unless given otherwise. All but `flexible`, `site` and `stored` are >= 0.

    `flexible` of the miners' power J, `site` of site power S; `feeder[f, t]`; `ramp_up`, `ramp_down` of the change into a
    slot; `peak`; `take[k]` per Wh; `down`, `up` of reserve deliverability; `stored` per Wh in the battery; `start[g]`
    money per start under a budget.
    """

    flexible: Floats
    site: Floats
    feeder: Floats
    ramp_up: Floats
    ramp_down: Floats
    peak: Floats
    take: Floats
    down: Floats
    up: Floats
    stored: Floats
    start: Floats


def prices_of(model: Model, solution: Solution, problem: Problem, of: Ints) -> Prices:
    """Multipliers of `problem` from the duals of a programme of classes with the same site rows; `of[g]` is the class of a
    group, which gives its start price. Feeder prices are zero."""
    _, _, slots_n, feeders_n = problem.shape
    unit = model.scale_money / model.scale_w

    def dual(row: str, slots: np.ndarray | None = None, size: int = slots_n) -> Floats:
        at = model.row(row)
        found = np.zeros(size)
        if at is not None:
            found[np.arange(size) if slots is None else slots] = solution.row_dual[at] * unit
        return found

    site = problem.site
    ramp = dual("ramp", np.flatnonzero(np.isfinite(site.ramp_w)))
    down = np.zeros(0, np.int64) if site.reserve_down is None else np.flatnonzero(site.reserve_down.block_of >= 0)
    up = np.zeros(0, np.int64) if site.reserve_up is None else np.flatnonzero(site.reserve_up.block_of >= 0)
    penalty = np.array([take.penalty_per_wh for take in site.takes], dtype=np.float64)
    return Prices(
        flexible=-dual("flexible"),
        site=-dual("site"),
        feeder=np.zeros((feeders_n, slots_n)),
        ramp_up=np.maximum(ramp, 0.0),
        ramp_down=np.maximum(-ramp, 0.0),
        peak=np.maximum(dual("highest"), 0.0),
        take=np.clip(-dual("take", size=len(site.takes)), 0.0, penalty),
        down=np.maximum(dual("down", down), 0.0),
        up=np.maximum(dual("up", up), 0.0),
        stored=dual("stored"),
        start=_start_prices(model, solution)[of],
    )


def _start_prices(model: Model, solution: Solution) -> Floats:
    """Money per start of each class with a budget."""
    left = model.problem.groups.starts_left
    found = np.zeros(len(left))
    at = model.row("starts")
    if at is not None:
        found[np.flatnonzero(left >= 0)] = np.maximum(solution.row_dual[at], 0.0) * model.scale_money
    return found
