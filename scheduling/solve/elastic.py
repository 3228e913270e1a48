# SPDX-License-Identifier: Apache-2.0
"""Elastic relaxation of contradicting rules, for fleets too large for the integer programme.

The tranche programme with slacks is solved priority by priority, from the most urgent rule down: the least sum of a
priority's slacks is found and fixed before the next. The relaxation is then applied to the problem, which is planned in the
ordinary way; the plan is checked against the original problem.
"""

from dataclasses import dataclass, replace

import numpy as np

from scheduling.problem.problem import Floats, Problem
from scheduling.solve.model import Model, build
from scheduling.solve.program import WarmProgramme
from scheduling.solve.tranche import Tranches

OPTIONS = {"solver": "simplex", "presolve": "off"}


@dataclass(frozen=True, slots=True)
class Relaxation:
    """A problem whose rules can all be kept, and the names of the relaxed rules."""

    problem: Problem
    names: tuple[str, ...]


def relaxation(problem: Problem, tranches: Tranches, margin_w: float) -> Relaxation | None:
    """The least relaxation by priority, or None where none is found."""
    model = build(tranches.problem, elastic=True, steps=tranches.steps, margin_w=0.0)
    arrays = model.program.arrays()
    high = arrays.high.copy()
    kept = WarmProgramme(OPTIONS)
    x: Floats | None = None
    for urgency in sorted({one.priority for one in model.elastic_rules}):
        columns = np.concatenate([one.columns for one in model.elastic_rules if one.priority == urgency])
        aim = np.zeros(len(high))
        aim[columns] = -1.0
        found = kept.solve(replace(arrays, worth=aim, high=high))
        if not found.found:
            return None
        x = found.x
        high = high.copy()
        high[columns] = np.where(x[columns] > 1e-7, x[columns] * (1 + 1e-9) + 1e-7, 0.0)
    return None if x is None else _relaxed(problem, model, x, margin_w)


def _relaxed(problem: Problem, model: Model, x: Floats, margin_w: float) -> Relaxation:
    site, groups = problem.site, problem.groups
    slots_n = len(problem.slots)
    names = []

    def slack(rule: str) -> Floats | None:
        for one in model.elastic_rules:
            if one.rule == rule:
                amount = np.maximum(x[one.columns], 0.0)
                if bool(np.any(amount > 1e-6)):
                    names.append(rule)
                    return np.where(amount > 1e-6, amount, 0.0)
        return None

    def watts(amount: Floats) -> Floats:
        return np.where(amount > 0, amount * model.scale_w, 0.0)

    def with_room(amount: Floats) -> Floats:
        """Modes fill a path only to within one step: a path that just keeps a rule needs that much more."""
        return watts(amount) + 2 * margin_w

    cap = site.import_cap_w.copy()
    found = slack("import cap")
    cap = cap if found is None else cap + watts(found)
    for order in problem.orders:
        found = slack(f"order {order.id}")
        limit = np.full(order.last - order.first + 1, order.power_w)
        limit = limit if found is None else limit + watts(found)
        cap[order.first : order.last + 1] = np.minimum(cap[order.first : order.last + 1], limit)
    heat = site.heat_w
    found = slack("heat duty")
    if found is not None:
        wanted = np.flatnonzero(np.maximum(heat - float(groups.units @ groups.sleep_w), 0.0) > 0)
        less = np.zeros(slots_n)
        if len(found) == slots_n:
            less = with_room(found)
        else:
            less[wanted] = with_room(found)[: len(wanted)]
        heat = np.maximum(heat - less, 0.0)
    ramp = site.ramp_w.copy()
    limited = np.flatnonzero(np.isfinite(ramp))
    for rule in ("ramp up", "ramp down"):
        found = slack(rule)
        if found is not None:
            ramp[limited] += with_room(found)
    locked_on = groups.locked_on
    found = slack("minimum on-time")
    if found is not None:
        broken = found.reshape(-1, slots_n)[:, :].sum(axis=0) > 0
        locked_on = np.where(broken[None, :], 0, locked_on)
        locked_on = np.minimum.accumulate(locked_on, axis=1)
    free_site = replace(site, import_cap_w=cap, heat_w=heat, ramp_w=ramp)
    free = replace(problem, site=free_site, groups=replace(groups, locked_on=locked_on), orders=())
    return Relaxation(free, tuple(names))
