# SPDX-License-Identifier: Apache-2.0
"""Modbus peers for the tests: a real pymodbus server over encoded profiles, and raw sockets that misbehave on purpose."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from pymodbus.framer import FramerType
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from kernel.reading import Field
from telemetry.device.codec import encode
from telemetry.device.profile import Profile
from tests.servers import free_port


def registers_of_device(
    profile: Profile, values: Mapping[str, Field], unit_id: int | None = None
) -> dict[int, dict[int, int]]:
    """{function: {address: word}} of a device that shows the values; every address inside the profile's reads exists."""
    tables: dict[int, dict[int, int]] = {1: {}, 2: {}, 3: {}, 4: {}}
    for block in profile.reads():
        if block.unit_id == unit_id:
            for address in range(block.address, block.address + block.count):
                tables[block.function][address] = 0
    for (unit, function, address), word in encode(profile, values).items():
        if unit == unit_id:
            tables[function][address] = word
    return tables


def device(unit_id: int, tables: Mapping[int, Mapping[int, int]], action: Any = None) -> SimDevice:
    """A pymodbus device with four separate tables."""

    def bits(table: Mapping[int, int]) -> list[SimData]:
        found = [SimData(at, values=bool(table[at]), datatype=DataType.BITS) for at in sorted(table)]
        return found or [SimData(0, values=False, datatype=DataType.BITS)]

    def words(table: Mapping[int, int]) -> list[SimData]:
        blocks: list[SimData] = []
        run: list[int] = []
        for at in sorted(table):
            if run and at != run[-1] + 1:
                blocks.append(SimData(run[0], values=[table[a] for a in run], datatype=DataType.REGISTERS))
                run = []
            run.append(at)
        if run:
            blocks.append(SimData(run[0], values=[table[a] for a in run], datatype=DataType.REGISTERS))
        return blocks or [SimData(0, values=0, datatype=DataType.REGISTERS)]

    data = (bits(tables.get(1, {})), bits(tables.get(2, {})), words(tables.get(3, {})), words(tables.get(4, {})))
    return SimDevice(unit_id, simdata=data, action=action)


@contextlib.asynccontextmanager
async def pymodbus_server(
    devices: Sequence[SimDevice], framer: FramerType = FramerType.SOCKET, port: int | None = None
) -> AsyncIterator[int]:
    """A pymodbus server on a loopback port."""
    port = port or free_port()
    server = ModbusTcpServer(list(devices), framer=framer, address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    try:
        yield port
    finally:
        await server.shutdown()


Answering = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def raw_server(
    answer: Answering, *, slots: int = 1000, rtu: bool = False, port: int | None = None
) -> AsyncIterator[tuple[int, dict[str, int]]]:
    """A TCP server that hands each request frame to `answer`. More than `slots` connections at once are closed."""
    counts = {"connections": 0, "open": 0, "refused": 0, "requests": 0, "at_once": 0}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        counts["connections"] += 1
        if counts["open"] >= slots:
            counts["refused"] += 1
            writer.close()
            return
        counts["open"] += 1
        try:
            while True:
                if rtu:
                    request = await reader.readexactly(8)
                else:
                    head = await reader.readexactly(6)
                    request = head + await reader.readexactly(int.from_bytes(head[4:6], "big"))
                counts["requests"] += 1
                counts["at_once"] = max(counts["at_once"], counts["open"])
                await answer(request, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            counts["open"] -= 1
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port or 0)
    try:
        yield server.sockets[0].getsockname()[1], counts
    finally:
        server.close()


def answer_frame(request: bytes, words: Mapping[int, int], tid: int | None = None) -> bytes:
    """The right TCP answer to a register read; `tid` replaces the transaction id."""
    start, count = int.from_bytes(request[8:10], "big"), int.from_bytes(request[10:12], "big")
    data = b"".join(words.get(start + at, 0).to_bytes(2, "big") for at in range(count))
    pdu = request[6:8] + bytes([len(data)]) + data
    head = request[:2] if tid is None else tid.to_bytes(2, "big")
    return head + b"\0\0" + len(pdu).to_bytes(2, "big") + pdu


def exception_frame(request: bytes, code: int) -> bytes:
    return request[:4] + b"\0\3" + request[6:7] + bytes([request[7] | 0x80, code])
