# SPDX-License-Identifier: Apache-2.0
"""Answers in the shapes of real firmware, each with what is read from it."""

from typing import Any

from kernel.reading import Absence
from tests.miner_control.dialect import fixtures, fixtures_more
from tests.miner_control.dialect.play import Play

TH = 1e12


def v2(devs: list[dict[str, Any]] | None = None, status: Any = None, model: str = "M30S+", **summary: Any) -> Play:
    reported = {"Elapsed": 9000, "Accepted": 33, "Rejected": 1, "Fan Speed In": 4590, "Fan Speed Out": 4560, **summary}
    table = {
        "summary": {"STATUS": fixtures.status(11, "Summary"), "SUMMARY": [reported], "id": 1},
        "devdetails": {"STATUS": fixtures.status(69, "Details"), "DEVDETAILS": [{"Model": model}], "id": 1},
        "pools": fixtures.antminer()["pools"],
    }
    table |= {} if devs is None else {"devs": {"STATUS": fixtures.status(9, "devs"), "DEVS": devs, "id": 1}}
    return Play("whatsminer", table | ({} if status is None else {"status": said(status)}))


def said(message: Any, code: int = 131) -> dict[str, Any]:
    return {"STATUS": "S" if code == 131 else "E", "When": 1, "Code": code, "Msg": message, "Description": ""}


def v3(info: dict[str, Any] | None = None, **summary: Any) -> Play:
    table = fixtures_more.whatsminer_v3(**summary)
    table["get.device.info"]["msg"] |= info or {}
    return Play("whatsminer_v3", table)


def miner(working: str, **more: Any) -> dict[str, Any]:
    return {"type": "M63S++_VL50", "working": working, "board-num": "3", "miner-sn": "SN9", **more}


FLAT = {"Elapsed": 11367, "MHS av": 122942400, "MHS 1m": 123107336, "MHS 15m": 122913336, "HS RT": 123107336,
        "Temperature": 80.0, "Env Temp": 32.0, "Chip Temp Max": 101.25, "Fan Speed In": 4530, "Power": 3593}  # fmt: skip


SLOTS = [{"531": "2026-03-12 14:52:35", "reason": "Slot1 not found."}, {"532": "2026-03-12 14:52:35"}]


