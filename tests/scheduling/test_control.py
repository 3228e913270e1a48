# SPDX-License-Identifier: Apache-2.0
"""From facts to a problem, from a plan to set-points: small sites with everything written out."""

import json
from dataclasses import replace

import numpy as np
import pytest

from grid.limit import PHASES, Limit, Priority
from kernel.errors import ConfigError
from kernel.reason import Reason, Rule
from kernel.span import Span
from miner_control.control.allocate import per_phase
from miner_control.fleet.command import Sleep
from scheduling.control import Terms, step
from scheduling.plan import Schedule
from scheduling.planner import due, make, plan_inputs
from scheduling.problem.build_problem import problem_of
from scheduling.problem.corridor import Proposal, narrow
from scheduling.problem.overhead import Overhead
from tests.builders.planning import HOUR, NOW, NUMBERS, SITE, curves, fleet, limit, schedule, tariff


def test_a_problem_is_made_of_what_is_known_and_planned_clean() -> None:
    units, asked = fleet(20, silent=2)
    problem = problem_of(NUMBERS, units, asked.since_ms, tariff(), curves(), [limit(40_000.0)], NOW)
    assert int(problem.groups.units.sum()) == 18
    assert problem.site.other_load_w[0] == pytest.approx(3250.0 + 3500.0)
    assert "not planned" in problem.facts and "price forecast" in problem.facts
    plan = make(problem, why_now="test")
    assert plan.violations == ()
    assert plan.status == "optimal"
    inside = plan.problem.slots.starts_ms < NOW + HOUR
    assert bool(np.all(plan.power_w[inside] <= 40_000.1))
    assert plan.reasons[0] == "order 7 holds 40.0 kW"
    json.dumps(plan.to_json())


def test_locked_units_come_from_when_they_were_switched() -> None:
    units, _ = fleet(20)
    since = np.full(20, NOW - 300_000)
    problem = problem_of(NUMBERS, units, since, tariff(), curves(), [], NOW)
    locked = problem.groups.locked_on.sum(axis=0)
    starts = problem.slots.starts_ms
    assert locked[0] == 20
    assert bool(np.all(locked[starts >= NOW + 600_000] == 0))
    assert bool(np.all(locked[starts < NOW + 600_000] == 20))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"curves": curves(unit="EUR/MWh")}, "EUR/MWh"),
        ({"curves": curves()[:1]}, "hashprice"),
        ({"curves": curves()[1:]}, "there is none"),
        ({"tariff": tariff("KZT")}, "KZT"),
        ({"curves": [curves()[0], replace(curves()[1], unit="KZT/PH/day")]}, "KZT"),
        ({"curves": [replace(curves()[0], known_at_ms=NOW + 1), curves()[1]]}, "there is none"),
    ],
)
def test_what_cannot_be_planned_on_is_refused_by_name(given: dict[str, object], words: str) -> None:
    units, asked = fleet(4)
    with pytest.raises(ConfigError, match=words):
        problem_of(
            NUMBERS,
            units,
            asked.since_ms,
            given.get("tariff", tariff()),  # type: ignore[arg-type]
            given.get("curves", curves()),  # type: ignore[arg-type]
            [],
            NOW,
        )


@pytest.mark.parametrize("size", [0, 1])
def test_a_fleet_of_none_and_of_one(size: int) -> None:
    units, asked = fleet(size)
    plan = make(problem_of(NUMBERS, units, asked.since_ms, tariff(), curves(), [], NOW), why_now="test")
    assert plan.violations == ()
    assert plan.status == "optimal"
    assert step(NOW, units, Schedule.of(plan), [], Terms(SITE)).over_w == 0.0


def test_due_gives_the_reason() -> None:
    limits = [limit(50_000.0)]
    units, asked = fleet(4)
    edges = problem_of(NUMBERS, units, asked.since_ms, tariff(), curves(), limits, NOW).slots.edges_ms
    last = plan_inputs(NUMBERS, edges, NOW, curves(), limits)
    assert due(None, NUMBERS, NOW, curves(), limits) == "the first one"
    assert due(last, NUMBERS, NOW + 1, curves(), limits) is None
    assert due(last, NUMBERS, NOW + 1, curves(known_ms=NOW), limits) == "new curve price/day_ahead"
    assert due(last, NUMBERS, NOW + 1, curves(), [*limits, limit(9.0, hours=2)]) == "a limit or order came"
    assert due(last, NUMBERS, NOW + 1, curves(), []) == "a limit or order was released"
    assert due(last, NUMBERS, NOW + 600_000, curves(), limits) == "the slot ended"


def test_an_order_is_met_in_one_tick_with_its_reason() -> None:
    units, _ = fleet(20)
    before = float(units.settled_w.sum())
    decision = step(NOW, units, schedule(before), [limit(before / 2)], Terms(SITE))
    assert decision.over_w == 0.0
    assert decision.expected_w <= before / 2
    assert decision.set_points and all(point.reason.text == "order 7: grid emergency" for point in decision.set_points)
    assert json.loads(json.dumps(decision.to_json()))["cap"]["rule"] == "order 7"


