# SPDX-License-Identifier: Apache-2.0
"""Journal on SQLite: write-ahead log, one compressed Arrow blob per batch, events as rows.

- An append is one transaction. If it contains meter readings or events (on which money and orders depend) it is on the disk
  when it returns (`synchronous=FULL`); readings of other kinds alone may lose their last instants at a power failure, never
  at a crash of the process.
- Readers, also of other processes, have their own connections and see the last committed state while writing goes on.
- Tables: `batch` and `event` share one sequence of positions; `last` points at the row of the newest reading of each device;
  `evidence` has raw bytes under their SHA-256.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import orjson

from kernel.errors import ConfigError, Fault
from kernel.event import Event, kind_to_write, stored_names
from kernel.ids import sha256_hex
from kernel.reading import Reading, ReadingBatch
from telemetry.io.arrow import pack
from telemetry.io.journal_schema import (
    EVENTS_OF,
    EVERY_EVENT,
    FILE_NAME,
    GUARDS,
    PAGE_BYTES,
    REMEDIES,
    SCHEMA,
    SCHEMA_VERSION,
    check_version,
    event_of,
    hold,
    last_position,
    state_of,
)
from telemetry.io.last_rows import last_rows
from telemetry.io.rotten import Rotten
from telemetry.store.journal import JournalHealth, JournalState, JournalUnwritable, Record

_DURABLE_KINDS = frozenset({"meter"})
_MOST_PENDING_EVIDENCE = 2_000


def open_journal(folder: Path, *, max_bytes: int | None = None) -> "SqliteJournal":
    """Open the journal of a folder for its only writer; created where it does not exist.

    ConfigError where another process writes to it, the file is no journal, or a newer hub created it.
    """
    return SqliteJournal(folder, writing=True, max_bytes=max_bytes)


def read_journal(folder: Path) -> "SqliteJournal":
    """Open the journal for reading only, from any process, also while the hub writes. ConfigError where absent."""
    return SqliteJournal(folder, writing=False)


class SqliteJournal:
    """`telemetry.store.journal.Journal` on one SQLite file. One writer process; any number of readers and threads."""

    def __init__(self, folder: Path, *, writing: bool, max_bytes: int | None = None) -> None:
        self.path = folder / FILE_NAME
        self._max_bytes = max_bytes
        self._state, self._text = JournalState.WRITABLE, ""
        self._guard = threading.RLock()
        self._synchronous = ""
        self._pending, self.rotten = dict[str, bytes](), Rotten()
        self._writer: sqlite3.Connection | None = None
        self._lock: IO[bytes] | None = None
        if writing:
            self._open_writer(folder)
        else:
            self._state, self._text = JournalState.READ_ONLY, "opened for reading"
            if not self.path.exists():
                raise ConfigError([Fault(str(self.path), "there is no journal", "Name the folder of a hub that ran")])
            with self._reading() as found:
                check_version(found, self.path)

    def _open_writer(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = hold(folder / "journal.lock")
            self._writer = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5.0)
            new = self._writer.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
            if new:
                self._writer.executescript(f"PRAGMA page_size={PAGE_BYTES}; PRAGMA auto_vacuum=INCREMENTAL")
            self._writer.execute("PRAGMA journal_mode=WAL")
            if new:
                self._writer.executescript(f"BEGIN IMMEDIATE;{SCHEMA}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
            check_version(self._writer, self.path)
            self._writer.executescript(GUARDS)
            self._position, self._last = last_position(self._writer), last_rows(self._writer, rotten=self.rotten)
        except (sqlite3.Error, OSError) as error:
            self._release()
            remedy = "Make the folder writable and check the file; move a damaged one away to start a new journal"
            raise ConfigError([Fault(str(self.path), f"the journal could not be opened: {error}", remedy)]) from error
        except ConfigError:
            self._release()
            raise

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A separate connection for one read, so that no thread waits for another."""
        connection = self._connected("mode=ro")
        try:
            yield connection
        finally:
            connection.close()

    def _connected(self, how: str) -> sqlite3.Connection:
        name = f"{self.path.absolute().as_uri()}?{how}"
        connection = sqlite3.connect(name, uri=True, isolation_level=None, timeout=5.0, check_same_thread=False)
        try:
            connection.execute("PRAGMA query_only=1")
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            connection.close()
            if "immutable" in how or not self._on_read_only_disk():
                raise
            # A reader of a write-ahead log creates a -shm file; on a read-only disk it cannot, but there is no writer either.
            return self._connected("mode=ro&immutable=1")
        return connection

    def _on_read_only_disk(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(os.statvfs(self.path.parent).f_flag & os.ST_RDONLY)
        return False

    def append(self, batches: Sequence[ReadingBatch], events: Sequence[Event]) -> int:
        batches = [batch for batch in batches if len(batch)]
        stored = [(kind_to_write(event.kind), event) for event in events]
        durable = bool(events) or any(batch.kind in _DURABLE_KINDS for batch in batches)
        packed = [(batch, pack(batch)) for batch in batches]
        with self._guard:
            connection = self._writable()
            position = self._position
            try:
                self._set_synchronous(connection, "FULL" if durable else "NORMAL")
                connection.execute("BEGIN IMMEDIATE")
                self._write_evidence(connection)
                pointing = self._last.due
                if pointing:
                    self._last.write(connection, self._position)
                for batch, blob in packed:
                    position += 1
                    start_ms, end_ms = int(batch.at_ms.min()), int(batch.at_ms.max())
                    connection.execute(
                        "INSERT INTO batch VALUES (?,?,?,?,?,?)",
                        (position, batch.kind, start_ms, end_ms, len(batch), blob),
                    )
                    self._last.name_new(connection, batch)
                for kind, event in stored:
                    found = connection.execute(
                        "INSERT INTO event VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (site, writer, seq) DO NOTHING",
                        (position + 1, kind.value, event.version, event.site, event.writer, event.seq, event.at_ms,
                         orjson.dumps(event.body, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY)),
                    )  # fmt: skip
                    position += found.rowcount
                connection.execute("COMMIT")
            except (sqlite3.Error, OSError) as error:
                self._undo(connection)
                raise self._unwritable(error) from error
            except BaseException:
                self._undo(connection)
                raise
            if pointing:
                self._last.wrote(self._position)
            for place, batch in enumerate(batches, self._position + 1):
                self._last.point(batch, place)
            self._position = position
            self._pending.clear()
            self._state, self._text = JournalState.WRITABLE, ""
            return position

    def _writable(self) -> sqlite3.Connection:
        if self._writer is None:
            raise JournalUnwritable(JournalState.READ_ONLY, "this journal is opened for reading, or closed")
        if self._max_bytes is not None and self._bytes_used() >= self._max_bytes:
            self._state = JournalState.FULL
            self._text = f"the journal has reached its {self._max_bytes} bytes; archive and trim it, or allow more"
            raise JournalUnwritable(self._state, self._text)
        return self._writer

    def _set_synchronous(self, connection: sqlite3.Connection, level: str) -> None:
        if level != self._synchronous:
            connection.execute(f"PRAGMA synchronous={level}")
            self._synchronous = level

    def _write_evidence(self, connection: sqlite3.Connection) -> None:
        if self._pending:
            connection.executemany("INSERT OR IGNORE INTO evidence VALUES (?,?)", self._pending.items())

    def _undo(self, connection: sqlite3.Connection) -> None:
        """Roll back, and read device numbers again: those assigned in the lost transaction are void."""
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        with contextlib.suppress(sqlite3.Error):
            self._last.name_again(connection)

    def _unwritable(self, error: Exception) -> JournalUnwritable:
        self._state = state_of(error, self.path.parent)
        self._text = f"{error} ({self.path}): {REMEDIES[self._state]}"
        return JournalUnwritable(self._state, self._text)

    def records(self, after: int = 0, until: int | None = None) -> Iterator[Record]:
        until = self.position() if until is None else until
        with self._reading() as found:
            found.execute("BEGIN")
            batches = found.execute(
                "SELECT position, kind, blob FROM batch WHERE position>? AND position<=? ORDER BY position",
                (after, until),
            )
            events = found.execute(
                "SELECT * FROM event WHERE position>? AND position<=? ORDER BY position", (after, until)
            )
            batch, event = batches.fetchone(), events.fetchone()
            while batch is not None or event is not None:
                if event is None or (batch is not None and batch[0] < event[0]):
                    if (whole := self.rotten.unpacked(*batch)) is not None:
                        yield Record(batch[0], whole)
                    batch = batches.fetchone()
                else:
                    yield Record(event[0], event_of(event))
                    event = events.fetchone()

    def events(self, kinds: Iterable[str] | None, after: int = 0) -> Iterator[tuple[int, Event]]:
        query, given = (
            (EVERY_EVENT, ()) if kinds is None else (EVENTS_OF, (orjson.dumps(stored_names(kinds)).decode(),))
        )
        with self._reading() as found:
            rows = found.execute(query, (*given, after))
            for row in rows:
                yield row[0], event_of(row)

    def batches(self, kind: str, start_ms: int, end_ms: int) -> Iterator[ReadingBatch]:
        unpacked = (self.rotten.unpacked(position, kind, blob) for position, blob in self.blobs(kind, start_ms, end_ms))
        return (batch for batch in unpacked if batch is not None)

    def blobs(self, kind: str, start_ms: int, end_ms: int, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """(position, packed batch) of batches that may have readings of [start_ms, end_ms), in order of position."""
        with self._reading() as found:
            positions = found.execute(
                "SELECT position FROM batch WHERE kind=? AND end_ms>=? AND start_ms<? AND position>? ORDER BY position",
                (kind, start_ms, end_ms, after),
            ).fetchall()
            for (position,) in positions:
                if row := found.execute("SELECT blob FROM batch WHERE position=?", (position,)).fetchone():
                    yield position, row[0]

    def places(self) -> list[tuple[int, str, int, int, int]]:
        """(position, kind, first instant, last instant, rows) of every batch, in order."""
        with self._reading() as found:
            return found.execute(
                "SELECT position, kind, start_ms, end_ms, rows FROM batch ORDER BY position"
            ).fetchall()

    def blob(self, position: int) -> bytes:
        """One packed batch. KeyError where there is none, or it was trimmed."""
        with self._reading() as found:
            if row := found.execute("SELECT blob FROM batch WHERE position=?", (position,)).fetchone():
                return bytes(row[0])
        raise KeyError(f"no batch at {position}")

    def position_before(self, at_ms: int) -> int:
        """Last position before the first batch with a reading at or after an instant: the limit for `trim`."""
        with self._reading() as found:
            row = found.execute("SELECT min(position) FROM batch WHERE end_ms>=?", (at_ms,)).fetchone()
            return self.position() if row[0] is None else int(row[0]) - 1

    def reach(self, kind: str) -> tuple[int, int]:
        """(first, last) instant of the batches of a kind; (2**62, 0) where there is none."""
        with self._reading() as found:
            row = found.execute(
                "SELECT (SELECT min(start_ms) FROM batch WHERE kind=?1), (SELECT max(end_ms) FROM batch WHERE kind=?1)",
                (kind,),
            ).fetchone()
            return (2**62, 0) if row[1] is None else (int(row[0]), int(row[1]))

    def spans(self, kind: str, after: int) -> Iterator[tuple[int, int, int]]:
        """(position, first instant, last instant) of the batches of a kind after a position, without reading them."""
        with self._reading() as found:
            yield from found.execute(
                "SELECT position, start_ms, end_ms FROM batch WHERE kind=? AND position>? ORDER BY position",
                (kind, after),
            ).fetchall()

    def kind_of(self, device: str) -> str | None:
        """Kind under which a device has reported, or None where it never has."""
        with self._reading() as found:
            row = found.execute("SELECT kind FROM device WHERE device=?", (device,)).fetchone()
            return None if row is None else str(row[0])

    def last(self, kind: str) -> list[Reading]:
        found = [reading for batch in self.last_batches(kind) for reading in batch.readings()]
        return sorted(found, key=lambda reading: reading.device)

    def last_batches(self, kind: str) -> Iterator[ReadingBatch]:
        """The same as columns, unordered: the rows of each batch that are the newest of their devices."""
        with self._reading() as found:
            found.execute("BEGIN")
            rows: dict[int, list[int]] = {}
            for position, row in last_rows(found, kind, self.rotten).of(kind):
                rows.setdefault(position, []).append(row)
            for position, chosen in sorted(rows.items()):
                blob = found.execute("SELECT blob FROM batch WHERE position=?", (position,)).fetchone()
                if (whole := self.rotten.unpacked(position, kind, blob[0], chosen)) is not None:
                    yield whole

    def last_seq(self, site: str, writer: str) -> int:
        with self._reading() as found:
            row = found.execute("SELECT max(seq) FROM event WHERE site=? AND writer=?", (site, writer)).fetchone()
            return int(row[0] or 0)

    def position(self) -> int:
        if self._writer is not None:
            return self._position
        with self._reading() as found:
            return last_position(found)

    def keep(self, evidence: bytes) -> str:
        name = sha256_hex(evidence)
        with self._guard:
            self._pending[name] = evidence
            full = len(self._pending) > _MOST_PENDING_EVIDENCE
        if full:
            with contextlib.suppress(JournalUnwritable):
                self.append([], [])
        return name

    def evidence(self, sha256: str) -> bytes:
        pending = self._pending.get(sha256)
        if pending is not None:
            return pending
        with self._reading() as found:
            row = found.execute("SELECT bytes FROM evidence WHERE sha256=?", (sha256,)).fetchone()
            if row is None:
                raise KeyError(f"no evidence {sha256}")
            return bytes(row[0])

    # --- trimming ----------------------------------------------------------------------------------------

    def trim(self, until: int) -> int:
        with self._guard:
            if self._writer is None:
                raise JournalUnwritable(JournalState.READ_ONLY, "this journal is opened for reading, or closed")
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                self._last.write(self._writer, self._position)
                found = self._writer.execute(
                    "DELETE FROM batch WHERE position<=? AND position NOT IN (SELECT position FROM last)", (until,)
                )
                self._writer.execute("UPDATE mark SET trimmed=max(trimmed, ?)", (min(until, self._position),))
                self._writer.execute("COMMIT")
                self._last.wrote(self._position)
                self._writer.execute("PRAGMA incremental_vacuum").fetchall()
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            except sqlite3.Error as error:
                self._undo(self._writer)
                raise self._unwritable(error) from error
            return found.rowcount

    def _bytes_used(self) -> int:
        total = 0
        for name in (self.path, self.path.with_name(FILE_NAME + "-wal")):
            with contextlib.suppress(OSError):
                total += name.stat().st_size
        return total

    def health(self) -> JournalHealth:
        oldest = 1
        with contextlib.suppress(sqlite3.Error), self._reading() as found:
            oldest = int(found.execute("SELECT trimmed + 1 FROM mark").fetchone()[0])
        return JournalHealth(self._state, self._text, self._bytes_used(), self._max_bytes, self.position(), oldest)

    def close(self) -> None:
        with self._guard:
            if self._writer is not None and self._pending:
                with contextlib.suppress(JournalUnwritable):
                    self.append([], [])
            self._release()

    def __enter__(self) -> "SqliteJournal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _release(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(sqlite3.Error):
                self._writer.close()
            self._writer = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None
