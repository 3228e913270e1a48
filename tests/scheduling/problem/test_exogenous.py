# SPDX-License-Identifier: Apache-2.0
"""What stands around a site: transformer and weather, a position sold day ahead, coincident peak, generation, phases."""

from dataclasses import replace

import numpy as np
import pytest

from grid.limit import Limit, Priority
from grid.transformer import Transformer, cap_w, hot_spot_c
from kernel.curve import Curve
from kernel.errors import ConfigError
from kernel.span import Span
from miner_control.fleet.fleet import Fleet, fleet_of, never_commanded, roster_of
from miner_control.fleet.miner import Miner
from scheduling.planner import make
from scheduling.problem.branches import branches_of
from scheduling.problem.build_problem import problem_of
from scheduling.problem.exogenous import Weather
from tests.builders.planning import HOUR, NOW, NUMBERS, SITE, curves, envelope, fleet, tariff
from tests.miner_control.fleets import NOW_MS, seen

HOURS = NOW - NOW % HOUR + HOUR * np.arange(-2, 30, dtype=np.int64)


def curve(name: str, unit: str, value: "float | np.ndarray", first: int = 0, last: int = 32) -> Curve:
    starts = HOURS[first:last]
    return Curve(
        name,
        unit,
        starts,
        starts + HOUR,
        np.broadcast_to(np.asarray(value, float), starts.shape).copy(),
        NOW - 1,
        "test",
    )


def test_a_transformer_carries_its_rating_at_twenty_degrees_and_98_of_hot_spot() -> None:
    """The standard's reference: rated load at 20 C of air gives a hot spot of 98 C."""
    one = Transformer(1e6, power_factor=1.0, hot_spot_limit_c=98.0)
    assert hot_spot_c(one, np.array([1.0]), np.array([20.0]))[0] == pytest.approx(98.0)
    caps = cap_w(one, np.array([-30.0, 20.0, 35.0, 97.0, 120.0]))
    assert caps[1] == pytest.approx(1e6, rel=1e-6) and caps[0] == pytest.approx(1.2e6, rel=1e-6)
    assert bool(np.all(np.diff(caps) <= 0)) and caps[4] == pytest.approx(0.0, abs=1.0)
    warm = cap_w(one, np.linspace(0, 60, 50)) / 1e6
    assert bool(np.all(hot_spot_c(one, warm, np.linspace(0, 60, 50)) <= 98.0 + 1e-6))


def test_hot_hours_carry_less_and_the_plan_keeps_it() -> None:
    units, asked = fleet(20)
    air = np.where(np.arange(32) % 24 < 12, 10.0, 45.0)
    numbers = replace(
        NUMBERS, transformer=Transformer(60_000.0), weather=Weather(hot_c=40.0, derate_from_c=35.0, derate_per_k=0.01)
    )
    problem = problem_of(
        numbers, units, asked.since_ms, tariff(), [*curves(), curve("weather/ambient", "C", air)], [], NOW
    )
    cap = problem.site.import_cap_w
    assert cap.max() > 1.2 * cap.min() and "weather/ambient" in problem.facts
    hot, cool = cap < cap.min() + 1, cap > cap.max() - 1
    assert set(problem.site.mode_max[hot]) == {1} and set(problem.site.mode_max[cool]) == {2}
    assert problem.site.derate[hot] == pytest.approx(0.9)
    plan = make(problem, why_now="test")
    assert plan.violations == () and bool(np.all(plan.power_w <= cap + 1e-6))
    blind = problem_of(replace(numbers, assumed_ambient_c=45.0), units, asked.since_ms, tariff(), curves(), [], NOW)
    assert blind.site.import_cap_w[0] == pytest.approx(cap.min()) and "taken at 45 C" in blind.facts["transformer"]


