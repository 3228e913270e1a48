# SPDX-License-Identifier: Apache-2.0
"""Modbus devices over real sockets: a pymodbus server, mbpoll, and servers that misbehave."""

import asyncio
import socket

import pytest

from kernel.clock import system_clock
from kernel.errors import TransportError
from kernel.ids import sha256_hex
from kernel.reading import Absence, Field, Missing
from telemetry.collect.source import Tier
from telemetry.device.block import Block
from telemetry.device.profile import Profile, load
from telemetry.io.modbus import Address, ModbusLine, ModbusSource
from telemetry.wire.modbus_frame import crc16
from tests.builders.modbus_line import CONFIGS, IEM3000, left, line, source
from tests.servers import free_port
from tests.wires.modbus_servers import (
    answer_frame,
    exception_frame,
    raw_server,
    registers_of_device,
)


def words_for(profile: Profile, values: dict[str, Field]) -> dict[int, int]:
    return registers_of_device(profile, values)[profile.reads()[0].function]


WORDS = words_for(IEM3000, {"power_w": 5000.0, "energy_import_wh": 123_456_789.0, "voltage_l1_v": 230.0})


def test_an_answer_in_many_segments_is_one_answer() -> None:
    async def dribble(request: bytes, writer: asyncio.StreamWriter) -> None:
        for byte in answer_frame(request, WORDS):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.0005)

    async def scenario() -> None:
        async with raw_server(dribble) as (port, _), line(port, timeout_s=3.0) as made:
            reading = await source(made).read(Tier.FAST)
            assert reading.number("power_w") == 5000.0
            assert reading.number("energy_import_wh") == 123_456_789.0

    asyncio.run(scenario())


def test_a_late_answer_is_never_taken_for_the_next_one() -> None:
    late: list[bytes] = []

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        if not late:
            late.append(answer_frame(request, dict.fromkeys(range(0x10000), 0x4242)))
            return
        writer.write(late.pop() if len(late) == 1 and late[0] else b"")
        late.append(b"")
        writer.write(answer_frame(request, WORDS))

    async def scenario() -> None:
        async with raw_server(answer) as (port, counts), line(port, timeout_s=1.0) as made:
            with pytest.raises(TransportError) as silent:
                await source(made).read(Tier.FAST)
            assert silent.value.reason is Absence.TIMED_OUT
            reading = await source(made).read(Tier.FAST)
            assert reading.number("power_w") == 5000.0
            assert made.frames_skipped == 1
            assert counts["connections"] == 1, "the line is kept: transaction ids tell the answers apart"

    asyncio.run(scenario())


def test_a_wrong_transaction_id_is_skipped_and_the_device_counts_as_silent() -> None:
    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer_frame(request, WORDS, tid=int.from_bytes(request[:2], "big") + 77))

    async def scenario() -> None:
        async with raw_server(answer) as (port, _), line(port, timeout_s=0.4) as made:
            with pytest.raises(TransportError) as error:
                await source(made).read(Tier.FAST)
            assert error.value.reason is Absence.TIMED_OUT

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("spoil", "reported"),
    [
        (lambda frame: frame[:6] + b"\x09" + frame[7:], "unit 9 answered for unit 1"),
        (lambda frame: frame[:7] + b"\x04" + frame[8:], "function 4 answered for 3"),
        (lambda frame: frame[:2] + b"\x00\x07" + frame[4:], "is not Modbus"),
        (lambda frame: frame[:4] + b"\x00\x05" + frame[6:8] + b"\x02\x01\x02", "2 data bytes for"),
        (lambda frame: frame[:4] + b"\xff\xff" + frame[6:], "length field 65535"),
        (lambda frame: b"HTTP/1.1 400 Bad Request\r\n\r\n", "is not Modbus"),
    ],
)
def test_a_spoilt_answer_is_malformed_and_the_next_poll_is_clean(spoil: object, reported: str) -> None:
    bad = [True]

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        frame = answer_frame(request, WORDS)
        writer.write(spoil(frame) if bad.pop() else frame)  # type: ignore[operator]
        bad.append(False)

    async def scenario() -> None:
        async with raw_server(answer) as (port, counts), line(port) as made:
            with pytest.raises(TransportError) as error:
                await source(made).read(Tier.FAST)
            assert error.value.reason is Absence.MALFORMED and reported in error.value.text
            reading = await source(made).read(Tier.FAST)
            assert reading.number("power_w") == 5000.0
            assert counts["connections"] == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("code", [1, 2, 3, 4, 6])
