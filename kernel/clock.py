# SPDX-License-Identifier: Apache-2.0
"""The only source of time: system clock when live, event-loop time in simulation and replay.

An instant is an `int`: milliseconds since 1970-01-01 UTC, named `*_ms`. A duration is a `float` of seconds, named `*_s`. Live,
`now_ms` reads the system's clock and `monotonic_s` never steps. In virtual time both are derived from the event loop's time, so
that a test replaces one clock only.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from kernel.units import MS_PER_HOUR as MS_PER_HOUR
from kernel.units import MS_PER_S as MS_PER_S


@dataclass(frozen=True, slots=True)
class Clock:
    """Two readings of time: `now_ms()` (UTC, may step) and `monotonic_s()` (never steps, no epoch)."""

    now_ms: Callable[[], int]
    monotonic_s: Callable[[], float]


def system_clock() -> Clock:
    """Clock of a live hub."""
    return Clock(now_ms=lambda: time.time_ns() // 1_000_000, monotonic_s=time.monotonic)


def loop_clock(epoch_ms: int, loop_time_s: Callable[[], float]) -> Clock:
    """Clock of virtual time: `now = epoch + loop.time()`; `loop_time_s` starts at 0."""
    return Clock(now_ms=lambda: epoch_ms + round(loop_time_s() * MS_PER_S), monotonic_s=loop_time_s)


def cpu_s() -> float:
    """CPU seconds used by this process: for benchmarks and self-measurement, never for decisions."""
    return time.process_time()


class ClockWatch:
    """Detection of steps of the system's clock.

    `divergence_s()` is how far the wall clock moved relative to the monotonic clock since the last call; the caller journals an
    event when this exceeds its tolerance.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wall_ms = clock.now_ms()
        self._mono_s = clock.monotonic_s()

    def divergence_s(self) -> float:
        wall_ms, mono_s = self._clock.now_ms(), self._clock.monotonic_s()
        drift_s = (wall_ms - self._wall_ms) / MS_PER_S - (mono_s - self._mono_s)
        self._wall_ms, self._mono_s = wall_ms, mono_s
        return drift_s


def to_datetime(at_ms: int) -> datetime:
    """An instant as an aware UTC datetime."""
    return datetime.fromtimestamp(at_ms / MS_PER_S, UTC)


def from_datetime(at: datetime) -> int:
    """An aware datetime as an instant. ValueError where it has no zone: a zone would be a guess."""
    if at.tzinfo is None:
        raise ValueError(f"{at.isoformat()} has no time zone; add one, for example {at.isoformat()}Z")
    return round(at.timestamp() * MS_PER_S)


def iso(at_ms: int) -> str:
    """An instant as RFC 3339 UTC with milliseconds, for files and people."""
    return to_datetime(at_ms).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % MS_PER_S:03d}Z"


def from_iso(text: str) -> int:
    """The inverse of `iso`; any RFC 3339 offset is accepted. ValueError where the text has no offset."""
    return from_datetime(datetime.fromisoformat(text))
