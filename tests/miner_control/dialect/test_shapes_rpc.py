# SPDX-License-Identifier: Apache-2.0
"""Shapes of the firmwares that speak cgminer's port: LuxOS, the Braiins OS before its REST interface, Auradine.

The shapes are those that makers describe and users show, of several releases and states; the figures are ours.
"""

from typing import Any

import pytest

from kernel.errors import DecodeError
from kernel.reading import Absence, Missing
from kernel.receipt import Accepted, Refused
from miner_control.dialect import DIALECTS
from miner_control.fleet.command import Pool, PowerTarget, SetPools, Sleep
from miner_control.fleet.driver import Access
from telemetry.collect.source import Tier
from tests.miner_control.dialect import fixtures_more
from tests.miner_control.dialect.fixtures import status
from tests.miner_control.dialect.fixtures_families import bosminer, refused, said
from tests.miner_control.dialect.play import Play, body_of


def decode(dialect: str, answers: dict[str, Any], tier: Tier = Tier.DAILY) -> dict[str, Any]:
    found: dict[str, Any] = DIALECTS[dialect].decode(answers, tier)  # type: ignore[attr-defined]
    return found


def missing(values: dict[str, Any], metric: str) -> Absence | None:
    found = values[metric]
    return found.reason if isinstance(found, Missing) else None


# --- LuxOS ------------------------------------------------------------------------------------------------------------


def events(*codes: str) -> dict[str, Any]:
    return said("EVENTS", *({"Code": code, "Description": f"{code} is so.", "Target": "MINER"} for code in codes))


def test_luxos_sensors_are_what_their_labels_say() -> None:
    """Models differ in their sensors: some have dies measured, an S9 names board and chip, a hydro has water among them."""
    labels = {
        "BoardCh0": {"Label": "Board (hot side)"},
        "Die0": {"Label": "Chip (Max)"},
        "W0": {"Label": "Water Inlet"},
    }
    entries = [{"ID": at, "TEMP": at, "BoardCh0": 55 + at, "Die0": 80.5 + at, "W0": 31} for at in range(3)]
    values = decode("luxos", fixtures_more.luxos() | {"temps": {"METADATA": [labels], **said("TEMPS", *entries)}})
    assert (values["temp_board_max_c"], values["temp_chip_max_c"], values["temp_inlet_c"]) == (57, 82.5, 31)
    s9 = said(
        "TEMPS", {"ID": 0, "TEMP": 0, "Board": 63.0, "Chip": 79.0}, {"ID": 1, "TEMP": 1, "Board": 60.0, "Chip": 77.0}
    )
    values = decode("luxos", fixtures_more.luxos() | {"temps": s9})
    assert (values["temp_board_max_c"], values["temp_chip_max_c"]) == (63, 79)
    without = {name: answer for name, answer in fixtures_more.luxos().items() if name != "temps"}
    assert missing(decode("luxos", without), "temp_chip_max_c") is Absence.NOT_REPORTED, (
        "nobody was heard, none is denied"
    )


def test_luxos_without_fans_answers_without_that_section() -> None:
    fans = {"STATUS": status(202, "0 Fan(s)"), "FANCTRL": [{"MinFans": 0, "PowerOffSpeed": 0}]}
    assert missing(decode("luxos", fixtures_more.luxos() | {"fans": fans}), "fan_min_rpm") is Absence.NOT_APPLICABLE


@pytest.mark.parametrize(
    ("code", "state", "error"),
    [
        ("SLEEP", "asleep", ""), ("IDLE", "asleep", ""), ("REBOOT_SYSINIT", "ramping", "REBOOT_SYSINIT REBOOT_SYSINIT is so."),
        ("OVERTEMP_PROTECTION", "fault", "OVERTEMP_PROTECTION OVERTEMP_PROTECTION is so."), ("PSU_PANIC", "fault", None),
        ("NO_ACTIVE_POOLS", "ramping", "NO_ACTIVE_POOLS NO_ACTIVE_POOLS is so."),
    ],
)  # fmt: skip
def test_luxos_early_releases_say_by_an_event_what_they_do(code: str, state: str, error: str | None) -> None:
    """A young miner (200 s) without a rate: sleep is no error, and a trip is no start."""
    answers = fixtures_more.luxos(0.0, CurtailMode=None) | {"events": events(code)}
    for dev in answers["devs"]["DEVS"]:
        dev["IsUserShutdown"] = False
    answers["summary"]["SUMMARY"][0]["Elapsed"] = 200
    values = decode("luxos", answers)
    assert values["state"] == state
    assert error is None or values["error_text"] == error


