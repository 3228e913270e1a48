# SPDX-License-Identifier: Apache-2.0
"""Simulated Auradine (FluxOS): HTTP pages shaped like cgminer's answers; writes carry the token of `/token`."""

import secrets
from typing import Any

from kernel.units import MS_PER_HOUR
from twin.exchange import Request, Response, respond
from twin.look import Look
from twin.rpc import Json, refusal, status
from twin.site import Pool, Site, Unit

ACCOUNT = "admin"
TOKEN_MS = MS_PER_HOUR
NORMAL_LED = 2


class Auradine:
    """Answers for all Auradines of a site."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def http(self, unit: Unit, ask: Request, now_ms: int) -> Response:
        """One exchange: GET /page, POST /page with a JSON body of the page's command."""
        when = self.site.clock_ms(unit) // 1000
        page = ask.path.strip("/")
        if ask.method == "GET":
            found = self._page(unit, page, when)
            return respond(found) if found else respond(refusal(14, "Invalid command", when, self._maker(unit)), 404)
        body = ask.json()
        if page == "token":
            return self._token(unit, body if isinstance(body, dict) else {}, when, now_ms)
        held = unit.memory.get("token")
        if not isinstance(held, tuple) or ask.headers.get("token") != held[0] or now_ms > held[1]:
            return respond(refusal(401, "Invalid token", when, self._maker(unit)), 401)
        if "write_404" in unit.faults:
            return Response(404)
        if "refuses_writes" in unit.faults:
            return respond(refusal(45, "Access denied", when, self._maker(unit)))
        return self._write(unit, page, body if isinstance(body, dict) else {}, when, now_ms)

    def _maker(self, unit: Unit) -> str:
        return f"FluxOS-{unit.firmware}-d37c5dd4"

    def _reply(self, unit: Unit, code: int, text: str, when: int, **sections: Any) -> Json:
        return {"STATUS": status(code, text, when, self._maker(unit)), **sections, "id": 1}

    # --- reads --------------------------------------------------------------------------------------------------------

    def _page(self, unit: Unit, page: str, when: int) -> Json | None:
        look, model, place = self.site.look(unit), unit.model, unit.place
        live = model.boards - look.dead_boards
        match page:
            case "summary":
                return self._reply(unit, 11, "Summary", when, SUMMARY=[self._summary(look)])
            case "devs":
                devs = [
                    {"DEV": at + 1, "ID": at + 1, "Name": "ASICBoard", "Enabled": at < live,
                    "Status": "Alive" if at < live else "Dead",
                     "MHS 5s": look.average_hs / 1e6 / live if at < live else 0.0,
                     "Temperature": round(look.board_c - at, 2)}
                    for at in range(model.boards)
                ]  # fmt: skip
                return self._reply(unit, 9, f"{len(devs)} Dev(s)", when, DEVS=devs)
            case "pools":
                pools = [
                    {"POOL": at, "URL": pool.url, "User": pool.user, "Status": "Alive", "Priority": at, "Quota": 1,
                     "Stratum Active": at == 0, "Accepted": look.accepted if at == 0 else 0,
                     "Rejected": look.rejected if at == 0 else 0}
                    for at, pool in enumerate(unit.pools)
                ]  # fmt: skip
                return self._reply(unit, 7, f"{len(pools)} Pool(s)", when, POOLS=pools)
            case "version":
                return self._reply(unit, 22, "GCMiner versions", when, VERSION=[{"API": "1.0", "GCMiner": "0.5"}])
            case "psu":
                return self._reply(unit, 570, "PSU status", when, PSU=[self._supply(look)])
            case "fan":
                fans = [{"ID": at + 1, "Max": 7700, "Speed": look.fan_rpm, "Target": 7000} for at in range(model.fans)]
                return self._reply(unit, 510, f"Total fans: {len(fans)}", when, Fan=fans)
            case "temperature":
                return self._reply(unit, 590, "System temperature", when, Temperature=self._temperatures(unit, look))
            case "mode":
                return self._reply(unit, 540, "Operating mode", when, Mode=[self._mode(unit, look)])
            case "ipreport":
                report = {"SerialNo": unit.serial, "CBSerialNo": unit.serial,
                "HBSerialNo": [f"{unit.serial}B{at}" for at in range(3)],
                          "hostname": place.name, "ip": place.host, "mac": place.mac.lower(),
                          "model": model.title.split()[-1],
                          "version": unit.firmware, "command": "ipreport", "InternalType": "T0"}  # fmt: skip
                return self._reply(unit, 620, "IP Report", when, IPReport=[report])
            case "asccount":
                count = [{"AsicCount": model.chips_per_board * live, "BoardCount": live}]
                return self._reply(unit, 104, "ASC count", when, ASCCount=count)
            case "led":
                lit = bool(self.site.machines.locating[unit.index])
                led = [{"Code": 3 if lit else NORMAL_LED, "LED1": 1, "LED2": 1, "Msg": "Locate" if lit else "Normal"}]
                return self._reply(unit, 530, "Total LEDs 2", when, LED=led)
            case "frequency":
                mhz = model.frequency_hz / 1e6
                boards = [
                    {"ID": at + 1, "Name": f"Hash Board {at + 1}", "ChipFrequency": [{"ID": 0, "Frequency": mhz}]}
                    for at in range(live)
                ]
                return self._reply(unit, 640, "System frequency", when, Frequency=boards)
        return None

    def _summary(self, look: Look) -> Json:
        now, mean = look.hashrate_hs / 1e6, look.average_hs / 1e6
        return {"Elapsed": look.elapsed_s, "MHS av": mean, "MHS 5s": now, "MHS 1m": now, "MHS 5m": mean, "MHS 15m": mean,
                "Accepted": look.accepted, "Rejected": look.rejected, "Hardware Errors": look.hw_errors, "Utility": 3.5,
                "Total MH": mean * look.elapsed_s, "Difficulty Accepted": look.accepted * 524288}  # fmt: skip

    def _supply(self, look: Look) -> Json:
        out = look.power_w * 0.95 if look.average_hs else 0.0
        return {"PowerIn": f"{look.power_w:.2f}W", "PowerOut": f"{out:.2f}W", "PoutMax": "3452.00W", "Vin": "240.00V",
                "Iin": f"{look.power_w / 240:.2f}A", "Vout": "12.50V", "VoutSet": "12.50V", "Iout": f"{out / 12.5:.2f}A",
                "FanSpeed1": "4052.00 RPM", "FanSpeed2": "4144.00 RPM"}  # fmt: skip

    def _temperatures(self, unit: Unit, look: Look) -> list[Json]:
        boards: list[Json] = [
            {
                "ID": 0,
                "Name": "Control Board",
                "BoardTemp": [{"ID": 0, "Temperature": look.inlet_c + 6}],
                "ChipTemp": None,
            }
        ]
        for at in range(unit.model.boards):
            edges = (look.inlet_c + 2, look.board_c - at)
            chips = [{"ID": chip, "Temperature": look.chip_c - at - chip} for chip in range(3)]
            boards.append({"ID": at + 1, "Name": f"Hash Board {at + 1}", "ChipTemp": chips,
                           "BoardTemp": [{"ID": edge,
                           "Temperature": degrees} for edge, degrees in enumerate(edges)]})  # fmt: skip
        return boards

    def _mode(self, unit: Unit, look: Look) -> Json:
        asleep = "on" if self.site.machines.asleep[unit.index] else "off"
        reported: Json = {"Mode": look.mode, "Sleep": asleep}
        if unit.memory.get("custom"):
            reported |= {"Mode": "custom", "Power": round(look.limit_w), "Ths": round(look.nominal_hs / 1e12)}
        return reported

    # --- writes -------------------------------------------------------------------------------------------------------

    def _token(self, unit: Unit, body: Json, when: int, now_ms: int) -> Response:
        if body.get("user") != ACCOUNT or body.get("password") != unit.password:
            return respond(refusal(401, "Invalid user or password", when, self._maker(unit)), 401)
        token = secrets.token_hex(16)
        unit.memory["token"] = (token, now_ms + TOKEN_MS)
        return respond(self._reply(unit, 700, "Token", when, Token=[{"Token": token}]))

    def _write(self, unit: Unit, page: str, body: Json, when: int, now_ms: int) -> Response:
        site, modes = self.site, {name for name, _, _ in unit.model.modes}
        done = respond(self._reply(unit, 541, "OK", when))
        match page, body:
            case "mode", {"sleep": "on"}:
                site.sleep(unit, now_ms)
            case "mode", {"sleep": "off"}:
                site.wake(unit, now_ms)
            case "mode", {"mode": "custom", "tune": "power", "power": int() | float() as power}:
                unit.memory["custom"] = True
                site.set_power(unit, float(power), now_ms)
            case "mode", {"mode": str(mode)} if mode in modes:
                unit.memory.pop("custom", None)
                site.set_mode(unit, mode, now_ms)
            case "restart" | "reboot", _:
                site.reboot(unit, now_ms)
            case "led", {"code": int() as code}:
                site.locate(unit, code != NORMAL_LED, now_ms)
            case "updatepools", {"pools": [*pools]} if pools:
                named = [Pool(str(p.get("url", "")), str(p.get("user", "")), str(p.get("pass", "x"))) for p in pools]
                site.set_pools(unit, named, now_ms)
            case _:
                return respond(refusal(14, "Invalid parameter", when, self._maker(unit)), 400)
        return done
