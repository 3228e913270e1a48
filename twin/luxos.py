# SPDX-License-Identifier: Apache-2.0
"""Simulated LuxOS: cgminer's reads with additions, and writes within the only session of a miner.

`logon` is refused while another client has the session, which expires after a minute without use. Sleep outlives a reboot.
While asleep, `rebootdevice` and `frequencyset` are refused; an unsafe wake is refused on the first wake after a reboot.
"""

import secrets
from typing import Any

import orjson

from twin.look import Look
from twin.rpc import Json, join, parse, refusal, status
from twin.site import Pool, Site, Unit

ACCOUNT = "root"
SESSION_MS = 60_000


class LuxOS:
    """Answers for all LuxOS miners of a site."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def rpc(self, unit: Unit, payload: bytes, now_ms: int) -> bytes:
        """One message in, one answer out, with its NUL."""
        asked = parse(payload) or {}
        command, given = str(asked.get("command", "")), str(asked.get("parameter", ""))
        when = self.site.clock_ms(unit) // 1000
        if "+" in command:
            answer = join(command, lambda name: self._one(unit, name, given, when, now_ms))
        else:
            answer = self._one(unit, command, given, when, now_ms)
        return orjson.dumps(answer) + b"\0"

    def _maker(self, unit: Unit) -> str:
        return f"LUXminer {unit.firmware}-57b389c7"

    def _reply(self, unit: Unit, code: int, text: str, when: int, **sections: Any) -> Json:
        return {"STATUS": status(code, text, when, self._maker(unit)), **sections, "id": 1}

    def _one(self, unit: Unit, command: str, given: str, when: int, now_ms: int) -> Json:
        look = self.site.look(unit)
        match command:
            case "summary":
                return self._reply(unit, 11, "Summary", when, SUMMARY=[self._summary(look)])
            case "version":
                firmware = unit.firmware
                version = {"API": "3.7", "CompileTime": "Tue Apr  8 22:05:35 UTC 2025", "LUXminer": f"{firmware}-57b389c7",
                           "Miner": firmware, "Type": unit.model.title}  # fmt: skip
                return self._reply(unit, 22, "LUXminer versions", when, VERSION=[version])
            case "power":
                return self._reply(unit, 311, "Power usage", when, POWER=[{"PSU": True, "Watts": round(look.power_w)}])
            case "config":
                return self._reply(unit, 33, "LUXminer config", when, CONFIG=[self._config(unit, look)])
            case "devs":
                boards = [self._board(unit, look, at) for at in range(unit.model.boards)]
                return self._reply(unit, 9, f"{len(boards)} ASC(s)", when, DEVS=boards)
            case "stats":
                return self._reply(unit, 70, "CGMiner stats", when, STATS=self._stats(unit, look))
            case "temps":
                temps = [
                    {"ID": at, "TEMP": at, "TopLeft": round(look.board_c - at, 1), "TopRight": round(look.board_c - 13, 1),
                     "BottomLeft": round(look.board_c - at, 1), "BottomRight": round(look.board_c - 13, 1)}
                    for at in range(unit.model.boards)
                ]  # fmt: skip
                return self._reply(unit, 201, f"{len(temps)} Temp(s)", when, TEMPS=temps)
            case "fans":
                fans = [
                    {"FAN": f"FAN{at + 1}", "ID": at, "RPM": look.fan_rpm, "Speed": min(100, look.fan_rpm // 62)}
                    for at in range(unit.model.fans)
                ]
                return self._reply(
                    unit, 202, f"{len(fans)} Fan(s)", when, FANS=fans, FANCTRL=[{"MinFans": 3, "PowerOffSpeed": 20}]
                )
            case "pools":
                pools = [self._pool(unit, look, at) for at in range(len(unit.pools))]
                return self._reply(unit, 7, f"{len(pools)} Pool(s)", when, POOLS=pools)
            case "profiles":
                profiles = [
                    {"Profile Name": name, "Watts": round(unit.model.power_w * power), "IsTuned": True, "IsDynamic": True,
                     "Hashrate": round(unit.model.hashrate_hs * work / 1e12, 1), "Step": str(at - 4)}
                    for at, (name, power, work) in enumerate(unit.model.modes)
                ]  # fmt: skip
                return self._reply(unit, 339, "Profiles", when, PROFILES=profiles)
            case "events":
                return self._reply(unit, 357, "Miner Events", when, EVENTS=self._events(unit, look))
            case "atm":
                return self._reply(unit, 338, "ATM", when, ATM=[{"Enabled": False, "StartupMinutes": 15}])
            case "logon":
                return self._logon(unit, when, now_ms)
            case "session":
                held = self._held(unit, now_ms)
                return self._reply(unit, 316, "Session information", when, SESSION=[{"SessionID": held or ""}])
            case "logoff":
                if given != self._held(unit, now_ms) or not given:
                    return refusal(402, "Invalid session_id", when, self._maker(unit))
                unit.memory.pop("session", None)
                return self._reply(unit, 317, "Session closed", when)
            case "curtail" | "powertargetset" | "profileset" | "rebootdevice" | "ledset":
                return self._write(unit, command, given, when, now_ms)
            case "addpool" | "removepool" | "switchpool":
                return self._pools(unit, command, given, when, now_ms)
        return refusal(14, "Invalid command", when, self._maker(unit))

    # --- reads --------------------------------------------------------------------------------------------------------

    def _summary(self, look: Look) -> Json:
        now, mean = round(look.hashrate_hs / 1e9, 2), round(look.average_hs / 1e9, 2)
        return {
            "Accepted": look.accepted, "Rejected": look.rejected, "Stale": look.stale, "Elapsed": look.elapsed_s,
            "GHS 5s": now, "GHS 1m": now, "GHS 5m": mean, "GHS 15m": mean, "GHS 30m": mean, "GHS 24h": mean, "GHS av": mean,
            "Hardware Errors": look.hw_errors, "Best Share": 32768, "Found Blocks": 0, "Utility": 26.03,
            "Total MH": look.average_hs / 1e6, "Pool Rejected%": 0.08, "Pool Stale%": 0.0,
        }  # fmt: skip

    def _config(self, unit: Unit, look: Look) -> Json:
        place, machines = unit.place, self.site.machines
        asleep = bool(machines.asleep[unit.index])
        return {
            "OS": "LuxOS", "Model": unit.model.title, "Hostname": place.name, "MACAddr": place.mac.lower(),
            "IPAddr": place.host,
            "SerialNumber": unit.serial, "CurtailMode": "Sleep" if asleep else "None", "IsPowerSupplyOn": not asleep,
            "IsAtmEnabled": "own_schedule" in unit.faults,
            "IsTuning": False, "Profile": look.mode, "ProfileStep": "0", "Cooling": "Air",
            "SystemStatus": "Normal", "NameplateTHS": unit.model.hashrate_hs / 1e12, "ControlBoardType": "cvitek",
            "Pool Count": len(unit.pools), "RedLed": "blink" if machines.locating[unit.index] else "auto",
            "GreenLed": "auto",
            "ASC Count": unit.model.boards, "DHCP": True,
        }  # fmt: skip

    def _board(self, unit: Unit, look: Look, at: int) -> Json:
        model = unit.model
        live = model.boards - look.dead_boards
        rate = look.average_hs / 1e6 / live if at < live else 0.0
        return {
            "ASC": at, "ID": at, "Board": "BHB56903", "Enabled": "Y", "Status": "Alive" if at < live else "Dead",
            "MHS 5s": rate, "MHS 1m": rate, "MHS av": rate, "Nominal MHS": look.nominal_hs / 1e6 / model.boards,
            "Temperature": round(look.board_c - at, 1), "Profile": look.mode, "IsRamping": look.state == "ramping",
            "IsUserShutdown": bool(self.site.machines.asleep[unit.index]), "SerialNumber": f"{unit.serial}B{at}",
            "Accepted": look.accepted // model.boards, "Rejected": 0, "Hardware Errors": 0, "Device Elapsed": look.elapsed_s,
        }  # fmt: skip

    def _stats(self, unit: Unit, look: Look) -> list[Json]:
        model = unit.model
        live = model.boards - look.dead_boards
        body: Json = {
            "STATS": 0, "ID": "BTM_SOC0", "Elapsed": look.elapsed_s, "GHS 5s": round(look.hashrate_hs / 1e9, 2),
            "GHS av": round(look.average_hs / 1e9, 2), "rate_unit": "GH", "fan_num": model.fans,
            "frequency": round(model.frequency_hz / 1e6), "miner_count": model.boards,
        }  # fmt: skip
        for at in range(model.fans):
            body[f"fan{at + 1}"] = look.fan_rpm
        for at in range(model.boards):
            body[f"chain_acn{at + 1}"] = model.chips_per_board if at < live else 0
            body[f"chain_rate{at + 1}"] = f"{look.average_hs / 1e9 / live if at < live else 0.0:.2f}"
            body[f"temp_chip{at + 1}"] = "-".join([str(round(look.chip_c - at))] * 4)
        return [{"CompileTime": "", "Miner": unit.firmware, "Type": model.title}, body]

    def _pool(self, unit: Unit, look: Look, at: int) -> Json:
        pool, first = unit.pools[at], at == 0
        return {
            "POOL": at, "URL": pool.url, "User": pool.user, "Status": "Alive", "Priority": at, "GROUP": 0,
            "Stratum Active": first, "Accepted": look.accepted if first else 0, "Rejected": look.rejected if first else 0,
            "Stale": 0, "Stratum Difficulty": 32768 if first else 0, "Last Share Time": "00:00:01",
        }  # fmt: skip

    def _events(self, unit: Unit, look: Look) -> list[Json]:
        found = []
        if look.dead_boards or "hashless" in unit.faults:
            found.append({"Code": "REBOOT_NOT_HASHING", "CreatedAt": "2026-01-02T03:38:27+00:00", "ID": 0, "Target": "BOARD",
                          "Description": "Board reboot due to it not hashing."})  # fmt: skip
        if self.site.machines.tripped[unit.index]:
            found.append({"Code": "OVERHEAT", "CreatedAt": "2026-01-02T03:38:27+00:00", "Target": "MINER",
                          "Description": "Temperature over the limit."})  # fmt: skip
        return found

    # --- writes -------------------------------------------------------------------------------------------------------

    def _held(self, unit: Unit, now_ms: int) -> str | None:
        held = unit.memory.get("session")
        if not isinstance(held, tuple) or now_ms - held[1] > SESSION_MS:
            return None
        return str(held[0])

    def _logon(self, unit: Unit, when: int, now_ms: int) -> Json:
        if self._held(unit, now_ms):
            return refusal(402, "Another session is active", when, self._maker(unit))
        session = secrets.token_urlsafe(6)[:8]
        unit.memory["session"] = (session, now_ms)
        return self._reply(unit, 315, "Session created", when, SESSION=[{"SessionID": session}])

    def _write(self, unit: Unit, command: str, given: str, when: int, now_ms: int) -> Json:
        maker = self._maker(unit)
        parts = [part.strip() for part in given.split(",")]
        held = self._held(unit, now_ms)
        if not held or parts[0] != held:
            return refusal(402, "Invalid session_id", when, maker)
        unit.memory["session"] = (held, now_ms)
        if "refuses_writes" in unit.faults:
            return refusal(45, f"Access denied to '{command}' command", when, maker)
        site, asleep = self.site, bool(self.site.machines.asleep[unit.index])
        options = dict(part.split("=", 1) for part in parts[1:] if "=" in part)
        match command, parts[1:]:
            case "curtail", ["sleep", *_]:
                site.sleep(unit, now_ms)
                return self._reply(unit, 335, "Curtail: sleep", when)
            case "curtail", ["wakeup", *_]:
                if options.get("mode") == "unsafe" and unit.memory.get("woken") is not True:
                    return refusal(335, "Unsafe wakeup is not available on the first wakeup", when, maker)
                site.wake(unit, now_ms, 8.0 if options.get("mode") == "unsafe" else None)
                unit.memory["woken"] = True
                return self._reply(unit, 335, "Curtail: wakeup", when)
            case "powertargetset", _ if _is_number(options.get("power")):
                site.set_power(unit, float(options["power"]), now_ms)
                return self._reply(unit, 345, "Power target set", when)
            case "profileset", [name, *_]:
                named = name if name in {mode for mode, _, _ in unit.model.modes} else parts[-1]
                if named not in {mode for mode, _, _ in unit.model.modes}:
                    return refusal(324, f"Invalid profile {named}", when, maker)
                site.set_mode(unit, named, now_ms)
                return self._reply(unit, 325, "Profile set", when)
            case "rebootdevice", _:
                if asleep:
                    return refusal(306, "Miner is asleep", when, maker)
                unit.memory.pop("woken", None)
                unit.memory.pop("session", None)
                site.reboot(unit, now_ms)
                return self._reply(unit, 330, "Rebooting", when)
            case "ledset", [_, how]:
                site.locate(unit, how != "auto" and how != "off", now_ms)
                return self._reply(unit, 332, "LED set", when)
        return refusal(400, "Invalid parameters", when, maker)

    def _pools(self, unit: Unit, command: str, given: str, when: int, now_ms: int) -> Json:
        """cgminer's own commands: without session; the first parameter is the pool."""
        site, maker = self.site, self._maker(unit)
        if "refuses_writes" in unit.faults:
            return refusal(45, f"Access denied to '{command}' command", when, maker)
        match command, [part.strip() for part in given.split(",")]:
            case "addpool", [url, user, *rest]:
                site.set_pools(unit, [*unit.pools, Pool(url, user, rest[0] if rest else "x")], now_ms)
                return self._reply(unit, 55, "Pool added", when)
            case "removepool", [number, *_] if (
                number.isdigit() and int(number) < len(unit.pools) and len(unit.pools) > 1
            ):
                site.set_pools(unit, [pool for at, pool in enumerate(unit.pools) if at != int(number)], now_ms)
                return self._reply(unit, 68, "Pool removed", when)
            case "switchpool", [number, *_] if number.isdigit() and int(number) < len(unit.pools):
                first = unit.pools[int(number)]
                site.set_pools(unit, [first, *(pool for pool in unit.pools if pool is not first)], now_ms)
                return self._reply(unit, 27, "Switching pool", when)
        return refusal(400, "Invalid parameters", when, maker)


def _is_number(text: str | None) -> bool:
    return bool(text) and str(text).replace(".", "", 1).isdigit()
