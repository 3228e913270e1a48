# SPDX-License-Identifier: Apache-2.0
"""Answers of make-believe miners, written by hand in the shapes that the firmwares use."""

from typing import Any


def status(code: int, text: str, letter: str = "S") -> list[dict[str, Any]]:
    return [{"STATUS": letter, "When": 1700000000, "Code": code, "Msg": text, "Description": "test"}]


def antminer(rate_ghs: float = 95_000.5, elapsed: int = 7200, **figures: Any) -> dict[str, Any]:
    """Stock Antminer over RPC; three boards of 76 chips and four fans."""
    share = f"{rate_ghs / 3:.2f}"
    numbers: dict[str, Any] = {
        "STATS": 0,
        "ID": "BTM_SOC0",
        "Elapsed": elapsed,
        "GHS 5s": rate_ghs,
        "GHS av": 94_000.0,
        "Mode": 2,
        "rate_unit": "GH",
        "miner_count": 3,
        "frequency": "545",
        "total_rateideal": 95_500.0,
        "fan_num": 4,
        "fan1": 4200,
        "fan2": 4230,
        "fan3": 4110,
        "fan4": 4260,
        "fan5": 0,
        "chain_acn1": 76,
        "chain_acn2": 76,
        "chain_acn3": 76,
        "chain_acn4": 0,
        "chain_acs1": " oooo" * 19,
        "chain_acs2": " oooo" * 19,
        "chain_acs3": " oooo" * 18 + " ooox",
        "chain_rate1": share,
        "chain_rate2": share,
        "chain_rate3": share,
        "chain_rate4": "",
        "temp_pcb1": "61-44-58-59",
        "temp_pcb2": "60-45-57-58",
        "temp_pcb3": "62-44-57-59",
        "temp_pcb4": "0-0-0-0",
        "temp_chip1": "71-54-68-69",
        "temp_chip2": "70-55-67-68",
        "temp_chip3": "74-54-67-69",
        "temp_chip4": "0-0-0-0",
        **figures,
    }
    return {
        "summary": {
            "STATUS": status(11, "Summary"),
            "SUMMARY": [
                {
                    "Elapsed": elapsed,
                    "GHS 5s": rate_ghs,
                    "GHS av": 94_000.0,
                    "Accepted": 120,
                    "Rejected": 2,
                    "Stale": 1,
                    "Hardware Errors": 7,
                }
            ],
            "id": 1,
        },
        "stats": {
            "STATUS": status(70, "CGMiner stats"),
            "STATS": [{"BMMiner": "1.0.0", "CompileTime": "Mon Jan 1 2024", "Type": "Antminer S19j Pro"}, numbers],
            "id": 1,
        },
        "pools": {
            "STATUS": status(7, "2 Pool(s)"),
            "POOLS": [
                {
                    "POOL": 0,
                    "URL": "stratum+tcp://a.example:3333",
                    "User": "acct.w1",
                    "Status": "Dead",
                    "Priority": 0,
                    "Stratum Active": False,
                    "Accepted": 0,
                    "Rejected": 0,
                    "Stale": 0,
                },
                {
                    "POOL": 1,
                    "URL": "stratum+tcp://b.example:3333",
                    "User": "acct.w1",
                    "Status": "Alive",
                    "Priority": 1,
                    "Stratum Active": True,
                    "Accepted": 120,
                    "Rejected": 2,
                    "Stale": 1,
                },
            ],
            "id": 1,
        },
    }


def antminer_conf(mode: str = "0", **more: Any) -> dict[str, Any]:
    return {
        "pools": [{"url": "stratum+tcp://b.example:3333", "user": "acct.w1", "pass": "x"}],
        "bitmain-fan-ctrl": False,
        "bitmain-fan-pwm": "100",
        "bitmain-freq-level": "100",
        "bitmain-work-mode": mode,
        **more,
    }


