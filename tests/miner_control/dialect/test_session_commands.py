# SPDX-License-Identifier: Apache-2.0
"""Commands of the dialects with a session or a token: log in, renew once, hand back, and what is refused."""

from typing import Any

import pytest

from kernel.errors import TransportError
from kernel.reading import Absence
from kernel.receipt import Accepted, Refused, Unreachable, Unsupported
from miner_control.fleet.command import (
    PowerTarget,
    Reboot,
    Sleep,
    Wake,
)
from miner_control.fleet.driver import Answer, Http
from telemetry.collect.source import Tier
from tests.builders.intents import POOLS
from tests.miner_control.dialect import fixtures_more
from tests.miner_control.dialect.play import Play, body_of


def ok_rpc(message: str = "done") -> dict[str, Any]:
    return {"STATUS": [{"STATUS": "S", "When": 1_790_000_100, "Code": 1, "Msg": message}], "id": 1}


# --- LuxOS ------------------------------------------------------------------------------------------------------------


def luxos(**answers: Any) -> Play:
    commands = ("curtail", "profileset", "powertargetset", "rebootdevice", "ledset", "logoff", "addpool", "removepool")
    table = {
        "logon": {"STATUS": ok_rpc()["STATUS"], "SESSION": [{"SessionID": "abc123"}]},
        **dict.fromkeys(commands, ok_rpc()),
    }
    return Play("luxos", fixtures_more.luxos() | table | answers)


def test_luxos_obtains_and_releases_a_session() -> None:
    play = luxos()
    assert isinstance(play.carry_out(Sleep()), Accepted)
    assert [body_of(request)["command"] for request in play.asked] == ["logon", "curtail", "logoff"]
    assert body_of(play.writes()[0])["parameter"] == "abc123,sleep"


def test_luxos_session_held_by_another_is_not_taken_away() -> None:
    held = {"STATUS": [{"STATUS": "E", "Code": 402, "Msg": "Another session is active"}]}
    play = luxos(logon=held)
    assert play.carry_out(Sleep()) == Unreachable("no session: Another session is active"), (
        "asked again until it lapsed"
    )
    assert not play.writes()


def test_luxos_prepared_session_makes_one_write() -> None:
    play = luxos()
    play.prepare()
    play.asked.clear()
    play.carry_out(Wake())
    assert body_of(play.asked[0])["parameter"] == "abc123,wakeup"


def test_luxos_lapsed_session_is_renewed_once() -> None:
    lapsed = {"STATUS": [{"STATUS": "E", "Code": 26, "Msg": "Invalid session id"}]}
    answers = [lapsed, ok_rpc("curtailed")]
    play = luxos(curtail=lambda request: answers.pop(0))
    play.access.memory["session"] = "old"
    assert play.carry_out(Sleep()) == Accepted("curtailed")
    assert [body_of(request)["parameter"] for request in play.writes()] == ["old,sleep", "abc123,sleep"]


def test_luxos_session_that_could_not_be_handed_back_is_used_again() -> None:
    play = luxos(logoff=TransportError(Absence.TIMED_OUT, "busy"))
    assert isinstance(play.carry_out(Sleep()), Accepted)
    play.asked.clear()
    assert isinstance(play.carry_out(Wake()), Accepted)
    assert body_of(play.asked[0])["parameter"] == "abc123,wakeup"


def test_luxos_asleep_refuses_a_reboot() -> None:
    play = luxos(rebootdevice={"STATUS": [{"STATUS": "E", "Code": 335, "Msg": "miner is curtailed"}]})
    assert play.carry_out(Reboot()) == Refused("335", "miner is curtailed")


def test_luxos_is_never_without_a_pool() -> None:
    play = luxos()
    assert isinstance(play.carry_out(POOLS), Accepted)
    assert [body_of(request)["command"] for request in play.writes()] == ["addpool", "removepool", "removepool"]


# --- Braiins ----------------------------------------------------------------------------------------------------------


def braiins(**answers: Any) -> Play:
    table = {
        "POST /api/v1/auth/login": {"token": "tok", "timeout_s": 3600},
        "PUT /api/v1/actions/pause": False,
        "PUT /api/v1/actions/resume": False,
        "PUT /api/v1/actions/reboot": Answer(b"", 204),
        "PUT /api/v1/actions/locate": True,
        "PUT /api/v1/performance/power-target": {"watt": 2500},
        "PUT /api/v1/pools/batch": [],
        "PUT /api/v1/auth/password": Answer(b"", 204),
    }
    return Play("braiins", table | answers)