def test_luxos_asks_for_events_where_its_settings_do_not_tell_of_sleep() -> None:
    answers = fixtures_more.luxos(0.0) | {"events": events("SLEEP")}
    del answers["config"]["CONFIG"][0]["CurtailMode"]
    play = Play("luxos", answers)
    assert play.read(Tier.FAST)["state"] == "asleep"
    play = Play("luxos", fixtures_more.luxos(0.0, "Idle"))
    assert play.read(Tier.FAST)["state"] == "asleep"
    assert "events" not in [body_of(request)["command"] for request in play.asked]


def test_luxos_target_that_is_switched_off_is_no_limit() -> None:
    off = fixtures_more.luxos(ActualPowerTarget=3100, IdealPowerTarget=3100, IsPowerTargetEnabled=False, PowerLimit=0)
    assert missing(decode("luxos", off), "power_limit_w") is Absence.NOT_REPORTED
    on = fixtures_more.luxos(ActualPowerTarget=3050, IdealPowerTarget=3100, IsPowerTargetEnabled=True, PowerLimit=3600)
    assert decode("luxos", on)["power_limit_w"] == 3050


def test_luxos_summary_in_megahashes() -> None:
    answers = fixtures_more.luxos()
    summary = answers["summary"]["SUMMARY"][0]
    summary |= {"GHS 5s": None, "MHS 5s": 61.5e6, "GHS av": None}
    values = decode("luxos", answers)
    assert (values["hashrate_hs"], values["hashrate_window_s"]) == (61.5e12, 5)


def test_luxos_parts_that_are_refused_are_missing_and_no_more() -> None:
    no = refused(14, "telemetry unavailable")
    values = decode("luxos", fixtures_more.luxos() | {"temps": no, "power": no, "fans": no})
    assert (values["state"], values["boards_hashing"]) == ("hashing", 3)
    assert missing(values, "power_w") is missing(values, "fan_min_rpm") is Absence.NOT_REPORTED


def test_luxos_pools_are_changed_without_a_session() -> None:
    """These are cgminer's commands: a session in front would become the address of the pool."""
    answers = fixtures_more.luxos() | {"addpool": said("X"), "removepool": said("X"), "logon": refused(402, "in use")}
    play = Play("luxos", answers)
    assert isinstance(play.carry_out(SetPools((Pool("stratum+tcp://a:1", "acct.w", "p"),))), Accepted)
    assert [body_of(request)["parameter"] for request in play.writes()] == ["stratum+tcp://a:1,acct.w,p", "1", "0"]
    answers["addpool"] = refused(52, "Invalid pool details")
    play = Play("luxos", answers)
    assert play.carry_out(SetPools((Pool("x", "y"),))) == Refused("52", "Invalid pool details")
    assert len(play.writes()) == 1, "what is there stays"


PROFILES = said("PROFILES", {"Profile Name": "415MHz", "Watts": 2210}, {"Profile Name": "default", "Watts": "3010"},
                {"Profile Name": "old", "Watts": 0}, {"Profile Name": "nameless"}, {"Watts": 2300})  # fmt: skip


def test_luxos_without_power_targeting_takes_the_profile_that_fits() -> None:
    answers = fixtures_more.luxos() | {"profiles": PROFILES, "profileset": said("X"), "powertargetset": said("X")}
    answers |= {"logon": said("SESSION", {"SessionID": "s"}), "logoff": said("X")}
    play = Play("luxos", answers)
    assert isinstance(play.carry_out(PowerTarget(2600.0)), Accepted)
    assert [body_of(request) for request in play.writes()] == [
        {"command": "powertargetset", "parameter": "s,power=2600"}
    ]
    del answers["powertargetset"]
    play = Play("luxos", answers)
    for _ in range(2):
        assert isinstance(play.carry_out(PowerTarget(2600.0)), Accepted)
    sent = [body_of(request) for request in play.writes()]
    assert [one["command"] for one in sent] == ["powertargetset", "profileset", "profileset"], "tried once"
    assert sent[-1]["parameter"] == "s,415MHz"
    refusal = play.carry_out(PowerTarget(2000.0))
    assert isinstance(refusal, Refused) and "2000 W" in refusal.text
    play = Play("luxos", answers | fixtures_more.luxos(IsPowerTargetSupported=False))
    play.read()
    assert isinstance(play.carry_out(PowerTarget(3010.0)), Accepted)
    assert [body_of(request)["parameter"] for request in play.writes()] == ["s,default"], "its settings said so"


