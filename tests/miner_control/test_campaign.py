# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from kernel.errors import ConfigError
from miner_control.campaign import Campaign, Rollout, plan_campaign
from miner_control.command import Pool, Reboot, SetMode, SetPools, Sleep, Wake
from miner_control.fleet import ASLEEP, STATE_CODE, Fleet
from miner_control.health import PoolRule
from miner_control.miner import State
from miner_control.stragglers import Budget, Ladder, Socket
from tests.miner_control.fleets import NOW_MS, envelope, fleet, roster, seen

ROLLOUT = Rollout(canary=2, wave_share=0.25, failure_share=0.1, gap_s=60.0)


def twenty() -> Fleet:
    return fleet(roster([envelope("a"), envelope("b")], 10))


def run_wave(campaign: Campaign, now_ms: int, failing: frozenset[str] = frozenset()) -> list[str]:
    asked = campaign.due(now_ms)
    for one in asked:
        campaign.heard(one.id, "refused" if one.device in failing else "verified", now_ms)
    return [one.device for one in asked]


def test_canaries_of_each_model_then_waves_with_a_gap():
    found = twenty()
    plan = plan_campaign("tune", found, found.devices, SetMode("low"), rollout=ROLLOUT)
    assert [len(wave) for wave in plan.waves] == [2, 4, 4, 4, 4, 2]
    assert {
        found.roster.groups[int(found.roster.group[found.roster.index[d]])].envelope.model for d in plan.waves[0]
    } == {"a", "b"}
    campaign = Campaign(plan, NOW_MS)
    assert run_wave(campaign, NOW_MS) == list(plan.waves[0])
    assert campaign.due(NOW_MS + 59_000) == [] and not campaign.paused
    assert run_wave(campaign, NOW_MS + 60_000) == list(plan.waves[1])
    at_ms, done = NOW_MS + 120_000, 2
    while not campaign.status()["done"]:
        done += bool(run_wave(campaign, at_ms))
        at_ms += 60_000
    assert done == 6 and campaign.status()["outcomes"] == {"verified": 20}
    assert "wave 0: 2 (canary)" in plan.preview()


def test_nothing_follows_a_wave_that_is_still_under_way():
    found = twenty()
    campaign = Campaign(plan_campaign("x", found, found.devices, Reboot(), rollout=ROLLOUT), NOW_MS)
    campaign.due(NOW_MS)
    assert campaign.due(NOW_MS + 10_000_000) == []


def test_a_bad_canary_stops_it_a_person_resumes_and_a_retry_touches_failures_only():
    found = twenty()
    plan = plan_campaign("x", found, found.devices, SetMode("low"), rollout=ROLLOUT)
    campaign = Campaign(plan, NOW_MS)
    bad = frozenset(plan.waves[0][:1])
    run_wave(campaign, NOW_MS, bad)
    assert run_wave(campaign, NOW_MS + 60_000) == []
    assert campaign.status()["paused"] == "1 of 2 failed in wave 0"
    assert [one.device for one in campaign.retry(NOW_MS + 61_000)] == list(bad)
    campaign.resume()
    assert campaign.due(NOW_MS + 200_000) == [], "the retry is still under way"
    for command_id in list(campaign._waiting):
        campaign.heard(command_id, "refused", NOW_MS + 62_000)
    assert run_wave(campaign, NOW_MS + 200_000) == list(plan.waves[1])
    campaign.abort("shift ends")
    assert run_wave(campaign, NOW_MS + 900_000) == []


def test_restore_goes_to_the_recorded_prior_state():
    who = roster([envelope("a")], 4)
    said = seen(who)
    mode = np.array([1, 0, ASLEEP, 2], dtype=np.int8)
    state = np.where(mode == ASLEEP, STATE_CODE[State.ASLEEP], STATE_CODE[State.HASHING]).astype(np.int8)
    before = fleet(who, replace(said, mode=mode, state=state))
    plan = plan_campaign("shed", before, before.devices, Sleep(), rollout=Rollout(canary=0, wave_share=1.0))
    campaign = Campaign(plan, NOW_MS)
    run_wave(campaign, NOW_MS)
    asleep = fleet(who, seen(who, mode=ASLEEP))
    back = {one.device: one.intent for one in campaign.restore(asleep, NOW_MS + 1000)}
    assert back == {"h/s/m00000": Wake(), "h/s/m00001": Wake(), "h/s/m00003": Wake()}
    woken = fleet(who, seen(who, mode=1))
    again = {one.device: one.intent for one in campaign.restore(woken, NOW_MS + 2000)}
    assert again == {"h/s/m00001": SetMode("low"), "h/s/m00002": Sleep(), "h/s/m00003": SetMode("high")}


