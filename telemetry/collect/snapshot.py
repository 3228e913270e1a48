# SPDX-License-Identifier: Apache-2.0
"""Latest value of each metric of each device, as columns, for control, page and alarms.

- A metric keeps its newest report by the instant of the reading: a late or historical reading never replaces a newer one. A
  metric that a poll did not request keeps the earlier report.
- Where the newest report is Missing its code gives the reason; `last_good` still returns the last value and its age. The age
  of the last report and the age of the last value are separate.
"""

from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray

from kernel.clock import MS_PER_S
from kernel.metric import TEXT_METRICS
from kernel.reading import MISSING, Absence, Column, Field, Reading, ReadingBatch

NEVER_MS = -(2**62)
"""Instant of a metric that was never reported."""
_FIRST_ROWS = 64

Values = NDArray[np.float64] | NDArray[np.object_]
"""Numbers, or texts as an array of str (compare it as a whole: `states == "sleeping"`)."""


class _MetricColumn:
    """One metric of all devices of a kind: the newest report, and the last value."""

    __slots__ = ("at_ms", "codes", "good_ms", "is_text", "stored")

    def __init__(self, rows: int, is_text: bool) -> None:
        self.is_text = is_text
        self.stored: Values = np.full(rows, "", dtype=object) if is_text else np.zeros(rows, dtype=np.float64)
        self.codes = np.full(rows, int(Absence.NOT_ASKED), dtype=np.uint8)
        self.at_ms = np.full(rows, NEVER_MS, dtype=np.int64)
        self.good_ms = np.full(rows, NEVER_MS, dtype=np.int64)

    def grow(self, rows: int) -> None:
        wider = _MetricColumn(rows, self.is_text)
        size = len(self.codes)
        wider.stored[:size], wider.codes[:size] = self.stored, self.codes
        wider.at_ms[:size], wider.good_ms[:size] = self.at_ms, self.good_ms
        self.stored, self.codes, self.at_ms, self.good_ms = wider.stored, wider.codes, wider.at_ms, wider.good_ms

    def update(self, rows: NDArray[np.intp], at_ms: NDArray[np.int64], column: Column) -> None:
        reported_now = (column.codes != Absence.NOT_ASKED) & (at_ms >= self.at_ms[rows])
        if not reported_now.any():
            return
        every = bool(reported_now.all())
        chosen = rows if every else rows[reported_now]
        codes = column.codes if every else column.codes[reported_now]
        self.codes[chosen] = codes
        self.at_ms[chosen] = at_ms if every else at_ms[reported_now]
        good = reported_now & (column.codes == 0)
        good_rows = rows[good]
        stored = np.array(column.stored, dtype=object) if isinstance(column.stored, list) else column.stored
        self.stored[good_rows] = stored[good]
        self.good_ms[good_rows] = at_ms[good]


