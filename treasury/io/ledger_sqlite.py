# SPDX-License-Identifier: Apache-2.0
"""Ledger in one SQLite file: STRICT tables, WAL, synchronous FULL, one writer, group commit.

Threads put requests into one queue; the thread with the lock commits for all that wait. A second process cannot write (a lock
file next to the ledger); any process can read.
"""

import fcntl
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from kernel.errors import BrokenInvariant, ConfigError, DecodeError, Fault
from kernel.money import Unit
from treasury.account import Account, Balance, Keeps
from treasury.books import Books
from treasury.ledger import BATCH_MOST, Head, Outcome
from treasury.transfer import GENESIS, Entry, Transfer

_SCHEMA = """
CREATE TABLE IF NOT EXISTS account (
    seq INTEGER PRIMARY KEY, recorded_ms INTEGER NOT NULL, code TEXT NOT NULL UNIQUE, unit TEXT NOT NULL, keeps TEXT NOT NULL,
    note TEXT NOT NULL, leaf BLOB NOT NULL, chain BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS transfer (
    seq INTEGER PRIMARY KEY, recorded_ms INTEGER NOT NULL, id BLOB NOT NULL UNIQUE,
    debit INTEGER NOT NULL REFERENCES account(seq), credit INTEGER NOT NULL REFERENCES account(seq),
    amount INTEGER NOT NULL CHECK (amount > 0), kind TEXT NOT NULL, effective_ms INTEGER NOT NULL,
    evidence BLOB, link BLOB, corrects BLOB, note TEXT NOT NULL, leaf BLOB NOT NULL, chain BLOB NOT NULL,
    CHECK (debit <> credit)) STRICT;
CREATE TABLE IF NOT EXISTS balance (
    account INTEGER PRIMARY KEY REFERENCES account(seq), debits INTEGER NOT NULL CHECK (debits >= 0),
    credits INTEGER NOT NULL CHECK (credits >= 0)) STRICT;
CREATE TRIGGER IF NOT EXISTS transfer_stays BEFORE UPDATE ON transfer
    BEGIN SELECT RAISE(ABORT, 'a transfer never changes: post a correcting one'); END;
CREATE TRIGGER IF NOT EXISTS transfer_remains BEFORE DELETE ON transfer
    BEGIN SELECT RAISE(ABORT, 'a transfer is never deleted: post a correcting one'); END;
CREATE TRIGGER IF NOT EXISTS account_stays BEFORE UPDATE ON account
    BEGIN SELECT RAISE(ABORT, 'an account never changes: open another'); END;
CREATE TRIGGER IF NOT EXISTS account_remains BEFORE DELETE ON account
    BEGIN SELECT RAISE(ABORT, 'an account is never deleted'); END;
"""
_APPLICATION_ID, _VERSION = 0x6D686C67, 1  # "mhlg"
_TRANSFER = (
    "SELECT t.seq, t.recorded_ms, t.id, d.code, c.code, t.amount, d.unit, t.kind, t.effective_ms, t.evidence, t.link,"
    " t.corrects, t.note, t.leaf, t.chain FROM transfer t JOIN account d ON d.seq = t.debit JOIN account c ON c.seq = t.credit"
)
ACCOUNT_FIELDS = 8
_ACCOUNT = "SELECT seq, recorded_ms, code, unit, keeps, note, leaf, chain FROM account"


@dataclass(slots=True)
class _Request:
    body: Sequence[Transfer] | Sequence[Account]
    opening: bool
    now_ms: int
    outcome: Outcome | None = None
    error: BaseException | None = None
    done: threading.Event = field(default_factory=threading.Event)


