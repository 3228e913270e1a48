# SPDX-License-Identifier: Apache-2.0
"""The wire steps of every intent: what is sent, what counts as taken, and what as refused."""

import base64
import hashlib
from typing import Any

import orjson
import pytest

from kernel.errors import TransportError
from kernel.reading import Absence
from kernel.receipt import Accepted, Refused, Unknown, Unreachable, Unsupported
from miner_control.dialect import DIALECTS
from miner_control.dialect.whatsminer_token import make_token, opened, sealed
from miner_control.fleet.command import (
    Intent,
    Locate,
    PowerPercent,
    PowerTarget,
    Reboot,
    SetCredential,
    SetMode,
    Sleep,
    SwitchLoad,
    Wake,
)
from miner_control.fleet.driver import Answer, Http, Rpc
from telemetry.collect.source import Tier
from tests.builders.intents import INTENTS, POOLS
from tests.miner_control.dialect import fixtures, fixtures_more
from tests.miner_control.dialect.play import NOW_MS, Play, body_of


def ok_rpc(message: str = "done") -> dict[str, Any]:
    return {"STATUS": [{"STATUS": "S", "When": 1_790_000_100, "Code": 1, "Msg": message}], "id": 1}


# --- Antminer ---------------------------------------------------------------------------------------------------------

DONE = {"stats": "success", "code": "M000", "msg": "OK!"}


def antminer(mode: str = "0", answer: Any = None, **conf: Any) -> Play:
    table = {
        "GET /cgi-bin/get_miner_conf.cgi": fixtures.antminer_conf(mode, **conf),
        "POST /cgi-bin/set_miner_conf.cgi": DONE if answer is None else answer,
        "POST /cgi-bin/blink.cgi": {"code": "B000"},
        "GET /cgi-bin/reboot.cgi": b"",
    }
    return Play("antminer", table)


def test_antminer_sleep_sends_both_keys_and_the_read_pools() -> None:
    play = antminer()
    assert isinstance(play.carry_out(Sleep()), Accepted)
    sent = body_of(play.writes()[0])
    assert (sent["miner-mode"], sent["bitmain-work-mode"]) == (1, "1")
    assert sent["pools"] == fixtures.antminer_conf()["pools"]
    assert sent["bitmain-fan-pwm"] == "100" and sent["freq-level"] == "100"
    assert all(request.digest for request in play.asked if isinstance(request, Http))


def test_antminer_prepared_shed_is_one_exchange_and_an_old_preparation_is_none() -> None:
    play = antminer()
    play.prepare()
    play.asked.clear()
    assert isinstance(play.carry_out(Sleep()), Accepted)
    assert len(play.asked) == 1 and body_of(play.asked[0])["pools"] == fixtures.antminer_conf()["pools"]
    play.table["GET /cgi-bin/get_miner_conf.cgi"] = fixtures.antminer_conf("1")
    play.carry_out(Wake())
    assert len(play.asked) == 3, "the preparation served one command"
    play.access.memory["conf"] = (NOW_MS - 61_000, fixtures.antminer_conf(pools=[{"url": "old"}]))
    play.carry_out(SetMode("low"))
    assert body_of(play.writes()[-1])["pools"] == fixtures.antminer_conf()["pools"]


def test_antminer_wakes_into_the_mode_it_had() -> None:
    play = antminer("3")
    play.carry_out(Sleep())
    play.table["GET /cgi-bin/get_miner_conf.cgi"] = fixtures.antminer_conf("1")
    play.carry_out(Wake())
    assert body_of(play.writes()[-1])["miner-mode"] == 3


def test_antminer_already_there_writes_nothing() -> None:
    play = antminer("1")
    assert isinstance(play.carry_out(Sleep()), Accepted)
    assert not play.writes()


def test_antminer_never_wipes_pools() -> None:
    play = antminer(pools=[])
    assert isinstance(play.carry_out(Sleep()), Refused)
    assert not play.writes()


@pytest.mark.parametrize(
    "answer",
    [Answer(b"", 404), Answer(b"oops", 500), {"stats": "error", "code": "M001", "msg": "no"}, b"<html>error</html>"],
)
def test_antminer_refusals(answer: Any) -> None:
    assert isinstance(antminer(answer=answer).carry_out(Sleep()), Refused)


