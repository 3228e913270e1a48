# SPDX-License-Identifier: Apache-2.0
"""Laws of planning: never dearer than the rule, never above the bound, the same bytes twice."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.instances import anything
from scheduling.planner import make, rank
from scheduling.solve.assemble import assemble
from scheduling.solve.greedy import greedy
from tests.servers import count


@settings(max_examples=count(15, 200), deadline=None)
@given(seed=st.integers(0, 100_000))
def test_a_plan_is_never_dearer_than_the_merit_order_rule(seed: int) -> None:
    problem = anything(seed, most_groups=4, most_slots=24, most_units=60)
    rule = assemble(problem, greedy(problem), method="greedy", status="greedy")
    plan = make(problem, why_now="law")
    assert rank(plan) <= rank(rule)
    if not rule.violations:
        assert plan.violations == ()
        assert plan.value >= rule.value
    if plan.bound is not None:
        assert plan.bound >= plan.value


@settings(max_examples=count(4, 40), deadline=None)
@given(seed=st.integers(0, 100_000))
def test_the_same_facts_give_the_same_bytes(seed: int) -> None:
    problem = anything(seed, most_groups=3, most_slots=16, most_units=30)
    first, second = (json.dumps(make(problem, why_now="law").to_json(), sort_keys=True) for _ in range(2))
    assert first == second
