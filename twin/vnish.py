# SPDX-License-Identifier: Apache-2.0
"""Simulated VNish 1.3: open reads, writes with the bearer token of `unlock`. Presets are watts; setting one restarts."""

import secrets
from typing import Any

from twin.antminer import Antminer
from twin.exchange import Request, Response, respond
from twin.firmware import back_to_stock, form, take
from twin.look import Look
from twin.rpc import Json
from twin.site import Pool, Site, Unit

ACCOUNT = "admin"


class VNish:
    """Answers for all VNish miners of a site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.makers = Antminer(site)

    def http(self, unit: Unit, ask: Request, now_ms: int) -> Response:
        """One exchange under /api/v1."""
        if unit.memory.get("stock"):
            return self.makers.http(unit, ask, now_ms)
        path = ask.path.removeprefix("/api/v1")
        if ask.method == "GET":
            return self._read(unit, path)
        if path == "/unlock":
            return self._unlock(unit, ask.json())
        if path == "/find-miner":
            machines = self.site.machines
            asked = ask.json()
            on = (
                bool(asked.get("on"))
                if isinstance(asked, dict) and "on" in asked
                else not machines.locating[unit.index]
            )
            self.site.locate(unit, on, now_ms)
            return respond({"on": on})
        held = unit.memory.get("token")
        if not held or ask.headers.get("authorization", "").removeprefix("Bearer ") != held:
            return Response(401)
        if "write_404" in unit.faults:
            return Response(404)
        if "refuses_writes" in unit.faults:
            return respond({"err": "refused"}, 500)
        if path == "/firmware/update":
            problem = take(self.site, unit, form(ask).get("file", b""), now_ms)
            return respond({"err": problem}, 500) if problem else respond({"after": 3})
        return self._write(unit, path, ask.json(), now_ms)

    def _unlock(self, unit: Unit, body: Any) -> Response:
        if not isinstance(body, dict) or body.get("pw") != unit.password:
            return respond({"unlocked": False}, 403)
        token = unit.memory.setdefault("token", secrets.token_hex(16))
        return respond({"token": token})

    # --- reads --------------------------------------------------------------------------------------------------------

    def _read(self, unit: Unit, path: str) -> Response:
        look, model, place = self.site.look(unit), unit.model, unit.place
        match path:
            case "/summary":
                return respond({"miner": self._summary(unit, look)})
            case "/status":
                return respond({**self._state(unit, look), "find_miner": bool(self.site.machines.locating[unit.index]),
                             "restart_required": False, "reboot_required": False, "unlocked": False})  # fmt: skip
            case "/info":
                network = {"mac": place.mac, "ip": place.host, "hostname": place.name, "dhcp": True, "netmask": "",
                "gateway": "",
                           "dns": []}  # fmt: skip
                system = {"os": "GNU/Linux", "miner_name": model.title, "file_system_version": "", "mem_total": 0,
                "mem_free": 0,
                          "mem_free_percent": 0, "mem_buf": 0, "mem_buf_percent": 0, "network_status": network,
                          "uptime": f"{look.uptime_s // 3600}:{look.uptime_s // 60 % 60:02d}"}  # fmt: skip
                return respond({"miner": model.title, "model": "s21pro", "fw_name": "Vnish", "fw_version": unit.firmware,
                             "build_time": "2026-01-01", "platform": "cv", "install_type": "nand", "algorithm": "sha256d",
                             "hr_measure": "GH/s", "serial": unit.serial, "system": system})  # fmt: skip
            case "/perf-summary":
                return respond(
                    {
                        "current_preset": self._preset(look.mode),
                        "preset_switcher": {"enabled": "own_schedule" in unit.faults},
                    }
                )
            case "/autotune/presets":
                return respond([self._preset(name) for name, _, _ in model.modes])
            case "/model":
                overclock = {"max_power_limit": round(model.power_w * 1.3), "power_metering": False}
                boards = {"chips_per_chain": model.chips_per_board, "num_chains": model.boards}
                return respond(
                    {"full_name": model.title, "model": "s21pro", "serial": unit.serial, "chain": boards,
                     "overclock": overclock}
                )  # fmt: skip
            case "/settings":
                pools = [{"url": pool.url, "user": pool.user, "pass": pool.password} for pool in unit.pools]
                return respond({"miner": {"pools": pools, "overclock": {"preset": look.mode}}})
        return Response(404)

    def _preset(self, name: str) -> Json:
        return {"name": name, "pretty": f"{name} watt", "status": "tuned", "modded_psu_required": False}

    def _state(self, unit: Unit, look: Look) -> Json:
        machines = self.site.machines
        if machines.tripped[unit.index]:
            return {
                "miner_state": "failure",
                "failure_code": 6,
                "description": "Overheat",
                "throttled": 100,
                "miner_state_time": 0,
            }
        if machines.asleep[unit.index]:
            state = "shutting-down" if look.average_hs else "stopped"
        elif look.state == "ramping":
            state = (
                "auto-tuning"
                if look.average_hs > 0.6 * look.nominal_hs
                else "starting"
                if look.average_hs
                else "initializing"
            )
        else:
            state = "mining"
        return {"miner_state": state, "miner_state_time": look.elapsed_s, "throttled": 100}

    def _summary(self, unit: Unit, look: Look) -> Json:
        model = unit.model
        span = {"min": round(look.chip_c - 12), "max": round(look.chip_c)}
        board = {"min": round(look.board_c - 12), "max": round(look.board_c)}
        live = model.boards - look.dead_boards
        chains = []
        for at in range(model.boards):
            rate = look.average_hs / 1e9 / live if at < live else 0.0
            chains.append({
                "id": at + 1, "frequency": model.frequency_hz / 1e6 if rate else 0.0, "voltage": 13_600 if rate else 0,
                "power_consumption": round(look.power_w / model.boards),
                "hashrate_ideal": look.nominal_hs / 1e9 / model.boards,
                "hashrate_rt": round(rate, 2), "hashrate_percentage": 100.0 if rate else 0.0, "hr_error": 0.0,
                "hw_errors": 0,
                "pcb_temp": board, "chip_temp": span, "chip_statuses": {"red": 0, "orange": 0, "grey": 0},
                "status": {"state": "mining" if rate else "failure" if at >= live else "stopped"},
            })  # fmt: skip
        now, mean = round(look.hashrate_hs / 1e9, 2), round(look.average_hs / 1e9, 2)
        fans = [{"id": at + 1, "rpm": look.fan_rpm, "status": "ok", "max_rpm": 6200} for at in range(model.fans)]
        pools = [
            {"id": at, "url": pool.url, "user": pool.user, "pool_type": "UserPool",
            "status": "active" if at == 0 else "working",
             "asic_boost": True, "diff": "524K", "accepted": look.accepted if at == 0 else 0, "ping": 30,
             "rejected": look.rejected if at == 0 else 0, "stale": look.stale if at == 0 else 0, "ls_diff": 524288.0,
             "ls_time": "0:00:03", "diffa": 0.0}
            for at, pool in enumerate(unit.pools)
        ]  # fmt: skip
        return {
            "miner_type": f"{model.title} (Vnish {unit.firmware})", "miner_status": self._state(unit, look),
            "hr_realtime": now, "hr_average": mean, "hr_nominal": look.nominal_hs / 1e9, "hr_stock": model.hashrate_hs / 1e9,
            "instant_hashrate": now / 1000, "average_hashrate": mean / 1000, "hr_error": 0.0, "pcb_temp": board,
            "chip_temp": span,
            "power_consumption": round(look.power_w), "power_usage": round(look.power_w),
            "power_efficiency": round(look.power_w / (mean / 1000), 2) if mean else 0.0, "hw_errors": 0,
            "hw_errors_percent": 0.0,
            "devfee": 0.0, "devfee_percent": 2.0, "best_share": 0, "found_blocks": 0, "restart_count": 0, "chains": chains,
            "pools": pools, "cooling": {"fan_num": model.fans, "fans": fans, "fan_duty": min(100, look.fan_rpm // 62),
                                        "settings": {"mode": {"name": "auto"}}},
        }  # fmt: skip

    # --- writes -------------------------------------------------------------------------------------------------------

    def _write(self, unit: Unit, path: str, body: Any, now_ms: int) -> Response:
        site = self.site
        match path:
            case "/mining/stop" | "/mining/pause":
                site.sleep(unit, now_ms)
            case "/mining/start" | "/mining/resume":
                site.wake(unit, now_ms)
            case "/mining/restart":
                site.set_mode(unit, site.machines.modes[unit.index], now_ms, restart=True)
            case "/mining/throttle" if isinstance(body, dict) and isinstance(body.get("percent"), int):
                site.set_percent(unit, float(body["percent"]), now_ms)
            case "/firmware/remove" if isinstance(body, dict) and isinstance(body.get("remove_stock_logs"), bool):
                back_to_stock(site, unit, now_ms)
                return respond({"after": 3})
            case "/system/reboot":
                site.reboot(unit, now_ms)
                return respond({"after": 3})
            case "/settings" if isinstance(body, dict):
                return self._configure(unit, body.get("miner") or {}, now_ms)
            case _:
                return Response(404)
        return Response(200)

    def _configure(self, unit: Unit, miner: Json, now_ms: int) -> Response:
        """A preset takes effect when the mining restarts, which this firmware does by itself."""
        preset = (miner.get("overclock") or {}).get("preset")
        if preset is not None and str(preset) not in {name for name, _, _ in unit.model.modes}:
            return respond({"err": f"unknown preset {preset}"}, 422)
        if preset is not None:
            self.site.set_mode(unit, str(preset), now_ms)
        pools = [
            Pool(str(p["url"]), str(p.get("user", "")), str(p.get("pass", "x")))
            for p in miner.get("pools") or []
            if p.get("url")
        ]
        if pools:
            self.site.set_pools(unit, pools, now_ms)
        return respond({"restart_required": False, "reboot_required": False})