def test_antminer_modes() -> None:
    play = antminer()
    play.carry_out(SetMode("low"))
    assert body_of(play.writes()[0])["miner-mode"] == 3
    assert isinstance(play.carry_out(SetMode("turbo")), Unsupported)
    answers = fixtures.antminer()
    answers["stats"]["STATS"][0]["Type"] = "Antminer S19K Pro"
    play.table |= answers
    play.read(Tier.SLOW)
    play.carry_out(SetMode("low"))
    assert body_of(play.writes()[-1])["miner-mode"] == 2


# --- Whatsminer -------------------------------------------------------------------------------------------------------

SALTS = {"time": "5626", "salt": "BQ5hoXV9", "newsalt": "jbzkfQls"}
TOKEN = make_token("secret", SALTS, NOW_MS)


def whatsminer(*answers: Any) -> Play:
    """Each write gets the next of the answers, encrypted unless it is a refusal in plain."""
    left = list(answers)

    def write(request: Any) -> Any:
        answer = left.pop(0) if len(left) > 1 else left[0]
        return answer if answer.get("Code") in (45, 135, 136) else {"enc": orjson.loads(sealed(TOKEN, answer))["data"]}

    return Play("whatsminer", {"get_token": {"STATUS": "S", "Code": 134, "Msg": SALTS}, "enc": write})


def sent_by(play: Play) -> list[dict[str, Any]]:
    """The commands as the miner reads them."""
    found = []
    for request in play.writes():
        assert isinstance(request, Rpc)
        plain = opened(TOKEN, {"enc": orjson.loads(request.payload)["data"]})
        assert plain is not None
        found.append(orjson.loads(plain))
    return found


TOOK = {"STATUS": "S", "When": 1, "Code": 131, "Msg": "API command OK", "Description": ""}


@pytest.mark.parametrize(
    ("intent", "meant"),
    [
        (Sleep(), {"cmd": "power_off", "respbefore": "true"}),
        (Wake(), {"cmd": "power_on"}),
        (PowerTarget(2500.4), {"cmd": "adjust_power_limit", "power_limit": "2500"}),
        (PowerPercent(80), {"cmd": "set_power_pct", "percent": "80"}),
        (SetMode("low"), {"cmd": "set_low_power"}),
        (SetMode("high"), {"cmd": "set_high_power"}),
        (Reboot(), {"cmd": "reboot"}),
        (Locate(False), {"cmd": "set_led", "param": "auto"}),
        (
            POOLS,
            {"cmd": "update_pools", "pool1": "stratum+tcp://new.example:3333", "worker1": "acct.w9", "passwd1": "pw"},
        ),
        (SetCredential("admin", "n"), {"cmd": "update_pwd", "old": "secret", "new": "n"}),
    ],
)
def test_whatsminer_commands(intent: Intent, meant: dict[str, str]) -> None:
    play = whatsminer(TOOK)
    assert play.carry_out(intent) == Accepted("API command OK")
    sent = sent_by(play)[0]
    assert sent.pop("token") == TOKEN.sign
    assert sent == meant


def test_whatsminer_token_is_made_once_and_beforehand() -> None:
    play = whatsminer(TOOK)
    play.prepare()
    play.asked.clear()
    play.carry_out(Sleep())
    assert len(play.asked) == 1, "a shed costs one exchange"
    play.carry_out(Wake())
    assert len(play.asked) == 2


def test_whatsminer_token_that_is_gone_is_made_anew_once() -> None:
    gone = {"STATUS": "E", "Code": 135, "Msg": "token err"}
    play = whatsminer(gone, TOOK)
    assert isinstance(play.carry_out(Sleep()), Accepted)
    play = whatsminer(gone)
    assert play.carry_out(Sleep()) == Refused("135", "token err")
    assert len(play.writes()) == 2


def test_whatsminer_write_api_off() -> None:
    play = whatsminer({"STATUS": "E", "Code": 45, "Msg": "permission denied"})
    assert play.carry_out(Sleep()) == Refused("45", "permission denied")


