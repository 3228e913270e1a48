# SPDX-License-Identifier: Apache-2.0
"""Avalons from the A7 to the A15, Q, Mini and Nano: what each writes, and what it means. Shapes are real, figures ours."""

import pytest

from kernel.errors import DecodeError
from kernel.reading import Missing
from kernel.receipt import Accepted, Receipt, Refused, Unsupported
from miner_control.fleet.command import Intent, Pool, Reboot, SetMode, SetPools, Sleep, Wake
from telemetry.collect.source import Tier
from tests.builders.shapes_avalon import A1047, A1126, A1346, HASHES, SHAPES, plain, reported
from tests.miner_control.dialect.play import Play, assert_meant, body_of


@pytest.mark.parametrize("name", SHAPES)
def test_what_a_firmware_writes_is_what_it_means(name: str) -> None:
    play, meant = SHAPES[name]
    assert_meant(play.read(Tier.DAILY), meant)


def test_a_text_cut_short_tells_no_half_figure() -> None:
    summary = "STATUS=S,When=1,Code=11,Msg=Summary|SUMMARY,Elapsed=5400,Accepted=80,MHS av=1095"
    values = plain(summary=summary, stats=f"STATUS=S,Code=70|STATS=0,MM ID0={A1126[:-120]}").read(Tier.FAST)
    assert isinstance(values["hashrate_hs"], Missing) and values["shares_accepted"] == 80


def test_a_refused_api_says_so() -> None:
    denied = b"STATUS=E,When=9,Code=45,Msg=Access denied to 'stats' command,Description=cgminer 4.11.1|\x00"
    with pytest.raises(DecodeError, match="45"):
        plain(summary=denied.decode(), stats=denied.decode(), estats=denied.decode()).read()


# --- Commands ---------------------------------------------------------------------------------------------------------


def commanded(play: Play, intent: Intent, answer: str) -> tuple[Receipt, list[str]]:
    play.asked.clear()
    play.table["ascset"] = f"STATUS={answer},Description=cgminer 4.11.1|\x00".encode()
    receipt = play.carry_out(intent)
    return receipt, [body_of(request)["parameter"] for request in play.writes()]


OK, FAILED = "S,When=1,Code=119,Msg=ASC 0 set OK", "E,When=1,Code=120,Msg=ASC 0 set failed: "


def test_an_a10_is_switched_off_and_booted_again() -> None:
    """It knows no appointments; that its boards have no power is sleep only where it was told here."""
    play = reported({"MM ID0": A1047.format(supply="1315 174 2288")}, summary=HASHES | {"MHS 30s": 0.0})
    play.read()
    receipt, sent = commanded(play, Sleep(), "I,When=1,Code=118,Msg=ASC 0 set info: Power off hash now ...")
    assert isinstance(receipt, Accepted) and sent == ["0,hashpower,0"]
    play.table["stats"] = reported({"MM ID0": A1047.format(supply="0 0 0")}).table["stats"]
    assert play.read(Tier.FAST)["state"] == "asleep"
    receipt, sent = commanded(play, Wake(), "I,When=1,Code=118,Msg=ASC 0 set info: reboot")
    assert isinstance(receipt, Accepted) and sent == ["0,reboot,0"]
    assert play.read(Tier.FAST)["state"] == "stopped"


def test_later_models_are_given_an_appointment() -> None:
    play = reported(
        {"MM ID0": A1346.format(work="In Work", off=0, now="110778.38", supply="0 1199 1391 225 3126 1393 3348")}
    )
    play.read()
    receipt, sent = commanded(play, Sleep(), OK)
    assert isinstance(receipt, Accepted) and sent[0].startswith("0,softoff,1:")


@pytest.mark.parametrize(
    ("product", "mode", "meant"),
    [("AvalonMiner 1047", "high", "0,workmode,1"), ("AvalonMiner 1047", "1", "0,workmode,1"),
     ("Avalon Nano3s", "high", "0,workmode,set,2"), ("Avalon Mini3", "medium", "0,workmode,set,1"),
     ("Avalon Q", "super", "0,workmode,set,2"), ("Avalon Q", "eco", "0,workmode,set,0")],
)  # fmt: skip
def test_work_modes_by_family(product: str, mode: str, meant: str) -> None:
    receipt, sent = commanded(reported({}, PROD=product), SetMode(mode), OK)
    assert isinstance(receipt, Accepted) and sent == [meant]


def test_a_mode_of_another_family_is_not_sent() -> None:
    receipt, sent = commanded(reported({}, PROD="AvalonMiner 1346-110"), SetMode("eco"), OK)
    assert isinstance(receipt, Unsupported) and not sent


@pytest.mark.parametrize(
    ("answer", "taken"),
    [(OK, True), (FAILED, False), ("I,When=1,Code=118,Msg=ASC 0 set info: WORKMODE[1]", True),
     ("I,When=1,Code=118,Msg=ASC 0 set info: WORKMODE[0]", False),
     ("I,When=1,Code=118,Msg=ASC 0 set info: help|voltage|reboot", False),
     ("E,When=1,Code=45,Msg=Access denied to 'ascset' command", False)],
)  # fmt: skip
def test_an_echo_of_what_was_asked_is_acceptance(answer: str, taken: bool) -> None:
    receipt, _ = commanded(reported({}, PROD="AvalonMiner 1047"), SetMode("high"), answer)
    assert isinstance(receipt, Accepted if taken else Refused)


def test_reboot_echoed_and_pools_of_old() -> None:
    receipt, _ = commanded(reported({}), Reboot(), "I,When=1,Code=118,Msg=ASC 0 set info: reboot")
    assert isinstance(receipt, Accepted)
    pools = SetPools((Pool("stratum+tcp://n.example:1", "acct.w9", "pw"),))
    said = "I,When=1,Code=118,Msg=ASC 0 set info:\npool success set to stratum+tcp://n.example:1\nPlease reboot miner"
    receipt, sent = commanded(reported({}), pools, said)
    assert isinstance(receipt, Accepted)
    assert sent[-1] == "0,setpool,root,secret,stratum+tcp://n.example:1,acct.w9,pw"
