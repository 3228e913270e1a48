# SPDX-License-Identifier: Apache-2.0
"""Modbus peers that are not ours: pymodbus, mbpoll, a serial line; they read what we encode and we read them."""

import asyncio
import os
import subprocess
import tty
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer

from kernel.reading import Field, Missing
from telemetry.collect.source import Tier
from telemetry.device.profile import Profile, catalogue, load
from telemetry.io.modbus import Address, ModbusLine
from tests.builders.modbus_line import CONFIGS, line, source
from tests.servers import need
from tests.wires.modbus_servers import (
    device,
    pymodbus_server,
    registers_of_device,
)

PROFILES = {name: p for name, p in catalogue(CONFIGS).items() if p.wire == "modbus"}
SDM630 = load(CONFIGS / "meters" / "eastron_sdm630.toml")


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
