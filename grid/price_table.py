# SPDX-License-Identifier: Apache-2.0
"""Price series from the columns of a file: complete hours, one number each, with time zone and unit.

Faults are refused with their place. `price_instants` reads the instants; this module selects the column of numbers, converts
its unit, and finds missing values.
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
"""A step that lasts for this many rows is a regular step of the file; a rarer longer one is a gap."""
ASSUMED_UNIT = "USD/MWh"
CURRENCIES = ("USD", "EUR", "GBP", "KZT", "AUD", "CAD", "RUB", "SEK", "NOK", "DKK", "PLN", "CZK", "RON", "HUF")
SIGNS = {"$": "USD", "€": "EUR", "£": "GBP", "₸": "KZT"}


@dataclass(frozen=True, slots=True)
class TableFacts:
    """Facts about a file given by the caller, in addition to its columns.

    - `unit`: of the numbers (None: from the column's name, else `assumed_unit`).
    - `column`: name of the column of numbers; `rows`: text in one of the columns of the wanted rows; both where a file has
      several series.
    - `zone`: of instants without one. `fill_h`: gaps up to this many hours are filled from the same time of another day (0:
      refused).
    - `name_part`: text that the name of the wanted column probably contains.
    """

    unit: str | None = None
    column: str | None = None
    rows: str | None = None
    zone: ZoneInfo | None = None
    fill_h: float = 0.0
    name_part: str = "price"
    assumed_unit: str = ASSUMED_UNIT


def curve_of(
    columns: Mapping[str, Any],
    *,
    name: str,
    source: str,
    facts: TableFacts = TableFacts(),
    known_at_ms: int | None = None,
) -> Curve:
    """Curve from one column of instants and one of numbers.

    - Instants: UTC epoch ms (a column whose name ends in `_ms`), datetime64 (UTC), texts or objects with a zone or in the
      given zone, or a date with the number of its hour or period (see `price_instants`).
    - Each row is valid until the next; the step may change permanently within the file, but not back and forth.
    - `known_at_ms` None: the series is history, known at its own end.
    - ConfigError with every fault: missing column, several series, no zone, another currency, not a number, repeated instant,
      missing hours, rows out of order.
    """
    kept = _rows(Columns(source, {key: np.asarray(raw) for key, raw in columns.items()}), facts.rows)
    starts_ms, used = instants_of(kept, facts.zone)
    key, values = _numbers(kept, used, facts)
    unit, factor = _unit(key, source, facts)
    values = values * factor
    if len(starts_ms) > 1 and bool(np.all(np.diff(starts_ms) < 0)):
        starts_ms, values = starts_ms[::-1], values[::-1]
    if facts.fill_h > 0:
        starts_ms, values, filled = _filled(starts_ms, values, facts.fill_h)
        source = f"{source}, {filled} rows filled" if filled else source
    faults = _faults(starts_ms, values, source)
    if faults:
        raise ConfigError(faults)
    ends_ms = starts_ms + _steps(starts_ms)
    known = int(ends_ms[-1]) if known_at_ms is None else known_at_ms
    return Curve(name, unit, starts_ms, ends_ms, values, known, source)


def _rows(columns: Columns, wanted: str | None) -> Columns:
    """Rows of one series, where a text column distinguishes several."""
    names = {key: raw for key, raw in columns.of.items() if _names_series(raw)}
    if wanted is None:
        stacked = [(key, sorted({str(v) for v in raw.tolist()})) for key, raw in names.items()]
        several = [(key, values) for key, values in stacked if len(values) > 1 and _repeats(columns, names[key])]
        if several:
            key, values = several[0]
            reported = ", ".join(values[:8])
            raise ConfigError(
                [Fault(f"{columns.source}: {key}", f"holds several series: {reported}", "Choose one with --rows")]
            )
        return columns
    for raw in names.values():
        at = np.array([str(value) == wanted for value in raw.tolist()])
        if at.any():
            return Columns(columns.source, {key: column[at] for key, column in columns.of.items()})
    raise ConfigError([Fault(columns.source, f"no row contains {wanted!r}", "Give --rows as the file writes it")])


def _names_series(raw: np.ndarray) -> bool:
    """Whether a column has few different texts that are neither numbers nor dates."""
    if raw.dtype.kind not in "UO" or not len(raw) or not isinstance(raw[0], str):
        return False
    return bool(re.search(r"[^\W\d]{2}", raw[0])) and len(set(raw.tolist())) <= 60


def _repeats(columns: Columns, texts: np.ndarray) -> bool:
    """Whether rows with different texts have the same instants: then they are two series, not changing remarks."""
    for key, raw in columns.of.items():
        if is_calendar(key) or raw.dtype.kind == "f" or raw is texts:
            continue
        first = {value for value, text in zip(raw.tolist(), texts.tolist(), strict=True) if text == texts[0]}
        other = {value for value, text in zip(raw.tolist(), texts.tolist(), strict=True) if text != texts[0]}
        if len(first) > 60 and len(first & other) > len(other) / 2:
            return True
    return False


def _numbers(columns: Columns, used: set[str], facts: TableFacts) -> tuple[str, Floats]:
    """(name, values) of the wanted column of numbers."""
    if facts.column is not None:
        if facts.column not in columns.of:
            text = f"no column {facts.column!r} among {', '.join(columns.of)}"
            raise ConfigError([Fault(columns.source, text, "Give --column as the file writes it")])
        found = numbers_of(columns, facts.column)
        if found is None:
            raise ConfigError([Fault(f"{columns.source}: {facts.column}", "holds no numbers", "Give another --column")])
        return facts.column, found
    rest = [key for key in columns.of if key not in used and not is_calendar(key)]
    read = {key: values for key in rest if (values := numbers_of(columns, key)) is not None}
    if not read:
        text = f"no column of numbers among {', '.join(columns.of)}"
        raise ConfigError([Fault(columns.source, text, "Give prices as numbers")])
    likely = [key for key in read if facts.name_part in key.lower()] or list(read)
    same = all(np.array_equal(read[likely[0]], read[key], equal_nan=True) for key in likely[1:])
    if len(likely) > 1 and not same:
        text = f"several columns of numbers: {', '.join(likely)}"
        raise ConfigError([Fault(columns.source, text, "Choose one with --column")])
    return likely[0], read[likely[0]]


def _unit(key: str, source: str, facts: TableFacts) -> tuple[str, float]:
    """(unit, factor): prices per kWh are converted to per MWh.

    ConfigError where the column's name has another currency or another energy unit than the caller.
    """
    texts = [SIGNS.get(text, text.upper()) for text in re.findall(r"[A-Za-z]+|[$€£₸]", key)]
    money = next((text for text in texts if text in CURRENCIES), None)
    energy = next((text[:3] for text in texts if re.fullmatch(r"[MK]WHE?", text)), None)
    if facts.unit is None:
        unit = facts.assumed_unit if money is None else f"{money}/MWh"
        return unit, 1000.0 if energy == "KWH" else 1.0
    given = facts.unit.upper()
    per = next((unit for unit in ("MWH", "KWH") if given.endswith(unit)), None)
    if money is not None and money not in given:
        text = f"is in {money} by its name, not in {facts.unit}"
        raise ConfigError([Fault(f"{source}: {key}", text, f"Give --unit {money}/MWh, or the other column")])
    if energy is not None and per is not None and energy != per:
        text = f"is per {energy} by its name, not in {facts.unit}"
        raise ConfigError([Fault(f"{source}: {key}", text, "Give --unit as the file has it")])
    return (f"{facts.unit[:-4]}/MWh", 1000.0) if per == "KWH" else (facts.unit, 1.0)


def _steps(starts_ms: Ints) -> Ints:
    """Duration of each row: to the next row; the last as long as the one before it."""
    if len(starts_ms) < 2:
        return np.full(len(starts_ms), MS_PER_HOUR, dtype=np.int64)
    steps = np.diff(starts_ms)
    return np.concatenate((steps, steps[-1:]))


def _holes(starts_ms: Ints) -> Ints:
    """Number of rows missing after each row, shape [row - 1].

    A step that lasts for `STEADY_ROWS` rows is a regular step of the file from there on (an auction that changed from hours
    to quarters); any other longer step is a gap.
    """
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
    # Where the step has just changed, the last row before it may have either duration.
    return np.where(steps > own, steps // own - 1, 0)


def _filled(starts_ms: Ints, values: Floats, fill_h: float) -> tuple[Ints, Floats, int]:
    """(starts, values, rows filled): missing rows or values, up to `fill_h` hours in sequence, taken from the same time one, two
    or seven days before or after.
    """
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
        (np.flatnonzero(~np.isfinite(values)), 0, "", "is no number", "Correct the row, leave it out, or --fill gaps"),
        (np.flatnonzero(steps == 0), 0, "", "occurs twice", "Keep one; on the long day give UTC, not local time"),
        (np.flatnonzero(steps < 0), 1, "", "comes after a later row", "Sort the rows by time"),
        (
            np.flatnonzero(holes > 0),
            0,
            "after ",
            "{} rows are missing",
            "Give them, or --fill short gaps; a missing hour is never filled unasked",
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
        faults.append(Fault(source, f"{hidden} more rows like these", "Correct the file"))
    return faults