# --- Auradine ---------------------------------------------------------------------------------------------------------


def auradine(*over_rpc: str, **answers: Any) -> Play:
    """A miner whose cgminer port tells some commands and refuses the rest, which stand on its pages."""
    shape = fixtures_more.auradine() | answers
    table: dict[str, Any] = {f"GET /{name}": answer for name, answer in shape.items()}
    table |= {name: answer for name, answer in shape.items() if name in over_rpc}
    return Play("auradine", table, joins=False)


def test_auradine_tells_the_rest_on_its_pages() -> None:
    play = auradine("summary", "devs", "pools", "asccount", "version")
    values = play.read(Tier.DAILY)
    assert (values["power_w"], values["mode"], values["fan_max_rpm"], values["model"]) == (
        2950.2,
        "eco",
        6000,
        "AT1500",
    )
    play.asked.clear()
    assert play.read(Tier.FAST)["power_w"] == 2950.2
    by_rpc = [body_of(request)["command"] for request in play.asked if not hasattr(request, "path")]
    assert by_rpc == ["summary"], "what the port refused is not asked there again"


def test_auradine_whose_cgminer_port_is_closed_is_read_over_http() -> None:
    play = auradine()
    play.rpc_closed = True
    values = play.read(Tier.SLOW)
    assert (values["power_w"], values["boards_hashing"], values["state"]) == (2950.2, 1, "hashing")


def test_auradine_watts_of_the_summary_are_an_estimate() -> None:
    shape = fixtures_more.auradine()
    shape["summary"]["SUMMARY"][0]["Wattage"] = 2990
    assert decode("auradine", shape)["power_source"] == "psu"
    values = decode("auradine", shape | {"psu": refused(14, "Invalid command")})
    assert (values["power_w"], values["power_source"]) == (2990, "estimate")


@pytest.mark.parametrize(
    ("lamp", "error"),
    [
        ({"Code": 2, "Msg": "Normal"}, ""), ({"Code": 3, "Msg": "Locate Miner"}, ""), ({"Code": 101, "Msg": "rack 7, ours"}, ""),
        ({"Code": 4, "Msg": "Temperature fault"}, "LED 4 Temperature fault"), ({"Code": 8, "Msg": ""}, "LED 8 hash rate low"),
        ({"Code": 5}, "LED 5 pool configuration"), ({"Msg": "Normal"}, ""),
    ],
)  # fmt: skip
def test_auradine_lamp(lamp: dict[str, Any], error: str) -> None:
    values = decode("auradine", fixtures_more.auradine() | {"led": said("LED", {"LED1": 1, "LED2": 2, **lamp})})
    assert values["error_text"] == error and values["state"] == "hashing"


def test_auradine_without_fans_lists_none() -> None:
    values = decode(
        "auradine", fixtures_more.auradine() | {"fan": {"STATUS": status(510, "Total fans: 0"), "Fan": None}}
    )
    assert missing(values, "fan_min_rpm") is missing(values, "fan_duty_pct") is Absence.NOT_APPLICABLE


def test_auradine_token_that_lapsed_within_a_good_answer_is_renewed_once() -> None:
    tokens = [{"Token": [{"Token": name}]} for name in ("old", "new", "newer")]
    lapsed = refused(25, "Invalid token")
    answers = [lapsed, said("Mode"), lapsed, lapsed]
    play = Play("auradine", {"POST /token": lambda _: tokens.pop(0), "POST /mode": lambda _: answers.pop(0)})
    assert isinstance(play.carry_out(Sleep()), Accepted)
    assert [request.headers["Token"] for request in play.writes()] == ["old", "new"]  # type: ignore[union-attr]
    assert play.carry_out(Sleep()) == Refused("25", "Invalid token")
    denied = Play("auradine", {"POST /token": refused(24, "Incorrect user or password")})
    assert denied.carry_out(Sleep()) == Refused("24", "Incorrect user or password")
    assert not denied.writes()


