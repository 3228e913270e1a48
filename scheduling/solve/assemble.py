# SPDX-License-Identifier: Apache-2.0
"""Plan from counts: value by the problem's formula, independent check, explanation."""

from dataclasses import replace

import numpy as np

from scheduling.explain import limiting, reasons
from scheduling.plan import Plan
from scheduling.problem.objective import switches, worth
from scheduling.problem.problem import Floats, Ints, Problem
from scheduling.solve.check import judge

CLOSED_GAP = 1e-3


def assemble(
    problem: Problem,
    counts: Ints,
    *,
    method: str,
    status: str | None = None,
    bound: float | None = None,
    price_per_wh: Floats | None = None,
    charge_w: Floats | None = None,
    discharge_w: Floats | None = None,
    spill_w: Floats | None = None,
    why_now: str = "",
    notes: tuple[str, ...] = (),
) -> Plan:
    """A checked plan. A bound below the value by rounding is raised to it; a plan with violations has no bound, and its
    `status` is `least_violation`."""
    found = worth(problem, counts, charge_w=charge_w, discharge_w=discharge_w, spill_w=spill_w)
    starts, stops = switches(problem.groups.on_now, counts.sum(axis=1))
    energy_price = problem.money_per_w() / problem.slots.hours
    plan = Plan(
        method=method,
        status=status or "feasible",
        problem=problem,
        counts=counts,
        starts=starts,
        stops=stops,
        power_w=found.site_w,
        value=found.value,
        bound=None if bound is None else max(bound, found.value),
        violations=(),
        reasons=reasons(problem, counts, found.site_w),
        limited_by=limiting(problem, counts, found.site_w),
        site_price_per_wh=energy_price if price_per_wh is None else price_per_wh,
        made_ms=problem.known_at_ms,
        why_now=why_now,
        charge_w=charge_w,
        discharge_w=discharge_w,
        spill_w=spill_w,
        reserve_down_w=found.reserve_down_w if problem.site.reserve_down else None,
        reserve_up_w=found.reserve_up_w if problem.site.reserve_up else None,
        notes=notes,
        parts=found.parts(),
    )
    if spill_w is None:
        plan = replace(plan, spill_w=_spilled(problem, plan))
    violations = judge(plan)
    if status is None:
        closed = plan.gap is not None and plan.gap <= CLOSED_GAP
        status = "least_violation" if violations else ("optimal" if closed else "feasible")
    elif violations:
        status = "least_violation"
    return replace(plan, violations=violations, status=status, bound=None if violations else plan.bound)


def _spilled(problem: Problem, plan: Plan) -> Floats | None:
    """Generation that cannot be used, shape [slot]; None where the site has none."""
    if not bool(np.any(problem.site.generation_w > 0)):
        return None
    none = np.zeros(len(problem.slots))
    charge = none if plan.charge_w is None else plan.charge_w
    discharge = none if plan.discharge_w is None else plan.discharge_w
    drawn = np.einsum("gm,gmt->t", problem.step_w(), plan.counts.astype(np.float64)) + problem.base_w()
    spilled: Floats = np.clip(problem.site.generation_w - drawn - charge + discharge, 0.0, None)
    return spilled
