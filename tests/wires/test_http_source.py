# SPDX-License-Identifier: Apache-2.0
"""An Antspace container over real HTTP, well and ill."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from kernel.clock import system_clock
from kernel.errors import TransportError
from kernel.reading import Absence, Missing
from telemetry.collect.source import Tier
from telemetry.device.codec import encode
from telemetry.device.profile import load
from telemetry.io.http_source import HttpSource

ANTSPACE = load(Path(__file__).parents[2] / "configs" / "profiles" / "containers" / "antspace_hk3.toml")


@contextlib.asynccontextmanager
async def server(status: int, body: bytes, *, delay_s: float = 0.0) -> AsyncIterator[tuple[str, list[str]]]:
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                asked.append(head.split(b" ")[1].decode())
                await asyncio.sleep(delay_s)
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
                await writer.drain()

    made = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{made.sockets[0].getsockname()[1]}", asked
    finally:
        made.close()


def test_an_antspace_container_is_read() -> None:
    params = {
        "distribution_box1_power": 350_000, "distribution_box2_power": 348_000.5, "supply_liquid_temp": 43,
        "return_liquid_temp": 49, "antbox_internal_temp": 39, "antbox_internal_humidity": 54,
        "circulating_pump": True, "cooling_tower_fan1": False,
    }  # fmt: skip

    async def scenario() -> None:
        async with server(200, orjson.dumps({"ok": True, "params": params})) as (url, asked):
            source = HttpSource("h/s/c", ANTSPACE, url, system_clock())
            reading = await source.read(Tier.FAST)
            await source.close()
            assert asked == ["/cooler?operation=coolerState"]
            assert reading.number("power_w") == 698_000.5
            assert reading.get("pump_state") == "on" and reading.get("fan_state") == "off"
            flow = reading.get("flow_lpm")
            assert isinstance(flow, Missing) and flow.reason is Absence.NOT_REPORTED

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("status", "body", "delay_s", "reason"),
    [
        (500, b"{}", 0.0, Absence.REFUSED),
        (200, b"<html>", 0.0, Absence.MALFORMED),
        (200, b" " * 2_000_000, 0.0, Absence.MALFORMED),
        (200, b"{}", 2.0, Absence.TIMED_OUT),
    ],
)
def test_a_faulty_container_is_reported_with_its_reason(
    status: int, body: bytes, delay_s: float, reason: Absence
) -> None:
    async def scenario() -> None:
        async with server(status, body, delay_s=delay_s) as (url, _):
            source = HttpSource("h/s/c", ANTSPACE, url, system_clock(), timeout_s=0.3 if delay_s else 10.0)
            with pytest.raises(TransportError) as error:
                await source.read(Tier.FAST)
            await source.close()
            assert error.value.reason is reason

    asyncio.run(scenario())


def test_one_missing_box_makes_the_power_absent_never_smaller() -> None:
    document = encode(ANTSPACE, {"power_w": 500_000.0, "temp_supply_c": 40.0})["cooler"]
    del document["params"]["distribution_box2_power"]

    async def scenario() -> None:
        async with server(200, orjson.dumps(document)) as (url, _):
            source = HttpSource("h/s/c", ANTSPACE, url, system_clock())
            reading = await source.read(Tier.FAST)
            await source.close()
            assert reading.number("power_w") is None and reading.number("temp_supply_c") == 40.0

    asyncio.run(scenario())
