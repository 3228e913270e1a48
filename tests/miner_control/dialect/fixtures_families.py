# SPDX-License-Identifier: Apache-2.0
"""Answers of other releases and relatives of the families, and the door that a poll takes to them. Shapes are those that
makers describe and users show; the figures are ours."""

from typing import Any

from tests.miner_control.dialect import fixtures_more
from tests.miner_control.dialect.fixtures import status
from tests.miner_control.dialect.play import Play


def said(name: str, *entries: dict[str, Any], code: int = 1) -> dict[str, Any]:
    return {"STATUS": status(code, name.title()), name: list(entries), "id": 1}


def refused(code: int, text: str) -> dict[str, Any]:
    return {"STATUS": [{"STATUS": "E", "When": 1, "Code": code, "Msg": text}], "id": 1}


def bosminer(rate_mhs: float = 4.6e6, word: str = "Stable", **more: Any) -> dict[str, Any]:
    """An S9 with BOSminer+: boards 6 to 8, frequencies in Hz, the tuner's words by board."""
    boards = (6, 7, 8)
    chains = [
        {"HashchainIndex": at, "Status": word, "ApproximatePowerConsumptionWatt": 440, "TunerRunning": True}
        for at in boards
    ]
    tuner = {
        "ApproximateChainPowerConsumption": 1320, "ApproximateMinerPowerConsumption": 1395, "DynamicPowerScaling": "Disabled",
        "PowerLimit": 1400, "TunerChainStatus": chains, **more,
    }  # fmt: skip
    summary = {"Elapsed": 7000, "MHS 5s": rate_mhs * 3, "MHS av": 13.5e6, "Accepted": 90, "Rejected": 1, "Stale": 0}
    return {
        "summary": said("SUMMARY", summary, code=11),
        "devs": said("DEVS", *({"ID": at, "MHS 5s": rate_mhs, "Nominal MHS": 4.7e6, "Status": "Alive"} for at in boards)),
        "temps": said("TEMPS", *({"ID": at, "TEMP": at - 6, "Board": 75.0 + at, "Chip": 95.5 + at} for at in boards)),
        "fans": said("FANS", {"FAN": 0, "ID": 0, "RPM": 5340, "Speed": 90}, {"FAN": 1, "ID": 1, "RPM": 4620, "Speed": 90}),
        "tunerstatus": said("TUNERSTATUS", tuner),
        "pools": fixtures_more.antminer()["pools"],
        "devdetails": said("DEVDETAILS", *({
            "ID": at, "Chips": 63, "Frequency": 799_682_118, "Voltage": 8.4, "Model": "Bitmain Antminer S9",
        } for at in boards)),
        "version": said("VERSION", {"API": "3.7", "BOSminer+": "0.2.0-ea64aec8e"}, code=22),
    }  # fmt: skip


def vnish_1_2_0(**more: Any) -> dict[str, Any]:
    """The first releases of 1.2: rates in TH/s under other names, sensors with a state each, bare fans."""

    def board(at: int, *temps: tuple[str, int]) -> dict[str, Any]:
        return {
            "id": at, "frequency": 670.0, "voltage": 13900, "power_usage": 1200 + at, "hashrate_rt": 31_000.0 + at,
            "hashrate_ideal": 32_000.0, "hw_errors": 0, "status": {"state": "mining", "description": ""},
            "pcb_temp_sens": [{"status": word, "temp": temp} for word, temp in temps],
            "chip_temp_sens": [{"status": word, "temp": temp + 15} for word, temp in temps],
        }  # fmt: skip

    pools = [
        {"id": at, "url": f"pool.example:{333 + at}", "pool_type": "UserPool", "user": "acct.w", "status": word,
         "accepted": 150 * (at == 1), "rejected": at, "stale": 0}
        for at, word in enumerate(("working", "active", "offline"))
    ]  # fmt: skip
    miner = {
        "miner_status": {"miner_state": "mining", "miner_state_time": 6400}, "miner_type": "Antminer S19 (Vnish 1.2.0-beta10)",
        "average_hashrate": 93.5, "instant_hashrate": 92.75, "power_usage": 3650.0, "hw_errors": 0, "pools": pools,
        "cooling": {"fan_num": 3, "fans": [6300, 5000, 6100], "settings": {"mode": {"name": "manual", "param": 100}},
                    "fan_duty": 100},
        "chains": [board(1, ("measure", 41), ("error", 97)), board(2, ("measure", 44)), board(3, ("init", 90), ("ready", 40))],
        **more,
    }  # fmt: skip
    return {"summary": {"miner": miner, "system": {"network_status": {"mac": "4E:00:00:00:00:01"}, "uptime": "9 days"}}}


