# SPDX-License-Identifier: Apache-2.0
"""The recent past of one number, in memory: what the meter said in the last hours, for verdicts and charts."""

import numpy as np
from numpy.typing import NDArray


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
