# SPDX-License-Identifier: Apache-2.0
"""The operating point before a limit: what the step asks for once the limit is over, with and without a plan."""

import json
from dataclasses import replace

import numpy as np
import pytest

from grid.limit import Limit, Priority
from kernel.reason import Rule
from kernel.span import Span
from miner_control.control.restore import held_back, returned
from miner_control.fleet.command import Wake
from miner_control.fleet.envelope import Envelope, Mode
from miner_control.fleet.fleet import (
    ASLEEP,
    STATE_CODE,
    UNSURE,
    Commanded,
    Fleet,
    fleet_of,
    never_commanded,
    never_observed,
    roster_of,
)
from miner_control.fleet.miner import Miner
from scheduling.control import Terms, step
from scheduling.explain import Limiting
from scheduling.plan import Schedule
from scheduling.planner import make
from scheduling.problem.build_problem import problem_of
from tests.builders.planning import NUMBERS, curves, tariff
from tests.builders.planning import fleet as control_fleet

NOW = 1_770_000_000_000
HOUR = 3_600_000
SITE = "hub/site"
LOW, NORMAL, HIGH = 0, 1, 2
WATTS = (1800.0, 3000.0, 3500.0)
ENVELOPE = Envelope(
    "m", "stock", tuple(Mode(name, w, w * 5e10) for name, w in zip(("low", "normal", "high"), WATTS, strict=True)),
    "normal", 20.0, 60.0, 10.0, 200.0, 900.0, 900.0, commands=frozenset({"SetMode", "Sleep", "Wake"}),
)  # fmt: skip


def fleet(modes: list[int], restore: list[int], *, change: dict[str, object] | None = None) -> tuple[Fleet, Commanded]:
    """Units in these modes for hours, with these operating points; `change` replaces columns of what was asked."""
    count = len(modes)
    roster = roster_of(
        [Miner(f"{SITE}/m{n}", "m", "stock", "127.0.0.1", (), f"f{n % 2}") for n in range(count)],
        {ENVELOPE.key: ENVELOPE},
    )
    mode = np.array(modes, dtype=np.int8)
    seen = replace(
        never_observed(roster),
        at_ms=np.full(count, NOW - 1000),
        state=np.where(mode < 0, STATE_CODE["asleep"], STATE_CODE["hashing"]).astype(np.int8),
        mode=mode,
        power_w=np.array([20.0 if m < 0 else WATTS[m] for m in modes]),
        has_power=np.ones(count, dtype=bool),
    )
    asked = replace(
        never_commanded(roster),
        restore=np.array(restore, dtype=np.int8),
        since_ms=np.full(count, NOW - HOUR),
        put_to_sleep=mode < 0,
    )
    asked = replace(asked, **(change or {}))  # type: ignore[arg-type]
    return fleet_of(roster, seen, asked, NOW), asked


def order(power_w: float, scope: str = SITE, name: str = "7") -> Limit:
    return Limit(scope, power_w, Span(NOW - HOUR, NOW + HOUR), Priority.DISPATCHER, f"order {name}", "grid")


def plan(power_w: float, *limiting: Limiting) -> Schedule:
    return Schedule("p", np.array([NOW - HOUR, NOW + HOUR]), np.array([power_w]), ("a price",), limiting)


def asked_for(units: Fleet, schedule: Schedule | None = None, limits: list[Limit] | None = None) -> dict[int, int]:
    return {point.unit: point.mode for point in step(NOW, units, schedule, limits or [], Terms(SITE)).set_points}


def test_without_a_plan_each_unit_returns_to_its_own_mode_and_no_other_changes() -> None:
    units, _ = fleet([ASLEEP, LOW, ASLEEP, LOW, NORMAL], [NORMAL, HIGH, UNSURE, UNSURE, UNSURE])
    decision = step(NOW, units, None, [], Terms(SITE))
    assert {p.unit: p.mode for p in decision.set_points} == {0: NORMAL, 1: HIGH}
    assert isinstance(next(p for p in decision.set_points if p.unit == 0).intent, Wake)
    assert decision.reason.rule is Rule.RESTORE
    assert decision.reason.text == "no plan covers this instant: 2 units return to the operating point before the limit"
    still, _ = fleet([ASLEEP, LOW], [UNSURE, UNSURE])
    held = step(NOW, still, None, [], Terms(SITE))
    assert not held.set_points and held.reason.rule is Rule.HOLD