class SqliteLedger:
    """`treasury.ledger.Ledger` on SQLite. Created by `open_ledger` or `read_ledger`."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self._lock, self._queue = threading.Lock(), deque[_Request]()
        self._writer: IO[str] | None = None if read_only else _claim(path)
        uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        self._db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA busy_timeout = 10000")
        # A damaged text is still read: the hash check then shows which line it is.
        self._db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        self._reading = threading.Lock()
        if not read_only:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._prepare(path)
            self._books = self._load()

    def _prepare(self, path: Path) -> None:
        (mark,), (version,) = (
            self._db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
        )
        if mark not in (0, _APPLICATION_ID) or version > _VERSION:
            text = f"not a ledger of version {_VERSION} (mark {mark:#x}, version {version})"
            raise ConfigError([Fault(str(path), text, "Give the hub's own ledger file, or use a newer mining-hub")])
        marks = f"PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {_VERSION};"
        self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} {marks} COMMIT;")

    def _load(self) -> Books:
        """Books as of the last commit; balances are read from their table, not summed (`treasury.checks` sums them)."""
        books = Books()
        for row in self._db.execute(f"{_ACCOUNT} ORDER BY seq").fetchall():
            books.restore(_account_entry(row))
        for code, debits, credits in self._db.execute(
            "SELECT a.code, b.debits, b.credits FROM balance b JOIN account a ON a.seq = b.account"
        ):
            books.debits[code], books.credits[code] = debits, credits
        head = self.head()
        (recorded_ms,) = self._db.execute(
            "SELECT max(coalesce((SELECT max(recorded_ms) FROM account), 0),"
            " coalesce((SELECT recorded_ms FROM transfer ORDER BY seq DESC LIMIT 1), 0))"
        ).fetchone()
        books.size, books.chain, books.last_recorded_ms = head.size, head.chain, recorded_ms
        return books

    def open_accounts(self, accounts: Sequence[Account], now_ms: int) -> Outcome:
        return self._submit(_Request(list(accounts), True, now_ms))

    def post(self, transfers: Sequence[Transfer], now_ms: int) -> Outcome:
        return self._submit(_Request(list(transfers), False, now_ms))

    def _submit(self, request: _Request) -> Outcome:
        if self._writer is None:
            raise ConfigError(
                [Fault("ledger", "opened for reading only", "Post through the hub, which is the only writer")]
            )
        self._queue.append(request)
        with self._lock:
            while not request.done.is_set():
                self._commit(self._take())
        if request.error is not None:
            raise request.error
        if request.outcome is None:
            raise BrokenInvariant("a ledger request left the queue without an answer")
        return request.outcome

    def _take(self) -> list[_Request]:
        group: list[_Request] = []
        space = BATCH_MOST
        while self._queue and (not group or len(self._queue[0].body) <= space):
            group.append(self._queue.popleft())
            space -= len(group[-1].body)
        return group

    def _commit(self, group: list[_Request]) -> None:
        try:
            with self._reading:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    self._carry_out(group)
                    self._db.execute("COMMIT")
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
        except BaseException as error:
            self._books = self._load()
            for request in group:
                request.outcome, request.error = None, error
        finally:
            for request in group:
                request.done.set()

    def _carry_out(self, group: list[_Request]) -> None:
        known = self._find([item.id for r in group for item in r.body if isinstance(item, Transfer)])
        entries: list[Entry] = []
        for request in group:
            if request.opening:
                accounts = [item for item in request.body if isinstance(item, Account)]
                request.outcome, fresh = self._books.open(accounts, request.now_ms)
            else:
                transfers = [item for item in request.body if isinstance(item, Transfer)]
                request.outcome, fresh = self._books.post(transfers, request.now_ms, known)
                known.update((entry.body.id, entry) for entry in fresh if isinstance(entry.body, Transfer))
            entries += fresh
        self._write(entries)

    def _write(self, entries: Sequence[Entry]) -> None:
        numbers = {code: entry.seq for code, entry in self._books.opened.items()}
        self._db.executemany(
            "INSERT INTO account VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (e.seq, e.recorded_ms, e.body.code, e.body.unit.value, e.body.keeps.value, e.body.note, e.leaf, e.chain)
                for e in entries
                if isinstance(e.body, Account)
            ],
        )
        moved = [(entry, entry.body) for entry in entries if isinstance(entry.body, Transfer)]
        self._db.executemany(
            "INSERT INTO transfer VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    e.seq, e.recorded_ms, t.id.bytes, numbers[t.debit], numbers[t.credit], t.amount, t.kind, t.effective_ms,
                    bytes.fromhex(t.evidence) if t.evidence else None, t.link.bytes if t.link else None,
                    t.corrects.bytes if t.corrects else None, t.note, e.leaf, e.chain,
                )
                for e, t in moved
            ],
        )  # fmt: skip
        touched = {code for _, transfer in moved for code in (transfer.debit, transfer.credit)}
        self._db.executemany(
            "INSERT INTO balance VALUES (?, ?, ?) ON CONFLICT (account) DO UPDATE SET debits = excluded.debits,"
            " credits = excluded.credits",
            [(numbers[code], self._books.debits[code], self._books.credits[code]) for code in sorted(touched)],
        )

    def find(self, ids: Sequence[UUID]) -> Mapping[UUID, Entry]:
        with self._reading:
            return self._find(ids)

    def _find(self, ids: Sequence[UUID]) -> dict[UUID, Entry]:
        found: dict[UUID, Entry] = {}
        for start in range(0, len(ids), 500):
            part = [key.bytes for key in ids[start : start + 500]]
            marks = ",".join("?" * len(part))
            for row in self._db.execute(f"{_TRANSFER} WHERE t.id IN ({marks})", part):
                found[UUID(bytes=row[2])] = _transfer_entry(row)
        return found

    def accounts(self) -> Mapping[str, Account]:
        entries = (_account_entry(row) for row in self._rows(f"{_ACCOUNT} ORDER BY seq"))
        return {entry.body.code: entry.body for entry in entries if isinstance(entry.body, Account)}

    def balances(self) -> Mapping[str, Balance]:
        rows = self._rows(
            "SELECT a.code, coalesce(b.debits, 0), coalesce(b.credits, 0) FROM account a"
            " LEFT JOIN balance b ON b.account = a.seq ORDER BY a.seq"
        )
        return {code: Balance(debits, credits) for code, debits, credits in rows}

    def turnover(self, start_ms: int | None, end_ms: int | None, until: int | None = None) -> Mapping[str, Balance]:
        low, high, last = start_ms or 0, 1 << 62 if end_ms is None else end_ms, 1 << 62 if until is None else until
        rows = self._rows(
            "SELECT a.code, coalesce((SELECT sum(amount) FROM part WHERE debit = a.seq), 0),"
            " coalesce((SELECT sum(amount) FROM part WHERE credit = a.seq), 0) FROM account a WHERE a.seq <= ? ORDER BY a.seq",
            (low, high, last, last),
            "WITH part AS MATERIALIZED (SELECT debit, credit, sum(amount) AS amount FROM transfer"
            " WHERE effective_ms >= ? AND effective_ms < ? AND seq <= ? GROUP BY debit, credit) ",
        )
        return {code: Balance(debits, credits) for code, debits, credits in rows}

    def entries(self, after: int = 0, until: int | None = None) -> Iterator[Entry]:
        last = self.head().size if until is None else until
        step = 4096
        for low in range(after, last, step):
            high = min(low + step, last)
            accounts = self._rows(f"{_ACCOUNT} WHERE seq > ? AND seq <= ? ORDER BY seq", (low, high))
            transfers = self._rows(f"{_TRANSFER} WHERE t.seq > ? AND t.seq <= ? ORDER BY t.seq", (low, high))
            for row in sorted([*accounts, *transfers], key=lambda row: int(row[0])):
                yield _account_entry(row) if len(row) == ACCOUNT_FIELDS else _transfer_entry(row)

    def last(self, kind: str, before_ms: int) -> Entry | None:
        rows = self._rows(
            f"{_TRANSFER} WHERE t.kind = ? AND t.effective_ms < ? ORDER BY t.effective_ms DESC, t.seq DESC LIMIT 1",
            (kind, before_ms),
        )
        return _transfer_entry(rows[0]) if rows else None

    def head(self) -> Head:
        rows = self._rows(
            "SELECT seq, chain FROM (SELECT seq, chain FROM (SELECT seq, chain FROM account ORDER BY seq DESC LIMIT 1)"
            " UNION ALL SELECT seq, chain FROM (SELECT seq, chain FROM transfer ORDER BY seq DESC LIMIT 1))"
            " ORDER BY seq DESC LIMIT 1"
        )
        return Head(rows[0][0], rows[0][1]) if rows else Head(0, GENESIS)

    def _rows(self, sql: str, values: Sequence[Any] = (), prefix: str = "") -> list[tuple[Any, ...]]:
        with self._reading:
            return self._db.execute(prefix + sql, values).fetchall()

    def close(self) -> None:
        with self._lock:
            self._db.close()
            if self._writer is not None:
                self._writer.close()
                self._writer = None


def open_ledger(path: Path) -> SqliteLedger:
    """Open the ledger for its only writer; created where there is none. ConfigError where another process has it open."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return SqliteLedger(path, read_only=False)


