# SPDX-License-Identifier: Apache-2.0
"""The makers' own API descriptions, where they stand beside the checkout: every key our dialects look for is a key they have."""

import json
from typing import Any

import pytest

from kernel.reading import Missing
from miner_control.dialect import DIALECTS
from telemetry.collect.source import Tier
from tests.miner_control.dialect.recordings import ROOT


def schema(name: str) -> dict[str, Any]:
    place = ROOT / "schemas" / name
    if not place.is_file():
        pytest.skip(f"NO SCHEMA at {place}: set MINING_HUB_SHARED; the hand-written shapes are tested all the same")
    found: dict[str, Any] = json.loads(place.read_text())
    return found


def sample(whole: dict[str, Any], part: Any, depth: int = 0) -> Any:
    """One document that fits a schema: 7 for numbers, the first of an enumeration, no nulls."""
    if not isinstance(part, dict) or depth > 24:
        return None
    if "$ref" in part:
        found: Any = whole
        for step in part["$ref"].lstrip("#/").split("/"):
            found = found[step]
        return sample(whole, found, depth + 1)
    for key in ("oneOf", "anyOf"):
        if key in part:
            return next(
                (made for made in (sample(whole, one, depth + 1) for one in part[key]) if made is not None), None
            )
    if "allOf" in part:
        merged: dict[str, Any] = {}
        for one in part["allOf"]:
            merged |= sample(whole, one, depth + 1) or {}
        return merged
    if "properties" in part:
        return {key: sample(whole, value, depth + 1) for key, value in part["properties"].items()}
    kinds = part["type"] if isinstance(part.get("type"), list) else [part.get("type")]
    kind = next((one for one in kinds if one != "null"), None)
    if kind == "array":
        return [sample(whole, part.get("items"), depth + 1)]
    return (
        part["enum"][0]
        if "enum" in part
        else {"integer": 7, "number": 7.0, "boolean": True, "string": "word"}.get(str(kind))
    )


def answer(whole: dict[str, Any], path: str) -> Any:
    return sample(whole, next(iter(whole["paths"][path]["get"]["responses"]["200"]["content"].values()))["schema"])


def present(values: dict[str, Any], *metrics: str) -> None:
    absent = {metric: values.get(metric) for metric in metrics if isinstance(values.get(metric), Missing | None)}
    assert not absent


def decode(dialect: str, answers: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = DIALECTS[dialect].decode(answers, Tier.DAILY)  # type: ignore[attr-defined]
    return found


def test_vnish_1_3_4() -> None:
    whole = schema("vnish_1.3.4_api.json")
    answers = {path.strip("/"): answer(whole, path) for path in ("/summary", "/perf-summary", "/info", "/settings")}
    present(
        decode("vnish", answers),
        "hashrate_hs",
        "hashrate_nominal_hs",
        "power_w",
        "power_source",
        "power_limit_w",
        "state",
        "mode",
        "temp_board_max_c",
        "temp_chip_max_c",
        "temp_inlet_c",
        "temp_outlet_c",
        "fan_min_rpm",
        "fan_duty_pct",
        "frequency_hz",
        "voltage_v",
        "boards_hashing",
        "hw_errors",
        "shares_accepted",
        "pool_url",
        "pool_user",
        "model",
        "firmware",
        "serial",
        "mac",
    )


def test_epic_1_30() -> None:
    whole = schema("epic_1.30.0.json")
    answers = {path.strip("/"): answer(whole, path) for path in ("/summary", "/capabilities", "/temps")}
    present(
        decode("epic", answers),
        "hashrate_hs",
        "hashrate_nominal_hs",
        "power_w",
        "power_source",
        "uptime_s",
        "state",
        "temp_board_max_c",
        "fan_min_rpm",
        "fan_duty_pct",
        "frequency_hz",
        "boards_hashing",
        "boards_expected",
        "shares_accepted",
        "shares_rejected",
        "pool_url",
        "pool_user",
        "pool_state",
        "error_text",
        "model",
        "firmware",
        "serial",
    )


def test_braiins_26_04() -> None:
    whole = schema("braiins_26.04_openapi.json")
    paths = {
        "miner_stats": "/api/v1/miner/stats",
        "miner_details": "/api/v1/miner/details",
        "cooling_state": "/api/v1/cooling/state",
        "performance_tuner_state": "/api/v1/performance/tuner-state",
        "miner_hw_hashboards": "/api/v1/miner/hw/hashboards",
        "pools": "/api/v1/pools/",
        "miner_errors": "/api/v1/miner/errors",
        "configuration_miner": "/api/v1/configuration/miner",
    }
    present(
        decode("braiins", {name: answer(whole, path) for name, path in paths.items()}),
        "hashrate_hs",
        "hashrate_window_s",
        "hashrate_nominal_hs",
        "power_w",
        "power_source",
        "power_limit_w",
        "uptime_s",
        "state",
        "mode",
        "temp_board_max_c",
        "temp_inlet_c",
        "temp_outlet_c",
        "fan_min_rpm",
        "frequency_hz",
        "voltage_v",
        "chips_hashing",
        "boards_hashing",
        "shares_accepted",
        "pool_url",
        "pool_state",
        "error_text",
        "model",
        "firmware",
        "serial",
        "mac",
    )


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        (
            "vnish_1.3.4_api.json",
            [
                ("post", "/unlock"),
                ("post", "/mining/stop"),
                ("post", "/mining/start"),
                ("post", "/mining/restart"),
                ("post", "/settings"),
                ("post", "/system/reboot"),
                ("post", "/find-miner"),
                ("get", "/autotune/presets"),
            ],
        ),
        (
            "epic_1.30.0.json",
            [
                ("post", "/miner"),
                ("post", "/perpetualtune/algo"),
                ("post", "/reboot"),
                ("post", "/identify"),
                ("post", "/coin"),
                ("post", "/password"),
            ],
        ),
        (
            "braiins_26.04_openapi.json",
            [
                ("post", "/api/v1/auth/login"),
                ("put", "/api/v1/actions/pause"),
                ("put", "/api/v1/actions/resume"),
                ("put", "/api/v1/performance/power-target"),
                ("put", "/api/v1/actions/reboot"),
                ("put", "/api/v1/actions/locate"),
                ("put", "/api/v1/pools/batch"),
                ("put", "/api/v1/auth/password"),
            ],
        ),
    ],
)
def test_the_pages_we_write_to_exist(name: str, calls: list[tuple[str, str]]) -> None:
    paths = schema(name)["paths"]
    assert [call for call in calls if call[0] not in paths.get(call[1], {})] == []
