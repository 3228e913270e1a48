# SPDX-License-Identifier: Apache-2.0
"""Generation on site: the plan's power at the meter against the miners' demand, and what evidence lifts a limit by how much."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kernel.curve import Curve
from miner_control.fleet.fleet import STATE_CODE, Fleet
from scheduling.control import Decision, Terms, step
from scheduling.generation import FORECAST_MARGIN, delivered_w
from scheduling.plan import Plan, Schedule
from scheduling.planner import make
from scheduling.problem.build_problem import problem_of
from scheduling.problem.overhead import Overhead
from tests.builders.planning import HOUR, NOW, NUMBERS, SITE, curves, fleet, limit, schedule, tariff

BARE = Overhead()


def generation(power_w: float) -> Curve:
    starts = NOW - NOW % HOUR + HOUR * np.arange(32, dtype=np.int64)
    return Curve("generation", "MW", starts, starts + HOUR, np.full(32, power_w / 1e6), NOW - HOUR, "test")


def planned(units: Fleet, since_ms: Any, own_w: float, **facts: Any) -> Plan:
    reported = [*curves(30.0), generation(own_w)] if own_w else curves(30.0)
    return make(problem_of(NUMBERS, units, since_ms, tariff(), reported, [], NOW, **facts), why_now="test")


def demand_w(units: Fleet) -> float:
    return float(units.power_w.sum())


def pending(units: Fleet, asked: list[int], settled_w: float, mode: int) -> Fleet:
    """The same fleet while these units are on the way to a mode: they still draw what they drew."""
    wanted, settled = units.wanted.copy(), units.settled_w.copy()
    wanted[asked], settled[asked] = mode, settled_w
    return replace(units, wanted=wanted, settled_w=settled)


@pytest.mark.parametrize("metered", [False, True])
def test_free_generation_keeps_all_miners_in_the_highest_mode(metered: bool) -> None:
    units, asked = fleet(20)
    plan = planned(units, asked.since_ms, 20_000.0)
    meters = {SITE: demand_w(units) - 20_000.0} if metered else None
    decision = step(NOW, units, Schedule.of(plan), [], Terms(SITE), meters)
    highest_w = 1.18 * demand_w(units)
    assert plan.power_w[0] == pytest.approx(highest_w - 20_000.0), "the plan speaks of the meter"
    assert decision.expected_w == pytest.approx(highest_w)
    assert len(decision.set_points) == 20 and all(point.mode == 2 for point in decision.set_points)


def test_what_lies_between_meter_and_demand_is_journalled_and_read_back() -> None:
    units, asked = fleet(20)
    plan = planned(units, asked.since_ms, 200_000.0)
    body = plan.to_json()
    made, read = Schedule.of(plan), Schedule.from_json(body)
    assert made.behind_meter_w(NOW) == read.behind_meter_w(NOW) == pytest.approx(1.18 * demand_w(units))
    assert plan.power_w[0] == pytest.approx(0.0), "what is not used is spilled: none of it is planned as demand"
    old = Schedule.from_json({key: value for key, value in body.items() if key not in ("generation_w", "battery_w")})
    assert old.behind_meter_w(NOW) == 0.0 and old.at(NOW) == read.at(NOW)
    bare = planned(units, asked.since_ms, 0.0).to_json()
    assert not {"generation_w", "battery_w"} & set(bare)


@pytest.mark.parametrize("battery_w", [-15_000.0, 15_000.0])
def test_a_battery_that_charges_or_discharges_moves_no_miner(battery_w: float) -> None:
    units, _ = fleet(20)
    now_w = demand_w(units)
    plan = replace(schedule(now_w - battery_w), battery_w=np.array([battery_w]))
    assert not step(NOW, units, plan, [], Terms(SITE)).set_points


def capped(units: Fleet, cap_w: float, main_w: float | None, forecast_w: float | None, **more: Any) -> Decision:
    own_w = delivered_w(units, BARE, main_w, forecast_w, **more)
    meters = {} if main_w is None else {SITE: main_w}
    return step(NOW, units, schedule(200_000.0), [limit(cap_w)], Terms(SITE, generation_w=own_w), meters)


def test_a_cap_holds_at_the_meter_and_generation_lifts_it_by_evidence_alone() -> None:
    units, _ = fleet(20)
    now_w, cap_w = demand_w(units), 60_000.0
    kept = capped(units, cap_w, now_w - 20_000.0, 20_000.0)
    assert kept.over_w == 0.0 and now_w < kept.expected_w <= cap_w + 20_000.0
    assert kept.to_json()["cap"]["power_w"] == cap_w and kept.to_json()["generation_w"] == 20_000.0
    for why, main_w, forecast_w in (
        ("the meter shows that none is delivered", now_w, 20_000.0),
        ("no fresh meter", None, 20_000.0),
        ("no generation is known here, the miners claim too much", now_w - 20_000.0, None),
        ("the sun is down", now_w - 20_000.0, 0.0),
    ):
        held = capped(units, cap_w, main_w, forecast_w)
        assert held.expected_w <= cap_w and held.over_w == 0.0 and "generation_w" not in held.to_json(), why
    bound = capped(units, cap_w, now_w - 20_000.0, 5_000.0)
    assert bound.generation_w == 5_000.0 * (1 + FORECAST_MARGIN)
    assert bound.expected_w <= cap_w + bound.generation_w
    metered = capped(units, cap_w, None, 20_000.0, metered_w=12_000.0)
    assert metered.generation_w == 12_000.0 and cap_w < metered.expected_w <= cap_w + 12_000.0
    assert capped(units, cap_w, None, None, metered_w=12_000.0).generation_w == 12_000.0


def test_a_main_meter_above_its_cap_tightens_whatever_a_generation_meter_claims() -> None:
    units, _ = fleet(20)
    now_w = demand_w(units)
    claimed = capped(units, now_w - 10_000.0, now_w, 20_000.0, metered_w=20_000.0)
    assert claimed.expected_w <= now_w - 10_000.0


def test_generation_lifts_no_feeder() -> None:
    units, _ = fleet(20)
    feeder = limit(20_000.0, scope=f"{SITE}/f0")
    decisions = [
        step(NOW, units, schedule(200_000.0), [feeder], Terms(SITE, generation_w=own_w)) for own_w in (0.0, 20_000.0)
    ]
    without, with_own = (
        [(p.unit, p.mode) for p in one.set_points if p.reason.text.startswith("order 7")] for one in decisions
    )
    assert with_own == without and with_own


def test_a_unit_that_ramps_up_is_no_evidence() -> None:
    """It is counted at full power and draws next to nothing yet: what the meter lacks is not generation."""
    units, _ = fleet(20)
    state = units.state.copy()
    state[:5] = STATE_CODE["ramping"]
    ramping = replace(units, state=state)
    main_w = demand_w(units) - float(units.power_w[:5].sum()) + 5 * 25.0
    assert delivered_w(ramping, BARE, main_w, 20_000.0) == 0.0
    assert delivered_w(ramping, BARE, main_w - 8_000.0, 20_000.0) == pytest.approx(8_000.0)


def test_while_miners_change_the_last_evidence_holds_as_far_as_the_meter_allows() -> None:
    units, _ = fleet(20)
    falling = pending(units, list(range(8)), 25.0, -1)
    now_w, drop_w = demand_w(units), float((units.power_w - falling.settled_w).sum())
    for share in (0.0, 0.4, 1.0):
        seen = delivered_w(falling, BARE, now_w - share * drop_w - 12_000.0, 20_000.0, before_w=12_000.0)
        assert seen == pytest.approx(12_000.0), "what goes to sleep is neither generation nor its end"
    gone = delivered_w(falling, BARE, now_w, 20_000.0, before_w=12_000.0)
    assert gone == 0.0, "the meter shows all of the demand and more than generation allows"
    assert delivered_w(falling, BARE, now_w - 12_000.0, 20_000.0) == 0.0, "nothing held, nothing proven"


def test_noise_of_the_readings_lifts_nothing_up_and_down() -> None:
    units, _ = fleet(20)
    now_w, held_w = demand_w(units), 12_000.0
    rng, seen = np.random.default_rng(7), []
    for noise_w in rng.normal(0.0, 100.0, 300):
        held_w = delivered_w(units, BARE, now_w - 12_000.0 + noise_w, 20_000.0, before_w=held_w)
        seen.append(held_w)
    assert len({round(one, 6) for one in seen[100:]}) <= 3 and min(seen) > 11_500.0
    assert delivered_w(units, BARE, now_w - 15_000.0, 20_000.0, before_w=held_w) > 14_000.0, "more is seen all the same"


def test_heat_duty_is_of_the_miners_however_they_are_fed() -> None:
    units, _ = fleet(20)
    terms = Terms(SITE, heat_w=30_000.0, generation_w=50_000.0)
    decision = step(NOW, units, schedule(-50_000.0), [], terms, {SITE: demand_w(units) - 50_000.0})
    assert decision.target_w == pytest.approx(30_000.0) and decision.expected_w >= 30_000.0 - 3_500.0


def test_power_that_flows_out_asks_nothing_odd() -> None:
    units, _ = fleet(20)
    now_w = demand_w(units)
    out = replace(schedule(now_w - 90_000.0), generation_w=np.array([90_000.0]))
    terms = Terms(SITE, generation_w=90_000.0)
    kept = step(NOW, units, out, [limit(10_000.0)], terms, {SITE: now_w - 90_000.0})
    assert not kept.set_points and kept.target_w == pytest.approx(now_w) and kept.over_w == 0.0
    idle = step(NOW, units, schedule(-5_000.0), [], terms, {SITE: now_w - 90_000.0})
    assert idle.target_w == 0.0, "no demand is below none, and none is asked for because it would be free"


def test_the_ramp_starts_at_meter_power_without_a_meter() -> None:
    units, asked = fleet(20)
    reported = [*curves(30.0), generation(20_000.0)]
    problem = problem_of(NUMBERS, units, asked.since_ms, tariff(), reported, [], NOW)
    assert problem.site.power_now_w == pytest.approx(demand_w(units) - 20_000.0)
    metered = problem_of(NUMBERS, units, asked.since_ms, tariff(), reported, [], NOW, meter_w=-3_000.0)
    assert metered.site.power_now_w == -3_000.0
