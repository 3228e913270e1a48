# SPDX-License-Identifier: Apache-2.0
"""Simulated Whatsminer of API version 3 (port 4433): four bytes of length, then JSON; many requests per connection.

A write carries `token`, the first eight characters of base64(SHA-256(command + password + salt + ts)); pools and
passwords come encrypted under that digest. `ts` is only compared through the token, as the maker does.
"""

import base64
import secrets
from hashlib import sha256
from typing import Any

import orjson
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from twin.firmware import take
from twin.look import Look
from twin.rpc import Json
from twin.site import Pool, Site, Unit

ACCOUNT = "super"
SECRET_COMMANDS = frozenset({"set.miner.pools", "set.user.change_passwd"})
_MODES = {"low": "0", "normal": "1", "high": "2"}


def unseal_param(text: str, key: bytes) -> Any:
    """JSON from base64(AES-256-ECB); clients pad by PKCS#7 or by zeros. None for a wrong key."""
    try:
        cipher = Cipher(algorithms.AES(key), modes.ECB()).decryptor()
        plain = cipher.update(base64.b64decode(text)) + cipher.finalize()
        return orjson.loads(plain[: -plain[-1]] if 0 < plain[-1] <= 16 else plain.rstrip(b"\0"))
    except (ValueError, IndexError, orjson.JSONDecodeError):
        return None