SHAPES: dict[str, tuple[Play, dict[str, Any]]] = {
    "M3 without watts, and with a converter's step for volts": (
        v2(**{"MHS av": 11763615.4, "MHS 5s": 12286819.7, "Temperature": 85.5, "freq_avg": 635, "Voltage": 8,
              "Hardware Errors": 394}),
        {"hashrate_hs": 12.2868197 * TH, "voltage_v": Absence.NONSENSE, "power_w": Absence.NOT_REPORTED, "hw_errors": 394,
         "temp_board_max_c": 85.5, "frequency_hz": 635e6, "state": "hashing", "temp_chip_max_c": Absence.NOT_REPORTED},
    ),
    "M20S": (
        v2(**{"MHS 5s": 65371302.7, "Voltage": 1170, "Power Current": 258, "Error Code Count": 0, "Temperature": 75.0}),
        {"voltage_v": 11.7, "error_text": "", "power_w": Absence.NOT_REPORTED, "fan_min_rpm": 4560},
    ),
    "summary as a message": (
        Play("whatsminer", {"summary": said(FLAT), "pools": fixtures.antminer()["pools"]}, joins=False),
        {"hashrate_hs": 123.107336 * TH, "hashrate_window_s": 60, "temp_inlet_c": 32, "temp_chip_max_c": 101.25, "power_w": 3593},
    ),
    "sections within messages, and boards by their newer name": (
        Play("whatsminer", {"summary": said({"SUMMARY": [FLAT]}), "pools": said({"POOLS": fixtures.antminer()["pools"]["POOLS"]}),
             "edevs": said({"DEVS": [{"Slot": 0, "Status": "Alive", "MHS av": 4e7, "Effective Chips": 117}]})}, joins=False),
        {"hashrate_hs": 123.107336 * TH, "boards_hashing": 1, "chips_hashing": 117, "pool_state": "alive"},
    ),
    "in oil, by the older summary": (
        v2(**{"MHS 5s": 69202822.25, "Fan Speed In": 0, "Fan Speed Out": 0, "Env Temp": 54.44, "Power Rate": 43.58, "Power": 2631,
              "Chip Temp Max": 101.25, "Temperature": 55.69, "Factory GHS": 55525, "Power Limit": 2635, "Debug": ""}),
        {"power_w": 2631, "power_limit_w": 2635, "hashrate_nominal_hs": 55.525 * TH, "temp_inlet_c": 54.44, "fan_max_rpm": 0,
         "error_text": Absence.NOT_REPORTED},
    ),
    "figures as texts": (
        v2(**{"MHS av": "11763615.45", "Power": "3427 W", "Power Limit": "3600", "Temperature": "71.50", "Power Mode": "Low",
              "Firmware Version": "'20190912.15.REL'", "MAC": "c40828000102", "Hash Stable": "true"}),
        {"hashrate_hs": 11.76361545 * TH, "hashrate_window_s": 9000, "power_w": 3427, "power_limit_w": 3600, "mode": "low",
         "firmware": "20190912.15.REL", "mac": "c4:08:28:00:01:02", "temp_board_max_c": 71.5},
    ),
    "errors counted and not named": (
        v2(**{"MHS 5s": 1e6, "Error Code Count": 2}), {"error_text": "2 errors, codes not reported"},
    ),
    "one board dead": (
        v2([{"Slot": 0, "Status": "Alive", "MHS av": 2.1e7, "Effective Chips": 215, "Chip Temp Max": 88.0, "PCB SN": "B0"},
            {"Slot": 1, "Status": "Dead", "MHS av": 0, "Effective Chips": 0}], **{"MHS av": 2.1e7, "Power": 1900}),
        {"boards_hashing": 1, "boards_expected": 2, "chips_hashing": 215, "temp_chip_max_c": 88.0, "state": "hashing"},
    ),
    "still climbing by the summary's word": (v2(**{"MHS 1m": 1e7, "Power": 2000, "Upfreq Complete": 0}), {"state": "ramping"}),
    "M66 in oil has no fans": (
        v2(model="M66S_VK30", **{"MHS 1m": 3e8, "Fan Speed In": 0, "Fan Speed Out": 0, "Power": 5500}),
        {"fan_min_rpm": Absence.NOT_APPLICABLE, "fan_max_rpm": Absence.NOT_APPLICABLE, "model": "M66S_VK30"},
    ),
    "M60 whose fans stand still": (
        v2(model="M60S_VK40", **{"MHS 1m": 1.7e8, "Fan Speed In": 0, "Fan Speed Out": 0}), {"fan_max_rpm": 0},
    ),
    "off of old, and silent to summary": (
        Play("whatsminer", {"summary": b"", "status": said({"btmineroff": "true", "Firmware Version": "'20210322.22.REL'"})},
             joins=False),
        {"state": "asleep", "firmware": "20210322.22.REL", "hashrate_hs": Absence.NOT_REPORTED},
    ),
    "off, and the process down": (
        Play("whatsminer", {"summary": said("btminer process is down err", 132), "status": said({"mineroff": "true",
             "mineroff_reason": "by whatsminer api", "FirmwareVersion": "20240924.14.Rel", "power_limit_set": "3300"})}),
        {"state": "asleep", "power_limit_w": 3300},
    ),
    "v3 of the maker's own document": (
        v3({"power": {"mode": "1", "vout": 1209, "pin": 3264, "vin": 220.5}, "error-code": SLOTS}),
        {"voltage_v": 12.09, "error_text": "531 Slot1 not found.; 532 board 2 not found", "state": "hashing", "mode": "normal"},
    ),
    "v3 that does not work because of its boards": (
        v3({"miner": miner("false"), "error-code": SLOTS}, rate_th=0.0, power=20.0), {"state": "fault"},
    ),
    "v3 asleep with an old warning": (
        v3({"miner": miner("false"), "error-code": [{"110": "2026-01-01 00:00:00"}]}, rate_th=0.0, power=20.0),
        {"state": "asleep", "error_text": "110 intake fan not detected"},
    ),
    "v3 asleep, its process down": (
        v3({"miner": miner("false"), "error-code": "btminer process is down err"}, rate_th=0.0, power=20.0),
        {"state": "asleep", "error_text": Absence.NOT_REPORTED},
    ),
    "v3 whose process died": (
        v3({"error-code": "btminer process is down err"}, rate_th=0.0, power=20.0),
        {"state": "fault", "error_text": "btminer process is down err"},
    ),
    "v3 codes of any kind": (
        v3({"error-code": ["2010", 541, {"541": "x", "reason": "hashboard"}, {"5032": "x"}, "odd", None]}),
        {"error_text": "2010 all pools disabled; 541 board 1 chips not readable; 5032", "state": "hashing"},
    ),
    "v3 with the misspelt keys": (
        v3(**{"environment-temperature": None, "environment-tempurature": 24.5, "board-temperature": None,
              "board-tempurature": [61, "66.5"]}),
        {"temp_inlet_c": 24.5, "temp_board_max_c": 66.5},
    ),
    "v3 with a nominal below zero": (v3(**{"factory-hash": -0.003}), {"hashrate_nominal_hs": Absence.NONSENSE}),
    "v3 cooled by water": (
        v3({"miner": miner("true", **{"eeprom-liquid-cooling": "1-1-1"})}, **{"fan-speed-in": 0, "fan-speed-out": 0}),
        {"fan_max_rpm": Absence.NOT_APPLICABLE, "model": "M63S++_VL50"},
    ),
}  # fmt: skip
