# SPDX-License-Identifier: Apache-2.0
"""Who may go now: a bounded number at once, and rises of power no steeper than the site bears.

A wake rises when it is sent. A restart (reboot, new image, the image before) falls first and rises when the board comes up,
minutes later and at a moment that nobody knows; what has been told to restart may come up all at once. So it is booked from
the moment it is let go until it is up: together never more than half of what the limit lets rise within `WINDOW_S`, and
wakes meanwhile have the rest of the pace. Whenever the boards come up, no window of that length rises above the limit.
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
"""Over how long a rise is judged against the limit."""
_EVENNESS: Final = 0.95
_RESTART_SHARE: Final = 0.5


class Gate:
    """At most `limit` inside at once; whoever waits enters by priority (low number first), then in order of coming."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._count = 0
        self._queue: list[tuple[int, int, asyncio.Future[None]]] = []

    async def enter(self, priority: int) -> None:
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
                self.leave()
            raise

    def leave(self) -> None:
        while self._queue:
            turn = heapq.heappop(self._queue)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Inrush:
    """Spreads rises of power so that no more than `limit_w_per_s` is switched on per second (None: free).

    One at a time, each counted from the moment it was let go: after a stall nothing is made up for. Writes leave the wire
    less evenly than they were let go, so a share of the limit is kept back.
    """

    def __init__(self, limit_w_per_s: float | None, clock: Clock) -> None:
        self._pace_w_per_s = None if limit_w_per_s is None else limit_w_per_s * _EVENNESS
        self._clock = clock
        self._lane = asyncio.Lock()
        self._next_s = 0.0
        self._door = Gate(1)
        self._room = asyncio.Event()
        self._restarting_w = 0.0

    @property
    def restarting_w(self) -> float:
        """What has been told to restart and may come up at any moment, in watts."""
        return self._restarting_w

    async def wait(self, rise_w: float) -> None:
        """Until it is the turn of a rise that comes at once."""
        if self._pace_w_per_s is None or rise_w <= 0:
            return
        async with self._lane:
            early_s = self._next_s - self._clock.monotonic_s()
            if early_s > 0:
                await asyncio.sleep(early_s)
            pace_w_per_s = self._pace_w_per_s - self._kept_back(self._pace_w_per_s)
            self._next_s = self._clock.monotonic_s() + rise_w / pace_w_per_s

    async def wait_to_restart(self, rise_w: float, priority: int = 5) -> None:
        """Until there is room for one more restart, and it is its turn; it is booked until `came_up`. The urgent are first in
        line, then who came first; one alone always has room."""
        if self._pace_w_per_s is None or rise_w <= 0:
            return
        room_w = _RESTART_SHARE * self._pace_w_per_s * WINDOW_S
        await self._door.enter(priority)
        try:
            while self._restarting_w > 0 and self._restarting_w + rise_w > room_w:
                self._room.clear()
                await self._room.wait()
            self._restarting_w += rise_w
        finally:
            self._door.leave()
        try:
            await self.wait(rise_w)
        except asyncio.CancelledError:
            self._leave(rise_w)
            raise

    def came_up(self, rise_w: float, after_s: float = 0.0) -> None:
        """The booking of one restart ends, now or once it has had the time to come up."""
        if self._pace_w_per_s is None or rise_w <= 0:
            return
        if after_s > 0:
            asyncio.get_running_loop().call_later(after_s, self._leave, rise_w)
        else:
            self._leave(rise_w)

    def _leave(self, rise_w: float) -> None:
        self._restarting_w = max(0.0, self._restarting_w - rise_w)
        self._room.set()

    def _kept_back(self, pace_w_per_s: float) -> float:
        """The pace that belongs to those who may come up by themselves."""
        return min(_RESTART_SHARE * pace_w_per_s, self._restarting_w / WINDOW_S)


def power_rise_w(intent: Intent, envelope: Envelope, before: Reading | None) -> float:
    """How much power a command may switch on at once, for the inrush limit."""
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
