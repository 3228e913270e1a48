# SPDX-License-Identifier: Apache-2.0
"""Shapes that other versions and other states of the same firmwares show: starting, overheated, hydro, older, newer."""

from typing import Any

import pytest

from kernel.reading import Absence, Missing
from miner_control.dialect import DIALECTS
from miner_control.dialect.cgminer import documents, parse
from telemetry.collect.source import Tier
from tests.miner_control.dialect import fixtures, fixtures_more


def decode(dialect: str, answers: dict[str, Any], tier: Tier = Tier.DAILY) -> dict[str, Any]:
    found: dict[str, Any] = DIALECTS[dialect].decode(answers, tier)  # type: ignore[attr-defined]
    return found


def missing(found: Any, reason: Absence) -> bool:
    return isinstance(found, Missing) and found.reason is reason


# --- Antminer ---------------------------------------------------------------------------------------------------------


def test_antminer_cgi_shape() -> None:
    values = decode("antminer", fixtures.antminer_cgi(120.5))
    assert values["hashrate_hs"] == pytest.approx(120.5e12) and values["hashrate_nominal_hs"] == pytest.approx(120.5e12)
    assert (values["temp_board_max_c"], values["temp_chip_max_c"]) == (56.0, 71.0)
    assert (values["fan_min_rpm"], values["fan_max_rpm"]) == (3000, 3120)
    assert (values["boards_hashing"], values["chips_hashing"], values["mode"]) == (2.0, 8, "normal")
    assert (
        values["pool_state"] == "alive"
        and values["error_text"] == "fans 2 fan lost"
        and values["model"] == "Antminer S21"
    )


def test_antminer_rates_in_any_unit() -> None:
    assert decode("antminer", fixtures.antminer_cgi(120_500.0, "GH/s"))["hashrate_hs"] == pytest.approx(120.5e12)
    assert decode("antminer", fixtures.antminer_cgi(120.5e6, "MH/s"))["hashrate_hs"] == pytest.approx(120.5e12)


def test_antminer_watts_and_mode_of_newer_models() -> None:
    values = decode("antminer", fixtures.antminer_cgi(200.0, watt=3500))
    assert (values["power_w"], values["power_source"]) == (3500, "estimate")
    assert missing(decode("antminer", fixtures.antminer())["power_w"], Absence.UNSUPPORTED)


def test_antminer_asleep_over_the_cgi() -> None:
    shape = fixtures.antminer_cgi(0.0, mode=1, watt=15)
    for board in shape["stats"]["STATS"][0]["chain"]:
        board |= {"rate_real": 0, "temp_pcb": [0, 0, 0, 0], "temp_chip": [0, 0, 0, 0]}
    values = decode("antminer", shape)
    assert (values["state"], values["mode"], values["power_w"]) == ("asleep", "sleep", 15)
    assert missing(values["temp_chip_max_c"], Absence.SENTINEL)


def test_antminer_overheated_is_a_fault_with_its_text() -> None:
    shape = fixtures.antminer_cgi(0.0, elapsed=120)
    shape["summary"]["SUMMARY"][0]["status"] = [{"type": "temp", "status": "e", "code": 4, "msg": "over max temp"}]
    values = decode("antminer", shape)
    assert values["state"] == "fault", "said by the miner, however young it is"
    assert values["error_text"] == "temp 4 over max temp"


def test_antminer_hydro_has_water_and_no_fans() -> None:
    shape = fixtures.antminer_cgi(250.0, fan_num=0, fan=[])
    shape["stats"]["STATS"][0]["chain"][0] |= {"inlet_temp": 31.0, "outlet_temp": 44.5}
    values = decode("antminer", shape)
    assert missing(values["fan_min_rpm"], Absence.NOT_APPLICABLE)
    assert (values["temp_inlet_c"], values["temp_outlet_c"]) == (31.0, 44.5)


def test_antminer_below_zero_and_odd_temperatures() -> None:
    values = decode(
        "antminer", fixtures.antminer(temp_pcb1="-5--3-20", temp_pcb2="x", temp_pcb3=41, temp_chip1=["55", 60])
    )
    assert values["temp_board_max_c"] == 41 and values["temp_chip_max_c"] == 74