def test_braiins_logs_in_once() -> None:
    play = braiins()
    assert isinstance(play.carry_out(Sleep()), Accepted)
    assert isinstance(play.carry_out(PowerTarget(2500)), Accepted)
    assert sum(request.path.endswith("login") for request in play.asked if isinstance(request, Http)) == 1
    assert [body_of(request) if request.body else None for request in play.writes()] == [None, {"watt": 2500}]  # type: ignore[union-attr]
    assert play.writes()[0].headers == {"Authorization": "Bearer tok"}  # type: ignore[union-attr]


def test_braiins_takes_the_bare_token_where_that_is_wanted() -> None:
    def pause(request: Http) -> Any:
        return Answer(b"false", 200) if request.headers["Authorization"] == "tok" else Answer(b"", 401)

    play = braiins(**{"PUT /api/v1/actions/pause": pause})
    assert isinstance(play.carry_out(Sleep()), Accepted)
    assert isinstance(play.carry_out(Sleep()), Accepted)
    assert len(play.writes()) == 3, "learnt: the third write is right at once"


def test_braiins_wrong_password() -> None:
    play = braiins(**{"POST /api/v1/auth/login": Answer(b'{"message":"bad credentials"}', 401)})
    assert play.carry_out(Sleep()) == Refused("401", "bad credentials")


def test_braiins_before_25_07_reads_and_pauses_over_rpc_and_says_what_it_cannot() -> None:
    rpc = {
        "summary": {
            "STATUS": ok_rpc()["STATUS"],
            "SUMMARY": [{"MHS 5s": 90e6, "MHS av": 89e6, "Elapsed": 5000, "Accepted": 3}],
        },
        "tunerstatus": {
            "TUNERSTATUS": [{"ApproximateMinerPowerConsumption": 3200, "PowerLimit": 3250, "TunerChainStatus": []}]
        },
        "temps": {"TEMPS": [{"Board": 60.0, "Chip": 74.5, "ID": 6}]},
        "fans": {"FANS": [{"ID": 0, "RPM": 4000, "Speed": 60}]},
        "pause": ok_rpc("Paused"),
    }
    play = Play("braiins", rpc)
    values = play.read(Tier.SLOW)
    assert (values["hashrate_hs"], values["power_w"], values["power_limit_w"], values["state"]) == (
        90e12,
        3200,
        3250,
        "hashing",
    )
    assert play.carry_out(Sleep()) == Accepted("Paused")
    receipt = play.carry_out(PowerTarget(2000))
    assert isinstance(receipt, Unsupported) and "25.07" in receipt.text


@pytest.mark.parametrize("login", [404, 405, TransportError(Absence.UNREACHABLE, "no web server")])
def test_braiins_without_the_rest_interface_pauses_over_rpc_also_before_the_first_read(login: Any) -> None:
    """A hub that was restarted has read nothing yet, and an order does not wait for it."""
    answer = login if isinstance(login, Exception) else Answer(b"", login)
    table = {"POST /api/v1/auth/login": answer, "pause": ok_rpc("Pausing"), "resume": ok_rpc("Resuming")}
    assert Play("braiins", table).carry_out(Sleep()) == Accepted("Pausing")
    assert Play("braiins", table).carry_out(Wake()) == Accepted("Resuming")
    play = Play("braiins", table)
    assert isinstance(play.carry_out(Reboot()) if not isinstance(login, Exception) else Unsupported(""), Unsupported)
    assert not play.writes()


# --- VNish ------------------------------------------------------------------------------------------------------------


