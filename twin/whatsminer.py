# SPDX-License-Identifier: Apache-2.0
"""Simulated Whatsminer of API versions 1 and 2: plain reads on the cgminer port, writes with a token and AES.

Version 1 (trait `v1`) reports only `btmineroff` in `status`, and has no percent.

The write API is on and its password is the site's own. A token lives 30 minutes and one address may hold 32. A power
limit or a mode restarts the mining; a percent does not and ends with the next restart.
"""

import base64
import secrets
from hashlib import sha256

import orjson
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from twin.firmware import take
from twin.look import Look
from twin.md5crypt import md5crypt
from twin.rpc import Json, join, parse, status
from twin.site import Pool, Site, Unit

MAKER = "cgminer 4.9.2"
ACCOUNT = "admin"
TOKEN_LIFE_MS = 30 * 60_000
TOKENS_AT_MOST = 32
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_NOT_JOINED = ("get_", "status")


def reply(code: int, message: object, when: int, letter: str = "S") -> Json:
    """The answer of the maker's own commands: STATUS is a letter, Msg anything."""
    return {"STATUS": letter, "When": when, "Code": code, "Msg": message, "Description": ""}


def key_of(password: str, salt: str) -> str:
    """The fourth field of the md5crypt text: the hash of the password with this salt."""
    return md5crypt(password, salt).split("$")[3]


def seal(value: Json, key: str) -> str:
    """JSON under AES-256-ECB with zero padding, in base64."""
    plain = orjson.dumps(value)
    plain += b"\0" * (-len(plain) % 16)
    cipher = Cipher(algorithms.AES(sha256(key.encode()).digest()), modes.ECB()).encryptor()
    return base64.b64encode(cipher.update(plain) + cipher.finalize()).decode()


def unseal(text: str, key: str) -> Json | None:
    """The inverse of `seal`; None where the key or the text is wrong."""
    try:
        raw = base64.b64decode(text, validate=False)
        cipher = Cipher(algorithms.AES(sha256(key.encode()).digest()), modes.ECB()).decryptor()
        found = orjson.loads((cipher.update(raw) + cipher.finalize()).rstrip(b"\0"))
    except (ValueError, orjson.JSONDecodeError):
        return None
    return found if isinstance(found, dict) else None


