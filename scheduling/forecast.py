# SPDX-License-Identifier: Apache-2.0
"""What will be, from what is known at an instant: honest baselines, a regression that must beat them, and their skill.

All methods answer the same question: standing at slot t of an even grid, with prices known up to t - lag and the day-ahead
curve as far as it was published, what is the price of slots t, t + 1, ...? Nothing later is read.
"""

from dataclasses import dataclass

import numpy as np

from kernel.curve import Curve
from kernel.span import Span
from scheduling.problem import Floats, Ints

DAY_MS = 86_400_000
WORST_SPREAD = 200.0
"""Real-time less day-ahead beyond this (money per MWh) is a spike: it is cut before it is carried on."""


def continued(curve: Curve, span: Span) -> Curve:
    """The curve as it is, then the same times of its last known day, repeated until the span is covered.

    Where the curve is shorter than a day, its own length is repeated. Gaps inside the last day stay gaps, once a day.
    """
    end_ms = curve.span.end_ms
    if end_ms >= span.end_ms:
        return curve
    period_ms = min(DAY_MS, end_ms - curve.span.start_ms)
    inside = curve.ends_ms > end_ms - period_ms
    starts = np.maximum(curve.starts_ms[inside], end_ms - period_ms)
    ends, values = curve.ends_ms[inside], curve.values[inside]
    times = -(-(span.end_ms - end_ms) // period_ms)
    shift = np.arange(1, times + 1, dtype=np.int64)[:, None] * period_ms
    return Curve(
        curve.name,
        curve.unit,
        np.concatenate((curve.starts_ms, (starts[None, :] + shift).ravel())),
        np.concatenate((curve.ends_ms, (ends[None, :] + shift).ravel())),
        np.concatenate((curve.values, np.tile(values, times))),
        curve.known_at_ms,
        f"{curve.source}, continued by its last day",
        curve.evidence,
    )


@dataclass(frozen=True, slots=True)
class Known:
    """A history on an even grid: `real[t]` the price, `ahead[t]` the day-ahead price of the slot, `published[t]` the first
    slot whose day-ahead price is not yet out at t, `demand[t]` the demand forecast (None: none), `lag` slots until a price
    is known (0: known as its slot begins), `day` slots per day."""

    real: Floats
    ahead: Floats
    published: Ints
    demand: Floats | None
    lag: int
    day: int


def persistence(known: Known, at: Ints, steps: int) -> Floats:
    """The last known price, for ever, shape [at, step]."""
    last = known.real[np.maximum(at - known.lag, 0)]
    return np.repeat(last[:, None], steps, axis=1)


def same_hour(known: Known, at: Ints, steps: int) -> Floats:
    """The price of the same time on the last day on which it is known, shape [at, step]."""
    slot = at[:, None] + np.arange(steps)[None, :]
    newest = (at - known.lag)[:, None]
    back = -(-np.maximum(slot - newest, 0) // known.day) * known.day
    found: Floats = known.real[np.maximum(slot - back, 0)]
    return found


def day_ahead(known: Known, at: Ints, steps: int) -> Floats:
    """The day-ahead price where it is out, else that of the same time on the last day for which it is, shape [at, step]."""
    slot = at[:, None] + np.arange(steps)[None, :]
    out = np.minimum(known.published[at], len(known.ahead))[:, None]
    back = -(-np.maximum(slot - out + 1, 0) // known.day) * known.day
    found: Floats = known.ahead[np.clip(slot - back, 0, len(known.ahead) - 1)]
    return found


def carried(known: Known, at: Ints, steps: int, rate: float) -> Floats:
    """Day-ahead plus the last known spread, fading by `rate` per slot, shape [at, step]."""
    newest = np.maximum(at - known.lag, 0)
    spread = np.clip(known.real[newest] - known.ahead[newest], -WORST_SPREAD, WORST_SPREAD)
    fade = rate ** (np.arange(steps) + known.lag)
    return day_ahead(known, at, steps) + spread[:, None] * fade[None, :]


def fade_rate(known: Known, until: int, window: int) -> float:
    """How much of the spread is left one slot later: least squares on the `window` slots before `until`, within [0, 1]."""
    first, last = max(0, until - window), max(2, until)
    spread = np.clip(known.real[first:last] - known.ahead[first:last], -WORST_SPREAD, WORST_SPREAD)
    before, after = spread[:-1], spread[1:]
    power = float(before @ before)
    return min(1.0, max(0.0, float(before @ after) / power)) if power > 0 else 0.0


def regressed(known: Known, at: Ints, steps: int, until: int, window: int) -> Floats:
    """Regression of the price on day-ahead, last spread and demand forecast, one fit for each step ahead, on the `window`
    slots before `until`, shape [at, step]. Without history, day-ahead with the carried spread."""
    rate = fade_rate(known, until, window)
    base = carried(known, at, steps, rate)
    past = np.arange(max(known.day, until - window), until - steps)
    if len(past) < 4 * known.day:
        return base
    found = base.copy()
    cut = np.clip(known.real, -WORST_SPREAD, 2 * WORST_SPREAD)
    for step in range(steps):
        x, y = _features(known, past, step), cut[past + step]
        weights, *_ = np.linalg.lstsq(x.T @ x + 1e-3 * len(past) * np.eye(x.shape[1]) * 1e-3, x.T @ y, rcond=None)
        found[:, step] = _features(known, at, step) @ weights
    return found


def _features(known: Known, at: Ints, step: int) -> Floats:
    ahead = day_ahead(known, at, step + 1)[:, step]
    newest = np.maximum(at - known.lag, 0)
    spread = np.clip(known.real[newest] - known.ahead[newest], -WORST_SPREAD, WORST_SPREAD)
    columns = [np.ones(len(at)), np.clip(ahead, -WORST_SPREAD, 2 * WORST_SPREAD), spread]
    if known.demand is not None:
        slot = np.minimum(at + step, len(known.demand) - 1)
        columns.append(known.demand[slot] / max(float(known.demand.mean()), 1e-9))
    return np.stack(columns, axis=1)


def skill(
    known: Known, first: int, last: int, leads: tuple[int, ...] = (0, 3, 15, 47), every: int = 4
) -> dict[str, Floats]:
    """Mean absolute error of each method at each lead (slots ahead), over decisions first..last, money per MWh."""
    steps = max(leads) + 1
    at = np.arange(first, min(last, len(known.real) - steps), every)
    month = 30 * known.day
    methods = {
        "persistence": persistence(known, at, steps),
        "same_hour": same_hour(known, at, steps),
        "day_ahead": day_ahead(known, at, steps),
        "day_ahead_carried": carried(known, at, steps, fade_rate(known, first, month)),
        "regression": regressed(known, at, steps, first, month),
    }
    truth = known.real[at[:, None] + np.arange(steps)[None, :]]
    return {name: np.abs(made - truth).mean(axis=0)[list(leads)] for name, made in methods.items()}
