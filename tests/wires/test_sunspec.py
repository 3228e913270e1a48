# SPDX-License-Identifier: Apache-2.0
"""SunSpec both ways: pysunspec2 reads the device that our codec builds, and we read the shapes that pysunspec2 makes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sunspec2.device as sunspec_device
import sunspec2.modbus.client as sunspec_client

from kernel.clock import system_clock
from kernel.errors import DecodeError
from kernel.reading import Absence, Field, Missing
from telemetry.collect.source import Tier
from telemetry.device.profile import Profile, load
from telemetry.io.modbus import Address, ModbusLine
from telemetry.io.sunspec import SunSpecSource
from tests.builders.registers import device_words
from tests.wires.modbus_servers import device, pymodbus_server

METERS = Path(__file__).parents[2] / "configs" / "profiles" / "meters"
NAMES = {
    "power_w": "W", "power_l1_w": "WphA", "reactive_var": "VAR", "apparent_va": "VA", "voltage_l1_v": "PhVphA",
    "current_l1_a": "AphA", "frequency_hz": "Hz", "energy_import_wh": "TotWhImp", "energy_export_wh": "TotWhExp",
}  # fmt: skip
VALUES: dict[str, Field] = {
    "power_w": 5_432_100.0, "power_l1_w": 1_810_700.0, "power_l2_w": 1_810_700.0, "power_l3_w": 1_810_700.0,
    "reactive_var": -120_000.0, "apparent_va": 5_440_000.0, "power_factor": 0.99, "voltage_l1_v": 230.4,
    "voltage_l2_v": 231.0, "voltage_l3_v": 229.9, "voltage_l12_v": 399.8, "voltage_l23_v": 400.1, "voltage_l31_v": 400.0,
    "current_l1_a": 312.34, "current_l2_a": 312.0, "current_l3_a": 311.0, "frequency_hz": 49.98,
    "energy_import_wh": 3_987_654_321.0, "energy_export_wh": 1_234.0,
}  # fmt: skip
MODELS = (201, 202, 203, 204, 211, 212, 213, 214)


def profile(model: int) -> Profile:
    return load(METERS / f"sunspec_{model}.toml")


async def read_ours(port: int, made: Profile) -> dict[str, Field]:
    line = ModbusLine(Address("tcp", "127.0.0.1", port), timeout_s=3.0)
    try:
        source = SunSpecSource("h/s/m", made, line, system_clock())
        first = await source.read(Tier.FAST)
        again = await source.read(Tier.FAST)
        assert first.values == again.values
        return dict(first.values)
    finally:
        line.close()


def read_theirs(port: int, model: int) -> dict[str, Any]:
    found = sunspec_client.SunSpecModbusClientDeviceTCP(slave_id=1, ipaddr="127.0.0.1", ipport=port)
    try:
        found.scan()
        (meter,) = found.models[model]
        return {metric: getattr(meter, name).cvalue for metric, name in NAMES.items()} | {
            "sn": found.common[0].SN.value
        }
    finally:
        found.close()


@pytest.mark.parametrize("model", MODELS)
def test_pysunspec2_reads_the_device_that_our_codec_builds(model: int) -> None:
    made = profile(model)
    words = device_words(made, VALUES, serial="SN-77")

    async def scenario() -> None:
        async with pymodbus_server([device(1, {3: words})]) as port:
            theirs = await asyncio.to_thread(read_theirs, port, model)
            assert theirs["sn"] == "SN-77"
            ours = await read_ours(port, made)
            for metric in NAMES:
                reported = ours[metric]
                assert isinstance(reported, float)
                assert theirs[metric] == pytest.approx(reported, rel=1e-6), metric
                assert reported == pytest.approx(VALUES[metric], rel=5e-3), metric

    asyncio.run(scenario())


def shape_of(model: int) -> tuple[list[int], dict[str, float]]:
    """Registers of a meter model as pysunspec2 itself lays them out, filled with its own encoder."""
    made = sunspec_device.Model(model, data=bytes(2 * 126))
    assert not made.error_info
    for name, point in made.points.items():
        point.value = -1 if name.endswith("_SF") else None
    expected = {}
    for index, (metric, name) in enumerate(NAMES.items()):
        getattr(made, name).cvalue = expected[metric] = 40.0 + index
    data = made.get_mb()
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)], expected


@pytest.mark.parametrize("model", MODELS)
def test_we_read_the_shapes_that_pysunspec2_makes(model: int) -> None:
    registers, expected = shape_of(model)
    registers[0], registers[1] = model, len(registers) - 2
    # A foreign model stands before the meter, and the device is based at 50000.
    words = {50000: 0x5375, 50001: 0x6E53, 50002: 64001, 50003: 3, 50004: 1, 50005: 2, 50006: 3}
    words |= {50007 + at: word for at, word in enumerate(registers)}
    end = 50007 + len(registers)
    words |= {end: 0xFFFF, end + 1: 0}

    async def scenario() -> None:
        async with pymodbus_server([device(1, {3: words})]) as port:
            ours = await read_ours(port, profile(model))
            for metric, value in expected.items():
                assert ours[metric] == pytest.approx(value, rel=1e-6), metric
            missing = ours["voltage_l2_v"]
            assert isinstance(missing, Missing) and missing.reason is Absence.SENTINEL

    asyncio.run(scenario())


def test_a_device_without_the_model_is_reported_with_its_models() -> None:
    words = device_words(profile(203), VALUES, serial="1")

    async def scenario() -> None:
        async with pymodbus_server([device(1, {3: words})]) as port:
            with pytest.raises(DecodeError, match=r"has models \[1, 203\], not 213"):
                await read_ours(port, profile(213))
        async with pymodbus_server([device(1, {3: {7: 1}})]) as port:
            with pytest.raises(DecodeError, match="'SunS' was at none of"):
                await read_ours(port, profile(213))

    asyncio.run(scenario())
