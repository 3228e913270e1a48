# SPDX-License-Identifier: Apache-2.0
"""Half-open intervals of UTC time, and slots for planning power and billing energy."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from kernel.clock import MS_PER_HOUR, MS_PER_S, from_datetime, iso


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Interval [start_ms, end_ms): the start is included, the end is not."""

    start_ms: int
    end_ms: int

    def __post_init__(self) -> None:
        if self.end_ms < self.start_ms:
            raise ValueError(f"span ends {iso(self.end_ms)} before it starts {iso(self.start_ms)}")

    @property
    def seconds(self) -> float:
        return (self.end_ms - self.start_ms) / MS_PER_S

    @property
    def hours(self) -> float:
        return (self.end_ms - self.start_ms) / MS_PER_HOUR

    def holds(self, at_ms: int) -> bool:
        return self.start_ms <= at_ms < self.end_ms

    def overlap(self, other: "Span") -> "Span | None":
        """The common part, or None where the spans only touch or are apart."""
        start_ms, end_ms = max(self.start_ms, other.start_ms), min(self.end_ms, other.end_ms)
        return Span(start_ms, end_ms) if start_ms < end_ms else None

    def __str__(self) -> str:
        return f"{iso(self.start_ms)}/{iso(self.end_ms)}"


@dataclass(frozen=True, slots=True)
class Slots:
    """Consecutive slots by their edges: shape [slot + 1], int64 ms, strictly increasing. Lengths may differ."""

    edges_ms: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.edges_ms.ndim != 1 or len(self.edges_ms) < 2 or bool(np.any(np.diff(self.edges_ms) <= 0)):
            raise ValueError("slots need at least two strictly increasing edges")

    def __len__(self) -> int:
        return len(self.edges_ms) - 1

    def __getitem__(self, index: int) -> Span:
        return Span(int(self.edges_ms[:-1][index]), int(self.edges_ms[1:][index]))

    def __iter__(self) -> Iterator[Span]:
        return (self[index] for index in range(len(self)))

    @property
    def starts_ms(self) -> NDArray[np.int64]:
        return self.edges_ms[:-1]

    @property
    def hours(self) -> NDArray[np.float64]:
        """Length of each slot in hours, shape [slot]."""
        return np.diff(self.edges_ms) / MS_PER_HOUR

    @property
    def span(self) -> Span:
        return Span(int(self.edges_ms[0]), int(self.edges_ms[-1]))


def floor_ms(at_ms: int, step_ms: int) -> int:
    """The last multiple of the step (counted from the epoch, UTC) at or before an instant."""
    return at_ms - at_ms % step_ms


def even_slots(span: Span, step_s: float) -> Slots:
    """Slots of one length. ValueError where the span is not a whole number of steps."""
    step_ms = round(step_s * MS_PER_S)
    if step_ms <= 0 or (span.end_ms - span.start_ms) % step_ms:
        raise ValueError(f"{span} is not a whole number of {step_s} s steps")
    return Slots(np.arange(span.start_ms, span.end_ms + step_ms, step_ms, dtype=np.int64))


def horizon(start_ms: int, steps: tuple[tuple[float, float], ...]) -> Slots:
    """Slots that become longer with distance: (step_s, until_s) pairs, such as (300, 7200), (900, 86400)."""
    edges, at_s = [start_ms], 0.0
    for step_s, until_s in steps:
        while at_s + step_s <= until_s + 1e-6:
            at_s += step_s
            edges.append(start_ms + round(at_s * MS_PER_S))
    return Slots(np.array(edges, dtype=np.int64))


def local_day(day: date, zone: ZoneInfo) -> Span:
    """A civil day of a time zone as a UTC span: 23, 24 or 25 hours long."""
    start = datetime(day.year, day.month, day.day, tzinfo=zone)
    following = day + timedelta(days=1)
    end = datetime(following.year, following.month, following.day, tzinfo=zone)
    return Span(from_datetime(start), from_datetime(end))


def local_month(year: int, month: int, zone: ZoneInfo) -> Span:
    """A civil month of a time zone as a UTC span."""
    start = datetime(year, month, 1, tzinfo=zone)
    end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=zone)
    return Span(from_datetime(start), from_datetime(end))