class Whatsminer:
    """Answers for all Whatsminers (v2) of a site."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def rpc(self, unit: Unit, payload: bytes, now_ms: int) -> bytes:
        """One message in, one answer out, ended by a NUL as in cgminer (own commands end without)."""
        asked = parse(payload)
        when = self.site.clock_ms(unit) // 1000
        if not asked:
            return orjson.dumps(reply(23, "invalid json message", when, "E"))
        if "enc" in asked:
            return orjson.dumps(self._sealed(unit, asked, when, now_ms))
        command = str(asked.get("command") or asked.get("cmd") or "")
        if "+" in command:
            if any(name.startswith(_NOT_JOINED) for name in command.split("+")):
                return orjson.dumps(reply(14, "invalid cmd", when, "E"))
            return orjson.dumps(join(command, lambda name: self._one(unit, name, when, now_ms))) + b"\0"
        answer = self._one(unit, command, when, now_ms)
        return orjson.dumps(answer) + (b"\0" if isinstance(answer["STATUS"], list) else b"")

    def _one(self, unit: Unit, command: str, when: int, now_ms: int) -> Json:
        look = self.site.look(unit)
        match command:
            case "summary":
                return {"STATUS": status(11, "Summary", when, MAKER), "SUMMARY": [self._summary(unit, look)], "id": 1}
            case "pools":
                pools = [self._pool(unit, look, at) for at in range(len(unit.pools))]
                return {"STATUS": status(7, f"{len(pools)} Pool(s)", when, MAKER), "POOLS": pools, "id": 1}
            case "devs" | "edevs":
                boards = [self._board(unit, look, at) for at in range(unit.model.boards)]
                return {"STATUS": status(9, f"{len(boards)} ASC(s)", when, MAKER), "DEVS": boards, "id": 1}
            case "devdetails":
                details = [
                    {
                        "DEVDETAILS": at,
                        "Name": "SM",
                        "ID": at,
                        "Driver": "bitmicro",
                        "Kernel": "",
                        "Model": unit.model.title,
                    }
                    for at in range(unit.model.boards)
                ]
                return {"STATUS": status(69, "Device Details", when, MAKER), "DEVDETAILS": details, "id": 1}
            case "status":
                return reply(131, self._status(unit, look), when)
            case "get_version":
                if "v1" in unit.model.traits:
                    return reply(131, {"api_ver": "whatsminer v1.4.0", "fw_ver": unit.firmware}, when)
                return reply(131, {"api_ver": "2.0.5", "fw_ver": unit.firmware, "platform": "H616"}, when)
            case "get_psu":
                fan = {"name": "P222B", "hw_version": "", "sw_version": "230208.220429", "model": "P222B"}
                return reply(131, fan | {"fan_speed": str(look.fan_rpm), "serial_no": unit.serial}, when)
            case "get_miner_info":
                lit = "manual" if self.site.machines.locating[unit.index] else "auto"
                info = {"hostname": "WhatsMiner", "mac": unit.place.mac, "ledstat": lit, "ip": unit.place.host}
                return reply(131, info | {"minersn": unit.serial}, when)
            case "get_error_code":
                return reply(131, {"error_code": self._errors(unit, look)}, when)
            case "get_token":
                return self._token(unit, when, now_ms)
        return reply(14, "invalid cmd", when, "E")

    # --- reads --------------------------------------------------------------------------------------------------------

    def _off(self, unit: Unit) -> bool:
        return bool(self.site.machines.asleep[unit.index])

    def _summary(self, unit: Unit, look: Look) -> Json:
        mhs = look.average_hs / 1e6
        odd = "inf_nan" in unit.faults
        return {
            "Elapsed": look.elapsed_s, "MHS av": "nan" if odd else round(mhs, 2), "MHS 5s": round(look.hashrate_hs / 1e6, 2),
            "MHS 1m": round(look.hashrate_hs / 1e6, 2), "MHS 5m": round(mhs, 2), "MHS 15m": round(mhs, 2),
            "HS RT": "inf" if odd else round(look.hashrate_hs / 1e6, 2), "Accepted": look.accepted,
            "Rejected": look.rejected, "Stale": look.stale, "Total MH": round(mhs * look.elapsed_s, 1),
            "Temperature": round(look.board_c, 1), "freq_avg": int(unit.model.frequency_hz / 1e6) if look.average_hs else 0,
            "Fan Speed In": look.fan_rpm, "Fan Speed Out": max(0, look.fan_rpm - 120), "Power": round(look.power_w),
            "Power Limit": round(look.limit_w), "Power Mode": look.mode.capitalize(),
            "Factory GHS": round(look.nominal_hs / 1e9),
            "Chip Temp Min": round(look.chip_c - 18.0, 2), "Chip Temp Max": round(look.chip_c, 2),
            "Chip Temp Avg": round(look.chip_c - 8.0, 2), "Hash Stable": look.state == "hashing",
            "Hash Deviation%": 0.1, "Target Freq": int(unit.model.frequency_hz / 1e6), "Env Temp": round(look.inlet_c, 1),
            "Voltage": 1180, "Liquid Cooling": unit.model.fans == 0, "Uptime": look.uptime_s, "MAC": unit.place.mac,
            "Firmware Version": f"'{unit.firmware}'", "Error Code Count": len(self._errors(unit, look)),
            "Factory Error Code Count": 0, "Security Mode": 0, "Pool Rejected%": 0.25, "Pool Stale%": 0.06,
            "Best Share": 82000000, "Hardware Errors": look.hw_errors, "Upfreq Complete": int(look.state == "hashing"),
        }  # fmt: skip

    def _board(self, unit: Unit, look: Look, at: int) -> Json:
        model = unit.model
        live = model.boards - look.dead_boards
        rate = look.average_hs / 1e6 / live if at < live else 0.0
        return {
            "ASC": at, "Slot": at, "ID": at, "Name": "SM", "Enabled": "Y", "Status": "Alive" if at < live else "Dead",
            "Temperature": round(look.board_c - at * 0.5, 1), "Chip Frequency": int(model.frequency_hz / 1e6) if rate else 0,
            "Chip Temp Min": round(look.chip_c - 18.0, 1), "Chip Temp Max": round(look.chip_c - at * 0.5, 1),
            "Chip Temp Avg": round(look.chip_c - 8.0, 1), "MHS av": round(rate, 2), "MHS 5s": round(rate, 2),
            "MHS 1m": round(rate, 2), "Accepted": look.accepted // model.boards, "Rejected": 0,
            "Device Elapsed": look.elapsed_s, "Upfreq Complete": int(look.state == "hashing"),
            "Effective Chips": model.chips_per_board if at < live else 0,
            "Factory GHS": round(look.nominal_hs / 1e9 / model.boards),
            "Fan Speed In": look.fan_rpm, "Fan Speed Out": max(0, look.fan_rpm - 120), "PCB SN": f"{unit.serial}B{at}",
        }  # fmt: skip

    def _pool(self, unit: Unit, look: Look, at: int) -> Json:
        pool, first = unit.pools[at], at == 0
        return {
            "POOL": at + 1, "URL": pool.url, "User": pool.user, "Status": "Alive", "Priority": at,
            "Stratum Active": first, "Accepted": look.accepted if first else 0, "Rejected": look.rejected if first else 0,
            "Stale": look.stale if first else 0, "Stratum Difficulty": 65536.0 if first else 0.0,
            "Last Share Time": look.at_ms // 1000 if first else 0,
        }  # fmt: skip

    def _status(self, unit: Unit, look: Look) -> Json:
        off = self._off(unit)
        if "v1" in unit.model.traits:
            return {"btmineroff": str(off).lower(), "Firmware Version": f"'{unit.firmware}'"}
        return {
            "FirmwareVersion": unit.firmware, "mineroff": str(off).lower(), "mineroff_reason": "api" if off else "",
            "mineroff_time": "", "power_mode": look.mode, "power_limit_set": str(round(look.limit_w)),
            "hash_percent": "0" if look.percent == 100.0 else f"{look.percent - 100.0:g}",
        }  # fmt: skip

    def _errors(self, unit: Unit, look: Look) -> list[Json]:
        found = []
        if look.dead_boards:
            found.append({"530": "2026-01-02 10:30:00"})
        if self.site.machines.tripped[unit.index]:
            found.append({"350": "2026-01-02 10:31:00"})
        if "hashless" in unit.faults:
            found.append({"2010": "2026-01-02 10:32:00"})
        return found

    # --- writes -------------------------------------------------------------------------------------------------------

    def _token(self, unit: Unit, when: int, now_ms: int) -> Json:
        held = unit.memory.setdefault("tokens", {})
        assert isinstance(held, dict)
        for sign in [sign for sign, (_, born_ms) in held.items() if now_ms - born_ms >= TOKEN_LIFE_MS]:
            del held[sign]
        if len(held) >= TOKENS_AT_MOST:
            return reply(136, "too many tokens", when, "E")
        salt, newsalt = ("".join(secrets.choice(_LETTERS) for _ in range(8)) for _ in range(2))
        stamp = f"{when % 10_000:04d}"
        key = key_of(unit.password, salt)
        held[key_of(key + stamp, newsalt)] = (key, now_ms)
        return reply(134, {"time": stamp, "salt": salt, "newsalt": newsalt}, when)

    def _sealed(self, unit: Unit, asked: Json, when: int, now_ms: int) -> Json:
        """An encrypted command: the key that decrypts it identifies its token."""
        held = unit.memory.get("tokens", {})
        assert isinstance(held, dict)
        for sign, (key, born_ms) in reversed(list(held.items())):
            inner = unseal(str(asked.get("data", "")), key)
            if inner is None:
                continue
            if inner.get("token") != sign or now_ms - born_ms >= TOKEN_LIFE_MS:
                return reply(135, "check token err", when, "E")
            if inner.get("cmd") == "update_firmware" and "refuses_writes" not in unit.faults:
                unit.memory["says_ready"], unit.memory["image_key"] = True, key
                return {"enc": seal(reply(131, "ready", when), key)}
            return {"enc": seal(self._write(unit, inner, when, now_ms), key)}
        return reply(135, "check token err", when, "E")

    def image(self, unit: Unit, data: bytes, now_ms: int) -> bytes:
        """The answer to the image after `ready`, under the same key."""
        problem, when = take(self.site, unit, data, now_ms), self.site.clock_ms(unit) // 1000
        answer = reply(132, problem, when, "E") if problem else reply(131, "API command OK", when)
        return orjson.dumps({"enc": seal(answer, str(unit.memory.pop("image_key", "")))})

    def _write(self, unit: Unit, asked: Json, when: int, now_ms: int) -> Json:
        command = str(asked.get("cmd") or asked.get("command") or "")
        if "refuses_writes" in unit.faults:
            return reply(45, "permission denied", when, "E")
        if "v1" in unit.model.traits and command in ("set_power_pct", "set_power_pct_v2"):
            return reply(14, "invalid cmd", when, "E")
        site, done = self.site, reply(131, "API command OK", when)
        match command:
            case "power_off":
                site.sleep(unit, now_ms)
            case "power_on":
                site.wake(unit, now_ms)
            case "adjust_power_limit":
                watts = _number(asked.get("power_limit"))
                if watts is None or not 0 < watts <= 99_999:
                    return reply(132, "command error", when, "E")
                site.set_power(unit, min(watts, unit.model.power_w * unit.model.high_share), now_ms)
            case "set_power_pct" | "set_power_pct_v2":
                percent = _number(asked.get("percent"))
                if percent is None or not 0 < percent <= 100:
                    return reply(132, "command error", when, "E")
                site.set_percent(unit, percent, now_ms)
            case "set_low_power" | "set_normal_power" | "set_high_power":
                site.set_mode(unit, command.split("_")[1], now_ms)
            case "restart_btminer":
                site.set_mode(unit, site.machines.modes[unit.index], now_ms)
            case "reboot":
                site.reboot(unit, now_ms)
            case "set_led":
                site.locate(unit, asked.get("param") != "auto", now_ms)
            case "update_pools":
                pools = [
                    Pool(str(asked[f"pool{at}"]), str(asked.get(f"worker{at}", "")), str(asked.get(f"passwd{at}", "x")))
                    for at in (1, 2, 3)
                    if asked.get(f"pool{at}")
                ]
                if not pools:
                    return reply(132, "command error", when, "E")
                site.set_pools(unit, pools, now_ms)
            case "update_pwd":
                if asked.get("old") != unit.password or not asked.get("new"):
                    return reply(132, "command error", when, "E")
                unit.password = str(asked["new"])
                unit.memory.pop("tokens", None)
            case "pre_power_on" | "set_poweroff_cool" | "adjust_upfreq_speed":
                pass
            case _:
                return reply(14, "invalid cmd", when, "E")
        return done


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None