def axeos(**more: Any) -> dict[str, Any]:
    """AxeOS since 2.11 on a board with one fan: a second fan and a second chip sensor that are not there, each chip watched."""
    info = {
        "power": 18.4, "voltage": 5093.75, "temp": 60.1, "temp2": -1, "vrTemp": 62, "hashRate": 1071.5, "hashRate_1m": 1080.0,
        "expectedHashrate": 1070, "isUsingFallbackStratum": 1, "poolConnectionInfo": "IPv4 (TLS)", "frequency": 525,
        "macAddr": "10:F5:00:00:00:01", "sharesAccepted": 4700, "sharesRejected": 13, "uptimeSeconds": 18_000,
        "ASICModel": "BM1370", "boardVersion": "601", "stratumURL": "a.example", "stratumPort": 21496, "stratumUser": "acct.a",
        "stratumTLS": 0, "fallbackStratumURL": "b.example", "fallbackStratumPort": 4333, "fallbackStratumUser": "acct.b",
        "fallbackStratumTLS": 1, "version": "v2.12.2", "overheat_mode": 0, "fanspeed": 48.4, "fanrpm": 3915, "fan2rpm": 0,
        "hashrateMonitor": {"asics": [{"total": 1072.2, "domains": [273.5, 276.2], "errorCount": 1415}]}, **more,
    }  # fmt: skip
    return {"system_info": info}


def nerdqaxe(*pools: dict[str, Any], **stratum: Any) -> dict[str, Any]:
    answers = axeos(
        fanCount=1, fanrpm2=0, deviceModel="NerdQAxe++", asicCount=4, stratum={**stratum, "pools": list(pools)}
    )
    for key in ("fan2rpm", "isUsingFallbackStratum", "poolConnectionInfo", "hashrateMonitor"):
        del answers["system_info"][key]
    return answers


def nmaxe() -> dict[str, Any]:
    """NMAxe: what AxeOS tells on one level, in groups."""
    info = {
        "power": {"power": 12.5, "vbus": 5010, "ibus": 2500}, "temps": {"vcore": 45.2, "asic": 62.7},
        "asic": {"count": 1, "model": "BM1370", "vcoreReal": 1198, "freqReq": 490}, "fans": [{"id": 0, "speed": 60, "rpm": 2800}],
        "miner": {"hashRate": 720.5, "sAccepted": 1024, "sRejected": 3, "uptimeSeconds": 86_400, "uptimeEver": 2_592_000},
        "identity": {"fwVersion": "v2.9.31", "hwModel": "NMAxe"},
        "stratum": {"url": "stratum+tcp://pool.example:3333", "user": "acct.w", "pwd": "hidden"},
    }  # fmt: skip
    return {"system_info": info}


_REST = {
    "miner_stats": "miner/stats", "miner_details": "miner/details", "performance_tuner_state": "performance/tuner-state",
    "cooling_state": "cooling/state", "miner_hw_hashboards": "miner/hw/hashboards", "pools": "pools/",
    "miner_errors": "miner/errors", "configuration_miner": "configuration/miner",
}  # fmt: skip


def doors() -> dict[str, Play]:
    """Each family and release as a poll meets it: commands of the cgminer port, or pages."""
    rest = {f"GET /api/v1/{_REST[name]}": answer for name, answer in fixtures_more.braiins().items() if name in _REST}
    info = "GET /api/system/info"
    epic = fixtures_more.epic() | {"temps/chip": [{"Index": 0, "Data": [71.5, 0.0]}, {"Index": 1, "Data": [70.0]}]}
    vnish = {"perf-summary": {}, "info": {}, **vnish_1_2_0()}
    newer = {f"GET /api/v1/{name.replace('_', '-')}": answer for name, answer in fixtures_more.vnish().items()}
    return {
        "luxos": Play("luxos", fixtures_more.luxos()),
        "luxos one by one": Play("luxos", fixtures_more.luxos(), joins=False),
        "braiins": Play("braiins", rest),
        "braiins before 25.07": Play("braiins", bosminer()),
        "vnish": Play("vnish", newer),
        "vnish 1.2.0": Play("vnish", {f"GET /api/v1/{name}": answer for name, answer in vnish.items()}),
        "epic": Play("epic", {f"GET /{name}": answer for name, answer in epic.items()}),
        "auradine": Play("auradine", fixtures_more.auradine()),
        "auradine over pages": Play(
            "auradine", {f"GET /{name}": answer for name, answer in fixtures_more.auradine().items()}, rpc_closed=True
        ),
        "axeos": Play("bitaxe", {info: axeos()["system_info"]}),
        "nerdqaxe": Play("bitaxe", {info: nerdqaxe({"active": True, "connected": True, "accepted": 9})["system_info"]}),
        "nmaxe": Play("bitaxe", {info: nmaxe()["system_info"]}),
    }
