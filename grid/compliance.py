# SPDX-License-Identifier: Apache-2.0
"""Compliance with a dispatch order, judged from the main meter alone.

Neither acknowledgements nor sums of miners are used. Each sample is valid until the next one, at most for `gap_s`; time
without a valid sample is uncovered and never counts as compliance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grid.order import DispatchOrder
from kernel.clock import MS_PER_HOUR, MS_PER_S


class Outcome(StrEnum):
    """Outcome of an order.

    OPEN while it runs, and permanently where the meter covered too little of it. NOT_COUNTED where the site only observed
    before the response time had ended, so that no effect could be measured.
    """

    COMPLIED = "complied"
    BREACHED = "breached"
    OPEN = "open"
    NOT_COUNTED = "not_counted"


@dataclass(frozen=True, slots=True)
class Terms:
    """Contract terms: response time, tolerance on the power, total duration of overshoot that is forgiven.

    `gap_s`: longest validity of a sample. `coverage_min`: share of time below which compliance is not proven.
    """

    response_s: float = 60.0
    tolerance_pct: float = 1.0
    forgiven_s: float = 0.0
    gap_s: float = 30.0
    coverage_min: float = 0.9


@dataclass(frozen=True, slots=True)
class Samples:
    """Readings of the meter in order of time, shapes [sample]; a missing reading is left out."""

    at_ms: NDArray[np.int64]
    power_w: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result for one order.

    - `obeyed_by_meter_s`: from the start of the order (or its receipt, if later) to the first sample at or below it; None
      where there is none.
    - `over_s`, `over_wh`: only after the response time; `peak_over_w`: the highest excess there.
    """

    outcome: Outcome
    obeyed_by_meter_s: float | None
    over_s: float
    over_wh: float
    peak_over_w: float
    coverage: float
    judged_until_ms: int
    why: str

    def to_json(self) -> dict[str, Any]:
        return {
            "outcome": str(self.outcome),
            "obeyed_by_meter_s": self.obeyed_by_meter_s,
            "over_s": self.over_s,
            "over_wh": self.over_wh,
            "peak_over_w": self.peak_over_w,
            "coverage": self.coverage,
            "judged_until_ms": self.judged_until_ms,
            "why": self.why,
        }


def judge(
    order: DispatchOrder,
    samples: Samples,
    terms: Terms,
    now_ms: int,
    caps: Sequence[tuple[int, float]] = (),
    observed_ms: int | None = None,
) -> Verdict:
    """Verdict on one order with its present span (the span of an ended order ends where it was ended).

    - `caps`: (from_ms, power_w) where its power was changed on the way (`Entry.caps`); each reduction has its own response
      time.
    - A breach is final at once; COMPLIED is given only when the order is over and covered.
    - `observed_ms`: readings from this instant on, when the site only observed, are not counted.
    """
    begin_ms = max(order.span.start_ms, order.received_ms)
    steps = [(max(at_ms, begin_ms), power_w * (1 + terms.tolerance_pct / 100)) for at_ms, power_w in caps]
    steps = steps or [(begin_ms, order.power_w * (1 + terms.tolerance_pct / 100))]
    due_ms = steps[0][0] + round(terms.response_s * MS_PER_S)
    end_ms = order.span.end_ms if observed_ms is None else min(order.span.end_ms, observed_ms)
    until_ms = min(end_ms, now_ms)

    obeyed_s = _first_obeyed_s(samples, begin_ms, until_ms, steps[0][1])
    pieces = [
        _overshoot(samples, from_ms, to_ms, allowed_w, terms.gap_s)
        for from_ms, to_ms, allowed_w in _allowed(steps, round(terms.response_s * MS_PER_S), until_ms)
    ]
    over_s, over_wh, covered_s = (sum(piece[index] for piece in pieces) for index in (0, 1, 3))
    peak_w = max((piece[2] for piece in pieces), default=0.0)
    required_s = max(until_ms - due_ms, 0) / MS_PER_S
    coverage = min(covered_s / required_s, 1.0) if required_s else 1.0

    def verdict(outcome: Outcome, why: str) -> Verdict:
        return Verdict(outcome, obeyed_s, over_s, over_wh, peak_w, coverage, until_ms, why)

    if observed_ms is not None and observed_ms <= due_ms:
        return verdict(Outcome.NOT_COUNTED, "the site only observed: the order was not carried out")
    if over_s > terms.forgiven_s:
        return verdict(Outcome.BREACHED, f"{over_s:.0f} s above it after the response time, by up to {peak_w:.0f} W")
    if now_ms < end_ms:
        return verdict(Outcome.OPEN, "it runs" if now_ms >= begin_ms else "it has not begun")
    if required_s == 0 and obeyed_s is None:
        return verdict(Outcome.OPEN, "it ended before its response time was over")
    if coverage < terms.coverage_min:
        return verdict(Outcome.OPEN, f"the meter covered {coverage:.0%} of it: it cannot be proven")
    return verdict(Outcome.COMPLIED, f"at or below it by the meter, {coverage:.0%} covered")


def _allowed(steps: Sequence[tuple[int, float]], response_ms: int, until_ms: int) -> list[tuple[int, int, float]]:
    """(from, to, allowed power): at each instant the highest cap within the response time before it."""
    edges = sorted({at_ms for at_ms, _ in steps} | {at_ms + response_ms for at_ms, _ in steps} | {until_ms})
    edges = [at_ms for at_ms in edges if steps[0][0] + response_ms <= at_ms <= until_ms]
    pieces = []
    for from_ms, to_ms in pairwise(edges):
        ends = [*(at_ms for at_ms, _ in steps[1:]), until_ms + 1]
        recent = [
            power_w
            for (at_ms, power_w), end_ms in zip(steps, ends, strict=True)
            if at_ms <= from_ms and end_ms > from_ms - response_ms
        ]
        pieces.append((from_ms, to_ms, max(recent)))
    return pieces


def _first_obeyed_s(samples: Samples, begin_ms: int, until_ms: int, allowed_w: float) -> float | None:
    inside = (samples.at_ms >= begin_ms) & (samples.at_ms <= until_ms) & (samples.power_w <= allowed_w)
    return float(samples.at_ms[int(np.argmax(inside))] - begin_ms) / MS_PER_S if bool(inside.any()) else None


def _overshoot(
    samples: Samples, from_ms: int, until_ms: int, allowed_w: float, gap_s: float
) -> tuple[float, float, float, float]:
    """(seconds above, Wh above, highest W above, seconds covered) within [from, until)."""
    if until_ms <= from_ms or not len(samples.at_ms):
        return 0.0, 0.0, 0.0, 0.0
    starts_ms = samples.at_ms
    ends_ms = np.minimum(np.append(starts_ms[1:], until_ms), starts_ms + round(gap_s * MS_PER_S))
    held_ms = np.maximum(np.minimum(ends_ms, until_ms) - np.maximum(starts_ms, from_ms), 0)
    excess_w = np.maximum(samples.power_w - allowed_w, 0.0)
    above = (excess_w > 0) & (held_ms > 0)
    return (
        float(held_ms[above].sum()) / MS_PER_S,
        float((excess_w * held_ms).sum()) / MS_PER_HOUR,
        float(excess_w[above].max(initial=0.0)),
        float(held_ms.sum()) / MS_PER_S,
    )
