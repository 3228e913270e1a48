# SPDX-License-Identifier: Apache-2.0
"""The full programme: two solvers agree, plans keep every rule, and contradictions are resolved by priority."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.instances import anything, standard
from grid.limit import Priority
from scheduling.plan import Schedule
from scheduling.problem.problem import Order, first_free, first_locking
from scheduling.solve.check import judge
from scheduling.solve.exact import Effort, exact, relax
from scheduling.solve.model import build
from tests.oracles.second_solver import second_value
from tests.servers import count


def small(seed: int):
    return anything(seed, most_groups=3, most_slots=16, most_units=40)


@pytest.mark.parametrize("seed", range(count(6, 40)))
def test_two_solvers_agree_and_the_plan_is_judged_clean(seed: int) -> None:
    problem = small(seed)
    model = build(problem)
    ours = relax(model.program.arrays(), Effort()).objective * model.scale_money
    theirs = second_value(problem, relaxed=True)
    assert theirs is not None
    assert ours == pytest.approx(theirs, rel=1e-7, abs=1e-7)

    plan = exact(problem, effort=Effort(nodes=200, gap=1e-4))
    whole = second_value(problem, gap=1e-4)
    assert plan is not None and whole is not None
    assert plan.violations == ()
    assert plan.bound is not None and plan.bound <= ours + 1e-6 * abs(ours) + 1e-9
    assert plan.gap is not None
    assert plan.value >= whole - max(2e-4, plan.gap) * max(abs(whole), 1e-6) - 1e-9
    assert plan.bound >= whole - 1e-6 * abs(whole)


def test_an_order_below_the_safe_minimum_breaks_the_least_urgent_rule_first() -> None:
    problem = standard(1, groups=2, slots=12, units=40, reserve=False, orders=False)
    fleet = replace(
        problem.groups, locked_on=np.repeat(problem.groups.on_now[:, None], 12, axis=1) * (np.arange(12) < 6)
    )
    order = Order("cut", 2, 8, 10_000.0)
    site = replace(problem.site, ramp_w=np.full(12, np.inf))
    plan = exact(replace(problem, groups=fleet, site=site, orders=(order,)))
    assert plan is not None
    assert plan.status == "least_violation"
    assert plan.bound is None
    broken = {violation.rule for violation in plan.violations}
    assert broken == {"minimum on-time"}
    assert all(violation.why for violation in plan.violations)
    assert bool(np.all(plan.power_w[2:9] <= 10_000.1))


def test_base_load_above_an_order_breaks_the_order_by_what_cannot_be_shed() -> None:
    problem = standard(1, groups=2, slots=8, units=20, reserve=False, orders=False)
    site = replace(problem.site, other_load_w=np.full(8, 30_000.0), ramp_w=np.full(8, np.inf))
    order = Order("cut", 1, 4, 20_000.0, Priority.DISPATCHER, "the dispatcher asked")
    plan = exact(replace(problem, site=site, orders=(order,)))
    assert plan is not None
    assert {violation.rule for violation in plan.violations} == {"order cut"}
    assert [round(violation.amount) for violation in plan.violations] == [10_000] * 4
    assert bool(np.all(plan.on()[:, 1:5] == 0))


def test_heat_in_an_outage_yields_to_the_import_cap() -> None:
    problem = standard(2, groups=2, slots=8, units=20, reserve=False, orders=False)
    cap = np.full(8, 1e6)
    cap[3:5] = 0.0
    site = replace(problem.site, import_cap_w=cap, heat_w=np.full(8, 20_000.0), ramp_w=np.full(8, np.inf))
    plan = exact(replace(problem, site=site))
    assert plan is not None
    assert {(v.rule, v.slot) for v in plan.violations if v.rule == "heat duty"} == {("heat duty", 3), ("heat duty", 4)}
    assert bool(np.all(plan.power_w[3:5] <= 0.1))


def test_windows_on_a_grid_that_grows_coarser() -> None:
    from kernel.span import horizon

    slots = horizon(0, ((300.0, 1_800.0), (900.0, 7_200.0)))
    assert first_locking(slots, 900.0).tolist()[:8] == [0, 0, 0, 1, 2, 3, 4, 7]
    assert first_free(slots, 900.0).tolist()[:8] == [3, 4, 5, 6, 7, 7, 7, 8]


def test_a_schedule_survives_the_journal() -> None:
    plan = exact(small(0))
    assert plan is not None
    body = plan.to_json()
    again, direct = Schedule.from_json(body), Schedule.of(plan)
    at_ms = int(plan.problem.slots.edges_ms[1]) + 1
    assert again.at(at_ms) == direct.at(at_ms)
    assert again.id == plan.id
    assert direct.at(int(plan.problem.slots.edges_ms[-1])) is None
    assert judge(plan) == ()