def test_one_sleeper_of_many_comes_back_although_it_is_within_the_deadband() -> None:
    units, _ = fleet([NORMAL] * 200 + [ASLEEP], [UNSURE] * 200 + [NORMAL])
    assert asked_for(units) == {200: NORMAL}
    assert asked_for(units, plan(201 * 3000.0)) == {200: NORMAL}


def test_an_order_on_one_feeder_raises_no_unit_on_the_other() -> None:
    units, _ = fleet([NORMAL, NORMAL, NORMAL, NORMAL], [UNSURE] * 4)
    assert set(asked_for(units, None, [order(3000.0, f"{SITE}/f0")])) <= {0, 2}


def test_within_a_cap_that_was_loosened_units_rise_as_far_as_it_allows() -> None:
    units, _ = fleet([ASLEEP, ASLEEP, ASLEEP, ASLEEP], [NORMAL] * 4)
    assert len(asked_for(units, None, [order(7000.0)])) == 2
    assert len(asked_for(units, None, [order(500.0)])) == 0


@pytest.mark.parametrize(
    ("limits", "comes_back"),
    [
        ([], True),
        ([order(500.0)], False),
        ([order(7000.0)], True),
        ([order(500.0, name="8")], False),
        ([order(500.0, f"{SITE}/f0")], True),
    ],
    ids=["ended", "in force", "loosened", "another order", "only a feeder's"],
)
def test_a_plan_made_under_an_order_does_not_outlive_it(limits: list[Limit], comes_back: bool) -> None:
    units, _ = fleet([ASLEEP, ASLEEP], [NORMAL, NORMAL])
    schedule = plan(40.0, Limiting(0, "", "7", 500.0))
    assert bool(asked_for(units, schedule, limits)) == comes_back
    assert not asked_for(units, plan(40.0), limits), "a plan of its own price keeps them asleep"


def test_a_plan_that_an_order_holds_down_lowers_as_a_limit_and_not_as_the_plan() -> None:
    units, _ = fleet([NORMAL, NORMAL], [UNSURE, UNSURE])
    decision = step(NOW, units, plan(3100.0, Limiting(0, "", "7", 3500.0)), [order(3500.0)], Terms(SITE))
    assert decision.set_points and all(point.mode < NORMAL for point in decision.set_points)
    assert all(point.reason.rule is Rule.LIMIT for point in decision.set_points)
    assert step(NOW, units, plan(3100.0), [], Terms(SITE)).reason.rule is Rule.PLAN


def test_a_meter_above_the_miners_figures_leaves_no_room_to_rise() -> None:
    """2 of 3 units wake into what the meter shows free; what draws unseen is not offered away."""
    units, _ = fleet([ASLEEP, ASLEEP, ASLEEP, NORMAL], [NORMAL] * 4)
    free = step(NOW, units, None, [order(12_000.0)], Terms(SITE), {SITE: 3060.0})
    assert len(free.set_points) == 2
    unseen = step(NOW, units, None, [order(12_000.0)], Terms(SITE), {SITE: 3060.0 + 4000.0})
    assert len(unseen.set_points) == 1
    full = step(NOW, units, None, [order(12_000.0)], Terms(SITE), {SITE: 11_990.0})
    assert not full.set_points


