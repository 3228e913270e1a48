# SPDX-License-Identifier: Apache-2.0
"""Integer programme of a planning problem: relaxation for prices and bound, whole numbers, or least violation.

Limits count nodes and iterations, never seconds, so that the same facts give the same bytes.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scheduling.plan import Plan
from scheduling.problem.problem import Floats, Ints, Problem
from scheduling.solve.assemble import assemble
from scheduling.solve.model import Model, build
from scheduling.solve.program import Arrays, Solution, load, solve

GAP = 1e-3


@dataclass(frozen=True, slots=True)
class Effort:
    """Limits of the search: branch-and-bound nodes, simplex iterations, and the gap at which it stops. `seconds` is for
    benchmarks alone: with it the same facts need not give the same bytes."""

    nodes: int = 50
    simplex_iterations: int = 200_000
    gap: float = GAP
    heuristics: float = 0.05
    seconds: float = float("inf")


def exact(problem: Problem, *, effort: Effort = Effort(), why_now: str = "", start: Ints | None = None) -> Plan | None:
    """The best plan of the full programme, or None where the limits were reached before any was found.

    `start[g, m, t]` is a known plan's counts as start. Where the rules contradict each other the plan of least violation is
    returned, with status `least_violation`.
    """
    model = build(problem)
    arrays = model.program.arrays()
    relaxed = relax(arrays, effort)
    if relaxed.status == "Infeasible":
        return least_violation(problem, effort=effort, why_now=why_now)
    whole = branch(arrays, effort, _start(model, arrays, start))
    if whole.status == "Infeasible":
        return least_violation(problem, effort=effort, why_now=why_now)
    if not whole.found:
        return None
    bound = min(whole.bound, relaxed.bound) * model.scale_money
    return plan_of(model, whole, bound=bound, price=price_per_wh(model, relaxed), why_now=why_now)


def relax(arrays: Arrays, effort: Effort) -> Solution:
    """The linear relaxation: its objective bounds every plan, its duals price power."""
    options = {"solver": "simplex", "simplex_iteration_limit": effort.simplex_iterations, "presolve": "on"}
    return solve(load(arrays, relaxed=True, options=options), has_whole=False)


def branch(arrays: Arrays, effort: Effort, start: Floats | None) -> Solution:
    """Whole numbers by branch and bound."""
    options = {
        "mip_rel_gap": effort.gap,
        "mip_abs_gap": 100.0 * effort.gap,  # a thousandth of the gross, which the programme scales to 100,000
        "mip_max_nodes": effort.nodes,
        "mip_heuristic_effort": effort.heuristics,
        "mip_feasibility_tolerance": 1e-7,
        "time_limit": effort.seconds,
    }
    solver = load(arrays, options=options)
    if start is not None:
        _set_start(solver, start)
    return solve(solver, has_whole=True)


def _set_start(solver: Any, values: Floats) -> None:
    import highspy

    solution = highspy.HighsSolution()
    solution.col_value = list(values)
    solver.setSolution(solution)


def _start(model: Model, arrays: Arrays, counts: Ints | None) -> Floats | None:
    """Column values of known counts, completed by the linear programme over the continuous columns."""
    if counts is None:
        return None
    low, high = arrays.low.copy(), arrays.high.copy()
    for at, value in ((model.x, counts.astype(np.float64)),):
        low[at.ravel()] = high[at.ravel()] = value.ravel()
    fixed = Arrays(low, high, *(getattr(arrays, name) for name in arrays.__slots__[2:]))
    done = solve(load(fixed, relaxed=True), has_whole=False)
    return done.x if done.found else None


def price_per_wh(model: Model, relaxed: Solution) -> Floats | None:
    """The shadow price of power in each slot: value of one more Wh that need not be drawn."""
    row = model.row("flexible")
    if row is None or not len(relaxed.row_dual):
        return None
    return -relaxed.row_dual[row] * model.scale_money / model.scale_w / model.problem.slots.hours


def counts_of(model: Model, solution: Solution) -> Ints:
    """Whole counts from the solver's values."""
    return np.rint(solution.x[model.x]).astype(np.int64)


def plan_of(
    model: Model,
    solution: Solution,
    *,
    bound: float | None,
    price: Floats | None,
    why_now: str,
    status: str | None = None,
) -> Plan:
    """A checked plan from a solution of the model."""

    def watts(name: str) -> Floats | None:
        at = model.column(name)
        return None if at is None else np.clip(solution.x[at], 0.0, None) * model.scale_w

    return assemble(
        model.problem,
        counts_of(model, solution),
        method="milp",
        status=status,
        bound=bound,
        price_per_wh=price,
        charge_w=watts("ch"),
        discharge_w=watts("dis"),
        spill_w=watts("spill"),
        why_now=why_now,
    )


def least_violation(problem: Problem, *, effort: Effort = Effort(), why_now: str = "") -> Plan | None:
    """Where not all rules can be kept: break as little as possible, the least urgent first, then maximise the value.

    Priority by priority from the most urgent: the least sum of its slacks is found and fixed, then the next; at the end
    the value is maximised. Each stage is an integer programme of the same rows.
    """
    model = build(problem, elastic=True)
    arrays = model.program.arrays()
    worth, high = arrays.worth.copy(), arrays.high.copy()
    slack = (
        np.concatenate([one.columns for one in model.elastic_rules])
        if model.elastic_rules
        else np.zeros(0, dtype=np.int64)
    )
    high[slack] = 0.0
    solution: Solution | None = None
    urgencies = sorted({one.priority for one in model.elastic_rules}, reverse=True)
    for stage, urgency in enumerate(urgencies):
        del stage
        open_columns = np.concatenate([one.columns for one in model.elastic_rules if one.priority >= urgency])
        trial_high = arrays.high.copy()
        trial_high[slack] = 0.0
        trial_high[open_columns] = np.inf
        probe = relax(_with(arrays, worth=np.zeros_like(worth), high=trial_high), effort)
        if probe.found:
            high = trial_high
            break
    else:
        return None
    broken = sorted({one.priority for one in model.elastic_rules if bool(np.any(high[one.columns] > 0))})
    for urgency in broken:
        columns = np.concatenate([one.columns for one in model.elastic_rules if one.priority == urgency])
        aim = np.zeros_like(worth)
        aim[columns] = -1.0
        solution = branch(_with(arrays, worth=aim, high=high), effort, None)
        if not solution.found:
            return None
        spent = np.maximum(solution.x[columns], 0.0)
        high = high.copy()
        high[columns] = np.where(spent > 1e-7, spent * (1 + 1e-6) + 1e-6, 0.0)
    solution = branch(_with(arrays, high=high), effort, None)
    if not solution.found:
        return None
    plan = plan_of(model, solution, bound=None, price=None, why_now=why_now, status="least_violation")
    return _with_why(plan)


def _with(arrays: Arrays, *, worth: Floats | None = None, high: Floats | None = None) -> Arrays:
    return Arrays(
        arrays.low,
        arrays.high if high is None else high,
        arrays.worth if worth is None else worth,
        *(getattr(arrays, name) for name in arrays.__slots__[3:]),
    )


def _with_why(plan: Plan) -> Plan:

    why = "not all rules can be kept in this slot; the less urgent one gave way"
    reported = tuple(replace(v, why=v.why or why) for v in plan.violations)
    return replace(plan, violations=reported)
