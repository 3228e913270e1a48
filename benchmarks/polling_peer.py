# SPDX-License-Identifier: Apache-2.0
"""Responder of the polling benchmark: fixed replies over a bare epoll loop, at the lowest cost in Python.

A stock Antminer answers RPC, and HTTP after a digest challenge on connections that it keeps open, like the real one.
"""

import heapq
import select
import socket
import time
from dataclasses import dataclass
from typing import Any

import orjson


def _status(code: int, text: str) -> list[dict[str, Any]]:
    return [{"STATUS": "S", "When": 1700000000, "Code": code, "Msg": text, "Description": "cgminer 1.0.0"}]


def _pools() -> dict[str, Any]:
    pools = [
        {"POOL": index, "URL": f"stratum+tcp://pool{index}.example:3333", "Status": "Alive", "Priority": index, "Quota": 1,
         "Long Poll": "N", "Getworks": 900, "Accepted": 4000 - index, "Rejected": 3, "Stale": 1, "Discarded": 500, "Diff": "131K",
         "Stratum Active": index == 0, "User": "account.worker1", "Last Share Time": "0:00:04", "Diff1 Shares": 0}
        for index in range(3)
    ]  # fmt: skip
    return {"STATUS": _status(7, "3 Pool(s)"), "POOLS": pools, "id": 1}


def _antminer() -> dict[str, dict[str, Any]]:
    stats: dict[str, Any] = {
        "STATS": 0, "ID": "BTM_SOC0", "Elapsed": 50474, "Calls": 0, "Wait": 0, "Max": 0, "Min": 99999999, "GHS 5s": 110566.89,
        "GHS av": 111834.63, "rate_30m": 111878.26, "Mode": 2, "miner_count": 3, "frequency": 525, "fan_num": 4, "fan1": 6000,
        "fan2": 5880, "fan3": 5040, "fan4": 5040, "temp_num": 3, "total_rateideal": 110000.0, "rate_unit": "GH",
        "total_freqavg": 525, "total_acn": 342, "total rate": 111834.63, "temp_max": 0, "no_matching_work": 562,
        "miner_version": "49.0.1.3", "miner_id": "8144d5ca79104814",
    }  # fmt: skip
    for chain in range(1, 5):
        there = chain < 4
        stats |= {
            f"chain_acn{chain}": 114 if there else 0, f"chain_acs{chain}": " ooo" * 38 if there else "",
            f"chain_hw{chain}": 183 if there else 0, f"chain_rate{chain}": "36855.63" if there else "",
            f"freq{chain}": 525 if there else 0, f"temp_pcb{chain}": "73-45-64-65" if there else "0-0-0-0",
            f"temp_chip{chain}": "78-50-69-70" if there else "0-0-0-0", f"temp_pic{chain}": "63-35-54-55" if there else "0-0-0-0",
        }  # fmt: skip
    summary = {"Elapsed": 50474, "GHS 5s": 110566.89, "GHS av": 111834.85, "GHS 30m": 111878.26, "Found Blocks": 0,
               "Getwork": 3957, "Accepted": 4057, "Rejected": 11, "Hardware Errors": 562, "Utility": 4.82, "Stale": 1,
               "Best Share": 12904207043, "Total MH": 5643633754730.0, "Work Utility": 1554353.85}  # fmt: skip
    first = {
        "BMMiner": "1.0.0",
        "Miner": "49.0.1.3",
        "CompileTime": "Tue Dec  6 16:12:30 CST 2022",
        "Type": "Antminer S19 Pro",
    }
    return {
        "summary": {"STATUS": _status(11, "Summary"), "SUMMARY": [summary], "id": 1},
        "stats": {"STATUS": _status(70, "CGMiner stats"), "STATS": [first, stats], "id": 1},
        "version": {"STATUS": _status(22, "CGMiner versions"), "VERSION": [{**first, "API": "3.1"}], "id": 1},
        "pools": _pools(),
    }


