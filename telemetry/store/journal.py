# SPDX-License-Identifier: Apache-2.0
"""The journal's port: an append-only record of all the hub heard and said. Durable before anything acts on it.

A position counts appended records from 1. What was acknowledged (append returned) is found again after any kill, once.
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
    """Whether the journal takes what it is given."""

    WRITABLE = "writable"
    FULL = "full"
    """No space on the disk, or a quota is used up: nothing new is acknowledged until there is room."""
    READ_ONLY = "read_only"
    """The file system or the file does not let itself be written."""
    LOCKED = "locked"
    """Another process writes to the same file."""
    FAILED = "failed"
    """The disk or the file is broken: the text says how."""


@dataclass(frozen=True, slots=True)
class JournalHealth:
    """What a page or a metric shows of the journal. Bytes are on disk, with the write-ahead file.

    Batches before `oldest_position` were let go (`trim`): they are in the archive.
    """

    state: JournalState
    text: str
    bytes_used: int
    bytes_allowed: int | None
    position: int
    oldest_position: int


class JournalUnwritable(OSError):
    """An append wrote nothing: the state and the text say why, and what to do. The next append tries again."""

    def __init__(self, state: JournalState, text: str) -> None:
        self.state = state
        self.text = text
        super().__init__(f"journal {state}: {text}")


class Journal(Protocol):
    """Synchronous on purpose: the runtime gives it a thread when live, and calls it directly in virtual time."""

    def append(self, batches: Sequence[ReadingBatch], events: Sequence[Event]) -> int:
        """Write all or nothing, in this order (batches first); returns the last position, once it is on disk.

        Positions are consecutive. An event whose key (site, writer, seq) is there already is the same event again: it
        is not doubled, and takes no position. Raises JournalUnwritable (an OSError) where nothing could be written.
        """

    def records(self, after: int = 0, until: int | None = None) -> Iterator[Record]:
        """Everything in order of position, in (after, until]."""

    def events(self, kinds: Iterable[str] | None, after: int = 0) -> Iterator[tuple[int, Event]]:
        """Events of some kinds with their positions, without decoding batches; also those stored under a former name.

        None: events of every kind, also of kinds that this hub does not know.
        """

    def batches(self, kind: str, start_ms: int, end_ms: int) -> Iterator[ReadingBatch]:
        """Batches of a kind that may hold readings of [start_ms, end_ms)."""

    def last(self, kind: str) -> list[Reading]:
        """The newest reading of each device of a kind, by its `at_ms`."""

    def last_seq(self, site: str, writer: str) -> int:
        """The highest sequence number a writer has used; 0 where it has written nothing."""

    def position(self) -> int:
        """The last position; 0 when empty."""

    def keep(self, evidence: bytes) -> str:
        """Store raw bytes under their SHA-256 (hex), once; durable with the next append at the latest."""

    def evidence(self, sha256: str) -> bytes:
        """The raw bytes of a name; KeyError where they are not held."""

    def trim(self, until: int) -> int:
        """Let go of batches at or before a position (they are archived and forwarded); returns how many.

        Events, evidence and whatever `last` rests on stay.
        """

    def health(self) -> JournalHealth:
        """Whether it can be written, and the bytes it takes."""

    def close(self) -> None:
        """Flush and let go of the file."""
