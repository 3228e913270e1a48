# SPDX-License-Identifier: Apache-2.0
"""Price forecasts from facts known at an instant: baselines, regression, and their skill.

All methods answer the same question: at slot t of an even grid, with prices known up to t - lag and the day-ahead curve as
far as published, what is the price of slots t, t + 1, ...? No later fact is used.
"""

from dataclasses import dataclass

import numpy as np

from kernel.curve import Curve
from kernel.span import Span
from kernel.units import MS_PER_DAY
from scheduling.problem.problem import Floats, Ints

SPIKE = 8.0
"""Real-time less day-ahead price beyond this many times the usual price is a spike: it is cut before extrapolation."""
LEADS = (0, 1, 2, 3, 5, 8, 12, 20, 32, 48, 64, 95)
"""Slots ahead for which `learnt` is fitted; between them weights are interpolated."""
FEW_DAYS = 4


def continued(curve: Curve, span: Span) -> Curve:
    """The curve, extended by the same times of its last known day until the span is covered.

    Where the curve is shorter than a day, its own length is repeated. Gaps inside the last day remain, once a day.
    """
    end_ms = curve.span.end_ms
    if end_ms >= span.end_ms:
        return curve
    period_ms = min(MS_PER_DAY, end_ms - curve.span.start_ms)
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
    slot whose day-ahead price is not yet published at t, `demand[t]` the demand forecast (None: none), `lag` slots until a
    price is known (0: known as its slot begins), `day` slots per day."""

    real: Floats
    ahead: Floats
    published: Ints
    demand: Floats | None
    lag: int
    day: int


def persistence(known: Known, at: Ints, steps: int) -> Floats:
    """The last known price, constant, shape [at, step]."""
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
    """The day-ahead price where published, else that of the same time on the last published day, shape [at, step]."""
    slot = at[:, None] + np.arange(steps)[None, :]
    out = np.minimum(known.published[at], len(known.ahead))[:, None]
    back = -(-np.maximum(slot - out + 1, 0) // known.day) * known.day
    found: Floats = known.ahead[np.clip(slot - back, 0, len(known.ahead) - 1)]
    return found


def expected(real: Floats, day: int) -> Floats:
    """Substitute for a day-ahead price: the median of the same time two to eight days before, as known the day before.
    The first two days use the first price alone, shape [slot]."""
    count = len(real)
    past = np.full((7, count), np.nan)
    for row, back in enumerate(range(2, 9)):
        past[row, back * day :] = real[: max(count - back * day, 0)]
    found = np.full(count, real[0])
    seen = np.flatnonzero(np.isfinite(past[0]))
    found[seen] = np.nanmedian(past[:, seen], axis=0)
    return found


def _newest(known: Known, at: Ints) -> Ints:
    return np.maximum(at - known.lag, 0)


def _past(known: Known, until: int, window: int) -> tuple[int, int]:
    """The slots first..last-1 of a window whose prices are known at `until`."""
    last = max(2, min(until, until - known.lag + 1))
    return max(0, last - window), last


def _spread(known: Known, until: int, window: int) -> tuple[Floats, float]:
    """(real-time less day-ahead price of every slot, spikes cut; the cut)."""
    first, last = _past(known, until, window)
    cut = SPIKE * float(np.median(np.abs(known.real[first:last]))) + 1e-9
    return np.clip(known.real - known.ahead, -cut, cut), cut


def carried(known: Known, at: Ints, steps: int, until: int, window: int) -> Floats:
    """Day-ahead price plus the last known spread, decaying by its rate in the window before `until`, shape [at, step]."""
    spread, _ = _spread(known, until, window)
    fade = fade_rate(known, until, window) ** (np.arange(steps) + known.lag)
    return day_ahead(known, at, steps) + spread[_newest(known, at)][:, None] * fade[None, :]


def fade_rate(known: Known, until: int, window: int) -> float:
    """Share of the spread left one slot later: least squares on the `window` slots before `until`, within [0, 1]."""
    first, last = _past(known, until, window)
    spread = _spread(known, until, window)[0][first:last]
    before, after = spread[:-1], spread[1:]
    power = float(before @ before)
    return min(1.0, max(0.0, float(before @ after) / power)) if power > 0 else 0.0


def regressed(known: Known, at: Ints, steps: int, until: int, window: int) -> Floats:
    """Regression of the price on day-ahead price, last spread and demand forecast, one fit for each step ahead, on the
    `window` slots before `until`, shape [at, step]. Without history, day-ahead price with the decaying spread."""
    base = carried(known, at, steps, until, window)
    first, last = _past(known, until, window)
    past = np.arange(max(known.day, first), last - steps)
    if len(past) < FEW_DAYS * known.day:
        return base
    found = base.copy()
    spread, cut = _spread(known, until, window)
    real = np.clip(known.real, -cut, 2 * cut)
    usual = 1.0 if known.demand is None else max(float(known.demand[first:last].mean()), 1e-9)

    def features(rows: Ints, step: int) -> Floats:
        columns = [np.ones(len(rows)), _ahead_at(known, rows, step), spread[_newest(known, rows)]]
        if known.demand is not None:
            columns.append(known.demand[np.minimum(rows + step, len(known.demand) - 1)] / usual)
        return np.stack(columns, axis=1)

    for step in range(steps):
        found[:, step] = features(at, step) @ _weights(features(past, step), real[past + step])
    return found


def learnt(known: Known, at: Ints, steps: int, until: int, window: int) -> Floats:
    """Day-ahead price plus a correction by the newest spreads, shape [at, step].

    For each of a few leads one least-squares fit on the `window` slots before `until`: of the coming spread on the last one's
    usual part and its part above and below the usual, its last move, and its mean over six hours (small spreads last, spikes
    pass). For the next slot the last price alone is used where it was nearer in the window.
    """
    first, last = _past(known, until, window)
    past = np.arange(first + known.lag, last)
    if len(past) < FEW_DAYS * known.day:
        return carried(known, at, steps, until, window)
    spread, cut = _spread(known, until, window)
    usual = max(1e-6, float(np.quantile(np.abs(spread[first:last]), 0.8)))
    inside = np.clip(spread, -usual, usual)
    total = np.concatenate(([0.0], np.cumsum(inside)))
    mean_of = max(1, known.day // 4)

    def features(rows: Ints) -> Floats:
        new = _newest(known, rows)
        move = inside[new] - inside[np.maximum(new - 1, 0)]
        begin = np.maximum(new + 1 - mean_of, 0)
        mean = (total[new + 1] - total[begin]) / (new + 1 - begin)
        above, below = np.maximum(spread[new] - usual, 0.0), np.minimum(spread[new] + usual, 0.0)
        return np.stack((np.ones(len(rows)), inside[new], above, below, move, mean), axis=1)

    here, now = features(past), features(at)
    marks = sorted({min(lead, steps - 1) for lead in LEADS})
    weights, last_is_nearer = [], False
    for lead in marks:
        rows = past[: len(past) - lead]
        base, x, truth = _ahead_at(known, rows, lead), here[: len(rows)], known.real[rows + lead]
        weights.append(_weights(x, np.clip(truth - base, -cut, cut)))
        if lead == 0:
            off = float(np.abs(truth - base - x @ weights[0]).mean())
            last_is_nearer = bool(np.abs(truth - known.real[_newest(known, rows)]).mean() < off)
    spaced = np.stack([np.interp(np.arange(steps), marks, column) for column in np.array(weights).T])
    found: Floats = day_ahead(known, at, steps) + now @ spaced
    if last_is_nearer:
        found[:, 0] = known.real[_newest(known, at)]
    return found


def _ahead_at(known: Known, at: Ints, step: int) -> Floats:
    """The day-ahead forecast of one step ahead, shape [at]."""
    slot = at + step
    out = np.minimum(known.published[at], len(known.ahead))
    back = -(-np.maximum(slot - out + 1, 0) // known.day) * known.day
    found: Floats = known.ahead[np.clip(slot - back, 0, len(known.ahead) - 1)]
    return found


def _weights(x: Floats, y: Floats) -> Floats:
    """Least squares, regularised slightly towards zero."""
    gram = x.T @ x
    return np.asarray(np.linalg.solve(gram + np.diag(1e-3 * np.diag(gram) + 1e-9), x.T @ y), dtype=np.float64)


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
        "day_ahead_carried": carried(known, at, steps, first, month),
        "regression": regressed(known, at, steps, first, month),
        "learnt": learnt(known, at, steps, first, 2 * month),
    }
    truth = known.real[at[:, None] + np.arange(steps)[None, :]]
    return {name: np.abs(made - truth).mean(axis=0)[list(leads)] for name, made in methods.items()}
