# SPDX-License-Identifier: Apache-2.0
"""Simulated Avalons, in the text form of the A series and that of the Q: `Key[value] Key[value]` inside JSON.

`softoff` and `softon` carry an instant of the miner's own clock at which they take effect: one that lies a day ahead takes
effect a day later. In softoff it reports `Work: In Idle`.
"""

import orjson

from twin.look import Look
from twin.rpc import Json, join, parse, refusal, status
from twin.site import Pool, Site, Unit

MAKER = "cgminer 4.11.1"
ACCOUNT = "root"
_LEVELS = ("eco", "normal", "super")


class Avalon:
    """Answers for all Avalons of a site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._waiting: dict[int, tuple[Unit, str, int]] = {}
        self._pools: dict[int, dict[int, Pool]] = {}

    def rpc(self, unit: Unit, payload: bytes, now_ms: int) -> bytes:
        """One message in, one answer out, with its NUL."""
        asked = parse(payload) or {}
        command, given = str(asked.get("command", "")), str(asked.get("parameter", ""))
        when = self.site.clock_ms(unit) // 1000
        self.tick(now_ms)
        if "+" in command:
            answer = join(command, lambda name: self._one(unit, name, given, when, now_ms))
        else:
            answer = self._one(unit, command, given, when, now_ms)
        return orjson.dumps(answer) + b"\0"

    def tick(self, now_ms: int) -> None:
        """Carry out timed commands that are due, by each miner's own clock."""
        for index, (unit, what, at_s) in list(self._waiting.items()):
            if self.site.clock_ms(unit) // 1000 >= at_s:
                del self._waiting[index]
                if what == "softoff":
                    self.site.fall_asleep(unit, now_ms)
                else:
                    self.site.machines.wake(unit.index, now_ms)

    def _one(self, unit: Unit, command: str, given: str, when: int, now_ms: int) -> Json:
        look = self.site.look(unit)
        match command:
            case "summary":
                return {"STATUS": status(11, "Summary", when, MAKER), "SUMMARY": [self._summary(look)], "id": 1}
            case "version":
                version = {"API": "3.7", "CGMiner": "4.11.1", "CGVERSION": unit.firmware,
                "LVERSION": unit.firmware,
                           "MAC": unit.place.mac.replace(":", "").lower(), "DNA": unit.serial, "UPAPI": "2",
                           "PROD": "Avalon Q" if self._is_q(unit) else "AvalonMiner 1466-150",
                           "MODEL": "Q" if self._is_q(unit) else "1466-150"}  # fmt: skip
                return {"STATUS": status(22, "CGMiner versions", when, MAKER), "VERSION": [version], "id": 1}
            case "devs":
                board = {"ASC": 0, "ID": 0, "Name": "AVALON", "Enabled": "Y", "Status": "Alive", "Temperature": 0.0,
                         "MHS 5s": look.hashrate_hs / 1e6, "MHS av": look.average_hs / 1e6, "Accepted": look.accepted,
                         "Rejected": look.rejected, "Device Elapsed": look.elapsed_s}  # fmt: skip
                return {"STATUS": status(9, "1 ASC(s)", when, MAKER), "DEVS": [board], "id": 1}
            case "pools":
                pools = [self._pool(unit, look, at) for at in range(len(unit.pools))]
                return {"STATUS": status(7, f"{len(pools)} Pool(s)", when, MAKER), "POOLS": pools, "id": 1}
            case "stats" | "estats" | "litestats":
                body: Json = {
                    "STATS": 0,
                    "ID": "AVALON0",
                    "Elapsed": look.elapsed_s,
                    "Calls": 0,
                    "Wait": 0.0,
                    "Max": 0.0,
                    "Min": 99999999.0,
                }
                text = self._text(unit, look)
                if self._is_q(unit):
                    body["MM ID0:Summary"] = f"'STATS':{{{text}}}"
                else:
                    body["MM ID0"] = text
                return {"STATUS": status(70, "CGMiner stats", when, MAKER), "STATS": [body], "id": 1}
            case "ascset":
                return self._ascset(unit, given, when, now_ms)
            case "setpool":
                return self._setpool(unit, given.split(","), when, now_ms)
        return refusal(14, "Invalid command", when, MAKER)

    def _is_q(self, unit: Unit) -> bool:
        return unit.model.boards == 1

    # --- reads --------------------------------------------------------------------------------------------------------

    def _summary(self, look: Look) -> Json:
        now, mean = look.hashrate_hs / 1e6, look.average_hs / 1e6
        return {
            "Elapsed": look.elapsed_s, "MHS av": round(mean, 2), "MHS 5s": round(now, 2), "MHS 1m": round(now, 2),
            "MHS 5m": round(mean, 2), "MHS 15m": round(mean, 2), "Accepted": look.accepted, "Rejected": look.rejected,
            "Stale": look.stale, "Hardware Errors": look.hw_errors, "Total MH": mean * look.elapsed_s, "Utility": 1.42,
            "Found Blocks": 0, "Best Share": 354914572, "Pool Rejected%": 0.21, "Pool Stale%": 0.0,
        }  # fmt: skip

    def _pool(self, unit: Unit, look: Look, at: int) -> Json:
        pool, first = unit.pools[at], at == 0
        return {
            "POOL": at, "URL": pool.url, "User": pool.user, "Status": "Alive", "Priority": at, "Stratum Active": first,
            "Accepted": look.accepted if first else 0, "Rejected": look.rejected if first else 0, "Stale": 0,
            "Last Share Time": look.elapsed_s, "Stratum Difficulty": 524288.0, "Has Stratum": True, "Password": "x",
        }  # fmt: skip

    def _text(self, unit: Unit, look: Look) -> str:
        model, machines = unit.model, self.site.machines
        asleep = bool(machines.asleep[unit.index])
        working = not asleep and not machines.tripped[unit.index]
        live = model.boards - look.dead_boards
        level = _LEVELS.index(look.mode) if look.mode in _LEVELS else 1
        inlet, outlet = round(look.inlet_c), round(look.board_c)
        out = round(look.power_w * 0.95) if working else 0
        board_rates = " ".join(
            f"{look.average_hs / 1e9 / live if at < live else 0.0:.2f}" for at in range(model.boards)
        )
        name = "Q" if self._is_q(unit) else "1466"
        odd = "inf_nan" in unit.faults
        parts = [
            f"Ver[{name}-{unit.firmware}]", f"LVer[{unit.firmware}]", f"DNA[{unit.serial}]", "STATE[2]",
            f"SYSTEMSTATU[Work: In {'Work' if working else 'Idle'}, Hash Board: {live}]", f"Elapsed[{look.elapsed_s}]",
            f"HW[{look.hw_errors}]", "DH[2.449%]", f"ITemp[{inlet}]", f"HBITemp[{inlet + 2}]", f"HBOTemp[{outlet}]",
            f"OTemp[{outlet}]", f"TMax[{round(look.chip_c) if working else 0}]",
            f"TAvg[{round(look.chip_c - 6) if working else 0}]",
            "TarT[65]", *(f"Fan{at + 1}[{look.fan_rpm}]" for at in range(model.fans)),
            f"FanR[{min(100, look.fan_rpm // 62)}%]",
            f"PS[0 1221 {2245 if working else 4} {out // 22} {out} 2245 {round(look.power_w)}]", "PCOMM_E[0]",
            f"GHSspd[{'inf' if odd else f'{look.hashrate_hs / 1e9:.2f}'}]", "DHspd[0.000%]",
            f"GHSmm[{look.nominal_hs / 1e9:.2f}]",
            f"GHSavg[{'nan' if odd else f'{look.average_hs / 1e9:.2f}'}]", f"MGHS[{board_rates}]",
            f"Freq[{model.frequency_hz / 1e6 if working else 0:.2f}]", f"TA[{model.chips_per_board * live}]", "Core[A3197S]",
            "PING[17]", f"SoftOFF[{4 if asleep else 0}]", "ECHU[0]", "ECMM[0]", "CRC[0]",
            f"Led[{int(machines.locating[unit.index])}]", f"WORKMODE[{level}]", f"WORKLEVEL[{0}]",
            f"MPO[{round(look.limit_w)}]",
        ]  # fmt: skip
        return " ".join(parts)

    # --- writes -------------------------------------------------------------------------------------------------------

    def _ascset(self, unit: Unit, given: str, when: int, now_ms: int) -> Json:
        fields = given.split(",")
        if "refuses_writes" in unit.faults:
            return refusal(45, "Access denied to 'ascset' command", when, MAKER)
        site, asked = self.site, fields[1] if len(fields) > 1 else ""
        match fields[1:]:
            case ["softoff" | "softon", stamp] if stamp.partition(":")[2].isdigit():
                if site.obeys(unit, now_ms):
                    self._waiting[unit.index] = (unit, asked, int(stamp.partition(":")[2]))
                    self.tick(now_ms)
                return {
                    "STATUS": status(
                        118, f"ASC 0 set info: success {asked}:{stamp.partition(':')[2]}", when, MAKER, "I"
                    ),
                    "id": 1,
                }
            case ["workmode" | "worklevel", "set", level] if level.isdigit() and int(level) < len(_LEVELS):
                site.set_mode(unit, _LEVELS[int(level)], now_ms)
            case ["workmode", level] if level.isdigit() and int(level) < len(_LEVELS):
                site.set_mode(unit, _LEVELS[int(level)], now_ms)
            case ["reboot", _]:
                waiting = self._pools.pop(unit.index, None)
                if waiting:
                    unit.pools = [pool for _, pool in sorted(waiting.items())]
                site.reboot(unit, now_ms)
            case ["led", setting]:
                site.locate(unit, setting.split("-")[0] not in ("0", ""), now_ms)
            case _:
                return {"STATUS": status(120, f"ASC 0 set failed: {given}", when, MAKER, "E"), "id": 1}
        return {"STATUS": status(119, "ASC 0 set OK", when, MAKER), "id": 1}

    def _setpool(self, unit: Unit, fields: list[str], when: int, now_ms: int) -> Json:
        """account,password,place,url,user,password: used after the next reboot, as the maker does."""
        if "refuses_writes" in unit.faults or fields[:2] != [ACCOUNT, unit.password]:
            return refusal(45, "Access denied to 'setpool' command", when, MAKER)
        if len(fields) != 6 or fields[2] not in ("0", "1", "2"):
            return refusal(14, "Invalid parameters", when, MAKER)
        if self.site.obeys(unit, now_ms):
            self._pools.setdefault(unit.index, {})[int(fields[2])] = Pool(fields[3], fields[4], fields[5])
        return {"STATUS": status(118, "Please reboot miner to make config work.", when, MAKER), "id": 1}