def vnish(**answers: Any) -> Play:
    presets = [
        {"name": "1500", "pretty": "1500 watt ~ 60 TH", "status": "tuned", "modded_psu_required": False},
        {"name": "2400", "pretty": "2400 watt ~ 85 TH", "status": "tuned", "modded_psu_required": False},
        {"name": "2480", "pretty": "2480 watt ~ 86 TH", "status": "untuned", "modded_psu_required": False},
        {"name": "3900", "pretty": "3900 watt", "status": "tuned", "modded_psu_required": True},
        {"name": "disabled", "pretty": "disabled", "status": "tuned", "modded_psu_required": False},
    ]
    table = {
        "POST /api/v1/unlock": {"token": "tok"},
        "POST /api/v1/mining/stop": Answer(b"", 200),
        "POST /api/v1/mining/start": Answer(b"", 200),
        "POST /api/v1/mining/restart": Answer(b"", 200),
        "GET /api/v1/autotune/presets": presets,
        "POST /api/v1/settings": {"restart_required": True, "reboot_required": False},
        "POST /api/v1/system/reboot": {"after": 3},
        "POST /api/v1/find-miner": {"on": True},
    }
    return Play("vnish", fixtures_more.vnish() | table | answers)


def test_vnish_power_target_takes_the_greatest_tuned_preset_below() -> None:
    play = vnish()
    assert isinstance(play.carry_out(PowerTarget(2500)), Accepted)
    paths = [
        (request.path, body_of(request) if request.body else None)
        for request in play.writes()
        if isinstance(request, Http)
    ]
    assert paths == [
        ("/api/v1/settings", {"miner": {"overclock": {"preset": "2400"}}}),
        ("/api/v1/mining/restart", None),
    ]


def test_vnish_never_starts_a_tuning_by_itself() -> None:
    play = vnish()
    assert isinstance(play.carry_out(PowerTarget(1000)), Refused)
    assert not play.writes()


def test_vnish_old_token_is_renewed_once() -> None:
    answers = [Answer(b"", 401), Answer(b"", 200)]
    play = vnish(**{"POST /api/v1/mining/stop": lambda request: answers.pop(0)})
    play.access.memory["token"] = "old"
    assert isinstance(play.carry_out(Sleep()), Accepted)
    assert play.writes()[1].headers == {"Authorization": "Bearer tok"}  # type: ignore[union-attr]


def test_vnish_wrong_password() -> None:
    play = vnish(**{"POST /api/v1/unlock": Answer(b'{"err":"wrong password"}', 403)})
    assert play.carry_out(Sleep()) == Refused("403", "wrong password")


def test_auradine_writes_under_a_token() -> None:
    table = {
        "POST /token": {"STATUS": ok_rpc()["STATUS"], "Token": [{"Token": "tok"}]},
        "POST /mode": ok_rpc("mode set"),
    }
    play = Play("auradine", table)
    assert play.carry_out(Sleep()) == Accepted("mode set")
    assert play.carry_out(PowerTarget(2000)) == Accepted("mode set")
    bodies = [body_of(request) for request in play.writes()]
    assert bodies == [
        {"command": "mode", "sleep": "on"},
        {"command": "mode", "mode": "custom", "tune": "power", "power": 2000},
    ]
    assert all(request.headers == {"Token": "tok"} for request in play.writes() if isinstance(request, Http))


def test_vnish_before_its_api_is_read_over_rpc_and_says_that_it_is_only_read() -> None:
    stats = [
        {"Type": "Antminer S9 (vnish 3.8.6)"},
        {"Elapsed": 3617, "GHS 5s": "12795.48", "temp2_6": 80, "fan5": 5400},
    ]
    status = ok_rpc()["STATUS"]
    rpc = {"stats": {"STATUS": status, "STATS": stats}, "summary": {"STATUS": status, "SUMMARY": [{"Elapsed": 3617}]}}
    closed = TransportError(Absence.UNREACHABLE, "no web server")
    assert Play("vnish", rpc | {"GET /api/v1/summary": closed}).read(Tier.FAST)["state"] == "hashing"
    play = Play("vnish", rpc | {"GET /api/v1/summary": Answer(b"", 404), "POST /api/v1/unlock": Answer(b"", 404)})
    values = play.read(Tier.SLOW)
    assert (values["state"], round(values["hashrate_hs"] / 1e12, 3)) == ("hashing", 12.795)
    for intent in (Sleep(), PowerTarget(2000), Reboot()):
        receipt = play.carry_out(intent)
        assert isinstance(receipt, Unsupported) and "1.2" in receipt.text
    assert not play.writes()
    play.asked.clear()
    assert play.read(Tier.FAST)["state"] == "hashing"
    assert all(not hasattr(request, "path") for request in play.asked), "the way found is kept until the daily poll"
