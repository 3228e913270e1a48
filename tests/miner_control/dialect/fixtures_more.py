# SPDX-License-Identifier: Apache-2.0
"""More make-believe answers, written by hand: Whatsminer v3, LuxOS, Braiins, VNish, Avalon, ePIC, Auradine, Bitaxe."""

from typing import Any

from tests.miner_control.dialect.fixtures import antminer, status


def whatsminer_v3(rate_th: float = 150.0, power: float = 3100.0, working: str = "true", **more: Any) -> dict[str, Any]:
    summary = {
        "elapsed": 4000,
        "bootup-time": 60,
        "hash-realtime": rate_th,
        "hash-average": rate_th,
        "factory-hash": 152.0,
        "power-realtime": power,
        "power-limit": 3300,
        "chip-temp-max": 80.0,
        "board-temperature": [60.0, 61.5],
        "environment-temperature": 20.0,
        "fan-speed-in": 5000,
        "fan-speed-out": 5100,
        "freq-avg": 600,
        "up-freq-finish": 1,
        **more,
    }
    boards = [
        {
            "id": slot,
            "status": "alive",
            "hash-realtime": rate_th / 2,
            "factory-hash": 76.0,
            "effective-chips": 100,
            "freq": 600.0,
            "chip-temp-max": 79.0 + slot,
        }
        for slot in range(2)
    ]
    pools = [{"account": "acct.w1", "status": "alive", "stratum-active": True, "url": "stratum+tcp://a.example:3333"}]
    info = {
        "miner": {"type": "M60S_VK40", "working": working, "miner-sn": "SN1", "board-num": "2", "pcbsn0": "P0"},
        "power": {"mode": "1"},
        "salt": "saltsalt",
        "network": {"mac": "CE:00:00:00:00:01"},
        "system": {"fwversion": "20251209.16.Rel2", "api": "3.0.2"},
    }

    def said(message: dict[str, Any]) -> dict[str, Any]:
        return {"code": 0, "when": 1_700_000_000, "msg": message, "desc": "test"}

    return {
        "get.device.info": said(info),
        "get.miner.status summary": said({"summary": summary}),
        "get.miner.status edevs": said({"edevs": boards}),
        "get.miner.status pools": said({"pools": pools}),
    }


def luxos(rate_ghs: float = 60_000.0, curtail: str = "None", ramping: bool = False, **config: Any) -> dict[str, Any]:
    devs = [
        {
            "ASC": board,
            "ID": board,
            "MHS 5s": rate_ghs / 3 * 1e3,
            "Nominal MHS": 20.5e6,
            "Temperature": 50.0 + board,
            "IsRamping": ramping,
            "IsUserShutdown": curtail == "Sleep",
            "Status": "Alive",
            "Profile": "290MHz",
        }
        for board in range(3)
    ]
    settings = {
        "CurtailMode": curtail,
        "Profile": "290MHz",
        "NameplateTHS": 121.8,
        "SystemStatus": "Normal",
        "ASC Count": 3,
        "Model": "Antminer S19k Pro",
        "SerialNumber": "S1",
        "MACAddr": "62:00:00:00:00:01",
        **config,
    }
    return {
        "summary": {
            "STATUS": status(11, "Summary"),
            "SUMMARY": [
                {"Elapsed": 4000, "GHS 5s": rate_ghs, "GHS av": 58_000.0, "Accepted": 10, "Rejected": 1, "Stale": 0}
            ],
        },
        "power": {"STATUS": status(311, "Power"), "POWER": [{"PSU": False, "Watts": 1050 if rate_ghs else 25}]},
        "config": {"STATUS": status(33, "config"), "CONFIG": [settings]},
        "temps": {
            "STATUS": status(201, "temps"),
            "TEMPS": [{"ID": 0, "TopLeft": 52.0, "BottomRight": 35.0, "TopRight": 0}],
        },
        "devs": {"STATUS": status(9, "3 ASC(s)"), "DEVS": devs},
        "fans": {
            "STATUS": status(202, "fans"),
            "FANS": [{"ID": 0, "RPM": 3000, "Speed": 40}, {"ID": 1, "RPM": 3100, "Speed": 40}],
        },
        "pools": antminer()["pools"],
        "events": {"STATUS": status(357, "events"), "EVENTS": []},
        "version": {"STATUS": status(22, "v"), "VERSION": [{"LUXminer": "2025.4.8", "Type": "Antminer S19k Pro"}]},
    }