def test_who_is_left_out_and_why():
    who = roster([envelope("a"), envelope("b", commands=frozenset({"Reboot"}))], 2)
    said = replace(seen(who), at_ms=np.array([NOW_MS - 10**7, NOW_MS, NOW_MS, NOW_MS]))
    plan = plan_campaign("x", fleet(who, said), who.devices, SetMode("low"))
    assert {skip.device: skip.why for skip in plan.skipped} == {
        "h/s/m00000": "unreachable",
        "h/s/m00001": "antminer has no SetMode",
        "h/s/m00003": "antminer has no SetMode",
    }
    assert sum(map(len, plan.waves)) == 1


@pytest.mark.parametrize("approved_by", ["", "anna"])
def test_pools_need_the_allow_list_and_another_person(approved_by: str):
    found = twenty()
    pools = SetPools((Pool("stratum+tcp://thief.example:3333", "x"),))
    rule = PoolRule(frozenset({"eu.pool.example:3333"}))
    with pytest.raises(ConfigError) as caught:
        plan_campaign("pools", found, ["h/s/nobody"], pools, pools=rule, asked_by="anna", approved_by=approved_by)
    assert len(caught.value.faults) == 3
    ours = SetPools((Pool("stratum+tcp://eu.pool.example:3333", "x"),))
    assert plan_campaign("pools", found, found.devices, ours, pools=rule, asked_by="anna", approved_by="boris").waves


# --- the ladder -----------------------------------------------------------------------------------------------------------


def stuck(count: int = 1, state: State = State.ASLEEP, age_s: float = 1.0) -> Fleet:
    who = roster([envelope("a", ramp_up_s=100.0)], count)
    said = seen(who, mode=ASLEEP, age_s=age_s)
    return fleet(who, replace(said, state=np.full(count, STATE_CODE[state], dtype=np.int8)))


def test_a_straggler_climbs_one_rung_at_a_time():
    ladder = Ladder({})
    ladder.woken("h/s/m00000", NOW_MS)
    sockets = {"h/s/m00000": Socket("h/s/pdu-1", 7)}
    found, rungs, at_ms = stuck(), [], NOW_MS
    for _ in range(80):
        at_ms += 10_000
        rungs += [(step.rung, (at_ms - NOW_MS) // 1000) for step in ladder.steps(found, at_ms, sockets)]
    assert rungs == [("retry", 150), ("reboot", 300), ("pdu", 450), ("ticket", 600)]


def test_who_hashes_again_leaves_the_ladder_and_the_silent_are_not_asked():
    ladder = Ladder({})
    ladder.woken("h/s/m00000", NOW_MS)
    silent = stuck(state=State.UNREACHABLE, age_s=9999.0)
    (step,) = ladder.steps(silent, NOW_MS + 200_000)
    assert step.rung == "ticket" and step.command is None and "unreachable" in step.words
    assert ladder.missing(silent, NOW_MS + 400_000, 300.0)[0]["tried"] == ["ticket"]
    well = fleet(silent.roster)
    assert ladder.steps(well, NOW_MS + 500_000) == [] and ladder.missing(well, NOW_MS + 500_000, 0.0) == []


def test_a_common_cause_does_not_reboot_the_site():
    found = stuck(40)
    ladder = Ladder({"antminer": ("reboot", "ticket")}, Budget(reboots_a_day=8, reboots_at_once=5))
    for device in found.devices:
        ladder.woken(device, NOW_MS)
    first = ladder.steps(found, NOW_MS + 200_000)
    assert [step.rung for step in first] == ["reboot"] * 5
    rest = [step.rung for at in range(2, 40) for step in ladder.steps(found, NOW_MS + at * 200_000)]
    assert rest.count("reboot") <= 3


def test_the_report_of_who_is_missing():
    found = stuck(3)
    ladder = Ladder({})
    for device in found.devices:
        ladder.woken(device, NOW_MS)
    ladder.dropped(found.devices[2])
    assert ladder.missing(found, NOW_MS + 100_000, 600.0) == []
    rows = ladder.missing(found, NOW_MS + 600_000, 600.0)
    assert [row["device"] for row in rows] == list(found.devices[:2]) and rows[0]["lost_hs"] == 100e12