class KindTable:
    """All devices of one kind. Row order is the order of first appearance and never changes."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.devices: list[str] = []
        self.index: dict[str, int] = {}
        self._columns: dict[str, _MetricColumn] = {}
        self._heard_ms = np.full(_FIRST_ROWS, NEVER_MS, dtype=np.int64)
        self._last_rows: tuple[list[str], NDArray[np.intp]] | None = None

    def __len__(self) -> int:
        return len(self.devices)

    @property
    def metrics(self) -> list[str]:
        return list(self._columns)

    def values(self, metric: str, now_ms: int) -> tuple[Values, NDArray[np.uint8], NDArray[np.float64]]:
        """(values, codes, age in seconds) of a metric, each of shape [device]; age is infinity where it was never reported.

        Where `codes[row]` is not PRESENT the value is the last good one, for display only; it is not a current value.
        """
        size = len(self.devices)
        column = self._columns.get(metric)
        if column is None:
            codes = np.full(size, int(Absence.NOT_ASKED), dtype=np.uint8)
            return np.zeros(size), codes, np.full(size, np.inf)
        return column.stored[:size], column.codes[:size], _age_s(column.at_ms[:size], now_ms)

    def last_good(self, metric: str, now_ms: int) -> tuple[Values, NDArray[np.float64]]:
        """(last value, its age in seconds), each of shape [device]; age is infinity where there was none."""
        size = len(self.devices)
        column = self._columns.get(metric)
        if column is None:
            return np.zeros(size), np.full(size, np.inf)
        return column.stored[:size], _age_s(column.good_ms[:size], now_ms)

    def silence_s(self, now_ms: int) -> NDArray[np.float64]:
        """Seconds since each device reported any value, shape [device]; failed polls do not count."""
        return _age_s(self._heard_ms[: len(self.devices)], now_ms)

    def field(self, device: str, metric: str, now_ms: int, max_age_s: float) -> Field:
        """One value that is recent enough for use now, or Missing: STALE where it is older than `max_age_s`."""
        row = self.index.get(device)
        column = self._columns.get(metric)
        if row is None or column is None:
            return MISSING[Absence.NOT_ASKED]
        code = int(column.codes[row])
        if code:
            return MISSING[Absence(code)]
        if now_ms - int(column.at_ms[row]) > max_age_s * MS_PER_S:
            return MISSING[Absence.STALE]
        found = column.stored[row]
        return found if isinstance(found, str) else float(found)

    def reading(self, device: str, since_ms: int = NEVER_MS, *, metrics: Collection[str] | None = None) -> Reading:
        """Known values of a device (all metrics or `metrics`), dated by the newest report among them. Values reported before
        `since_ms` are STALE.

        KeyError where the device is unknown.
        """
        row = self.index[device]
        values: dict[str, Field] = {}
        newest_ms = NEVER_MS
        for name, column in self._columns.items():
            if column.at_ms[row] == NEVER_MS or (metrics is not None and name not in metrics):
                continue
            newest_ms = max(newest_ms, int(column.at_ms[row]))
            code, found = int(column.codes[row]), column.stored[row]
            if column.at_ms[row] < since_ms:
                code = int(Absence.STALE)
            values[name] = MISSING[Absence(code)] if code else found if isinstance(found, str) else float(found)
        return Reading(device, self.kind, newest_ms, values)

    def update(self, batch: ReadingBatch) -> None:
        rows, at_ms = self._rows(batch.devices), batch.at_ms
        columns = batch.columns
        if len(at_ms) > 1 and bool(np.any(np.diff(at_ms) < 0)):
            # Of two rows of one device the later one must be written last.
            order = np.argsort(at_ms, kind="stable")
            rows, at_ms = rows[order], at_ms[order]
            columns = {name: _taken(column, order) for name, column in columns.items()}
        reported = np.zeros(len(rows), dtype=np.bool_)
        for name, column in columns.items():
            known = self._columns.get(name)
            if known is None:
                known = self._columns[name] = _MetricColumn(len(self._heard_ms), isinstance(column.stored, list))
            known.update(rows, at_ms, column)
            if name != "state":
                reported |= column.codes == 0
        np.maximum.at(self._heard_ms, rows[reported], at_ms[reported])

    def shift(self, by_ms: int) -> None:
        """Shift all instants by `by_ms`, after the clock was set by that much."""
        for stamps in (
            self._heard_ms,
            *(c.at_ms for c in self._columns.values()),
            *(c.good_ms for c in self._columns.values()),
        ):
            stamps[stamps != NEVER_MS] += by_ms

    def not_after(self, now_ms: int) -> None:
        """Date instants in the future as of now: they were recorded by a clock that was ahead."""
        for stamps in (
            self._heard_ms,
            *(c.at_ms for c in self._columns.values()),
            *(c.good_ms for c in self._columns.values()),
        ):
            np.minimum(stamps, now_ms, out=stamps)

    def _rows(self, devices: list[str]) -> NDArray[np.intp]:
        if self._last_rows is not None and self._last_rows[0] == devices:
            return self._last_rows[1]
        index = self.index
        rows = np.fromiter((index.get(device, -1) for device in devices), dtype=np.intp, count=len(devices))
        for at in np.flatnonzero(rows < 0).tolist():
            rows[at] = self._add(devices[at])
        self._last_rows = devices, rows
        return rows

    def _add(self, device: str) -> int:
        row = self.index.get(device)
        if row is not None:
            return row
        row = self.index[device] = len(self.devices)
        self.devices.append(device)
        if row >= len(self._heard_ms):
            wider = np.full(2 * len(self._heard_ms), NEVER_MS, dtype=np.int64)
            wider[: len(self._heard_ms)] = self._heard_ms
            self._heard_ms = wider
            for column in self._columns.values():
                column.grow(len(wider))
        return row


class Snapshot:
    """Latest values of all devices, one table per kind. Not thread-safe: updated and read in the event loop."""

    def __init__(self, readings: Iterable[Reading] = (), now_ms: int | None = None) -> None:
        """Starts from the journal's `last` readings after a restart; each keeps its age.

        With `now_ms`, readings dated after it count as received now; otherwise they would hide all newer readings until then.
        """
        self._kinds: dict[str, KindTable] = {}
        for reading in readings:
            self.hear(reading)
        if now_ms is not None:
            for table in self._kinds.values():
                table.not_after(now_ms)

    def clock_stepped(self, by_s: float) -> None:
        """Correct all instants after the clock was set by `by_s` (negative: backwards), so that ages stay true.

        Without this a clock that was set back would hide every new reading until it has caught up, and one that was set
        forward would make all values stale at once.
        """
        for table in self._kinds.values():
            table.shift(round(by_s * MS_PER_S))

    def kind(self, kind: str) -> KindTable:
        """The table of a kind; empty where no such device has reported."""
        if kind not in self._kinds:
            self._kinds[kind] = KindTable(kind)
        return self._kinds[kind]

    def kinds(self) -> list[str]:
        return list(self._kinds)

    def update(self, batch: ReadingBatch) -> None:
        """Update with a batch, where it is newer."""
        self.kind(batch.kind).update(batch)

    def hear(self, reading: Reading) -> None:
        """Update with one reading (`update` with batches is cheaper for many)."""
        columns: dict[str, Column] = {}
        for name, found in reading.values.items():
            code = int(getattr(found, "reason", Absence.PRESENT))
            codes = np.array([code], dtype=np.uint8)
            if isinstance(found, str):
                columns[name] = Column([found], codes)
            elif isinstance(found, int | float):
                columns[name] = Column(np.array([float(found)]), codes)
            else:
                text = name in TEXT_METRICS.get(reading.kind, frozenset())
                columns[name] = Column([""] if text else np.zeros(1), codes)
        at_ms = np.array([reading.at_ms], dtype=np.int64)
        self.update(ReadingBatch(reading.kind, [reading.device], at_ms, columns))

    def reading(self, device: str, metrics: Collection[str] | None = None) -> Reading | None:
        """`KindTable.reading` of a device of any kind; None where none of the metrics was ever reported."""
        for table in self._kinds.values():
            if device in table.index:
                found = table.reading(device, metrics=metrics)
                return found if found.values else None
        return None

    def field(self, device: str, metric: str, now_ms: int, max_age_s: float) -> Field:
        """One value of a device of any kind, or Missing with the reason."""
        for table in self._kinds.values():
            if device in table.index:
                return table.field(device, metric, now_ms, max_age_s)
        return MISSING[Absence.NOT_ASKED]


def _age_s(at_ms: NDArray[np.int64], now_ms: int) -> NDArray[np.float64]:
    age = (now_ms - at_ms) / MS_PER_S
    age[at_ms == NEVER_MS] = np.inf
    return age


def _taken(column: Column, order: NDArray[np.intp]) -> Column:
    stored = [column.stored[i] for i in order] if isinstance(column.stored, list) else column.stored[order]
    return Column(stored, column.codes[order])