def test_antminer_of_old_counts_chains_from_six_and_fans_anywhere() -> None:
    shape = fixtures.antminer()
    numbers = {
        "Elapsed": 9000,
        "GHS 5s": "13500.12",
        "GHS av": 13400.0,
        "fan_num": 2,
        "fan1": 0,
        "fan2": 0,
        "fan3": 5880,
        "fan6": 4320,
        "chain_acn6": 63,
        "chain_acn7": 63,
        "chain_acn8": 63,
        "chain_rate6": "4500.0",
        "chain_rate7": "4500.0",
        "chain_rate8": "4500.1",
        "temp6": 60,
        "temp7": 62,
        "temp8": 61,
        "temp2_6": 75,
        "temp2_7": 77,
        "temp2_8": 76,
        "freq_avg6": 650.0,
    }
    shape["stats"]["STATS"] = [{"Type": "Antminer S9"}, numbers]
    values = decode("antminer", shape)
    assert (values["hashrate_hs"], values["boards_hashing"]) == (13_500.12e9, 3)
    assert (values["fan_min_rpm"], values["fan_max_rpm"]) == (4320, 5880)
    assert (values["temp_board_max_c"], values["temp_chip_max_c"]) == (62, 77)


def test_antminer_fan_that_stands_still_is_seen() -> None:
    assert decode("antminer", fixtures.antminer(fan2=0))["fan_min_rpm"] == 0


def test_antminer_starts() -> None:
    assert decode("antminer", fixtures.antminer(0.0, elapsed=200))["state"] == "ramping"


# --- Whatsminer -------------------------------------------------------------------------------------------------------


def test_whatsminer_v1_off() -> None:
    off = {"STATUS": "S", "Code": 131, "Msg": {"btmineroff": "true", "Firmware Version": "'20220919.15.REL'"}}
    refused = {"STATUS": [{"STATUS": "E", "Code": 14, "Msg": "btminer is off"}]}
    values = decode("whatsminer", {"summary": refused, "status": off})
    assert values["state"] == "asleep" and values["firmware"] == "20220919.15.REL"
    assert missing(values["power_w"], Absence.NOT_REPORTED)


def test_whatsminer_off_while_its_five_minute_mean_still_stands() -> None:
    shape = fixtures.whatsminer(90e6, 12)
    summary = shape["summary"]["SUMMARY"][0]
    for key in ("MHS 5s", "MHS 1m"):
        del summary[key]
    assert decode("whatsminer", shape)["state"] == "hashing", "nobody says that it is off"
    shape["status"]["Msg"]["mineroff"] = "true"
    assert decode("whatsminer", shape)["state"] == "asleep"
    summary["Power"] = 3300
    assert decode("whatsminer", shape)["state"] == "hashing", "off without effect"


def test_whatsminer_climbs() -> None:
    assert decode("whatsminer", fixtures.whatsminer(50e6, 2000, **{"Hash Stable": False}))["state"] == "ramping"


def test_whatsminer_overheated() -> None:
    values = decode("whatsminer", fixtures.whatsminer(0.0, 60, **{"Error Code Count": 1, "Error Code 0": 351}))
    assert values["state"] == "fault" and values["error_text"] == "351 board 1 protects itself: too hot"


def test_whatsminer_hydro() -> None:
    values = decode(
        "whatsminer", fixtures.whatsminer(**{"Liquid Cooling": True, "Fan Speed In": 0, "Fan Speed Out": 0})
    )
    assert missing(values["fan_max_rpm"], Absence.NOT_APPLICABLE)


# --- LuxOS, Braiins, VNish --------------------------------------------------------------------------------------------


def test_luxos_states() -> None:
    assert decode("luxos", fixtures_more.luxos(30_000.0, ramping=True))["state"] == "ramping"
    assert decode("luxos", fixtures_more.luxos(0.0, ramping=True))["state"] == "ramping"
    assert decode("luxos", fixtures_more.luxos(0.0, SystemStatus="Initializing"))["state"] == "ramping"
    hot = decode("luxos", fixtures_more.luxos(0.0, SystemStatus="Overheated"))
    assert hot["state"] == "fault" and hot["error_text"] == "system Overheated"
    assert decode("luxos", fixtures_more.luxos(60_000.0, "Sleep"))["state"] == "hashing", "curtailed without effect"
    assert decode("luxos", fixtures_more.luxos(PowerTarget=0, ActualPowerTarget=2200))["power_limit_w"] == 2200