def _whatsminer() -> dict[str, dict[str, Any]]:
    devs = [
        {"ASC": slot, "Slot": slot, "Name": "SM", "ID": slot, "Enabled": "Y", "Status": "Alive", "Temperature": 65.0,
         "Chip Frequency": 600, "MHS av": 41500000.0, "MHS 5s": 41500000.0, "MHS 1m": 41500000.0, "Effective Chips": 135,
         "Fan Speed In": 5400, "Fan Speed Out": 5280, "Chip Temp Min": 62.0, "Chip Temp Max": 80.0, "Chip Temp Avg": 71.5,
         "Accepted": 1804, "Rejected": 0, "Hardware Errors": 3, "PCB SN": f"BHM5CSD1302803K3000{slot}", "Factory GHS": 42000}
        for slot in range(3)
    ]  # fmt: skip
    summary = {"Elapsed": 25000, "Uptime": 25500, "MHS av": 125000000.0, "MHS 5s": 124500000.0, "MHS 1m": 124600000.0,
               "HS RT": 124500000.0, "Accepted": 5412, "Rejected": 2, "Power": 3200, "Power Limit": 3300, "Power Mode": "Normal",
               "Factory GHS": 126000, "Temperature": 67.0, "Chip Temp Max": 81.0, "Env Temp": 28.5, "Fan Speed In": 5400,
               "Fan Speed Out": 5280, "freq_avg": 600, "Hash Stable": True, "Error Code Count": 0,
               "MAC": "D4:01:02:03:04:05"}  # fmt: skip
    return {
        "summary": {"STATUS": _status(11, "Summary"), "SUMMARY": [summary], "id": 1},
        "devs": {"STATUS": _status(9, "3 ASC(s)"), "DEVS": devs, "id": 1},
        "pools": _pools(),
        "status": {"STATUS": "S", "When": 1, "Code": 131, "Msg": {"mineroff": "false", "power_mode": "normal"}},
        "get_error_code": {"STATUS": "S", "When": 1, "Code": 131, "Msg": {"error_code": []}},
        "get_version": {"STATUS": "S", "When": 1, "Code": 131, "Msg": {"api_ver": "2.0.5", "fw_ver": "20230803.11.REL"}},
        "get_psu": {"STATUS": "S", "When": 1, "Code": 131, "Msg": {"model": "P222B", "fan_speed": "6000"}},
        "get_miner_info": {"STATUS": "S", "When": 1, "Code": 131, "Msg": {"mac": "D4:01:02:03:04:05", "hostname": "w"}},
        "devdetails": {"STATUS": _status(69, "Device Details"), "id": 1, "DEVDETAILS": [
            {"DEVDETAILS": slot, "Name": "SM", "ID": slot, "Driver": "bitmicro", "Kernel": "", "Model": "M50_VH30"}
            for slot in range(3)]},
        "version": {"STATUS": _status(22, "CGMiner versions"), "VERSION": [{"CGMiner": "4.9.2", "API": "3.7"}], "id": 1},
    }  # fmt: skip


HOSTS = tuple(f"127.0.0.{index}" for index in range(1, 41))
"""Several addresses, so that ephemeral ports never run out."""

FOREIGN_WHATSMINERS = tuple(f"127.0.1.{index}" for index in range(1, 41))
FOREIGN_ANTMINERS = tuple(f"127.0.2.{index}" for index in range(1, 41))
"""Addresses of miners on the fixed ports of other libraries: 4028, and 80 for the Antminers."""

ANTMINER, WHATSMINER = _antminer(), _whatsminer()

Table = dict[bytes, bytes]


