# SPDX-License-Identifier: Apache-2.0
"""The treasury's place in the hub: a round each so often; what had to wait is told as the feed's fault."""

import asyncio
import contextlib
from collections.abc import Callable

from hub.settle import Desk, Settled, settle_once
from kernel.errors import ConfigError


class SettleDuty:
    """`last` is the treasury after the newest round. Mining is settled from the billing meter's first word on: `begin` tells
    that instant, None before it; then there is nothing to settle yet."""

    name = "settle"

    def __init__(self, desk: Desk, every_s: float, begin: Callable[[], int | None]) -> None:
        self.every_s = every_s
        self.last: Settled | None = None
        self._desk, self._begin = desk, begin
        self._begun = self._over = False
        self._round = asyncio.Lock()

    async def do(self) -> None:
        """One round, never two at once: they would divide one payout by two prices. Raises ConfigError with what is held and
        does not just wait for the meter: shown until it is gone."""
        async with self._round:
            if not self._over:
                await self._do()

    async def close_books(self) -> bool:
        """One more round. Where nothing is left to wait for it was the last one, and True: what is told then stays so."""
        async with self._round:
            with contextlib.suppress(ConfigError):
                await self._do()
            self._over = self.last is not None and not self.last.held and not self.last.waiting
            return self._over

    async def _do(self) -> None:
        if not self._begun:
            since_ms = self._begin()
            if since_ms is None:
                return
            self._desk.since_ms, self._begun = since_ms, True
        self.last = await settle_once(self._desk)
        faults = [fault for fault in self.last.held if fault not in self.last.waiting]
        if faults:
            raise ConfigError(faults)