@pytest.mark.parametrize(
    ("status", "tuner", "rate", "meant"),
    [
        (3, 2, 0.0, "asleep"), ("MINER_STATUS_PAUSED", 2, 0.0, "asleep"), (4, 2, 0.0, "fault"), (1, 1, 0.0, "stopped"),
        (2, 3, 90_000.0, "tuning"), (2, "TUNER_STATE_TUNING", 90_000.0, "tuning"), (2, 6, 0.0, "ramping"),
        (5, 5, 90_000.0, "hashing"), (3, 2, 90_000.0, "hashing"), (2, 4, 0.0, "fault"),
    ],
)  # fmt: skip
def test_braiins_states(status: Any, tuner: Any, rate: float, meant: str) -> None:
    assert decode("braiins", fixtures_more.braiins(rate, status, tuner))["state"] == meant


def test_braiins_errors_carry_the_makers_code_and_reason() -> None:
    assert decode("braiins", fixtures_more.braiins())["error_text"] == "V2 Overcurrent protection"


@pytest.mark.parametrize(
    ("word", "rate", "meant"),
    [
        ("mining", 97_000.0, "hashing"),
        ("auto-tuning", 90_000.0, "tuning"),
        ("starting", 0.0, "ramping"),
        ("stopped", 0.0, "asleep"),
        ("failure", 0.0, "fault"),
        ("restarting", 0.0, "ramping"),
        ("mining", 0.0, "fault"),
        ("stopped", 90_000.0, "hashing"),
    ],
)
def test_vnish_states(word: str, rate: float, meant: str) -> None:
    assert decode("vnish", fixtures_more.vnish(word, rate))["state"] == meant


def test_vnish_while_it_starts_has_no_miner_object() -> None:
    values = decode("vnish", {"summary": {"miner": None}, "status": {"miner_state": "starting", "miner_state_time": 5}})
    assert values["state"] == "ramping" and missing(values["power_w"], Absence.NOT_REPORTED)


def test_vnish_names_failure_and_leaves_the_fee_pool_out() -> None:
    values = decode("vnish", fixtures_more.vnish("failure", 0.0, failure_code=4, description="board 2 lost"))
    assert values["error_text"].startswith("4 board 2 lost")
    assert decode("vnish", fixtures_more.vnish())["shares_accepted"] == 9
    assert decode("vnish", fixtures_more.vnish())["mode"] == "2900"


def test_vnish_in_terahashes() -> None:
    shape = fixtures_more.vnish(rate_ghs=97.0)
    shape["summary"]["miner"] |= {"hr_nominal": 98.0}
    del shape["info"]
    assert decode("vnish", shape)["hashrate_hs"] == pytest.approx(97e12)


# --- Avalon -----------------------------------------------------------------------------------------------------------


def test_avalon_works() -> None:
    values = decode("avalon", fixtures_more.avalon())
    assert values["hashrate_hs"] == pytest.approx(110_250.5e9) and values["hashrate_nominal_hs"] == pytest.approx(
        112e12
    )
    assert (values["power_w"], values["power_limit_w"]) == (3428, 3300)
    assert (values["temp_chip_max_c"], values["temp_inlet_c"], values["fan_duty_pct"]) == (88, 30, 80)
    assert (values["boards_hashing"], values["boards_expected"], values["chips_expected"]) == (3, 3, 300)
    assert (values["state"], values["mode"], values["model"]) == ("hashing", "normal", "AvalonMiner 1346-110")


def test_avalon_ten_leaves_its_present_rate_at_zero() -> None:
    """The A10 works with GHSspd[0.00]: the summary tells the rate; its supply has six figures."""
    values = decode("avalon", fixtures_more.avalon(now="0.00", supply="0 1228 1299 238 3086 1296", minute_mhs=51e6))
    assert (values["state"], values["hashrate_hs"], values["power_w"]) == ("hashing", 51e12, 3086)


def test_avalon_asleep_wins_over_its_decaying_means() -> None:
    values = decode("avalon", fixtures_more.asleep()["avalon"])
    assert (values["state"], values["hashrate_hs"], values["power_w"]) == ("asleep", 0.0, 11)


@pytest.mark.parametrize(
    ("work", "off", "meant"), [("In Idle", "0", "fault"), ("In Fault", "0", "fault"), ("In Init", "0", "ramping")]
)
def test_avalon_idle_without_a_command_is_no_sleep(work: str, off: str, meant: str) -> None:
    assert decode("avalon", fixtures_more.avalon("0.00", work, off, minute_mhs=0.0))["state"] == meant


def test_avalon_sensor_that_is_not_there() -> None:
    shape = fixtures_more.avalon()
    entry = shape["estats"]["STATS"][0]
    entry["MM ID0"] = entry["MM ID0"].replace("Temp[30]", "ITemp[-273] OTemp[41]")
    values = decode("avalon", shape)
    assert missing(values["temp_inlet_c"], Absence.SENTINEL) and values["temp_outlet_c"] == 41


