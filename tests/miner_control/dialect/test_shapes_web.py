# SPDX-License-Identifier: Apache-2.0
"""Shapes of the firmwares that speak HTTP: VNish, ePIC, Bitaxe and its relatives, the Braiins OS with its REST interface.

The shapes are those that makers describe and users show, of several releases and states; the figures are ours.
"""

import json
from typing import Any

import pytest

from kernel.errors import DecodeError, TransportError
from kernel.reading import Absence, Missing
from kernel.receipt import Accepted, Refused, Unsupported
from miner_control.dialect import DIALECTS
from miner_control.fleet.command import Locate, Pool, PowerTarget, SetMode, SetPools, Sleep
from miner_control.fleet.driver import Answer
from telemetry.collect.source import Tier
from tests.miner_control.dialect import fixtures_more
from tests.miner_control.dialect.fixtures_families import axeos, bosminer, doors, nerdqaxe, nmaxe, vnish_1_2_0
from tests.miner_control.dialect.play import Play, body_of


def decode(dialect: str, answers: dict[str, Any], tier: Tier = Tier.DAILY) -> dict[str, Any]:
    found: dict[str, Any] = DIALECTS[dialect].decode(answers, tier)  # type: ignore[attr-defined]
    return found


def missing(values: dict[str, Any], metric: str) -> Absence | None:
    found = values[metric]
    return found.reason if isinstance(found, Missing) else None


# --- VNish ------------------------------------------------------------------------------------------------------------


def test_vnish_1_2_0_as_it_was() -> None:
    values = decode("vnish", vnish_1_2_0())
    assert (values["hashrate_hs"], values["state"], values["uptime_s"]) == (pytest.approx(92.75e12), "hashing", 6400)
    assert (values["power_w"], values["power_source"]) == (3650, "estimate")
    assert (values["temp_board_max_c"], values["temp_chip_max_c"]) == (44, 59), "a sensor in doubt measures nothing"
    assert (values["fan_min_rpm"], values["fan_max_rpm"], values["fan_duty_pct"]) == (5000, 6300, 100)
    assert (values["boards_hashing"], values["voltage_v"], values["frequency_hz"]) == (3, pytest.approx(13.9), 670e6)
    assert (values["mac"], values["model"], values["firmware"]) == (
        "4E:00:00:00:00:01", "Antminer S19", "Vnish 1.2.0-beta10",
    )  # fmt: skip
    assert missing(values, "hashrate_nominal_hs") is Absence.NOT_REPORTED
    board = json.loads(values["boards_json"])[0]
    assert (board["hashrate_hs"], board["power_w"], board["temps_board_c"]) == (31_001e9, 1201, [41])


def test_vnish_works_for_the_pool_that_is_active() -> None:
    values = decode("vnish", vnish_1_2_0())
    assert values["pool_url"] == "pool.example:334" and values["shares_accepted"] == 150
    assert [(pool["active"], pool["state"]) for pool in json.loads(values["pools_json"])] == [
        (False, "alive"), (True, "alive"), (False, "dead"),
    ]  # fmt: skip
    assert decode("vnish", vnish_1_2_0(pools=[]))["state"] == "hashing"