# --- Braiins OS before its REST interface -----------------------------------------------------------------------------


def test_bosminer_tells_its_boards_and_what_it_is() -> None:
    play = Play("braiins", bosminer())
    values = play.read(Tier.DAILY)
    assert (values["hashrate_hs"], values["power_w"], values["power_limit_w"]) == (pytest.approx(13.8e12), 1395, 1400)
    assert (values["model"], values["firmware"], values["state"]) == ("Antminer S9", "0.2.0-ea64aec8e", "hashing")
    assert (values["chips_hashing"], values["frequency_hz"], values["voltage_v"]) == (
        189,
        799_682_118,
        pytest.approx(8.4),
    )
    assert (values["temp_board_max_c"], values["temp_chip_max_c"], values["fan_duty_pct"]) == (83, 103.5, 90)
    assert '"chips":63' in values["boards_json"] and values["error_text"] == ""
    boser = bosminer()
    boser["devdetails"] = said("DEVDETAILS", {"ID": 1, "Chips": 108, "Frequency": 267, "Voltage": 0})
    boser["version"] = said("VERSION", {"API": "3.7", "BOSer": "boser-buildroot 0.1.0-75912fc7"})
    values = decode("braiins", boser)
    assert (values["frequency_hz"], values["firmware"]) == (267e6, "boser-buildroot 0.1.0-75912fc7")
    assert missing(values, "model") is Absence.NOT_REPORTED


@pytest.mark.parametrize(
    ("rate", "word", "state", "error"),
    [
        (4.6e6, "Tuning individual chips", "tuning", ""), (4.6e6, "Testing performance profile", "tuning", ""),
        (0.0, "Paused", "asleep", ""), (0.0, "Resuming", "ramping", ""), (0.0, "Stable", "fault", ""),
        (4.6e6, "Failed { reason: no chips }", "hashing", "board 6 Failed { reason: no chips }"),
    ],
)  # fmt: skip
def test_bosminer_states(rate: float, word: str, state: str, error: str) -> None:
    values = decode("braiins", bosminer(rate, word))
    assert values["state"] == state and values["error_text"].split("; ")[0] == error


def test_bosminer_whose_tuner_is_off_draws_more_than_nothing() -> None:
    off = {"ApproximateMinerPowerConsumption": 0, "PowerLimit": 0, "TunerChainStatus": []}
    values = decode("braiins", bosminer(**off))
    assert missing(values, "power_w") is Absence.SENTINEL and missing(values, "power_source") is Absence.NOT_REPORTED
    assert missing(values, "power_limit_w") is Absence.NOT_REPORTED
    assert decode("braiins", bosminer(0.0, **off))["power_w"] == 0


def test_bosminer_that_scales_itself_is_seen() -> None:
    scaled = decode("braiins", bosminer(DynamicPowerScaling={"InitialPowerLimit": 1400, "ScaledPowerLimit": 1100}))
    assert scaled["power_limit_w"] == 1100 and '"enabled":true' in scaled["schedules_json"]
    assert decode("braiins", bosminer())["schedules_json"] == '{"dps":"Disabled"}'


def test_braiins_without_either_interface_says_which_release_is_needed() -> None:
    play = Play("braiins", {})
    play.access = Access("root", "", {"http": 80})
    with pytest.raises(DecodeError, match=r"25\.07"):
        play.read()


def test_braiins_that_was_upgraded_is_read_over_rest_by_the_next_day() -> None:
    play = Play("braiins", bosminer())
    assert play.read(Tier.FAST)["power_w"] == 1395
    shape = fixtures_more.braiins()
    for name, page in (("miner_stats", "miner/stats"), ("miner_details", "miner/details")):
        play.table[f"GET /api/v1/{page}"] = shape[name]
    assert play.read(Tier.FAST)["power_w"] == 1395
    assert play.read(Tier.DAILY)["power_w"] == play.read(Tier.FAST)["power_w"] == 3100
