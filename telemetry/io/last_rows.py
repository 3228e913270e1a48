# SPDX-License-Identifier: Apache-2.0
"""Index of the newest reading of each device: (batch position, row), in memory as columns.

Writing a row per device with every batch would cost four times the batch itself. Therefore the table `last` is updated only
from time to time, in the transaction of an append, with the position up to which it is correct (`pointed`); opening the
journal reads the few batches after that position.
"""

import sqlite3
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from kernel.reading import ReadingBatch
from telemetry.collect.snapshot import NEVER_MS
from telemetry.io.rotten import Rotten

_ROWS_A_DEVICE = 8
"""The table is written after this many rows per device, which bounds the batches that a reader has to read after it."""


class _Kind:
    """Pointers of one kind, one slot per device."""

    def __init__(self) -> None:
        self.slots: dict[str, int] = {}
        self.ids: list[int] = []
        self.at_ms = np.full(0, NEVER_MS, dtype=np.int64)
        self.position = np.zeros(0, dtype=np.int64)
        self.row = np.zeros(0, dtype=np.int64)
        self._last_slots: tuple[list[str], NDArray[np.intp]] | None = None

    def add(self, device: str, key: int) -> int:
        slot = self.slots[device] = len(self.ids)
        self.ids.append(key)
        if slot >= len(self.at_ms):
            more = max(64, len(self.at_ms))
            self.at_ms = np.concatenate((self.at_ms, np.full(more, NEVER_MS, dtype=np.int64)))
            self.position = np.concatenate((self.position, np.zeros(more, dtype=np.int64)))
            self.row = np.concatenate((self.row, np.zeros(more, dtype=np.int64)))
        return slot

    def point(self, batch: ReadingBatch, position: int) -> None:
        if self._last_slots is None or self._last_slots[0] != batch.devices:
            slots = np.array([self.slots[device] for device in batch.devices], dtype=np.intp)
            self._last_slots = batch.devices, slots
        slots, at_ms, rows = self._last_slots[1], batch.at_ms, np.arange(len(batch))
        if bool(np.any(np.diff(at_ms) < 0)):
            order = np.argsort(at_ms, kind="stable")
            slots, at_ms, rows = slots[order], at_ms[order], rows[order]
        newer = at_ms >= self.at_ms[slots]
        slots = slots[newer]
        self.at_ms[slots], self.position[slots], self.row[slots] = at_ms[newer], position, rows[newer]


class LastRows:
    """Pointers of all kinds. Call `point` after a commit; `name_new` and `write` within a transaction."""

    def __init__(self, connection: sqlite3.Connection, unpacked: Iterable[tuple[int, ReadingBatch]] = ()) -> None:
        """From the table, and from the batches after the position up to which it is correct."""
        self._kinds: dict[str, _Kind] = {}
        self._rows_since = 0
        self.pointed = int(connection.execute("SELECT pointed FROM mark").fetchone()[0])
        self.name_again(connection)
        for position, batch in unpacked:
            self.point(batch, position)

    def name_again(self, connection: sqlite3.Connection) -> None:
        """Read all names and pointers from disk (again, after a transaction that was lost)."""
        previous = self._kinds
        self._kinds = {}
        rows = connection.execute(
            "SELECT d.kind, d.device, d.id, l.at_ms, l.position, l.row FROM device d LEFT JOIN last l ON l.id=d.id"
        )
        for kind, device, key, at_ms, position, row in rows:
            found = self._kinds.setdefault(kind, _Kind())
            slot = found.add(device, key)
            if at_ms is not None:
                found.at_ms[slot], found.position[slot], found.row[slot] = at_ms, position, row
            before = previous.get(kind)
            if before is not None and device in before.slots:
                old = before.slots[device]
                found.at_ms[slot], found.position[slot] = before.at_ms[old], before.position[old]
                found.row[slot] = before.row[old]

    def name_new(self, connection: sqlite3.Connection, batch: ReadingBatch) -> None:
        """Insert the devices of a batch that are new into the table `device`."""
        kind = self._kinds.setdefault(batch.kind, _Kind())
        if kind._last_slots is not None and kind._last_slots[0] == batch.devices:
            return
        for device in batch.devices:
            if device not in kind.slots:
                found = connection.execute("INSERT INTO device (kind, device) VALUES (?,?)", (batch.kind, device))
                kind.add(device, int(found.lastrowid or 0))

    def point(self, batch: ReadingBatch, position: int) -> None:
        """Record the rows of a committed batch at a position, where they are newest."""
        self._kinds[batch.kind].point(batch, position)
        self._rows_since += len(batch)

    @property
    def due(self) -> bool:
        """Whether the table should be written with the next append."""
        devices = sum(len(kind.ids) for kind in self._kinds.values())
        return self._rows_since >= _ROWS_A_DEVICE * max(devices, 256)

    def write(self, connection: sqlite3.Connection, position: int) -> None:
        """Update the table to a position; call `wrote` after the commit."""
        for kind in self._kinds.values():
            size = len(kind.ids)
            changed = np.flatnonzero(kind.position[:size] > self.pointed)
            keys = np.array(kind.ids, dtype=np.int64)[changed]
            rows = zip(
                keys.tolist(), kind.at_ms[changed].tolist(), kind.position[changed].tolist(), kind.row[changed].tolist(),
                strict=True,
            )  # fmt: skip
            connection.executemany("INSERT OR REPLACE INTO last VALUES (?,?,?,?)", rows)
        connection.execute("UPDATE mark SET pointed=?", (position,))

    def wrote(self, position: int) -> None:
        """Record that the table is on disk up to a position."""
        self.pointed, self._rows_since = position, 0

    def of(self, kind: str) -> list[tuple[int, int]]:
        """(position, row) of the newest reading of each device of a kind."""
        found = self._kinds.get(kind)
        if found is None:
            return []
        known = np.flatnonzero(found.at_ms[: len(found.ids)] != NEVER_MS)
        return list(zip(found.position[known].tolist(), found.row[known].tolist(), strict=True))


def last_rows(connection: sqlite3.Connection, kind: str | None = None, rotten: Rotten | None = None) -> LastRows:
    """Pointers from the table, and from the batches (of one kind, or all) after it; corrupt ones are left out."""
    rotten = rotten or Rotten()
    behind = connection.execute(
        "SELECT position, kind, blob FROM batch WHERE position>(SELECT pointed FROM mark) AND kind=coalesce(?, kind)"
        " ORDER BY position",
        (kind,),
    )
    unpacked = ((position, rotten.unpacked(position, of, blob)) for position, of, blob in behind)
    return LastRows(connection, ((position, batch) for position, batch in unpacked if batch is not None))