def test_vnish_that_cannot_read_its_configuration() -> None:
    """A failure before the boards are known: nothing is zero that is only unknown, and no serial number is `N/A`."""
    zero = {"min": 0, "max": 0}
    status = {
        "miner_state": "failure",
        "miner_state_time": 1,
        "description": "Configuration not readable",
        "failure_code": 1001,
    }
    miner = {
        "miner_status": status, "miner_type": "Antminer S19 (Vnish 1.2.6)", "hr_stock": 0.0, "hr_realtime": 0.0,
        "hr_nominal": 0.0, "hr_average": 0.0, "instant_hashrate": 0.0, "pcb_temp": zero, "chip_temp": zero, "pools": [],
        "power_consumption": 0, "power_usage": 0, "chains": [], "cooling": {"fan_num": 0, "fans": [], "fan_duty": 0},
    }  # fmt: skip
    info = {"fw_name": "Vnish", "fw_version": "1.2.6", "miner": "Antminer S19", "hr_measure": "GH/s", "serial": "N/A"}
    model = {"chain": {"chips_per_chain": 76, "num_chains": 3}}
    values = decode("vnish", {"summary": {"miner": miner}, "info": info, "model": model})
    assert (values["state"], values["error_text"]) == ("fault", "1001 Configuration not readable")
    for metric in ("hashrate_nominal_hs", "temp_board_max_c", "temp_chip_max_c"):
        assert missing(values, metric) is Absence.SENTINEL
    for metric in ("serial", "fan_min_rpm", "boards_hashing", "boards_json", "pool_url", "pools_json"):
        assert missing(values, metric) is Absence.NOT_REPORTED
    assert (values["boards_expected"], values["chips_expected"]) == (3, 228)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({"miner_state": "initializing", "miner_state_time": 0}, "ramping"),
        ({"miner_state": "stopped", "miner_state_time": 0}, "asleep"),
        ({"miner_state": "failure", "failure_code": 3, "description": "no boards"}, "fault"),
        (None, "unknown"),
    ],
)
def test_vnish_without_a_miner_is_asked_for_its_status(status: Any, state: str) -> None:
    table = {"GET /api/v1/summary": {"miner": None}, **({"GET /api/v1/status": status} if status else {})}
    assert Play("vnish", table).read(Tier.FAST)["state"] == state


def test_vnish_counts_in_the_unit_of_its_algorithm_in_every_poll() -> None:
    """A Scrypt miner tells megahashes, and says so once a day only."""
    shape = fixtures_more.vnish(rate_ghs=9_300.0)
    shape["summary"]["miner"] |= {"hr_nominal": 9_500.0}
    shape["info"]["hr_measure"] = "MH/s"
    play = Play("vnish", {f"GET /api/v1/{name.replace('_', '-')}": answer for name, answer in shape.items()})
    daily, fast = play.read(Tier.DAILY), play.read(Tier.FAST)
    assert daily["hashrate_hs"] == fast["hashrate_hs"] == pytest.approx(9.3e9)
    assert json.loads(daily["boards_json"])[0]["hashrate_hs"] == pytest.approx(3.1e9)


def vnish(**answers: Any) -> Play:
    return Play(
        "vnish", {"POST /api/v1/unlock": {"token": "t"}, **{f"POST /api/v1/{n}": a for n, a in answers.items()}}
    )


def test_vnish_success_is_what_the_answer_says() -> None:
    assert vnish(**{"mining/stop": {"success": False}}).carry_out(Sleep()) == Refused("200", "no success")
    assert vnish(**{"mining/stop": {"err": "busy"}}).carry_out(Sleep()) == Refused("200", "busy")
    assert vnish(**{"mining/stop": {"success": True}}).carry_out(Sleep()) == Accepted('{"success":true}')
    assert vnish(**{"mining/stop": b""}).carry_out(Sleep()) == Accepted("")
    assert vnish(settings=b"").carry_out(SetMode("2950")) == Accepted(""), "nothing to say is nothing to restart for"


def test_vnish_presets_in_an_object() -> None:
    listed = [
        {"name": "disabled", "pretty": "Disabled", "status": "untuned", "modded_psu_required": False},
        {"name": "2350", "pretty": "2350 watt ~ 85 TH", "status": "tuned", "modded_psu_required": False},
        {"name": "2620", "pretty": "2620 watt ~ 91 TH", "status": "tuned", "modded_psu_required": True},
    ]
    play = vnish(settings={"restart_required": False, "reboot_required": False})
    play.table["GET /api/v1/autotune/presets"] = {"presets": listed}
    assert isinstance(play.carry_out(PowerTarget(3000)), Accepted)
    assert json.loads(bytes(play.writes()[0].body))["miner"]["overclock"]["preset"] == "2350"  # type: ignore[union-attr]


