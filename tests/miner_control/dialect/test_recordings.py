# SPDX-License-Identifier: Apache-2.0
"""Every recorded folder decodes, each field right or Missing with the true reason. Expected values were read by eye."""

from typing import Any

import pytest

from kernel.metric import SCHEMAS
from kernel.reading import Absence, Missing
from miner_control.dialect import DIALECTS
from telemetry.collect.source import Tier
from tests.miner_control.dialect.recordings import folder, folders

TH = 1e12
WORDS: dict[str, tuple[str, dict[str, Any]]] = {
    "antminer_stock_2022-12": (
        "antminer",
        {
            "hashrate_hs": 110.56689 * TH, "hashrate_window_s": 5.0, "hashrate_nominal_hs": 110 * TH,
            "power_w": Absence.UNSUPPORTED,
            "uptime_s": 50474, "temp_board_max_c": 73, "temp_chip_max_c": 78, "fan_min_rpm": 5040, "fan_max_rpm": 6000,
            "boards_hashing": 3, "boards_expected": 3, "chips_hashing": 342, "frequency_hz": 525e6, "hw_errors": 562,
            "shares_accepted": 4057, "shares_rejected": 11, "shares_stale": 1, "pool_state": "alive", "state": "hashing",
            "pool_url": "stratum+tcp://btc.global.luxor.tech:700", "mode": Absence.NOT_REPORTED,
            "error_text": Absence.NOT_REPORTED,
            "serial": "THQING0BDJAB024NF", "make": "antminer", "schedules_json": Absence.UNSUPPORTED,
        },
    ),
    "whatsminer_v1_api-1.4.0": (
        "whatsminer",
        {
            "hashrate_hs": 70.66811452 * TH, "hashrate_window_s": 5.0, "hashrate_nominal_hs": 68.796 * TH, "power_w": 3427,
            "power_source": "psu", "power_limit_w": 3500, "mode": "normal", "state": "hashing", "uptime_s": 10154,
            "temp_board_max_c": 71.5, "temp_chip_max_c": 92.5, "fan_min_rpm": 6450, "fan_max_rpm": 6480, "voltage_v": 11.8,
            "frequency_hz": 648e6, "chips_hashing": 315, "boards_hashing": 3, "firmware": "20210322.22.REL",
            "mac": "C4:08:28:00:A4:19", "error_text": "", "model": Absence.NOT_REPORTED, "pool_user": "asic-rs.test",
        },
    ),
    "whatsminer_v2_api-2.0.5": (
        "whatsminer",
        {
            "hashrate_hs": 124.5 * TH, "hashrate_window_s": 300.0, "power_w": 3200, "power_limit_w": 3300, "state": "hashing",
            "temp_inlet_c": 28.5, "temp_chip_max_c": 81, "temp_board_max_c": 67, "fan_max_rpm": 5400, "shares_accepted": 5412,
            "shares_rejected": 0, "hw_errors": Absence.NOT_REPORTED, "firmware": "20230803.11.REL", "mac": "D4:01:02:03:04:05",
        },
    ),
    "whatsminer_v3_20251209": (
        "whatsminer_v3",
        {
            "hashrate_hs": 171.259 * TH, "hashrate_nominal_hs": 181.051 * TH, "power_w": 3156, "power_limit_w": 3600,
            "temp_board_max_c": 41.5, "temp_chip_max_c": 82, "temp_inlet_c": 28.5, "fan_min_rpm": 5280, "uptime_s": 50000,
            "boards_hashing": 3, "chips_hashing": 225, "mode": "normal", "state": "hashing", "model": "M60S_VK40",
            "serial": "BTM3CS40HD24083100000000000000000", "mac": "CE:02:01:00:8C:36", "error_text": "",
            "shares_accepted": Absence.NOT_REPORTED,
        },
    ),
    "luxos_2025.4.8": (
        "luxos",
        {
            "hashrate_hs": 59.75606 * TH, "hashrate_window_s": 5.0, "hashrate_nominal_hs": 61.9542 * TH, "power_w": 1051,
            "power_source": "estimate", "power_limit_w": Absence.NOT_REPORTED, "mode": "290MHz", "state": "hashing",
            "temp_board_max_c": 47, "temp_chip_max_c": Absence.UNSUPPORTED, "fan_min_rpm": 1920, "fan_max_rpm": 2340,
            "fan_duty_pct": 20, "boards_hashing": 3, "chips_hashing": 231, "shares_accepted": 1483, "model": "Antminer S19k Pro",
            "serial": "JYZZB0UBDJABF06RB", "mac": "62:f7:5e:b7:10:46", "schedules_json": '{"atm":true}',
        },
    ),
    "braiins_25.07": (
        "braiins",
        {
            "hashrate_hs": 141.463565 * TH, "hashrate_window_s": 5.0, "power_w": 3137, "power_source": "estimate",
            "power_limit_w": 3031, "state": "hashing", "temp_board_max_c": 55.5, "temp_chip_max_c": 70.5, "temp_inlet_c": 40,
            "temp_outlet_c": 55.5, "fan_min_rpm": 5874, "fan_duty_pct": 100, "boards_hashing": 3, "chips_hashing": 330,
            "voltage_v": 12.938265, "shares_rejected": 18, "model": "Antminer S19 XP", "serial": Absence.NOT_REPORTED,
            "pool_url": "stratum+tcp://example.pool.com:3333", "pool_state": "alive",
        },
    ),
    "braiins_26.04": (
        "braiins",
        {
            "hashrate_hs": 248.186677 * TH, "power_w": 3480, "power_limit_w": 3500, "state": "hashing", "temp_chip_max_c": 65.375,
            "chips_hashing": 195, "model": "Antminer S21 Pro", "serial": "THQGFKUBDJIAH0E9G", "fan_duty_pct": 92,
            "firmware": "2026-04-14-0-912d084c-26.04-plus", "schedules_json": "{}",
        },
    ),
    "avalon_q": (
        "avalon",
        {
            "hashrate_hs": 0.0, "hashrate_window_s": Absence.NOT_APPLICABLE, "state": "asleep", "power_w": 146,
            "power_limit_w": 800,
            "temp_chip_max_c": Absence.SENTINEL, "temp_inlet_c": 26, "fan_max_rpm": 0, "boards_hashing": 0, "boards_expected": 1,
            "chips_expected": 160, "mode": "eco", "model": "Avalon Q", "pool_user": "worker1", "shares_accepted": 890,
        },
    ),
    "epic_umc": (
        "epic",
        {
            "hashrate_hs": 99.365848 * TH, "power_w": 2166.6174, "power_source": "estimate", "state": "hashing",
            "temp_board_max_c": 67,
            "temp_chip_max_c": Absence.SENTINEL, "fan_min_rpm": 0, "fan_max_rpm": 5971, "boards_hashing": 2, "boards_expected": 3,
            "model": "AntMiner S19 XP", "pool_state": "alive", "shares_rejected": 2, "mac": "E6:D4:41:51:64:28",
        },
    ),
    "auradine": (
        "auradine",
        {
            "hashrate_hs": 20.5997671775 * TH, "hashrate_window_s": 5.0, "power_w": 58.94, "power_limit_w": 2000,
            "mode": "custom",
            "state": "hashing", "temp_board_max_c": 47.5, "temp_chip_max_c": 51.412301, "fan_min_rpm": 7020, "chips_hashing": 396,
            "model": "AT1500", "mac": "1c:00:00:0e:3b:2b",
        },
    ),
    "bitaxe_2.0.0": (
        "bitaxe",
        {
            "hashrate_hs": 1e12, "power_w": 2.65, "voltage_v": 5.175, "temp_chip_max_c": 59.875, "temp_board_max_c": 78,
            "fan_max_rpm": 3517, "fan_duty_pct": 35, "state": "hashing", "power_limit_w": Absence.UNSUPPORTED,
            "pool_state": Absence.NOT_REPORTED, "pool_url": "stratum+tcp://btc.example.pool:3333", "mac": "AA:BB:CC:DD:EE:FF",
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WORDS)
def test_recorded_answers(name: str) -> None:
    dialect, meant = WORDS[name]
    found = DIALECTS[dialect].decode(folder(name, "summary_with_errors", "get_error_code_with_errors",
                                            "get_device_info_with_errors"), Tier.DAILY)  # type: ignore[attr-defined]  # fmt: skip
    assert set(found) <= set(SCHEMAS["miner"])
    wrong = {metric: found.get(metric) for metric, value in meant.items() if not _is(found.get(metric), value)}
    assert not wrong, f"wrong: {wrong}; meant: { {metric: meant[metric] for metric in wrong} }"


def _is(found: Any, meant: Any) -> bool:
    if isinstance(meant, Absence):
        return isinstance(found, Missing) and found.reason is meant
    if isinstance(meant, str):
        return bool(found == meant)
    return isinstance(found, float | int) and found == pytest.approx(meant, rel=1e-6)


UNREAD = {"proto_1.8.0", "sealminer_a2_2025091001"}
"""Families that no dialect reads yet: there is nothing to expect of them but that this is known."""


def test_every_folder_that_is_there_is_expected() -> None:
    assert set(folders()) <= set(WORDS) | UNREAD, "a recorded firmware has no expectations yet"
    assert not UNREAD & set(WORDS), "a dialect reads it now: take it out of UNREAD"


def test_recorded_errors_carry_the_makers_text() -> None:
    v1 = folder("whatsminer_v1_api-1.4.0", "summary") | {
        "summary": folder("whatsminer_v1_api-1.4.0")["summary_with_errors"]
    }
    text = DIALECTS["whatsminer"].decode(v1, Tier.SLOW)["error_text"]  # type: ignore[attr-defined]
    assert text.split("; ")[0].startswith("110 ") and text.split("; ")[1].startswith("600 ")
    v2 = folder("whatsminer_v2_api-2.0.5")
    v2["get_error_code"] = v2.pop("get_error_code_with_errors")
    text = DIALECTS["whatsminer"].decode(v2, Tier.SLOW)["error_text"]  # type: ignore[attr-defined]
    assert text.startswith("218 ") and "; 110 " in text
    v3 = folder("whatsminer_v3_20251209", "get_device_info")
    text = DIALECTS["whatsminer_v3"].decode(v3, Tier.SLOW)["error_text"]  # type: ignore[attr-defined]
    assert text.startswith("264 Power xfer error") and len(text.split("; ")) == 5


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("seed", range(6))
def test_any_key_may_be_missing_or_hold_text(name: str, seed: int) -> None:
    """Other versions of a firmware leave keys out, write numbers as text, or write null: nothing breaks, nothing is invented."""
    import numpy as np

    rng = np.random.default_rng([seed, len(name)])
    dialect, _ = WORDS[name]
    answers = {command: _spoil(document, rng) for command, document in folder(name).items()}
    found = DIALECTS[dialect].decode(answers, Tier.DAILY)  # type: ignore[attr-defined]
    whole = DIALECTS[dialect].decode(folder(name), Tier.DAILY)  # type: ignore[attr-defined]
    assert set(found) <= set(SCHEMAS["miner"])
    if found["state"] == "asleep":
        assert whole["state"] == "asleep"


def _spoil(found: Any, rng: Any) -> Any:
    if isinstance(found, dict):
        kept = {}
        for key, value in found.items():
            chance = rng.random()
            if chance < 0.04:
                continue
            kept[key] = None if chance < 0.06 else _spoil(value, rng)
        return kept
    if isinstance(found, list):
        return [_spoil(entry, rng) for entry in found]
    if isinstance(found, float | int) and not isinstance(found, bool) and rng.random() < 0.3:
        return str(found)
    return found
