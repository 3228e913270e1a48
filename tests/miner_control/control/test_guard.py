# SPDX-License-Identifier: Apache-2.0
"""Guard: it lowers and never raises; heat puts to sleep only what is ours, reachable and able to sleep."""

from dataclasses import replace

import numpy as np
import pytest

from miner_control.control.allocate import Allocation
from miner_control.control.guard import Guarded, Heat, guard
from miner_control.fleet.fleet import ASLEEP, Fleet, fleet_of, never_commanded, roster_of
from tests.miner_control.fleets import NOW_MS, envelope, miner, roster, seen

LOW, NORMAL, HIGH = 0, 1, 2


def proposal(changes: dict[int, int], fleet: Fleet, over_w: float = 0.0) -> Allocation:
    units = np.array(sorted(changes), dtype=np.int64)
    modes = np.array([changes[at] for at in sorted(changes)], dtype=np.int64)
    settled = fleet.settled_w.copy()
    settled[units] = fleet.option_w()[units, modes + 1]
    return Allocation(units, modes, float(settled.sum()), over_w, np.zeros(len(fleet.roster.feeder_names)))


def heat(fleet: Fleet, chip_c: dict[int, float]) -> Heat:
    values, known = np.zeros(len(fleet)), np.zeros(len(fleet), dtype=np.bool_)
    for at, value in chip_c.items():
        values[at], known[at] = value, True
    return Heat(values, known)


def fleet(size: int = 4, mode: int = NORMAL, age_s: float = 1.0, **traits: object) -> Fleet:
    who = roster([envelope(**traits)], size)
    return fleet_of(who, seen(who, mode=mode, age_s=age_s), never_commanded(who), NOW_MS)


def result(guarded: Guarded) -> dict[int, int]:
    return dict(zip(guarded.allocation.units.tolist(), guarded.allocation.modes.tolist(), strict=True))


def test_with_nothing_wrong_the_proposal_passes_as_it_is() -> None:
    found = fleet()
    proposed = proposal({0: LOW, 1: HIGH, 2: ASLEEP}, found)
    passed = guard(found, proposed, meter_fresh=True, heat=heat(found, {0: 89.9, 1: 89.9}))
    assert result(passed) == {0: LOW, 1: HIGH, 2: ASLEEP} and passed.restraints == ()
    assert passed.allocation.power_w == pytest.approx(proposed.power_w) and passed.allocation.over_w == 0.0


def test_a_silent_meter_holds_every_raise_and_no_lowering() -> None:
    found = fleet()
    passed = guard(found, proposal({0: LOW, 1: HIGH, 2: ASLEEP, 3: HIGH}, found), meter_fresh=False)
    assert result(passed) == {0: LOW, 2: ASLEEP}
    (one,) = passed.restraints
    assert one.rule == "stale meter" and one.units.tolist() == [1, 3]
    assert passed.allocation.power_w == pytest.approx(1800.0 + 3000.0 + 20.0 + 3000.0)


def test_a_silent_meter_holds_a_wake() -> None:
    found = fleet(mode=ASLEEP)
    assert result(guard(found, proposal({0: NORMAL}, found), meter_fresh=False)) == {}
    assert result(guard(found, proposal({0: NORMAL}, found), meter_fresh=True)) == {0: NORMAL}


@pytest.mark.parametrize(("chip_c", "asleep"), [(99.9, False), (100.0, True), (130.0, True)])
def test_at_the_stop_temperature_a_unit_goes_to_sleep(chip_c: float, asleep: bool) -> None:
    found = fleet()
    passed = guard(found, proposal({}, found), heat=heat(found, {1: chip_c}))
    assert result(passed) == ({1: ASLEEP} if asleep else {})
    assert [one.rule for one in passed.restraints] == (["stop temperature"] if asleep else [])


