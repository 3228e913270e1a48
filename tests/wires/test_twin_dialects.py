# SPDX-License-Identifier: Apache-2.0
"""Every dialect over real sockets: the hub's drivers against the twin, whose truth is asked beside."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kernel.clock import system_clock
from kernel.errors import TransportError
from kernel.reading import Absence, Missing, Reading
from kernel.receipt import Accepted, Refused, Unsupported
from miner_control.dialect import DIALECTS
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
    Wake,
)
from miner_control.fleet.driver import Access
from miner_control.fleet.miner import Miner
from miner_control.health.health import host_of, pools_of
from miner_control.health.third_party_control import reported_schedules
from miner_control.io.miner_socket import Exchanges, MinerPort
from telemetry.collect.source import Tier
from tests.twins import Twin, running_twin

MODELS = {
    "antminer-s21": 1, "whatsminer-m50s": 1, "whatsminer-m60s": 1, "luxos-s19k-pro": 1, "braiins-s21-pro": 1,
    "vnish-s21-pro": 1, "avalon-a1466": 1, "avalon-q": 1, "epic-s19-xp": 1, "auradine-at2880": 1, "bitaxe-supra": 1,
}  # fmt: skip
NAMES = ["antminer", "whatsminer", "whatsminer_v3", "luxos", "braiins", "vnish", "avalon", "epic", "auradine", "bitaxe"]


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    with running_twin(tmp_path_factory.mktemp("twin"), miners=33, models=MODELS, feeders=2, pace=3000.0) as found:
        yield found


def port_of(twin: Twin, miner: dict[str, Any]) -> MinerPort:
    named = Miner(
        device=miner["device"], model=miner["model"], dialect=miner["dialect"], host=miner["host"],
        ports=tuple(miner["ports"].items()), feeder=miner["feeder"],
    )  # fmt: skip
    access = Access(twin.ready["accounts"][miner["dialect"]], twin.ready["password"], miner["ports"])
    return MinerPort(named, DIALECTS[miner["dialect"]], access, system_clock(), Exchanges())


def read(twin: Twin, miner: dict[str, Any], tier: Tier = Tier.SLOW) -> dict[str, Any]:
    return dict(asyncio.run(port_of(twin, miner).read(tier)).values)


def read_once_it_listens(twin: Twin, miner: dict[str, Any]) -> dict[str, Any]:
    """A board that is up again opens its ports a moment later."""
    end = time.monotonic() + 20.0
    while True:
        try:
            return read(twin, miner)
        except TransportError:
            assert time.monotonic() < end
            time.sleep(0.1)


def ask(twin: Twin, miner: dict[str, Any], intent: Intent) -> object:
    return asyncio.run(port_of(twin, miner).carry_out(intent, 10.0))


def of(twin: Twin, dialect: str, number: int = 0) -> dict[str, Any]:
    return [miner for miner in twin.miners if miner["dialect"] == dialect][number]


@pytest.mark.parametrize("dialect", NAMES)
def test_a_hashing_miner_reads_as_the_truth(twin: Twin, dialect: str) -> None:
    miner = of(twin, dialect)
    truth = twin.truth(miner["device"])
    values = read(twin, miner)
    assert values["hashrate_hs"] == pytest.approx(truth["hashrate_hs"], rel=0.08)
    assert values["state"] == "hashing"
    if not isinstance(values["power_w"], Missing):
        assert values["power_w"] == pytest.approx(truth["power_w"], rel=0.05, abs=0.6)
    assert str(values["pool_url"]).removeprefix("stratum+tcp://") == truth["pools"][0][0].removeprefix("stratum+tcp://")
    assert values["pool_user"] == truth["pools"][0][1]


@pytest.mark.parametrize("dialect", NAMES)
def test_it_says_who_it_is(twin: Twin, dialect: str) -> None:
    miner = of(twin, dialect)
    values = read(twin, miner, Tier.DAILY)
    named = {name: values.get(name) for name in ("model", "serial", "mac")}
    assert any(isinstance(found, str) for found in named.values()), named
    if isinstance(named["mac"], str):
        assert named["mac"].lower().replace(":", "") == miner["mac"].lower().replace(":", "")
    if isinstance(named["serial"], str):
        assert named["serial"] == miner["serial"]


@pytest.mark.parametrize("dialect", NAMES)
def test_it_sleeps_and_wakes_and_its_readings_say_so(twin: Twin, dialect: str) -> None:
    miner = of(twin, dialect, 1)
    before = twin.truth(miner["device"])["power_w"]
    assert isinstance(ask(twin, miner, Sleep()), Accepted)
    truth = twin.until(miner["device"], "hashrate_hs", 0.0)
    time.sleep(0.3)
    truth = twin.truth(miner["device"])
    assert truth["power_w"] < max(0.1 * before, 6.0)
    values = read(twin, miner)
    assert values["state"] == "asleep"
    if not isinstance(values["power_w"], Missing):
        assert values["power_w"] == pytest.approx(truth["power_w"], abs=6)
    assert isinstance(ask(twin, miner, Wake()), Accepted)
    assert twin.until(miner["device"], "state", "hashing", 20)["power_w"] == pytest.approx(before, rel=0.05)


@pytest.mark.parametrize("dialect", NAMES)
def test_a_power_target_is_met_where_the_firmware_has_one(twin: Twin, dialect: str) -> None:
    miner = of(twin, dialect, 2)
    before = twin.truth(miner["device"])
    wanted = 0.75 * before["nominal_w"]
    receipt = ask(twin, miner, PowerTarget(wanted))
    if "PowerTarget" not in DIALECTS[dialect].supports():
        assert isinstance(receipt, Unsupported)
        return
    if isinstance(receipt, Refused):
        pytest.fail(str(receipt))
    assert isinstance(receipt, Accepted)
    twin.until(miner["device"], "state", "hashing", 20)
    power_w = twin.truth(miner["device"])["power_w"]
    assert 0.8 * wanted < power_w < 1.08 * wanted, "at most the target, within the unit's spread and the steps offered"


@pytest.mark.parametrize(
    ("dialect", "mode", "share"),
    [("whatsminer", "low", 0.78), ("whatsminer_v3", "low", 0.78), ("luxos", "365MHz", 1533 / 2794),
     ("vnish", "2550", 2550 / 3610), ("avalon", "eco", 0.62), ("auradine", "eco", 0.7)],
)  # fmt: skip
def test_a_mode_is_taken(twin: Twin, dialect: str, mode: str, share: float) -> None:
    miner = of(twin, dialect, 0)
    assert isinstance(ask(twin, miner, SetMode(mode)), Accepted)
    truth = twin.until(miner["device"], "state", "hashing", 20)
    assert truth["want_w"] == pytest.approx(share * truth["nominal_w"], rel=0.01)


def test_a_whatsminer_of_the_first_api_sleeps_and_has_no_percent(tmp_path: Path) -> None:
    with running_twin(tmp_path, miners=1, models={"whatsminer-m30s-v1": 1}, pace=3000.0) as old:
        miner = old.miners[0]
        assert read(old, miner)["state"] == "hashing"
        assert isinstance(ask(old, miner, Sleep()), Accepted)
        old.until(miner["device"], "hashrate_hs", 0.0)
        assert read(old, miner, Tier.FAST)["state"] == "asleep"
        assert isinstance(ask(old, miner, PowerPercent(70.0)), Refused | Unsupported)
        assert isinstance(ask(old, miner, Wake()), Accepted)
        old.until(miner["device"], "state", "hashing")


@pytest.mark.parametrize("dialect", NAMES)
def test_locate_pools_and_reboot(twin: Twin, dialect: str) -> None:
    miner = of(twin, dialect, 1)
    able = DIALECTS[dialect].supports()
    if "Locate" in able:
        assert isinstance(ask(twin, miner, Locate(True)), Accepted)
        assert twin.truth(miner["device"])["locating"] is True
    if "SetPools" in able:
        pools = tuple(Pool(f"stratum+tcp://{name}.invalid:3333", "hub2.worker") for name in ("other", "behind"))
        assert isinstance(ask(twin, miner, SetPools(pools)), Accepted)
        read_once_it_listens(twin, miner)
    if "Reboot" in able:
        assert isinstance(ask(twin, miner, Reboot()), Accepted)
        twin.until(miner["device"], "board_up", True, 20)
        twin.until(miner["device"], "state", "hashing", 20)
    if "SetPools" in able:
        assert twin.truth(miner["device"])["pools"] == [[pool.url, pool.user] for pool in pools]
        reported = Reading(miner["device"], "miner", 1, read_once_it_listens(twin, miner))
        assert [(host_of(url), user) for url, user in pools_of(reported)] == [
            (host_of(one.url), one.user) for one in pools
        ]


@pytest.mark.parametrize("dialect", sorted(set(NAMES) - {"avalon", "bitaxe"}))
def test_a_wrong_password_changes_nothing(twin: Twin, dialect: str) -> None:
    miner = of(twin, dialect, 2)
    port = port_of(twin, miner)
    port.access.password = "wrong"
    receipt = asyncio.run(port.carry_out(Sleep(), 10.0))
    if dialect == "luxos":
        assert isinstance(receipt, Accepted), "LuxOS sessions carry no password"
        return
    assert isinstance(receipt, Refused), receipt
    assert twin.truth(miner["device"])["asleep"] is False


@pytest.mark.parametrize(
    ("dialect", "who"),
    [
        ("luxos", "LuxOS advanced thermal management"),
        ("braiins", "Braiins dynamic performance scaling"),
        ("vnish", "VNish preset switcher"),
    ],
)
def test_a_schedule_of_the_device_is_reported_while_it_is_on(twin: Twin, dialect: str, who: str) -> None:
    miner = of(twin, dialect)

    def hands() -> list[str]:
        reported = reported_schedules(asyncio.run(port_of(twin, miner).read(Tier.SLOW)))
        assert reported is not None
        return [hand.who for hand in reported]

    assert hands() == []
    twin.fault({"device": miner["device"], "faults": ["own_schedule"]})
    try:
        assert hands() == [who]
    finally:
        twin.fault({"device": miner["device"], "faults": []})
    assert hands() == []


@pytest.mark.parametrize("dialect", ["antminer", "whatsminer", "avalon", "bitaxe"])
def test_a_firmware_without_schedules_says_nothing_of_them(twin: Twin, dialect: str) -> None:
    found = read(twin, of(twin, dialect))["schedules_json"]
    assert isinstance(found, Missing) and found.reason is Absence.UNSUPPORTED
