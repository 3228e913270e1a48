# SPDX-License-Identifier: Apache-2.0
"""Make-believe drivers behind the port: they obey, refuse, lie, vanish or dawdle, and count what reaches them."""

import asyncio
import json
from collections.abc import Coroutine
from typing import Any, TypeVar

from hub.app.virtual_time import VirtualLoop, run
from kernel.clock import Clock, loop_clock
from kernel.errors import TransportError
from kernel.reading import Absence, Field, Reading
from kernel.receipt import Accepted, Receipt, Refused, Unknown, Unreachable
from miner_control.fleet.command import Intent, Pool, PowerTarget, Reboot, SetMode, SetPools, Sleep, Wake
from miner_control.fleet.driver import MinerDriver
from telemetry.collect.source import Tier

T = TypeVar("T")
EPOCH_MS = 1_800_000_000_000


def in_virtual_time(main: "Coroutine[Any, Any, T]", loop: VirtualLoop) -> T:
    return run(main, loop)


def clock_of(loop: VirtualLoop) -> Clock:
    return loop_clock(EPOCH_MS, loop.time)


class FakeMiner(MinerDriver):
    """One miner with power, mode and state; `trait` says how it misbehaves."""

    def __init__(self, device: str, clock: Clock, trait: str = "obeys", *, answer_s: float = 0.1, down_s: float = 5.0):
        self.name, self._clock, self.trait = device, clock, trait
        self.answer_s, self.down_s = answer_s, down_s
        self.state, self.mode, self.power_w, self.limit_w = "hashing", "normal", 3000.0, 3000.0
        self.pools: tuple[Pool, ...] = ()
        self.change_s: float | None = None
        self.boot_s = -1000.0
        self.writes: list[tuple[float, Intent]] = []
        self.reads = 0
        self.busy = 0

    device = property(lambda self: self.name)
    kind = property(lambda self: "miner")
    lane = property(lambda self: self.name)

    def _now_s(self) -> float:
        return self._clock.monotonic_s()

    async def carry_out(self, intent: Intent, deadline_s: float) -> Receipt:
        self.busy += 1
        assert self.busy == 1, "asked twice at once"
        try:
            await asyncio.sleep(self.answer_s)
        finally:
            self.busy -= 1
        if self.trait == "dead" or (self.trait == "dead for a minute" and self._now_s() < 60):
            return Unreachable("refused")
        self.writes.append((self._now_s(), intent))
        if self.trait == "refuses":
            return Refused("45", "access denied")
        if self.trait == "loses replies":
            self._take(intent)
            return Unknown("sent, no answer")
        if self.trait != "ignores":
            self._take(intent)
        if self.trait == "goes silent":
            self.trait = "silent"
        return Accepted("ok")

    def _take(self, intent: Intent) -> None:
        self.change_s, self.asked = self._now_s() + self.down_s, intent
        if isinstance(intent, Reboot):
            self.boot_s = self._now_s()

    def _settle(self) -> None:
        if self.change_s is None or self._now_s() < self.change_s:
            return
        match self.asked:
            case Sleep():
                self.state, self.power_w = "asleep", 20.0
            case Wake():
                self.state, self.power_w = "ramping", 400.0
            case SetMode(mode):
                self.state, self.mode, self.power_w = "hashing", mode, 1800.0 if mode == "low" else 3000.0
            case SetPools(pools):
                self.pools = pools
            case PowerTarget(power_w):
                self.limit_w = power_w
                self.power_w = 3000.0 if self.trait == "echoes" else power_w
        self.change_s = None

    async def read(self, tier: Tier) -> Reading:
        self.reads += 1
        await asyncio.sleep(self.answer_s)
        self._settle()
        if self.trait in ("dead", "silent"):
            raise TransportError(Absence.UNREACHABLE, "refused")
        values: dict[str, Field] = {
            "state": self.state, "mode": self.mode, "power_w": self.power_w, "power_limit_w": self.limit_w,
            "uptime_s": self._now_s() - self.boot_s,
        }  # fmt: skip
        if tier is Tier.SLOW:
            values["pools_json"] = json.dumps([{"url": pool.url, "user": pool.user} for pool in self.pools])
        at_ms = EPOCH_MS - 60_000 if self.trait == "old samples" else self._clock.now_ms()
        return Reading(self.device, "miner", at_ms, values)
