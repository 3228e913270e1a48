# SPDX-License-Identifier: Apache-2.0
"""Uploads of firmware to miners of the twin over their real ports."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from kernel.clock import system_clock
from kernel.receipt import Receipt, Unknown
from miner_control.control.actuator import Actuator
from miner_control.dialect import DIALECTS
from miner_control.fleet.command import InstallFirmware, Intent, command
from miner_control.fleet.driver import Access
from miner_control.fleet.envelope import Envelope, Mode
from miner_control.fleet.miner import Miner
from miner_control.io.exchanges import Exchanges
from miner_control.io.miner_socket import MinerPort
from tests.builders.commands import carry_out, journalled
from tests.builders.firmware_image import make_image
from tests.twins import Twin

ABLE = sorted(name for name, dialect in DIALECTS.items() if "InstallFirmware" in dialect.supports())
OURS = {"antminer": "Sat Nov 14 09:12:00 CST 2026"}


def of(dialect: str, version: str = "", size: int = 200_000) -> InstallFirmware:
    """An image that this dialect's units take."""
    version = version or OURS.get(dialect, "9.9.9")
    data = make_image(dialect, version, size)
    return InstallFirmware(version, hashlib.sha256(data).hexdigest(), data)


class Hands:
    """An actuator over the real ports of a twin."""

    def __init__(self, twin: Twin, able: frozenset[str] | None = None, **how: Any) -> None:
        self.exchanges = Exchanges()
        self.ports = {reported["device"]: self._port(twin, reported) for reported in twin.miners}
        every = frozenset(name for dialect in DIALECTS.values() for name in dialect.supports())
        envelope = Envelope(
            "M",
            "F",
            (Mode("normal", 3500.0, 2e14),),
            "normal",
            20.0,
            1.0,
            1.0,
            1.0,
            1.0,
            1.0,
            commands=every if able is None else able,
        )
        self.actuator = Actuator(
            self.ports, system_clock(), lambda device: envelope, lambda *receipt: None, pace_s=(0.05, 0.2), **how
        )
        self._tick = 0

    def _port(self, twin: Twin, reported: dict[str, Any]) -> MinerPort:
        dialect = reported["dialect"]
        miner = Miner(
            reported["device"],
            reported["model"],
            dialect,
            reported["host"],
            tuple(reported["ports"].items()),
            reported["feeder"],
        )
        access = Access(twin.ready["accounts"].get(dialect, "root"), twin.ready["password"], dict(miner.ports))
        return MinerPort(miner, DIALECTS[dialect], access, system_clock(), self.exchanges)

    async def order(self, intents: dict[str, Intent], deadline_s: float = 20.0) -> dict[str, Receipt]:
        self._tick += 1
        asked = [
            command(self._tick, device, intent, "test", deadline_s=deadline_s) for device, intent in intents.items()
        ]
        receipts = await carry_out(self.actuator, journalled(asked))
        return {one.device: receipts[one.id] for one in asked}

    async def order_until_heard(self, intents: dict[str, Intent]) -> dict[str, Receipt]:
        """Ordered for 3 s, and for longer to whom a busy machine kept from answering in that time."""
        receipts = await self.order(intents, 3.0)
        unheard = {
            device: intents[device]
            for device, receipt in receipts.items()
            if isinstance(receipt, Unknown) and "no answer since" in receipt.text
        }
        return receipts | (await self.order(unheard, 30.0) if unheard else {})


@contextlib.asynccontextmanager
async def hands_on(twin: Twin, **how: Any) -> AsyncIterator[Hands]:
    hands = Hands(twin, **how)
    try:
        yield hands
    finally:
        await hands.actuator.close()
        hands.exchanges.close()


def play(twin: Twin, main: Callable[[Hands], Awaitable[Any]], **how: Any) -> Any:
    async def all_of_it() -> Any:
        async with hands_on(twin, **how) as hands:
            return await main(hands)

    return asyncio.run(all_of_it())


def device(twin: Twin, dialect: str, at: int) -> str:
    return [reported["device"] for reported in twin.miners if reported["dialect"] == dialect][at]
