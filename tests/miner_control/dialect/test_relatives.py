# SPDX-License-Identifier: Apache-2.0
"""Relatives of the known firmwares: other key names, other models, no fans, one board dead. Shapes are real, figures ours."""

from typing import Any

import pytest

from kernel.metric import SCHEMAS
from kernel.reading import Absence, Missing
from miner_control.dialect import DIALECTS
from telemetry.collect.source import Tier
from tests.miner_control.dialect.fixtures import status
from tests.miner_control.dialect.fixtures_more import asleep, every, faulty
from tests.miner_control.dialect.play import Play

SHAPES = [(dialect, index) for dialect, shapes in every().items() for index in range(len(shapes))]


def decode(dialect: str, answers: dict[str, Any], tier: Tier = Tier.DAILY) -> dict[str, Any]:
    found: dict[str, Any] = DIALECTS[dialect].decode(answers, tier)  # type: ignore[attr-defined]
    return found


def missing(values: dict[str, Any], metric: str) -> Absence | None:
    found = values[metric]
    return found.reason if isinstance(found, Missing) else None


@pytest.mark.parametrize(("dialect", "index"), SHAPES)
def test_the_daily_poll_says_something_of_every_metric(dialect: str, index: int) -> None:
    assert set(decode(dialect, every()[dialect][index])) == set(SCHEMAS["miner"])


@pytest.mark.parametrize("dialect", sorted(asleep()))
def test_a_sleeping_or_faulty_miner_gives_the_same_values(dialect: str) -> None:
    for answers in (asleep()[dialect], faulty()[dialect]):
        assert set(decode(dialect, answers)) == set(SCHEMAS["miner"])


@pytest.mark.parametrize(("dialect", "index"), SHAPES)
def test_a_faster_tier_never_denies_what_a_slower_one_tells(dialect: str, index: int) -> None:
    """NOT_REPORTED is said only by the tier that asked where it stands: else the figure of the slow tier is lost each poll."""
    answers = every()[dialect][index]
    kept = {name: answers[name] for name in list(answers)[:1]}
    core = {
        "hashrate_hs",
        "hashrate_window_s",
        "power_w",
        "power_source",
        "power_limit_w",
        "state",
        "mode",
        "uptime_s",
    }
    values = decode(dialect, kept, Tier.FAST)
    denied = {name for name in values if missing(values, name) is Absence.NOT_REPORTED}
    assert denied <= core


def stats_of(**figures: Any) -> dict[str, Any]:
    head = {"BMMiner": "4.11.1", "CompileTime": "Thu Apr 10 2025", "Miner": "0.0.1.3", "Type": "Antminer S19x88"}
    body = {"STATS": 0, "Elapsed": 7200, "GHS 5s": 20_000.0, "GHS av": 19_900.0, "miner_count": 2, **figures}
    return {"stats": {"STATUS": status(70, "told"), "STATS": [head, body], "id": 1}}


def chains(**more: Any) -> dict[str, Any]:
    return {
        "chain_acn1": 88, "chain_acn2": 88, "chain_acn3": 0, "chain_acs1": " oo oo xo", "chain_acs2": " oo oo oo",
        "chain_rate1": 10_000.0, "chain_rate2": 10_000.0, "chain_rate3": 0.0, "freq1": 460, "freq2": 470, "freq3": 0,
        "fan1": 3000, "fan2": 3100, "fan3": 0, "fan4": 0, "fan_num": 2, "fan_pwm": 28, **more,
    }  # fmt: skip


def test_a_relative_of_the_stock_firmware_tells_watts_supply_and_volts() -> None:
    values = decode("antminer", stats_of(**chains(
        total_power=1345, chain_power1=670, chain_power2=675, chain_voltage1=14.2, chain_voltage2=14.0,
        chain_voltage3=14.2, total_freqavg=0.0, frequency="", psu_status="PSU power lost",
    )))  # fmt: skip
    assert (values["power_w"], values["power_source"]) == (1345, "estimate")
    assert values["frequency_hz"] == 465e6
    assert values["voltage_v"] == pytest.approx(14.1)
    assert values["error_text"] == "PSU power lost"
    assert (values["fan_min_rpm"], values["fan_max_rpm"], values["fan_duty_pct"]) == (3000, 3100, 28)
    assert values["chips_hashing"] == 11


def test_watts_of_boards_are_summed_where_no_total_is_reported() -> None:
    values = decode("antminer", stats_of(**chains(chain_consumption1=900, chain_consumption2=950)))
    assert (values["power_w"], values["power_source"]) == (1850, "estimate")


def test_a_well_supply_is_no_error() -> None:
    assert decode("antminer", stats_of(**chains(psu_status="ok")))["error_text"] == ""


def test_liquid_cooling_without_fans_is_not_applicable() -> None:
    values = decode("antminer", stats_of(fan_num=0, fan1=0, fan2=0, fan3=0, fan4=0))
    assert missing(values, "fan_min_rpm") is missing(values, "fan_max_rpm") is Absence.NOT_APPLICABLE


