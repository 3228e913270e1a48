# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from kernel.reading import MISSING, Absence, Field, Reading
from miner_control.health.health import PerformanceReference, PoolRule, examine, host_of, may_be_over
from tests.miner_control.fleets import envelope

WELL: dict[str, Field] = {
    "state": "hashing", "mode": "normal", "hashrate_hs": 100e12, "power_w": 3000.0, "boards_hashing": 3.0, "boards_expected": 3.0,
    "temp_chip_max_c": 78.0, "fan_min_rpm": 4000.0, "fan_max_rpm": 4300.0, "shares_accepted": 5000.0, "shares_rejected": 10.0,
    "pool_url": "stratum+tcp://eu.pool.example:3333", "pool_user": "acct.m1", "pool_state": "alive",
}  # fmt: skip
OURS = {"url": "stratum+tcp://eu.pool.example:3333", "user": "acct.m1"}
RULE = PoolRule(frozenset({"eu.pool.example:3333"}), "acct.{device}")
USUAL = PerformanceReference(hashrate_hs=100e12, j_per_th=30.0)


def reported(usual: PerformanceReference = USUAL, **changes: Field) -> list[str]:
    reading = Reading("h/s/m1", "miner", 1, {**WELL, **changes})
    return [finding.what for finding in examine(reading, envelope(), usual, RULE)]


def test_a_well_miner_has_no_finding():
    assert reported() == []


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"state": "fault", "hashrate_hs": 0.0, "power_w": 2900.0}, ["fault"]),
        ({"boards_hashing": 2.0, "hashrate_hs": 67e12, "power_w": 2010.0}, ["dead board"]),
        ({"hashrate_hs": 80e12, "power_w": 2400.0}, ["low hashrate"]),
        ({"hashrate_hs": 90e12, "power_w": 2700.0, "temp_chip_max_c": 96.0}, ["throttling"]),
        ({"fan_min_rpm": 0.0}, ["stopped fan"]),
        ({"pool_state": "dead"}, ["stale pool"]),
        ({"shares_rejected": 400.0}, ["rejected shares"]),
        ({"pool_url": "stratum+tcp://thief.example:3333"}, ["wrong pool"]),
        ({"pool_user": "other.m1"}, ["wrong worker"]),
        ({"pools_json": json.dumps([OURS, {"url": "stratum+ssl://x:1", "user": "a"}])}, ["wrong pool"]),
    ],
)  # fmt: skip
def test_faults_become_findings(changes: dict[str, Field], what: list[str]):
    assert reported(**changes) == what


def test_missing_values_give_no_finding():
    untold = {name: MISSING[Absence.NOT_REPORTED] for name in WELL if name != "state"}
    assert reported(**untold) == []
    for state in ("asleep", "ramping", "unreachable", "unknown"):
        assert reported(state=state, hashrate_hs=0.0, power_w=20.0, boards_hashing=0.0) == []


def test_no_share_for_long_is_a_stale_pool_whatever_the_pool_says():
    assert reported(PerformanceReference(100e12, 30.0, None, 1200.0)) == ["stale pool"]
    assert reported(PerformanceReference(100e12, 30.0, None, 800.0)) == []


def test_rare_shares_extend_the_allowed_time():
    seldom: dict[str, Field] = {"shares_accepted": 20.0, "shares_rejected": 0.0, "uptime_s": 50_000.0}
    assert reported(PerformanceReference(no_share_s=10_000.0), **seldom) == []
    assert reported(PerformanceReference(no_share_s=30_000.0), **seldom) == ["stale pool"]
    never: dict[str, Field] = {"shares_accepted": 0.0, "uptime_s": 50_000.0}
    assert reported(PerformanceReference(no_share_s=2000.0), **never) == [] and reported(
        PerformanceReference(no_share_s=4000.0), **never
    ) == ["stale pool"]


def test_efficiency_is_judged_by_what_it_was_lately_and_not_by_one_answer():
    swing: dict[str, Field] = {"hashrate_hs": 90e12, "power_w": 3200.0}
    assert reported(PerformanceReference(j_per_th=30.0, lately_j_per_th=30.9), **swing) == []
    assert (
        reported(PerformanceReference(j_per_th=30.0), **swing) == []
        and reported(PerformanceReference(lately_j_per_th=40.0), **swing) == []
    )
    assert reported(PerformanceReference(j_per_th=30.0, lately_j_per_th=33.0)) == ["degrading efficiency"]


def test_usual_is_of_the_normal_mode_and_another_mode_is_judged_by_its_share_of_it():
    strong = PerformanceReference(hashrate_hs=110e12)
    low: dict[str, Field] = {"mode": "low", "power_w": 1800.0}
    assert reported(strong, hashrate_hs=110e12 * 0.69, **low) == []
    assert reported(strong, hashrate_hs=110e12 * 0.5, **low) == ["low hashrate"]
    assert reported(strong, hashrate_hs=92e12) == ["low hashrate"], "it can do more than its model"


def test_a_unit_weak_from_the_first_day_stays_a_finding():
    assert reported(PerformanceReference(hashrate_hs=60e12, j_per_th=30.0), hashrate_hs=60e12) == ["low hashrate"]


@pytest.mark.parametrize(
    ("what", "state", "usual", "over"),
    [
        ("low hashrate", "hashing", PerformanceReference(), True),
        ("low hashrate", "asleep", PerformanceReference(), False),
        ("wrong pool", "asleep", PerformanceReference(), True),
        ("degrading efficiency", "hashing", PerformanceReference(j_per_th=30.0, lately_j_per_th=30.0), True),
        ("degrading efficiency", "hashing", PerformanceReference(j_per_th=30.0), False),
        ("degrading efficiency", "hashing", PerformanceReference(), True),
        ("stale pool", "hashing", PerformanceReference(no_share_s=20.0, shares_rose=True), True),
        ("stale pool", "hashing", PerformanceReference(no_share_s=20.0, shares_rose=False), False),
        ("stale pool", "hashing", PerformanceReference(), True),
    ],
)
def test_a_finding_is_over_only_where_the_reading_can_tell(
    what: str, state: str, usual: PerformanceReference, over: bool
):
    assert may_be_over(what, Reading("h/s/m1", "miner", 1, {**WELL, "state": state}), usual) is over


def test_a_finding_carries_its_evidence_and_what_it_costs():
    reading = Reading("h/s/m1", "miner", 77, {**WELL, "boards_hashing": 2.0, "hashrate_hs": 66e12})
    (found, *_) = examine(reading, envelope(), USUAL, RULE)
    assert found.evidence["at_ms"] == 77 and found.evidence["boards_hashing"] == 2.0
    assert found.loss_hs == pytest.approx(100e12 / 3)
    assert "1 of 3" in found.text and found.remedy


def test_hosts_of_pools():
    assert host_of("stratum+tcp://u@Pool.example:3333/x") == "pool.example:3333"
    assert host_of("pool.example:3333") == "pool.example:3333"