def _pages() -> Table:
    """HTTP pages of a stock Antminer of 2022, by request line, for authenticated requests."""
    conf = {
        "pools": [{"url": f"stratum+tcp://pool{at}.example:3333", "user": "account.worker1", "pass": "x"} for at in range(3)],
        "api-listen": True, "api-network": True, "api-groups": "A:stats:pools:devs:summary:version", "api-allow": "A:0/0,W:*",
        "bitmain-fan-ctrl": False, "bitmain-fan-pwm": "100", "bitmain-use-vil": True, "bitmain-freq": "525",
        "bitmain-voltage": "1420", "bitmain-ccdelay": "0", "bitmain-pwth": "0", "bitmain-work-mode": "0",
        "bitmain-freq-level": "100",
    }  # fmt: skip
    info = {
        "minertype": "Antminer S19 Pro", "nettype": "DHCP", "netdevice": "eth0", "macaddr": "02:00:00:00:00:01",
        "hostname": "Antminer", "ipaddress": "127.0.2.1", "netmask": "255.255.255.0", "gateway": "", "dnsservers": "",
        "system_mode": "GNU/Linux", "system_kernel_version": "Linux 4.6.0", "firmware_type": "Release", "serinum": "",
        "system_filesystem_version": "Tue Dec  6 16:12:30 CST 2022",
    }  # fmt: skip
    stamp = {"miner_version": "49.0.1.3", "CompileTime": "Tue Dec  6 16:12:30 CST 2022", "type": "Antminer S19 Pro"}
    chains = [
        {"index": chain, "freq_avg": 525, "rate_ideal": 36666.67, "rate_real": 36855.63, "asic_num": 114, "asic": " ooo" * 38,
         "temp_pic": [63, 35, 54, 55], "temp_pcb": [73, 45, 64, 65], "temp_chip": [78, 50, 69, 70], "hw": 183, "hwp": 0.0001,
         "eeprom_loaded": True, "sn": f"JYZZE4ABBJAAA000{chain}"}
        for chain in range(3)
    ]  # fmt: skip
    board = {
        "elapsed": 50474, "rate_5s": 110566.89, "rate_30m": 111878.26, "rate_avg": 111834.85, "rate_ideal": 110000.0,
        "rate_unit": "GH/s", "chain_num": 3, "fan_num": 4, "fan": [6000, 5880, 5040, 5040], "hwp_total": 0.0001,
        "miner-mode": 0, "freq-level": 100, "chain": chains,
    }  # fmt: skip
    pages: dict[str, Any] = {
        "stats": {"STATUS": {"STATUS": "S", "when": 1700000000, "Msg": "stats", "api_version": "1.0.0"}, "INFO": stamp,
                  "STATS": [board]},
        "get_miner_conf": conf,
        "get_system_info": info,
        "miner_type": {"miner_type": "Antminer S19 Pro", "subtype": "CVITEK", "fw_version": stamp["CompileTime"]},
        "summary": {"STATUS": {"STATUS": "S", "when": 1700000000, "Msg": "summary", "api_version": "1.0.0"}, "INFO": stamp,
                    "SUMMARY": [{"elapsed": 50474, "rate_5s": 110566.89, "rate_30m": 111878.26, "rate_avg": 111834.85,
                                 "rate_ideal": 110000.0, "rate_unit": "GH/s", "hw_all": 562, "bestshare": 12904207043,
                                 "status": [{"type": "rate", "status": "s", "code": 0, "msg": ""}]}]},
        "get_blink_status": {"blink": False},
    }  # fmt: skip
    return {f"GET /cgi-bin/{name}.cgi".encode(): _page("200 OK", orjson.dumps(page)) for name, page in pages.items()}


