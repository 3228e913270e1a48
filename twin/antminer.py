# SPDX-License-Identifier: Apache-2.0
"""Simulated stock Antminer: the RPC of bmminer, and the web pages of lighttpd with digest authentication.

Old firmware (no trait) takes one command at a time, reports no watts, and obeys the key `miner-mode`; newer obeys
`bitmain-work-mode`, answers `new_api` requests with the pages' payload and its watts, and shows `miner-mode` in them.
Details that no test needs (chip maps, hardware errors) are plausible, not measured.
"""

from typing import Any

import orjson

from twin.exchange import Digest, Request, Response, respond
from twin.firmware import form, take
from twin.look import Look
from twin.rpc import Json, join, parse, refusal, status
from twin.site import Pool, Site, Unit

MAKER = "cgminer 1.0.0"
ACCOUNT = "root"
REALM = "antMiner Configuration"
SLEEP_MODE = 1


def mode_number(unit: Unit, look: Look, asleep: bool) -> int:
    """The work mode in this model's numbering: 0 normal, 1 sleep, low 3 (2 on some)."""
    if asleep:
        return SLEEP_MODE
    low = 2 if "low_is_2" in unit.model.traits else 3
    return low if look.mode == "low" else 0


def _rates(unit: Unit, look: Look, total: float) -> list[float]:
    """GH/s per board; a dead board has none."""
    boards = unit.model.boards
    live = boards - look.dead_boards
    each = [total / 1e9 / live * (1 + 0.01 * (at % 3 - 1)) if at < live else 0.0 for at in range(boards)]
    return each


def _temps(look: Look, at: int) -> tuple[list[int], list[int], list[int]]:
    """(pic, pcb, chip) at the four corners of a board."""
    chip = [round(look.chip_c) - shift - at for shift in (0, 14, 3, 2)]
    pcb = [round(look.board_c) - shift - at for shift in (0, 14, 3, 2)]
    return [value - 8 for value in pcb], pcb, chip


def _chips(unit: Unit, live: bool) -> str:
    return "".join((" " if at % 3 == 0 else "") + ("o" if live else "x") for at in range(unit.model.chips_per_board))