def test_vnish_that_sleeps_takes_a_setting_up_when_it_wakes() -> None:
    done = {"POST /api/v1/unlock": {"token": "t"}, "POST /api/v1/settings": {"restart_required": True}}
    done |= {"POST /api/v1/mining/restart": Answer(b"", 200), "GET /api/v1/status": {"miner_state": "stopped"}}
    pools = SetPools((Pool("stratum+tcp://a.example:1", "acct.w"),))
    play = Play("vnish", done)
    assert isinstance(play.carry_out(pools), Accepted) and len(play.writes()) == 1
    play = Play("vnish", done | {"GET /api/v1/status": {"miner_state": "mining"}})
    assert isinstance(play.carry_out(pools), Accepted) and len(play.writes()) == 2


def test_vnish_token_that_lapsed_is_renewed_for_its_presets_too() -> None:
    said = [Answer(b"", 401), Answer(b'[{"name": "2400", "pretty": "2400 watt", "status": "tuned"}]', 200)]
    done = {"POST /api/v1/unlock": {"token": "t"}, "POST /api/v1/settings": {"restart_required": False}}
    play = Play("vnish", done | {"GET /api/v1/autotune/presets": lambda request: said.pop(0)})
    assert isinstance(play.carry_out(PowerTarget(2500.0)), Accepted) and not said
    play = Play("vnish", done | {"GET /api/v1/autotune/presets": Answer(b'{"err": "locked"}', 401)})
    assert play.carry_out(PowerTarget(2500.0)) == Refused("401", "locked")


# --- Bitaxe and its relatives -----------------------------------------------------------------------------------------


def test_axeos_claims_no_fan_and_no_sensor_that_is_not_there() -> None:
    values = decode("bitaxe", axeos())
    assert (values["fan_min_rpm"], values["fan_max_rpm"], values["fan_duty_pct"]) == (3915, 3915, 48.4)
    assert (values["temp_chip_max_c"], values["temp_board_max_c"]) == (60.1, 62)
    assert (values["chips_expected"], values["chips_hashing"], values["hw_errors"]) == (1, 1, 1415)
    assert decode("bitaxe", axeos(fanrpm=0))["fan_min_rpm"] == 0, "the fan that is there stands still"
    assert decode("bitaxe", axeos(fan2rpm=3800))["fan_min_rpm"] == 3800
    dead = axeos(hashrateMonitor={"asics": [{"total": 0, "errorCount": 3}, {"total": 900.5, "errorCount": 4}]})
    assert [decode("bitaxe", dead)[name] for name in ("chips_expected", "chips_hashing", "hw_errors")] == [2, 1, 7]


def test_axeos_of_other_makers_and_other_years() -> None:
    fork = decode("bitaxe", axeos(voltage=12.1, serialnumber="ACS1", autotune=1, autotune_preset="balance"))
    assert (fork["voltage_v"], fork["serial"], fork["mode"]) == (12.1, "ACS1", "balance")
    early = axeos(MACAddr="10:F5:00:00:00:02", macAddr=None, autotune=0, autotune_preset="balance")
    values = decode("bitaxe", early)
    assert values["mac"] == "10:F5:00:00:00:02"
    assert (missing(values, "serial"), missing(values, "mode")) == (Absence.UNSUPPORTED, Absence.NOT_REPORTED)


def test_axeos_tells_the_pool_that_it_works_for() -> None:
    values = decode("bitaxe", axeos())
    assert (values["pool_url"], values["pool_user"]) == ("stratum+ssl://b.example:4333", "acct.b")
    assert values["pool_state"] == "alive" and values["shares_accepted"] == 4700
    standing = json.loads(values["pools_json"])[0]
    assert (standing["url"], standing["state"], standing["accepted"]) == ("stratum+tcp://a.example:21496", None, None)
    assert decode("bitaxe", axeos(poolConnectionInfo="Not Connected"))["pool_state"] == "dead"
    schemed = axeos(isUsingFallbackStratum=0, stratumURL="stratum+tcp://a.example")
    assert decode("bitaxe", schemed)["pool_url"] == "stratum+tcp://a.example:21496"
    whole = axeos(isUsingFallbackStratum=0, stratumURL="stratum+tcp://a.example:3333/x")
    assert decode("bitaxe", whole)["pool_url"] == "stratum+tcp://a.example:3333/x"


