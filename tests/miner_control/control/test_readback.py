# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace

import pytest

from kernel.reading import MISSING, Absence, Field, Reading
from miner_control.control.readback import carries_evidence, is_observable, shows
from miner_control.fleet.command import (
    Intent,
    Locate,
    Pool,
    PowerPercent,
    PowerTarget,
    Reboot,
    SetMode,
    SetPools,
    Sleep,
    SwitchLoad,
    Wake,
)
from miner_control.fleet.envelope import Mode
from tests.miner_control.fleets import envelope

POOLS = SetPools((Pool("stratum+tcp://a:1", "x.1"), Pool("stratum+tcp://b:1", "x.1")))


@pytest.mark.parametrize(
    ("intent", "values", "seen"),
    [
        (Sleep(), {"state": "asleep", "power_w": 20.0}, True),
        (Sleep(), {"state": "asleep"}, True),
        (Sleep(), {"state": "asleep", "power_w": 2900.0}, False),
        (Sleep(), {"state": "fault", "hashrate_hs": 0.0, "power_w": 0.0}, False),
        (Sleep(), {"hashrate_hs": 0.0}, False),
        (Sleep(), {"state": "hashing", "power_w": 3000.0}, False),
        (Wake(), {"state": "ramping", "power_w": 300.0}, True),
        (Wake(), {"state": "asleep"}, False),
        (Wake(), {"state": "fault"}, False),
        (SetMode("low"), {"state": "hashing", "mode": "low", "power_w": 1800.0}, True),
        (SetMode("low"), {"state": "hashing", "mode": "low", "power_w": 3000.0}, False),
        (SetMode("low"), {"state": "hashing", "mode": "normal", "power_w": 1800.0}, False),
        (PowerTarget(2500.0), {"state": "hashing", "power_limit_w": 2500.0, "power_w": 2480.0}, True),
        (PowerTarget(2500.0), {"state": "hashing", "power_limit_w": 2500.0, "power_w": 3300.0}, False),
        (PowerTarget(2500.0), {"state": "hashing", "power_limit_w": 3300.0, "power_w": 2480.0}, False),
        (PowerTarget(2500.0), {"state": "hashing"}, False),
        (PowerTarget(2500.0), {"state": "asleep", "power_limit_w": 2500.0, "power_w": 20.0}, False),
        (PowerPercent(70.0), {"state": "hashing", "power_w": 2150.0}, True),
        (PowerPercent(70.0), {"state": "hashing", "power_w": 2950.0}, False),
        (Reboot(), {"uptime_s": 12.0}, True),
        (Reboot(), {"uptime_s": 86_400.0}, False),
        (Reboot(), {}, False),
        (POOLS, {"pools_json": json.dumps([{"url": p.url, "user": p.user} for p in POOLS.pools])}, True),
        (POOLS, {"pools_json": json.dumps([{"url": "stratum+tcp://b:1", "user": "x.1"}])}, False),
        (SetPools(POOLS.pools[:1]), {"pool_url": "a:1", "pool_user": "x.1"}, True),
        (SetPools(POOLS.pools[:1]), {"pool_url": "stratum+ssl://a:1", "pool_user": "x.1"}, False),
        (SetPools((Pool("stratum+tls://a:1", "x.1"),)), {"pool_url": "stratum+ssl://a:1", "pool_user": "x.1"}, True),
        (SwitchLoad(2, False), {"sockets_json": json.dumps([{"index": 2, "on": False}])}, True),
        (SwitchLoad(2, False), {"sockets_json": json.dumps([{"index": 2, "on": True}])}, False),
        (SwitchLoad(2, False), {}, False),
    ],
)
def test_what_a_reading_shows(intent: Intent, values: dict[str, Field], seen: bool):
    reading = Reading("h/s/m", "miner", 1, values)
    assert shows(intent, envelope(), reading, since_s=60.0, was_unreachable=False) is seen


def test_a_reboot_of_a_miner_that_tells_no_uptime_is_seen_by_its_going_away():
    assert shows(Reboot(), envelope(), Reading("h/s/m", "miner", 1, {}), since_s=60.0, was_unreachable=True)
    old = Reading("h/s/m", "miner", 1, {"uptime_s": 9999.0})
    assert not shows(Reboot(), envelope(), old, since_s=60.0, was_unreachable=True)


def test_blinking_cannot_be_seen():
    assert not is_observable(Locate(True))


@pytest.mark.parametrize(
    ("intent", "values", "speaks"),
    [
        (POOLS, {"power_w": 3000.0}, False),
        (POOLS, {"pools_json": MISSING[Absence.NOT_REPORTED]}, False),
        (POOLS, {"pools_json": "[]"}, True),
        (POOLS, {"pool_url": "stratum+tcp://a:1", "pool_user": "x.1"}, False),
        (SetPools(POOLS.pools[:1]), {"pool_url": "stratum+tcp://a:1", "pool_user": "x.1"}, True),
        (SetPools(POOLS.pools[:1]), {"pool_url": "stratum+tcp://a:1"}, False),
        (SwitchLoad(2, False), {"power_w": 20.0}, False),
        (SwitchLoad(2, False), {"sockets_json": "[]"}, True),
        (Sleep(), {"power_w": 20.0}, True),
    ],
)
def test_only_what_speaks_of_the_effect_counts(intent: Intent, values: dict[str, Field], speaks: bool):
    assert carries_evidence(intent, Reading("h/s/m", "miner", 1, values)) is speaks


def test_a_restart_before_the_command_is_no_proof():
    def restarted(was_s: float | None, now_s: float, since_s: float) -> bool:
        before = None if was_s is None else Reading("h/s/m", "miner", 1, {"uptime_s": was_s})
        reading = Reading("h/s/m", "miner", 2, {"uptime_s": now_s})
        return shows(Reboot(), envelope(), reading, since_s=since_s, was_unreachable=True, before=before)

    assert restarted(86_400.0, 12.0, 20.0) and restarted(None, 12.0, 20.0)
    assert not restarted(3.0, 22.0, 20.0), "it counts on from a start of before"


@pytest.mark.parametrize(
    ("was", "now_w", "fell"),
    [
        ({"power_w": 3000.0}, 3010.0, False),
        ({"power_w": 3000.0}, 2830.0, True),
        ({"power_w": 3180.0}, 3000.0, True),
        ({"power_w": 3180.0}, 3150.0, False),
        ({"power_w": 2700.0}, 2710.0, True),
        ({"power_w": 3000.0, "state": "ramping"}, 3010.0, True),
        ({"power_w": 3000.0, "power_limit_w": 2850.0}, 3010.0, True),
    ],
)
def test_a_small_step_down_has_to_show_against_what_it_drew_before(was: dict[str, Field], now_w: float, fell: bool):
    """Within a tenth of the target lies all that was asked for: an echo would do, were there nothing to compare with."""
    before = Reading("h/s/m", "miner", 1, {"state": "hashing", "power_limit_w": 3000.0, "mode": "normal", **was})
    reading = Reading(
        "h/s/m", "miner", 60_000, {"state": "hashing", "power_limit_w": 2800.0, "mode": "less", "power_w": now_w}
    )
    target = PowerTarget(2800.0)
    assert shows(target, envelope(), reading, since_s=30.0, was_unreachable=False, before=before) == fell
    modes = (Mode("less", 2800.0, 95e12), Mode("normal", 3000.0, 100e12))
    steps = replace(envelope(), modes=modes)
    if "power_limit_w" not in was:
        assert shows(SetMode("less"), steps, reading, since_s=30.0, was_unreachable=False, before=before) == fell
