# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace

import numpy as np
import pytest

from kernel.errors import ConfigError
from kernel.receipt import HubCause
from miner_control.fleet.command import (
    Command,
    InstallFirmware,
    Locate,
    Pool,
    Reboot,
    RollBackFirmware,
    SetMode,
    SetPools,
    Sleep,
    Wake,
)
from miner_control.fleet.fleet import ASLEEP, STATE_CODE, Fleet
from miner_control.fleet.miner import State
from miner_control.health.health import PoolRule
from miner_control.jobs.job import Job, JobBook, Wave
from miner_control.jobs.job_plan import Fits, JobPlan, Rollout, plan_job
from tests.miner_control.fleets import NOW_MS, envelope, fleet, roster, seen

ROLLOUT = Rollout(canary=2, wave_share=0.25, failure_share=0.1, gap_s=60.0)


def twenty() -> Fleet:
    return fleet(roster([envelope("a"), envelope("b")], 10))


def send(job: Job, fleet: Fleet, now_ms: int) -> list[Command]:
    """What is due, as sent."""
    due = job.due(fleet, now_ms)
    if not isinstance(due, Wave):
        if due:
            job.changed("paused", "hub", due)
        return []
    job.sent(due.step, {str(one.id): one.device for one in due.commands}, now_ms)
    return list(due.commands)


def run_wave(job: Job, fleet: Fleet, now_ms: int, failing: frozenset[str] = frozenset()) -> list[str]:
    asked = send(job, fleet, now_ms)
    for one in asked:
        job.received(str(one.id), "refused" if one.device in failing else "verified", now_ms)
    return [one.device for one in asked]


def test_canaries_of_each_model_then_waves_with_a_gap():
    found = twenty()
    plan = plan_job("tune", found, found.devices, SetMode("low"), rollout=ROLLOUT)
    assert [len(wave) for wave in plan.waves] == [2, 4, 4, 4, 4, 2]
    assert {
        found.roster.groups[int(found.roster.group[found.roster.index[d]])].envelope.model for d in plan.waves[0]
    } == {"a", "b"}
    job = Job(plan, NOW_MS)
    assert run_wave(job, found, NOW_MS) == list(plan.waves[0])
    assert job.due(found, NOW_MS + 59_000) is None and not job.paused
    assert run_wave(job, found, NOW_MS + 60_000) == list(plan.waves[1])
    assert job.held() == {*plan.waves[0], *plan.waves[1]}, "what it changed is held, and no more"
    at_ms, done = NOW_MS + 120_000, 2
    while job.status()["state"] != "done":
        done += bool(run_wave(job, found, at_ms))
        at_ms += 60_000
    assert done == 6 and job.status()["outcomes"] == {"verified": 20}
    assert "wave 0: 2 (canary)" in plan.preview()
    job.changed("ended", "anna", "")
    assert job.held() == set()


def test_nothing_follows_a_wave_that_is_under_way():
    found = twenty()
    job = Job(plan_job("x", found, found.devices, Reboot(), rollout=ROLLOUT, deadline_s=60.0), NOW_MS)
    send(job, found, NOW_MS)
    assert job.due(found, NOW_MS + 10**9) is None and job.status()["waiting"] == 2


def test_commands_cut_short_by_the_hub_are_repeated_first():
    found = twenty()
    plan = plan_job("x", found, found.devices, SetMode("low"), rollout=replace(ROLLOUT, failure_share=0.0))
    job = Job(plan, NOW_MS)
    first, second = send(job, found, NOW_MS)
    job.received(str(first.id), "unknown", NOW_MS, HubCause.CUT_SHORT)
    assert job.due(found, NOW_MS) is None, "the other one is under way"
    job.received(str(second.id), "unreachable", NOW_MS, HubCause.WITHDRAWN)
    assert job.status()["waiting"] == 2 and job.failed() == []
    again = send(job, found, NOW_MS + 1)
    assert {one.device for one in again} == set(plan.waves[0]) and {one.intent for one in again} == {SetMode("low")}
    assert again[0].reason.endswith("wave 0 again") and again[0].id not in (first.id, second.id)
    job.received(str(again[0].id), "unknown", NOW_MS + 2, HubCause.CUT_SHORT)
    job.received(str(again[1].id), "verified", NOW_MS + 2)
    (last,) = send(job, found, NOW_MS + 3)
    assert last.device == again[0].device and last.reason.endswith("wave 0 again")
    job.received(str(last.id), "unknown", NOW_MS + 4, HubCause.SUPERSEDED)
    assert job.due(found, NOW_MS + 10**6) == "1 of 2 failed in wave 0", "whom a newer command replaced is not"


