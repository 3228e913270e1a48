# SPDX-License-Identifier: Apache-2.0
"""Start instants (UTC) of the rows of a price file.

Supported forms: an instant with a zone, epoch milliseconds, a text without a zone (local time of `--zone`, or UTC where the
column's name contains UTC), a span, of which the start is used, or a date and the number of its hour or period. Periods are
counted from local midnight and divide the day evenly, so that days of 23 and 25 hours are correct.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from kernel.errors import ConfigError, Fault
from kernel.span import local_day
from kernel.units import MS_PER_HOUR

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MOST_REPORTED = 3
STEPS_MS = (MS_PER_HOUR, MS_PER_HOUR // 2, MS_PER_HOUR // 4, MS_PER_HOUR // 12)
CALENDAR = {
    "year",
    "month",
    "day",
    "hour",
    "minute",
    "period",
    "quarter",
    "week",
    "weekday",
    "dayofweek",
    "index",
    "he",
}
PERIODS = ("hour", "period", "he", "hora", "periodo", "interval")


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of a file by name, and the file's name for faults."""

    source: str
    of: dict[str, np.ndarray]


def is_calendar(key: str) -> bool:
    """Whether a column's name denotes hours or days, so that it has no prices."""
    return key.lower().strip(" _") in CALENDAR or not key.strip() or key.lower().startswith("unnamed")


def numbers_of(columns: Columns, key: str) -> Floats | None:
    """A column as numbers, or None where it has none. Empty texts and `nan` are NaN.

    ConfigError where a few rows of a column of numbers cannot be read.
    """
    column = columns.of[key]
    if column.dtype.kind in "fiu":
        return column.astype(np.float64)
    texts = column.tolist() if column.dtype.kind in "UO" else []
    read = [_number(text) for text in texts]
    wrong = [row for row, value in enumerate(read) if value is None]
    if not texts or len(wrong) == len(texts) or (_number(texts[0]) is None and len(wrong) > len(texts) / 2):
        return None
    if wrong:
        raise ConfigError(
            [
                Fault(f"{columns.source}: {key}, row {row + 1}", f"{texts[row]!r} cannot be read", "Correct the row")
                for row in wrong[:MOST_REPORTED]
            ]
        )
    found = np.array(read, dtype=np.float64)
    return None if bool(np.isnan(found).all()) else found


def _number(value: Any) -> float | None:
    if not isinstance(value, str):
        return float(value) if isinstance(value, int | float | np.number) else (float("nan") if value is None else None)
    text = value.strip()
    if not text or text.lower() in ("nan", "null", "none"):
        return float("nan")
    if "," in text and "." not in text:
        text = text.replace(",", ".")
    try:
        return float(text)
    except ValueError:
        return None


def instants_of(columns: Columns, zone: ZoneInfo | None) -> tuple[Ints, set[str]]:
    """(start of each row in ms UTC, names of the columns used)."""
    read = {key: found for key, raw in columns.of.items() if (found := _instants(columns.source, key, raw)) is not None}
    exact = [key for key, found in read.items() if not _naive(found) or _says_utc(key)]
    local = [key for key in read if key not in exact]
    if not exact:
        counted = _counted(columns, read, zone)
        if counted is not None:
            return counted
    if not read:
        text = f"no column of instants among {', '.join(columns.of)}"
        raise ConfigError([Fault(columns.source, text, "Give UTC instants with a zone")])
    if exact:
        key = min(exact, key=lambda one: (_says_end(one), exact.index(one)))
        return _to_ms(read[key], UTC), set(read)
    key = min(local, key=lambda one: (_says_end(one), local.index(one)))
    if zone is None:
        text = "instants have no zone"
        raise ConfigError(
            [Fault(f"{columns.source}: {key}", text, "Write them in UTC, such as 2024-01-01T00:00:00Z, or give --zone")]
        )
    return _from_local(f"{columns.source}: {key}", read[key], zone), set(read)


def _says_utc(key: str) -> bool:
    return bool(re.search(r"utc|gmt|zulu", key.lower()))


def _says_end(key: str) -> bool:
    return bool(re.search(r"end|until|\bto\b|publish|creat|updat", key.lower()))


def _naive(found: Any) -> bool:
    return isinstance(found, list) and any(at.tzinfo is None for at in found)


def _instants(source: str, key: str, raw: np.ndarray) -> Any:
    """Epoch ms as an array, or datetimes; None where the column has no instants. ConfigError on single wrong rows."""
    if raw.dtype.kind == "M":
        return raw.astype("datetime64[ms]").astype(np.int64)
    if raw.dtype.kind in "iu" and key.endswith("_ms"):
        return raw.astype(np.int64)
    values = raw.tolist() if raw.dtype.kind in "UO" else []
    if not values:
        return None
    if hasattr(values[0], "tzinfo"):
        return values
    if not isinstance(values[0], str) or _instant(values[0]) is None:
        return None
    read = [_instant(text) if isinstance(text, str) else None for text in values]
    wrong = [row for row, at in enumerate(read) if at is None]
    if wrong:
        raise ConfigError(
            [
                Fault(f"{source}: {key}, row {row + 1}", f"{values[row]!r} cannot be read", "Correct the row")
                for row in wrong[:MOST_REPORTED]
            ]
        )
    return read


