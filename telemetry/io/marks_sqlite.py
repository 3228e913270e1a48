# SPDX-License-Identifier: Apache-2.0
"""Marks of the sinks, in their own small SQLite file, so that sinks never delay the journal's writer."""

import sqlite3
import threading
from pathlib import Path

from kernel.reading import ReadingBatch
from telemetry.io.arrow import pack, unpack
from telemetry.store.sink import Aside, Mark

_SCHEMA = """
CREATE TABLE IF NOT EXISTS mark (sink TEXT PRIMARY KEY, sent INTEGER NOT NULL, safe INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS aside (
  sink TEXT NOT NULL, position INTEGER NOT NULL, kind TEXT NOT NULL, rows INTEGER NOT NULL, text TEXT NOT NULL,
  at_ms INTEGER NOT NULL, blob BLOB
) STRICT;
CREATE INDEX IF NOT EXISTS aside_sink ON aside (sink);
"""
_MOST_ASIDES = 10_000
"""Above this number per sink the oldest are deleted: then the sink is at fault, not the rows."""


class SqliteMarks:
    """`telemetry.store.sink.Marks` on SQLite. Not flushed at each write: a mark lost at a power failure costs only a replay."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._guard = threading.Lock()
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_SCHEMA)

    def mark(self, sink: str) -> Mark:
        with self._guard:
            row = self._connection.execute("SELECT sent, safe FROM mark WHERE sink=?", (sink,)).fetchone()
        return Mark(*row) if row else Mark()

    def move(self, sink: str, mark: Mark) -> None:
        with self._guard:
            self._connection.execute("INSERT OR REPLACE INTO mark VALUES (?,?,?)", (sink, mark.sent, mark.safe))

    def put_aside(self, aside: Aside, batch: ReadingBatch | None) -> None:
        """Store once: a replay that meets the same rows again adds no second entry."""
        blob = None if batch is None else pack(batch)
        with self._guard:
            known = self._connection.execute(
                "SELECT 1 FROM aside WHERE sink=? AND position=? AND kind=? AND rows=? AND blob IS ?",
                (aside.sink, aside.position, aside.kind, aside.rows, blob),
            ).fetchone()
            if known is None:
                self._connection.execute(
                    "INSERT INTO aside VALUES (?,?,?,?,?,?,?)",
                    (aside.sink, aside.position, aside.kind, aside.rows, aside.text, aside.at_ms, blob),
                )
                self._connection.execute(
                    "DELETE FROM aside WHERE rowid IN (SELECT rowid FROM aside WHERE sink=? ORDER BY rowid DESC"
                    " LIMIT -1 OFFSET ?)",
                    (aside.sink, _MOST_ASIDES),
                )

    def asides(self, sink: str) -> list[Aside]:
        with self._guard:
            rows = self._connection.execute(
                "SELECT sink, position, kind, rows, text, at_ms FROM aside WHERE sink=? ORDER BY rowid", (sink,)
            ).fetchall()
        return [Aside(*row) for row in rows]

    def rows_of(self, aside: Aside) -> list[ReadingBatch]:
        """Rows set aside at a position, for inspection and for a second attempt."""
        with self._guard:
            rows = self._connection.execute(
                "SELECT kind, blob FROM aside WHERE sink=? AND position=? AND blob IS NOT NULL",
                (aside.sink, aside.position),
            ).fetchall()
        return [unpack(kind, blob) for kind, blob in rows]

    def close(self) -> None:
        self._connection.close()