def test_a_position_is_settled_on_both_sides() -> None:
    """The planned cost of energy equals buying what is short and selling what is over, slot by slot."""
    units, asked = fleet(20)
    buy, sell, megawatts = 90.0, 15.0, 0.045
    reported = [
        *curves(40.0),
        curve("position/day_ahead", "MW", megawatts, 2, 14),
        curve("price/imbalance_buy", "USD/MWh", buy),
        curve("price/imbalance_sell", "USD/MWh", sell),
    ]
    problem = problem_of(NUMBERS, units, asked.since_ms, tariff(), reported, [], NOW)
    inside = problem.slots.edges_ms[1:] <= HOURS[14]
    assert len(problem.site.takes) == int(inside.sum())
    for power_w in (0.0, 30_000.0, 45_000.0, 70_000.0):
        energy = power_w * problem.slots.hours
        ours = problem.site.energy_price_per_wh * energy
        for take in problem.site.takes:
            ours[take.first] += take.penalty_per_wh * max(0.0, take.energy_wh - energy[take.first])
        bought = megawatts * 1e6 * problem.slots.hours
        constant = buy / 1e6 * bought
        real = np.where(energy > bought, buy * (energy - bought), -sell * (bought - energy)) / 1e6
        assert (ours - constant)[inside] == pytest.approx(real[inside])
        after = problem.slots.starts_ms >= HOURS[14]
        assert ours[after] == pytest.approx(40.0 / 1e6 * energy[after])
    plan = make(problem, why_now="test")
    assert plan.violations == ()
    free = make(problem_of(NUMBERS, units, asked.since_ms, tariff(), curves(40.0), [], NOW), why_now="test")
    held = plan.power_w[inside].mean()
    assert held < free.power_w[inside].mean(), "energy beyond the position is dear"
    assert held == pytest.approx(45_000.0, rel=0.05), "and short of it is sold for little"


def test_coincident_peak_and_generation_reach_the_plan() -> None:
    units, asked = fleet(20)
    reported = [*curves(60.0), curve("price/coincident", "USD/MW", 500.0, 6, 8), curve("generation", "MW", 0.02, 0, 32)]
    problem = problem_of(NUMBERS, units, asked.since_ms, tariff(), reported, [], NOW)
    peak = problem.site.coincident_price_per_w > 0
    assert peak.any() and not peak.all() and problem.site.generation_w.max() == pytest.approx(20_000.0)
    plan = make(problem, why_now="test")
    assert plan.power_w[peak].max() < plan.power_w[~peak].max()
    wrong = [*curves(), curve("generation", "kW", 20.0)]
    with pytest.raises(ConfigError, match="its unit is kW"):
        problem_of(NUMBERS, units, asked.since_ms, tariff(), wrong, [], NOW)


def single_phase(units: int = 12) -> Fleet:
    """A feeder with three-phase units and units on one phase each, most of them on the first."""
    miners = [Miner(f"{SITE}/m{n}", "m", "stock", "127.0.0.1", (), "f0" if n < 10 else "f1") for n in range(units)]
    phases = {f"{SITE}/m{n}": phase for n, phase in enumerate([0, 0, 0, 0, 1, 2])}
    roster = roster_of(miners, {("m", "stock"): envelope("m", 3000.0, 200.0)}, phases=phases)
    return fleet_of(roster, seen(roster), never_commanded(roster), NOW_MS)


def test_a_feeder_with_single_phase_units_is_planned_by_its_phases() -> None:
    units = single_phase()
    branches = branches_of(units.roster)
    assert branches.names == ("f0", "f0/l1", "f0/l2", "f0/l3", "f1")
    assert branches.share.tolist() == pytest.approx([0.4, 0.2, 0.2, 0.2, 1.0])
    assert branches.share[:4].sum() == pytest.approx(1.0), "the branches' caps sum to the feeder's"
    assert len(branches.group_names) == 5 and branches.of_unit.tolist() == [1, 1, 1, 1, 2, 3, 0, 0, 0, 0, 4, 4]
    now = NOW_MS
    shifted = [
        replace(one, starts_ms=one.starts_ms + now - NOW, ends_ms=one.ends_ms + now - NOW, known_at_ms=now - HOUR)
        for one in curves(10.0)
    ]
    numbers = replace(NUMBERS, feeder_cap_w={"f0": 30_000.0, "f1": 1e6})
    problem = problem_of(numbers, units, np.zeros(12, dtype=np.int64), tariff(), shifted, [], now)
    plan = make(problem, why_now="test")
    assert plan.violations == ()
    on = dict(zip(problem.groups.names, plan.on()[:, 4].tolist(), strict=True))
    first = next(count for name, count in on.items() if name.endswith("/l1"))
    assert first <= 3, "four units of 1.8 kW at least do not fit on a phase of 6 kW"
    narrow = Limit(f"{SITE}/f0/l1", 5_000.0, Span(now, now + HOUR), Priority.FEEDER, "phase", "neutral too warm")
    tight = problem_of(numbers, units, np.zeros(12, dtype=np.int64), tariff(), shifted, [narrow], now)
    row = tight.site.feeder_names.index("f0/l1")
    assert tight.site.feeder_cap_w[row, 0] == pytest.approx(5_000.0 - 4_000.0), "three-phase units load it by a third"


def test_where_no_phase_is_known_nothing_changes() -> None:
    units, _ = fleet(20)
    branches = branches_of(units.roster)
    assert branches.names == units.roster.feeder_names and bool(np.all(branches.share == 1.0))
    assert branches.group_names == tuple(group.name for group in units.roster.groups)
