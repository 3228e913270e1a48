# SPDX-License-Identifier: Apache-2.0
"""The fast exact way: its bound is a bound, tight at the programme's own duals; its plans keep every rule."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.instances import anything, at_slot, rolling, standard, with_order
from scheduling.problem.problem import Order, Problem
from scheduling.solve.bound import bound, holds, paths
from scheduling.solve.check import judge
from scheduling.solve.exact import Effort, relax
from scheduling.solve.lagrangian import WarmStart, certified, least_breaking, prove, static_data
from scheduling.solve.model import build
from scheduling.solve.prices import Prices, prices_of
from scheduling.solve.ramp import ramped
from tests.servers import count


def value_at(problem: Problem, prices: Prices) -> float:
    return bound(problem, prices, paths(problem, holds(problem), prices))


@pytest.mark.parametrize("seed", range(count(12, 60)))
def test_at_the_full_programmes_duals_the_bound_is_its_optimum(seed: int) -> None:
    """Strong duality: dynamic programmes and closed forms together are the programme, feature by feature."""
    problem = anything(seed, most_groups=6, most_slots=40, most_units=60)
    model = build(problem)
    found = relax(model.program.arrays(), Effort())
    assert found.found
    optimum = found.objective * model.scale_money
    prices = prices_of(model, found, problem, np.arange(len(problem.groups.units)))
    feeder = np.maximum(found.row_dual[model.program.rows["feeder"]], 0.0) * model.scale_money / model.scale_w
    assert value_at(problem, replace(prices, feeder=feeder)) == pytest.approx(optimum, rel=1e-8, abs=1e-8)


@settings(max_examples=count(20, 300), deadline=None)
@given(seed=st.integers(0, 1000), noise=st.integers(0, 2**32 - 1), size=st.floats(0.0, 2.0))
def test_at_any_prices_the_bound_is_not_below_the_optimum(seed: int, noise: int, size: float) -> None:
    problem = anything(seed % 40, most_groups=3, most_slots=12, most_units=30)
    model = build(problem)
    found = relax(model.program.arrays(), Effort())
    optimum = found.objective * model.scale_money
    prices = prices_of(model, found, problem, np.arange(len(problem.groups.units)))
    rng = np.random.default_rng(noise)

    def shaken(values: np.ndarray, positive: bool = True) -> np.ndarray:
        moved = values + size * rng.normal(size=values.shape) * (np.abs(values).sum() / max(values.size, 1) + 1e-9)
        return np.maximum(moved, 0.0) if positive else moved

    penalty = np.array([take.penalty_per_wh for take in problem.site.takes])
    other = Prices(
        flexible=shaken(prices.flexible, False),
        site=shaken(prices.site, False),
        feeder=shaken(prices.feeder + prices.flexible.mean()),
        ramp_up=np.where(np.isfinite(problem.site.ramp_w), shaken(prices.ramp_up), 0.0),
        ramp_down=np.where(np.isfinite(problem.site.ramp_w), shaken(prices.ramp_down), 0.0),
        peak=shaken(prices.peak) if problem.site.peak_price_per_w else prices.peak,
        take=np.minimum(shaken(prices.take), penalty),
        down=np.where(_inside(problem.site.reserve_down, prices.down), shaken(prices.down), 0.0),
        up=np.where(_inside(problem.site.reserve_up, prices.up), shaken(prices.up), 0.0),
        stored=shaken(prices.stored, False),
        start=np.where(problem.groups.starts_left >= 0, shaken(prices.start), 0.0),
    )
    assert value_at(problem, other) >= optimum - 1e-7 * abs(optimum) - 1e-9


def _inside(reserve: object, like: np.ndarray) -> np.ndarray:
    return np.zeros(len(like), dtype=bool) if reserve is None else reserve.block_of >= 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(count(10, 50)))
def test_certified_plans_keep_every_rule_and_stay_below_the_programme(seed: int) -> None:
    problem = anything(seed, most_groups=12, most_slots=60, most_units=300)
    plan = certified(problem)
    model = build(problem)
    found = relax(model.program.arrays(), Effort())
    assert plan is not None and plan.bound is not None and found.found
    optimum = found.objective * model.scale_money
    assert plan.violations == ()
    assert plan.value <= optimum + 1e-7 * abs(optimum)
    assert plan.bound >= optimum - 1e-7 * abs(optimum)
    assert (optimum - plan.value) / abs(optimum) < 0.02


def test_the_standard_instance_in_small_is_proven_within_a_tenth_of_a_percent() -> None:
    problem = standard(0, groups=100, slots=96, step_s=900.0, units=25_000)
    plan = certified(problem)
    assert plan is not None and plan.gap is not None
    assert plan.violations == ()
    assert plan.gap <= 1e-3
    assert plan.status == "optimal"


def test_feeder_prices_tighten_the_bound() -> None:
    problem = standard(2, groups=60, slots=96, step_s=900.0, units=15_000, feeder_low=0.75, feeder_high=0.95)
    base = static_data(problem)
    flat = replace(_zero(problem), flexible=problem.money_per_w(), site=problem.money_per_w())
    assert prove(problem, base, flat, 4).value < value_at(problem, flat)


def _zero(problem: Problem) -> Prices:
    groups_n, _, slots_n, feeders_n = problem.shape
    none = np.zeros(slots_n)
    takes = np.zeros(len(problem.site.takes))
    return Prices(
        none, none, np.zeros((feeders_n, slots_n)), none, none, none, takes, none, none, none, np.zeros(groups_n)
    )


def test_a_ramped_path_keeps_its_ramp_and_corridor() -> None:
    wish = np.array([0.0, 10.0, 10.0, 0.0, 10.0])
    path = ramped(wish, np.zeros(5), np.array([10.0, 10, 10, 1, 10]), np.full(5, 4.0), 0.0)
    assert path.tolist() == [0.0, 4.0, 5.0, 1.0, 5.0]


def contradictions() -> dict[str, tuple[Problem, set[str]]]:
    base = standard(0, groups=40, slots=96, step_s=900.0, units=8_000, reserve=False, orders=False)
    total_w = float(base.groups.units @ base.groups.mode_power_w[:, 1])
    slot = np.arange(96)
    free_ramp = replace(base.site, ramp_w=np.full(96, np.inf))
    out = np.where((slot > 30) & (slot < 36), 0.0, base.site.import_cap_w)
    locked = (base.groups.on_now[:, None] * (slot < 10)[None, :]).astype(np.int64)
    return {
        "an order below what flows anyway": (
            replace(
                base,
                site=replace(free_ramp, other_load_w=np.full(96, 3e6)),
                orders=(Order("cut", 50, 60, 2e6),),
            ),
            {"order cut"},
        ),
        "heat in an outage": (
            replace(base, site=replace(free_ramp, import_cap_w=out, heat_w=np.full(96, 0.2 * total_w))),
            {"heat duty"},
        ),
        "an order within minimum on-times": (
            replace(
                base,
                site=free_ramp,
                groups=replace(base.groups, locked_on=locked),
                orders=(Order("cut", 3, 20, 0.2 * total_w),),
            ),
            {"minimum on-time"},
        ),
    }


@pytest.mark.parametrize("name", contradictions())
def test_large_contradictions_break_only_the_least_urgent_rule(name: str) -> None:
    problem, broken = contradictions()[name]
    assert certified(problem) is None
    plan = least_breaking(problem)
    assert plan is not None and plan.bound is None
    assert {violation.rule for violation in plan.violations} == broken
    assert all("gave way" in violation.why or violation.why for violation in plan.violations)


def test_a_warm_plan_on_a_new_order_is_as_good_as_a_cold_one() -> None:
    problem = standard(1, groups=60, slots=96, step_s=900.0, units=12_000)
    memory = WarmStart()
    certified(problem, warm_start=memory)
    total_w = float(problem.groups.units @ problem.groups.mode_power_w[:, 1])
    asked = with_order(problem, Order("new", 40, 48, 0.5 * total_w))
    warm, cold = certified(asked, warm_start=memory), certified(asked)
    assert warm is not None and cold is not None and warm.gap is not None
    assert warm.violations == () and warm.gap <= 1.2e-3
    assert warm.value == pytest.approx(cold.value, rel=1e-3)
    assert float(warm.power_w[40:49].max()) <= 0.5 * total_w + 0.1


def test_mid_day_states_are_planned_from() -> None:
    problem = standard(2, groups=40, slots=96, step_s=900.0, units=8_000, min_s=3600.0)
    morning = certified(problem)
    assert morning is not None
    slot = int(np.argmax(morning.stops[:, 30:90].sum(axis=0))) + 31
    midday = at_slot(problem, morning.on(), morning.power_w, slot, 3)
    assert int(midday.groups.locked_off[:, 0].sum()) > 0
    plan = certified(midday)
    assert plan is not None and plan.gap is not None
    assert plan.violations == () and plan.gap <= 2e-3


def test_a_day_on_which_nothing_pays_is_proven_at_once() -> None:
    problem = standard(1, groups=10, slots=48, step_s=1800.0, units=1_000, reserve=False, orders=False)
    dear = replace(problem.site, energy_price_per_wh=np.full(48, 900e-6), ramp_w=np.full(48, np.inf))
    plan = certified(replace(problem, site=dear))
    assert plan is not None and plan.gap is not None
    assert plan.gap <= 1e-3
    assert int(plan.on()[:, 1:].sum()) == 0


@pytest.mark.parametrize("seed", range(count(3, 20)))
def test_the_products_own_grid_of_growing_slots_is_proven_like_any_other(seed: int) -> None:
    """5 min for 2 h, 15 min to 24 h, 60 min to 72 h: minimum times span slots of different lengths."""
    slots = rolling()
    problem = standard(seed, groups=8, slots=len(slots), units=1_500, reserve=False, min_s=2700.0)
    problem = replace(problem, slots=slots)
    model = build(problem)
    found = relax(model.program.arrays(), Effort())
    plan = certified(problem)
    optimum = found.objective * model.scale_money
    assert plan is not None and plan.bound is not None and plan.gap is not None
    assert plan.violations == ()
    assert plan.value <= optimum * (1 + 1e-7) <= plan.bound * (1 + 2e-7)
    assert plan.gap <= 2e-3


def test_units_without_a_start_left_are_not_stopped_for_an_hour() -> None:
    """A budget of a quarter of the units, and an order that sheds a quarter for an hour: all groups share the stops."""
    problem = standard(4, groups=60, slots=96, step_s=900.0, units=20_000)
    tight = replace(problem, groups=replace(problem.groups, starts_left=problem.groups.units // 4))
    plan = certified(tight)
    assert plan is not None and judge(plan) == ()
    assert plan.gap is not None and plan.gap <= 3e-3
    assert bool(np.all(plan.starts.sum(axis=1) <= tight.groups.starts_left))
