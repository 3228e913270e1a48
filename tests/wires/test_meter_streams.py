# SPDX-License-Identifier: Apache-2.0
"""Mercury and Energomera meters behind a TCP gateway: meters written here from the protocols, on real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from kernel.clock import system_clock
from kernel.errors import TransportError
from kernel.reading import Absence, Missing
from telemetry.collect.source import Tier
from telemetry.device.profile import load
from telemetry.io.meter_stream import Iec61107Source, MercurySource
from telemetry.io.stream import StreamLine

METERS = Path(__file__).parents[2] / "configs" / "profiles" / "meters"
MERCURY = load(METERS / "mercury_236.toml", {"current_ratio": 40.0})
CE303 = load(METERS / "energomera_ce303.toml")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def gateway(serve: Serve, timeout_s: float = 10.0) -> AsyncIterator[StreamLine]:
    async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            await serve(reader, writer)

    server = await asyncio.start_server(quietly, "127.0.0.1", 0)
    line = StreamLine("127.0.0.1", server.sockets[0].getsockname()[1], timeout_s=timeout_s)
    try:
        yield line
    finally:
        line.close()
        server.close()


def crc(data: bytes) -> bytes:
    """CRC-16/MODBUS by the polynomial's table-free textbook form, apart from the code under test."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value, odd = value >> 1, value & 1
            if odd:
                value ^= 0xA001
    return bytes([value & 0xFF, value >> 8])


def three(value: int, direction: int = 0) -> bytes:
    return bytes([value >> 16 | direction, value & 0xFF, value >> 8 & 0xFF])


def four(value: int) -> bytes:
    return bytes([value >> 16 & 0xFF, value >> 24, value & 0xFF, value >> 8 & 0xFF])


