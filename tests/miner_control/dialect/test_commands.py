# SPDX-License-Identifier: Apache-2.0
"""The wire steps of every intent: what is sent, what counts as taken, and what as refused."""

from typing import Any

import pytest

from kernel.receipt import Accepted, Refused, Unknown, Unsupported
from miner_control.dialect import DIALECTS
from miner_control.dialect.whatsminer_token import make_token
from miner_control.fleet.command import (
    Intent,
    Pool,
    PowerTarget,
    SetCredential,
    SetMode,
    SetPools,
    Sleep,
    SwitchLoad,
    Wake,
)
from miner_control.fleet.driver import Answer, Http
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


def test_antminer_settings_go_back_as_they_were_read_whatever_the_firmware_calls_them() -> None:
    more = {"bitmain-new-thing": 7, "api-listen": True, "freq": "525", "bitmain-none": None}
    play = antminer(**more)
    assert isinstance(play.carry_out(Sleep()), Accepted)
    sent, read = body_of(play.writes()[0]), fixtures.antminer_conf(**more)
    changed = {key for key in read | sent if sent.get(key) != read.get(key)}
    assert changed <= {"miner-mode", "bitmain-work-mode", "freq-level"} and "bitmain-none" not in sent
    assert {key: sent[key] for key in ("bitmain-new-thing", "api-listen", "freq")} == {
        "bitmain-new-thing": 7, "api-listen": True, "freq": "525",
    }  # fmt: skip


@pytest.mark.parametrize("intent", [Sleep(), Wake(), SetMode("low"), SetPools((Pool("stratum+tcp://a:1", "w"),))])
def test_a_configuration_of_another_family_is_not_written(intent: Intent) -> None:
    play = antminer()
    pools = [{"url": "stratum+tcp://pool.invalid:3333", "user": "w", "pass": "x"}]
    foreign = {"algo": "ltc", "fc-freq": "1850", "fc-voltage": "1470", "fc-work-mode": 0, "pools": pools}
    play.table["GET /cgi-bin/get_miner_conf.cgi"] = foreign
    receipt = play.carry_out(intent)
    assert isinstance(receipt, Refused) and "fc-freq" in receipt.text and not play.writes()


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
