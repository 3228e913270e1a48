# SPDX-License-Identifier: Apache-2.0
"""Day-ahead purchase and reserve of a day before its prices are known: `scheduling.offer.scenario` on a plan.

Scenarios are the day-ahead curve plus whole days of past errors (real time less day ahead), so that correlation in time is
kept. Only curves known at the instant count. With fewer days than `LEAST_DAYS` there is no result: three days of error are
no distribution.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from kernel.clock import MS_PER_HOUR, to_datetime
from kernel.curve import Curve
from kernel.span import Slots, Span, local_day
from kernel.units import WH_PER_MWH
from scheduling.offer.scenario import Decision, Market, decide, drawn
from scheduling.problem.problem import Floats, Ints, Problem
from scheduling.solve.mode_steps import mode_steps

LEAST_DAYS = 5
SEGMENTS = 16
HOURS = 24


@dataclass(frozen=True, slots=True)
class RiskPreference:
    """Risk preference: number of scenarios, share of the worst that counts as the tail, its weight against the mean; and
    reserve: money per W and hour, highest power promised, hours of a block."""

    scenarios: int = 50
    tail: float = 0.05
    weight: float = 0.5
    reserve_price_per_wh: float = 0.0
    reserve_max_w: float = 0.0
    block_h: int = 4


@dataclass(frozen=True, slots=True)
class Hedge:
    """Result for the slots of one day (`first..last` of the problem): the decision, the objective without purchase and
    reserve (same weights), and the number of days of error behind it."""

    first: int
    last: int
    decision: Decision
    unhedged_worth: float
    days: int

    def to_json(self, slots: Slots) -> dict[str, Any]:
        """Body for the journal and the API."""
        inside = slice(self.first, self.last + 1)
        return {
            "starts_ms": slots.starts_ms[inside].tolist(),
            "position_w": self.decision.position_w.tolist(),
            "reserve_w": self.decision.reserve_w.tolist(),
            "mean": self.decision.mean,
            "cvar": self.decision.cvar,
            "worth": self.decision.objective,
            "worth_unhedged": self.unhedged_worth,
            "days_of_error": self.days,
        }


def errors_by_day(curves: Iterable[Curve], ahead: str, real: str, zone: ZoneInfo, now_ms: int) -> Floats:
    """Real time less day ahead per Wh by local hour, over the days for which both are fully known, shape [day, 24].

    The doubled hour of a 25-hour day is its mean, the skipped hour of a 23-hour day equals the one before it.
    """
    have = [curve for curve in curves if curve.known_at_ms <= now_ms]
    first, second = ([one for one in have if one.name == name] for name in (ahead, real))
    if not first or not second:
        return np.zeros((0, HOURS))
    start_ms = max(min(one.span.start_ms for one in group) for group in (first, second))
    end_ms = min(max(one.span.end_ms for one in group) for group in (first, second))
    found = []
    day = to_datetime(start_ms).astimezone(zone).date()
    while (span := local_day(day, zone)).start_ms < end_ms:
        day = to_datetime(span.end_ms).astimezone(zone).date()
        edges = Slots(np.arange(span.start_ms, span.end_ms + 1, MS_PER_HOUR, dtype=np.int64))
        reported = [_reported(group, edges) for group in (first, second)]
        if reported[0] is None or reported[1] is None:
            continue
        hours = np.array([to_datetime(int(at)).astimezone(zone).hour for at in edges.starts_ms])
        error = (reported[1] - reported[0]) / WH_PER_MWH
        row = np.array(
            [error[hours == hour].mean() if bool((hours == hour).any()) else np.nan for hour in range(HOURS)]
        )
        held = np.flatnonzero(~np.isnan(row))
        found.append(row[held[np.maximum(np.searchsorted(held, np.arange(HOURS), side="right") - 1, 0)]])
    return np.array(found).reshape(-1, HOURS)


def _reported(group: list[Curve], slots: Slots) -> Floats | None:
    """The newest value of each slot, where all of them are covered."""
    values, covered = np.zeros(len(slots)), np.zeros(len(slots), dtype=np.bool_)
    for curve in sorted(group, key=lambda one: one.known_at_ms):
        mean, share = curve.on_slots(slots)
        whole = share > 1 - 1e-9
        values[whole], covered = mean[whole], covered | whole
    return values if bool(covered.all()) else None


def merit(problem: Problem) -> tuple[Floats, Floats]:
    """(watts, hashrate) of the whole fleet in segments of falling efficiency, without sleep power, shape [segment]."""
    mode_sets = mode_steps(problem, problem.groups.mode_power_w.shape[1] - 1)
    units = problem.groups.units.astype(np.float64)[:, None]
    watts = np.concatenate([(mode_sets.base_w[:, None] * units).ravel(), (mode_sets.watts * units).ravel()])
    hashes = np.concatenate([(mode_sets.base_hs[:, None] * units).ravel(), (mode_sets.hashes * units).ravel()])
    real = watts > 0
    watts, hashes = watts[real], hashes[real]
    order = np.argsort(-hashes / watts, kind="stable")
    watts, hashes = watts[order], hashes[order]
    if len(watts) <= SEGMENTS:
        return watts, hashes
    part = np.minimum((np.cumsum(watts) - watts) / watts.sum() * SEGMENTS, SEGMENTS - 1).astype(np.int64)
    binned_w: Floats = np.bincount(part, weights=watts).astype(np.float64)
    binned_hs: Floats = np.bincount(part, weights=hashes).astype(np.float64)
    return binned_w, binned_hs


def scenarios_of(problem: Problem, zone: ZoneInfo, errors: Floats, count: int, rng: np.random.Generator) -> Floats:
    """All-in prices per Wh of every slot of the horizon plus days of past errors, shape [scenario, slot]."""
    hour: Ints = np.array([to_datetime(int(at)).astimezone(zone).hour for at in problem.slots.starts_ms])
    return drawn(problem.site.energy_price_per_wh, errors[:, hour], count, rng)


def hedge(
    problem: Problem, day: Span, zone: ZoneInfo, errors: Floats, preference: RiskPreference, rng: np.random.Generator
) -> Hedge | None:
    """The decision for the slots of a day. None where the horizon lacks the day, there is no unit, or errors are few.

    Prices are the plan's own (all-in, so that fees affect both sides alike); the error applies to the market part.
    """
    inside = np.flatnonzero((problem.slots.starts_ms >= day.start_ms) & (problem.slots.edges_ms[1:] <= day.end_ms))
    watts, hashes = merit(problem)
    if not len(inside) or len(errors) < LEAST_DAYS or not len(watts):
        return None
    starts = problem.slots.starts_ms[inside]
    hour: Ints = np.array([to_datetime(int(at)).astimezone(zone).hour for at in starts])
    ahead = problem.site.energy_price_per_wh[inside]
    real = drawn(ahead, errors[:, hour], preference.scenarios, rng)
    hours = problem.slots.hours[inside]
    block_of: Ints = (hour // preference.block_h).astype(np.int64)
    _, block_of = np.unique(block_of, return_inverse=True)
    blocks = int(block_of.max()) + 1
    length_h: Floats = np.bincount(block_of, weights=hours, minlength=blocks).astype(np.float64)
    value = np.broadcast_to(problem.slot_value()[inside], real.shape)
    market = Market(
        hours=hours, ahead=ahead, real=real, value=value, watts=watts, hashes=hashes,
        price=preference.reserve_price_per_wh * length_h, block_of=block_of.ravel(),
        reserve_max_w=preference.reserve_max_w, position_max_w=float(watts.sum()),
        tail=preference.tail, weight=preference.weight,
    )  # fmt: skip
    found = decide(market)
    bare = decide(
        Market(
            hours=hours,
            ahead=ahead,
            real=real,
            value=value,
            watts=watts,
            hashes=hashes,
            price=np.zeros(blocks),
            block_of=market.block_of,
            reserve_max_w=0.0,
            position_max_w=0.0,
            tail=preference.tail,
            weight=preference.weight,
        )
    )
    return Hedge(int(inside[0]), int(inside[-1]), found, bare.objective, len(errors))