def test_avalon_in_plain_text() -> None:
    """Older firmwares answer in text; commas within brackets part nothing."""
    stats = fixtures_more.avalon()["estats"]["STATS"][0]["MM ID0"]
    text = f"STATUS=S,When=1,Code=70,Msg=CGMiner stats|STATS=0,ID=AVA100,Elapsed=5400,MM Count=1,MM ID0={stats}|\x00"
    summary = b"STATUS=S,When=1,Code=11,Msg=Summary|SUMMARY,Elapsed=5400,MHS av=109500000.00,Accepted=80,Rejected=1|"
    values = decode("avalon", {"estats": parse(text.encode()), "summary": parse(summary)})
    assert values["hashrate_hs"] == pytest.approx(110_250.5e9) and values["shares_accepted"] == 80
    assert values["state"] == "hashing" and values["power_w"] == 3428


def test_avalon_error_bits() -> None:
    assert decode("avalon", fixtures_more.avalon(echu="0 64 0"))["error_text"] == "ECHU 1: too hot"
    assert decode("avalon", fixtures_more.avalon(echu="512 528 1"))["error_text"] == "", (
        "warnings that sound boards show"
    )
    hot = decode("avalon", fixtures_more.avalon(supply="2050 1209 1295 253 3276 1295 3428"))
    assert hot["error_text"] == "supply: over hot, fan failed"


# --- ePIC, Auradine, Bitaxe -------------------------------------------------------------------------------------------


def test_epic_states() -> None:
    assert decode("epic", fixtures_more.epic("Idling", 0.0, "Stop"))["state"] == "asleep"
    assert decode("epic", fixtures_more.epic("Idling", 0.0, connected=False))["state"] == "stopped", "its pool is gone"
    assert decode("epic", fixtures_more.epic("PreInitCooldown", 0.0))["state"] == "ramping"
    hot = decode("epic", fixtures_more.epic("Idling", 0.0, error={"ShutdownTempReached": {"board": 1}}))
    assert hot["state"] == "fault" and hot["error_text"].startswith("ShutdownTempReached")


def test_epic_password_never_leaves_the_dialect() -> None:
    assert '"p"' not in decode("epic", fixtures_more.epic())["pools_json"]


def test_epic_supply_without_a_meter() -> None:
    shape = fixtures_more.epic()
    shape["summary"]["Power Supply Stats"]["Input Power"] = 0.0
    assert missing(decode("epic", shape)["power_w"], Absence.SENTINEL)


def test_auradine_states() -> None:
    assert decode("auradine", fixtures_more.auradine(0.0, "on"))["state"] == "asleep"
    assert decode("auradine", fixtures_more.auradine(150e6, "on"))["state"] == "hashing", "sleep without effect"
    assert decode("auradine", fixtures_more.auradine())["temp_board_max_c"] == 41, "the control board is no hash board"


def test_bitaxe_overheat_and_pause() -> None:
    hot = decode("bitaxe", fixtures_more.bitaxe(300.0, overheat_mode=1))
    assert hot["state"] == "fault" and hot["error_text"] == "overheat mode"
    assert decode("bitaxe", fixtures_more.bitaxe(300.0, miningPaused=True, power=5.1))["state"] == "asleep"
    assert decode("bitaxe", fixtures_more.bitaxe(300.0, miningPaused=True))["state"] == "hashing", "17.5 W are no pause"
    six = fixtures_more.bitaxe(300.0, miningPaused=True, asicCount=6)
    assert decode("bitaxe", six)["state"] == "asleep", "of six chips they are"
    assert decode("bitaxe", fixtures_more.bitaxe(fan2rpm=-1, temp2=-1))["fan_min_rpm"] == 3500
    assert missing(decode("bitaxe", fixtures_more.bitaxe(temp=-1))["temp_chip_max_c"], Absence.SENTINEL)


# --- Names ------------------------------------------------------------------------------------------------------------


def test_answers_by_any_spelling_of_their_name() -> None:
    spelt = {
        "perf-summary": {"a": 1},
        "web_stats": {"b": 1},
        "get_miner_conf.cgi": {"c": 1},
        "api/v1/info": {"d": 1},
        "x": None,
    }
    assert documents(spelt) == {
        "perf_summary": {"a": 1},
        "stats": {"b": 1},
        "get_miner_conf": {"c": 1},
        "info": {"d": 1},
    }
