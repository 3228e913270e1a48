# SPDX-License-Identifier: Apache-2.0
"""Simulated Braiins OS with the REST API of 26.04, all with a bearer token from `auth/login`.

`pause` and `resume` report whether the state was already so. A power target without a tuned profile takes minutes to settle;
tuned profiles are kept over a pause.
"""

import secrets
from collections.abc import Mapping
from typing import Any

import orjson

from kernel.clock import iso
from twin.antminer import Antminer
from twin.exchange import Request, Response, respond
from twin.firmware import back_to_stock, form, take
from twin.look import Look
from twin.rpc import Json
from twin.site import Pool, Site, Unit

ACCOUNT = "root"
TOKEN_S = 3600
NORMAL, PAUSED = 2, 3
STABLE, TUNING = 2, 3
_WINDOWS = (
    "last_5s",
    "last_15s",
    "last_30s",
    "last_1m",
    "last_5m",
    "last_15m",
    "last_30m",
    "last_1h",
    "last_24h",
    "since_restart",
)


def _rates(now_hs: float, mean_hs: float) -> Json:
    """The windows of a hashrate: the first four show the present rate."""
    return {name: {"gigahash_per_second": (now_hs if at < 4 else mean_hs) / 1e9} for at, name in enumerate(_WINDOWS)}


