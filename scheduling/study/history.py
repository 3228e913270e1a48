# SPDX-License-Identifier: Apache-2.0
"""Price history for a backtest: even grid, local days and months, publication times, simulated orders and system load."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np

from kernel.clock import from_datetime, to_datetime
from kernel.curve import Curve
from kernel.errors import ConfigError, Fault
from kernel.span import Slots, local_day
from kernel.units import MS_PER_DAY, MS_PER_HOUR
from scheduling.problem.forecast import Known, expected
from scheduling.problem.problem import Floats, Ints

ERROR_KEEPS = 0.98
"""Share of the load forecast's error left one slot later: a present error says much about the next hours."""


@dataclass(frozen=True, slots=True)
class Day:
    """A civil day as slots first..last-1 (23, 24 or 25 hours), with its civil month."""

    first: int
    last: int
    month: str
    days_left: int
    """Days of the month from this one on, itself included."""


@dataclass(frozen=True, slots=True)
class Call:
    """A dispatcher's order in the history: a share of full power for slots first..last-1, known from slot `known`."""

    first: int
    last: int
    share: float
    known: int


@dataclass(frozen=True, slots=True)
class History:
    """Prices `real`, `ahead` in money per MWh, and system load as forecast (`demand`) and as measured (`load`), per slot."""

    slots: Slots
    step_h: float
    real: Floats
    ahead: Floats
    demand: Floats
    load: Floats
    published: Ints
    days: tuple[Day, ...]
    calls: tuple[Call, ...]
    zone: ZoneInfo

    def known(self, lag: int) -> Known:
        per_day = round(24 / self.step_h)
        return Known(self.real, self.ahead, self.published, self.demand, lag, per_day)

    def months(self) -> dict[str, tuple[int, int]]:
        """First and last + 1 slot of each month."""
        found: dict[str, tuple[int, int]] = {}
        for day in self.days:
            first, _ = found.get(day.month, (day.first, day.last))
            found[day.month] = (first, day.last)
        return found


