# SPDX-License-Identifier: Apache-2.0
"""Readings of devices: each metric has a value or is Missing with a reason.

Absence is never zero and never NaN. A `Reading` is one row, of one device at one instant. A `ReadingBatch` is many rows of one
kind as columns, as journal, snapshot and archive use them. A metric that was not requested in a poll (see tiers) is left out of
the row; in a batch it is NOT_ASKED.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Absence(IntEnum):
    """Reason why there is no value. The numbers are stored: never renumber."""

    PRESENT = 0
    """Code of a value that is present; no reason for absence."""
    NOT_ASKED = 1
    """Not requested in this poll; another tier requests it."""
    NOT_REPORTED = 2
    """The answer did not contain it."""
    UNSUPPORTED = 3
    """This model or firmware never reports it."""
    SENTINEL = 4
    """The device sent its own code for 'no value'."""
    NONSENSE = 5
    """An impossible number: outside the possible range, infinite or NaN."""
    UNREACHABLE = 6
    """No connection: refused, no route, or lost."""
    TIMED_OUT = 7
    """The connection was accepted and no answer came in time."""
    REFUSED = 8
    """The device answered with an error or an exception code."""
    MALFORMED = 9
    """The answer could not be decoded."""
    STALE = 10
    """Older than the use of the value allows."""
    NOT_APPLICABLE = 11
    """It has no meaning in the device's state (hashrate window of a sleeping miner)."""


@dataclass(frozen=True, slots=True)
class Missing:
    """No value, and the reason. `detail` is the device's own text or code, for display."""

    reason: Absence
    detail: str = ""

    def __bool__(self) -> bool:
        return False


Value = float | int | str
Field = Value | Missing

# Created once: decoding returns these, so that frequent polls create no new objects.
MISSING: Mapping[Absence, Missing] = {reason: Missing(reason) for reason in Absence if reason is not Absence.PRESENT}


@dataclass(frozen=True, slots=True)
class Reading:
    """Values of one device at one instant.

    - `kind` names the schema (`kernel.metric.SCHEMAS`): miner, meter, container, sensor, switch.
    - `at_ms` is when the hub had received the whole answer; the device's own clock is not trusted.
    - `evidence` is the SHA-256 of the raw frames; None where they are not kept.
    """

    device: str
    kind: str
    at_ms: int
    values: Mapping[str, Field]
    evidence: str | None = None

    def get(self, metric: str) -> Field:
        """The value, or Missing with the reason; NOT_ASKED where the row does not have the metric."""
        return self.values.get(metric, MISSING[Absence.NOT_ASKED])

    def number(self, metric: str) -> float | None:
        """The value as a number, or None where there is none or it is a text (`get` has the reason)."""
        found = self.values.get(metric)
        return float(found) if isinstance(found, int | float) else None


@dataclass(frozen=True, slots=True)
class Column:
    """One metric of a batch: `codes[row]` is an Absence; where it is not PRESENT the stored value has no meaning."""

    stored: NDArray[np.float64] | list[str]
    codes: NDArray[np.uint8]

    def field(self, row: int) -> Field:
        code = int(self.codes[row])
        if code:
            return MISSING[Absence(code)]
        found = self.stored[row]
        return found if isinstance(found, str) else float(found)

    def present(self) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = self.codes == 0
        return found


@dataclass(slots=True)
class ReadingBatch:
    """Rows of one kind as columns: devices[row], at_ms[row] (int64), and a Column for each metric of the schema."""

    kind: str
    devices: list[str]
    at_ms: NDArray[np.int64]
    columns: dict[str, Column]
    evidence: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.devices)

    def reading(self, row: int) -> Reading:
        values: dict[str, Field] = {}
        for name, column in self.columns.items():
            found = column.field(row)
            if not (isinstance(found, Missing) and found.reason is Absence.NOT_ASKED):
                values[name] = found
        return Reading(self.devices[row], self.kind, int(self.at_ms[row]), values, self.evidence.get(row))

    def readings(self) -> Iterator[Reading]:
        return (self.reading(row) for row in range(len(self)))


def batch_of(
    kind: str, metrics: Sequence[str], text_metrics: frozenset[str], readings: Iterable[Reading]
) -> ReadingBatch:
    """Columns from rows, in the order given. KeyError names metrics that are not in the schema."""
    rows = list(readings)
    count, known = len(rows), frozenset(metrics)
    not_asked = int(Absence.NOT_ASKED)
    stored: dict[str, list[Value]] = {}
    codes: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        for name, found in row.values.items():
            values = stored.get(name)
            if values is None:
                if name not in known:
                    unknown = {each for one in rows for each in one.values} - known
                    raise KeyError(f"{kind} has no metric {sorted(unknown)}")
                values = stored[name] = [""] * count if name in text_metrics else [0.0] * count
                codes[name] = [not_asked] * count
            if isinstance(found, Missing):
                codes[name][index] = found.reason
            else:
                values[index] = found
                codes[name][index] = 0
    columns: dict[str, Column] = {}
    for name in metrics:
        if name not in stored:
            continue
        made = np.array(codes[name], dtype=np.uint8)
        if name in text_metrics:
            columns[name] = Column([str(value) for value in stored[name]], made)
        else:
            columns[name] = Column(np.array(stored[name], dtype=np.float64), made)
    evidence = {index: row.evidence for index, row in enumerate(rows) if row.evidence}
    at_ms = np.fromiter((row.at_ms for row in rows), dtype=np.int64, count=count)
    return ReadingBatch(kind, [row.device for row in rows], at_ms, columns, evidence)