class Braiins:
    """Answers for all Braiins miners of a site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.makers = Antminer(site)

    def http(self, unit: Unit, ask: Request, now_ms: int) -> Response:
        """One exchange."""
        if unit.memory.get("stock"):
            return self.makers.http(unit, ask, now_ms)
        path = ask.path.removeprefix("/api/v1").rstrip("/") or "/"
        if (ask.method, path) == ("POST", "/auth/login"):
            return self._login(unit, ask.json(), now_ms)
        if path == "/version":
            return respond({"major": 1, "minor": 3, "patch": 0})
        given = ask.headers.get("authorization", "").removeprefix("Bearer ")
        kept = unit.memory.get("token")
        if not isinstance(kept, tuple) or given != kept[0] or now_ms > kept[1]:
            return respond({"detail": "Unauthorized"}, 401)
        return self._read(unit, path) if ask.method == "GET" else self._write(unit, ask, path, now_ms)

    def _login(self, unit: Unit, body: Any, now_ms: int) -> Response:
        if not isinstance(body, dict) or body.get("username") != ACCOUNT or body.get("password") != unit.password:
            return respond({"detail": "Invalid username or password"}, 401)
        token = secrets.token_urlsafe(12)
        unit.memory["token"] = (token, now_ms + TOKEN_S * 1000)
        return respond({"token": token, "timeout_s": TOKEN_S})

    # --- reads --------------------------------------------------------------------------------------------------------

    def _read(self, unit: Unit, path: str) -> Response:
        look, model, place = self.site.look(unit), unit.model, unit.place
        asleep = bool(self.site.machines.asleep[unit.index])
        match path:
            case "/miner/details":
                return respond(self._details(unit, look, asleep))
            case "/miner/stats":
                return respond(self._stats(look))
            case "/miner/hw/hashboards":
                return respond({"hashboards": [self._board(unit, look, at) for at in range(model.boards)]})
            case "/miner/errors":
                return respond({"errors": self._errors(unit, look)})
            case "/cooling/state":
                fans = [
                    {"position": at, "rpm": look.fan_rpm, "target_speed_ratio": round(min(1.0, look.fan_rpm / 6200), 2)}
                    for at in range(model.fans)
                ]
                hottest = {"id": None, "location": 1, "temperature": {"degree_c": round(look.chip_c, 3)}}
                return respond({"fans": fans, "highest_temperature": hottest})
            case "/pools":
                return respond(self._groups(unit, look))
            case "/performance/tuner-state":
                return respond(self._tuner(unit, look))
            case "/configuration/miner":
                tuner = {
                    "enabled": True,
                    "hashrate_target": None,
                    "power_target": {"watt": round(look.limit_w)},
                    "tuner_mode": 1,
                }
                scaling = (
                    {"enabled": True, "power_step": {"watt": 100}, "mode": 1} if "own_schedule" in unit.faults else None
                )
                return respond({"pool_groups": [], "tuner": tuner, "dps": scaling})
            case "/configuration/constraints":
                low, high = model.power_w * model.low_share, model.power_w * model.high_share
                watts = {
                    "default": {"watt": round(model.power_w)},
                    "min": {"watt": round(low)},
                    "max": {"watt": round(high)},
                }
                return respond({"tuner_constraints": {"power_target": watts, "enabled": {"value": True}}})
            case "/network":
                return respond({"hostname": place.name, "mac_address": place.mac.lower(), "name": "eth0", "protocol": 1,
                             "default_gateway": "", "dns_servers": [], "networks": [{"address": place.host,
                             "netmask": ""}]})  # fmt: skip
            case "/actions/locate":
                return respond(bool(self.site.machines.locating[unit.index]))
        return respond({"detail": "Not found"}, 404)

    def _details(self, unit: Unit, look: Look, asleep: bool) -> Json:
        model, place = unit.model, unit.place
        return {
            "uid": unit.serial[-8:], "status": PAUSED if asleep else NORMAL, "serial_number": unit.serial,
            "hostname": place.name, "mac_address": place.mac.lower(), "system_uptime": look.uptime_s,
            "system_uptime_s": look.uptime_s, "bosminer_uptime_s": look.elapsed_s, "bos_mode": 4, "platform": 4,
            "bos_version": {"current": unit.firmware, "major": "2022-09-13-0-11012d53-22.08-plus", "bos_plus": True},
            "miner_identity": {"brand": 1, "model": 0, "name": model.title, "miner_model": model.title},
            "sticker_hashrate": {"gigahash_per_second": model.hashrate_hs / 1e9}, "control_board_soc_family": 3,
            "kernel_version": "4.9.113",
            "psu_info": {"model_name": "APW171215a/c", "serial_number": f"P{unit.serial}", "version": 193,
            "fw_version": 6920,
                         "min_voltage": {"volt": 12.0}, "max_voltage": {"volt": 15.0}},
        }  # fmt: skip

    def _stats(self, look: Look) -> Json:
        mean = look.average_hs / 1e12
        return {
            "miner_stats": {
                "nominal_hashrate": {"gigahash_per_second": look.nominal_hs / 1e9}, "found_blocks": 0,
                "best_share": 499065300,
                "error_hashrate": {"megahash_per_second": 0.0}, "real_hashrate": _rates(look.hashrate_hs, look.average_hs),
            },
            "pool_stats": self._shares(look),
            "power_stats": {
                "approximated_consumption": {"watt": round(look.power_w)},
                "efficiency": {"joule_per_terahash": look.power_w / mean if mean else 0.0},
            },
        }  # fmt: skip

    def _shares(self, look: Look) -> Json:
        return {"accepted_shares": look.accepted, "rejected_shares": look.rejected, "stale_shares": look.stale,
                "last_difficulty": 524288, "generated_work": look.accepted * 2_000_000, "best_share": 499065300,
                "last_share_time": {"seconds": look.at_ms // 1000, "nanos": 0}}  # fmt: skip

    def _board(self, unit: Unit, look: Look, at: int) -> Json:
        model = unit.model
        live = model.boards - look.dead_boards
        there = at < live
        mean, now = (look.average_hs / live, look.hashrate_hs / live) if there else (0.0, 0.0)
        return {
            "id": str(at + 1), "enabled": there, "board_name": "A3HB70601", "model": "A3HB70601", "chip_type": "BM1370",
            "chips_count": model.chips_per_board if there else 0, "serial_number": f"{unit.serial}B{at}",
            "current_frequency": {"hertz": model.frequency_hz if mean else 0.0},
            "current_voltage": {"volt": 13.7 if mean else 0.0},
            "board_temp": {"degree_c": round(look.board_c - at, 3)},
            "highest_chip_temp": {"id": 1, "location": 1, "temperature": {"degree_c": round(look.chip_c - at, 3)}},
            "lowest_inlet_temp": {"degree_c": round(look.inlet_c + 10, 3)},
            "highest_outlet_temp": {"degree_c": round(look.board_c, 3)},
            "stats": {"nominal_hashrate": {"gigahash_per_second": look.nominal_hs / 1e9 / model.boards}, "found_blocks": 0,
                      "error_hashrate": {"megahash_per_second": 0.0}, "real_hashrate": _rates(now, mean)},
        }  # fmt: skip

    def _errors(self, unit: Unit, look: Look) -> list[Json]:
        texts = []
        if look.dead_boards:
            texts.append(("V2", "Hashboard voltage significantly lower than expected"))
        if self.site.machines.tripped[unit.index]:
            texts.append(("T1", "Temperature over the dangerous limit"))
        return [
            {
                "timestamp": iso(look.at_ms),
                "message": text,
                "components": [],
                "error_codes": [{"code": code, "hint": "", "reason": text}],
            }
            for code, text in texts
        ]

    def _groups(self, unit: Unit, look: Look) -> list[Json]:
        pools = [
            {"uid": f"pool{at}", "url": pool.url, "user": pool.user, "enabled": True, "alive": True, "active": at == 0,
             "stats": self._shares(look) if at == 0 else {"accepted_shares": 0, "rejected_shares": 0, "stale_shares": 0}}
            for at, pool in enumerate(unit.pools)
        ]  # fmt: skip
        return [{"uid": "0", "name": "Default", "pools": pools, "strategy": {"quota": {"value": 1}}}]

    def _tuner(self, unit: Unit, look: Look) -> Json:
        target = {"watt": round(look.limit_w)}
        profile = {"created": None, "target": target, "estimated_power_consumption": {"watt": round(look.power_w)},
                   "measured_hashrate": {"gigahash_per_second": look.average_hs / 1e9}}  # fmt: skip
        state = TUNING if look.state == "ramping" else STABLE
        return {
            "overall_tuner_state": state,
            "mode_state": {"powertargetmodestate": {"current_target": target, "profile": profile}},
        }

    # --- writes -------------------------------------------------------------------------------------------------------

    def _write(self, unit: Unit, ask: Request, path: str, now_ms: int) -> Response:
        if "write_404" in unit.faults:
            return respond({"detail": "Not found"}, 404)
        if "refuses_writes" in unit.faults:
            return respond({"detail": "Permission denied"}, 403)
        if path == "/upgrade/system-upgrade":
            return self._upgrade(unit, form(ask), now_ms)
        site, machines, body = self.site, self.site.machines, ask.json()
        asleep = bool(machines.asleep[unit.index])
        match ask.method, path:
            case "PUT", "/actions/pause" | "/actions/stop":
                site.sleep(unit, now_ms)
                return respond(asleep)
            case "PUT", "/actions/resume" | "/actions/start":
                site.wake(unit, now_ms, self._quick(unit))
                return respond(not asleep)
            case "PUT", "/actions/restart":
                site.set_mode(unit, machines.modes[unit.index], now_ms, restart=True)
                return respond(False)
            case "POST", "/upgrade/restore-stock":
                back_to_stock(site, unit, now_ms)
                return Response(204)
            case "PUT", "/actions/reboot":
                site.reboot(unit, now_ms)
                return Response(204)
            case "PUT", "/actions/locate" if isinstance(body, bool):
                site.locate(unit, body, now_ms)
                return respond(body)
            case "PUT", "/performance/power-target" if (watt := _watt(body)) is not None:
                low, high = unit.model.power_w * unit.model.low_share, unit.model.power_w * unit.model.high_share
                if not low <= watt <= high:
                    return respond({"detail": f"power target must be between {low:.0f} and {high:.0f} W"}, 400)
                site.set_power(unit, watt, now_ms)
                return respond({"watt": round(watt)})
            case "PUT", "/performance/quick-ramping" if isinstance(body, dict):
                unit.memory["quick"] = body.get("up_s")
                return respond(body)
            case "PUT", "/auth/password" if isinstance(body, dict) and body.get("password"):
                unit.password = str(body["password"])
                return Response(204)
            case "PUT", "/pools/batch" if isinstance(body, list):
                pools = [
                    Pool(str(pool["url"]), str(pool.get("user", "")), str(pool.get("password") or "x"))
                    for group in body
                    for pool in group.get("pools", [])
                ]
                if not pools:
                    return respond({"detail": "no pools"}, 400)
                site.set_pools(unit, pools, now_ms)
                return respond(body)
        return respond({"detail": "Unprocessable"}, 422 if body is not None else 404)

    def _upgrade(self, unit: Unit, given: dict[str, bytes], now_ms: int) -> Response:
        """Metadata must come first, with size and hash of the data."""
        try:
            reported = orjson.loads(given.get("metadata", b""))
        except orjson.JSONDecodeError:
            reported = None
        data = given.get("data", b"")
        if list(given) != ["metadata", "data"] or not isinstance(reported, dict) or reported.get("size") != len(data):
            return respond({"detail": "first message of the stream has to be `metadata`"}, 422)
        problem = take(self.site, unit, data, now_ms, str(reported.get("hash")))
        return respond({"detail": problem}, 500) if problem else Response(204)

    def _quick(self, unit: Unit) -> float | None:
        quick = unit.memory.get("quick")
        return float(quick) if isinstance(quick, int | float) and quick > 0 else None


def _watt(body: Any) -> float | None:
    watt = body.get("watt") if isinstance(body, Mapping) else None
    return float(watt) if isinstance(watt, int | float) else None
