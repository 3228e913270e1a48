# SPDX-License-Identifier: Apache-2.0
"""Shapes of the firmwares that speak cgminer's port: LuxOS, the Braiins OS before its REST interface, Auradine.

The shapes are those that makers describe and users show, of several releases and states; the figures are ours.
"""

from typing import Any

import pytest

from kernel.reading import Missing, Reason
from kernel.receipt import Accepted, Refused
from miner_control.command import Pool, SetPools
from miner_control.dialect import DIALECTS
from telemetry.source import Tier
from tests.dialects import fixtures_more
from tests.dialects.fixtures import status
from tests.dialects.play import Play, body_of


def decode(dialect: str, answers: dict[str, Any], tier: Tier = Tier.DAILY) -> dict[str, Any]:
    found: dict[str, Any] = DIALECTS[dialect].decode(answers, tier)  # type: ignore[attr-defined]
    return found


def missing(values: dict[str, Any], metric: str) -> Reason | None:
    found = values[metric]
    return found.reason if isinstance(found, Missing) else None


def said(name: str, *entries: dict[str, Any], code: int = 1) -> dict[str, Any]:
    return {"STATUS": status(code, name.title()), name: list(entries), "id": 1}


def refused(code: int, text: str) -> dict[str, Any]:
    return {"STATUS": [{"STATUS": "E", "When": 1, "Code": code, "Msg": text}], "id": 1}


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
    assert missing(decode("luxos", without), "temp_chip_max_c") is Reason.NOT_REPORTED, (
        "nobody was heard, none is denied"
    )


def test_luxos_without_fans_answers_without_that_section() -> None:
    fans = {"STATUS": status(202, "0 Fan(s)"), "FANCTRL": [{"MinFans": 0, "PowerOffSpeed": 0}]}
    assert missing(decode("luxos", fixtures_more.luxos() | {"fans": fans}), "fan_min_rpm") is Reason.NOT_APPLICABLE


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
    assert missing(decode("luxos", off), "power_limit_w") is Reason.NOT_REPORTED
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
    assert missing(values, "power_w") is missing(values, "fan_min_rpm") is Reason.NOT_REPORTED


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