def test_nerdqaxe_reports_its_pools_in_a_list() -> None:
    one = {"connected": True, "accepted": 9, "rejected": 1}
    values = decode(
        "bitaxe", nerdqaxe({"active": False, "connected": False}, {"active": True, **one}, usingFallback=True)
    )
    assert (values["pool_url"], values["pool_state"]) == ("stratum+ssl://b.example:4333", "alive")
    earlier = decode("bitaxe", nerdqaxe(one, usingFallback=True))
    assert (earlier["pool_url"], earlier["pool_state"]) == (values["pool_url"], "alive"), "one entry is the one in use"
    lost = decode("bitaxe", nerdqaxe({"active": True, "connected": False}, {"active": False, "connected": False}))
    assert (lost["pool_url"], lost["pool_state"]) == ("stratum+tcp://a.example:21496", "dead")
    before_lists = nerdqaxe()
    before_lists["system_info"] |= {"stratum": None, "isUsingFallbackStratum": False, "isStratumConnected": False}
    assert decode("bitaxe", before_lists)["pool_state"] == "dead"
    both = decode("bitaxe", nerdqaxe({"active": True, **one}, {"active": True, **one, "accepted": 4}))
    assert [pool["accepted"] for pool in json.loads(both["pools_json"])] == [9, 4]


def test_nmaxe_says_the_same_in_groups() -> None:
    values = decode("bitaxe", nmaxe())
    assert (values["hashrate_hs"], values["hashrate_window_s"], values["state"]) == (720.5e9, 180, "hashing")
    assert (values["power_w"], values["voltage_v"], values["frequency_hz"]) == (12.5, 5.01, 490e6)
    assert (values["temp_chip_max_c"], values["temp_board_max_c"], values["uptime_s"]) == (62.7, 45.2, 86_400)
    assert (values["fan_min_rpm"], values["fan_duty_pct"], values["model"]) == (2800, 60, "NMAxe")
    assert (values["pool_url"], values["shares_accepted"]) == ("stratum+tcp://pool.example:3333", 1024)
    assert "hidden" not in json.dumps([value for value in values.values() if isinstance(value, str)])


@pytest.mark.parametrize(
    "answer", [{"message": "busy"}, {"miner": {}}, b"<html><script>var a = {};</script></html>", b"{", b"[]"]
)
def test_a_page_that_is_no_answer_is_a_decode_error(answer: Any) -> None:
    with pytest.raises(DecodeError):
        Play("bitaxe", {"GET /api/system/info": answer}).read()


def test_axeos_before_the_pause_leads_back_to_its_front_page() -> None:
    moved = Answer(b"Redirect to the captive portal", 302)
    play = Play("bitaxe", {"POST /api/system/pause": moved})
    assert isinstance(play.carry_out(Sleep()), Unsupported)


def test_axeos_blinks_on_whatever_it_did_before() -> None:
    said = [{"message": 'The device no longer says "Hi!".'}, {"message": 'The device says "Hi!" for 30 seconds.'}]
    play = Play("bitaxe", {"POST /api/system/identify": lambda request: said.pop(0)})
    assert isinstance(play.carry_out(Locate(True)), Accepted) and not said


def saves(**info: Any) -> Play:
    done = Answer(b"", 200)
    pages = {"PATCH /api/system": done, "POST /api/system/restart": done}
    return Play("bitaxe", pages | {"GET /api/system/info": axeos(**info)["system_info"]})


def test_axeos_pools_are_saved_and_come_into_use_by_a_restart() -> None:
    first, second = (
        Pool("stratum+tcp://new.example:3334", "acct.w9", "pw"),
        Pool("stratum+ssl://b.example:443", "acct.b"),
    )
    play = saves(fallbackStratumTLS=2)
    assert isinstance(play.carry_out(SetPools((first, second))), Accepted)
    saved, _ = play.writes()
    assert body_of(saved) == {
        "stratumURL": "new.example", "stratumPort": 3334, "stratumUser": "acct.w9", "stratumPassword": "pw", "stratumTLS": 0,
        "fallbackStratumURL": "b.example", "fallbackStratumPort": 443, "fallbackStratumUser": "acct.b",
        "fallbackStratumPassword": "x", "fallbackStratumTLS": 2,
    }  # fmt: skip
    play = saves(stratumTLS=True, fallbackStratumTLS=False)
    assert isinstance(play.carry_out(SetPools((first,))), Accepted)
    body = body_of(play.writes()[0])
    assert (body["fallbackStratumURL"], body["stratumTLS"]) == ("new.example", False), "none but the one that is wanted"
    both = axeos(**{name: value for name, value in body.items() if name in axeos()["system_info"]})
    reported = json.loads(decode("bitaxe", both)["pools_json"])
    assert [(pool["url"], pool["user"]) for pool in reported] == [(first.url, first.user)], "and it tells one"


