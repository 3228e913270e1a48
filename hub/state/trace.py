# SPDX-License-Identifier: Apache-2.0
"""The recent past of one number, in memory: the readings of a meter in the last hours, for verdicts and charts."""

from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from kernel.clock import to_datetime
from kernel.span import floor_ms

QUARTER_MS = 900_000


class Trace:
    """A ring of (at_ms, value) in order of time; an older sample than the last is not taken."""

    def __init__(self, most: int) -> None:
        self._at_ms = np.zeros(most, dtype=np.int64)
        self._value = np.zeros(most, dtype=np.float64)
        self._next = 0
        self._count = 0

    def add(self, at_ms: int, value: float) -> None:
        if self._count and at_ms <= int(self._at_ms[self._next - 1]):
            return
        self._at_ms[self._next], self._value[self._next] = at_ms, value
        self._next = (self._next + 1) % len(self._at_ms)
        self._count = min(self._count + 1, len(self._at_ms))

    def last(self) -> tuple[int, float] | None:
        """The newest sample, or None before the first."""
        if not self._count:
            return None
        return int(self._at_ms[self._next - 1]), float(self._value[self._next - 1])

    def between(self, start_ms: int, end_ms: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Samples of [start_ms, end_ms) in order, copies, shape [sample]."""
        order = (np.arange(self._count) + self._next - self._count) % len(self._at_ms)
        at_ms, value = self._at_ms[order], self._value[order]
        first, last = np.searchsorted(at_ms, (start_ms, end_ms))
        return at_ms[first:last], value[first:last]


class MonthPeak:
    """The highest quarter-hour mean of the running month in the site's zone: what a demand charge is counted on."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._month = (0, 0)
        self._quarter_ms = 0
        self._sum_w = 0.0
        self._count = 0
        self._highest_w = 0.0

    def add(self, at_ms: int, power_w: float) -> None:
        """One sample of the main meter, in order of time."""
        quarter_ms = floor_ms(at_ms, QUARTER_MS)
        if quarter_ms != self._quarter_ms:
            self._close(quarter_ms)
        self._sum_w += power_w
        self._count += 1

    def _close(self, quarter_ms: int) -> None:
        if self._count:
            self._highest_w = max(self._highest_w, self._sum_w / self._count)
        local = to_datetime(quarter_ms).astimezone(self._zone)
        if (local.year, local.month) != self._month:
            self._month, self._highest_w = (local.year, local.month), 0.0
        self._quarter_ms, self._sum_w, self._count = quarter_ms, 0.0, 0

    def highest_w(self, now_ms: int) -> float:
        """The month's highest closed quarter so far; 0 in a new month."""
        local = to_datetime(now_ms).astimezone(self._zone)
        return self._highest_w if (local.year, local.month) == self._month else 0.0
