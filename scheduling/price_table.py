# SPDX-License-Identifier: Apache-2.0
"""A price series from the columns of somebody's file: every hour once, a number each, in a zone; or a clear refusal."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

from kernel.clock import iso
from kernel.curve import Curve
from kernel.errors import ConfigError, Fault
from scheduling.problem import Ints

MOST_TOLD = 3


def curve_of(columns: Mapping[str, Any], *, name: str, unit: str, source: str, known_at_ms: int | None = None) -> Curve:
    """The curve of one column of instants and one of numbers. `unit` is what the caller knows the numbers to be in.

    Instants are UTC epoch ms (int), datetime64, or texts or objects with a zone. Each row holds until the next; the step must be
    even. `known_at_ms` None: the series is history, known at its own end. Raises ConfigError with every fault: no such
    column, no zone, a number that is none, an instant twice, hours that are missing, rows out of order.
    """
    starts_ms, values = _columns(columns, source)
    faults = _faults(starts_ms, values, source)
    if faults:
        raise ConfigError(faults)
    step_ms = int(np.diff(starts_ms).min()) if len(starts_ms) > 1 else 3_600_000
    ends_ms = starts_ms + step_ms
    known = int(ends_ms[-1]) if known_at_ms is None else known_at_ms
    return Curve(name, unit, starts_ms, ends_ms, values, known, source)


def _columns(columns: Mapping[str, Any], source: str) -> tuple[Ints, np.ndarray]:
    instants: Ints | None = None
    numbers: np.ndarray | None = None
    for key, raw in columns.items():
        column = _read_texts(np.asarray(raw), f"{source}: {key}")
        if instants is None and (column.dtype.kind == "M" or _zoned(column) or key.endswith("_ms")):
            instants = _to_ms(column, f"{source}: {key}")
        elif numbers is None and column.dtype.kind in "fiu":
            numbers = column.astype(np.float64)
    faults = []
    if instants is None:
        faults.append(
            Fault(source, f"no column of instants among {', '.join(columns)}", "Give UTC instants with a zone")
        )
    if numbers is None:
        faults.append(Fault(source, f"no column of numbers among {', '.join(columns)}", "Give prices as numbers"))
    if instants is None or numbers is None:
        raise ConfigError(faults)
    return instants, numbers


def _read_texts(column: np.ndarray, place: str) -> np.ndarray:
    """A column of texts as instants or numbers where its first text is one; any other column as it is."""
    texts = column.tolist() if column.dtype.kind in "UO" else []
    if not texts or not isinstance(texts[0], str):
        return column
    read: Any
    if _is(float, texts[0]):
        read = float
    elif _is(datetime.fromisoformat, texts[0]):
        read = datetime.fromisoformat
    else:
        return column
    faults = [
        Fault(f"{place}, row {row + 1}", f"{text!r} cannot be read", "Mend the row or leave it out")
        for row, text in enumerate(texts)
        if not _is(read, text)
    ]
    if faults:
        raise ConfigError(faults[:MOST_TOLD])
    values = [read(text) for text in texts]
    return np.array(values, dtype=np.float64 if read is float else object)


def _is(read: Any, text: str) -> bool:
    try:
        read(text)
    except ValueError:
        return False
    return True


def _zoned(column: np.ndarray) -> bool:
    return column.dtype.kind == "O" and len(column) > 0 and hasattr(column[0], "tzinfo")


def _to_ms(column: np.ndarray, place: str) -> Ints:
    if column.dtype.kind == "M":
        return column.astype("datetime64[ms]").astype(np.int64)
    if column.dtype.kind in "iu":
        return column.astype(np.int64)
    if any(at.tzinfo is None for at in column):
        raise ConfigError([Fault(place, "instants have no zone", "Write them in UTC, such as 2024-01-01T00:00:00Z")])
    return np.array([round(at.timestamp() * 1000) for at in column], dtype=np.int64)


def _faults(starts_ms: Ints, values: np.ndarray, source: str) -> list[Fault]:
    faults: list[Fault] = []
    if len(starts_ms) != len(values) or not len(values):
        return [
            Fault(source, f"{len(starts_ms)} instants and {len(values)} numbers", "Give one number for each instant")
        ]
    wrong = np.flatnonzero(~np.isfinite(values))
    faults += [
        Fault(f"{source} at {iso(int(starts_ms[at]))}", "is no number", "Leave the row out or mend it")
        for at in wrong[:MOST_TOLD]
    ]
    steps = np.diff(starts_ms)
    twice = np.flatnonzero(steps == 0)
    faults += [
        Fault(
            f"{source} at {iso(int(starts_ms[at]))}",
            "stands twice",
            "Keep one; on the long day give UTC, not local time",
        )
        for at in twice[:MOST_TOLD]
    ]
    back = np.flatnonzero(steps < 0)
    faults += [
        Fault(f"{source} at {iso(int(starts_ms[at + 1]))}", "comes after a later row", "Sort the rows by time")
        for at in back[:MOST_TOLD]
    ]
    ahead = steps[steps > 0]
    if len(ahead):
        gaps = np.flatnonzero(steps > int(ahead.min()))
        faults += [
            Fault(
                f"{source} after {iso(int(starts_ms[at]))}",
                f"{int(steps[at] // ahead.min()) - 1} rows are missing",
                "Give them; a missing hour is never filled in silence",
            )
            for at in gaps[:MOST_TOLD]
        ]
        hidden = sum(max(0, len(found) - MOST_TOLD) for found in (wrong, twice, back, gaps))
        if hidden:
            faults.append(Fault(source, f"{hidden} more rows like these", "Mend the file"))
    return faults