def test_an_order_overrides_minimum_on_times_but_profit_does_not() -> None:
    units, _ = fleet(20)
    bound = replace(units, may_sleep=np.zeros(20, dtype=bool))
    by_profit = step(NOW, bound, schedule(0.0), [], Terms(SITE))
    assert not any(isinstance(point.intent, Sleep) for point in by_profit.set_points)
    by_order = step(NOW, bound, schedule(70_000.0), [limit(1_000.0)], Terms(SITE))
    assert by_order.over_w == 0.0
    assert all(isinstance(point.intent, Sleep) for point in by_order.set_points)


def test_only_differences_are_commanded_and_the_step_is_pure() -> None:
    units, _ = fleet(20)
    now_w = float(units.settled_w.sum())
    assert not step(NOW, units, schedule(now_w * 1.004), [], Terms(SITE)).set_points
    assert step(NOW, units, None, [], Terms(SITE)).reason.text == "no plan covers this instant: hold"
    first, second = (step(NOW, units, schedule(30_000.0), [limit(40_000.0)], Terms(SITE)) for _ in range(2))
    assert first.to_json() == second.to_json()
    assert first.reason == Reason(Rule.PLAN, "plan: price")


def test_an_unchanged_target_commands_no_unit_at_any_losses() -> None:
    units, _ = fleet(36)
    rng = np.random.default_rng(5)
    for factor, watts in zip(rng.uniform(1.0, 1.6, 300), rng.normal(0.0, 40.0, (300, 36)), strict=True):
        drawn = replace(units, settled_w=units.settled_w + watts)
        reported = step(NOW, drawn, None, [], Terms(SITE, overhead=Overhead(float(factor))))
        assert not reported.set_points, "a rounding of the losses sold a mode"


def test_limits_speak_of_the_meter_and_a_fresh_meter_only_tightens() -> None:
    units, _ = fleet(20)
    terms = Terms(SITE, Overhead(1.05, 2_000.0))
    cap = limit(50_000.0)
    decision = step(NOW, units, schedule(90_000.0), [cap], terms)
    miners_w = (decision.expected_w - 2_000.0) / 1.05
    assert decision.expected_w <= 50_000.0 and miners_w < 46_000.0
    unexplained_w = float(units.power_w.sum()) * 1.05 + 2_000.0 + 3_000.0
    tighter = step(NOW, units, schedule(90_000.0), [cap], terms, {SITE: unexplained_w})
    looser = step(NOW, units, schedule(90_000.0), [cap], terms, {SITE: 20_000.0})
    assert tighter.expected_w <= decision.expected_w - 2_000.0
    assert looser.expected_w == decision.expected_w


def test_a_feeder_limit_moves_only_its_feeder() -> None:
    units, _ = fleet(20)
    decision = step(
        NOW, units, schedule(200_000.0), [limit(10_000.0, scope=f"{SITE}/f0", priority=Priority.FEEDER)], Terms(SITE)
    )
    lowered = {point.device for point in decision.set_points if point.reason.text.startswith("order 7")}
    feeders = {units.roster.feeder_names[int(units.roster.feeder[units.roster.index[device]])] for device in lowered}
    assert feeders == {"f0"}
    assert decision.feeders_over == ()


def test_silent_miners_count_as_load_and_unmet_limits_are_reported() -> None:
    units, _ = fleet(20, silent=20)
    decision = step(NOW, units, None, [limit(10_000.0)], Terms(SITE))
    assert not decision.set_points
    assert decision.over_w == pytest.approx(float(units.settled_w.sum()) - 10_000.0)


def test_the_more_urgent_party_is_kept() -> None:
    heat = Proposal(20.0, float("inf"), Priority.CONTRACT, "heat", "")
    order = Proposal(0.0, 10.0, Priority.DISPATCHER, "order", "")
    safety = Proposal(0.0, 15.0, Priority.SAFETY, "trip", "")
    found = narrow([heat, order, safety])
    assert (found.low_w, found.high_w) == (10.0, 10.0)
    assert found.upper == order and found.broken == (heat,)
    assert narrow([heat]).nearest(5.0) == 20.0


