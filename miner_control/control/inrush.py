# SPDX-License-Identifier: Apache-2.0
"""Inrush limit: rate of rise of power kept when commands leave, and a semaphore with priorities.

A wake rises when it is sent. A restart (reboot, new image, previous image) falls first and rises when the board comes up,
minutes later and at an unknown moment; several restarted boards may come up at once. A restart is therefore booked from
its release until the board is up: booked restarts together are at most half of the rise allowed within `WINDOW_S`, and
wakes meanwhile use the rest. Whenever the boards come up, no window of that length rises above the limit.
"""

import asyncio
import heapq
from typing import Final

from kernel.clock import Clock
from kernel.reading import Reading
from miner_control.fleet.command import (
    InstallFirmware,
    Intent,
    PowerPercent,
    PowerTarget,
    Reboot,
    RollBackFirmware,
    SetMode,
    SwitchLoad,
    Wake,
)
from miner_control.fleet.envelope import Envelope

WINDOW_S: Final = 5.0
"""Length of the window over which a rise is judged against the limit."""
_EVENNESS: Final = 0.95
_RESTART_SHARE: Final = 0.5


class PrioritySemaphore:
    """At most `limit` holders at once; waiting tasks enter by priority (low number first), then by arrival."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._count = 0
        self._queue: list[tuple[int, int, asyncio.Future[None]]] = []

    async def acquire(self, priority: int) -> None:
        if self._free > 0 and not self._queue:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._queue, (priority, self._count, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()
            raise

    def release(self) -> None:
        while self._queue:
            turn = heapq.heappop(self._queue)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Inrush:
    """Spaces rises of power so that at most `limit_w_per_s` is switched on per second (None: no limit).

    One at a time, each counted from its release: time lost in a stall is not made up for. Writes reach the wire less evenly
    than they were released, so a share of the limit is kept in reserve.
    """

    def __init__(self, limit_w_per_s: float | None, clock: Clock) -> None:
        self._pace_w_per_s = None if limit_w_per_s is None else limit_w_per_s * _EVENNESS
        self._clock = clock
        self._lane = asyncio.Lock()
        self._next_s = 0.0
        self._turns = PrioritySemaphore(1)
        self._freed = asyncio.Event()
        self._restarting_w = 0.0

    @property
    def restarting_w(self) -> float:
        """Power of booked restarts, which may come up at any moment, in watts."""
        return self._restarting_w

    async def wait(self, rise_w: float) -> None:
        """Wait for the turn of a rise that follows at once."""
        if self._pace_w_per_s is None or rise_w <= 0:
            return
        async with self._lane:
            early_s = self._next_s - self._clock.monotonic_s()
            if early_s > 0:
                await asyncio.sleep(early_s)
            pace_w_per_s = self._pace_w_per_s - self._kept_back(self._pace_w_per_s)
            self._next_s = self._clock.monotonic_s() + rise_w / pace_w_per_s

    async def wait_to_restart(self, rise_w: float, priority: int = 5) -> None:
        """Wait until one more restart fits and has its turn; it is booked until `came_up`. Urgent ones are first, then by
        arrival; a single restart always fits."""
        if self._pace_w_per_s is None or rise_w <= 0:
            return
        room_w = _RESTART_SHARE * self._pace_w_per_s * WINDOW_S
        await self._turns.acquire(priority)
        try:
            while self._restarting_w > 0 and self._restarting_w + rise_w > room_w:
                self._freed.clear()
                await self._freed.wait()
            self._restarting_w += rise_w
        finally:
            self._turns.release()
        try:
            await self.wait(rise_w)
        except asyncio.CancelledError:
            self._unbook(rise_w)
            raise

    def came_up(self, rise_w: float, after_s: float = 0.0) -> None:
        """End the booking of one restart, now or `after_s` later, when it has had time to come up."""
        if self._pace_w_per_s is None or rise_w <= 0:
            return
        if after_s > 0:
            asyncio.get_running_loop().call_later(after_s, self._unbook, rise_w)
        else:
            self._unbook(rise_w)

    def _unbook(self, rise_w: float) -> None:
        self._restarting_w = max(0.0, self._restarting_w - rise_w)
        self._freed.set()

    def _kept_back(self, pace_w_per_s: float) -> float:
        """The part of the rate reserved for booked restarts."""
        return min(_RESTART_SHARE * pace_w_per_s, self._restarting_w / WINDOW_S)


def power_rise_w(intent: Intent, envelope: Envelope, before: Reading | None) -> float:
    """Power that a command may switch on at once, in watts, for the inrush limit."""
    now_w = before.number("power_w") if before is not None else None
    match intent:
        case Wake() | Reboot() | InstallFirmware() | RollBackFirmware():
            # A board that comes up again starts to hash: many at once are many wakes at once.
            return envelope.mode(envelope.normal).power_w - envelope.sleep_w
        case SwitchLoad(_, True):
            return envelope.modes[0].power_w
        case SetMode(mode) if mode in envelope.names:
            return envelope.mode(mode).power_w - (now_w if now_w is not None else envelope.modes[0].power_w)
        case PowerTarget(power_w):
            return power_w - (now_w if now_w is not None else envelope.modes[0].power_w)
        case PowerPercent(percent):
            nominal_w = envelope.mode(envelope.normal).power_w
            return nominal_w * percent / 100 - (now_w if now_w is not None else nominal_w)
        case _:
            return 0.0
