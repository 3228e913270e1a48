# SPDX-License-Identifier: Apache-2.0
"""Laws of every dialect: spoilt answers never break it, never invent sleep, and never leave the schema."""

from typing import Any

import numpy as np
import pytest

from kernel.errors import DecodeError
from kernel.reading import Absence, Missing
from miner_control.dialect import DIALECTS
from miner_control.fleet.miner import State
from telemetry.collect.source import Tier
from tests.builders.spoilt_answers import ODD
from tests.miner_control.dialect.fixtures_more import asleep, every, faulty
from tests.miner_control.dialect.laws import check
from tests.servers import count

SHAPES = [(dialect, index) for dialect, shapes in every().items() for index in range(len(shapes))]


def spoil(found: Any, rng: np.random.Generator, share: float) -> Any:
    """The document with a share of its values replaced by odd ones, and of its keys left out."""
    if rng.random() < share:
        return ODD[int(rng.integers(len(ODD)))]
    if isinstance(found, dict):
        return {key: spoil(value, rng, share) for key, value in found.items() if rng.random() > share}
    if isinstance(found, list):
        return [spoil(value, rng, share) for value in found]
    return found


def test_every_dialect_has_a_shape_and_each_that_can_sleep_its_evidence() -> None:
    assert set(every()) == set(DIALECTS) == set(faulty())
    assert set(asleep()) == {name for name, dialect in DIALECTS.items() if "Sleep" in dialect.supports()}


@pytest.mark.parametrize(("dialect", "index"), SHAPES)
def test_spoilt_answers(dialect: str, index: int) -> None:
    answers = every()[dialect][index]
    for seed in range(count(60, 2000)):
        rng = np.random.default_rng([seed, index])
        spoilt = {name: spoil(document, rng, 0.04) for name, document in answers.items()}
        for tier in Tier:
            try:
                values = DIALECTS[dialect].decode(spoilt, tier)  # type: ignore[attr-defined]
            except DecodeError:
                continue
            check(values)


def drop(found: Any, rng: np.random.Generator, share: float) -> Any:
    """The document with a share of its keys left out."""
    if isinstance(found, dict):
        return {key: drop(value, rng, share) for key, value in found.items() if rng.random() > share}
    return [drop(value, rng, share) for value in found] if isinstance(found, list) else found


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_zero_without_evidence_of_sleep_is_never_sleep(dialect: str) -> None:
    answers = faulty()[dialect]
    assert DIALECTS[dialect].decode(answers, Tier.DAILY)["state"] == State.FAULT  # type: ignore[attr-defined]
    for seed in range(count(80, 2000)):
        rng = np.random.default_rng(seed)
        try:
            values = DIALECTS[dialect].decode(drop(answers, rng, 0.15), Tier.FAST)  # type: ignore[attr-defined]
        except DecodeError:
            continue
        assert values["state"] in (State.FAULT, State.UNKNOWN, State.RAMPING, State.STOPPED), f"seed {seed}"


@pytest.mark.parametrize("dialect", sorted(asleep()))
def test_sleep_is_reported_and_never_read_as_hashing(dialect: str) -> None:
    answers = asleep()[dialect]
    values = DIALECTS[dialect].decode(answers, Tier.DAILY)  # type: ignore[attr-defined]
    assert values["state"] == State.ASLEEP
    window = values["hashrate_window_s"]
    assert isinstance(window, Missing) and window.reason is Absence.NOT_APPLICABLE
    for seed in range(count(80, 2000)):
        rng = np.random.default_rng(seed)
        try:
            values = DIALECTS[dialect].decode(drop(answers, rng, 0.15), Tier.FAST)  # type: ignore[attr-defined]
        except DecodeError:
            continue
        assert values["state"] != State.HASHING or values["hashrate_hs"] != 0.0, f"seed {seed}"


@pytest.mark.parametrize(("dialect", "index"), SHAPES)
def test_numbers_as_text_are_the_same_numbers(dialect: str, index: int) -> None:
    answers = every()[dialect][index]
    values = DIALECTS[dialect].decode(answers, Tier.SLOW)  # type: ignore[attr-defined]
    as_text = DIALECTS[dialect].decode(_texts(answers), Tier.SLOW)  # type: ignore[attr-defined]
    for name in (
        "hashrate_hs",
        "power_w",
        "temp_chip_max_c",
        "temp_board_max_c",
        "fan_min_rpm",
        "fan_max_rpm",
        "uptime_s",
    ):
        assert as_text[name] == values[name], name
    assert as_text["state"] == values["state"]


def _texts(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: _texts(value) for key, value in found.items()}
    if isinstance(found, list):
        return [_texts(value) for value in found]
    return str(found) if isinstance(found, float | int) and not isinstance(found, bool) else found


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_an_empty_or_foreign_answer_is_a_decode_error(dialect: str) -> None:
    for nothing in ({}, {"summary": None}, {"x": {"y": 1}}, {"summary": "text"}):
        with pytest.raises(DecodeError):
            DIALECTS[dialect].decode(nothing, Tier.DAILY)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("dialect", "index"), SHAPES)
def test_the_fast_tier_says_what_control_needs(dialect: str, index: int) -> None:
    values = DIALECTS[dialect].decode(every()[dialect][index], Tier.FAST)  # type: ignore[attr-defined]
    assert {"hashrate_hs", "power_w", "power_source", "state", "mode", "uptime_s"} <= set(values)
    assert values["state"] == State.HASHING
    assert values["hashrate_hs"] > 0
