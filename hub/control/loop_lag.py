# SPDX-License-Identifier: Apache-2.0
"""Lag of the event loop: how much later than asked a turn comes. Everything that the hub does waits as long."""

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from hub.journal.payloads import HubLate
from kernel.clock import Clock
from kernel.event import EventKind
from telemetry.wire.exposition import Figure

EVERY_S: Final = 0.1
KEPT: Final = 6_000
"""Samples of about ten minutes."""
LATE_S: Final = 1.0
"""Lag above which an order would be seen to wait: an alarm."""
QUIET_S: Final = 60.0
"""Least time between two alarms."""


class LoopLag:
    """A duty that measures its own lateness. `emit(kind, body)` journals an event of the hub."""

    name = "event loop"
    every_s = EVERY_S

    def __init__(self, clock: Clock, emit: Callable[[EventKind, HubLate], Any]) -> None:
        self._clock, self._emit = clock, emit
        self._before_s: float | None = None
        self._said_s = -QUIET_S
        self._lags_s: deque[float] = deque(maxlen=KEPT)
        self._late = 0

    async def do(self) -> None:
        """One sample; an alarm where it is later than LATE_S."""
        now_s = self._clock.monotonic_s()
        if self._before_s is not None:
            lag_s = max(0.0, now_s - self._before_s - self.every_s)
            self._lags_s.append(lag_s)
            if lag_s > LATE_S:
                self._late += 1
                if now_s - self._said_s >= QUIET_S:
                    self._said_s = now_s
                    self._emit(EventKind.HUB_LATE, {"lag_s": round(lag_s, 3)})
        self._before_s = now_s

    def figures(self) -> list[Figure]:
        """Lag over the last ten minutes, and how often it was above a second since the start."""
        if not self._lags_s:
            return []
        lags_s = np.array(self._lags_s)
        return [
            Figure("loop_lag_p99_s", float(np.quantile(lags_s, 0.99)), "Lag of the event loop, 99 % of ten minutes."),
            Figure("loop_lag_max_s", float(lags_s.max()), "Greatest lag of the event loop in ten minutes."),
            Figure("loop_late", float(self._late), f"Lags of the event loop above {LATE_S:g} s.", counter=True),
        ]