def history_of(
    real_time: Curve,
    day_ahead: Curve | None,
    demand: Curve | None,
    zone: ZoneInfo,
    *,
    seed: int,
    calls_per_month: int,
    load_error: float,
    months: int | None,
    auction: bool = False,
) -> History:
    """Curves on an even grid of the real-time curve's finest step, whole local days only.

    `auction`: the given series was itself published the day before. Without that and without a day-ahead curve the day ahead
    is estimated from the days before (`expected`); without `demand` the system load is simulated from the seed. Raises
    ConfigError where units differ, the series has gaps, the step does not divide a day, or there is no whole day.
    """
    steps = np.unique(real_time.ends_ms - real_time.starts_ms)
    if bool(np.any(real_time.starts_ms[1:] != real_time.ends_ms[:-1])):
        raise ConfigError([Fault(real_time.name, "has gaps", "Give a series without gaps")])
    if bool(np.any(steps % steps[0])) or MS_PER_HOUR % int(steps[0]):
        text = "has steps of " + ", ".join(f"{int(step) / 60_000:g}" for step in steps[:4]) + " min"
        raise ConfigError([Fault(real_time.name, text, "Give steps that divide the hour and each other")])
    if day_ahead is not None and day_ahead.unit != real_time.unit:
        text = f"is in {day_ahead.unit}, the real-time price in {real_time.unit}"
        raise ConfigError([Fault(day_ahead.name, text, "Give both in one unit")])
    step_ms = int(steps[0])
    spans = _whole_days(real_time, zone, months)
    if not spans:
        raise ConfigError([Fault(real_time.name, f"holds no whole day of {zone.key}", "Give at least one day")])
    start_ms, end_ms = spans[0][1], spans[-1][2]
    count = (end_ms - start_ms) // step_ms
    slots = Slots(start_ms + step_ms * np.arange(count + 1, dtype=np.int64))
    real = _on(real_time, slots)
    if auction:
        ahead = real.copy()
    else:
        ahead = expected(real, MS_PER_DAY // step_ms) if day_ahead is None else _on(day_ahead, slots)
    load_forecast = simulated_demand(slots, zone, seed) if demand is None else _on(demand, slots)

    days, published = [], np.empty(count, dtype=np.int64)
    edges = [((at - start_ms) // step_ms, (end - start_ms) // step_ms) for _, at, end in spans]
    for index, ((when, at_ms, _), (a, b)) in enumerate(zip(spans, edges, strict=True)):
        left = sum(1 for other, _, _ in spans[index:] if (other.year, other.month) == (when.year, when.month))
        days.append(Day(int(a), int(b), when.strftime("%Y-%m"), left))
        out_ms = from_datetime(datetime(when.year, when.month, when.day, 13, 30, tzinfo=zone))
        out = int(-(-(out_ms - start_ms) // step_ms))
        published[a:out] = b
        published[out:b] = edges[index + 1][1] if index + 1 < len(edges) else b
        del at_ms
    rng = np.random.default_rng(seed)
    noise = np.zeros(count)
    shocks = rng.normal(size=count) * np.sqrt(1 - ERROR_KEEPS**2)
    for t in range(1, count):
        noise[t] = ERROR_KEEPS * noise[t - 1] + shocks[t]
    calls = _calls(rng, days, calls_per_month, round(MS_PER_HOUR / step_ms))
    load = load_forecast * (1 + load_error * noise)
    return History(slots, step_ms / MS_PER_HOUR, real, ahead, load_forecast, load, published, tuple(days), calls, zone)


def simulated_demand(slots: Slots, zone: ZoneInfo, seed: int) -> Floats:
    """A simulated day-ahead forecast of system load, MW: two peaks a day, low weekends, hot and cold seasons, and weather
    that lasts some days, from the seed."""
    rng = np.random.default_rng(seed)
    at = [to_datetime(int(start)).astimezone(zone) for start in slots.starts_ms]
    hour = np.array([one.hour + one.minute / 60 for one in at])
    weekend = np.array([one.weekday() >= 5 for one in at])
    season = np.array([one.timetuple().tm_yday for one in at]) / 365.25
    days = 2 + len(slots) * round(slots.hours[0] * 60) // 1440
    weather = np.zeros(days)
    for day in range(1, days):
        weather[day] = 0.7 * weather[day - 1] + rng.normal(0, 0.04)
    since = (slots.starts_ms - slots.starts_ms[0]) / MS_PER_DAY
    humps = 0.10 * np.exp(-(((hour - 9) / 3) ** 2)) + 0.16 * np.exp(-(((hour - 18) / 3.5) ** 2))
    seasons = 0.12 * np.cos(4 * np.pi * (season - 0.04))
    found: Floats = 50_000 * (0.8 + humps - 0.06 * weekend + seasons + np.interp(since, np.arange(days), weather))
    return found


def _on(curve: Curve, slots: Slots) -> Floats:
    mean, covered = curve.on_slots(slots)
    if bool(np.any(covered < 1 - 1e-9)):
        at = int(np.argmax(covered < 1 - 1e-9))
        place = f"{curve.name} at {to_datetime(int(slots.starts_ms[at])).isoformat()}"
        raise ConfigError([Fault(place, "is not covered", "Give the same days as the real-time series")])
    return mean


def _whole_days(curve: Curve, zone: ZoneInfo, months: int | None) -> list[tuple[date, int, int]]:
    first = to_datetime(curve.span.start_ms).astimezone(zone).date()
    last = to_datetime(curve.span.end_ms).astimezone(zone).date()
    found = []
    for offset in range((last - first).days + 1):
        when = first + timedelta(days=offset)
        span = local_day(when, zone)
        if span.start_ms >= curve.span.start_ms and span.end_ms <= curve.span.end_ms:
            found.append((when, span.start_ms, span.end_ms))
    if months is not None and found:
        seen = sorted({(when.year, when.month) for when, _, _ in found})
        full = [one for one, other in pairwise([*seen, (9999, 1)]) if other]
        whole = [key for key in full if any(when.day == 1 for when, _, _ in found if (when.year, when.month) == key)]
        kept = set(whole[:months])
        found = [row for row in found if (row[0].year, row[0].month) in kept]
    return found


def _calls(rng: np.random.Generator, days: list[Day], per_month: int, per_hour: int) -> tuple[Call, ...]:
    found = []
    for month in sorted({day.month for day in days}):
        inside = [day for day in days if day.month == month]
        for index in sorted(rng.choice(len(inside), min(per_month, len(inside)), replace=False).tolist()):
            day = inside[index]
            first = day.first + int(rng.integers(per_hour, day.last - day.first - 4 * per_hour))
            length = int(rng.integers(per_hour, 3 * per_hour + 1))
            known = first - max(1, per_hour // 2)
            found.append(Call(first, first + length, float(rng.uniform(0.4, 0.7)), known))
    return tuple(found)
