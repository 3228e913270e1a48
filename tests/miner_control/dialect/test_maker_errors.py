# SPDX-License-Identifier: Apache-2.0
"""Codes become words only where the words are known."""

import pytest

from miner_control.dialect import DIALECTS
from miner_control.dialect.maker_errors import WHATSMINER, whatsminer_text
from telemetry.collect.source import Tier
from tests.miner_control.dialect import fixtures, fixtures_more


@pytest.mark.parametrize(
    ("code", "text"),
    [("218", "218 supply input voltage too low for this power mode"), ("541", "541 board 1 chips not readable"),
     ("2021", "2021 pool 1 not connected"), ("99999", "99999"), ("7", "7")],
)  # fmt: skip
def test_whatsminer_codes(code: str, text: str) -> None:
    assert whatsminer_text(code) == text


def test_all_listed_codes_have_a_text_of_their_own() -> None:
    assert all(text and text == text.strip() for text in WHATSMINER.values())


def test_both_ways_of_telling_codes_are_read() -> None:
    answers = fixtures.whatsminer(**{"Error Code Count": 2, "Error Code 0": 110, "Error Code 1": 540})
    answers["get_error_code"]["Msg"] = {"error_code": ["218", {"541": "2024-01-01 00:00:00"}, 540]}
    text = DIALECTS["whatsminer"].decode(answers, Tier.SLOW)["error_text"]  # type: ignore[attr-defined]
    assert [part.split(" ")[0] for part in text.split("; ")] == ["110", "540", "218", "541"]


def test_the_makers_own_reason_wins() -> None:
    answers = {name.split(" ")[-1]: document for name, document in fixtures_more.whatsminer_v3().items()}
    answers["get.device.info"]["msg"]["error-code"] = [
        {"264": "2026-01-01", "reason": "Power xfer error"},
        {"541": "2026-01-01"},
    ]
    text = DIALECTS["whatsminer_v3"].decode(answers, Tier.SLOW)["error_text"]  # type: ignore[attr-defined]
    assert text == "264 Power xfer error; 541 board 1 chips not readable"


def test_a_listed_code_alone_is_no_fault_while_it_hashes() -> None:
    answers = fixtures.whatsminer(**{"Error Code Count": 1, "Error Code 0": 2021})
    assert DIALECTS["whatsminer"].decode(answers, Tier.SLOW)["state"] == "hashing"  # type: ignore[attr-defined]