def test_water_among_the_board_sensors_of_luxos() -> None:
    answers = every()["luxos"][0] | {
        "temps": {
            "METADATA": [{"TopLeft": {"Label": "Water Inlet"}, "TopRight": {"Label": "Water Outlet"}}],
            "TEMPS": [
                {"ID": 0, "TopLeft": 31.0, "TopRight": 44.0, "BottomLeft": 52.0, "BottomRight": 51.0},
                {"ID": 1, "TopLeft": 30.0, "TopRight": 45.0, "BottomLeft": 53.0, "BottomRight": 50.0},
            ],
        },
        "voltageget_0": {"VOLTAGE": [{"Board": 0, "Voltage": 11.9}]},
        "voltageget_1": {"VOLTAGE": [{"Board": 1, "Voltage": 12.1}]},
    }
    values = decode("luxos", answers)
    assert (values["temp_inlet_c"], values["temp_outlet_c"]) == (31.0, 45.0)
    assert values["voltage_v"] == 12.0


def nerd(**more: Any) -> dict[str, Any]:
    return {
        "ASICModel": "BM1370", "deviceModel": "NerdQAxe++", "asicCount": 4, "hashRate": 4800.5, "hashRate_1m": 4790.0,
        "hashRate_10m": 4781.0, "power": 78.4, "voltage": 12_100.0, "temp": 58.0, "vrTemp": 61.0, "uptimeSeconds": 5000,
        "frequency": 600, "sharesAccepted": 10, "sharesRejected": 1, "macAddr": "aa:bb:cc:dd:ee:ff", "version": "v1.0.36",
        "stratumURL": "pool.example", "stratumPort": 3333, "stratumUser": "acct.w", **more,
    }  # fmt: skip


def test_a_fork_of_axeos_lists_fans_and_chips() -> None:
    values = decode(
        "bitaxe",
        {
            "system_info": nerd(
                temp=-1, asicTemps=[57.0, 59.5, 58.0], fans=[{"rpm": 4100, "percent": 55}, {"rpm": 4000}]
            )
        },
    )
    assert values["temp_chip_max_c"] == 59.5
    assert (values["fan_min_rpm"], values["fan_max_rpm"], values["fan_duty_pct"]) == (4000, 4100, 55)
    assert (values["model"], values["chips_expected"]) == ("NerdQAxe++", 4)


def test_a_fork_that_is_shut_down_is_stopped_and_not_asleep() -> None:
    one_fan = nerd(fanrpm=3900, fanrpm2=0, fanCount=1, fanspeed=48.5, shutdown=False)
    values = decode("bitaxe", {"system_info": one_fan})
    assert (values["state"], values["fan_min_rpm"], values["error_text"]) == ("hashing", 3900, "")
    two = decode("bitaxe", {"system_info": one_fan | {"fanCount": 2, "fanrpm2": 3700}})
    assert (two["fan_min_rpm"], two["fan_max_rpm"]) == (3700, 3900)
    off = decode("bitaxe", {"system_info": one_fan | {"shutdown": True, "hashRate": 0.0, "power": 9.0}})
    assert (off["state"], off["error_text"]) == ("stopped", "shutdown")
    hot = decode("bitaxe", {"system_info": one_fan | {"shutdown": True, "hashRate": 0.0, "overheat_mode": 1}})
    assert hot["state"] == "fault"


def test_the_chips_name_is_no_model() -> None:
    plain = nerd(deviceModel=None, boardVersion="601", asicCount=1)
    assert decode("bitaxe", {"system_info": plain})["model"] == "Bitaxe Gamma 601"
    odd = decode("bitaxe", {"system_info": plain | {"boardVersion": "0.11"}})
    assert missing(odd, "model") is Absence.NOT_REPORTED


def avalon(**brackets: str) -> dict[str, Any]:
    reported = {
        "Ver": "15-194-24102401_25462b2", "DNA": "020100008c69", "SYSTEMSTATU": "Work: In Work, Hash Board: 3 ",
        "Elapsed": "975", "Temp": "31", "TMax": "78", "TAvg": "70", "Fan1": "4275", "Fan2": "4282", "FanR": "49%",
        "GHSspd": "199241.07", "GHSmm": "201920.42", "GHSavg": "184007.00", "Freq": "345.94", "MGHS": "59459.5 61407.8 0.00",
        "MTmax": "77 78 77", "TA": "480", "SoftOFF": "0", "ECHU": "0 0 0", "ECMM": "0", "MPO": "3515", "WORKMODE": "1",
    } | brackets  # fmt: skip
    text = " ".join(f"{key}[{value}]" for key, value in reported.items())
    return {"stats": {"STATUS": status(70, "told"), "STATS": [{"STATS": 0, "ID": "AVA100", "MM ID0": text}], "id": 1}}


def test_avalon_wall_power_and_one_dead_board() -> None:
    values = decode("avalon", avalon(PS="0 1209 1187 297 3526 1188", WALLPOWER="3731"))
    assert (values["power_w"], values["power_source"]) == (3731, "psu")
    assert (values["boards_hashing"], values["boards_expected"]) == (2, 3)
    assert values["state"] == "hashing"


