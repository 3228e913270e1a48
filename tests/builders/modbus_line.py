# SPDX-License-Identifier: Apache-2.0
"""A Modbus line to a server of a test, and a source that reads it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from kernel.clock import system_clock
from telemetry.device.profile import Profile, load
from telemetry.io.modbus import Address, ModbusLine, ModbusSource

CONFIGS = Path(__file__).parents[2] / "configs" / "profiles"
IEM3000 = load(CONFIGS / "meters" / "schneider_iem3000.toml")


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


async def left(counts: dict[str, int]) -> None:
    """Until the server has seen the last connection go."""
    async with asyncio.timeout(10):
        while counts["open"]:
            await asyncio.sleep(0.01)