def test_a_restore_that_was_cut_short_goes_on_as_a_restore():
    found = twenty()
    job = Job(plan_job("x", found, found.devices, Sleep(), rollout=Rollout(canary=0, wave_share=1.0)), 0)
    run_wave(job, found, NOW_MS)
    asleep = fleet(found.roster, seen(found.roster, mode=ASLEEP))
    job.changed("restore", "anna", "")
    wakes = send(job, asleep, NOW_MS)
    for one in wakes:
        first = one is wakes[0]
        job.received(str(one.id), "unknown" if first else "verified", NOW_MS, HubCause.CUT_SHORT if first else None)
    (again,) = send(job, asleep, NOW_MS + 1)
    assert (again.device, again.intent) == (wakes[0].device, Wake()) and again.reason.endswith("restore again")
    job.received(str(again.id), "verified", NOW_MS + 1)
    assert job.status()["state"] == "done"


def test_a_unit_that_left_the_register_gets_no_command_and_stops_no_other():
    found = twenty()
    plan = plan_job("x", found, found.devices, SetMode("low"), rollout=ROLLOUT)
    job = Job(plan, NOW_MS)
    gone = next(device for device in plan.waves[0] if device.endswith("m00000"))
    left = {device: unit for device, unit in found.roster.index.items() if device != gone}
    fewer = replace(found, roster=replace(found.roster, index=left))
    assert run_wave(job, fewer, NOW_MS) == [device for device in plan.waves[0] if device != gone]
    assert run_wave(job, fewer, NOW_MS + 60_000) == list(plan.waves[1])
    job.changed("restore", "anna", "")
    assert gone not in [one.device for one in send(job, fewer, NOW_MS + 61_000)]


def test_a_bad_canary_stops_it_a_person_resumes_and_a_retry_touches_failures_only():
    found = twenty()
    plan = plan_job("x", found, found.devices, SetMode("low"), rollout=ROLLOUT)
    job = Job(plan, NOW_MS)
    bad = frozenset(plan.waves[0][:1])
    run_wave(job, found, NOW_MS, bad)
    assert run_wave(job, found, NOW_MS + 60_000) == []
    assert job.status()["paused"] == "1 of 2 failed in wave 0"
    job.changed("retry", "anna", "")
    retried = send(job, found, NOW_MS + 61_000)
    assert [one.device for one in retried] == list(bad) and "retry 1" in retried[0].reason
    job.changed("resumed", "anna", "")
    assert job.due(found, NOW_MS + 62_000) is None, "the retry is still under way"
    job.received(str(retried[0].id), "refused", NOW_MS + 62_000)
    assert run_wave(job, found, NOW_MS + 200_000) == list(plan.waves[1])
    job.changed("paused", "anna", "shift ends")
    assert run_wave(job, found, NOW_MS + 900_000) == []


def test_units_that_the_control_step_is_asking_are_waited_for():
    found = twenty()
    job = Job(plan_job("x", found, found.devices, SetMode("low"), rollout=ROLLOUT), NOW_MS)
    unit = found.roster.index[job.plan.waves[0][0]]
    wanted = found.wanted.copy()
    wanted[unit] = ASLEEP
    assert job.due(replace(found, wanted=wanted), NOW_MS) is None
    assert isinstance(job.due(found, NOW_MS), Wave)


def test_restore_goes_to_the_recorded_prior_state():
    who = roster([envelope("a")], 4)
    said = seen(who)
    mode = np.array([1, 0, ASLEEP, 2], dtype=np.int8)
    state = np.where(mode == ASLEEP, STATE_CODE[State.ASLEEP], STATE_CODE[State.HASHING]).astype(np.int8)
    before = fleet(who, replace(said, mode=mode, state=state))
    plan = plan_job("shed", before, before.devices, Sleep(), rollout=Rollout(canary=0, wave_share=1.0))
    job = Job(plan, NOW_MS)
    run_wave(job, before, NOW_MS)
    asleep = fleet(who, seen(who, mode=ASLEEP))
    job.changed("restore", "anna", "")
    back = {one.device: one.intent for one in send(job, asleep, NOW_MS + 1000)}
    assert back == {"h/s/m00000": Wake(), "h/s/m00001": Wake(), "h/s/m00003": Wake()}
    for command_id in list(job._waiting):
        job.received(command_id, "verified", NOW_MS + 2000)
    woken = fleet(who, seen(who, mode=1))
    job.changed("restore", "anna", "")
    again = {one.device: one.intent for one in send(job, woken, NOW_MS + 2000)}
    assert again == {"h/s/m00001": SetMode("low"), "h/s/m00002": Sleep(), "h/s/m00003": SetMode("high")}


