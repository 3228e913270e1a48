# SPDX-License-Identifier: Apache-2.0
"""A miner made of scripted bytes on a real loopback socket: it answers rightly, wrongly, late or never, as a test says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from kernel.clock import system_clock
from kernel.reading import Reading
from miner_control.dialect import DIALECTS
from miner_control.fleet.driver import Access
from miner_control.fleet.miner import Miner
from miner_control.io.miner_socket import Exchanges, MinerPort
from telemetry.collect.source import Tier

IMPATIENT = (0.5, 1.0)
"""The time-outs (connect, whole answer; s) of an `Exchanges` that meets a silence."""

Speak = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Peer:
    """Where it listens and what it was sent, in order."""

    host: str
    port: int
    heard: list[bytes] = field(default_factory=list)
    open_now: int = 0
    open_most: int = 0


@contextlib.asynccontextmanager
async def peer(speak: Speak, host: str = "127.0.0.1", first_bytes: bool = True) -> AsyncIterator[Peer]:
    """A listening peer: for each connection it takes what comes first and lets `speak` do the rest."""
    seen = Peer(host, 0)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.open_now += 1
        seen.open_most = max(seen.open_most, seen.open_now)
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            data = await reader.read(65_536) if first_bytes else b""
            if data:
                seen.heard.append(data)
            await speak(data, reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            seen.open_now -= 1
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, host, 0)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.sleep(0)


def says(*parts: bytes | float) -> Speak:
    """Send the parts; a number is a pause in seconds; then close."""

    async def speak(data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            if isinstance(part, bytes):
                writer.write(part)
                await writer.drain()
            else:
                await asyncio.sleep(part)

    return speak


def holds(*parts: bytes | float, forever_s: float = 30.0) -> Speak:
    """As `says`, and then keep the socket open."""
    return says(*parts, forever_s)


def answers(documents: dict[str, Any], end: bytes = b"\x00") -> Speak:
    """cgminer style: the document of each command, joined where asked joined."""

    async def speak(data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = orjson.loads(data)
        command = asked.get("command") or asked.get("cmd")
        body: Any
        if "+" in command:
            body = {name: [documents[name]] for name in command.split("+") if name in documents} | {"id": 1}
        else:
            body = documents.get(command, {"STATUS": [{"STATUS": "E", "Code": 14, "Msg": "Invalid command"}], "id": 1})
        writer.write(orjson.dumps(body) + end)
        await writer.drain()

    return speak


def port_of(
    where: Peer,
    dialect: str = "antminer",
    *,
    exchanges: Exchanges | None = None,
    http: int | None = None,
    **account: str,
) -> MinerPort:
    """The driver of a peer; give `http` where the web page listens elsewhere. It waits long, since a busy machine may be
    slow: a test of silence gives `IMPATIENT`."""
    ports = {"rpc": where.port, **({} if http is None else {"http": http})}
    access = Access(account.get("account", "root"), account.get("password", "root"), ports)
    miner = Miner("hub/site/m1", "", dialect, where.host, tuple(ports.items()), "f1")
    return MinerPort(miner, DIALECTS[dialect], access, system_clock(), exchanges or Exchanges(10.0, 20.0))


async def read_once(
    speak: Speak, dialect: str = "antminer", tier: Tier = Tier.FAST, host: str = "127.0.0.1"
) -> Reading:
    """One poll of a peer that behaves so."""
    async with peer(speak, host) as where:
        return await port_of(where, dialect).read(tier)
