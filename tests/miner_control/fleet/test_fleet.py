# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from miner_control.fleet.command import PowerTarget, SetMode, Sleep, Wake
from miner_control.fleet.fleet import (
    ASLEEP,
    STATE_CODE,
    UNSURE,
    fleet_of,
    never_commanded,
    never_observed,
    roster_of,
    urgent,
)
from miner_control.fleet.miner import State
from tests.miner_control.fleets import NOW_MS, envelope, fleet, miner, roster, seen


def one(**changes: object):
    return roster([envelope(**changes)], 1)  # type: ignore[arg-type]


def code(state: State) -> np.ndarray:
    return np.array([STATE_CODE[state]], dtype=np.int8)


def test_a_unit_that_names_no_mode_is_in_the_one_whose_power_it_draws():
    who = roster([envelope()], 4)
    said = replace(
        seen(who), mode=np.full(4, UNSURE, dtype=np.int8), power_w=np.array([1750.0, 2900.0, 3600.0, 1750.0]),
        has_power=np.array([True, True, True, False]),
    )  # fmt: skip
    assert fleet(who, said).mode.tolist() == [0, 1, 2, 1]
    asked = replace(never_commanded(who), on_mode=np.full(4, 2, dtype=np.int8))
    assert fleet(who, said, asked).mode.tolist() == [2, 2, 2, 2], "what we gave it stands before a guess"


def test_what_is_heard_is_what_counts():
    who = one()
    found = fleet(who, seen(who, scale=1.03))
    assert found.power_w[0] == pytest.approx(3090.0)
    assert found.settled_w[0] == pytest.approx(3090.0)
    assert found.scale[0] == pytest.approx(1.03)
    assert found.option_w()[0].tolist() == pytest.approx([20.0, 1854.0, 3090.0, 3646.2])


def test_without_a_profile_a_unit_counts_by_what_it_reports_however_far_from_the_assumed_figures():
    for scale in (0.01, 1.9):
        for profiled, taken in ((True, min(max(scale, 0.75), 1.33)), (False, scale)):
            found = fleet(who := one(profiled=profiled), seen(who, scale=scale))
            assert found.power_w[0] == pytest.approx(3000.0 * scale)
            assert found.scale[0] == pytest.approx(taken) and found.option_w()[0][3] == pytest.approx(3540.0 * taken)


def test_silence_counts_as_the_normal_load():
    who = one()
    for silent in (never_observed(who), seen(who, mode=ASLEEP, age_s=300.0)):
        found = fleet(who, silent)
        assert found.power_w[0] == 3000.0
        assert not found.can_command[0]
        assert found.mode[0] == 1


def test_silence_counts_as_the_mode_last_commanded():
    who = one()
    asked = replace(never_commanded(who), on_mode=np.array([2], dtype=np.int8))
    assert fleet(who, seen(who, age_s=300.0), asked).power_w[0] == pytest.approx(3540.0)


def test_a_confirmed_sleeper_that_falls_silent_becomes_load_again():
    who = one()
    asked = replace(never_commanded(who), put_to_sleep=np.array([True]))
    missed_one_poll = replace(seen(who, mode=ASLEEP, age_s=20.0), state=code(State.UNREACHABLE))
    assert fleet(who, missed_one_poll, asked).power_w[0] == 20.0
    gone = replace(seen(who, mode=ASLEEP, age_s=90.0), state=code(State.UNREACHABLE))
    assert fleet(who, gone, asked).power_w[0] == 3000.0
    assert fleet(who, gone, asked).tally()["unreachable"] == 1


@pytest.mark.parametrize("state", [State.FAULT, State.UNKNOWN, State.STOPPED, State.RAMPING, State.TUNING])
def test_only_its_own_report_makes_a_miner_asleep(state: State):
    who = one()
    said = replace(seen(who), state=code(state), has_power=np.array([False]), hashrate_hs=np.array([0.0]))
    found = fleet(who, said)
    assert found.mode[0] != ASLEEP
    assert found.power_w[0] == 3000.0
    assert found.counts()[0, 0] == 0