def test_an_overloaded_phase_is_relieved_by_its_own_units_and_the_reason_names_it() -> None:
    found, _ = fleet(24)
    phases = np.array([n // 4 % 3 for n in range(24)], dtype=np.int8)
    found = replace(found, roster=replace(found.roster, phase=phases))
    load_w = per_phase(found.roster, found.settled_w)
    always = Span(NOW - HOUR, NOW + 24 * HOUR)
    limits = [
        Limit(f"{SITE}/f0/{name}", float(load_w[0, lane]) * (0.5 if name == "l2" else 1.5), always, Priority.FEEDER,
              f"feeder f0 {name}", "phase")
        for lane, name in enumerate(PHASES)
    ]  # fmt: skip
    decision = step(NOW, found, None, limits, Terms(SITE))
    level = found.wanted.astype(np.int64)
    for point in decision.set_points:
        level[point.unit] = point.mode
    settled = found.option_w()[np.arange(24), level + 1]
    lowered = np.flatnonzero(level < found.wanted)
    assert len(lowered) and np.all(found.roster.feeder[lowered] == 0) and np.all(phases[lowered] == 1)
    reported = {point.unit: point.reason.text for point in decision.set_points}
    assert all(reported[int(unit)].startswith("feeder f0 l2: phase") for unit in lowered)
    assert np.all(per_phase(found.roster, settled)[0] <= [limit.power_w for limit in limits])


# --- loads beside the miners ------------------------------------------------------------------------------------------


def half_cooled(units: int = 20, pump_w: float = 10_000.0) -> np.ndarray:
    """A pump that serves the second half of the miners."""
    return np.where(np.arange(units) < units // 2, 0.0, pump_w / (units // 2))


def plan_of(power_w: float) -> Schedule:
    return Schedule("plan", np.array([NOW, NOW + HOUR], dtype=np.int64), np.array([power_w]), ("hash pays",))


def test_a_load_is_in_the_problem_with_its_miners_and_once():
    units, asked = fleet(20)
    overhead = Overhead(1.05, 0.0, 1.0, half_cooled())
    problem = problem_of(replace(NUMBERS, overhead=overhead), units, asked.since_ms, tariff(), curves(), [], NOW)
    bare = problem_of(replace(NUMBERS, overhead=Overhead(1.05)), units, asked.since_ms, tariff(), curves(), [], NOW)
    more_w = problem.groups.mode_power_w - bare.groups.mode_power_w
    assert (problem.groups.units * more_w[:, 1]).sum() == pytest.approx(10_000.0), "with all on the whole pump"
    assert (more_w[:, 1:] == more_w[:, :1]).all(), "whatever their mode"
    assert problem.groups.sleep_w.tolist() == bare.groups.sleep_w.tolist()
    assert problem.site.power_now_w - bare.site.power_now_w == pytest.approx(10_000.0)
    assert problem.site.other_load_w.tolist() == bare.site.other_load_w.tolist()
    assert "10000 W" in problem.facts["loads"]
    assert len(problem.site.feeder_names) == 2


def test_a_load_takes_no_room_on_its_miners_feeder():
    """Nobody said where it hangs: a feeder that is full of miners stays so in the plan."""
    units, asked = fleet(20)
    caps = dict.fromkeys(units.roster.feeder_names, 40000.0)
    bare = replace(NUMBERS, feeder_cap_w=caps)
    full = replace(bare, overhead=Overhead(1.0, 0.0, 1.0, half_cooled()))
    components = [
        problem_of(one, units, asked.since_ms, tariff(), curves(), [], NOW).site.feeder_cap_w.sum(axis=0)[0]
        for one in (bare, full)
    ]
    assert components[1] - components[0] == pytest.approx(10_000.0)


def test_a_pump_that_runs_on_puts_no_unit_to_sleep():
    """The cooled half sleeps, as planned; its pump runs on for minutes."""
    units, _ = fleet(20)
    asleep = np.arange(20) >= 10
    resting = replace(
        units, mode=np.where(asleep, -1, 1).astype(np.int8), wanted=np.where(asleep, -1, 1).astype(np.int8),
        settled_w=np.where(asleep, 25.0, units.settled_w), power_w=np.where(asleep, 25.0, units.power_w),
    )  # fmt: skip
    planned_w = float(resting.settled_w.sum())
    for pump_w in (10_000.0, 0.0):
        terms = Terms(site=SITE, overhead=Overhead(1.0, pump_w, 1.0, half_cooled()))
        decision = step(NOW, resting, plan_of(planned_w), [limit(90_000.0)], terms)
        assert len(decision.set_points) == 0 and decision.expected_w == pytest.approx(planned_w + pump_w)


def test_a_cap_counts_the_loads_that_run():
    units, _ = fleet(20)
    miners_w = float(units.settled_w.sum())
    terms = Terms(site=SITE, overhead=Overhead(1.0, 10_000.0, 1.0, half_cooled()))
    cap_w = miners_w + 2_000.0
    decision = step(NOW, units, plan_of(miners_w + 10_000.0), [limit(cap_w)], terms)
    assert decision.expected_w <= cap_w and len(decision.set_points) > 0, "the pump is in what is capped"
    free = step(NOW, units, plan_of(miners_w + 10_000.0), [limit(cap_w + 10_000.0)], terms)
    assert len(free.set_points) == 0, "and in what is planned"


def test_a_pump_provides_no_heat_duty():
    units, _ = fleet(20)
    terms = Terms(site=SITE, overhead=Overhead(1.0, 30_000.0, 1.0, half_cooled()), heat_w=20_000.0)
    decision = step(NOW, units, plan_of(0.0), [], terms)
    assert decision.expected_w - 30_000.0 >= 20_000.0 - 3_500.0, "to within one miner"