def braiins(rate_ghs: float = 140_000.0, state: Any = 2, tuner: Any = 2, **stats: Any) -> dict[str, Any]:
    real = {window: {"gigahash_per_second": rate_ghs} for window in ("last_5s", "last_1m", "since_restart")}
    board = {
        "id": "1",
        "board_temp": {"degree_c": 55.0},
        "chips_count": 110,
        "enabled": True,
        "serial_number": "B1",
        "current_frequency": {"hertz": 5e8},
        "current_voltage": {"volt": 13.0},
        "lowest_inlet_temp": {"degree_c": 35.0},
        "highest_chip_temp": {"id": 1, "location": 1, "temperature": {"degree_c": 70.0}},
        "highest_outlet_temp": {"degree_c": 56.0},
        "stats": {"real_hashrate": real},
    }
    return {
        "miner_stats": {
            "miner_stats": {"real_hashrate": real, "nominal_hashrate": {"gigahash_per_second": 141_000.0}},
            "pool_stats": {"accepted_shares": 7, "rejected_shares": 1, "stale_shares": 0},
            "power_stats": {"approximated_consumption": {"watt": 3100 if rate_ghs else 40}},
            **stats,
        },
        "miner_details": {
            "status": state,
            "bosminer_uptime_s": 7000,
            "mac_address": "02:00:00:00:00:01",
            "serial_number": "S1",
            "miner_identity": {"name": "Antminer S19 XP", "miner_model": "Antminer S19 XP"},
            "sticker_hashrate": {"gigahash_per_second": 141_000.0},
            "bos_version": {"current": "26.04-plus"},
        },
        "performance_tuner_state": {
            "overall_tuner_state": tuner,
            "mode_state": {"powertargetmodestate": {"current_target": {"watt": 3000}}},
        },
        "cooling_state": {
            "fans": [{"position": 0, "rpm": 5900, "target_speed_ratio": 0.9}],
            "highest_temperature": {"location": 1, "temperature": {"degree_c": 70.0}},
        },
        "miner_hw_hashboards": {"hashboards": [board]},
        "pools": [
            {
                "name": "g",
                "pools": [
                    {
                        "active": True,
                        "alive": True,
                        "enabled": True,
                        "url": "stratum+tcp://a.example:1",
                        "user": "acct.w1",
                        "stats": {"accepted_shares": 7},
                    }
                ],
            }
        ],
        "miner_errors": {
            "errors": [
                {
                    "timestamp": "2026-01-01T00:00:00Z",
                    "message": "m",
                    "components": [],
                    "error_codes": [{"code": "V2", "reason": "Overcurrent protection"}],
                }
            ]
        },
    }