def test_whatsminer_percent_falls_to_the_newer_command_and_remembers() -> None:
    unknown = {"STATUS": "E", "Code": 14, "Msg": "invalid cmd"}
    play = whatsminer(unknown, TOOK)
    assert isinstance(play.carry_out(PowerPercent(50)), Accepted)
    assert [command["cmd"] for command in sent_by(play)] == ["set_power_pct", "set_power_pct_v2"]
    play.carry_out(PowerPercent(60))
    assert sent_by(play)[-1]["cmd"] == "set_power_pct_v2" and len(play.writes()) == 3


# --- Whatsminer v3 ----------------------------------------------------------------------------------------------------


def v3(answer: Any = None) -> Play:
    took = {"code": 0, "when": 1, "msg": "ok", "desc": "x"} if answer is None else answer
    commands = (
        "set.miner.service",
        "set.miner.power_limit",
        "set.miner.power_percent",
        "set.miner.power_mode",
        "set.system.reboot",
        "set.system.led",
        "set.miner.pools",
        "set.user.change_passwd",
    )
    return Play("whatsminer_v3", fixtures_more.whatsminer_v3() | dict.fromkeys(commands, took))


@pytest.mark.parametrize(
    ("intent", "command", "param"),
    [
        (Sleep(), "set.miner.service", "stop"),
        (Wake(), "set.miner.service", "start"),
        (PowerTarget(2500), "set.miner.power_limit", 2500),
        (PowerPercent(70), "set.miner.power_percent", {"percent": 70, "mode": "fast"}),
        (SetMode("low"), "set.miner.power_mode", "low"),
        (Locate(False), "set.system.led", "auto"),
    ],
)
def test_v3_commands_are_signed_in_the_miners_own_time(intent: Intent, command: str, param: Any) -> None:
    play = v3()
    assert isinstance(play.carry_out(intent), Accepted)
    sent = body_of(play.writes()[0])
    assert (sent["cmd"], sent["param"], sent["account"]) == (command, param, "root")
    assert sent["ts"] == 1_700_000_000, "the miner's clock is years behind, and is the one that counts"
    digest = hashlib.sha256(f"{command}secretsaltsalt{sent['ts']}".encode()).digest()
    assert sent["token"] == base64.b64encode(digest).decode()[:8]
    assert all(isinstance(request, Rpc) and request.length_prefixed for request in play.asked)


def test_v3_secrets_are_sealed() -> None:
    play = v3()
    play.carry_out(POOLS)
    assert b"new.example" not in play.writes()[0].payload  # type: ignore[union-attr]


def test_v3_refusal_forgets_the_salt() -> None:
    play = v3({"code": -4, "msg": "token error"})
    assert play.carry_out(Sleep()) == Refused("-4", "token error")
    assert "salt" not in play.access.memory


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


# --- Avalon -----------------------------------------------------------------------------------------------------------


def avalon(answer: Any = None) -> Play:
    took = {"STATUS": [{"STATUS": "I", "When": 1, "Code": 118, "Msg": "ASC 0 set info: success softoff:1"}]}
    version = {"STATUS": [{"STATUS": "S", "When": 1_700_000_000, "Code": 22}], "VERSION": [{"PROD": "Avalon Q"}]}
    return Play("avalon", {"version": version, "ascset": took if answer is None else answer, "setpool": ok_rpc()})


def test_avalon_makes_the_appointment_by_the_miners_clock() -> None:
    play = avalon()
    assert isinstance(play.carry_out(Sleep()), Accepted)
    assert body_of(play.writes()[0])["parameter"] == "0,softoff,1:1700000005"
    play.asked.clear()
    play.carry_out(Wake())
    assert [body_of(request)["parameter"] for request in play.asked] == ["0,softon,1:1700000005"]


@pytest.mark.parametrize(
    "answer",
    [
        {"STATUS": [{"STATUS": "I", "Code": 118, "Msg": "ASC 0 set info: help|voltage|workmode|reboot"}]},
        {"STATUS": [{"STATUS": "E", "Code": 45, "Msg": "Access denied"}]},
        {"id": 1},
    ],
)
def test_avalon_help_text_is_no_success(answer: Any) -> None:
    assert isinstance(avalon(answer).carry_out(Sleep()), Refused if "STATUS" in answer else Unknown)


def test_avalon_work_modes() -> None:
    play = avalon()
    play.carry_out(SetMode("standard"))
    assert body_of(play.writes()[0])["parameter"] == "0,workmode,set,1"
    assert isinstance(play.carry_out(SetMode("warp")), Unsupported)


