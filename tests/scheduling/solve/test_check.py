# SPDX-License-Identifier: Apache-2.0
"""The checker finds every fault put into a good plan."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.instances import standard
from scheduling.plan import Plan
from scheduling.problem.problem import Battery, Order
from scheduling.solve.assemble import assemble
from scheduling.solve.check import judge
from scheduling.solve.exact import exact
from scheduling.solve.greedy import greedy


@pytest.fixture(scope="module")
def good() -> Plan:
    plan = exact(standard(5, groups=4, slots=36, units=200))
    assert plan is not None
    assert judge(plan) == ()
    return plan


def rules(plan: Plan) -> set[str]:
    return {violation.rule for violation in judge(plan)}


def site(plan: Plan, **changes: object) -> Plan:
    return replace(plan, problem=replace(plan.problem, site=replace(plan.problem.site, **changes)))


def groups(plan: Plan, **changes: object) -> Plan:
    return replace(plan, problem=replace(plan.problem, groups=replace(plan.problem.groups, **changes)))


def more(plan: Plan) -> Plan:
    counts = plan.counts.copy()
    counts[0, 1, 5] += int(plan.problem.groups.units[0]) + 1
    return replace(plan, counts=counts)


def overpromised(plan: Plan) -> Plan:
    return replace(plan, reserve_down_w=np.asarray(plan.reserve_down_w) + 1e7)


def swapped(plan: Plan) -> Plan:
    """A unit stopped and started at once where none was: minimum off-time and balance cannot both hold."""
    stops, starts, counts = plan.stops.copy(), plan.starts.copy(), plan.counts.copy()
    group, slot = (int(index[0]) for index in np.nonzero(plan.on()[:, 4:-1] > 0))
    slot += 4
    mode = int(np.argmax(counts[group, :, slot] > 0))
    counts[group, mode, slot] -= 1
    stops[group, slot] += 1
    starts[group, slot + 1] += 1
    return replace(plan, counts=counts, stops=stops, starts=starts)


OPEN = np.full(4, 0)
NEVER_OFF = np.full(4, 1e6)


def ever_on(plan: Plan) -> np.ndarray:
    return np.repeat(plan.problem.groups.on_now[:, None], 36, 1)


FAULTS: list[tuple[str, Callable[[Plan], Plan], str]] = [
    ("too many units", more, "units of a group"),
    ("a phantom start", lambda p: replace(p, starts=p.starts + 1), "balance of starts and stops"),
    ("negative counts", lambda p: replace(p, counts=p.counts - 1), "counts >= 0"),
    ("fractions", lambda p: replace(p, counts=p.counts.astype(float)), "counts are whole"),
    ("wrong value", lambda p: replace(p, value=p.value * 1.001), "value as stated"),
    ("wrong power", lambda p: replace(p, power_w=p.power_w + 50.0), "power as stated"),
    ("cap moved", lambda p: site(p, import_cap_w=p.power_w - 5.0), "import cap"),
    ("feeder moved", lambda p: site(p, feeder_cap_w=p.problem.site.feeder_cap_w * 0.2), "feeder cap"),
    ("ramp moved", lambda p: site(p, ramp_w=np.zeros(36)), "ramp"),
    ("heat asked", lambda p: site(p, heat_w=p.power_w + 5.0), "heat duty"),
    ("mode barred", lambda p: site(p, mode_max=np.zeros(36, dtype=np.int64)), "hot hours bar a mode"),
    ("order unknown", lambda p: replace(p, problem=replace(p.problem, orders=(Order("late", 0, 35, 1.0),))), "order late"),
    ("other history", lambda p: groups(p, on_now=OPEN), "balance of starts and stops"),
    ("locked on", lambda p: groups(p, locked_on=ever_on(p), min_on_s=NEVER_OFF), "minimum on-time"),
    ("bounced unit", swapped, "minimum off-time"),
    ("reserve not there", overpromised, "reserve down within its offer"),
    ("battery that is none", lambda p: replace(p, charge_w=np.full(36, 9.0)), "no battery here"),
    ("wrong shape", lambda p: replace(p, power_w=p.power_w[:-1]), "shape of power_w"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "spoil", "rule"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_an_injected_fault_is_found(good: Plan, name: str, spoil: Callable[[Plan], Plan], rule: str) -> None:
    assert rule in rules(spoil(good)), name


def test_start_budget_and_battery_energy_are_judged() -> None:
    problem = standard(5, groups=3, slots=24, units=60, reserve=False)
    problem = replace(problem, groups=replace(problem.groups, starts_left=np.zeros(3, dtype=np.int64)))
    battery = Battery(1e4, 1e4, 1e4, 5e3, 5e3, 0.9, 0.9, 0.0)
    problem = replace(problem, site=replace(problem.site, battery=battery))
    counts = np.zeros(problem.shape[:3], dtype=np.int64)
    counts[0, 0, 12:] = 5
    problem = replace(problem, groups=replace(problem.groups, on_now=np.zeros(3, dtype=np.int64)))
    plan = assemble(problem, counts, method="by hand", charge_w=np.full(24, 1e4), discharge_w=np.zeros(24))
    found = {violation.rule for violation in plan.violations}
    assert {"start budget", "battery energy"} <= found
    assert plan.status == "least_violation" and plan.bound is None


def test_a_unit_may_be_switched_back_only_after_its_time() -> None:
    problem = standard(5, groups=1, slots=12, units=10, reserve=False, orders=False, min_s=900.0)
    site_ = replace(problem.site, ramp_w=np.full(12, np.inf), feeder_cap_w=np.full((1, 12), np.inf))
    problem = replace(problem, site=site_)
    for gap, clean in ((2, False), (3, True)):
        counts = np.zeros((1, 3, 12), dtype=np.int64)
        counts[0, 1] = 10
        counts[0, 1, 4 : 4 + gap] = 0
        plan = assemble(problem, counts, method="by hand")
        assert (plan.violations == ()) is clean


def test_greedy_is_clean_on_the_standard_instance() -> None:
    problem = standard(4, groups=40, slots=96, step_s=900.0, units=5_000)
    assert assemble(problem, greedy(problem), method="greedy").violations == ()