class Antminer:
    """Answers for all stock Antminers of a site."""

    def __init__(self, site: Site) -> None:
        self.site = site

    # --- RPC ----------------------------------------------------------------------------------------------------------

    def rpc(self, unit: Unit, payload: bytes, now_ms: int) -> bytes:
        """One message in, one answer out, with its NUL."""
        asked = parse(payload)
        when = self.site.clock_ms(unit) // 1000
        command = str(asked.get("command", "")) if asked else ""
        if not command:
            answer = refusal(23, "Invalid JSON", when, MAKER)
        elif (
            asked
            and asked.get("new_api")
            and "new_api" in unit.model.traits
            and command in ("stats", "summary", "pools")
        ):
            answer = self._page(unit, command)
        elif "+" in command and unit.model.joined:
            answer = join(command, lambda name: self._one(unit, name, when))
        else:
            answer = self._one(unit, command, when)
        return orjson.dumps(answer) + b"\0"

    def _one(self, unit: Unit, command: str, when: int) -> Json:
        look = self.site.look(unit)
        match command:
            case "summary":
                return {"STATUS": status(11, "Summary", when, MAKER), "SUMMARY": [self._summary(look)], "id": 1}
            case "stats":
                head = {
                    "BMMiner": "1.0.0",
                    "CompileTime": unit.firmware,
                    "Miner": "49.0.1.3",
                    "Type": unit.model.title,
                }
                return {
                    "STATUS": status(70, "CGMiner stats", when, MAKER),
                    "STATS": [head, self._stats(unit, look)],
                    "id": 1,
                }
            case "pools":
                pools = [self._pool(unit, look, at, when) for at in range(len(unit.pools))]
                return {"STATUS": status(7, f"{len(pools)} Pool(s)", when, MAKER), "POOLS": pools, "id": 1}
            case "version":
                version: Json = {"API": "3.1", "BMMiner": "1.0.0", "CompileTime": unit.firmware, "Miner": "49.0.1.3",
                         "Type": unit.model.title}  # fmt: skip
                return {"STATUS": status(22, "CGMiner versions", when, MAKER), "VERSION": [version], "id": 1}
            case "devs":
                board: Json = {"ASC": 0, "Name": "BTM_SOC", "ID": 0, "Enabled": "Y", "Status": "Alive", "MHS av": 0.0,
                         "MHS 5s": 0.0, "Accepted": look.accepted, "Rejected": look.rejected, "Hardware Errors": 0,
                         "Device Elapsed": look.elapsed_s}  # fmt: skip
                return {"STATUS": status(9, "1 ASC(s)", when, MAKER), "DEVS": [board], "id": 1}
            case "quit" | "restart" | "addpool" | "switchpool" | "ascset":
                return refusal(45, f"Access denied to '{command}' command", when, MAKER)
        return refusal(14, "Invalid command", when, MAKER)

    def _summary(self, look: Look) -> Json:
        return {
            "Elapsed": look.elapsed_s, "GHS 5s": round(look.hashrate_hs / 1e9, 2),
            "GHS av": round(look.average_hs / 1e9, 2), "GHS 30m": round(look.average_hs / 1e9, 2), "Found Blocks": 0,
            "Getwork": look.elapsed_s // 13, "Accepted": look.accepted, "Rejected": look.rejected,
            "Hardware Errors": look.hw_errors, "Utility": 4.82, "Discarded": look.accepted * 1100, "Stale": look.stale,
            "Get Failures": 0, "Local Work": look.accepted * 1110, "Remote Failures": 0, "Network Blocks": 82,
            "Total MH": round(look.average_hs / 1e6 * look.elapsed_s, 1), "Work Utility": 1554353.85,
            "Difficulty Accepted": look.accepted * 524288.0, "Difficulty Rejected": look.rejected * 524288.0,
            "Difficulty Stale": 0.0, "Best Share": 12904207043, "Device Hardware%": 0.0, "Device Rejected%": 0.0,
            "Pool Rejected%": 0.0, "Pool Stale%": 0.0, "Last getwork": look.at_ms // 1000,
        }  # fmt: skip

    def _stats(self, unit: Unit, look: Look) -> Json:
        model = unit.model
        text_rates = "inf_nan" in unit.faults
        found: Json = {
            "STATS": 0, "ID": "BTM_SOC0", "Elapsed": look.elapsed_s, "Calls": 0, "Wait": 0, "Max": 0, "Min": 99999999,
            "GHS 5s": "inf" if text_rates else round(look.hashrate_hs / 1e9, 2),
            "GHS av": "nan" if text_rates else round(look.average_hs / 1e9, 2),
            "rate_30m": round(look.average_hs / 1e9, 2), "Mode": 2, "miner_count": model.boards,
            "frequency": int(model.frequency_hz / 1e6), "fan_num": model.fans,
        }  # fmt: skip
        for at in range(model.fans):
            found[f"fan{at + 1}"] = look.fan_rpm - at * 30 if look.fan_rpm else 0
        found["temp_num"] = model.boards
        rates = _rates(unit, look, look.hashrate_hs)
        for at in range(4):
            key, there = at + 1, at < model.boards
            live = there and at < model.boards - look.dead_boards
            pic, pcb, chip = _temps(look, at) if there else ([0] * 4, [0] * 4, [0] * 4)
            found[f"chain_rate{key}"] = f"{rates[at]:.2f}" if there else ""
            found[f"chain_acn{key}"] = model.chips_per_board if live else 0
            found[f"chain_acs{key}"] = _chips(unit, live) if there else ""
            found[f"chain_hw{key}"] = look.hw_errors // model.boards if there else 0
            found[f"freq{key}"] = int(model.frequency_hz / 1e6) if live else 0
            found[f"temp_pic{key}"] = "-".join(map(str, pic))
            found[f"temp_pcb{key}"] = "-".join(map(str, pcb))
            found[f"temp_chip{key}"] = "-".join(map(str, chip))
            if there:
                found[f"temp{key}"] = pcb[0]
                found[f"temp2_{key}"] = chip[0]
        found |= {
            "total_rateideal": look.nominal_hs / 1e9, "total rate": round(look.average_hs / 1e9, 2), "rate_unit": "GH",
            "total_freqavg": int(model.frequency_hz / 1e6),
            "total_acn": model.chips_per_board * (model.boards - look.dead_boards),
            "temp_max": 0, "no_matching_work": look.hw_errors, "miner_version": "49.0.1.3",
            "miner_id": f"80{unit.index:014x}",
        }  # fmt: skip
        return found

    def _pool(self, unit: Unit, look: Look, at: int, when: int) -> Json:
        pool, first = unit.pools[at], at == 0
        return {
            "POOL": at, "URL": pool.url, "Status": "Alive", "Priority": at, "Quota": 1, "Long Poll": "N",
            "Getworks": look.elapsed_s // 13 if first else 3, "Accepted": look.accepted if first else 0,
            "Rejected": look.rejected if first else 0, "Discarded": 0, "Stale": look.stale if first else 0,
            "Get Failures": 0, "Remote Failures": 0, "User": pool.user,
            "Last Share Time": "0:00:03" if first and look.hashrate_hs else "0", "Diff": "524K" if first else "",
            "Diff1 Shares": 0, "Proxy Type": "", "Proxy": "",
            "Difficulty Accepted": look.accepted * 524288.0 if first else 0.0,
            "Difficulty Rejected": 0.0, "Difficulty Stale": 0.0, "Last Share Difficulty": 524288.0 if first else 0.0,
            "Has Stratum": True, "Stratum Active": first, "Stratum URL": pool.url.partition("://")[2] if first else "",
            "Has GBT": False, "Best Share": 12904207043.0 if first else 0.0, "Pool Rejected%": 0.0, "Pool Stale%%": 0.0,
        }  # fmt: skip

    # --- pages --------------------------------------------------------------------------------------------------------

    def _page(self, unit: Unit, name: str) -> Json:
        """The payload shared by `name.cgi` and the RPC's new_api."""
        look, when = self.site.look(unit), self.site.clock_ms(unit) // 1000
        head: Json = {
            "STATUS": {"STATUS": "S", "when": when, "Msg": name, "api_version": "1.0.0"},
            "INFO": {"miner_version": "49.0.1.3", "CompileTime": unit.firmware, "type": unit.model.title},
        }
        rates = {
            "elapsed": look.elapsed_s, "rate_5s": round(look.hashrate_hs / 1e9, 2),
            "rate_30m": round(look.average_hs / 1e9, 2), "rate_avg": round(look.average_hs / 1e9, 2),
            "rate_ideal": look.nominal_hs / 1e9, "rate_unit": "GH/s",
        }  # fmt: skip
        if name == "summary":
            hot = self.site.machines.tripped[unit.index]
            faces = [
                {"type": kind, "status": "s", "code": 0, "msg": ""} for kind in ("rate", "network", "fans", "temp")
            ]
            if hot:
                faces[3] = {"type": "temp", "status": "e", "code": "P:1", "msg": "temperature over the limit"}
            more = {"hw_all": look.hw_errors, "bestshare": 12904207043, "status": faces}
            return head | {"SUMMARY": [rates | more]}
        if name == "pools":
            return head | {"POOLS": [self._page_pool(unit, look, at) for at in range(len(unit.pools))]}
        return head | {"STATS": [rates | self._page_stats(unit, look)]}

    def _page_stats(self, unit: Unit, look: Look) -> Json:
        model = unit.model
        rates = _rates(unit, look, look.hashrate_hs)
        chains = []
        for at in range(model.boards):
            live = at < model.boards - look.dead_boards
            pic, pcb, chip = _temps(look, at)
            chains.append({
                "index": at, "freq_avg": int(model.frequency_hz / 1e6) if live else 0,
                "rate_ideal": look.nominal_hs / 1e9 / model.boards, "rate_real": round(rates[at], 2),
                "asic_num": model.chips_per_board if live else 0, "asic": _chips(unit, live), "temp_pic": pic,
                "temp_pcb": pcb, "temp_chip": chip, "hw": look.hw_errors // model.boards, "eeprom_loaded": live,
                "sn": f"{unit.serial}B{at}", "hwp": 0.01, "tpl": [],
            })  # fmt: skip
        found: Json = {
            "chain_num": model.boards, "fan_num": model.fans,
            "fan": [look.fan_rpm - at * 30 if look.fan_rpm else 0 for at in range(model.fans)], "hwp_total": 0.01,
            "miner-mode": mode_number(unit, look, look.state == "asleep"), "freq-level": 100, "chain": chains,
        }  # fmt: skip
        if "new_api" in model.traits:
            found["watt"] = round(look.power_w)
        return found

    def _page_pool(self, unit: Unit, look: Look, at: int) -> Json:
        pool, first = unit.pools[at], at == 0
        return {
            "index": at, "url": pool.url, "user": pool.user, "status": "Alive", "priority": at,
            "getworks": look.elapsed_s // 13 if first else 3, "accepted": look.accepted if first else 0,
            "rejected": look.rejected if first else 0, "discarded": 0, "stale": look.stale if first else 0,
            "diff": "524K" if first else "", "diff1": 0, "diffa": look.accepted * 524288 if first else 0, "diffr": 0,
            "diffs": 0, "lsdiff": 524288 if first else 0, "lstime": "0:00:03" if first else "0",
        }  # fmt: skip

    def http(self, unit: Unit, ask: Request, now_ms: int) -> Response:
        """One page, after digest authentication."""
        digest = unit.memory.get("digest")
        if not isinstance(digest, Digest):
            digest = unit.memory["digest"] = Digest(REALM, ACCOUNT)
        refused = digest.refuse(ask, unit.password, now_ms)
        if refused:
            return refused
        page = ask.path.removeprefix("/cgi-bin/").removesuffix(".cgi")
        writes = page in ("set_miner_conf", "reboot", "blink", "passwd", "upgrade")
        if writes and "write_404" in unit.faults:
            return Response(404, b"<h1>404 Not Found</h1>", "text/html")
        if writes and "refuses_writes" in unit.faults:
            return respond({"stats": "error", "code": "M001", "msg": "Illegal request!"})
        return (
            self._read(unit, page) if ask.method == "GET" and page != "reboot" else self._write(unit, page, ask, now_ms)
        )

    def _read(self, unit: Unit, page: str) -> Response:
        place, model = unit.place, unit.model
        match page:
            case "summary" | "stats" | "pools":
                return respond(self._page(unit, page))
            case "get_miner_conf":
                return respond(self._conf(unit))
            case "get_system_info":
                return respond({
                    "minertype": model.title, "nettype": "DHCP", "netdevice": "eth0", "macaddr": place.mac,
                    "hostname": "Antminer", "ipaddress": place.host, "netmask": "255.255.255.0", "gateway": "",
                    "dnsservers": "", "system_mode": "GNU/Linux", "system_kernel_version": "Linux 4.9.113",
                    "system_filesystem_version": unit.firmware, "firmware_type": "Release", "serinum": unit.serial,
                })  # fmt: skip
            case "get_network_info":
                return respond({
                    "nettype": "DHCP", "netdevice": "eth0", "macaddr": place.mac, "ipaddress": place.host,
                    "netmask": "255.255.255.0", "conf_nettype": "DHCP", "conf_hostname": "Antminer",
                })  # fmt: skip
            case "get_blink_status":
                return respond({"blink": bool(self.site.machines.locating[unit.index])})
            case "miner_type":
                return respond({"miner_type": model.title, "subtype": "", "fw_version": unit.firmware})
        return Response(404, b"<h1>404 Not Found</h1>", "text/html")

    def _conf(self, unit: Unit) -> Json:
        asleep = bool(self.site.machines.asleep[unit.index])
        mode = mode_number(unit, self.site.look(unit), asleep)
        found: Json = {
            "pools": [{"url": pool.url, "user": pool.user, "pass": pool.password} for pool in unit.pools],
            "api-listen": True, "api-network": True, "api-groups": "A:stats:pools:devs:summary:version",
            "api-allow": "A:0/0,W:*", "bitmain-fan-ctrl": False, "bitmain-fan-pwm": "100", "bitmain-use-vil": True,
            "bitmain-freq": str(int(unit.model.frequency_hz / 1e6)), "bitmain-voltage": "1320", "bitmain-ccdelay": "0",
            "bitmain-pwth": "0", "bitmain-work-mode": str(mode), "bitmain-freq-level": "100",
        }  # fmt: skip
        return found

    def _write(self, unit: Unit, page: str, ask: Request, now_ms: int) -> Response:
        match page:
            case "reboot":
                self.site.reboot(unit, now_ms)
                return Response(200, b"", "text/html")
            case "blink":
                on = _truth((ask.json() or {}).get("blink"))
                self.site.locate(unit, on, now_ms)
                return respond({"code": "B000" if on else "B100", "msg": "OK!"})
            case "upgrade":
                problem = take(self.site, unit, form(ask).get("firmware", b""), now_ms)
                if problem:
                    return respond({"stats": "error", "code": "U001", "msg": problem})
                return respond({"stats": "success", "code": "U000", "msg": "OK!"})
            case "set_miner_conf":
                conf = ask.json()
                if not isinstance(conf, dict):
                    return respond({"stats": "error", "code": "M001", "msg": "Illegal request!"})
                return self._configure(unit, conf, now_ms)
        return Response(404, b"<h1>404 Not Found</h1>", "text/html")

    def _configure(self, unit: Unit, conf: dict[str, Any], now_ms: int) -> Response:
        """Write the whole configuration: pools as given (an absent list changes none), mode by this firmware's own key."""
        key = "bitmain-work-mode" if "new_key" in unit.model.traits else "miner-mode"
        pools = [
            Pool(str(pool.get("url", "")), str(pool.get("user", "")), str(pool.get("pass", "")))
            for pool in conf.get("pools", [])
            if isinstance(pool, dict) and pool.get("url")
        ]
        if pools and [(pool.url, pool.user) for pool in pools] != [(pool.url, pool.user) for pool in unit.pools]:
            self.site.set_pools(unit, pools, now_ms)
        self._take_mode(unit, str(conf.get(key, "")), now_ms)
        return respond({"stats": "success", "code": "M000", "msg": "OK!"})

    def _take_mode(self, unit: Unit, asked: str, now_ms: int) -> None:
        """Sleep, wake or a mode; after any write the mining daemon restarts."""
        site, machines, index = self.site, self.site.machines, unit.index
        if asked == str(SLEEP_MODE):
            site.sleep(unit, now_ms)
            return
        mode = "normal" if asked == "0" else "low" if asked in ("2", "3") else machines.modes[index]
        if mode not in {name for name, _, _ in unit.model.modes}:
            mode = machines.modes[index]
        asleep = bool(machines.asleep[index])
        if mode != machines.modes[index] or not (asleep or asked == ""):
            site.set_mode(unit, mode, now_ms)
        if asleep and asked in ("0", "2", "3"):
            site.wake(unit, now_ms)


def _truth(value: object) -> bool:
    return value is True or str(value).lower() in ("true", "1", "on")
