# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np

from miner_control.control.auxiliary_load import Load, LoadKind
from miner_control.fleet.fleet import ASLEEP, STATE_CODE, Fleet
from miner_control.fleet.miner import State
from miner_control.health.wake_recovery import FORGET_S, Budget, Recoveries, Step
from tests.miner_control.fleets import NOW_MS, envelope, fleet, roster, seen

M0 = "h/s/m00000"


def stuck(
    count: int = 1, state: State = State.ASLEEP, age_s: float = 1.0, rungs: tuple[str, ...] | None = None
) -> Fleet:
    ladder = {} if rungs is None else {"recovery_steps": rungs}
    who = roster([envelope("a", ramp_up_s=100.0, **ladder)], count)
    said = seen(who, mode=ASLEEP, age_s=age_s)
    return fleet(who, replace(said, state=np.full(count, STATE_CODE[state], dtype=np.int8)))


def woken(ladder: Recoveries, device: str, at_ms: int = NOW_MS, outcome: str = "verified") -> None:
    ladder.issued({"id": f"{device}{at_ms}", "device": device, "intent": "Wake"}, slept=True)
    body = {"id": f"{device}{at_ms}", "device": device, "intent": "Wake", "outcome": outcome, "text": "said"}
    ladder.received(body, at_ms)


def take(ladder: Recoveries, found: Fleet, at_ms: int, sockets: dict[str, Load] | None = None) -> list[Step]:
    steps = ladder.steps(found, at_ms, sockets or {}, np.ones(len(found), dtype=np.bool_))
    for step in steps:
        load = step.command.device if step.kind == "pdu" and step.command else ""
        ladder.tried({"device": step.device, "rung": step.kind, "load": load}, at_ms)
    return steps


def test_a_straggler_climbs_one_rung_at_a_time():
    ladder = Recoveries()
    woken(ladder, M0)
    sockets = {M0: Load("socket-7", LoadKind.SOCKET, "h/s/pdu-1", 7, "f1", 0.0, frozenset({M0}))}
    found, rungs, at_ms = stuck(), [], NOW_MS
    for _ in range(80):
        at_ms += 10_000
        rungs += [(step.kind, (at_ms - NOW_MS) // 1000) for step in take(ladder, found, at_ms, sockets)]
        if at_ms == NOW_MS + 600_000:
            assert ladder.cycling == {"h/s/socket-7": M0}
            ladder.closed("h/s/socket-7", at_ms)
    assert rungs == [("retry", 150), ("reboot", 300), ("pdu", 450), ("ticket", 750)] and ladder.cycling == {}


def test_a_repeated_wake_does_not_reset_the_lateness():
    ladder = Recoveries()
    woken(ladder, M0)
    woken(ladder, M0, NOW_MS + 60_000, "unknown")
    assert ladder.recoveries[M0].woken_ms == NOW_MS and ladder.recoveries[M0].outcome == "unknown"
    woken(ladder, M0, NOW_MS + round(FORGET_S * 1000) + 1)
    assert ladder.recoveries[M0].woken_ms > NOW_MS, "a new wake long after is a new start"


def test_hashing_units_are_removed_and_silent_ones_get_no_command():
    ladder = Recoveries()
    woken(ladder, M0)
    silent = stuck(state=State.UNREACHABLE, age_s=9999.0)
    (step,) = take(ladder, silent, NOW_MS + 200_000)
    assert step.kind == "ticket" and step.command is None and "unreachable" in step.text
    (row,) = ladder.missing(silent, NOW_MS + 400_000, 300.0)
    assert row["tried"] == ["ticket"] and row["state"] == "unreachable" and row["outcome"] == "verified"
    well = fleet(silent.roster)
    assert take(ladder, well, NOW_MS + 500_000) == [] and ladder.missing(well, NOW_MS + 500_000, 0.0) == []


def test_a_common_cause_does_not_reboot_the_site():
    found = stuck(40, rungs=("reboot", "ticket"))
    ladder = Recoveries(Budget(reboots_a_day=8, reboots_at_once=5))
    for device in found.devices:
        woken(ladder, device)
    assert [step.kind for step in take(ladder, found, NOW_MS + 200_000)] == ["reboot"] * 5
    rest = [step.kind for at in range(2, 40) for step in take(ladder, found, NOW_MS + at * 200_000)]
    assert rest.count("reboot") <= 3


def test_foreign_units_are_left_alone_and_a_sleep_takes_one_off():
    found, ladder = stuck(2), Recoveries()
    for device in found.devices:
        woken(ladder, device)
    none = np.zeros(2, dtype=np.bool_)
    assert ladder.steps(found, NOW_MS + 200_000, {}, none) == []
    ladder.issued({"id": "s", "device": found.devices[0], "intent": "Sleep"}, slept=False)
    assert [step.device for step in take(ladder, found, NOW_MS + 200_000)] == [found.devices[1]]


def test_a_mode_that_wakes_counts_as_a_wake_and_one_that_does_not_does_not():
    ladder = Recoveries()
    for device, slept in (("h/s/a", True), ("h/s/b", False)):
        ladder.issued({"id": device, "device": device, "intent": "SetMode"}, slept=slept)
        ladder.received({"id": device, "device": device, "intent": "SetMode", "outcome": "verified"}, NOW_MS)
    assert set(ladder.recoveries) == {"h/s/a"}


def test_the_report_of_missing_miners():
    found, ladder = stuck(3), Recoveries()
    for at, device in enumerate(found.devices):
        woken(ladder, device, NOW_MS + at)
    assert ladder.missing(found, NOW_MS + 100_000, 600.0) == []
    rows = ladder.missing(found, NOW_MS + 600_002, 600.0, since_ms=NOW_MS + 1)
    assert [row["device"] for row in rows] == list(found.devices[1:]) and rows[0]["lost_hs"] == 100e12


def test_a_restart_for_a_mode_is_no_failed_wake():
    ladder, ramping = Recoveries(), stuck(state=State.RAMPING)
    woken(ladder, M0)
    ladder.back(fleet(ramping.roster))
    assert take(ladder, ramping, NOW_MS + 2_000_000) == [] and ladder.woken == {M0: NOW_MS}
    woken(ladder, M0, NOW_MS + 3_000_000)
    mode = {"id": "m", "device": M0, "intent": "SetMode", "outcome": "verified"}
    ladder.received(mode, NOW_MS + 3_500_000)
    assert take(ladder, ramping, NOW_MS + 9_000_000) == [], "seen running in the mode: known again after a restart"


def test_a_reported_start_gets_twice_the_time():
    ladder, ramping = Recoveries(), stuck(state=State.RAMPING)
    woken(ladder, M0)
    assert take(ladder, ramping, NOW_MS + 299_000) == []
    assert [step.kind for step in take(ladder, ramping, NOW_MS + 301_000)] == ["reboot"]
