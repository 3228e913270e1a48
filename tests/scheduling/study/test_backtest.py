# SPDX-License-Identifier: Apache-2.0
"""Price series in, regret out: bad series are refused by name, days have 23 to 25 hours, nothing later is read."""

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from grid.price_table import curve_of
from kernel.clock import from_datetime
from kernel.curve import Curve
from kernel.errors import ConfigError
from kernel.span import Span
from scheduling.problem.forecast import (
    Known,
    carried,
    continued,
    day_ahead,
    expected,
    fade_rate,
    learnt,
    persistence,
    regressed,
    same_hour,
    skill,
)
from scheduling.solve.rolling_horizon import alone
from scheduling.study.backtest import Settings, example_groups, run
from scheduling.study.history import History, history_of
from scheduling.study.policies import Terms, begin, coincident_chance, peak_worth_having, planner, reluctance, threshold

HOUR = 3_600_000
ZONE = ZoneInfo("America/Chicago")


def series(start: datetime, days: int, seed: int = 0, step_h: float = 0.25) -> tuple[Curve, Curve, Curve]:
    rng = np.random.default_rng(seed)
    count, step = round(days * 24 / step_h), round(step_h * HOUR)
    starts = from_datetime(start) + step * np.arange(count, dtype=np.int64)
    hour = starts / HOUR % 24
    ahead = 30 + 15 * np.sin((hour - 10) / 24 * 2 * np.pi)
    noise = np.zeros(count)
    for t in range(1, count):
        noise[t] = 0.9 * noise[t - 1] + rng.normal(0, 3)
    real = ahead + noise + np.where(rng.random(count) < 0.01, rng.uniform(100, 900, count), 0)
    real[rng.random(count) < 0.01] = -20.0
    load = 60_000 + 12_000 * np.sin((hour - 11) / 24 * 2 * np.pi) + rng.normal(0, 500, count).cumsum() / 20

    def curve(name: str, unit: str, values: np.ndarray) -> Curve:
        return Curve(name, unit, starts, starts + step, values, int(starts[-1] + step), "test")

    return curve("real", "USD/MWh", real), curve("ahead", "USD/MWh", ahead), curve("load", "MW", load)


def laid_out(start: datetime, days: int, *, calls: int = 0) -> History:
    real, ahead, load = series(start, days)
    return history_of(real, ahead, load, ZONE, seed=1, calls_per_month=calls, load_error=0.01, months=None)


def table(hours: list[int], values: list[float]) -> dict[str, np.ndarray]:
    at = np.array([1_704_067_200_000 + hour * HOUR for hour in hours]).astype("datetime64[ms]")
    return {"interval_start_utc": at, "point": np.array(["x"] * len(hours)), "price": np.array(values)}


