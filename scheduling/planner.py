# SPDX-License-Identifier: Apache-2.0
"""Planner: reasons to plan again, and the solver sequence with fallback to merit order or the last good plan.

`due` gives the reason as text; `make` gives the plan. No clock, no thread: the same facts give the same bytes, because every
limit of effort counts nodes and iterations.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from grid.limit import Limit
from kernel.clock import MS_PER_S
from kernel.curve import Curve, known
from scheduling.plan import Plan, Urgency
from scheduling.problem.build_problem import SiteNumbers
from scheduling.problem.problem import Ints, Problem
from scheduling.solve.assemble import assemble
from scheduling.solve.exact import GAP, Effort, exact
from scheduling.solve.greedy import greedy
from scheduling.solve.lagrangian import WarmStart, certified, least_breaking

MILP_CELLS = 2_000
"""Most cells (groups x modes x slots) for the integer programme."""


@dataclass(frozen=True, slots=True)
class PlanInputs:
    """Inputs of the last plan, to detect changes: its instant, the end of its first slot, known curves, limits."""

    at_ms: int
    first_end_ms: int
    known: tuple[tuple[str, int], ...]
    limits: tuple[tuple[str, float, int, int], ...]


def plan_inputs(
    numbers: SiteNumbers, plan_edges_ms: Ints, now_ms: int, curves: Iterable[Curve], limits: Iterable[Limit]
) -> PlanInputs:
    """The inputs of a plan made now."""
    return PlanInputs(now_ms, int(plan_edges_ms[1]), _known(numbers, curves, now_ms), _limits(limits, now_ms))


def due(
    last: PlanInputs | None,
    numbers: SiteNumbers,
    now_ms: int,
    curves: Iterable[Curve],
    limits: Iterable[Limit],
) -> str | None:
    """Reason to plan again now, or None. Deviation of the site from its plan is covered with the next slot."""
    if last is None:
        return "the first one"
    seen = _known(numbers, curves, now_ms)
    newer = [name for name, at_ms in seen if dict(last.known).get(name) != at_ms]
    if newer:
        return f"new curve {newer[0]}"
    if {one[:2] + one[3:] for one in _limits(limits, now_ms)} - {one[:2] + one[3:] for one in last.limits}:
        return "a limit or order came"
    if {one for one in last.limits if one[3] > now_ms} - set(_limits(limits, now_ms)):
        return "a limit or order was released"
    if any(last.at_ms < one[3] <= now_ms for one in last.limits):
        return "a limit or order ended"
    if now_ms >= last.first_end_ms:
        return "the slot ended"
    return None


def _known(numbers: SiteNumbers, curves: Iterable[Curve], now_ms: int) -> tuple[tuple[str, int], ...]:
    have = list(curves)
    names = [name for name in (numbers.market, numbers.hashprice, numbers.exchange) if name is not None]
    found = [(name, known(have, name, now_ms)) for name in names]
    return tuple((name, curve.known_at_ms) for name, curve in found if curve is not None)


def _limits(limits: Iterable[Limit], now_ms: int) -> tuple[tuple[str, float, int, int], ...]:
    return tuple(
        sorted(
            (f"{one.scope} {one.rule}", one.power_w, one.span.start_ms, one.span.end_ms)
            for one in limits
            if one.span.end_ms > now_ms
        )
    )


def make(
    problem: Problem,
    *,
    why_now: str,
    last: Plan | None = None,
    warm_start: WarmStart | None = None,
    effort: Effort = Effort(),
) -> Plan:
    """The best available plan, checked. Its value is never below that of the merit-order rule on the same facts.

    Order: the fast certified method; where its proof leaves a gap, or rules contradict each other, the full integer
    programme up to `MILP_CELLS`; the merit-order rule; the last good plan on the new slots. Fallbacks and their causes are in
    `status` and `notes`. With a kept `warm_start` a new plan after an order starts from the last basis.
    """
    rule = assemble(problem, greedy(problem), method="greedy", status="greedy", why_now=why_now)
    if not int(problem.groups.units.sum()):
        return replace(rule, status=rule.status if rule.violations else "optimal", bound=rule.value)
    plans: list[Plan] = []
    notes: list[str] = []
    fast = certified(problem, why_now=why_now, warm_start=warm_start)
    if fast is not None:
        plans.append(fast)
    else:
        notes.append("the fast way found no plan that keeps every rule")
    if fast is None or fast.gap is None or fast.gap > GAP:
        cells = int(np.prod(problem.shape[:3]))
        small = cells <= MILP_CELLS
        start = None if fast is None else fast.counts
        whole = exact(problem, effort=effort, why_now=why_now, start=start) if small else None
        if not small:
            notes.append(f"{cells} cells are too many for the integer programme")
            elastic = least_breaking(problem, why_now=why_now) if fast is None else None
            if elastic is not None:
                plans.append(elastic)
        elif whole is None:
            notes.append("the integer programme found no plan within its limits of effort")
        else:
            plans.append(whole)
    old = None if plans else _shifted(problem, last, why_now)
    if old is not None:
        plans.append(old)
    chosen = min([*plans, rule], key=rank)
    limits = [plan.bound for plan in plans if plan.bound is not None]
    if limits and not chosen.violations:
        limit = max(min(limits), chosen.value)
        chosen = replace(chosen, bound=limit)
        closed = chosen.gap is not None and chosen.gap <= GAP
        chosen = replace(chosen, status="optimal" if closed else chosen.status)
    return replace(chosen, notes=(*chosen.notes, *notes))


def rank(plan: Plan) -> tuple[tuple[float, ...], float]:
    """Order of preference: least violation by urgency of the rule, then value (smaller is better)."""
    weight = [0.0] * len(Urgency)
    for violation in plan.violations:
        weight[violation.urgency] += violation.amount
    return tuple(weight), -plan.value


def _shifted(problem: Problem, last: Plan | None, why_now: str) -> Plan | None:
    """The last plan's counts on the new slots, where its groups are the same and it had no violation."""
    if last is None or last.violations or last.problem.groups.names != problem.groups.names:
        return None
    at = np.searchsorted(last.problem.slots.edges_ms, problem.slots.starts_ms, side="right") - 1
    if int(at.min()) < 0 or last.counts.shape[1] != problem.shape[1]:
        return None
    counts = last.counts[:, :, np.minimum(at, last.counts.shape[2] - 1)]
    age_s = (problem.known_at_ms - last.made_ms) / MS_PER_S
    note = f"the last good plan, {age_s:.0f} s old"
    return assemble(problem, counts, method=last.method, status="last_good", why_now=why_now, notes=(note,))