def test_an_idle_avalon_claims_no_rate_of_its_boards() -> None:
    values = decode("avalon", avalon(SYSTEMSTATU="Work: In Idle, Hash Board: 3", GHSspd="0.00", SoftOFF="4"))
    assert values["state"] == "asleep"
    assert '"hashrate_hs":null' in values["boards_json"] and '"hashrate_hs":5' not in values["boards_json"]


def test_the_serial_number_of_the_supply_is_not_the_miners() -> None:
    answers = every()["whatsminer"][0] | {
        "get_psu": {"STATUS": "S", "Code": 131, "Msg": {"name": "P222B", "serial_no": "A1234"}},
        "get_miner_info": {"STATUS": "S", "Code": 131, "Msg": {"mac": "D4:01:02:03:04:05"}},
    }
    assert missing(decode("whatsminer", answers), "serial") is Absence.NOT_REPORTED


def test_braiins_before_the_rest_api_tells_its_boards() -> None:
    answers = {
        "summary": {"STATUS": status(70, "told"), "SUMMARY": [{"MHS 5s": 90e6, "Elapsed": 4000, "Accepted": 3}]},
        "devs": {
            "STATUS": status(70, "told"),
            "DEVS": [{"ID": at, "MHS 5s": 45e6 * at, "Status": "Alive"} for at in (0, 1, 2)],
        },
        "temps": {
            "STATUS": status(70, "told"),
            "TEMPS": [{"ID": at, "Board": 50.0 + at, "Chip": 70.0 + at} for at in (0, 1, 2)],
        },
    }
    values = decode("braiins", answers)
    assert (values["boards_hashing"], values["boards_expected"], values["temp_chip_max_c"]) == (2, 3, 72)
    assert '"temps_chip_c":[72.0]' in values["boards_json"]


@pytest.mark.parametrize(("uptime_s", "state"), [(300.0, "ramping"), (7200.0, "fault")])
def test_not_settled_for_hours_is_no_ramp(uptime_s: float, state: str) -> None:
    """A firmware that broke down goes on saying that its rate is not stable: in the fast tier that is all there is."""
    said = every()["whatsminer"][0]["summary"]
    body = said["SUMMARY"][0] | {"Elapsed": uptime_s, "Hash Stable": False, "Power": 60, "Power_RT": 60}
    for key in ("MHS 5s", "MHS 1m", "MHS 5m", "MHS 15m", "MHS av", "HS RT"):
        body[key] = 0.0
    off = {"STATUS": "S", "Code": 131, "Msg": {"mineroff": "false"}}
    found = decode("whatsminer", {"summary": {**said, "SUMMARY": [body]}, "status": off}, Tier.FAST)
    assert found["state"] == state
    summary = {"elapsed": uptime_s, "hash-realtime": 0.0, "power-realtime": 60.0, "up-freq-finish": 0}
    v3 = {"get.miner.status summary": {"code": 0, "msg": {"summary": summary}}}
    assert decode("whatsminer_v3", v3, Tier.FAST)["state"] == state


def test_a_stock_miner_in_fault_is_asked_what_it_thinks_is_wrong() -> None:
    answers = faulty()["antminer"]
    checks = [{"type": "temp", "status": "e", "code": "P:1", "msg": "temperature over the limit"}]
    page = {"STATUS": {"STATUS": "S"}, "SUMMARY": [{"elapsed": 7200, "rate_5s": 0, "status": checks}]}
    play = Play("antminer", {**answers, "GET /cgi-bin/summary.cgi": page})
    values = play.read(Tier.SLOW)
    assert values["state"] == "fault" and values["error_text"] == "temp P:1 temperature over the limit"


def test_watts_behind_the_supply_are_not_passed_off_as_the_walls() -> None:
    values = decode("avalon", avalon(PS="0 1217 1279 221 2834 1280"))
    assert (values["power_w"], values["power_source"]) == (2834, "psu_output")
    assert decode("avalon", avalon(PS="0 1217 1279 221 2834 1280 3190"))["power_source"] == "psu"


def test_a_lost_fan_and_a_firmware_in_the_models_name() -> None:
    fans = [{"id": 1, "rpm": 5000, "status": "ok"}, {"id": 2, "rpm": 0, "status": "lost"}]
    miner = {
        "miner_status": {"miner_state": "mining", "miner_state_time": 3600}, "hr_realtime": 22_977.2, "power_usage": 683,
        "miner_type": "Antminer S19k Pro (Vnish 1.3.3)", "cooling": {"fan_duty": 50, "fans": fans},
    }  # fmt: skip
    values = decode("vnish", {"summary": {"miner": miner}})
    assert (values["model"], values["firmware"]) == ("Antminer S19k Pro", "Vnish 1.3.3")
    assert (values["power_w"], values["power_source"], values["error_text"]) == (683, "estimate", "fan 2 lost")