def test_units_held_back_are_named_once_each_with_the_first_reason() -> None:
    held = np.array([True, False, False, False, False])
    units, asked = fleet(
        [ASLEEP] * 4 + [NORMAL],
        [NORMAL] * 5,
        change={"excluded": held | np.array([False, True, False, False, False]),
                "since_ms": np.array([NOW - HOUR, NOW - HOUR, NOW - 1000, NOW - HOUR, NOW - HOUR])},
    )  # fmt: skip
    none = np.zeros(5, dtype=bool)
    found = held_back(units, asked, held, none, np.array([3]), [])
    assert [(one.why, one.devices) for one in found] == [
        ("a person or another system has it", (f"{SITE}/m0",)),
        ("did not obey, is asked again later", (f"{SITE}/m1",)),
        ("minimum off-time is not over", (f"{SITE}/m2",)),
    ]
    assert returned(units).tolist() == [False] * 4 + [True]


def test_heat_may_ask_for_more_than_the_operating_point() -> None:
    units, _ = fleet([ASLEEP, ASLEEP], [UNSURE, UNSURE])
    decision = step(NOW, units, None, [], Terms(SITE, heat_w=3100.0))
    assert len(decision.set_points) == 1 and decision.reason.rule is Rule.HEAT_DUTY


def test_a_unit_that_wakes_above_its_operating_point_may_wake() -> None:
    """It ran in low by itself, was put to sleep, and its firmware wakes into the mode that it was last commanded."""
    only = replace(ENVELOPE, commands=frozenset({"PowerTarget", "Sleep", "Wake"}), wakes_into_any_mode=False)
    roster = roster_of([Miner(f"{SITE}/m0", "m", "stock", "127.0.0.1", (), "f0")], {only.key: only})
    seen = replace(
        never_observed(roster), at_ms=np.array([NOW - 1000]), state=np.array([STATE_CODE["asleep"]], dtype=np.int8),
        mode=np.array([ASLEEP], dtype=np.int8), power_w=np.array([20.0]), has_power=np.array([True]),
    )  # fmt: skip
    asked = replace(
        never_commanded(roster),
        restore=np.array([LOW], dtype=np.int8),
        since_ms=np.array([NOW - HOUR]),
        put_to_sleep=np.array([True]),
    )
    units = fleet_of(roster, seen, asked, NOW)
    assert int(units.wake_mode[0]) == NORMAL
    assert asked_for(units) == {0: NORMAL}


def test_a_plan_names_the_orders_that_hold_its_site_and_feeders_down() -> None:
    """Made of facts, by the planner: in force the plan stands, ended it says nothing of its slots."""
    units, asked = control_fleet(20)
    cut = Limit(f"{SITE}/f0", 15_000.0, Span(NOW, NOW + HOUR), Priority.DISPATCHER, "order 9", "cable")
    problem = problem_of(NUMBERS, units, asked.since_ms, tariff(), curves(), [cut], NOW)
    schedule = Schedule.from_json(json.loads(json.dumps(make(problem, why_now="test").to_json())))
    assert schedule.limiting(NOW) == [Limiting(0, "f0", "9", 15_000.0)]
    assert schedule.limiting(NOW + 2 * HOUR) == []
    assert step(NOW, units, schedule, [cut], Terms(SITE)).reason.rule is Rule.LIMIT
    assert step(NOW, units, schedule, [], Terms(SITE)).reason.rule is Rule.HOLD


def test_small_room_is_for_those_that_return_and_not_for_higher_modes_of_others() -> None:
    units, _ = fleet([NORMAL] * 400 + [ASLEEP], [UNSURE] * 400 + [NORMAL])
    assert asked_for(units, plan(400 * 3000.0 + 20.0 + 600.0)) == {}, "the room of 600 W is less than the sleeper needs"
    assert asked_for(units, plan(401 * 3000.0 + 600.0)) == {400: NORMAL}


def test_a_unit_with_a_waiting_wake_gets_no_other_mode() -> None:
    units, _ = fleet([ASLEEP, NORMAL], [UNSURE, UNSURE], change={
        "mode": np.array([NORMAL, UNSURE], dtype=np.int8), "until_ms": np.array([NOW + HOUR, 0]),
    })  # fmt: skip
    assert asked_for(units, plan(3500.0 * 2)) == {1: HIGH}