class MercuryMeter:
    """Meters 12 and 13 on one line. The channel closes when told to; 13 never answers."""

    def __init__(self) -> None:
        self.opened = False
        self.opens = 0
        self.asked: list[int] = []
        self.answers = {
            bytes.fromhex("081600"): three(5345_00) + three(1800_00) + three(1745_00) + three(1800_00),
            bytes.fromhex("081608"): three(120_00, 0x40) + three(0) * 3,
            bytes.fromhex("081611"): three(226_86) + three(227_00) + three(225_10),
            bytes.fromhex("081621"): three(7_940) + three(7_000) + three(8_001),
            bytes.fromhex("081630"): three(990) + three(991) + three(992) + three(993),
            bytes.fromhex("081640"): three(50_01),
            bytes.fromhex("050000"): four(120_510) + b"\xff" * 4 + four(70_000) + b"\xff" * 4,
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(64):
            assert crc(data[:-2]) == data[-2:]
            self.asked.append(data[0])
            if data[0] != 12:
                continue
            command = data[1:-2]
            if command[:1] == b"\x01":
                self.opened = command == bytes([1, 1, 1, 1, 1, 1, 1, 1])
                self.opens += 1
                reported = b"\x00" if self.opened else b"\x03"
            else:
                reported = self.answers.get(command, b"\x01") if self.opened else b"\x05"
            frame = bytes([12]) + reported
            frame += crc(frame)
            writer.write(frame[:3])
            await writer.drain()
            await asyncio.sleep(0.01)
            writer.write(frame[3:])


def test_a_mercury_meter_is_read_through_its_own_protocol() -> None:
    async def scenario() -> None:
        meter = MercuryMeter()
        async with gateway(meter.serve) as line:
            source = MercurySource("h/s/m", MERCURY, line, system_clock(), address=12, keep=lambda raw: str(len(raw)))
            reading = await source.read(Tier.FAST)
            assert reading.number("power_w") == pytest.approx(5345.0 * 40)
            assert reading.number("reactive_var") == pytest.approx(-120.0 * 40)
            assert reading.number("voltage_l1_v") == pytest.approx(226.86)
            assert reading.number("current_l3_a") == pytest.approx(8.001 * 40)
            assert reading.number("frequency_hz") == pytest.approx(50.01)
            assert reading.number("energy_import_wh") == 120_510.0 * 40
            exported = reading.get("energy_export_wh")
            assert isinstance(exported, Missing) and exported.reason is Absence.SENTINEL, "A- is not kept by this meter"
            assert reading.evidence and meter.opens == 1
            meter.opened = False
            reading = await source.read(Tier.FAST)
            assert reading.number("power_w") == pytest.approx(213_800.0) and meter.opens == 2, (
                "it opens again by itself"
            )
            del meter.answers[bytes.fromhex("081640")]
            frequency = (await source.read(Tier.FAST)).get("frequency_hz")
            assert isinstance(frequency, Missing) and "status 1" in frequency.detail

    asyncio.run(scenario())


def test_a_dead_mercury_meter_stalls_the_line_once_and_the_other_is_read() -> None:
    async def scenario() -> None:
        meter = MercuryMeter()
        async with gateway(meter.serve, timeout_s=1.0) as line:
            dead = MercurySource("h/s/dead", MERCURY, line, system_clock(), address=13)
            alive = MercurySource("h/s/alive", MERCURY, line, system_clock(), address=12)
            first, second = await asyncio.gather(dead.read(Tier.FAST), alive.read(Tier.FAST), return_exceptions=True)
            assert isinstance(first, TransportError) and first.reason is Absence.TIMED_OUT
            assert not isinstance(second, BaseException) and second.number("voltage_l1_v") == pytest.approx(226.86)
            assert meter.asked.count(13) == 1 < meter.asked.count(12), "its silence is waited for once"

    asyncio.run(scenario())


def test_a_wrong_password_is_refused_with_the_text_of_the_meter() -> None:
    async def scenario() -> None:
        async with gateway(MercuryMeter().serve) as line:
            source = MercurySource("h/s/m", MERCURY, line, system_clock(), address=12, password="222222")
            with pytest.raises(TransportError, match="access level too low") as error:
                await source.read(Tier.FAST)
            assert error.value.reason is Absence.REFUSED

    asyncio.run(scenario())


CE301_SAYS = {
    b"POWEP()": b"\x02POWEP(0.5266)\r\n\x03'",
    b"POWPP()": b"\x02POWPP(0.0592)\r\nPOWPP(0.4402)\r\nPOWPP(0.054)\r\n\x03J",
    b"VOLTA()": b"\x02VOLTA(233.751)\r\nVOLTA(235.418)\r\nVOLTA(234.796)\r\n\x03\x02",
    b"CURRE()": b"\x02CURRE(1.479)\r\nCURRE(2.8716)\r\nCURRE(0.782)\r\n\x03v",
    b"FREQU()": b"\x02FREQU(49.96)\r\n\x03x",
    b"ET0PE()": b"\x02ET0PE(16907.9477764)\r\nET0PE(11504.3875082)\r\nET0PE(3628.2698795)\r\n"
    b"ET0PE(1775.2903887)\r\nET0PE(0.0)\r\nET0PE(0.0)\r\n\x03\x04",
}


async def ce301(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers of a CE301 v12, told in two pieces, with a parity bit on every byte that needs one."""

    async def say(data: bytes) -> None:
        data = bytes(byte | 0x80 if byte.bit_count() % 2 else byte for byte in data)
        writer.write(data[: len(data) // 2])
        await writer.drain()
        await asyncio.sleep(0.005)
        writer.write(data[len(data) // 2 :])
        await writer.drain()

    while data := await reader.read(128):
        if data == b"/?!\r\n":
            await say(b"/EKT5CE301v12\r\n")
        elif data == b"\x06051\r\n":
            await say(b"\x01P0\x02(777777)\x03\x20")
        elif data.startswith(b"\x01P1"):
            await say(b"\x06" if b"(777777)" in data else b"\x15")
        elif data.startswith(b"\x01R1\x02"):
            name = data[4:-2]
            body = b"(ERR12)\r\n\x03"
            await say(CE301_SAYS.get(name, b"\x02" + body + bytes([sum(body) & 0x7F])))


@pytest.mark.parametrize("password", [None, "777777"])
def test_an_energomera_meter_is_read_over_iec_61107(password: str | None) -> None:
    async def scenario() -> None:
        async with gateway(ce301) as line:
            source = Iec61107Source("h/s/m", CE303, line, system_clock(), password=password)
            for _ in range(2):
                reading = await source.read(Tier.FAST)
                assert reading.number("power_w") == pytest.approx(526.6)
                assert reading.number("voltage_l2_v") == pytest.approx(235.418)
                assert reading.number("energy_import_wh") == pytest.approx(16_907_947.7764)

    asyncio.run(scenario())


def test_a_refusal_of_an_energomera_meter_is_reported_with_its_reason() -> None:
    async def scenario() -> None:
        async with gateway(ce301) as line:
            with pytest.raises(TransportError, match="refused the password"):
                await Iec61107Source("h/s/m", CE303, line, system_clock(), password="1").read(Tier.FAST)
            reported = dict(CE301_SAYS)
            CE301_SAYS.pop(b"FREQU()")
            try:
                reading = await Iec61107Source("h/s/m", CE303, line, system_clock()).read(Tier.FAST)
            finally:
                CE301_SAYS.update(reported)
            frequency = reading.get("frequency_hz")
            assert isinstance(frequency, Missing) and frequency == Missing(Absence.REFUSED, "ERR12")
            assert reading.number("power_w") == pytest.approx(526.6)

    asyncio.run(scenario())
