# SPDX-License-Identifier: Apache-2.0
"""A price series from the columns of somebody's file: every hour once, a number each, in a zone; or a clear refusal.

`price_instants` reads when, this room which numbers, in which unit, and whether any is missing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from grid.price_instants import MOST_REPORTED, Columns, Floats, Ints, instants_of, is_calendar, numbers_of
from kernel.clock import iso
from kernel.curve import Curve
from kernel.errors import ConfigError, Fault
from kernel.units import MS_PER_DAY, MS_PER_HOUR

STEADY_ROWS = 20
"""So many rows with one step are how a file is written; a step seen less often is a hole in it."""
ASSUMED_UNIT = "USD/MWh"
CURRENCIES = ("USD", "EUR", "GBP", "KZT", "AUD", "CAD", "RUB", "SEK", "NOK", "DKK", "PLN", "CZK", "RON", "HUF")
SIGNS = {"$": "USD", "€": "EUR", "£": "GBP", "₸": "KZT"}


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What the caller knows of a file beside its columns.

    `unit` of the numbers (None: as the column's name says, else `assumed_unit`); `column` of the numbers and `rows`, the text
    that a wanted row holds in one of its columns, where the file holds several series; `zone` of instants that name none;
    `fill_h`: holes up to so many hours are filled by the same time of the day before (0: refused). `word` is what the name
    of the wanted column is likely to hold.
    """

    unit: str | None = None
    column: str | None = None
    rows: str | None = None
    zone: ZoneInfo | None = None
    fill_h: float = 0.0
    word: str = "price"
    assumed_unit: str = ASSUMED_UNIT


def curve_of(
    columns: Mapping[str, Any],
    *,
    name: str,
    source: str,
    asked: TableFacts = TableFacts(),
    known_at_ms: int | None = None,
) -> Curve:
    """The curve of one column of instants and one of numbers.

    Instants are UTC epoch ms (a column whose name ends in `_ms`), datetime64 (UTC), texts or objects with a zone or in
    `asked.zone`, or a date with the number of its hour or period (see `price_instants`). Each row holds until the next; the
    step may change once and for all within the file, never hop. `known_at_ms` None: the series is history, known at its
    own end. Raises ConfigError with every fault: no such column, several series, no zone, another currency, a number that
    is none, an instant twice, hours that are missing, rows out of order.
    """
    kept = _rows(Columns(source, {key: np.asarray(raw) for key, raw in columns.items()}), asked.rows)
    starts_ms, used = instants_of(kept, asked.zone)
    key, values = _numbers(kept, used, asked)
    unit, factor = _unit(key, source, asked)
    values = values * factor
    if len(starts_ms) > 1 and bool(np.all(np.diff(starts_ms) < 0)):
        starts_ms, values = starts_ms[::-1], values[::-1]
    if asked.fill_h > 0:
        starts_ms, values, filled = _filled(starts_ms, values, asked.fill_h)
        source = f"{source}, {filled} rows filled" if filled else source
    faults = _faults(starts_ms, values, source)
    if faults:
        raise ConfigError(faults)
    ends_ms = starts_ms + _steps(starts_ms)
    known = int(ends_ms[-1]) if known_at_ms is None else known_at_ms
    return Curve(name, unit, starts_ms, ends_ms, values, known, source)


def _rows(columns: Columns, wanted: str | None) -> Columns:
    """The rows of one series, where a column of texts tells several apart."""
    names = {key: raw for key, raw in columns.of.items() if _names_series(raw)}
    if wanted is None:
        stacked = [(key, sorted({str(v) for v in raw.tolist()})) for key, raw in names.items()]
        several = [(key, values) for key, values in stacked if len(values) > 1 and _repeats(columns, names[key])]
        if several:
            key, values = several[0]
            reported = ", ".join(values[:8])
            raise ConfigError(
                [Fault(f"{columns.source}: {key}", f"holds several series: {reported}", "Say which: --rows")]
            )
        return columns
    for raw in names.values():
        at = np.array([str(value) == wanted for value in raw.tolist()])
        if at.any():
            return Columns(columns.source, {key: column[at] for key, column in columns.of.items()})
    raise ConfigError([Fault(columns.source, f"no row says {wanted!r}", "Give --rows as the file writes it")])


