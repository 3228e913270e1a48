# SPDX-License-Identifier: Apache-2.0
"""Figures that say nothing, and reports of wellbeing: neither becomes a measurement or a fault."""

from typing import Any

import pytest

from kernel.reading import Missing
from miner_control.dialect import DIALECTS
from telemetry.collect.source import Tier


def decoded(dialect: str, **answers: Any) -> Any:
    return DIALECTS[dialect].decode(answers, Tier.DAILY)  # type: ignore[attr-defined]


def avalon(text: str, rate_mhs: float = 30e6) -> Any:
    summary = {"SUMMARY": [{"Elapsed": 155, "MHS av": rate_mhs, "MHS 30s": rate_mhs, "Accepted": 6}]}
    return decoded("avalon", summary=summary, stats={"STATS": [{"STATS": 0, "MM ID0": text}]})


WORKS = "SYSTEMSTATU[Work: In Work, Hash Board: 2 ] Elapsed[157] TMax[64] MGHS[12362.61 12812.16] MTmax[61 64]"


def test_a_supply_of_zeros_reports_nothing_and_its_boards_are_counted_by_their_rates() -> None:
    values = avalon(f"Ver[1047-20051101_a_b] DNA[0201] {WORKS} PS[0 0 0 0 0 0] MPO[2220]")
    assert isinstance(values["power_w"], Missing) and isinstance(values["power_source"], Missing)
    assert (values["state"], values["boards_hashing"], values["boards_expected"]) == ("hashing", 2.0, 2.0)
    off = avalon(f"Ver[1366-20051101_a_b] {WORKS} PS[0 1198 0 0 0 1393 11]")
    assert off["power_w"] == 11.0 and off["boards_hashing"] == 0.0, "this supply reports, and gives the boards nothing"


def test_the_nano_3_has_its_power_in_the_sixth_place_and_shares_its_zeros_with_no_other() -> None:
    nano = "Elapsed[512943] TMax[87] PS[0 0 0 3 2792 89 324] GHSspd[2630.98] Freq[0.00] MPO[90]"
    values = avalon(f"Ver[nano3-24071801_a] DNA[0000000000000000] HDNA[0201000000000007] {nano}", 2.6e6)
    assert (values["power_w"], values["serial"]) == (89.0, "0201000000000007") and isinstance(
        values["frequency_hz"], Missing
    )
    bare = avalon(f"Ver[nano3-24071801_a] DNA[0000000000000000] {nano}", 2.6e6)
    assert isinstance(bare["serial"], Missing)
    assert avalon(f"Ver[nano3s-24071801_a] DNA[01] {nano}", 2.6e6)["power_w"] == 324.0, "another model, another place"


@pytest.mark.parametrize(
    "text", ["PSU OK", "ok", "Power supply: Normal", "PSU status is good", "no errors", "0 faults"]
)
def test_a_supply_that_is_well_in_any_wording_is_no_error(text: str) -> None:
    assert supply(text) == ""


@pytest.mark.parametrize(
    "text", ["PSU error", "over temperature", "not ok", "OK, but fan stopped", "undervoltage", "2 faults"]
)
def test_a_supply_that_is_not_well_is_one(text: str) -> None:
    assert supply(text) == text


def supply(text: str) -> Any:
    stats = {
        "STATS": [
            {"Type": "S19-88"},
            {"Elapsed": 1926, "GHS 5s": 99989.59, "chain_rate1": 34084.86, "psu_status": text},
        ]
    }
    return decoded("antminer", stats=stats)["error_text"]


def test_a_board_that_was_switched_off_is_not_expected_to_hash() -> None:
    def board(name: str, enabled: bool, ghs: float) -> dict[str, Any]:
        rate = {"real_hashrate": {"last_5s": {"gigahash_per_second": ghs}}}
        return {"id": name, "enabled": enabled, "chips_count": 77, "stats": rate}

    def of(*boards: dict[str, Any]) -> Any:
        stats = {"miner_stats": {"real_hashrate": {"last_5s": {"gigahash_per_second": 27480}}}}
        return decoded(
            "braiins", miner_hw_hashboards={"hashboards": list(boards)}, miner_details={"status": 2}, miner_stats=stats
        )

    one = of(board("1", True, 27480), board("2", False, 0), board("3", False, 0))
    assert (one["boards_hashing"], one["boards_expected"]) == (1.0, 1.0)
    dead = of(board("1", True, 27480), board("2", True, 0), board("3", False, 0))
    assert (dead["boards_hashing"], dead["boards_expected"]) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("power_w", "chip_c", "state"),
    [(1.9, 28, "fault"), (3.2, 39, "fault"), (6.5, 28, "hashing"), (11.0, 30, "hashing"), (2.7, 60, "hashing")],
)
def test_a_rate_that_watts_and_a_cool_chip_deny_is_no_rate(power_w: float, chip_c: float, state: str) -> None:
    info = {
        "power": power_w, "temp": chip_c, "hashRate": 412.7, "ASICModel": "BM1366", "uptimeSeconds": 90000, "asicCount": 1,
        "version": "v2.4.0",
        "overheat_mode": 0,
    }  # fmt: skip
    assert decoded("bitaxe", system_info=info)["state"] == state
