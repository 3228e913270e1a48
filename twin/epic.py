# SPDX-License-Identifier: Apache-2.0
"""Simulated ePIC (UMC): HTTP with the password in each write; start and stop, a target hashrate, no power target.

A start may wait in `PreInitCooldown` first. Refusals come with status 200 and `"result": false`.
"""

from typing import Any

import numpy as np

from twin.exchange import Request, Response, respond
from twin.firmware import form, take
from twin.look import Look
from twin.models import PART_LOAD, part_load
from twin.rpc import Json
from twin.site import Pool, Site, Unit

ACCOUNT = ""


class Epic:
    """Answers for all ePIC miners of a site."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def http(self, unit: Unit, ask: Request, now_ms: int) -> Response:
        """One exchange."""
        return self._read(unit, ask.path) if ask.method == "GET" else self._write(unit, ask, now_ms)

    # --- reads --------------------------------------------------------------------------------------------------------

    def _read(self, unit: Unit, path: str) -> Response:
        look, place = self.site.look(unit), unit.place
        match path:
            case "/summary":
                return respond(self._summary(unit, look))
            case "/capabilities":
                return respond(self._capabilities(unit))
            case "/network":
                return respond(
                    {"dhcp": {"address": place.host, "mac_address": place.mac, "netmask": "", "gateway": "", "dns": ""}}
                )
            case "/temps":
                data = [round(look.inlet_c + 12, 3), round(look.board_c, 3)]
                return respond([{"Index": at, "Data": data, "Total": 0.0} for at in range(unit.model.boards)])
            case "/hashrate":
                return respond([{"Index": at, "Data": []} for at in range(unit.model.boards)])
        return Response(404)

    def _operating(self, unit: Unit, look: Look) -> str:
        machines = self.site.machines
        if machines.asleep[unit.index]:
            return "Idling"
        if look.state == "ramping" and not look.average_hs:
            return "PreInitCooldown" if look.chip_c > 55.0 else "Initializing"
        return "Idling" if machines.tripped[unit.index] else "Mining"

    def _summary(self, unit: Unit, look: Look) -> Json:
        model, machines = unit.model, self.site.machines
        live = model.boards - look.dead_boards
        asleep = bool(machines.asleep[unit.index])
        rate = look.average_hs / 1e6 / live
        boards = [
            {"Index": at, "Hashrate": [round(rate, 1), round(100 * look.average_hs / look.nominal_hs, 1), 0.8],
            "Core Clock": [],
             "Core Clock Avg": model.frequency_hz / 1e6 if rate else 0.0, "Temperature": round(look.board_c - at, 3),
             "Input Voltage": 12.6 if rate else 0.0, "Input Power": 0.0, "Input Current": 0.0, "Output Power": 0.0}
            for at in range(live)
        ]  # fmt: skip
        hot = "Over temperature shutdown" if machines.tripped[unit.index] else None
        pool = unit.pools[0]
        return {
            "Software": unit.firmware, "Hostname": unit.place.name, "OS Type": "umcOS",
            "Status": {"Operating State": self._operating(unit, look), "Last Command": unit.memory.get("last"),
                       "Last Command Result": None, "Last Error": hot},
            "HBs": boards,
            "HBStatus": [{"Index": at, "Detected": True, "Enabled": at < live} for at in range(model.boards)],
            "Session": {
                "Uptime": look.elapsed_s, "Accepted": look.accepted, "Rejected": look.rejected,
                "Active HBs": 0 if asleep else live,
                "Submitted": look.accepted + look.rejected, "Average MHs": round(look.average_hs / 1e6, 1),
                "Difficulty": 262144.0,
                "LastAverageMHs": {"Hashrate": round(look.average_hs / 1e6, 1), "Timestamp": look.at_ms // 1000},
                "Startup Timestamp": look.at_ms // 1000 - look.elapsed_s, "WorkReceived": look.elapsed_s // 36,
            },
            "Fans": {"Fans Speed": min(100, look.fan_rpm // 62), "Fan Mode": {"Auto": {"Idle Speed": 20,
            "Target Temperature": 60}}},
            "Fans Rpm": {f"Fans Speed {at + 1}": look.fan_rpm if at < model.fans else None for at in range(12)},
            "Power Supply Stats": {"Input Power": round(look.power_w, 2), "Output Voltage": 12.595 if rate else 0.0,
                                   "Target Voltage": 12600, "Input Voltage": 0.0, "Input Current": 0.0, "Output Power": 0.0},
            "PresetInfo": {"Target Power": round(look.limit_w)},
            "PerpetualTune": {"Running": True, "Algorithm": {"VoltageOptimizer": {
                "Target": round(float(machines.want_hs[unit.index]) / 1e12), "Unit": "TH/s", "Optimized": True,
                "Min Throttle Target": 50, "Throttle Step": 5, "Throttle Target": None}}},
            "Misc": {"Locate Miner State": bool(machines.locating[unit.index]), "Shutdown Temp": 85.0,
            "Critical Temp": 100.0},
            "Mining": {"Algorithm": "SHA-256", "Coin": "BTC"}, "IdleOnConnectionLost": True,
            "Stratum": {"Current Pool": pool.url.partition("://")[2], "Current User": pool.user,
            "IsPoolConnected": not asleep,
                        "Config Id": 0, "Average Latency": 0.04, "Worker Unique Id": False},
            "StratumConfigs": [{"pool": each.url, "login": each.user, "password": "x"} for each in unit.pools],
        }  # fmt: skip

    def _capabilities(self, unit: Unit) -> Json:
        model = unit.model
        presets = [
            {"hashrate": round(model.hashrate_hs * part_load(share) / 1e12, 1), "power": round(model.power_w * share), "clk": 400,
             "voltage": 12600}
            for share in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
        ]  # fmt: skip
        return {
            "Model": model.title.replace("Antminer", "AntMiner"), "Model Subtype": "BHB56801", "Chip Type": "BM1366",
            "Max HBs": model.boards, "Default Hashrate": model.hashrate_hs / 1e12, "Default Clock": model.frequency_hz / 1e6,
            "Performance Estimator": {"Chip Count": model.chips_per_board, "Hashes Per Second Per Chip": 894.0},
            "Control Board Version": {"cpuHardware": "STM32", "cpuSerial": unit.serial, "somBoardVersion": "7.1.0"},
            "Board Serial Numbers": [f"{unit.serial}B{at}" for at in range(model.boards)], "Tune Presets": presets,
            "PerpetualTune": [{"algorithm": "VoltageOptimizer", "min": 60, "max": 300, "name": "Voltage Optimizer",
            "description": ""}],
        }  # fmt: skip

    # --- writes -------------------------------------------------------------------------------------------------------

    def _write(self, unit: Unit, ask: Request, now_ms: int) -> Response:
        site = self.site
        if "write_404" in unit.faults:
            return Response(404)
        if ask.path == "/systemupdate":
            return self._update(unit, form(ask), now_ms)
        body = ask.json()
        if not isinstance(body, dict) or body.get("password") != unit.password:
            return respond({"result": False, "error": "Invalid password"})
        if "refuses_writes" in unit.faults:
            return respond({"result": False, "error": "Not permitted"})
        param = body.get("param")
        match ask.path, param:
            case "/miner", "Stop":
                unit.memory["last"] = "Stop"
                site.sleep(unit, now_ms)
            case "/miner", "Autostart":
                unit.memory["last"] = "Autostart"
                site.wake(unit, now_ms)
            case "/softreboot", _:
                site.set_mode(unit, site.machines.modes[unit.index], now_ms, restart=True)
            case "/reboot", _:
                site.reboot(unit, now_ms)
            case "/identify", bool():
                site.locate(unit, param, now_ms)
            case "/perpetualtune/algo", {"target": int() | float() as target}:
                site.set_power(unit, self._watts_for(unit, float(target)), now_ms)
            case "/perpetualtune", bool():
                pass
            case "/password", str() if param:
                unit.password = param
            case "/coin", {"stratum_configs": [*configs]} if configs:
                site.set_pools(unit, [_pool(config) for config in configs], now_ms)
            case _:
                return respond({"result": False, "error": "Unknown request"})
        return respond({"result": True, "error": None})

    def _update(self, unit: Unit, given: dict[str, bytes], now_ms: int) -> Response:
        if given.get("password", b"").decode() != unit.password:
            return respond({"result": False, "error": "Invalid password"})
        if "refuses_writes" in unit.faults or given.get("keepsettings") not in (b"true", b"false"):
            return respond({"result": False, "error": "Not permitted"})
        problem = take(self.site, unit, given.get("update.zip", b""), now_ms, given.get("checksum", b"").decode())
        return respond({"result": not problem, "error": problem or None})

    def _watts_for(self, unit: Unit, target_ths: float) -> float:
        """The power at which this model reaches a target hashrate, by its part-load curve."""
        share = target_ths * 1e12 / unit.model.hashrate_hs
        powers, works = zip(*PART_LOAD, strict=True)
        return unit.model.power_w * float(np.interp(share, works, powers))


def _pool(config: Any) -> Pool:
    return Pool(str(config.get("pool", "")), str(config.get("login", "")), str(config.get("password", "x")))
