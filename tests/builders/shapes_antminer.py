# SPDX-License-Identifier: Apache-2.0
"""Answers in the shapes of real firmware, each with what is read from it."""

from typing import Any

import orjson

from kernel.reading import Absence
from tests.miner_control.dialect import fixtures
from tests.miner_control.dialect.play import Play

TH, GH, MH, K = 1e12, 1e9, 1e6, 1e3


def rpc(kind: str, *, spoilt: bool = False, **figures: Any) -> Play:
    """A miner that answers `stats` and `pools` one by one; `spoilt` leaves the comma out as old firmwares do."""
    head = {"CGMiner": "4.9.0", "Miner": "1.0.1.3", "CompileTime": "Fri Aug 25 17:28:57 CST 2017", "Type": kind}
    stats = orjson.dumps(
        {"STATUS": fixtures.status(70, "told"), "STATS": [head, {"Elapsed": 7000, **figures}], "id": 1}
    )
    sent = stats.replace(b"},{", b"}{", 1) if spoilt else stats
    return Play("antminer", {"stats": sent + b"\x00", "pools": fixtures.antminer()["pools"]}, joins=False)


def cgi(kind: str, **figures: Any) -> Play:
    info = {"type": kind, "CompileTime": "Fri Jun 26 09:24:23 CST 2026", "miner_version": "platform[AML]"}
    stats = {"STATUS": {"STATUS": "S"}, "INFO": info, "STATS": [{"elapsed": 7000, **figures}]}
    return Play("antminer", {"stats": stats})


def board(at: int, **figures: Any) -> dict[str, Any]:
    return {"index": at, "asic_num": 84, "rate_real": 190_000.5, "temp_pcb": [44, 44, 52, 52], "temp_pic": [34, 34, 42, 42],
            "temp_chip": [44, 44, 56, 55], "asic": " ooooooo" * 11 + " ooooooo----", **figures}  # fmt: skip


LISTED = {f"fan{at}": 0 for at in range(1, 9)} | {f"temp{at}": 0 for at in range(1, 17)}


OLD_SIX = LISTED | {
    "fan_num": 2, "fan5": 3840, "fan6": 4920, "temp6": 59, "temp7": 50, "temp8": 57, "temp2_6": 74, "temp2_7": 65,
    "temp2_8": 72, "chain_acn6": 63, "chain_acn7": 63, "chain_acn8": 63, "chain_rate1": "", "chain_rate6": "3911.64",
    "chain_rate7": "3913.70", "chain_rate8": "3956.05", "miner_count": 3, "total_rateideal": 11850.3,
}  # fmt: skip


COLD_XX = {
    "GHS 5s": 0.0, "GHS av": 0.0, "rate_30m": 0.0, "rate_unit": "GH", "total_rateideal": 63919.0, "miner_count": 2,
    "fan_num": 4, "fan1": 1560, "fan2": 1560, "fan3": 600, "fan4": 720, "chain_acn2": 76, "chain_acn3": 76,
    "chain_acs2": " xx xx", "chain_acs3": " xx xx", "chain_rate1": "", "chain_rate2": "0.00", "chain_rate3": "0.00",
    "temp_pcb1": "0-0-0-0", "temp_pcb2": "39-37-40-39", "temp_chip2": "39-37-40-38", "temp_chip1": "0-0-0-0",
}  # fmt: skip