@pytest.mark.parametrize(("chip_c", "raised"), [(89.9, True), (90.0, False), (99.9, False)])
def test_at_the_hot_temperature_a_unit_is_not_raised_and_keeps_what_it_has(chip_c: float, raised: bool) -> None:
    found = fleet()
    passed = guard(found, proposal({1: HIGH}, found), heat=heat(found, {1: chip_c}))
    assert result(passed) == ({1: HIGH} if raised else {})
    lowered = guard(found, proposal({1: LOW}, found), heat=heat(found, {1: chip_c}))
    assert result(lowered) == {1: LOW}, "lowering is never held back"


def test_a_temperature_that_is_not_known_is_no_heat() -> None:
    found = fleet()
    unknown = Heat(np.full(4, 130.0), np.zeros(4, dtype=np.bool_))
    assert result(guard(found, proposal({0: HIGH}, found), heat=unknown)) == {0: HIGH}


def test_a_foreign_owner_s_miner_is_not_put_to_sleep() -> None:
    miners = [miner(at, owner="hoster" if at == 1 else "") for at in range(3)]
    who = roster_of(miners, {("m", "antminer"): envelope()}, not_ours=["hoster"])
    found = fleet_of(who, seen(who), never_commanded(who), NOW_MS)
    passed = guard(found, proposal({}, found), heat=heat(found, {0: 130.0, 1: 130.0}))
    assert result(passed) == {0: ASLEEP}


def test_a_miner_that_was_not_heard_of_is_not_put_to_sleep() -> None:
    found = fleet(age_s=61.0)
    assert not found.fresh.any()
    assert result(guard(found, proposal({}, found), heat=heat(found, {0: 130.0}))) == {}


def test_a_miner_that_cannot_sleep_is_lowered_to_its_lowest_mode() -> None:
    found = fleet(can_sleep=False)
    assert not bool(found.roster.can_sleep.any())
    passed = guard(found, proposal({}, found), heat=heat(found, {0: 130.0}))
    assert result(passed) == {0: LOW}
    lowest = fleet(mode=LOW, can_sleep=False)
    idle = guard(lowest, proposal({}, lowest), heat=heat(lowest, {0: 130.0}))
    assert result(idle) == {} and idle.restraints == (), "there is nothing lower"


def test_a_sleeper_is_not_asked_again() -> None:
    found = fleet(mode=ASLEEP)
    passed = guard(found, proposal({}, found), heat=heat(found, {0: 130.0}))
    assert result(passed) == {} and passed.restraints == ()


def test_heat_wakes_nobody() -> None:
    found = fleet(mode=ASLEEP)
    passed = guard(found, proposal({0: NORMAL}, found), heat=heat(found, {0: 95.0}))
    assert result(passed) == {} and [one.rule for one in passed.restraints] == ["hot"]


def test_a_pending_command_is_what_it_is_measured_against() -> None:
    """A unit whose sleep is under way is asleep for the guard: waking it is a raise, leaving it is none."""
    who = roster([envelope()], 2)
    asked = never_commanded(who)
    asked.mode[0], asked.until_ms[0] = ASLEEP, NOW_MS + 60_000
    found = fleet_of(who, seen(who), asked, NOW_MS)
    assert found.wanted.tolist() == [ASLEEP, NORMAL]
    assert result(guard(found, proposal({0: NORMAL}, found), meter_fresh=False)) == {}
    assert result(guard(found, proposal({}, found), meter_fresh=False)) == {}


def test_what_was_over_shrinks_by_what_the_guard_took_and_never_below_nothing() -> None:
    found = fleet()
    proposed = replace(proposal({}, found, over_w=2000.0), feeder_over_w=np.array([2000.0]))
    one = guard(found, proposed, heat=heat(found, {0: 130.0})).allocation
    assert one.power_w == pytest.approx(9020.0) and one.over_w == 0.0 and one.feeder_over_w.tolist() == [0.0]
    proposed = replace(proposal({}, found, over_w=5000.0), feeder_over_w=np.array([5000.0]))
    two = guard(found, proposed, heat=heat(found, {0: 130.0})).allocation
    assert two.over_w == pytest.approx(2020.0) and two.feeder_over_w.tolist() == pytest.approx([2020.0])