def test_axeos_refuses_pools_that_it_cannot_keep() -> None:
    tls = Pool("stratum+tls://b.example:443", "acct.b")
    play = saves(stratumTLS=None)
    assert isinstance(play.carry_out(SetPools((tls,))), Unsupported)
    assert isinstance(play.carry_out(SetPools((tls, tls, tls))), Refused) and not play.writes()
    play.table["PATCH /api/system"] = Answer(b"bad", 400)
    plain = Pool("stratum+tcp://new.example:3334", "acct.w9")
    assert play.carry_out(SetPools((plain,))) == Refused("400", "bad") and len(play.writes()) == 1


# --- ePIC -------------------------------------------------------------------------------------------------------------


def epic(*args: Any, **supply: Any) -> dict[str, Any]:
    shape = fixtures_more.epic(*args)
    shape["summary"]["Power Supply Stats"] |= supply
    return shape


def over_http(shape: dict[str, Any]) -> Play:
    return Play("epic", {f"GET /{name.replace('chip_temps', 'temps/chip')}": answer for name, answer in shape.items()})


def test_epic_supply_that_meters_nothing_else_estimates_its_watts() -> None:
    assert decode("epic", epic())["power_source"] == "estimate"
    assert decode("epic", epic(**{"Input Voltage": 229.5, "Input Current": 14.4}))["power_source"] == "psu"
    shape = epic()
    shape["capabilities"]["Psu Info"] = {"PSU Type": 118, "True Power": True}
    play = over_http(shape)
    assert [play.read(tier)["power_source"] for tier in (Tier.DAILY, Tier.FAST)] == ["psu", "psu"]
    shape["capabilities"]["Psu Info"]["True Power"] = False
    metered = epic(**{"Input Voltage": 229.5, "Input Current": 14.4})
    assert decode("epic", metered | {"capabilities": shape["capabilities"]})["power_source"] == "estimate"


def test_epic_sensors_are_where_the_board_has_them() -> None:
    shape = epic() | {"chip_temps": [{"Index": 0, "Data": [71.5, 0.0]}, {"Index": 1, "Data": []}]}
    play = over_http(shape)
    values = play.read(Tier.SLOW)
    assert (values["temp_board_max_c"], values["temp_chip_max_c"]) == (63.5, 71.5)
    shape["capabilities"]["Temp Sensor Info"] = {"Type": "Chip", "Count": 2}
    play = over_http(shape)
    for tier in (Tier.DAILY, Tier.FAST):
        values = play.read(tier)
        assert missing(values, "temp_board_max_c") is Absence.UNSUPPORTED
        assert values["temp_chip_max_c"] == (71.5 if tier is Tier.DAILY else 62)


@pytest.mark.parametrize("name", ["Power", "PowerTune"])
def test_epic_holds_a_power_by_either_name(name: str) -> None:
    shape = epic()
    shape["summary"]["PerpetualTune"]["Algorithm"] = {name: {"Target": 2750, "Unit": "W", "Optimized": True}}
    values = decode("epic", shape)
    assert (values["power_limit_w"], values["mode"]) == (2750, f"{name} 2750 W")
    shape["capabilities"]["PerpetualTune"] = [{"algorithm": "VoltageOptimizer"}, {"algorithm": name}]
    play = over_http(shape)
    play.table["POST /perpetualtune/algo"] = {"result": True}
    assert isinstance(play.carry_out(PowerTarget(2400)), Accepted)
    assert json.loads(bytes(play.writes()[0].body))["param"] == {"algo": name, "target": 2400}  # type: ignore[union-attr]


