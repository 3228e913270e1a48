# SPDX-License-Identifier: Apache-2.0
"""Modbus devices over real sockets: a pymodbus server, mbpoll, and servers that misbehave."""

import asyncio
import os
import socket
import subprocess
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer

from kernel.clock import system_clock
from kernel.errors import TransportError
from kernel.ids import sha256_hex
from kernel.reading import Absence, Field, Missing
from telemetry.collect.source import Tier
from telemetry.device.block import Block
from telemetry.device.profile import Profile, catalogue, load
from telemetry.io.modbus import Address, ModbusLine, ModbusSource
from telemetry.wire.modbus_frame import crc16
from tests.servers import free_port, need
from tests.wires.modbus_servers import (
    answer_frame,
    device,
    exception_frame,
    pymodbus_server,
    raw_server,
    registers_of_device,
)

CONFIGS = Path(__file__).parents[2] / "configs" / "profiles"
PROFILES = {name: p for name, p in catalogue(CONFIGS).items() if p.wire == "modbus"}
SDM630 = load(CONFIGS / "meters" / "eastron_sdm630.toml")
IEM3000 = load(CONFIGS / "meters" / "schneider_iem3000.toml")


def some_values(profile: Profile) -> dict[str, Field]:
    """Small numbers that every register type takes: 40, 41, ... and words for states."""
    values: dict[str, Field] = {}
    for index, point in enumerate(profile.points):
        if point.is_text:
            values[point.metric] = next(iter(point.labels.values()), "SN1")
        elif point.bit is not None:
            values[point.metric] = 1.0
        elif point.metric == "power_factor":
            values[point.metric] = 0.9
        else:
            values[point.metric] = 40.0 + index
    return values


@asynccontextmanager
async def line(
    port: int, kind: str = "tcp", *, timeout_s: float = 10.0, keep_open: bool = True
) -> AsyncIterator[ModbusLine]:
    """A line to a peer. It waits long, since a busy machine may be slow; a test of silence says how long it waits."""
    made = ModbusLine(Address(kind, "127.0.0.1", port), timeout_s=timeout_s, keep_open=keep_open)
    try:
        yield made
    finally:
        made.close()


def source(made: ModbusLine, profile: Profile = IEM3000, unit_id: int = 1) -> ModbusSource:
    return ModbusSource(f"h/s/m{unit_id}", profile, made, system_clock(), unit_id=unit_id)


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_a_pymodbus_server_shows_each_profile_and_we_read_it(name: str) -> None:
    profile = PROFILES[name]
    values = some_values(profile)

    async def scenario() -> None:
        units = {block.unit_id for block in profile.reads()}
        devices = []
        for unit in units:
            tables = registers_of_device(profile, values, unit)
            devices.append(device(profile.unit_id if unit is None else unit, tables))
        async with pymodbus_server(devices) as port, line(port, timeout_s=2.0) as made:
            meter = source(made, profile, profile.unit_id)
            for tier in sorted(profile.tiers()):
                reading = await meter.read(tier)
                assert set(reading.values) == set(profile.metrics(tier))
                for metric, found in reading.values.items():
                    meant = values[metric]
                    if isinstance(meant, float):
                        assert isinstance(found, float), f"{metric}: {found}"
                        point = next(point for point in profile.points if point.metric == metric)
                        assert found == pytest.approx(
                            meant, rel=1e-6, abs=abs(point.factor / point.inverse_factor) * 0.51
                        )
                    else:
                        assert found == meant

    asyncio.run(scenario())


def test_rtu_over_tcp() -> None:
    async def scenario() -> None:
        tables = registers_of_device(SDM630, some_values(SDM630))
        async with (
            pymodbus_server([device(1, tables), device(2, tables)], FramerType.RTU) as port,
            line(port, "rtu+tcp", timeout_s=2.0) as made,
        ):
            for unit in (1, 2, 1):
                reading = await source(made, SDM630, unit).read(Tier.FAST)
                assert reading.number("voltage_l1_v") == 40.0

    asyncio.run(scenario())


def test_serial_rtu_over_a_pseudo_terminal() -> None:
    """A serial line of two pseudo-terminals joined end to end; on its far end a pymodbus RTU device."""

    async def scenario() -> None:
        tables = registers_of_device(SDM630, some_values(SDM630))
        with serial_cable() as (near, far):
            server = ModbusSerialServer([device(3, tables)], framer=FramerType.RTU, port=far, baudrate=9600)
            await server.serve_forever(background=True)
            made = ModbusLine(Address("serial", near, baudrate=9600), timeout_s=1.0)
            try:
                reading = await source(made, SDM630, 3).read(Tier.FAST)
                assert reading.number("voltage_l1_v") == 40.0
                nobody = (await source(made, SDM630, 4).read(Tier.FAST)).get("power_w")
                assert isinstance(nobody, Missing) and "exception 4" in nobody.detail, "pymodbus answers for strangers"
                reading = await source(made, SDM630, 3).read(Tier.FAST)
                assert reading.number("energy_import_wh") == pytest.approx(54.0)
            finally:
                made.close()
                await server.shutdown()

    asyncio.run(scenario())


@contextmanager
def serial_cable() -> Iterator[tuple[str, str]]:
    """The names of two terminals; what is written to one is read from the other. Needs a running event loop."""
    loop = asyncio.get_running_loop()
    (left, near), (right, far) = os.openpty(), os.openpty()
    for end in (near, far):
        tty.setraw(end)
    loop.add_reader(left, lambda: os.write(right, os.read(left, 4096)))
    loop.add_reader(right, lambda: os.write(left, os.read(right, 4096)))
    try:
        yield os.ttyname(near), os.ttyname(far)
    finally:
        for end in (left, right):
            loop.remove_reader(end)
        for end in (left, right, near, far):
            os.close(end)


def test_mbpoll_reads_what_our_codec_encoded() -> None:
    """A foreign master (libmodbus) reads the registers that the codec made: order, type and wire address agree."""
    mbpoll = need("mbpoll")

    def poll(port: int, *more: str) -> str:
        argv = [mbpoll, "-m", "tcp", "-p", str(port), "-1", "-q", "-0", *more, "127.0.0.1"]
        return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True).stdout

    async def scenario() -> None:
        tables = registers_of_device(SDM630, {"voltage_l1_v": 231.5, "power_w": -1250.25})
        async with pymodbus_server([device(1, tables)]) as port:
            reported = await asyncio.to_thread(poll, port, "-t", "3:float", "-B", "-r", "0", "-c", "1")
            assert "231.5" in reported
            reported = await asyncio.to_thread(poll, port, "-t", "3:float", "-B", "-r", "52", "-c", "1")
            assert "-1250.25" in reported

    asyncio.run(scenario())


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


async def left(counts: dict[str, int]) -> None:
    """Until the server has seen the last connection go."""
    async with asyncio.timeout(10):
        while counts["open"]:
            await asyncio.sleep(0.01)


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
