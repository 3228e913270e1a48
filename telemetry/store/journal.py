# SPDX-License-Identifier: Apache-2.0
"""Port of the journal: append-only, durable record of readings, events and commands.

A record is durable before anything acts on it. A position counts appended records from 1. An acknowledged record (`append`
returned) is found again after any crash, exactly once.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from kernel.event import Event
from kernel.reading import Reading, ReadingBatch


@dataclass(frozen=True, slots=True)
class Record:
    """One journal entry: a batch of readings or an event, at its position."""

    position: int
    content: ReadingBatch | Event


class JournalState(StrEnum):
    """Whether the journal accepts records."""

    WRITABLE = "writable"
    FULL = "full"
    """No space on the disk, or a quota is used up: nothing new is acknowledged until there is space."""
    READ_ONLY = "read_only"
    """The file system or the file is not writable."""
    LOCKED = "locked"
    """Another process writes to the same file."""
    FAILED = "failed"
    """The disk or the file is damaged; the text has the details."""


@dataclass(frozen=True, slots=True)
class JournalHealth:
    """State of the journal for page and metrics. Bytes are on disk, including the write-ahead file.

    Batches before `oldest_position` were trimmed: they are in the archive.
    """

    state: JournalState
    text: str
    bytes_used: int
    bytes_allowed: int | None
    position: int
    oldest_position: int


class JournalUnwritable(OSError):
    """An append wrote nothing; state and text give reason and remedy. The next append tries again."""

    def __init__(self, state: JournalState, text: str) -> None:
        self.state = state
        self.text = text
        super().__init__(f"journal {state}: {text}")


class Journal(Protocol):
    """Synchronous port: the runtime calls it in a thread when live, and directly in virtual time."""

    def append(self, batches: Sequence[ReadingBatch], events: Sequence[Event]) -> int:
        """Write all or nothing, in this order (batches first); returns the last position once it is on disk.

        Positions are consecutive. An event whose key (site, writer, seq) exists is the same event again: it is not stored
        twice and gets no position. JournalUnwritable (an OSError) where nothing could be written.
        """

    def records(self, after: int = 0, until: int | None = None) -> Iterator[Record]:
        """All records in order of position, in (after, until]."""

    def events(self, kinds: Iterable[str] | None, after: int = 0) -> Iterator[tuple[int, Event]]:
        """Events of some kinds with their positions, without decoding batches; also those stored under a former name.

        None: events of every kind, also of kinds that this hub does not know.
        """

    def batches(self, kind: str, start_ms: int, end_ms: int) -> Iterator[ReadingBatch]:
        """Batches of a kind that may hold readings of [start_ms, end_ms)."""

    def last(self, kind: str) -> list[Reading]:
        """Newest reading of each device of a kind, by its `at_ms`."""

    def last_seq(self, site: str, writer: str) -> int:
        """Highest sequence number used by a writer; 0 where it has written nothing."""

    def position(self) -> int:
        """Last position; 0 when empty."""

    def keep(self, evidence: bytes) -> str:
        """Store raw bytes under their SHA-256 (hex), once; durable with the next append at the latest."""

    def evidence(self, sha256: str) -> bytes:
        """Raw bytes with this SHA-256; KeyError where they are not stored."""

    def trim(self, until: int) -> int:
        """Delete batches at or before a position (they are archived and forwarded); returns their number.

        Events, evidence and all batches that `last` needs remain.
        """

    def health(self) -> JournalHealth:
        """Whether it is writable, and the bytes that it uses."""

    def close(self) -> None:
        """Flush, close the file and release its lock."""