def test_epic_idles_by_its_own_hours() -> None:
    shape = epic("Idling", 0.0)
    shape["summary"]["Stratum"]["IsPoolConnected"] = False
    assert decode("epic", shape)["state"] == "stopped"
    shape["summary"]["Scheduler"] = {
        "Enable": True,
        "CurrentIdlePeriod": ["Mon", {"StartTime": "04:03", "EndTime": "12:37"}],
    }
    values = decode("epic", shape)
    assert values["state"] == "asleep" and json.loads(values["schedules_json"])["schedule"]["enabled"] is True
    assert missing(decode("epic", epic()), "schedules_json") is Absence.UNSUPPORTED


@pytest.mark.parametrize(
    ("state", "rate", "last", "error", "meant", "text"),
    [
        ("Testing", 0.0, None, None, "ramping", ""), ("SoftRebooting", 0.0, "Stop", None, "ramping", ""),
        ("UpdatingFirmware", 0.0, None, None, "ramping", ""), ("Stopping", 48e6, "Stop", None, "hashing", ""),
        ("Mining", 0.0, None, {"NoSolutionForHbs": [1, 2]}, "fault", "NoSolutionForHbs [1, 2]"),
        ("Idling", 0.0, None, "NoHashboardsConnected", "fault", "NoHashboardsConnected"),
        ("Idling", 0.0, "Autostart", {"ShutdownTempReached": [1, 88.5]}, "fault", "ShutdownTempReached [1, 88.5]"),
    ],
)  # fmt: skip
def test_epic_operating_states(state: str, rate: float, last: str | None, error: Any, meant: str, text: str) -> None:
    values = decode("epic", epic(state, rate, last, error))
    assert (values["state"], values["error_text"]) == (meant, text)


def test_epic_pools_keep_their_order_whichever_is_in_use() -> None:
    shape = epic()
    shape["summary"]["Stratum"] = {"Current Pool": "b.example:443", "Current User": "acct.b", "IsPoolConnected": True}
    configured = [("stratum+tcp://a.example:3333", "acct.a"), ("stratum+ssl://b.example:443", "acct.other"),
                  ("stratum+ssl://b.example:443", "acct.b")]  # fmt: skip
    shape["summary"]["StratumConfigs"] = [{"pool": pool, "login": login} for pool, login in configured]
    values = decode("epic", shape)
    reported = json.loads(values["pools_json"])
    assert [(pool["url"], pool["user"]) for pool in reported] == configured
    assert [pool["active"] for pool in reported] == [False, False, True]
    assert (values["pool_url"], values["pool_user"]) == ("stratum+ssl://b.example:443", "acct.b")
    shape["summary"]["StratumConfigs"] = configured[:0]
    assert decode("epic", shape)["pool_url"] == "b.example:443", "told by itself"


def test_epic_refusal_carries_its_reason() -> None:
    play = Play("epic", {"POST /miner": {"result": False, "error": {"LastCmdStillPending": "Stop"}}})
    assert play.carry_out(Sleep()) == Refused("result", "LastCmdStillPending Stop")


# --- Doors that stay closed -------------------------------------------------------------------------------------------


PAGES = [name for name, play in doors().items() if any(key.startswith("GET ") for key in play.table)]


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("tier", list(Tier))
def test_pages_that_do_not_let_us_in_say_so(name: str, tier: Tier) -> None:
    play = doors()[name]
    play.table = dict.fromkeys(play.table, Answer(b'{"error": "unauthorized"}', 401))
    with pytest.raises(TransportError) as found:
        play.read(tier)
    assert found.value.reason is Absence.REFUSED and "status 401" in str(found.value)


def test_braiins_whose_password_is_wrong_is_not_taken_for_an_old_one() -> None:
    locked = {
        "GET /api/v1/miner/stats": Answer(b"", 401),
        "POST /api/v1/auth/login": Answer(b'{"message": "wrong"}', 401),
    }
    play = Play("braiins", bosminer() | locked)
    assert play.read(Tier.SLOW)["state"] == "hashing", "what the other port tells beside is read"
    assert play.carry_out(Sleep()) == Refused("401", "wrong")
