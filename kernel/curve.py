# SPDX-License-Identifier: Apache-2.0
"""External time series with publication time: power price, hashprice, difficulty, exchange rate, weather.

A curve has one value for each of its pieces; an hour that it does not cover is absent, never zero. A plan or a backtest calls
`known(curves, name, now_ms)`, so that it uses nothing published later.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernel.clock import iso
from kernel.span import Slots, Span


@dataclass(frozen=True, slots=True)
class Curve:
    """Piecewise constant values: piece i holds on [starts_ms[i], ends_ms[i]).

    - `name`: the quantity (`price/day_ahead`, `hashprice`); `unit`: of the values (`KZT/MWh`, `USD/PH/day`).
    - `known_at_ms`: when it was published or received; `source`: from where.
    - `evidence`: SHA-256 of the bytes that it was read from; None where they are not kept.
    - Pieces are sorted, do not overlap and have finite values; ValueError names the first that breaks this.
    """

    name: str
    unit: str
    starts_ms: NDArray[np.int64]
    ends_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    known_at_ms: int
    source: str
    evidence: str | None = None

    def __post_init__(self) -> None:
        if not len(self.starts_ms) == len(self.ends_ms) == len(self.values) or not len(self.values):
            raise ValueError(f"curve {self.name}: starts, ends and values must have one length, at least 1")
        if bool(np.any(self.ends_ms <= self.starts_ms)):
            at = int(np.argmax(self.ends_ms <= self.starts_ms))
            raise ValueError(
                f"curve {self.name}: piece {at} ends at or before its start {iso(int(self.starts_ms[at]))}"
            )
        clash = self.starts_ms[1:] < self.ends_ms[:-1]
        if bool(np.any(clash)):
            at = int(np.argmax(clash)) + 1
            raise ValueError(
                f"curve {self.name}: piece {at} at {iso(int(self.starts_ms[at]))} overlaps the piece before it"
            )
        if not bool(np.all(np.isfinite(self.values))):
            at = int(np.argmin(np.isfinite(self.values)))
            raise ValueError(
                f"curve {self.name}: value was not finite at {iso(int(self.starts_ms[at]))}; leave the piece out"
            )

    @property
    def span(self) -> Span:
        return Span(int(self.starts_ms[0]), int(self.ends_ms[-1]))

    def at(self, at_ms: int) -> float | None:
        """The value at an instant, or None where the curve does not cover it."""
        index = int(np.searchsorted(self.starts_ms, at_ms, side="right")) - 1
        return float(self.values[index]) if index >= 0 and at_ms < self.ends_ms[index] else None

    def on_slots(self, slots: Slots) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(time-weighted mean, covered share 0..1) per slot, both of shape [slot].

        The mean of an uncovered slot is 0 and has no meaning.
        """
        edges = slots.edges_ms
        lengths = (self.ends_ms - self.starts_ms).astype(np.float64)
        knots = np.concatenate(([0.0], np.cumsum(self.values * lengths)))
        cover = np.concatenate(([0.0], np.cumsum(lengths)))

        index = np.searchsorted(self.starts_ms, edges, side="right") - 1
        inside = np.clip(edges - self.starts_ms[np.maximum(index, 0)], 0, lengths[np.maximum(index, 0)])
        inside = np.where(index < 0, 0.0, inside)
        base = np.maximum(index, 0)
        area = knots[base] + inside * self.values[base]
        spread = cover[base] + inside
        covered_ms = np.diff(spread)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(covered_ms > 0, np.diff(area) / np.where(covered_ms > 0, covered_ms, 1.0), 0.0)
        return mean, covered_ms / np.diff(edges)


def known(curves: Iterable[Curve], name: str, now_ms: int) -> Curve | None:
    """The newest curve of a name that was known at an instant, or None."""
    published = [curve for curve in curves if curve.name == name and curve.known_at_ms <= now_ms]
    return max(published, key=lambda curve: curve.known_at_ms, default=None)