def test_an_exception_keeps_its_code_and_the_other_blocks_their_values(code: int) -> None:
    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        energy = int.from_bytes(request[8:10], "big") == 3203
        writer.write(exception_frame(request, code) if energy else answer_frame(request, WORDS))

    async def scenario() -> None:
        async with raw_server(answer) as (port, _), line(port) as made:
            reading = await source(made).read(Tier.FAST)
            assert reading.number("power_w") == 5000.0
            energy = reading.get("energy_import_wh")
            assert isinstance(energy, Missing) and energy.reason is Absence.REFUSED
            assert f"exception {code} " in energy.detail

    asyncio.run(scenario())


def test_a_gateway_without_its_device_is_unreachable() -> None:
    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(exception_frame(request, 11))

    async def scenario() -> None:
        async with raw_server(answer) as (port, _), line(port) as made:
            with pytest.raises(TransportError) as error:
                await source(made).read(Tier.FAST)
            assert error.value.reason is Absence.UNREACHABLE and "exception 11" in error.value.text

    asyncio.run(scenario())


def test_a_dead_slave_costs_one_timeout_and_the_others_are_read() -> None:
    asked: list[int] = []

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        asked.append(request[6])
        if request[6] != 2:
            writer.write(answer_frame(request, WORDS))

    async def scenario() -> None:
        async with raw_server(answer) as (port, counts), line(port, timeout_s=1.0) as made:
            meters = [source(made, unit_id=unit) for unit in (1, 2, 3, 4)]
            results = await asyncio.gather(*(meter.read(Tier.FAST) for meter in meters), return_exceptions=True)
            assert isinstance(results[1], TransportError) and results[1].reason is Absence.TIMED_OUT
            for index in (0, 2, 3):
                found = results[index]
                assert not isinstance(found, BaseException) and found.number("power_w") == 5000.0
            assert asked.count(2) == 1 < asked.count(1), "one time-out, not one a block"
            assert counts["connections"] == 1 and counts["at_once"] == 1

    asyncio.run(scenario())


def test_a_single_slot_gateway_is_never_opened_twice_and_can_be_released() -> None:
    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.005)
        writer.write(answer_frame(request, WORDS))

    async def scenario() -> None:
        async with raw_server(answer, slots=1) as (port, counts):
            async with line(port) as kept:
                meters = [source(kept, unit_id=unit) for unit in range(1, 9)]
                readings = await asyncio.gather(*(meter.read(Tier.FAST) for meter in meters))
                assert all(reading.number("power_w") == 5000.0 for reading in readings)
                assert counts["refused"] == 0 and counts["connections"] == 1
            await left(counts)
            async with line(port, keep_open=False) as let_go:
                await source(let_go).read(Tier.FAST)
                await left(counts)  # Another master may use the slot now.

    asyncio.run(scenario())


def test_a_server_that_comes_back_is_read_again_without_help() -> None:
    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer_frame(request, WORDS))

    async def scenario() -> None:
        port = free_port()
        async with line(port) as made:
            meter = source(made)
            with pytest.raises(TransportError) as error:
                await meter.read(Tier.FAST)
            assert error.value.reason is Absence.UNREACHABLE
            for _ in range(2):
                async with raw_server(answer, port=port):
                    await asyncio.sleep(0.5)
                    assert (await meter.read(Tier.FAST)).number("power_w") == 5000.0
                made.close()
                await asyncio.sleep(0.05)
                with pytest.raises(TransportError):
                    await meter.read(Tier.FAST)

    asyncio.run(scenario())


