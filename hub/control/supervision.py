# SPDX-License-Identifier: Apache-2.0
"""Supervised tasks of a running hub: each is in one table with its state, none ends in silence.

A task that fails for a reason of the outside world is reported once and tried again. A task that talks to the outside and fails
in any other way (a defect met by somebody's bytes) is restarted with back-off, and that is an alarm; only BrokenInvariant ends
the hub. The core (control step, record, order watch) ends the hub on such a failure: the journal is where it starts again.
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog

from hub.journal.payloads import TaskFailed
from kernel.clock import Clock
from kernel.errors import BrokenInvariant, ConfigError, DecodeError, TransportError
from kernel.event import EventKind

log = structlog.get_logger("hub")

OUTSIDE = (TransportError, DecodeError, ConfigError, OSError, TimeoutError)
"""Failures that the outside world causes in the course of things."""

AFTER_FAILURE_S = 1.0
"""Least pause after a failed turn: the control loop keeps its own period, within its turn, and would spin."""
LONGEST_PAUSE_S = 300.0
"""Longest pause before a task that fails again and again is restarted."""


@dataclass(slots=True)
class TaskHealth:
    """State of a task: since when it is down and why, or when it was last well. `failures` counts its unforeseen ends since it
    was last well, `restarts` all of them."""

    well_ms: int | None = None
    down_ms: int | None = None
    text: str = ""
    failures: int = 0
    restarts: int = 0

    @property
    def state(self) -> str:
        """`ok`, `down` (the outside world does not answer), or `failed` (restarted after an unforeseen end)."""
        return "ok" if self.down_ms is None else "failed" if self.failures else "down"


class Supervisor:
    """Runs tasks and keeps the table of their state. `emit(kind, body)` journals an event of the hub."""

    def __init__(
        self, board: dict[str, TaskHealth], clock: Clock, emit: Callable[[EventKind, TaskFailed], Any]
    ) -> None:
        self._board, self._clock, self._emit = board, clock, emit

    async def every(
        self, name: str, every_s: float, work: Callable[[], Awaitable[None]], *, core: bool = False
    ) -> None:
        """Do the work, then wait what is left of the period; late turns are not made up for."""
        health = self._board.setdefault(name, TaskHealth())
        while True:
            begun_s, pause_s = self._clock.monotonic_s(), every_s
            failed = await self._turn(name, health, work, core)
            if failed is not None:
                pause_s = max(every_s, failed)
            else:
                self._well(name, health)
            await asyncio.sleep(max(0.0, pause_s - (self._clock.monotonic_s() - begun_s)))

    async def forever(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run what ends only by a failure, and begin it again after each. It counts as well while it runs."""
        health = self._board.setdefault(name, TaskHealth())
        while True:
            health.well_ms, health.down_ms = self._clock.now_ms(), None
            pause_s = await self._turn(name, health, run, core=False)
            await asyncio.sleep(AFTER_FAILURE_S if pause_s is None else pause_s)

    async def _turn(
        self, name: str, health: TaskHealth, work: Callable[[], Awaitable[None]], core: bool
    ) -> float | None:
        """Seconds to wait after a failure; None after a good turn."""
        try:
            await work()
        except OUTSIDE as error:
            self._down(name, health, str(error) or type(error).__name__)
            return AFTER_FAILURE_S
        except BrokenInvariant:
            raise
        except Exception as error:
            if core:
                raise
            health.failures += 1
            health.restarts += 1
            text = f"{type(error).__name__}: {error}"[:300]
            pause_s = min(AFTER_FAILURE_S * 2.0 ** min(health.failures - 1, 20), LONGEST_PAUSE_S)
            if health.failures == 1:
                log.error(
                    "task failed", what=name, why=text, where="".join(traceback.format_tb(error.__traceback__)[-3:])
                )
                self._emit(EventKind.TASK_FAILED, {"task": name, "error": text, "restart_s": pause_s})
            self._down(name, health, text)
            return pause_s
        return None

    def _down(self, name: str, health: TaskHealth, text: str) -> None:
        if health.down_ms is None:
            health.down_ms = self._clock.now_ms()
            log.warning("down", what=name, why=text)
        health.text = text

    def _well(self, name: str, health: TaskHealth) -> None:
        if health.down_ms is not None:
            log.info("returned", what=name, after_s=round((self._clock.now_ms() - health.down_ms) / 1000, 1))
        health.well_ms, health.down_ms, health.text, health.failures = self._clock.now_ms(), None, "", 0
