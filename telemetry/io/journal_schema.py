# SPDX-License-Identifier: Apache-2.0
"""Journal tables, file check, writer lock, and classification of write errors."""

import contextlib
import errno
import fcntl
import os
import sqlite3
from pathlib import Path
from typing import IO

import orjson

from kernel.errors import ConfigError, Fault
from kernel.event import Event, kind_read
from telemetry.store.journal import JournalState

SCHEMA_VERSION = 1
FILE_NAME = "journal.sqlite"

SCHEMA = """
CREATE TABLE batch (
  position INTEGER PRIMARY KEY, kind TEXT NOT NULL, start_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL,
  rows INTEGER NOT NULL, blob BLOB NOT NULL
) STRICT;
CREATE INDEX batch_time ON batch (kind, end_ms, start_ms);
CREATE TABLE event (
  position INTEGER PRIMARY KEY, kind TEXT NOT NULL, version INTEGER NOT NULL, site TEXT NOT NULL, writer TEXT NOT NULL,
  seq INTEGER NOT NULL, at_ms INTEGER NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX event_key ON event (site, writer, seq);
CREATE INDEX event_kind ON event (kind, position);
CREATE TABLE device (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, device TEXT NOT NULL, UNIQUE (kind, device)) STRICT;
CREATE TABLE last (
  id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, position INTEGER NOT NULL, row INTEGER NOT NULL
) STRICT;
CREATE TABLE mark (trimmed INTEGER NOT NULL, pointed INTEGER NOT NULL) STRICT;
INSERT INTO mark VALUES (0, 0);
CREATE TABLE evidence (sha256 TEXT PRIMARY KEY, bytes BLOB NOT NULL) STRICT, WITHOUT ROWID;
"""

GUARDS = """
CREATE TRIGGER IF NOT EXISTS event_stays BEFORE UPDATE ON event
  BEGIN SELECT RAISE(ABORT, 'an event is never changed'); END;
CREATE TRIGGER IF NOT EXISTS event_remains BEFORE DELETE ON event
  BEGIN SELECT RAISE(ABORT, 'an event is never deleted'); END;
"""
"""Set at each opening for writing: journals of before have none."""

EVERY_EVENT = "SELECT * FROM event WHERE position>? ORDER BY position"
EVENTS_OF = "SELECT * FROM event WHERE kind IN (SELECT value FROM json_each(?)) AND position>? ORDER BY position"

PAGE_BYTES = 8192

_STATES = {
    sqlite3.SQLITE_FULL: JournalState.FULL,
    sqlite3.SQLITE_READONLY: JournalState.READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: JournalState.READ_ONLY,
    sqlite3.SQLITE_BUSY: JournalState.LOCKED,
    sqlite3.SQLITE_LOCKED: JournalState.LOCKED,
}
REMEDIES = {
    JournalState.FULL: "free space on the disk; the hub goes on by itself",
    JournalState.READ_ONLY: "make the folder writable (mount, owner, mode); the hub goes on by itself",
    JournalState.LOCKED: "stop the other program that writes to this file",
    JournalState.FAILED: "check the disk; restore the file from the last copy if it stays",
}


def check_version(connection: sqlite3.Connection, path: Path) -> None:
    """ConfigError where the file is no journal of the version that this hub reads."""
    try:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.DatabaseError as error:
        fault = Fault(str(path), f"not a readable journal: {error}", "Restore it from a copy, or move it aside")
        raise ConfigError([fault]) from error
    if version != SCHEMA_VERSION:
        problem = f"schema version {version}, this hub reads {SCHEMA_VERSION}"
        raise ConfigError([Fault(str(path), problem, "Use the hub that wrote it")])


def last_position(connection: sqlite3.Connection) -> int:
    """The last position assigned, even where its record has been trimmed."""
    row = connection.execute(
        "SELECT max(coalesce((SELECT max(position) FROM batch), 0), coalesce((SELECT max(position) FROM event), 0),"
        " (SELECT trimmed FROM mark))"
    ).fetchone()
    return int(row[0])


def state_of(error: Exception, folder: Path) -> JournalState:
    """Journal state indicated by an error of a write."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return _state_of_disk(folder) if code == sqlite3.SQLITE_IOERR else _STATES.get(code, JournalState.FAILED)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return JournalState.FULL
    if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES):
        return JournalState.READ_ONLY
    return JournalState.FAILED


def _state_of_disk(folder: Path) -> JournalState:
    """State after an I/O error, which does not distinguish a full disk from a damaged one: the free space is checked."""
    with contextlib.suppress(OSError):
        space = os.statvfs(folder)
        if space.f_bavail * space.f_frsize < 4 * PAGE_BYTES:
            return JournalState.FULL
        if space.f_flag & os.ST_RDONLY:
            return JournalState.READ_ONLY
    return JournalState.FAILED


def hold(path: Path) -> IO[bytes]:
    """Lock of the only writer; the operating system releases it with the process, however that ends."""
    lock = path.open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        fault = Fault(str(path.parent), "another hub writes here", "Stop it, or give this hub a folder of its own")
        raise ConfigError([fault]) from error
    return lock


def event_of(row: tuple[int, str, int, str, str, int, int, bytes]) -> Event:
    """The event of a row. The one place where rows are read, and so where a former kind becomes today's."""
    _, kind, version, site, writer, seq, at_ms, body = row
    return Event(kind_read(kind), version, site, writer, seq, at_ms, orjson.loads(body))
