# SPDX-License-Identifier: Apache-2.0
"""A day bought ahead on the errors of past days: never worse than not to, nothing of the future used, few days say nothing."""

from dataclasses import replace
from datetime import date
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from benchmarks.instances import standard
from kernel.clock import MS_PER_HOUR
from kernel.curve import Curve
from kernel.span import Span, local_day
from scheduling.offer.hedge import LEAST_DAYS, RiskPreference, errors_by_day, hedge, merit

ZONE = ZoneInfo("Europe/Berlin")


def day_curves(first: date, days: int, error: float = 0.0) -> list[Curve]:
    start = local_day(first, ZONE).start_ms
    end = local_day(date.fromordinal(first.toordinal() + days - 1), ZONE).end_ms
    starts = np.arange(start, end, MS_PER_HOUR, dtype=np.int64)
    ahead = 40 + 10 * np.sin(np.arange(len(starts)))
    return [
        Curve("price/day_ahead", "EUR/MWh", starts, starts + MS_PER_HOUR, ahead, start, "test"),
        Curve("price/real_time", "EUR/MWh", starts, starts + MS_PER_HOUR, ahead + error, end, "test"),
    ]


def test_errors_are_those_of_whole_days_by_local_hour_also_when_the_clock_turns() -> None:
    curves = day_curves(date(2026, 10, 23), 4, error=7.0)
    late = curves[1].known_at_ms
    assert errors_by_day(curves, "price/day_ahead", "price/real_time", ZONE, late - 1).shape == (0, 24)
    found = errors_by_day(curves, "price/day_ahead", "price/real_time", ZONE, late)
    assert found.shape == (4, 24) and found == pytest.approx(7e-6)
    spring = day_curves(date(2026, 3, 28), 3, error=-2.0)
    assert errors_by_day(spring, "price/day_ahead", "price/real_time", ZONE, spring[1].known_at_ms).shape == (3, 24)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_hedged_day_is_never_worth_less_than_a_bare_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = standard(seed, groups=12, slots=24, step_s=3600.0, units=2_000, reserve=False)
    day = Span(int(problem.slots.edges_ms[0]), int(problem.slots.edges_ms[-1]))
    errors = rng.normal(2e-6, 15e-6, (30, 24))
    averse = hedge(problem, day, ZoneInfo("UTC"), errors, RiskPreference(weight=0.9), np.random.default_rng(5))
    bold = hedge(problem, day, ZoneInfo("UTC"), errors, RiskPreference(weight=0.0), np.random.default_rng(5))
    assert averse is not None and bold is not None
    assert (
        averse.decision.objective >= averse.unhedged_worth - 1e-6
        and bold.decision.objective >= bold.unhedged_worth - 1e-6
    )
    assert averse.decision.cvar >= bold.decision.cvar - 1e-6 and bold.decision.mean >= averse.decision.mean - 1e-6
    assert bool(np.all(averse.decision.position_w <= merit(problem)[0].sum() * (1 + 1e-9)))
    again = hedge(problem, day, ZoneInfo("UTC"), errors, RiskPreference(weight=0.9), np.random.default_rng(5))
    assert again is not None and again.to_json(problem.slots) == averse.to_json(problem.slots)


def test_reserve_is_promised_where_it_pays_and_only_so_much() -> None:
    problem = standard(4, groups=12, slots=24, step_s=3600.0, units=2_000, reserve=False)
    day = Span(int(problem.slots.edges_ms[0]), int(problem.slots.edges_ms[-1]))
    errors = np.zeros((LEAST_DAYS, 24))
    paid = RiskPreference(reserve_price_per_wh=1e-3, reserve_max_w=50_000.0)
    found = hedge(problem, day, ZoneInfo("UTC"), errors, paid, np.random.default_rng(1))
    assert found is not None and found.decision.reserve_w == pytest.approx(50_000.0)
    unpaid = hedge(
        problem, day, ZoneInfo("UTC"), errors, replace(paid, reserve_price_per_wh=0.0), np.random.default_rng(1)
    )
    assert unpaid is not None and unpaid.decision.objective <= found.decision.objective


def test_few_days_or_a_day_beyond_the_horizon_give_no_hedge() -> None:
    problem = standard(4, groups=3, slots=24, step_s=3600.0, units=100, reserve=False)
    day = Span(int(problem.slots.edges_ms[0]), int(problem.slots.edges_ms[-1]))
    rng = np.random.default_rng(1)
    assert hedge(problem, day, ZoneInfo("UTC"), np.zeros((LEAST_DAYS - 1, 24)), RiskPreference(), rng) is None
    beyond = Span(day.end_ms, day.end_ms + 24 * MS_PER_HOUR)
    assert hedge(problem, beyond, ZoneInfo("UTC"), np.zeros((LEAST_DAYS, 24)), RiskPreference(), rng) is None