def vnish(state: str = "mining", rate_ghs: float = 97_000.0, **status_more: Any) -> dict[str, Any]:
    chain = {
        "id": 1,
        "frequency": 545.0,
        "voltage": 13700,
        "power_consumption": 1000,
        "hashrate_rt": rate_ghs / 3,
        "hashrate_ideal": 33_000.0,
        "hw_errors": 1,
        "pcb_temp": {"min": 40, "max": 60},
        "chip_temp": {"min": 50, "max": 75},
        "chip_statuses": {"red": 0, "orange": 1, "grey": 0},
        "status": {"state": state},
    }
    miner = {
        "miner_status": {"miner_state": state, "miner_state_time": 7000, **status_more},
        "miner_type": "Antminer S19j Pro (Vnish 1.2.6)",
        "hr_realtime": rate_ghs,
        "hr_nominal": 98_000.0,
        "hr_average": 96_500.0,
        "instant_hashrate": rate_ghs / 1e3,
        "average_hashrate": 96.5,
        "pcb_temp": {"min": 40, "max": 61},
        "chip_temp": {"min": 50, "max": 76},
        "power_consumption": 2900 if rate_ghs else 30,
        "power_efficiency": 29.9,
        "hw_errors": 3,
        "cooling": {
            "fan_num": 4,
            "fan_duty": 60,
            "settings": {"mode": {"name": "auto", "param": 60}},
            "fans": [{"id": 0, "rpm": 4000, "status": "ok", "max_rpm": 6000}, {"id": 1, "rpm": 4100, "status": "ok"}],
        },
        "chains": [{**chain, "id": board} for board in (1, 2, 3)],
        "pools": [
            {
                "id": 0,
                "url": "stratum+tcp://a.example:3333",
                "user": "acct.w1",
                "status": "active",
                "accepted": 9,
                "rejected": 1,
                "stale": 0,
                "pool_type": "UserPool",
            },
            {
                "id": 1,
                "url": "DevFee",
                "user": "DevFee",
                "status": "working",
                "accepted": 1,
                "rejected": 0,
                "stale": 0,
                "pool_type": "DevFee",
            },
        ],
    }
    return {
        "summary": {"miner": miner},
        "perf_summary": {"current_preset": {"name": "2900", "pretty": "2900 watt ~ 98 TH", "status": "tuned"}},
        "info": {
            "fw_name": "Vnish",
            "fw_version": "1.3.4",
            "miner": "Antminer S19j Pro",
            "hr_measure": "GH/s",
            "serial": "S1",
            "system": {"network_status": {"mac": "02:00:00:00:00:02"}},
        },
    }


AVALON_TEXT = (
    "Ver[1346-110-24041001_08b0955] DNA[0201000012345678] MEMFREE[1392164.11648] NETFAIL[0 0 0 0 0 0 0 0] "
    "SYSTEMSTATU[Work: {work}, Hash Board: 3 ] Elapsed[5400] BOOTBY[0x04.00000000] LW[2000] MH[10 11 12] DHW[0 0 0] HW[33] "
    "DH[1.2%] Temp[30] TMax[88] TAvg[75] Fan1[5400] Fan2[5410] Fan3[5390] Fan4[5405] FanR[80%] Vo[330] "
    "PS[{supply}] PLL0[1 2 3 4] GHSspd[{now}] DHspd[1.1%] GHSmm[112000.00] GHSavg[109500.10] WU[1500000.1] Freq[780.25] Led[0] "
    "MGHS[36500.1 36400.2 36600.3] MTmax[88 86 87] MTavg[75 74 76] TA[300] PING[100] SoftOFF[{off}] ECHU[{echu}] ECMM[0] "
    "WORKMODE[0] MPO[3300] PVT_T0[ 70  71  72] SF0[700 750 800 850] CRC[0 0 0]"
)


def avalon(
    now: str = "110250.50",
    work: str = "In Work",
    off: str = "0",
    supply: str = "0 1209 1295 253 3276 1295 3428",
    echu: str = "0 0 0",
    minute_mhs: float = 110e6,
) -> dict[str, Any]:
    text = AVALON_TEXT.format(now=now, work=work, off=off, supply=supply, echu=echu)
    return {
        "summary": {
            "STATUS": status(11, "Summary"),
            "SUMMARY": [
                {
                    "Elapsed": 5400,
                    "MHS av": 109.5e6,
                    "MHS 5s": minute_mhs,
                    "MHS 1m": minute_mhs,
                    "Accepted": 80,
                    "Rejected": 1,
                    "Stale": 0,
                    "Hardware Errors": 33,
                }
            ],
        },
        "estats": {
            "STATUS": status(70, "stats"),
            "STATS": [{"STATS": 0, "ID": "AVA100", "MM Count": 1, "MM ID0": text}],
        },
        "pools": antminer()["pools"],
        "version": {
            "STATUS": status(22, "v"),
            "VERSION": [
                {
                    "PROD": "AvalonMiner 1346-110",
                    "MODEL": "1346-110",
                    "MAC": "b4:00",
                    "DNA": "0201000012345678",
                    "LVERSION": "24041001_08b0955",
                }
            ],
        },
    }


