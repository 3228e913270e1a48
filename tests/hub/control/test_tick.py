# SPDX-License-Identifier: Apache-2.0
"""Tick of one small site: priorities, meter, heat, orders, owners, return to the operating point, overhead, observe-only."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hub.control.tick import LOWER, RAISE
from kernel.reason import Rule
from miner_control.fleet.command import SetMode, Sleep, Wake, command
from tests.builders.spine import FEEDER_METER, KEY, METER, T0_MS, Spine, numbers, unit


def running(site: str = "", **options: Any) -> Spine:
    """All miners in their normal mode, the meter in step with them."""
    spine = Spine(site, **options)
    spine.hear()
    spine.meter(24_000.0)
    return spine


def sleeping(site: str = "", **options: Any) -> Spine:
    spine = Spine(site, **options)
    spine.hear(mode="sleep")
    spine.meter(160.0)
    return spine


# ---- limits and priorities ----


def test_an_order_is_met_with_a_margin_and_every_shed_goes_first() -> None:
    spine = running()
    spine.order(12_000.0, reference="D-7")
    result = spine.decide()
    assert result.body["rule"] == Rule.LIMIT and result.body["cap"]["rule"] == "order D-7"
    assert result.body["expected_w"] <= 12_000.0 * (1 - 0.005) and result.body["over_w"] == 0.0
    assert {type(one.intent) for one in result.commands} == {Sleep, SetMode}
    assert {one.priority for one in result.commands} == {LOWER}
    assert {one.reason for one in result.commands} == {"order D-7: order of grid"}


def test_a_wake_waits_behind_every_shed() -> None:
    spine = sleeping()
    spine.plan(24_000.0)
    result = spine.decide()
    assert len(result.commands) == 8 and all(isinstance(one.intent, Wake) for one in result.commands)
    assert {one.priority for one in result.commands} == {RAISE} and RAISE > LOWER, "0 is the most urgent"


def test_commands_carry_the_configured_deadline_and_the_instant_of_the_tick() -> None:
    spine = running()
    spine.order(12_000.0)
    assert {(one.deadline_s, one.issued_ms) for one in spine.decide().commands} == {(90.0, T0_MS)}


def test_an_order_breaks_the_minimum_on_time_and_a_plan_does_not() -> None:
    ordered, planned = sleeping(), sleeping()
    for spine in (ordered, planned):
        for at in range(8):
            spine.done(command(spine.now_ms, unit(at), Wake(), "plan"), after_s=0.0)
        spine.later(300.0)
        spine.hear()
        spine.meter(24_000.0)
    ordered.order(100.0)
    planned.plan(100.0)
    assert {type(one) for one in ordered.asked().values()} == {Sleep} and len(ordered.asked()) == 8
    assert not any(isinstance(one, Sleep) for one in planned.asked().values())


def test_a_breaker_lowers_its_own_feeder_alone() -> None:
    spine = running()
    spine.order(6_000.0, scope=f"{KEY}/f2")
    assert spine.asked() and set(spine.asked()) <= {4, 5, 6, 7}


def test_a_hot_transformer_lowers_the_site() -> None:
    spine = running("transformer = { rated_va = 12000, assumed_ambient_c = 40.0 }")
    result = spine.decide()
    assert result.body["cap"]["rule"] == "transformer" and result.commands
    assert {one.reason.partition(":")[0] for one in result.commands} == {"transformer"}


def test_an_order_that_has_not_begun_or_is_over_moves_nothing() -> None:
    spine = running()
    spine.order(12_000.0, 600.0, after_s=60.0)
    assert spine.asked() == {}
    spine.later(659.999)
    spine.hear()
    spine.meter(24_000.0)
    assert len(spine.asked()) == 8
    spine.later(0.001)
    spine.meter(24_000.0)
    assert spine.asked() == {}


def test_a_meter_above_the_cap_lowers_though_the_miners_figures_fit() -> None:
    spine = running()
    spine.later(1.0)
    spine.meter(41_000.0)
    assert spine.asked(), "the connection carries 40 kW"


# ---- meter ----


def test_a_silent_meter_raises_nothing_and_still_lowers() -> None:
    spine = sleeping()
    spine.plan(24_000.0)
    spine.later(15.001)
    spine.hear(mode="sleep")
    result = spine.decide()
    assert result.commands == () and result.body["changes"] == []
    assert [(rule, count) for rule, _, count in result.body["restraints"]] == [("stale meter", 8)]
    blind = running()
    blind.order(12_000.0)
    blind.later(15.001)
    blind.hear()
    assert len(blind.decide().commands) == 8


# ---- heat ----


def test_a_chip_at_its_stop_temperature_sleeps_by_the_guard_and_may_come_back() -> None:
    spine = running()
    spine.hear(3, temp_chip_max_c=101.0)
    (one,) = spine.decide().commands
    assert one.device == unit(3) and one.intent == Sleep() and one.priority == LOWER
    assert one.reason.startswith("stop temperature") and one.restore_mode == "normal"


def test_heat_duty_keeps_miners_on_under_a_plan_of_nothing() -> None:
    spine = running("heat_min_w = 9000")
    spine.plan(0.0)
    result = spine.decide()
    assert result.body["target_w"] == 9_000.0 and result.body["rule"] == Rule.HEAT_DUTY
    assert 9_000.0 - 1_800.0 < result.body["expected_w"] <= 9_000.0, "to the nearest step of a unit below"


# ---- who may be commanded ----


def test_a_foreign_owner_s_miners_count_as_load_and_are_never_commanded() -> None:
    spine = running(owners={0: "hoster", 1: "hoster"})
    spine.hear(1, temp_chip_max_c=120.0)
    spine.order(100.0)
    result = spine.decide()
    assert set(spine.asked()) == {2, 3, 4, 5, 6, 7}
    assert result.body["expected_w"] == pytest.approx(2 * 3000.0 + 6 * 20.0) and result.body["over_w"] > 5_000.0


def test_a_miner_that_a_person_has_is_left_alone() -> None:
    spine = running()
    spine.say("owner.changed", {"device": unit(2), "hands_off": True, "owner": "vendor", "why": "service"})
    spine.order(100.0)
    assert set(spine.asked()) == set(range(8)) - {2}


def test_a_silent_miner_counts_as_load_and_is_not_commanded() -> None:
    spine = Spine()
    spine.hear(*range(7))
    spine.meter(24_000.0)
    spine.order(100.0)
    result = spine.decide()
    assert set(spine.asked()) == set(range(7)) and result.body["expected_w"] == pytest.approx(3000.0 + 7 * 20.0)


def test_what_is_under_way_is_not_asked_for_again() -> None:
    spine = running()
    spine.order(100.0)
    spine.fold(spine.decide())
    assert spine.asked() == {}


# ---- return to the operating point ----


def test_what_a_limit_lowered_returns_after_it_and_what_the_plan_lowered_stays() -> None:
    spine = running()
    spine.order(12_000.0, 600.0)
    lowered = spine.decide()
    assert {one.restore_mode for one in lowered.commands} == {"normal"}
    planned = running()
    planned.plan(12_000.0)
    assert planned.asked() and {one.restore_mode for one in planned.decide().commands} == {""}


def test_a_raise_below_a_limit_has_nothing_to_return_to() -> None:
    spine = sleeping()
    spine.plan(24_000.0)
    spine.order(12_000.0)
    result = spine.decide()
    assert result.body["rule"] == Rule.LIMIT and result.commands
    assert {(type(one.intent), one.restore_mode) for one in result.commands} == {(Wake, "")}


def test_units_that_are_back_are_named_once_and_forgotten() -> None:
    spine = running()
    spine.order(12_000.0, 600.0)
    result = spine.decide()
    for one in result.commands:
        spine.done(one, after_s=0.0)
    asleep = numbers(one.device for one in result.commands if one.intent == Sleep())
    low = sorted(set(range(8)) - set(asleep))
    spine.later(1800.0)
    for mode, units in (("sleep", asleep), ("low", low)):
        spine.hear(*units, mode=mode)
    spine.meter(11_000.0)
    back = spine.decide()
    assert back.body["rule"] == Rule.RESTORE and "8 units return" in back.body["reason"]
    assert {one.restore_mode for one in back.commands} == {""}, "a raise has nothing to return to"
    spine.fold(back)
    spine.later(600.0)
    spine.hear()
    spine.meter(24_000.0)
    ended = spine.decide()
    assert numbers(ended.body["restored"]) == list(range(8)) and ended.commands == ()
    spine.fold(ended)
    assert "restored" not in spine.decide().body


def test_while_a_rack_is_proven_against_its_feeder_nothing_returns_and_no_plan_moves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spine = sleeping()
    spine.plan(24_000.0)
    assert len(spine.asked()) == 8
    watched = SimpleNamespace(watching=True, held=frozenset)
    monkeypatch.setattr(spine.site, "pulses", watched)
    assert spine.asked() == {}
    spine.hear()
    spine.meter(24_000.0)
    spine.order(100.0)
    assert len(spine.asked()) == 8, "an order does"


# ---- overhead ----


def test_overhead_is_the_meter_over_the_miners_while_the_site_is_calm() -> None:
    spine = running()
    spine.later(1.0)
    spine.meter(26_400.0)
    assert spine.decide().body["overhead_seen"] == pytest.approx(1.1)


def test_no_overhead_is_seen_while_most_sleep() -> None:
    spine = Spine()
    spine.hear(mode="sleep")
    spine.hear(0, 1, 2)
    spine.meter(12_000.0)
    assert spine.decide().body["overhead_seen"] is None, "9.1 of 24 kW: what is always on would count as a share"
    spine.hear(3)
    assert spine.decide().body["overhead_seen"] == pytest.approx(12_000.0 / (4 * 3000.0 + 4 * 20.0))


def test_no_overhead_is_seen_without_the_meter_and_none_while_units_are_silent_or_change() -> None:
    spine = running()
    assert spine.decide().body["overhead_seen"] is not None
    spine.later(15.001)
    spine.hear()
    assert spine.decide().body["overhead_seen"] is None, "a stale meter"
    spine.meter(24_000.0)
    spine.order(12_000.0)
    spine.fold(spine.decide())
    assert spine.decide().body["overhead_seen"] is None, "commands are pending"
    silent = Spine()
    silent.hear(*range(7))
    silent.meter(24_000.0)
    assert silent.decide().body["overhead_seen"] is None, "one of eight is silent"
    ramping = running()
    ramping.hear(0, state="ramping")
    assert ramping.decide().body["overhead_seen"] is None


# ---- observe-only ----


def test_a_site_that_only_observes_commands_nothing_and_shows_what_it_would_have_done() -> None:
    spine = running("observe_only = true")
    spine.plan(9_000.0)
    result = spine.decide()
    assert result.commands == () and len(result.body["changes"]) == 7
    assert result.body["shadow"]["would_w"] < result.body["shadow"]["power_w"]
    spine.fold(result)
    assert spine.decide().body["changes"] == [], "each change is said once"
    assert "shadow" not in running().decide().body


# ---- replay ----


def test_the_same_state_and_instant_give_the_same_bytes_and_name_their_position() -> None:
    bodies = []
    for _ in range(2):
        spine = running(meters=METER + FEEDER_METER)
        spine.order(12_000.0)
        body = spine.decide().body
        assert body["position"] == spine.state.position and body["tick_ms"] == T0_MS
        assert spine.decide().body == body, "deciding changes nothing"
        bodies.append(json.dumps(body))
        assert json.loads(json.dumps(body)) == body, "it reads back from the journal as it is"
    assert bodies[0] == bodies[1]


def test_deciding_leaves_state_and_situation_as_they_are() -> None:
    spine = running()
    spine.order(12_000.0)
    before = spine.site.standing.commanded(T0_MS)
    spine.decide()
    after = spine.site.standing.commanded(T0_MS)
    for name in ("mode", "until_ms", "restore", "starts_used"):
        assert np.array_equal(getattr(before, name), getattr(after, name))