def _page(status: str, body: bytes, more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{more}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


PAGES = _pages()
CHALLENGE = _page(
    "401 Unauthorized", b"", 'WWW-Authenticate: Digest realm="antMiner Configuration", nonce="8d6f", qop="auth"\r\n'
)
NOT_FOUND = _page("404 Not Found", b"")


def _web(asked: bytes) -> bytes:
    """The answer to an HTTP request: a challenge to an unsigned one. The signature itself is not checked."""
    if b"authorization: digest" not in asked.lower():
        return CHALLENGE
    return PAGES.get(asked[: asked.find(b" HTTP/")], NOT_FOUND)


def _replies(documents: dict[str, dict[str, Any]]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}

    def reply(request: dict[str, Any], body: Any) -> None:
        found[orjson.dumps(request)] = orjson.dumps(body) + b"\x00"

    for name, document in documents.items():
        reply({"command": name}, document)
    names = [name for name in ("summary", "stats", "devs", "pools") if name in documents]
    reply({"command": "+".join(names)}, {**{name: [documents[name]] for name in names}, "id": 1})
    return found


def _other_spelling(table: Table, asked: bytes) -> bytes:
    """The reply to a request of another spelling (blanks, `cmd` for `command`, another joining); else a refusal."""
    try:
        found = orjson.loads(asked)
        names = str(found.get("command") or found.get("cmd")).split("+")
        replies = [table[orjson.dumps({"command": name})] for name in names]
    except (ValueError, KeyError, AttributeError):
        return b'{"STATUS":[{"STATUS":"E","Code":14,"Msg":"Invalid command"}],"id":1}\x00'
    documents = {name: [orjson.loads(reply[:-1])] for name, reply in zip(names, replies, strict=True)}
    table[asked] = replies[0] if len(names) == 1 else orjson.dumps({**documents, "id": 1}) + b"\x00"
    return table[asked]


@dataclass(slots=True)
class _Listener:
    """A listening socket: its replies (None: HTTP), and its counts."""

    sock: socket.socket
    table: Table | None
    connections: int = 0
    requests: int = 0


def serve(pipe: Any, delay_s: float = 0.0, foreign: bool = False) -> None:
    """Listen on two ports of the loopback addresses of `HOSTS`, send them through the pipe, and answer until terminated.

    `foreign`: also on the fixed ports of other libraries. Any message through the pipe is answered by the number of
    connections and requests at the foreign ports since the last one.
    """
    epoll, tables = select.epoll(), (_replies(ANTMINER), _replies(WHATSMINER))
    listeners: dict[int, _Listener] = {}

    def listen(host: str, port: int, table: Table | None) -> int:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(65_535)
        listeners[sock.fileno()] = _Listener(sock, table)
        epoll.register(sock.fileno(), select.EPOLLIN)
        found: int = sock.getsockname()[1]
        return found

    ports = []
    for table in tables:
        port = 0
        for host in HOSTS:
            port = listen(host, port, table)
        ports.append(port)
    abroad: list[_Listener] = []
    if foreign:
        own = len(listeners)
        for host in FOREIGN_WHATSMINERS:
            listen(host, 4028, tables[1])
        for host in FOREIGN_ANTMINERS:
            listen(host, 4028, tables[0])
            listen(host, 80, None)
        abroad = list(listeners.values())[own:]
    pipe.send(tuple(ports))
    epoll.register(pipe.fileno(), select.EPOLLIN)
    open_now: dict[int, tuple[socket.socket, _Listener]] = {}
    due: list[tuple[float, int, int, bytes]] = []
    turn = 0

    def answer(number: int, reply: bytes) -> None:
        peer = open_now.pop(number, None)
        if peer is not None:
            try:
                peer[0].send(reply)
            except OSError:
                pass
            peer[0].close()

    while True:
        wait_s = max(0.0, due[0][0] - time.monotonic()) if due else 1.0
        for number, _ in epoll.poll(wait_s, 1024):
            if number in listeners:
                listener = listeners[number]
                for _ in range(512):
                    try:
                        peer, _ = listener.sock.accept()
                    except BlockingIOError:
                        break
                    peer.setblocking(False)
                    listener.connections += 1
                    open_now[peer.fileno()] = (peer, listener)
                    epoll.register(peer.fileno(), select.EPOLLIN)
                continue
            if number == pipe.fileno():
                pipe.recv()
                pipe.send(
                    (sum(listener.connections for listener in abroad), sum(listener.requests for listener in abroad))
                )
                for listener in abroad:
                    listener.connections = listener.requests = 0
                continue
            sock, listener = open_now[number]
            try:
                asked = sock.recv(4096)
            except OSError:
                asked = b""
            if not asked:
                open_now.pop(number)
                sock.close()
                continue
            listener.requests += 1
            if listener.table is None:
                sock.send(_web(asked))
                continue
            reply = listener.table.get(asked) or _other_spelling(listener.table, asked)
            if delay_s:
                epoll.unregister(number)
                turn += 1
                heapq.heappush(due, (time.monotonic() + delay_s, turn, number, reply))
            else:
                answer(number, reply)
        now_s = time.monotonic()
        while due and due[0][0] <= now_s:
            _, _, number, reply = heapq.heappop(due)
            answer(number, reply)