def test_a_ramping_miner_is_counted_with_what_it_will_draw():
    who = one()
    said = replace(seen(who), state=code(State.RAMPING), power_w=np.array([470.0]))
    assert fleet(who, said).power_w[0] == 3000.0


def test_a_pending_sleep_is_still_load_but_settled_without_it():
    who = one()
    asked = replace(never_commanded(who), mode=np.array([ASLEEP], dtype=np.int8), until_ms=np.array([NOW_MS + 60_000]))
    found = fleet(who, seen(who), asked)
    assert (found.power_w[0], found.settled_w[0]) == (3000.0, 20.0)
    over = replace(asked, until_ms=np.array([NOW_MS - 1]))
    assert fleet(who, seen(who), over).settled_w[0] == 3000.0


def test_minimum_times_and_start_budget():
    who = one()
    young = replace(never_commanded(who), since_ms=np.array([NOW_MS - 60_000]))
    assert not fleet(who, seen(who), young).may_sleep[0]
    assert urgent(fleet(who, seen(who), young)).may_sleep[0]
    assert not fleet(who, seen(who, mode=ASLEEP), young).may_wake[0]


def test_a_faulty_miner_is_not_woken():
    who = one()
    assert not fleet(who, replace(seen(who), state=code(State.FAULT))).may_wake[0]


def test_foreign_owners_are_not_commanded():
    who = roster_of(
        [miner(0), miner(1, owner="us"), miner(2, owner="hoster")],
        {("m", "antminer"): envelope()},
        not_ours=("hoster",),
    )
    assert fleet(who).can_command.tolist() == [True, True, False]


def test_intent_for_a_mode():
    who = one()
    awake, asleep = fleet(who), fleet(who, seen(who, mode=ASLEEP))
    assert awake.intent(0, ASLEEP) == Sleep()
    assert awake.intent(0, 0) == SetMode("low")
    assert asleep.intent(0, 1) == Wake()
    straight = one(wakes_into_any_mode=True)
    assert fleet(straight, seen(straight, mode=ASLEEP)).intent(0, 0) == SetMode("low")
    watts = one(commands=frozenset({"Sleep", "Wake", "PowerTarget"}))
    assert fleet(watts).intent(0, 0) == PowerTarget(1800.0)


def test_a_model_without_envelope_is_named():
    with pytest.raises(KeyError, match="mystery with antminer"):
        roster_of([miner(0, "mystery")], {})


def test_a_unit_newly_asleep_settles_at_its_sleep_power_while_it_runs_down():
    who = one()
    still_drawing = replace(seen(who, mode=ASLEEP), power_w=np.array([2000.0]), has_power=np.array([True]))
    just_now = replace(never_commanded(who), since_ms=np.array([NOW_MS - 5_000]))
    found = fleet(who, still_drawing, just_now)
    assert found.power_w[0] == 2000.0, "what it draws now is told as it is"
    assert found.settled_w[0] == 20.0, "nothing more is shed for what runs down by itself"
    long_ago = replace(never_commanded(who), since_ms=np.array([NOW_MS - 3_600_000]))
    assert fleet(who, still_drawing, long_ago).settled_w[0] == 2000.0, "a sleeper that goes on drawing is load"


def test_a_silent_unit_is_asleep_only_by_a_verified_sleep():
    """The last poll failed: what it said before stands for a while, and silence is no sleep."""
    who = one()
    silent = replace(seen(who), state=code(State.UNREACHABLE), has_power=np.array([False]))
    assert fleet(who, silent).mode[0] >= 0 and fleet(who, silent).power_w[0] == 3000.0
    ours = replace(never_commanded(who), put_to_sleep=np.array([True]))
    assert fleet(who, silent, ours).mode[0] == ASLEEP
    long_ago = seen(who, mode=ASLEEP, age_s=3600.0)
    assert fleet(who, long_ago, ours).mode[0] >= 0, "nor for ever"


def test_no_start_is_left_where_the_budget_of_the_day_is_used_up():
    who = one()
    asleep, used = seen(who, mode=ASLEEP), replace(never_commanded(who), starts_used=np.array([2]))
    may = [fleet_of(who, asleep, used, NOW_MS, starts_cap=cap).may_wake[0] for cap in (None, 1, 2, 3)]
    assert may == [True, False, False, True]