def test_a_connection_cut_in_the_middle_fails_at_once_not_at_the_timeout() -> None:
    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer_frame(request, WORDS)[:20])
        await writer.drain()
        writer.close()

    async def scenario() -> None:
        async with raw_server(answer) as (port, _), line(port, timeout_s=100.0) as made:
            async with asyncio.timeout(50):
                with pytest.raises(TransportError) as error:
                    await source(made).read(Tier.FAST)
            assert error.value.reason is Absence.UNREACHABLE

    asyncio.run(scenario())


def test_rtu_over_tcp_reopens_after_silence_so_that_nothing_late_is_taken() -> None:
    """Frames without a transaction id: an answer after the time-out would fit the next request of the same shape."""
    asked: list[bytes] = []
    late = asyncio.Event()

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        asked.append(request)
        value = 0x1111 if len(asked) == 1 else 0x2222
        count = int.from_bytes(request[4:6], "big")
        body = request[:2] + bytes([2 * count]) + value.to_bytes(2, "big") * count
        if len(asked) == 1:
            await late.wait()
        writer.write(body + crc16(body))

    async def scenario() -> None:
        async with raw_server(answer, rtu=True) as (port, counts), line(port, "rtu+tcp", timeout_s=1.0) as made:
            async with made.turn:
                with pytest.raises(TransportError):
                    await made.read(1, Block(None, 3, 0, 2))
                late.set()
                await asyncio.sleep(0.05)
                found, _ = await made.read(1, Block(None, 3, 0, 2))
            assert found == [0x2222, 0x2222]
            assert counts["connections"] == 2

    asyncio.run(scenario())


def test_raw_frames_of_a_billing_meter_are_stored_as_evidence() -> None:
    kept: dict[str, bytes] = {}

    def keep(raw: bytes) -> str:
        kept[sha256_hex(raw)] = raw
        return sha256_hex(raw)

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer_frame(request, WORDS))

    async def scenario() -> None:
        async with raw_server(answer) as (port, counts), line(port) as made:
            meter = ModbusSource("h/s/m", IEM3000, made, system_clock(), keep=keep)
            reading = await meter.read(Tier.FAST)
            assert reading.evidence in kept
            lines = kept[reading.evidence].decode().splitlines()
            assert lines[0].startswith("modbus tcp://127.0.0.1:")
            assert len(lines) == 1 + 2 * counts["requests"]
            energy = next(row for row in lines if "075bcd15" in row)
            assert energy.startswith("< "), "123456789 Wh is in the raw frame"

    asyncio.run(scenario())


def test_a_dead_gateway_is_tried_once_for_all_devices_behind_it() -> None:
    """A black hole: connections hang. Twenty meters wait for one connection attempt, not for twenty."""

    async def scenario() -> None:
        hole = socket.socket()
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())
        made = ModbusLine(Address("tcp", "127.0.0.1", hole.getsockname()[1]), connect_timeout_s=0.4)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        meters = [source(made, unit_id=unit) for unit in range(1, 21)]
        results = await asyncio.gather(*(meter.read(Tier.FAST) for meter in meters), return_exceptions=True)
        assert all(isinstance(found, TransportError) and found.reason is Absence.UNREACHABLE for found in results)
        assert loop.time() - begun < 10 * 0.4, "twenty one after another take 8 s"
        for filler in (*fillers, hole):
            filler.close()

    asyncio.run(scenario())


def test_controllers_of_one_container_fail_apart() -> None:
    """A dead temperature controller (unit 2) leaves the power meters (units 4 to 7) readable."""
    container = load(CONFIGS / "containers" / "microbt_wonderint.toml")

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        if request[6] == 2:
            return
        if request[6] == 1:
            writer.write(exception_frame(request, 11))
            return
        writer.write(answer_frame(request, {56: 12_345}))

    async def scenario() -> None:
        async with raw_server(answer) as (port, _), line(port, timeout_s=1.0) as made:
            reading = await ModbusSource("h/s/c", container, made, system_clock()).read(Tier.FAST)
            assert reading.number("power_w") == pytest.approx(4 * 123_450.0)
            ambient, pump = reading.get("temp_ambient_c"), reading.get("pump_state")
            assert isinstance(ambient, Missing) and ambient.reason is Absence.TIMED_OUT
            assert isinstance(pump, Missing) and pump.reason is Absence.UNREACHABLE

    asyncio.run(scenario())
