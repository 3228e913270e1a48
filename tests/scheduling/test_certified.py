# SPDX-License-Identifier: Apache-2.0
"""The fast exact way: its bound is a bound, tight at the programme's own duals; its plans keep every rule."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.instances import anything, standard
from scheduling.bound import bound, holds, paths
from scheduling.certified import certified, ground, prove
from scheduling.exact import Effort, relax
from scheduling.model import build
from scheduling.prices import Prices, prices_of
from scheduling.problem import Problem
from scheduling.ramp import ramped
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
    feeder = np.maximum(found.row_dual[model.program.rows["feeder"].at], 0.0) * model.scale_money / model.scale_w
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
    base = ground(problem)
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
