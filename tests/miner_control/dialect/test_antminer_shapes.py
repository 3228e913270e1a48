# SPDX-License-Identifier: Apache-2.0
"""Antminers of every age and algorithm: what each firmware writes, and what it means. Shapes are real, figures ours."""

from typing import Any
from urllib.parse import parse_qsl

import orjson
import pytest

from kernel.errors import DecodeError, TransportError
from kernel.reading import Absence, Missing
from kernel.receipt import Accepted, Refused, Unknown, Unsupported
from miner_control.fleet.command import Locate, Pool, SetMode, SetPools, Sleep, Wake
from miner_control.fleet.driver import Answer, Http
from telemetry.collect.source import Tier
from tests.builders.shapes_antminer import SHAPES, board, cgi, rpc
from tests.miner_control.dialect import fixtures
from tests.miner_control.dialect.play import Play, assert_meant, body_of


@pytest.mark.parametrize("name", SHAPES)
def test_what_a_firmware_writes_is_what_it_means(name: str) -> None:
    play, meant = SHAPES[name]
    assert_meant(play.read(Tier.DAILY), meant)


def test_a_check_that_does_not_apply_is_no_fault() -> None:
    """Hydro models leave the status of their fans empty."""
    checks = [
        {"type": "fans", "status": "", "code": 0, "msg": ""},
        {"type": "temp", "status": "s", "code": 0, "msg": ""},
    ]
    shape = fixtures.antminer_cgi(0.0, elapsed=100)
    shape["summary"]["SUMMARY"][0]["status"] = checks
    values = Play(
        "antminer", {f"GET /cgi-bin/{name}.cgi": page for name, page in shape.items()}, rpc_closed=True
    ).read()
    assert (values["error_text"], values["state"]) == ("", "ramping")


def test_a_cut_answer_counts_no_boards() -> None:
    """What was summed over half of the boards would be of no miner."""
    whole = orjson.dumps(fixtures.antminer()["stats"])
    cut = whole[: whole.index(b'"chain_rate3"') + 20]
    values = Play("antminer", {"stats": cut}, joins=False).read()
    assert values["hashrate_hs"] == 95_000.5e9 and values["state"] == "hashing"
    assert isinstance(values["boards_hashing"], Missing) and values["chips_hashing"] == 227
    pools = orjson.dumps(fixtures.antminer()["pools"])
    kept = Play("antminer", {**fixtures.antminer(), "pools": pools[: pools.index(b"b.example")]}, joins=False).read()
    assert isinstance(kept["pool_url"], Missing)


@pytest.mark.parametrize(
    "page", [b"<html><a href='x.html'>log in</a></html>", b'<!DOCTYPE html><script>var a={"b":1}</script>']
)
def test_a_page_to_log_in_at_is_no_answer(page: bytes) -> None:
    table = {f"GET /cgi-bin/{name}.cgi": page for name in ("summary", "stats", "pools", "get_miner_conf")}
    with pytest.raises(DecodeError):
        Play("antminer", table, rpc_closed=True).read()
    table = {"GET /cgi-bin/get_miner_conf.cgi": fixtures.antminer_conf(), "POST /cgi-bin/set_miner_conf.cgi": page}
    assert isinstance(Play("antminer", table).carry_out(Sleep()), Refused)


@pytest.mark.parametrize(
    ("answer", "meant"),
    [
        ({"stats": "success", "code": "M000", "msg": "OK!"}, Accepted("OK!")),
        ({"stats": "error", "code": "M001", "msg": "Illegal request!"}, Refused("M001", "Illegal request!")),
        ({"STATUS": "E", "Code": 45, "Msg": "Access denied"}, Refused("45", "Access denied")),
        ({"code": -1, "msg": "busy"}, Refused("-1", "busy")),
        (b'{"stats":"succ', Unknown('no answer that can be read: {"stats":"succ')),
        ({}, Unknown("no success reported: b'{}'")),
    ],
)
def test_only_a_reported_success_is_acceptance(answer: Any, meant: Any) -> None:
    table = {"GET /cgi-bin/get_miner_conf.cgi": fixtures.antminer_conf(), "POST /cgi-bin/set_miner_conf.cgi": answer}
    assert Play("antminer", table).carry_out(Sleep()) == meant


def test_a_configuration_that_was_cut_is_never_written_back() -> None:
    whole = orjson.dumps(fixtures.antminer_conf())
    for end in range(1, len(whole)):
        play = Play("antminer", {"GET /cgi-bin/get_miner_conf.cgi": whole[:end]})
        with pytest.raises(DecodeError):
            play.carry_out(Sleep())
        assert not play.writes()


DENIED = {"STATUS": [{"STATUS": "E", "When": 1, "Code": 45, "Msg": "Access denied to 'stats' command"}], "id": 1}
PAGES_OF = {f"GET /cgi-bin/{name}.cgi": page for name, page in fixtures.antminer_cgi(120.5).items()}


def test_an_api_for_other_addresses_is_read_over_the_pages() -> None:
    play = Play("antminer", dict.fromkeys(("summary", "stats", "pools"), DENIED) | PAGES_OF)
    assert play.read()["hashrate_hs"] == pytest.approx(120.5e12)
    play.asked.clear()
    assert play.read(Tier.FAST)["state"] == "hashing"
    assert all(isinstance(request, Http) for request in play.asked), "the RPC is not asked again"
    play.access.ports.pop("http")  # type: ignore[attr-defined]
    with pytest.raises(DecodeError, match="45"):
        play.read()