def antminer_cgi(
    rate: float = 120.5, unit: str = "TH/s", mode: int = 0, elapsed: int = 7200, **figures: Any
) -> dict[str, Any]:
    """Stock Antminer over the CGI (and over RPC with `new_api`)."""
    board = {
        "freq_avg": 500,
        "rate_ideal": rate / 2,
        "rate_real": rate / 2,
        "asic_num": 4,
        "asic": " oooo",
        "hw": 1,
        "temp_pic": [40, 41, 50, 51],
        "temp_pcb": [45, 46, 55, 56],
        "temp_chip": [60, 61, 70, 71],
        "eeprom_loaded": True,
    }
    return {
        "summary": {
            "STATUS": {"STATUS": "S", "when": 1, "Msg": "summary", "api_version": "1.0.0"},
            "INFO": {"miner_version": "v", "CompileTime": "c", "type": "Antminer S21"},
            "SUMMARY": [
                {
                    "elapsed": elapsed,
                    "rate_5s": rate,
                    "rate_30m": rate,
                    "rate_avg": rate,
                    "rate_ideal": rate,
                    "rate_unit": unit,
                    "hw_all": 3,
                    "bestshare": 5,
                    "status": [
                        {"type": "rate", "status": "s", "code": 0, "msg": ""},
                        {"type": "fans", "status": "e", "code": 2, "msg": "fan lost"},
                    ],
                }
            ],
        },
        "stats": {
            "STATUS": {"STATUS": "S", "when": 1, "Msg": "stats", "api_version": "1.0.0"},
            "INFO": {"miner_version": "v", "CompileTime": "c", "type": "Antminer S21"},
            "STATS": [
                {
                    "elapsed": elapsed,
                    "rate_5s": rate,
                    "rate_30m": rate,
                    "rate_avg": rate,
                    "rate_ideal": rate,
                    "rate_unit": unit,
                    "chain_num": 2,
                    "fan_num": 2,
                    "fan": [3000, 3120],
                    "hwp_total": 0.0,
                    "miner-mode": mode,
                    "freq-level": 100,
                    "chain": [{"index": 0, **board}, {"index": 1, **board}],
                    **figures,
                }
            ],
        },
        "pools": {
            "STATUS": {"STATUS": "S", "Msg": "pools"},
            "POOLS": [
                {
                    "index": 0,
                    "url": "stratum+tcp://b.example:3333",
                    "user": "acct.w1",
                    "status": "Alive",
                    "priority": 0,
                    "accepted": 11,
                    "rejected": 1,
                    "stale": 0,
                }
            ],
        },
    }


def whatsminer(rate_mhs: float = 121e6, power: float = 3300, **figures: Any) -> dict[str, Any]:
    board = {
        "Status": "Alive",
        "Temperature": 64.0,
        "Chip Temp Max": 82.5,
        "Effective Chips": 111,
        "MHS 5s": rate_mhs / 3,
        "Chip Frequency": 610,
        "Hardware Errors": 1,
        "Upfreq Complete": 1,
        "PCB SN": "B1",
    }
    return {
        "summary": {
            "STATUS": status(11, "Summary"),
            "SUMMARY": [
                {
                    "Elapsed": 9000,
                    "Uptime": 9100,
                    "MHS 5s": rate_mhs,
                    "MHS 1m": rate_mhs,
                    "HS RT": rate_mhs,
                    "MHS av": rate_mhs,
                    "Accepted": 50,
                    "Rejected": 1,
                    "Power": power,
                    "Power Limit": 3400,
                    "Power Mode": "Normal",
                    "Factory GHS": 120_000,
                    "Temperature": 65.0,
                    "Chip Temp Max": 83.0,
                    "Env Temp": 21.0,
                    "Fan Speed In": 5000,
                    "Fan Speed Out": 5100,
                    "freq_avg": 610,
                    "Hash Stable": True,
                    "Error Code Count": 0,
                    "MAC": "C0:00:00:00:00:01",
                    **figures,
                }
            ],
            "id": 1,
        },
        "devs": {
            "STATUS": status(9, "3 ASC(s)"),
            "DEVS": [{"ASC": slot, "Slot": slot, **board} for slot in range(3)],
            "id": 1,
        },
        "pools": antminer()["pools"],
        "status": {"STATUS": "S", "When": 1, "Code": 131, "Msg": {"mineroff": "false", "power_mode": "normal"}},
        "get_error_code": {"STATUS": "S", "When": 1, "Code": 131, "Msg": {"error_code": []}},
        "get_version": {
            "STATUS": "S",
            "When": 1,
            "Code": 131,
            "Msg": {"api_ver": "2.0.5", "fw_ver": "20230803.11.REL"},
        },
    }
