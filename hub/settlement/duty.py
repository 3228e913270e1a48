# SPDX-License-Identifier: Apache-2.0
"""Periodic settlement task; what had to wait is reported as the feed's fault. Closes the books of a period by condition."""

import asyncio
import contextlib
from collections.abc import Callable

from typing_extensions import TypedDict

from hub.settlement.round import FRESH_MS, RoundResult, SettlementContext, settle_once
from kernel.clock import MS_PER_S, iso
from kernel.errors import ConfigError
from treasury.open_items import OpenItem

PAUSE_S = 0.5
"""Between two rounds while the books are being closed; once the pool has answered they ask the readings alone."""


class OpenPayout(TypedDict):
    """A payout that is not wholly settled: `step` (receipt, division, sale, tenge) and why it waits; `amount_sat` is what
    that step moves, `since_ms` the time of the payout, `key` the pool's own name of it."""

    payout: str
    key: str
    step: str
    amount_sat: int
    since_ms: int
    reason: str


class SettleDuty:
    """`last` is the treasury after the newest round. Mining is settled from the billing meter's first reading on: `begin` gives
    that instant, None before it; then there is nothing to settle yet. `failure`: why the newest round did not end."""

    name = "settlement"

    def __init__(self, desk: SettlementContext, every_s: float, begin: Callable[[], int | None]) -> None:
        self.every_s = every_s
        self.last: RoundResult | None = None
        self.failure = ""
        self._desk, self._begin = desk, begin
        self._begun = self._over = False
        self._round = asyncio.Lock()

    async def do(self) -> None:
        """One round, never two at once: they would divide one payout by two prices. Raises ConfigError with what is held and
        does not just wait for the meter: shown until it is gone."""
        async with self._round:
            if self._desk.until_ms is None:
                await self._do()

    async def close_books(self, patience_s: float = FRESH_MS / MS_PER_S) -> int:
        """Settle all payouts before this instant, which is returned, and none after it: they belong to the next period.

        Rounds go on until nothing is open, or until one that began after `patience_s`: however slow the machine, that one
        has judged all that is left as no longer fresh, and `last` names it with the reason. Nothing is booked after that.
        """
        clock = self._desk.clock
        end_ms = self._desk.until_ms = clock.now_ms()
        end_s = clock.monotonic_s()
        while True:
            begun_s = clock.monotonic_s()
            async with self._round:
                with contextlib.suppress(ConfigError, OSError):
                    await self._do()
            if self.closed or begun_s - end_s >= patience_s:
                return end_ms
            await asyncio.sleep(PAUSE_S)

    @property
    def closed(self) -> bool:
        """Whether the newest round left nothing open and nothing failed."""
        return self.last is not None and self.last.closed and not self.failure

    def open_items(self) -> tuple[list[OpenPayout] | None, list[str]]:
        """(payouts not wholly settled, faults), for status and figures; the first is None before any round was made."""
        failed = [self.failure] if self.failure else []
        if self.last is None:
            return None, failed
        return [_line(item) for item in self.last.waiting], [*map(str, self.last.held), *failed]

    async def _do(self) -> None:
        try:
            if not self._begun:
                since_ms = await self._desk.offload(self._begin)
                if since_ms is None:
                    self.failure = "settle: nothing is settled before the billing meter's first reading"
                    return
                self._desk.since_ms, self._begun = since_ms, True
            self.last = await settle_once(self._desk)
        except (ConfigError, OSError) as error:
            self.failure = f"settle: the round was cut short: {error}"
            raise
        self.failure = ""
        if self.last.held:
            raise ConfigError(list(self.last.held))


def _line(item: OpenItem) -> OpenPayout:
    return {
        "payout": str(item.payout), "key": item.key, "step": item.step.value, "amount_sat": item.amount_sat,
        "since_ms": item.since_ms, "reason": item.reason,
    }  # fmt: skip


def open_text(item: OpenPayout) -> str:
    """An open payout as a sentence."""
    since = iso(item["since_ms"])
    return f"{item['amount_sat']} sat of payout {item['payout']}, {item['step']} open since {since}: {item['reason']}"
