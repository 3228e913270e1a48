# SPDX-License-Identifier: Apache-2.0
"""Commands of the Whatsminer dialects: which exchanges they make, tokens and sealed secrets, what is refused."""

import base64
import hashlib
from typing import Any

import orjson
import pytest

from kernel.receipt import Accepted, Refused
from miner_control.dialect.whatsminer_token import make_token, opened, sealed
from miner_control.fleet.command import (
    Intent,
    Locate,
    Pool,
    PowerPercent,
    PowerTarget,
    Reboot,
    SetCredential,
    SetMode,
    SetPools,
    Sleep,
    Wake,
)
from miner_control.fleet.driver import Rpc
from tests.builders.intents import POOLS
from tests.miner_control.dialect import fixtures_more
from tests.miner_control.dialect.play import NOW_MS, Play, body_of

# --- Whatsminer -------------------------------------------------------------------------------------------------------

SALTS = {"time": "5626", "salt": "BQ5hoXV9", "newsalt": "jbzkfQls"}
TOKEN = make_token("secret", SALTS, NOW_MS)


def whatsminer(*answers: Any) -> Play:
    """Each write gets the next of the answers, encrypted unless it is a refusal in plain or already bytes."""
    left = list(answers)

    def write(request: Any) -> Any:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, bytes):
            return answer
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
            {"cmd": "update_pools", "pool1": "stratum+tcp://new.example:3333", "worker1": "acct.w9", "passwd1": "pw"}
            | dict.fromkeys(("pool2", "worker2", "passwd2", "pool3", "worker3", "passwd3"), ""),
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


def test_whatsminer_pools_fill_all_three_places() -> None:
    play = whatsminer(TOOK)
    assert isinstance(play.carry_out(SetPools((Pool("stratum+tcp://a:3333", "w"),))), Accepted)
    (sent,) = sent_by(play)
    pools = {key: value for key, value in sent.items() if key[-1:].isdigit()}
    assert pools == {
        "pool1": "stratum+tcp://a:3333", "worker1": "w", "passwd1": "x",
        "pool2": "", "worker2": "", "passwd2": "", "pool3": "", "worker3": "", "passwd3": "",
    }  # fmt: skip


def test_whatsminer_refusal_that_was_encoded_twice_is_a_refusal_and_its_token_is_made_anew_once() -> None:
    refused = {"STATUS": "E", "When": 1, "Code": 135, "Msg": "check token err", "Description": ""}
    twice = orjson.dumps(orjson.dumps(refused).decode())
    play = whatsminer(twice, TOOK)
    assert isinstance(play.carry_out(Sleep()), Accepted)
    shut = orjson.dumps(orjson.dumps(refused | {"Code": 45, "Msg": "permission denied"}).decode())
    assert whatsminer(shut).carry_out(Sleep()) == Refused("45", "permission denied")


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