# --- ePIC, Auradine, Bitaxe -------------------------------------------------------------------------------------------


def epic(**answers: Any) -> Play:
    paths = ("miner", "perpetualtune/algo", "reboot", "identify", "coin", "password")
    table = {f"POST /{path}": {"result": True, "error": None} for path in paths}
    table["GET /capabilities"] = fixtures_more.epic()["capabilities"]
    return Play("epic", table | answers)


def test_epic_stop_and_start_carry_the_password() -> None:
    play = epic()
    play.carry_out(Sleep())
    play.carry_out(Wake())
    assert [body_of(request) for request in play.writes()] == [
        {"param": "Stop", "password": "secret"},
        {"param": "Autostart", "password": "secret"},
    ]


def test_epic_status_200_with_result_false_is_a_refusal() -> None:
    play = epic(**{"POST /miner": {"result": False, "error": "BadPassword"}})
    assert play.carry_out(Sleep()) == Refused("result", "BadPassword")


def test_epic_power_target_as_hashrate_or_in_watts() -> None:
    play = epic()
    play.carry_out(PowerTarget(2800))
    assert body_of(play.writes()[0])["param"] == {"algo": "VoltageOptimizer", "target": 120}
    assert isinstance(play.carry_out(PowerTarget(1000)), Refused)
    watts = fixtures_more.epic()["capabilities"] | {"PerpetualTune": [{"algorithm": "Power"}]}
    play = epic(**{"GET /capabilities": watts})
    play.carry_out(PowerTarget(2800))
    assert body_of(play.writes()[0])["param"] == {"algo": "Power", "target": 2800}


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


def test_bitaxe_without_pause_says_which_version_has_it() -> None:
    receipt = Play("bitaxe", {}).carry_out(Sleep())
    assert isinstance(receipt, Unsupported) and "2.14" in receipt.text
    play = Play("bitaxe", {"POST /api/system/pause": Answer(b"", 200)})
    assert isinstance(play.carry_out(Sleep()), Accepted)


# --- All --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_what_a_dialect_says_it_carries_out_it_does(dialect: str) -> None:
    """Against a peer that refuses everything, a promised intent reaches the wire; one not promised never does."""
    for name, intent in INTENTS.items():
        play = Play(dialect, {})
        play.access.memory |= {"salt": "s", "session": "s", "token": TOKEN if dialect == "whatsminer" else "t"}
        play.access.memory |= {"token_until_ms": NOW_MS + 10**9, "clock_ahead_s": 0, "capabilities": {}}
        if name not in DIALECTS[dialect].supports():
            assert isinstance(play.carry_out(intent), Unsupported)
            assert not play.writes()
            continue
        try:
            receipt = play.carry_out(intent)
        except (
            Exception
        ) as error:  # a refused read before the write is a DecodeError, which the driver tells as a refusal
            assert type(error).__name__ == "DecodeError"
            continue
        assert isinstance(receipt, Refused | Unsupported), f"{name}: {receipt}"
    assert isinstance(Play(dialect, {}).carry_out(SwitchLoad(1, True)), Unsupported)


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_every_write_is_marked_as_one(dialect: str) -> None:
    """The shell sends a marked request once only; an unmarked one that writes would be a hole."""
    for name, intent in INTENTS.items():
        if name not in DIALECTS[dialect].supports():
            continue
        play = Play(dialect, {})
        try:
            play.carry_out(intent)
        except Exception:
            continue
        for request in play.asked:
            if isinstance(request, Http) and request.method != "GET" and not request.writes:
                assert request.path.endswith(("/login", "/unlock", "/token")), request.path


def test_no_secret_is_in_a_receipt_or_request_text() -> None:
    from miner_control.fleet.command import intent_text

    assert "pw" not in intent_text(POOLS).split()
    assert "new" not in intent_text(SetCredential("root", "new")).split()


def test_lost_connection_within_a_read_is_thrown_into_the_dialect() -> None:
    """RPC closed, web open: the dialect goes the other way by itself."""
    pages = {f"GET /cgi-bin/{name}.cgi": page for name, page in fixtures.antminer_cgi().items()}
    play = Play("antminer", pages, rpc_closed=True)
    assert play.read(Tier.FAST)["state"] == "hashing"