def read_ledger(path: Path) -> SqliteLedger:
    """Open the ledger for reading, also while a writer runs. ConfigError where there is none."""
    if not path.is_file():
        raise ConfigError([Fault(str(path), "no ledger here", "Give the folder of a hub that has settled a payout")])
    return SqliteLedger(path, read_only=True)


def _claim(path: Path) -> IO[str]:
    claim = path.with_name(path.name + ".writer").open("w")
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        claim.close()
        raise ConfigError(
            [Fault(str(path), "another process writes this ledger", "Stop it first; reading is possible meanwhile")]
        ) from None
    return claim


def _account_entry(row: tuple[Any, ...]) -> Entry:
    seq, recorded_ms, code, unit, keeps, note, leaf, chain = row
    try:
        return Entry(seq, recorded_ms, Account(code, Unit(unit), Keeps(keeps), note), leaf, chain)
    except ValueError as error:
        raise DecodeError(f"entry {seq}", str(error)) from None


def _transfer_entry(row: tuple[Any, ...]) -> Entry:
    (
        seq,
        recorded_ms,
        id_,
        debit,
        credit,
        amount,
        unit,
        kind,
        effective_ms,
        evidence,
        link,
        corrects,
        note,
        leaf,
        chain,
    ) = row
    try:
        transfer = Transfer(
            UUID(bytes=id_), debit, credit, amount, Unit(unit), kind, effective_ms, evidence.hex() if evidence else None,
            UUID(bytes=link) if link else None, UUID(bytes=corrects) if corrects else None, note,
        )  # fmt: skip
    except ValueError as error:
        raise DecodeError(f"entry {seq}", str(error)) from None
    return Entry(seq, recorded_ms, transfer, leaf, chain)
