# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace

import pytest

from kernel.reading import Field, Reading
from miner_control.fleet.command import Intent, Pool, SetMode, SetPools, Sleep, Wake
from miner_control.health.third_party_control import (
    ShadowInterval,
    ShadowWorth,
    VerifiedCommand,
    against,
    container_tactics,
    from_foreign,
    own_schedules,
    undone,
    worker_name,
)
from miner_control.inventory.asset_register import register_of
from tests.miner_control.fleets import miner

POOLS = SetPools((Pool("stratum+tcp://ours:1", "x"),))


def reading(at_s: int, **values: Field) -> Reading:
    return Reading("d", "miner", at_s * 1000, values)


@pytest.mark.parametrize(
    ("intent", "against"),
    [
        (Sleep(), {"state": "hashing"}),
        (Wake(), {"state": "asleep"}),
        (SetMode("low"), {"state": "hashing", "mode": "normal"}),
        (POOLS, {"state": "hashing", "pool_url": "stratum+tcp://theirs:1"}),
    ],
)
def test_commands_undone_twice_are_reported(intent: Intent, against: dict[str, Field]):
    done = [VerifiedCommand("d", intent, at_s * 1000) for at_s in (100, 2000)]
    once = [reading(160, **against), reading(2100, state="unreachable")]
    assert undone(done, once) == []
    (found,) = undone(done, [*once, reading(2200, **against)])
    assert found.scope == "d" and found.evidence["at_ms"] == [160_000, 2_200_000] and "undone after 60 s" in found.text


def test_own_or_late_changes_are_no_third_party_control():
    done = [
        VerifiedCommand("d", Sleep(), 100_000),
        VerifiedCommand("d", Wake(), 200_000),
        VerifiedCommand("d", Sleep(), 3_000_000),
    ]
    seen = [reading(250, state="hashing"), reading(9000, state="hashing")]
    assert undone(done, seen) == []


def test_schedules_of_firmware_and_container_are_named():
    settings = {"atm": {"enabled": True}, "dps": {"enable": False}, "autotuner": "enabled", "other": 1}
    assert [hand.who for hand in own_schedules("d", settings)] == [
        "LuxOS advanced thermal management",
        "the firmware's autotuner",
    ]
    reported = json.dumps([{"name": "price", "enabled": True}, {"name": "heat", "enabled": False}])
    assert [hand.text for hand in container_tactics(Reading("c1", "container", 1, {"tactics_json": reported}))] == [
        "tactics price are on"
    ]
    by_name = json.dumps({"RunTactics": [{"Price": 0.05}], "StopTactics": []})
    (hand,) = container_tactics(Reading("c1", "container", 1, {"tactics_json": by_name}))
    assert hand.text == "RunTactics: 1 in force"
    by_type = json.dumps(
        {"RunTactics": {"TacticsType": "0"}, "StopTactics": {"TacticsType": "1", "ElectricityPrice": {}}}
    )
    (hand,) = container_tactics(Reading("c1", "container", 1, {"tactics_json": by_type}))
    assert hand.text == "StopTactics go by the price of power"
    for nothing in ({"tactics_json": "{}"}, {"tactics_json": "7"}):
        assert container_tactics(Reading("c1", "container", 1, nothing)) == []
    assert container_tactics(Reading("c1", "container", 1, {})) is None, "who does not say has not said no"


def worth_of(*whiles: ShadowInterval) -> ShadowWorth:
    found = ShadowWorth()
    for one in whiles:
        found.add(one)
    return found


def test_what_commanding_would_have_been_worth():
    hour = ShadowInterval(1.0, 1e6, 2e5, 3e16, 6e15, 30_000.0, 25_000.0)
    found = worth_of(hour)
    assert found.not_bought_mwh == pytest.approx(0.8) and found.energy_worth == pytest.approx(24_000.0)
    assert found.not_done_ph_days == pytest.approx(1.0) and found.hashes_worth == pytest.approx(25_000.0)
    assert found.worth == pytest.approx(-1000.0)
    started = replace(hour, starts=2, start_lost_ph_days=0.5)
    assert worth_of(started).worth == pytest.approx(-1000.0 - 0.5 * 25_000.0)


def test_unpriced_intervals_count_in_energy_and_not_in_money():
    hour = ShadowInterval(1.0, 1e6, 2e5, 3e16, 6e15, 30_000.0, 25_000.0)
    blind = replace(hour, energy_price_per_mwh=None)
    none = worth_of(blind, replace(hour, hash_value_per_ph_day=None))
    assert none.worth is None and none.not_bought_mwh == pytest.approx(1.6) and none.to_json()["energy_worth"] is None
    half = worth_of(hour, blind)
    assert (half.hours, half.priced_hours, half.worth) == (2.0, 1.0, pytest.approx(-1000.0))


def test_inventories_in_use_today_come_in():
    rows = [
        {"Miner IP": "10.0.0.5", "Miner Type": "Antminer S19j Pro (LuxOS)", "Worker": "Rack 1/07", "SN": "X1",
         "Circuit": "F 2", "Note": ""},
        {"Miner IP": "", "Miner Type": "Whatsminer M50S", "Worker": "", "MAC Address": "aa:bb:cc:dd:ee:ff"},
    ]  # fmt: skip
    found, faults = from_foreign(rows)
    assert found[0] == {
        "host": "10.0.0.5", "model": "Antminer S19j Pro (LuxOS)", "device": "rack-1-07", "serial": "X1", "feeder": "f-2",
        "dialect": "luxos",
    }  # fmt: skip
    assert [str(fault) for fault in faults if "Note" not in fault.place] == [
        "line 3: no host can be read from it. Fill the column in"
    ]
    assert any("Note" in fault.place for fault in faults)
    assert register_of([("line 2", found[0])], "hub", "north").miners[0].device == "hub/north/rack-1-07"


def test_worker_names():
    one = miner(3)
    assert worker_name("acct.{name}x{feeder}", one) == "acct.m00003xf0"
    assert worker_name("acct.{host}", one) == "acct.127x0x0x1"
    with pytest.raises(KeyError, match="colour"):
        worker_name("{colour}", one)


def test_an_own_pool_is_no_third_party_control():
    ours = SetPools((Pool("stratum+tcp://a:1", "x"), Pool("stratum+tcp://b:1", "x")))
    found = [
        against(ours, Reading("m", "miner", 1, {"pool_url": url}))
        for url in ("stratum+tcp://b:1", "stratum+tcp://c:1", "")
    ]
    assert found == [False, True, False]


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("10.0.0.5", "10.0.0.5"), ("http://10.0.0.5/", "10.0.0.5"), ("10.0.0.5:4028", "10.0.0.5"), ("'10.0.0.5", "10.0.0.5"),
        ("fd00::5", "fd00::5"), ("[fd00::5]:4028", "fd00::5"), ("http://[fd00::5]/cgi-bin", "fd00::5"),
        ('=HYPERLINK("http://10.0.0.5","10.0.0.5")', "10.0.0.5"), ("", ""),
    ],
)  # fmt: skip
def test_addresses_as_exports_write_them(written: str, host: str):
    (row,), _ = from_foreign([{"IP": written, "Model": "Antminer S21", "SN": "X"}])
    assert row["host"] == host