def test_the_book_is_a_fold_and_goes_on_after_a_restart_where_it_stood():
    found = twenty()
    plan = plan_job("tune", found, found.devices, SetMode("low"), job_id="c1", rollout=ROLLOUT, requested_by="a")
    events = [("job.proposed", json.loads(json.dumps(plan.to_json())), NOW_MS)]
    book = JobBook()
    book.apply(*events[0])
    live = book.jobs["c1"]
    assert live.plan == plan
    due = live.due(found, NOW_MS)
    assert isinstance(due, Wave)
    events.append(
        (
            "job.wave",
            {"id": "c1", "step": due.step, "commands": {str(c.id): c.device for c in due.commands}},
            NOW_MS,
        )
    )
    events += [("command.receipt", {"id": str(c.id), "outcome": "verified"}, NOW_MS + 5000) for c in due.commands]
    for event in events[1:]:
        book.apply(*event)
    again = JobBook()
    for event in events:
        again.apply(*event)
    assert again.jobs["c1"].status() == live.status()
    assert again.held() == book.held() == frozenset(plan.waves[0])
    after = again.jobs["c1"].due(found, NOW_MS + 70_000)
    assert isinstance(after, Wave) and after.step == "wave 1"


def test_units_left_out_have_reasons():
    who = roster([envelope("a"), envelope("b", commands=frozenset({"Reboot"}))], 2)
    said = replace(seen(who), at_ms=np.array([NOW_MS - 10**7, NOW_MS, NOW_MS, NOW_MS]))
    plan = plan_job("x", fleet(who, said), who.devices, SetMode("low"))
    assert {skip.device: skip.why for skip in plan.skipped} == {
        "h/s/m00000": "unreachable",
        "h/s/m00001": "antminer has no SetMode",
        "h/s/m00003": "antminer has no SetMode",
    }
    assert sum(map(len, plan.waves)) == 1


def test_load_neutral_jobs_reach_resting_units_but_no_other_owners():
    found = twenty()
    none = replace(found, can_command=np.zeros(20, dtype=np.bool_))
    with pytest.raises(ConfigError, match="20 held back"):
        plan_job("x", none, none.devices, SetMode("low"))
    elsewhere = frozenset(found.devices[:3])
    plan = plan_job("x", none, none.devices, Locate(True), elsewhere=elsewhere)
    assert {skip.device for skip in plan.skipped} == elsewhere
    assert {skip.why for skip in plan.skipped} == {"controlled by another system or person"}


def test_a_job_without_fitting_miners_is_refused_with_reasons():
    found = twenty()
    with pytest.raises(ConfigError, match="no miner can be commanded: 20 is no S19"):
        plan_job("x", found, found.devices, Reboot(), fits=Fits("*", "S19*"))
    plan = plan_job("x", found, found.devices, Reboot(), fits=Fits("*", "a"))
    assert len(plan.skipped) == 10 and {skip.why for skip in plan.skipped} == {"is no a"}


def test_pools_need_the_allow_list_and_another_person():
    found = twenty()
    pools = SetPools((Pool("stratum+tcp://thief.example:3333", "x"),))
    rule = PoolRule(frozenset({"eu.pool.example:3333"}))
    with pytest.raises(ConfigError) as caught:
        plan_job("pools", found, ["h/s/nobody"], pools, pools=rule, requested_by="anna")
    assert len(caught.value.faults) == 2
    ours = SetPools((Pool("stratum+tcp://eu.pool.example:3333", "x"),))
    job = Job(plan_job("pools", found, found.devices, ours, pools=rule, requested_by="anna"), NOW_MS)
    assert job.due(found, NOW_MS) is None
    job.changed("approved", "anna", "")
    assert job.due(found, NOW_MS) is None, "one's own vote never counts"
    job.changed("approved", "boris", "")
    assert isinstance(job.due(found, NOW_MS), Wave)


def test_firmware_goes_back_by_the_image_of_what_ran():
    who = roster([replace(envelope("a"), commands=frozenset({"InstallFirmware", "RollBackFirmware"}))], 3)
    found = fleet(who)
    new, old = InstallFirmware("2.0", "a" * 64, b"bytes"), InstallFirmware("1.0", "b" * 64)
    plan = plan_job(
        "fw", found, found.devices, new, rollout=Rollout(canary=0, wave_share=1.0), prior_images={"h/s/m00001": old}
    )
    assert JobPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan and b"bytes" not in repr(plan).encode()
    assert "2 cannot be restored: the image of what they run is not in the firmware store" in plan.preview()
    job = Job(plan, NOW_MS)
    job.changed("approved", "boris", "")
    run_wave(job, found, NOW_MS)
    job.changed("restore", "anna", "")
    back = {one.device: one.intent for one in send(job, found, NOW_MS + 1000)}
    assert back == {"h/s/m00000": RollBackFirmware(), "h/s/m00001": old, "h/s/m00002": RollBackFirmware()}
