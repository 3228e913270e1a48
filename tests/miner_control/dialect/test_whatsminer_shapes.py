# SPDX-License-Identifier: Apache-2.0
"""Whatsminers from the M3 to the M7x: what each firmware writes, and what it means. Shapes are real, figures ours."""

from typing import Any

import orjson
import pytest

from kernel.errors import DecodeError
from kernel.reading import Absence, Missing
from kernel.receipt import Accepted, Refused
from miner_control.dialect.whatsminer_token import make_token, sealed
from miner_control.fleet.command import PowerPercent, Sleep
from miner_control.health.third_party_control import own_schedules
from telemetry.collect.source import Tier
from tests.builders.shapes_whatsminer import SHAPES, SLOTS, miner, said, v2, v3
from tests.miner_control.dialect import fixtures_more
from tests.miner_control.dialect.play import NOW_MS, Play, assert_meant, body_of


@pytest.mark.parametrize("name", SHAPES)
def test_what_a_firmware_writes_is_what_it_means(name: str) -> None:
    play, meant = SHAPES[name]
    assert_meant(play.read(Tier.DAILY), meant)


def test_a_fast_poll_tells_sleep_from_a_stop_for_an_error() -> None:
    play = v3({"miner": miner("false"), "error-code": SLOTS}, rate_th=0.0, power=20.0)
    values = play.read(Tier.FAST)
    assert values["state"] == "fault" and values["error_text"].startswith("531 ")
    assert "error_text" not in v3({"error-code": SLOTS}).read(Tier.FAST), "nothing is said of what was not asked"


def test_v3_with_its_process_down_is_asleep_in_a_fast_poll_too() -> None:
    play = v3({"miner": miner("false")})
    play.table["get.miner.status summary"] = {"code": -1, "when": 1, "msg": "btminer process is down err", "desc": ""}
    assert play.read(Tier.FAST)["state"] == "asleep"
    play.table["get.device.info"] = {"code": -4, "msg": "no permission"}
    with pytest.raises(DecodeError, match="process is down"):
        play.read(Tier.FAST)


@pytest.mark.parametrize(("start", "stop"), [(10, 0), (0, 0)])
def test_v3_tells_the_random_delay_it_puts_before_starts_and_stops(start: int, stop: int) -> None:
    play = v3()
    play.table["get.system.setting"] = {
        "code": 0,
        "msg": {"time-randomized": {"start": start, "stop": stop}, "web-pool": 1},
    }
    reported = orjson.loads(play.read(Tier.SLOW)["schedules_json"])  # type: ignore[arg-type]
    assert reported == {"time_randomized": {"enabled": bool(start or stop), "start": start, "stop": stop}}
    hands = own_schedules("x", reported)
    assert [hand.who for hand in hands] == (["Whatsminer's random delay of starts and stops"] if start else [])
    del play.table["get.system.setting"]
    unsaid = play.read(Tier.SLOW)["schedules_json"]
    assert isinstance(unsaid, Missing) and unsaid.reason is Absence.NOT_REPORTED


def test_fans_that_are_none_stay_none_in_the_fast_poll() -> None:
    play = v2(model="M63_VK30", **{"MHS 1m": 3e8, "Fan Speed In": 0, "Fan Speed Out": 0, "Power": 5500})
    assert play.read(Tier.FAST)["fan_max_rpm"] == 0
    play.read(Tier.DAILY)
    assert isinstance(play.read(Tier.FAST)["fan_max_rpm"], Missing)


# --- Commands ---------------------------------------------------------------------------------------------------------

SALTS = {"time": "5626", "salt": "BQ5hoXV9", "newsalt": "jbzkfQls"}


@pytest.mark.parametrize(
    ("answer", "meant"),
    [
        ({"STATUS": [{"STATUS": "S", "Code": 131, "Msg": "API command OK"}], "id": 1}, Accepted("API command OK")),
        ({"STATUS": [{"STATUS": "E", "Code": 45, "Msg": "can't access write cmd"}]}, Refused("45", "can't access write cmd")),
        (said("", 45), Refused("45", "no permission (the write API is off, or this address may not write)")),
        (said("over max connect", 132), Refused("132", "over max connect")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encrypted", [True, False])
def test_whatsminer_answers_to_writes(answer: dict[str, Any], meant: Any, encrypted: bool) -> None:
    token = make_token("secret", SALTS, NOW_MS)
    sent = {"enc": orjson.loads(sealed(token, answer))["data"]} if encrypted else answer
    play = Play("whatsminer", {"get_token": said(SALTS), "enc": sent})
    assert play.carry_out(Sleep()) == meant


def test_no_token_is_a_refusal_with_the_miners_text() -> None:
    full = {"STATUS": "E", "When": 1, "Code": 136, "Msg": "over max connect"}
    play = Play("whatsminer", {"get_token": full})
    assert play.carry_out(Sleep()) == Refused("136", "no token: over max connect") and not play.writes()


def test_v3_refusals_have_texts() -> None:
    table = fixtures_more.whatsminer_v3() | {"set.miner.service": {"code": -4, "msg": ""}}
    receipt = Play("whatsminer_v3", table).carry_out(Sleep())
    assert isinstance(receipt, Refused) and receipt.code == "-4" and "API switch is off" in receipt.text


def test_v3_percent_falls_back_to_the_number_alone() -> None:
    def take(request: Any) -> dict[str, Any]:
        return (
            {"code": 0, "msg": "ok"}
            if isinstance(body_of(request)["param"], int)
            else {"code": -3, "msg": "invalid item"}
        )

    play = Play("whatsminer_v3", fixtures_more.whatsminer_v3() | {"set.miner.power_percent": take})
    assert play.carry_out(PowerPercent(70)) == Accepted("ok")
    assert [body_of(request)["param"] for request in play.writes()] == [{"percent": 70, "mode": "fast"}, 70]
    assert len({body_of(request)["token"] for request in play.writes()}) == 1