def _names_series(raw: np.ndarray) -> bool:
    """A column of few different texts that are neither numbers nor dates."""
    if raw.dtype.kind not in "UO" or not len(raw) or not isinstance(raw[0], str):
        return False
    return bool(re.search(r"[^\W\d]{2}", raw[0])) and len(set(raw.tolist())) <= 60


def _repeats(columns: Columns, texts: np.ndarray) -> bool:
    """Whether rows of different texts speak of the same instants: two series, rather than a remark that changes."""
    for key, raw in columns.of.items():
        if is_calendar(key) or raw.dtype.kind == "f" or raw is texts:
            continue
        first = {value for value, text in zip(raw.tolist(), texts.tolist(), strict=True) if text == texts[0]}
        other = {value for value, text in zip(raw.tolist(), texts.tolist(), strict=True) if text != texts[0]}
        if len(first) > 60 and len(first & other) > len(other) / 2:
            return True
    return False


def _numbers(columns: Columns, used: set[str], asked: TableFacts) -> tuple[str, Floats]:
    """(name, values) of the wanted column of numbers."""
    if asked.column is not None:
        if asked.column not in columns.of:
            text = f"no column {asked.column!r} among {', '.join(columns.of)}"
            raise ConfigError([Fault(columns.source, text, "Give --column as the file writes it")])
        found = numbers_of(columns, asked.column)
        if found is None:
            raise ConfigError([Fault(f"{columns.source}: {asked.column}", "holds no numbers", "Give another --column")])
        return asked.column, found
    rest = [key for key in columns.of if key not in used and not is_calendar(key)]
    read = {key: values for key in rest if (values := numbers_of(columns, key)) is not None}
    if not read:
        text = f"no column of numbers among {', '.join(columns.of)}"
        raise ConfigError([Fault(columns.source, text, "Give prices as numbers")])
    likely = [key for key in read if asked.word in key.lower()] or list(read)
    same = all(np.array_equal(read[likely[0]], read[key], equal_nan=True) for key in likely[1:])
    if len(likely) > 1 and not same:
        text = f"several columns of numbers: {', '.join(likely)}"
        raise ConfigError([Fault(columns.source, text, "Say which: --column")])
    return likely[0], read[likely[0]]


def _unit(key: str, source: str, asked: TableFacts) -> tuple[str, float]:
    """(unit, what a number is multiplied by): prices per kWh are brought to MWh. Refused where the column's own name says
    another currency or another energy than the caller."""
    words = [SIGNS.get(word, word.upper()) for word in re.findall(r"[A-Za-z]+|[$€£₸]", key)]
    money = next((word for word in words if word in CURRENCIES), None)
    energy = next((word[:3] for word in words if re.fullmatch(r"[MK]WHE?", word)), None)
    if asked.unit is None:
        unit = asked.assumed_unit if money is None else f"{money}/MWh"
        return unit, 1000.0 if energy == "KWH" else 1.0
    given = asked.unit.upper()
    per = next((word for word in ("MWH", "KWH") if given.endswith(word)), None)
    if money is not None and money not in given:
        text = f"is in {money} by its name, not in {asked.unit}"
        raise ConfigError([Fault(f"{source}: {key}", text, f"Give --unit {money}/MWh, or the other column")])
    if energy is not None and per is not None and energy != per:
        text = f"is per {energy} by its name, not in {asked.unit}"
        raise ConfigError([Fault(f"{source}: {key}", text, "Give --unit as the file has it")])
    return (f"{asked.unit[:-4]}/MWh", 1000.0) if per == "KWH" else (asked.unit, 1.0)


def _steps(starts_ms: Ints) -> Ints:
    """How long each row holds: to the next row; the last as long as the one before it."""
    if len(starts_ms) < 2:
        return np.full(len(starts_ms), MS_PER_HOUR, dtype=np.int64)
    steps = np.diff(starts_ms)
    return np.concatenate((steps, steps[-1:]))