def _instant(text: str) -> datetime | None:
    """An ISO instant, or day.month.year with a time; of a span `begin - end` its begin. None for a bare date."""
    text = text.split(" - ")[0].strip()
    if ":" not in text and "T" not in text:
        return None
    parts = re.fullmatch(r"(\d{1,2})\.(\d{1,2})\.(\d{4}) (.+)", text)
    try:
        return datetime.fromisoformat(f"{parts[3]}-{parts[2]:>02}-{parts[1]:>02}T{parts[4]}" if parts else text)
    except ValueError:
        return None


def _to_ms(found: Any, zone: Any) -> Ints:
    if isinstance(found, np.ndarray):
        return found.astype(np.int64)
    aware = [at if at.tzinfo is not None else at.replace(tzinfo=zone) for at in found]
    return np.array([round(at.timestamp() * 1000) for at in aware], dtype=np.int64)


def _from_local(place: str, found: list[datetime], zone: ZoneInfo) -> Ints:
    """Local times in UTC.

    A time that occurs twice on the long day is the earlier one at its first row, then the later one; a time skipped on the
    short day is a fault.
    """
    used_before: set[datetime] = set()
    out, wrong = [], []
    for row, at in enumerate(found):
        early, late = at.replace(tzinfo=zone, fold=0), at.replace(tzinfo=zone, fold=1)
        twice = early.utcoffset() != late.utcoffset() and at in used_before
        instant = (late if twice else early).timestamp()
        if datetime.fromtimestamp(instant, zone).replace(tzinfo=None, fold=0) != at.replace(fold=0):
            wrong.append((row, at))
        used_before.add(at)
        out.append(round(instant * 1000))
    if wrong:
        raise ConfigError(
            [
                Fault(f"{place}, row {row + 1}", f"{at.isoformat()} is no time of {zone.key}", "Give UTC, or --zone")
                for row, at in wrong[:MOST_REPORTED]
            ]
        )
    return np.array(out, dtype=np.int64)


def _counted(columns: Columns, read: dict[str, Any], zone: ZoneInfo | None) -> tuple[Ints, set[str]] | None:
    """Instants from a date and the number of an hour or period in it; None where the file has no such columns."""
    lower = {key.lower().strip(" _"): key for key in columns.of}
    period = next((lower[name] for name in PERIODS if name in lower), None)
    dates = _dates(columns, lower)
    numbers = None if period is None else numbers_of(columns, period)
    if dates is None or period is None or numbers is None:
        return None
    if bool(np.any(~np.isfinite(numbers))):
        row = int(np.argmax(~np.isfinite(numbers)))
        raise ConfigError([Fault(f"{columns.source}: {period}, row {row + 1}", "is no number", "Correct the row")])
    if zone is None:
        raise ConfigError([Fault(f"{columns.source}: {period}", "hours have no zone", "Give --zone, such as UTC")])
    days, keys = dates
    count = numbers.astype(np.int64) - int(numbers.min() > 0)
    most: dict[date, int] = {}
    for day, at in zip(days, count.tolist(), strict=True):
        most[day] = max(most.get(day, 0), at + 1)
    starts: dict[date, tuple[int, int]] = {}
    step_ms = MS_PER_HOUR
    for day, periods in most.items():
        span = local_day(day, zone)
        length = span.end_ms - span.start_ms
        step_ms = next((step for step in STEPS_MS if abs(periods * step - length) <= MS_PER_HOUR), step_ms)
        if periods * step_ms > length and read:
            return None  # clock hours rather than counted ones: the short day skips one
        starts[day] = (span.start_ms, step_ms)
    out = [starts[day][0] + at * starts[day][1] for day, at in zip(days, count.tolist(), strict=True)]
    return np.array(out, dtype=np.int64), {period, *keys, *read}


def _dates(columns: Columns, lower: dict[str, str]) -> tuple[list[date], list[str]] | None:
    """Civil date of each row, from year, month and day or from one column of dates."""
    if all(name in lower for name in ("year", "month", "day")):
        keys = [lower[name] for name in ("year", "month", "day")]
        parts = [numbers_of(columns, key) for key in keys]
        if all(part is not None and bool(np.isfinite(part).all()) for part in parts):
            rows = np.stack([part for part in parts if part is not None], axis=1).astype(np.int64).tolist()
            return [date(*row) for row in rows], keys
    for key, raw in columns.of.items():
        values = raw.tolist() if raw.dtype.kind in "UO" else []
        try:
            if values and all(isinstance(value, str) for value in values):
                return [date.fromisoformat(value.strip()) for value in values], [key]
        except ValueError:
            continue
        if values and all(type(value) is date for value in values):
            return values, [key]
    return None