def test_pages_tell_pools_and_not_which_of_them_is_worked_for() -> None:
    pools = [{"index": at, "url": f"stratum+tcp://{at}.example:3333", "user": "w.1", "status": "Alive", "priority": at,
              "accepted": 9 + at, "rejected": 1, "stale": 0} for at in range(2)]  # fmt: skip
    bare = {key: value for key, value in board(0).items() if key != "index"}
    stats = cgi("Antminer T21", rate_5s=190_123.4, rate_unit="GH/s", chain=[bare, bare]).table["stats"]
    pages = {"GET /cgi-bin/stats.cgi": stats, "GET /cgi-bin/pools.cgi": {"POOLS": pools}}
    values = Play("antminer", pages, rpc_closed=True).read()
    assert (values["pool_url"], values["pool_state"], values["shares_accepted"]) == (pools[0]["url"], "alive", 19)
    assert [pool["active"] for pool in orjson.loads(str(values["pools_json"]))] == [None, None]
    assert [one["board"] for one in orjson.loads(str(values["boards_json"]))] == [0, 1]


def test_pages_that_refuse_the_password_leave_sleep_and_fault_unknown() -> None:
    locked = Answer(b"<html>401</html>", 401)
    table = dict.fromkeys(
        (f"GET /cgi-bin/{name}.cgi" for name in ("get_miner_conf", "get_system_info", "summary")), locked
    )
    play = Play("antminer", fixtures.antminer(0.0) | table)
    values = play.read()
    assert values["state"] == "unknown"
    for metric in ("serial", "mac", "mode"):
        assert isinstance(values[metric], Missing) and values[metric].reason is Absence.REFUSED
    play.table["GET /cgi-bin/get_miner_conf.cgi"] = fixtures.antminer_conf("1")
    assert play.read(Tier.FAST)["state"] == "asleep"
    with pytest.raises(TransportError) as caught:
        Play("antminer", dict.fromkeys(PAGES_OF, locked) | table, rpc_closed=True).read()
    assert caught.value.reason is Absence.REFUSED


# --- Before 2020: the configuration is a form -------------------------------------------------------------------------

POOL = {"url": "stratum+tcp://b.example:3333", "user": "acct.w1", "pass": "x"}


def before_2020(mode: str | None, blank: bytes = b"") -> Play:
    conf = {
        "pools": [POOL],
        "api-listen": True,
        "bitmain-use-vil": True,
        "bitmain-freq": "O",
        "bitmain-voltage": "1950",
    }
    body = orjson.dumps(conf | ({} if mode is None else {"bitmain-work-mode": mode}))
    table = {
        "GET /cgi-bin/get_miner_conf.cgi": body[:-1] + blank + b"}",
        "POST /cgi-bin/set_miner_conf.cgi": b"ok",
        "POST /cgi-bin/blink.cgi": b"",
    }
    return Play("antminer", table)


def sent_form(play: Play) -> dict[str, str]:
    request = play.writes()[-1]
    assert isinstance(request, Http) and request.headers["Content-Type"].endswith("form-urlencoded")
    return dict(parse_qsl(bytes(request.body).decode(), keep_blank_values=True))  # type: ignore[arg-type]


def test_the_first_s17_sleeps_by_its_form() -> None:
    play = before_2020("0", b',"bitmain-fan-ctrl" : ')
    assert isinstance(play.carry_out(Sleep()), Accepted)
    sent = sent_form(play)
    assert (sent["_ant_work_mode"], sent["_ant_freq"], sent["_ant_voltage"]) == ("254", "O", "1950")
    assert (sent["_ant_pool1url"], sent["_ant_pool1user"], sent["_ant_pool3url"]) == (POOL["url"], "acct.w1", "")
    assert (sent["_ant_fan_customize_switch"], sent["_ant_fan_customize_value"]) == ("false", "")
    assert list(sent)[:3] == ["_ant_pool1url", "_ant_pool1user", "_ant_pool1pw"], "the page takes fields by their place"
    play.table["GET /cgi-bin/get_miner_conf.cgi"] = before_2020("254").table["GET /cgi-bin/get_miner_conf.cgi"]
    assert isinstance(play.carry_out(Wake()), Accepted) and sent_form(play)["_ant_work_mode"] == "0"


def test_the_first_s17_asleep_is_asleep() -> None:
    play = rpc("Antminer S17", **{"GHS 5s": "0.00", "GHS av": 0.0})
    play.table |= before_2020("254").table
    assert play.read()["state"] == "asleep"


def test_a_miner_that_knows_no_work_mode_is_not_written_to() -> None:
    play = before_2020(None)
    for intent in (Sleep(), Wake(), SetMode("low")):
        assert isinstance(play.carry_out(intent), Unsupported)
    assert not play.writes()
    assert isinstance(play.carry_out(SetPools((Pool("stratum+tcp://n.example:1", "acct.w9", "pw"),))), Accepted)
    assert sent_form(play)["_ant_pool1url"] == "stratum+tcp://n.example:1" and "_ant_work_mode" not in sent_form(play)


def test_old_firmware_blinks_by_its_form() -> None:
    play = before_2020("0")
    assert isinstance(play.carry_out(Locate(True)), Accepted)
    assert [bytes(request.body) for request in play.writes()] == [b'{"blink":true}', b"action=startBlink"]  # type: ignore


def test_a_new_configuration_keeps_what_it_held() -> None:
    conf = {
        **fixtures.antminer_conf(),
        "bitmain-hashrate-percent": "90",
        "bitmain-user-ip-cat": True,
        "bitmain-fan-pwm": None,
    }
    play = Play(
        "antminer", {"GET /cgi-bin/get_miner_conf.cgi": conf, "POST /cgi-bin/set_miner_conf.cgi": Answer(b"{}", 200)}
    )
    play.carry_out(Sleep())
    sent = body_of(play.writes()[0])
    assert (sent["bitmain-hashrate-percent"], sent["bitmain-user-ip-cat"]) == (
        "90",
        True,
    ) and "bitmain-fan-pwm" not in sent