class WhatsminerV3:
    """Answers for all Whatsminers (v3) of a site, without framing."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def rpc(self, unit: Unit, payload: bytes, now_ms: int) -> bytes:
        """One JSON in, one JSON out."""
        when = self.site.clock_ms(unit) // 1000
        try:
            asked = orjson.loads(payload)
        except orjson.JSONDecodeError:
            asked = None
        if not isinstance(asked, dict):
            return orjson.dumps({"code": -1, "when": when, "msg": "invalid json", "desc": ""})
        command = str(asked.get("cmd", ""))
        code, message = self._answer(unit, command, asked, now_ms)
        return orjson.dumps({"code": code, "when": when, "msg": message, "desc": command})

    def image(self, unit: Unit, data: bytes, now_ms: int) -> bytes:
        """The answer to the image after `ready`."""
        problem = take(self.site, unit, data, now_ms)
        reported = {"code": -1 if problem else 0, "when": self.site.clock_ms(unit) // 1000, "msg": problem or "ok"}
        return orjson.dumps(reported | {"desc": "set.system.update_firmware"})

    def _answer(self, unit: Unit, command: str, asked: Json, now_ms: int) -> tuple[int, Any]:
        look = self.site.look(unit)
        match command:
            case "get.device.info":
                return 0, self._info(unit, look, asked.get("param"))
            case "get.miner.status":
                return 0, self._status(unit, look, str(asked.get("param", "summary")))
            case "get.miner.setting":
                return 0, {
                    "power-limit": round(look.limit_w),
                    "power-mode": look.mode,
                    "fast-boot": "disable",
                    "upfreq-speed": 0,
                }
            case "get.system.setting":
                return 0, {"time-randomized": unit.memory.get("random", {"start": 0, "stop": 0}), "ntp-server": []}
        if command.startswith("set."):
            return self._write(unit, command, asked, now_ms)
        return -4, "invalid command"

    # --- reads --------------------------------------------------------------------------------------------------------

    def _salt(self, unit: Unit) -> str:
        salt = unit.memory.setdefault("salt", secrets.token_urlsafe(6)[:8])
        assert isinstance(salt, str)
        return salt

    def _info(self, unit: Unit, look: Look, part: Any) -> Json:
        model, place = unit.model, unit.place
        asleep = bool(self.site.machines.asleep[unit.index])
        miner: Json = {
            "working": str(not asleep).lower(), "type": model.title, "hash-board": "K40", "miner-sn": unit.serial,
            "board-num": str(model.boards), "fast-boot": "disable", "pool-strategy": "FAILOVER",
            "hash-percent": "0" if look.percent == 100.0 else f"{look.percent - 100.0:g}",
        }  # fmt: skip
        for at in range(model.boards):
            miner[f"pcbsn{at}"] = f"{unit.serial}B{at}"
        parts: Json = {
            "miner": miner,
            "network": {"ip": place.host, "proto": "dhcp", "netmask": "255.255.255.0", "gateway": "", "dns": "",
                        "hostname": "WhatsMiner", "mac": place.mac},
            "power": {"type": "P221B", "mode": _MODES.get(look.mode, "1"), "vendor": "1", "model": "P221B",
                      "hwversion": "RT0159", "swversion": "230224.220429", "sn": f"P{unit.serial}",
                      "fanspeed": look.fan_rpm},
            "system": {"api": "3.0.2", "apiswitch": "1", "fwversion": unit.firmware, "platform": "H616",
                       "control-board-version": "CB6V10",
                       "ledstatus": "manual" if self.site.machines.locating[unit.index] else "auto"},
            "salt": self._salt(unit),
        }  # fmt: skip
        errors = self._errors(unit, look)
        if errors:
            parts["error-code"] = errors
        return {str(part): parts[str(part)]} if part is not None and str(part) in parts else parts

    def _errors(self, unit: Unit, look: Look) -> list[Json]:
        found = []
        if look.dead_boards:
            found.append({"530": "2026-01-02 10:30:00", "reason": "Slot0 not found."})
        if self.site.machines.tripped[unit.index]:
            found.append({"350": "2026-01-02 10:31:00", "reason": "Slot0 temperature over the limit."})
        return found

    def _status(self, unit: Unit, look: Look, parts: str) -> Json:
        found: Json = {}
        for part in parts.split("+"):
            if part == "summary":
                found["summary"] = self._summary(unit, look)
            elif part == "pools":
                found["pools"] = [
                    {
                        "pool-priority": at,
                        "url": pool.url,
                        "account": pool.user,
                        "status": "alive",
                        "stratum-active": at == 0,
                    }
                    for at, pool in enumerate(unit.pools)
                ]
            elif part in ("edevs", "devs"):
                found[part] = [self._board(unit, look, at) for at in range(unit.model.boards)]
        return found

    def _summary(self, unit: Unit, look: Look) -> Json:
        now, mean = look.hashrate_hs / 1e12, look.average_hs / 1e12
        return {
            "elapsed": look.elapsed_s, "bootup-time": look.uptime_s, "freq-avg": round(unit.model.frequency_hz / 1e6),
            "hash-average": round(mean, 3), "hash-realtime": round(now, 3), "hash-1min": round(now, 3),
            "hash-15min": round(mean, 3), "factory-hash": round(look.nominal_hs / 1e12, 3),
            "power-limit": round(look.limit_w), "power-realtime": round(look.power_w, 1),
            "power-5min": round(look.power_w, 1), "power-rate": round(look.power_w / mean, 2) if mean else 0,
            "chip-temp-min": round(look.chip_c - 14, 1), "chip-temp-avg": round(look.chip_c - 7, 1),
            "chip-temp-max": round(look.chip_c, 1), "fan-speed-in": look.fan_rpm,
            "fan-speed-out": max(0, look.fan_rpm - 120), "environment-temperature": round(look.inlet_c, 1),
            "board-temperature": [round(look.board_c - at, 1) for at in range(unit.model.boards)],
            "up-freq-finish": int(look.state == "hashing"), "Debug": "",
        }  # fmt: skip

    def _board(self, unit: Unit, look: Look, at: int) -> Json:
        model = unit.model
        live = model.boards - look.dead_boards
        rate = look.average_hs / 1e12 / live if at < live else 0.0
        return {
            "id": at, "status": "alive" if at < live else "dead", "hash-average": round(rate, 2),
            "hash-realtime": round(rate, 2), "factory-hash": round(look.nominal_hs / 1e12 / model.boards, 2),
            "freq": model.frequency_hz / 1e6 if rate else 0.0, "chip-temp-min": round(look.chip_c - 14, 1),
            "chip-temp-avg": round(look.chip_c - 7, 1), "chip-temp-max": round(look.chip_c - at, 1),
            "effective-chips": model.chips_per_board if at < live else 0,
        }  # fmt: skip

    def _late_s(self, unit: Unit, what: str) -> float:
        """The random delay that `time_randomized` puts before a start or stop."""
        most = unit.memory.get("random", {})
        assert isinstance(most, dict)
        return float(self.site.machines.draw() * most.get(what, 0))

    # --- writes -------------------------------------------------------------------------------------------------------

    def _write(self, unit: Unit, command: str, asked: Json, now_ms: int) -> tuple[int, Any]:
        digest = sha256(f"{command}{unit.password}{self._salt(unit)}{asked.get('ts')}".encode()).digest()
        if asked.get("account") != ACCOUNT or asked.get("token") != base64.b64encode(digest).decode()[:8]:
            return -2, "authentication failed"
        if "refuses_writes" in unit.faults:
            return -3, "permission denied"
        param = asked.get("param")
        if command in SECRET_COMMANDS:
            param = unseal_param(str(param), digest)
            if param is None:
                return -1, "invalid param"
        site = self.site
        match command, param:
            case "set.miner.service", "stop" | "disable":
                site.sleep(unit, now_ms, self._late_s(unit, "stop"))
            case "set.miner.service", "start" | "enable":
                site.wake(unit, now_ms, late_s=self._late_s(unit, "start"))
            case "set.miner.service", "restart":
                site.set_mode(unit, site.machines.modes[unit.index], now_ms, restart=True)
            case "set.miner.power_limit", int() | float() if 0 <= param <= 99_999:
                site.set_power(unit, float(param), now_ms)
            case "set.miner.power_percent", _ if _percent(param) is not None:
                site.set_percent(unit, _percent(param) or 0.0, now_ms)
            case "set.miner.power_mode", "low" | "normal" | "high":
                site.set_mode(unit, str(param), now_ms)
            case "set.system.update_firmware", _:
                unit.memory["says_ready"] = True
                return 0, "ready"
            case "set.system.reboot", _:
                site.reboot(unit, now_ms)
            case "set.system.led", _:
                site.locate(unit, param != "auto", now_ms)
            case "set.miner.pools", list():
                pools = [
                    Pool(str(p["pool"]), str(p.get("worker", "")), str(p.get("passwd", "x")))
                    for p in param
                    if p.get("pool")
                ]
                if not pools:
                    return -1, "invalid param"
                site.set_pools(unit, pools, now_ms)
            case "set.user.change_passwd", {"new": str(new), "old": old} if old == unit.password and new:
                unit.password = new
            case (
                "set.miner.fastboot" | "set.miner.upfreq_speed" | "set.miner.fast_hash" | "set.system.time_randomized",
                _,
            ):
                pass
            case _:
                return -1, "invalid param"
        return 0, "ok"


def _percent(param: Any) -> float | None:
    """The percent of `{"percent": .., "mode": "fast" | "normal"}`, within 0 to 100; None for anything else."""
    if not isinstance(param, dict) or param.get("mode") not in ("fast", "normal"):
        return None
    value = param.get("percent")
    return float(value) if isinstance(value, int | float) and 0 < value <= 100 else None