def _holes(starts_ms: Ints) -> Ints:
    """For each row the rows that are missing after it, shape [row - 1]. A step that goes on for `STEADY_ROWS` rows is the
    file's own from there (an auction that went from hours to quarters); any other longer step is a hole."""
    steps = np.diff(starts_ms)
    if not len(steps):
        return steps
    ahead = steps[steps > 0]
    least = int(ahead.min()) if len(ahead) else 1
    edges = np.flatnonzero(np.diff(steps)) + 1
    begins, ends = np.concatenate(([0], edges)), np.concatenate((edges, [len(steps)]))
    own = np.zeros(len(steps), dtype=np.int64)
    now = 0
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        if end - begin >= min(STEADY_ROWS, len(steps) / 2) and steps[begin] > 0:
            now = int(steps[begin])
        own[begin:end] = now
    first = np.flatnonzero(own)
    own[: first[0] if len(first) else len(own)] = own[first[0]] if len(first) else least
    own = np.minimum(own, np.where(steps > 0, steps, own))
    # Where the step has just changed, the last row of the old regime may hold for either.
    return np.where(steps > own, steps // own - 1, 0)


def _filled(starts_ms: Ints, values: Floats, fill_h: float) -> tuple[Ints, Floats, int]:
    """Rows that are missing or no number, up to `fill_h` hours on end, taken from the same time a day before or after."""
    holes = _holes(starts_ms)
    known = dict(zip(starts_ms.tolist(), values.tolist(), strict=True))
    at_ms: list[int] = []
    for row, start in enumerate(starts_ms.tolist()):
        at_ms.append(start)
        missing = int(holes[row]) if row < len(holes) else 0
        if missing:
            step = (int(starts_ms[row + 1]) - start) // (missing + 1)
            if missing * step <= fill_h * MS_PER_HOUR:
                at_ms += [start + step * (k + 1) for k in range(missing)]
    found = np.array([known.get(at, np.nan) for at in at_ms])
    starts = np.array(at_ms, dtype=np.int64)
    broken = ~np.isfinite(found)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], broken.astype(np.int64), [0]))))
    filled = 0
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if int(_steps(starts)[begin:end].sum()) > fill_h * MS_PER_HOUR:
            continue
        for row in range(begin, end):
            near = [known.get(int(starts[row]) + days * MS_PER_DAY, np.nan) for days in (-1, 1, -2, 2, -7, 7)]
            found[row] = next((value for value in near if np.isfinite(value)), np.nan)
            filled += int(np.isfinite(found[row]))
    return starts, found, filled


def _faults(starts_ms: Ints, values: Floats, source: str) -> list[Fault]:
    if len(starts_ms) != len(values) or not len(values):
        return [
            Fault(source, f"{len(starts_ms)} instants and {len(values)} numbers", "Give one number for each instant")
        ]
    steps, holes = np.diff(starts_ms), _holes(starts_ms)
    kinds = (
        (np.flatnonzero(~np.isfinite(values)), 0, "", "is no number", "Mend the row, leave it out, or --fill holes"),
        (np.flatnonzero(steps == 0), 0, "", "stands twice", "Keep one; on the long day give UTC, not local time"),
        (np.flatnonzero(steps < 0), 1, "", "comes after a later row", "Sort the rows by time"),
        (
            np.flatnonzero(holes > 0),
            0,
            "after ",
            "{} rows are missing",
            "Give them, or --fill short holes; a missing hour is never filled in silence",
        ),
    )
    faults = [
        Fault(
            f"{source} {where}at {iso(int(starts_ms[row + later]))}".replace("after at", "after"),
            text.format(int(holes[row]) if row < len(holes) else 0),
            remedy,
        )
        for rows, later, where, text, remedy in kinds
        for row in rows[:MOST_REPORTED].tolist()
    ]
    hidden = sum(max(0, len(kind[0]) - MOST_REPORTED) for kind in kinds)
    if hidden:
        faults.append(Fault(source, f"{hidden} more rows like these", "Mend the file"))
    return faults
