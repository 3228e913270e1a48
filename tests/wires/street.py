# SPDX-License-Identifier: Apache-2.0
"""A street of make-believe miners for scans, in a process of its own: `street.py COUNT SPREAD RPC FRAMED WEB FLUX`.

Miners of every kind spread over SPREAD addresses from 127.30.0.0 on, some that accept and never answer, some whose queue is
full so that a connect hangs, and some web servers that are no miners. Prints the truth as one JSON line when all are open.
"""

import asyncio
import json
import resource
import socket
import sys

KINDS = (
    "antminer", "antminer_web", "luxos", "vnish", "braiins", "whatsminer", "whatsminer_v3", "avalon", "epic", "auradine",
    "bitaxe", "printer", "mute", "full",
)  # fmt: skip

VERSIONS = {
    "antminer": {"BMMiner": "1.0.0", "CompileTime": "Wed Aug  7 2024", "Miner": "uart_trans.1.3", "Type": "Antminer S19j Pro"},
    "luxos": {"LUXminer": "2024.9.4.1-abc", "Miner": "2024.9.4.1", "Type": "Antminer S19"},
    "vnish": {"CGMiner": "4.12", "Miner": "1.2.6", "Type": "Antminer S19 XP (Vnish 1.2.6)"},
    "braiins": {"BOSer": "boser-buildroot 26.01", "API": "3.7"},
    "avalon": {"PROD": "AvalonMiner 1466", "MODEL": "1466", "MAC": "b4a2eb31%06x", "DNA": "02010000%08x"},
    "auradine": {"GCMiner": "0.9", "API": "1.0"},
}  # fmt: skip


def http(body: object, status: str = "200 OK", extra: str = "") -> bytes:
    text = json.dumps(body).encode() if not isinstance(body, bytes) else body
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\n{extra}Connection: close\r\n\r\n".encode() + text


def rpc(kind: str, number: int, request: bytes) -> bytes | None:
    """What the cgminer port answers; None: it hangs up."""
    if kind == "epic":
        if not request.startswith(b"GET"):
            return None
        found = {"Model": "AntMiner S19j Pro", "Max HBs": 3} if b"/capabilities" in request else {}
        return http(found, "200 OK" if found else "404 Not Found")
    command = json.loads(request)["command"]
    if kind == "whatsminer":
        if command == "get_version":
            reported = {"api_ver": "2.0.4", "fw_ver": "20220926.13.REL", "platform": "H6OS"}
            return json.dumps({"STATUS": "S", "When": 1, "Code": 131, "Msg": reported}).encode()
        if command == "devdetails":
            return json.dumps({"STATUS": [{"STATUS": "S"}], "DEVDETAILS": [{"Model": "M30S+_VE50"}]}).encode() + b"\0"
        return json.dumps({"STATUS": "E", "When": 1, "Code": 14, "Msg": "invalid cmd", "Description": ""}).encode()
    version = {k: v % number if "%0" in v else v for k, v in VERSIONS[kind].items()}
    return json.dumps({"STATUS": [{"STATUS": "S", "Code": 22}], "VERSION": [version], "id": 1}).encode() + b"\0"


def web(kind: str, number: int, request: bytes) -> bytes:
    path = request.split(b" ")[1]
    if kind == "bitaxe" and path == b"/api/system/info":
        mac = f"aa:bb:cc:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
        return http({"ASICModel": "BM1370", "boardVersion": "601", "version": "v2.4.1", "macAddr": mac})
    if kind == "antminer_web" and path.startswith(b"/cgi-bin/"):
        return http(
            b"",
            "401 Unauthorized",
            'WWW-Authenticate: Digest realm="antMiner Configuration", nonce="1", qop="auth"\r\n',
        )
    return http(b"<html>", "200 OK" if kind == "printer" else "404 Not Found")


def framed(number: int) -> bytes:
    reported = {
        "miner": {"type": "M60_VK6", "miner-sn": f"SN{number:08d}"}, "system": {"fwversion": "20240801"},
        "network": {"mac": f"CE:01:00:{number >> 16 & 255:02X}:{number >> 8 & 255:02X}:{number & 255:02X}"},
    }  # fmt: skip
    body = json.dumps({"code": 0, "when": 1, "msg": reported, "desc": "get.device.info"}).encode()
    return len(body).to_bytes(4, "little") + body


async def main(count: int, spread: int, rpc_port: int, framed_port: int, web_port: int, flux_port: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    truth: dict[str, str] = {}
    kept = []

    async def serve(host: str, port: int, kind: str, number: int, way: str) -> None:
        async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                request = await reader.read(4096)
                if kind == "mute" or not request:
                    await asyncio.sleep(30 if request else 0)
                    return
                talk = rpc if way == "rpc" else web
                answer = framed(number) if way == "framed" else talk(kind, number, request)
                if answer:
                    writer.write(answer)
                    await writer.drain()
            except (ConnectionError, ValueError, IndexError):
                pass
            finally:
                writer.close()

        kept.append(await asyncio.start_server(meet, host, port))

    for number in range(count):
        spot = number * spread // count
        host, kind = f"127.30.{spot >> 8}.{spot & 255}", KINDS[number % len(KINDS)]
        truth[host] = kind
        if kind == "full":
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, rpc_port))
            sock.listen(0)
            fillers = []
            for _ in range(2):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex((host, rpc_port))
                fillers.append(filler)
            kept.append((sock, fillers))
        elif kind == "whatsminer_v3":
            await serve(host, framed_port, kind, number, "framed")
        elif kind in ("bitaxe", "antminer_web", "printer"):
            await serve(host, web_port, kind, number, "web")
        else:
            await serve(host, rpc_port, kind, number, "rpc")
    print(json.dumps(truth), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:7])))