SHAPES: dict[str, tuple[Play, dict[str, Any]]] = {
    "L3+ writes MH/s under GHS": (
        rpc("Antminer L3+", spoilt=True, **{"GHS 5s": "504.56", "GHS av": 500.28, "frequency": "384", "fan1": 3840, "fan2": 3810,
            "fan_num": 2, "temp1": 46, "temp2": 45, "temp2_1": 54, "temp2_2": 56, "temp31": 0, "temp4_1": 0, "chain_acn1": 72,
            "chain_acn2": 72, "chain_rate1": "252.12", "chain_rate2": "252.44", "miner_count": 2}),
        {"hashrate_hs": 504.56 * MH, "temp_board_max_c": 46, "temp_chip_max_c": 56, "boards_hashing": 2, "state": "hashing",
         "model": "Antminer L3+", "fan_min_rpm": 3810, "frequency_hz": 384 * MH, "pool_state": "alive"},
    ),
    "L3+ that does not hash": (
        rpc("Antminer L3+", **{"GHS 5s": "0.00", "GHS av": 500.28}), {"hashrate_hs": 0.0, "state": "fault"},
    ),
    "D3 of another hand": (
        rpc("Antminer D3 Blissz v2.06 beta", **{"GHS 5s": "16346.64", "frequency1": "450", "chain_rate1": "5287.83"}),
        {"hashrate_hs": 16.34664 * GH},
    ),
    "E3 with chains at odd places": (
        rpc("Antminer E3", **{"GHS 5s": "197.30", "frequency": "1600M", "temp1": 49, "temp13": 39, "temp2_13": 58,
            "temp2_2": 68}),
        {"hashrate_hs": 197.3 * MH, "frequency_hz": 1.6e9, "temp_chip_max_c": 68, "temp_board_max_c": 49},
    ),
    "Z9 writes KSol/s": (rpc("Antminer Z9-Mini", **{"GHS 5s": "10.62", "GHS av": 10.5}), {"hashrate_hs": 10.62 * K}),
    "Z15 Pro: true GHS beside a nominal in KSol": (
        rpc("Antminer Z15 Pro", **{"GHS 5s": 0.000877, "GHS av": 0.00087, "total_rateideal": 848.99, "chain_rate1": "0.000292"}),
        {"hashrate_hs": 877 * K, "hashrate_nominal_hs": 848.99 * K},
    ),
    "X5 writes KH/s": (rpc("Antminer X5", **{"GHS 5s": 212.4}), {"hashrate_hs": 212.4 * K}),
    "a unit of its own": (cgi("Antminer Z15", rate_5s=421.3, rate_unit="KSol/s", rate_ideal=420), {"hashrate_hs": 421.3 * K}),
    "a unit that nobody knows": (cgi("Antminer X", rate_5s=421.3, rate_unit="graphs"), {"hashrate_hs": Absence.NONSENSE}),
    "L7 writes MH/s under GHS": (rpc("Antminer L7", **{"GHS 5s": 9529.45, "GHS av": 9301.18}), {"hashrate_hs": 9529.45 * MH}),
    "L7 in GH/s": (rpc("Antminer L7", **{"GHS 5s": 9.53, "total_rateideal": 9.5}), {"hashrate_hs": 9.53 * GH}),
    "L9 with keys in MH/s and the rest in GH/s": (
        rpc("Antminer L9", **{"MHS 5s": 16000.5, "MHS av": 15990, "rate_unit": "MH", "total_rateideal": 17.03,
            "chain_rate1": 16.0, "chain_acn1": 180, "miner_count": 1}),
        {"hashrate_hs": 16.0005 * GH, "hashrate_window_s": 5, "hashrate_nominal_hs": 17.03 * GH, "boards_hashing": 1},
    ),
    "KA3 in TH/s": (cgi("Antminer KA3", rate_5s=166.2, rate_unit="TH/s", rate_ideal=166), {"hashrate_hs": 166.2 * TH}),
    "E9 in MH/s": (cgi("Antminer E9", rate_5s=2410.7, rate_unit="MH/s"), {"hashrate_hs": 2410.7 * MH}),
    "S9 with its boards at six to eight": (
        rpc("Antminer S9", spoilt=True, **OLD_SIX, **{"GHS 5s": "11,781.40", "GHS av": 11609.55, "frequency": "550"}),
        {"hashrate_hs": 11.7814 * TH, "fan_min_rpm": 3840, "fan_max_rpm": 4920, "boards_hashing": 3, "temp_chip_max_c": 74,
         "temp_board_max_c": 59, "power_w": Absence.UNSUPPORTED, "hashrate_nominal_hs": 11.8503 * TH},
    ),
    "watts that cannot be": (
        rpc("Antminer S9 Hiveon", **OLD_SIX, **{"GHS 5s": "11781.40", "chain_power": "34.65 (AB)", "chain_power6": 11.55}),
        {"power_w": Absence.NONSENSE, "power_source": Absence.NONSENSE, "hashrate_hs": 11.7814 * TH},
    ),
    "watts in a text": (
        rpc("Antminer T9 Hiveon", **OLD_SIX, **{"GHS 5s": "10600", "chain_power": "1218.3 W (AB)"}), {"power_w": 1218.3},
    ),
    "S9 with a name on two lines and a sensor gone mad": (
        rpc("Antminer S9\nV1.3.58", **(OLD_SIX | {"temp7": 0, "temp2_7": -83, "GHS 5s": "13883.81"})),
        {"temp_chip_max_c": 74, "temp_board_max_c": 59, "model": "Antminer S9 V1.3.58"},
    ),
    "S17 Pro": (
        rpc("Antminer S17 Pro", **{"GHS 5s": "54997.01", "GHS 30m": 54297.8, "Mode": 1, "frequency": "", "total_freqavg": 0.0,
            "fan_num": 4, "fan1": 2400, "fan2": 3000, "fan3": 3120, "fan4": 2400, "fan5": 0, "temp_pcb1": "22-53-21-50",
            "temp_chip1": "48-80-49-70", "chain_acn1": 48, "chain_rate1": "54997.0", "freq1": 570, "miner_count": 1}),
        {"hashrate_hs": 54.99701 * TH, "temp_board_max_c": 53, "temp_chip_max_c": 80, "fan_min_rpm": 2400, "frequency_hz": 570e6,
         "mode": Absence.NOT_REPORTED, "state": "hashing"},
    ),
    "S17+ with sensors by direction": (
        rpc("Antminer S17+", **{"GHS 5s": "70000", "temp_in_pcb_1": "40-41", "temp_out_pcb_1": "55-56",
            "temp_out_chip_1": "71-74"}),
        {"temp_board_max_c": 56, "temp_chip_max_c": 74},
    ),
    "asleep, told by nothing but zero": (rpc("Antminer S19", **COLD_XX), {
        "state": "fault", "chips_hashing": 0, "boards_hashing": 0, "fan_min_rpm": 600, "temp_board_max_c": 40}),
    "started just now, its boards and fans not counted": (
        cgi("Antminer S21", elapsed=9, rate_5s=0, rate_avg=0, rate_ideal=0, rate_unit="GH/s", chain_num=0, fan_num=0,
            fan=[], chain=[]),
        {"state": "ramping", "boards_expected": Absence.NOT_REPORTED, "fan_min_rpm": Absence.NOT_REPORTED, "boards_hashing": 0,
         "hashrate_nominal_hs": Absence.NOT_REPORTED, "temp_chip_max_c": Absence.NOT_REPORTED, "hashrate_hs": 0.0},
    ),
    "S21 with a dead board": (
        cgi("Antminer S21", rate_5s=134_000, rate_unit="GH/s", chain_num=3, fan_num=4, fan=[5000, 5010, 0, 4990],
            no_matching_work=7, chain=[board(0), board(1), board(2, rate_real=0, asic_num=0, asic="", temp_pcb=[0] * 4,
            temp_chip=[0] * 4)]),
        {"boards_hashing": 2, "boards_expected": 3, "chips_hashing": 168, "fan_min_rpm": 0, "hw_errors": 7,
         "temp_chip_max_c": 56},
    ),
    "S21 XP Hyd lists four fans": (
        rpc("Antminer S21 XP Hyd.", **{"GHS 5s": 483979.25, "fan_num": 4, "fan1": 0, "fan2": 0, "fan3": 0, "fan4": 0,
            "temp_chip1": "63-59-56-61", "temp_pcb1": "38-48-47-52", "total_rateideal": 473000.0, "rate_unit": "GH"}),
        {"fan_min_rpm": Absence.NOT_APPLICABLE, "temp_chip_max_c": 63, "temp_board_max_c": 52, "hashrate_hs": 483.97925 * TH,
         "temp_inlet_c": Absence.NOT_REPORTED},
    ),
    "S23 Hyd over the CGI": (
        cgi("Antminer S23 Hyd.", rate_5s=572845.5, rate_avg=576153.9, rate_unit="GH/s", watt=5525, fan=[], fan_num=0,
            chain_num=2, chain=[board(0), board(1, temp_chip=[43, 43, 58, 55])]),
        {"power_w": 5525, "power_source": "estimate", "hashrate_hs": 572.8455 * TH, "fan_max_rpm": Absence.NOT_APPLICABLE,
         "chips_hashing": 168, "temp_chip_max_c": 58, "boards_hashing": 2, "model": "Antminer S23 Hyd."},
    ),
    "S21 Hyd with water among its chips": (
        cgi("Antminer S21 Hyd.", rate_5s=335_000, fan_num=0, chain=[board(0, temp_chip=[31, 42, 0, 0]),
            board(1, temp_chip=["30", "41", "0", 0])]),
        {"temp_inlet_c": 31, "temp_outlet_c": 42, "temp_chip_max_c": Absence.SENTINEL, "temp_board_max_c": 52},
    ),
    "S21+ Hyd with water among its boards": (
        cgi("Antminer S21+ Hyd", rate_5s=319_000, fan_num=0,
            chain=[board(0, temp_pcb=[30, 46, 39, 51], temp_pic=[80, 54, 55, 53])]),
        {"temp_inlet_c": 30, "temp_outlet_c": 39, "temp_chip_max_c": 80, "temp_board_max_c": 55},
    ),
    "S19 XP Hyd is read as it stands": (
        cgi("Antminer S19 XP Hyd.", rate_5s=255_000, chain=[board(0, temp_chip=[31, 42, 0, 0])]),
        {"temp_chip_max_c": 42, "temp_inlet_c": Absence.NOT_REPORTED},
    ),
    "supply of the CGI tells no watts": (cgi("Antminer S21", rate_5s=200_000, watt=0), {"power_w": Absence.NONSENSE}),
    "statistics of the pool behind the figures": (
        Play("antminer", {"stats": {"STATS": [{"Type": "Antminer S15"}, {"GHS 5s": 28000.5, "Elapsed": 99},
                                              {"STATS": 1, "ID": "POOL0", "Elapsed": 98}]}}, joins=False),
        {"hashrate_hs": 28.0005 * TH, "uptime_s": 99},
    ),
}  # fmt: skip