def epic(
    state: str = "Mining", rate_mhs: float = 48e6, last: str | None = None, error: Any = None, connected: bool = True
) -> dict[str, Any]:
    boards = [
        {
            "Index": index,
            "Hashrate": [rate_mhs, 100.0, 0.5],
            "Core Clock Avg": 485.0,
            "Temperature": 60.0 + index,
            "Input Power": 0.0,
        }
        for index in range(3)
    ]
    return {
        "summary": {
            "Status": {
                "Operating State": state,
                "Last Command": last,
                "Last Command Result": None,
                "Last Error": error,
            },
            "HBs": boards if rate_mhs else [],
            "HBStatus": [{"Index": index, "Detected": True, "Enabled": True} for index in range(3)],
            "Session": {"Uptime": 7000, "Accepted": 12, "Rejected": 1, "Average MHs": rate_mhs * 3},
            "Fans": {"Fans Speed": 70},
            "Fans Rpm": {"Fans Speed 1": 5000, "Fans Speed 2": 5100, "Fans Speed 3": None},
            "Power Supply Stats": {"Input Power": 3300.5 if rate_mhs else 22.0, "Output Voltage": 12.9},
            "Software": "PowerPlay-BMS v1.16.1",
            "Stratum": {"Current Pool": "a.example:3333", "Current User": "acct.w1", "IsPoolConnected": connected},
            "IdleOnConnectionLost": True,
            "StratumConfigs": [{"pool": "stratum+tcp://a.example:3333", "login": "acct.w1", "password": "p"}],
            "PerpetualTune": {"Running": True, "Algorithm": {"VoltageOptimizer": {"Target": 140, "Unit": "TH/s"}}},
        },
        "temps": [{"Index": 0, "Data": [50.0, 61.0]}, {"Index": 1, "Data": [51.0, 63.5]}],
        "capabilities": {
            "Model": "Antminer S19 XP",
            "Max HBs": 3,
            "Default Hashrate": 143,
            "PerpetualTune": [{"algorithm": "VoltageOptimizer"}],
            "Tune Presets": [
                {"hashrate": 80.0, "power": 1700},
                {"hashrate": 120.0, "power": 2700},
                {"hashrate": 142.0, "power": 3350},
            ],
            "Performance Estimator": {"Chip Count": 110},
        },
        "network": {"static": {"address": "10.0.0.2", "mac_address": "E6:00:00:00:00:01"}},
    }


def auradine(rate_mhs: float = 150e6, sleep: str = "off", **mode: Any) -> dict[str, Any]:
    return {
        "summary": {
            "STATUS": status(11, "Summary"),
            "SUMMARY": [
                {
                    "Elapsed": 7000,
                    "MHS 5s": rate_mhs,
                    "MHS av": rate_mhs,
                    "Accepted": 3,
                    "Rejected": 0,
                    "Hardware Errors": 0,
                }
            ],
        },
        "psu": {
            "STATUS": status(570, "PSU"),
            "PSU": [{"PowerIn": "2950.20W" if rate_mhs else "58.94W", "Vin": "245.00V"}],
        },
        "mode": {"STATUS": status(540, "mode"), "Mode": [{"Mode": "eco", "Sleep": sleep, **mode}]},
        "temperature": {
            "STATUS": status(590, "t"),
            "Temperature": [
                {"ID": 0, "Name": "Control Board", "BoardTemp": [{"ID": 0, "Temperature": 90.0}], "ChipTemp": None},
                {
                    "ID": 1,
                    "Name": "Hash Board 1",
                    "BoardTemp": [{"ID": 0, "Temperature": 41.0}],
                    "ChipTemp": [{"ID": 0, "Temperature": 61.5}],
                },
            ],
        },
        "fan": {"STATUS": status(510, "fans"), "Fan": [{"ID": 1, "Max": 8000, "Speed": 6000, "Target": 6000}]},
        "devs": {
            "STATUS": status(9, "d"),
            "DEVS": [{"ID": 1, "MHS 5s": rate_mhs, "Temperature": 40.0, "Enabled": True, "Status": "Alive"}],
        },
        "pools": antminer()["pools"],
        "asccount": {"ASCCount": [{"AsicCount": 132, "BoardCount": 1}]},
        "led": {"LED": [{"Code": 2, "LED1": 1, "LED2": 1, "Msg": "Normal"}]},
        "ipreport": {"IPReport": [{"model": "AT1500", "version": "2024-06.11", "mac": "1c:00", "SerialNo": "AU1"}]},
    }