@pytest.mark.parametrize(
    ("hours", "values", "words"),
    [
        ([0, 1, 3, 4], [1.0, 2, 3, 4], "1 rows are missing"),
        ([0, 1, 1, 2], [1.0, 2, 3, 4], "occurs twice"),
        ([0, 1, 2, 3], [1.0, float("nan"), 3, 4], "is no number"),
        ([0, 2, 1, 3], [1.0, 2, 3, 4], "comes after a later row"),
    ],
)
def test_a_series_with_a_fault_is_refused_with_its_place(hours: list[int], values: list[float], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        curve_of(table(hours, values), name="p", source="prices.csv")
    assert all("prices.csv" in fault.place and fault.remedy for fault in caught.value.faults)


def test_a_series_without_zone_or_numbers_is_refused() -> None:
    naive = {
        "at": np.array([datetime(2024, 1, 1), datetime(2024, 1, 1, 1)], dtype=object),
        "price": np.array([1.0, 2.0]),
    }
    with pytest.raises(ConfigError, match="no zone"):
        curve_of(naive, name="p", source="f")
    with pytest.raises(ConfigError, match="no column of numbers"):
        curve_of({"at": np.array([0, 1], dtype="datetime64[h]")}, name="p", source="f")
    zoned = {
        "at": np.array([datetime(2024, 1, 1, h, tzinfo=UTC) for h in (0, 1)], dtype=object),
        "p": np.array([1.0, 2.0]),
    }
    assert curve_of(zoned, name="p", source="f").values.tolist() == [1.0, 2.0]


def test_texts_of_a_csv_file_are_read() -> None:
    texts = {"at": np.array(["2024-01-01T00:00:00Z", "2024-01-01T06:00:00+05:00"]), "p": np.array(["1.5", " -2"])}
    with pytest.raises(ConfigError, match="prices.csv"):
        curve_of({**texts, "p": np.array(["1.5", "n/a"])}, name="p", source="prices.csv")
    curve = curve_of(texts, name="p", source="prices.csv")
    assert curve.values.tolist() == [1.5, -2.0]
    assert int(curve.starts_ms[1] - curve.starts_ms[0]) == HOUR
    with pytest.raises(ConfigError, match="no zone"):
        curve_of({**texts, "at": np.array(["2024-01-01T00:00:00", "2024-01-01T01:00:00"])}, name="p", source="f")


def test_two_units_do_not_mix() -> None:
    real, ahead, load = series(datetime(2024, 1, 1, tzinfo=UTC), 4)
    other = Curve("ahead", "EUR/MWh", ahead.starts_ms, ahead.ends_ms, ahead.values, 0, "test")
    with pytest.raises(ConfigError, match="EUR/MWh"):
        run(real, other, load)


@pytest.mark.parametrize(
    ("start", "slots"), [(datetime(2024, 3, 8, tzinfo=UTC), 92), (datetime(2024, 11, 1, tzinfo=UTC), 100)]
)
def test_days_of_23_and_25_hours(start: datetime, slots: int) -> None:
    history = laid_out(start, 6)
    assert slots in {day.last - day.first for day in history.days}
    report = run(*series(start, 6), settings=Settings(studies=("energy", "coupled"), normal_w=1e6))
    assert report["odd_days"] == 1
    for study in ("energy", "coupled"):
        planned = report[study]["policies"]["planner"]
        assert planned["regret_pct"] >= -0.01
        assert planned["value"] <= report[study]["foresight"]["value"]
    energy = report["energy"]["policies"]
    assert energy["planner"]["regret_pct"] < energy["threshold_on_off"]["regret_pct"]


def test_a_policy_cannot_see_past_its_instant() -> None:
    history = laid_out(datetime(2024, 7, 1, tzinfo=UTC), 5)
    groups, terms = example_groups(1e6, 4), Terms(45.0, 6.0, 15.0, reserve_per_mwh=4.0, lag=1)
    day = history.days[1]
    cut = day.first + 40
    blind = History(
        history.slots,
        history.step_h,
        np.where(np.arange(len(history.real)) >= cut, 999.0, history.real),
        history.ahead,
        history.demand,
        np.where(np.arange(len(history.load)) >= cut, 9e9, history.load),
        history.published,
        history.days,
        (),
        ZONE,
    )
    for policy in (planner, threshold):
        seen = policy(history, groups, terms, begin(groups), day).counts[:, :, :41]
        unseen = policy(blind, groups, terms, begin(groups), day).counts[:, :, :41]
        assert bool(np.all(seen == unseen))
    chance = coincident_chance(history, terms, begin(groups), day)
    assert bool(np.all(chance[:41] == coincident_chance(blind, terms, begin(groups), day)[:41]))
    assert float(chance.sum(axis=1).max()) <= 1.0 + 1e-9


def known(days: int = 40) -> Known:
    history = laid_out(datetime(2024, 1, 1, tzinfo=UTC), days)
    return history.known(1)


def test_forecasts_read_nothing_later() -> None:
    have = known(45)
    at = np.arange(35 * 96, 35 * 96 + 5)
    after = np.arange(len(have.real))
    later = Known(np.where(after >= at[0], 777.0, have.real), have.ahead, have.published, have.demand, 1, 96)
    first = at[:1]
    fitted = (carried, regressed, learnt)
    until = int(first[0])
    assert fade_rate(have, until, 30 * 96) == fade_rate(later, until, 30 * 96)
    guess = expected(have.real, 96)[: until + 96]
    assert bool(np.all(guess == expected(later.real, 96)[: until + 96]))
    for one, other in (
        (persistence(have, first, 8), persistence(later, first, 8)),
        (same_hour(have, first, 200), same_hour(later, first, 200)),
        (day_ahead(have, first, 200), day_ahead(later, first, 200)),
        *((method(have, first, 8, until, 30 * 96), method(later, first, 8, until, 30 * 96)) for method in fitted),
    ):
        assert bool(np.all(one == other))
        assert bool(np.all(one != 777.0))


def test_skill_ranks_forecasts_on_a_series_that_day_ahead_explains() -> None:
    errors = skill(known(60), 40 * 96, 55 * 96)
    assert errors["day_ahead"][3] < errors["persistence"][3]
    assert errors["day_ahead_carried"][0] < errors["day_ahead"][0]
    assert bool(np.all(errors["learnt"] < np.minimum(errors["same_hour"], errors["day_ahead"]) + 0.1))


def test_a_curve_is_continued_by_its_last_day() -> None:
    starts = HOUR * np.arange(48, dtype=np.int64)
    curve = Curve("p", "USD/MWh", starts, starts + HOUR, np.arange(48.0), 0, "test")
    longer = continued(curve, Span(0, 80 * HOUR))
    assert longer.at(50 * HOUR) == 26.0
    assert longer.at(79 * HOUR) == 31.0
    assert continued(curve, Span(0, 10 * HOUR)) is curve


def test_without_a_day_ahead_price_nothing_of_the_day_is_known_before() -> None:
    real, _, _ = series(datetime(2024, 1, 1, tzinfo=UTC), 12, step_h=1.0)
    spoilt = real.values.copy()
    cut = 9 * 24 + 12
    spoilt[cut:] = 5_000.0
    other = Curve(real.name, real.unit, real.starts_ms, real.ends_ms, spoilt, real.known_at_ms, "spoilt")
    groups, terms = example_groups(1e6, 4), Terms(45.0, 6.0, 15.0, reserve_per_mwh=4.0, lag=1)
    counts = []
    for curve in (real, other):
        history = history_of(
            curve, None, None, ZoneInfo("UTC"), seed=1, calls_per_month=0, load_error=0.01, months=None
        )
        day = history.days[9]
        counts.append(planner(history, groups, terms, begin(groups), day).counts[:, :, : cut - day.first + 1])
    assert bool(np.all(counts[0] == counts[1]))


def test_an_auction_is_seen_only_as_far_as_it_is_published() -> None:
    real, _, _ = series(datetime(2024, 1, 1, tzinfo=UTC), 12, step_h=1.0)
    made = []
    for beyond in (0.0, 5_000.0):
        values = real.values.copy()
        values[10 * 24 :] += beyond
        curve = Curve(real.name, real.unit, real.starts_ms, real.ends_ms, values, 0, "auction")
        known = history_of(
            curve, None, None, ZoneInfo("UTC"), seed=1, calls_per_month=0, load_error=0.0, months=None, auction=True
        ).known(0)
        at = np.array([9 * 24 + 13, 9 * 24 + 14])
        made.append(learnt(known, at, 30, 9 * 24, 6 * 24))
        assert bool(np.allclose(made[-1][0, :11], real.values[at[0] : at[0] + 11], atol=0.5))
    assert bool(np.all(made[0][0] == made[1][0]))
    assert bool(np.any(made[0][1] != made[1][1]))


def test_the_peak_worth_having_rises_with_the_margin_and_falls_with_the_charge() -> None:
    groups, history = example_groups(1e6, 6), laid_out(datetime(2024, 7, 1, tzinfo=UTC), 12)
    day, state = history.days[8], begin(groups)
    top_w = float(groups.units @ groups.mode_power_w.max(axis=1))

    def peak(hashprice: float, charge: float) -> float:
        found = peak_worth_having(history, groups, Terms(hashprice, charge), state, day)
        assert found is not None
        return found

    assert peak(500.0, 1.0) == pytest.approx(top_w)
    assert peak(45.0, 1e6) == 0.0
    assert peak(30.0, 6.0) <= peak(45.0, 6.0) <= peak(60.0, 6.0)
    assert peak(45.0, 20.0) < peak(45.0, 0.1)
    assert peak_worth_having(history, groups, Terms(45.0, 6.0), state, history.days[1]) is None


def test_starts_valued_higher_are_fewer_and_never_earn_more() -> None:
    groups = example_groups(1e6, 4)
    rng = np.random.default_rng(3)
    margin = rng.normal(0.05, 0.3, (4, 400))
    starts, earned = alone(groups, margin, np.full(4, 0.2), np.array([1.0, 2.0, 4.0]), 0.25)
    assert starts[0] > starts[1] > starts[2] > 0
    assert earned[0] > earned[1] > earned[2]
    one = example_groups(3_400.0, 1)
    loss = np.array([[1.0, -1.0, -1.0, -1.0, 2.0, 1.0]])
    starts, earned = alone(one, loss, np.array([1.5]), np.array([1.0, 3.0]), 0.25)
    assert starts.tolist() == [1.0, 0.0]
    assert earned.tolist() == [2.5, 1.0]


def test_reluctance_is_judged_by_the_past_alone() -> None:
    groups, history = example_groups(1e6, 6), laid_out(datetime(2024, 1, 1, tzinfo=UTC), 20)
    terms, day = Terms(45.0, lag=1), history.days[15]
    later = replace(history, real=np.where(np.arange(len(history.real)) >= day.first, 5_000.0, history.real))
    found = reluctance(history, groups, terms, begin(groups), day)
    assert found is not None and 1.25 <= found <= 4.0
    assert found == reluctance(later, groups, terms, begin(groups), day)
    assert reluctance(history, groups, terms, begin(groups), history.days[1]) is None