def bitaxe(rate_ghs: float = 1050.5, **more: Any) -> dict[str, Any]:
    return {
        "system_info": {
            "power": 17.5,
            "voltage": 5100.0,
            "temp": 60.5,
            "vrTemp": 70,
            "hashRate": rate_ghs,
            "frequency": 525,
            "fanrpm": 3500,
            "fanspeed": 40,
            "uptimeSeconds": 9000,
            "sharesAccepted": 5,
            "sharesRejected": 0,
            "asicCount": 1,
            "ASICModel": "BM1370",
            "stratumURL": "a.example",
            "stratumPort": 3333,
            "stratumUser": "acct.w1",
            "fallbackStratumURL": "b.example",
            "fallbackStratumPort": 3334,
            "fallbackStratumUser": "acct.w1",
            "isUsingFallbackStratum": 0,
            "overheat_mode": 0,
            "macAddr": "AA:00:00:00:00:01",
            "version": "v2.9.0",
            **more,
        }
    }


def every() -> dict[str, list[dict[str, Any]]]:
    """All shapes by dialect: for tests that spoil them."""
    from tests.miner_control.dialect.fixtures import antminer_cgi, whatsminer

    v3 = whatsminer_v3()
    return {
        "antminer": [antminer(), antminer_cgi()],
        "whatsminer": [whatsminer()],
        "whatsminer_v3": [{name.split(" ")[-1]: document for name, document in v3.items()}],
        "luxos": [luxos()],
        "braiins": [braiins()],
        "vnish": [vnish()],
        "avalon": [avalon()],
        "epic": [epic()],
        "auradine": [auradine()],
        "bitaxe": [bitaxe()],
        "cgminer": [antminer()],
    }


def asleep() -> dict[str, dict[str, Any]]:
    """Each firmware that can be put to sleep, asleep, with its own evidence."""
    from tests.miner_control.dialect.fixtures import antminer_conf, whatsminer

    v3 = whatsminer_v3(0.0, 20.0, working="false")
    off = {"STATUS": "S", "Code": 131, "Msg": {"mineroff": "true", "mineroff_reason": "user"}}
    return {
        "antminer": antminer(0.0) | {"get_miner_conf": antminer_conf("1")},
        "whatsminer": whatsminer(0.0, 15) | {"status": off},
        "whatsminer_v3": {name.split(" ")[-1]: document for name, document in v3.items()},
        "luxos": luxos(0.0, "Sleep"),
        "braiins": braiins(0.0, 3),
        "vnish": vnish("stopped", 0.0),
        "avalon": avalon("0.00", "In Idle", "5", "0 1198 0 0 0 1393 11", minute_mhs=1102.8),
        "epic": epic("Idling", 0.0, "Stop"),
        "auradine": auradine(0.0, "on"),
        "bitaxe": bitaxe(0.0, miningPaused=True),
    }


def faulty() -> dict[str, dict[str, Any]]:
    """Each firmware with a rate of zero that nobody asked for: hours after its start, without a word of sleep."""
    from tests.miner_control.dialect.fixtures import antminer_conf, whatsminer

    v3 = whatsminer_v3(0.0, 3000.0)
    return {
        "antminer": antminer(0.0) | {"get_miner_conf": antminer_conf("0")},
        "whatsminer": whatsminer(0.0, 900),
        "whatsminer_v3": {name.split(" ")[-1]: document for name, document in v3.items()},
        "luxos": luxos(0.0),
        "braiins": braiins(0.0, 2),
        "vnish": vnish("failure", 0.0, failure_code=4, description="board 2 lost"),
        "avalon": avalon("0.00", "In Idle", "0", "0 1198 0 0 0 1393 90", minute_mhs=0.0),
        "epic": epic("Mining", 0.0),
        "auradine": auradine(0.0, "off"),
        "bitaxe": bitaxe(0.0, overheat_mode=1),
        "cgminer": antminer(0.0),
    }
