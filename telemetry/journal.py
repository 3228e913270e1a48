# SPDX-License-Identifier: Apache-2.0
"""The journal's port: an append-only record of all the hub heard and said. Durable before anything acts on it.

A position counts appended records from 1. What was acknowledged (append returned) is found again after any kill, once.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from kernel.event import Event
from kernel.reading import Reading, ReadingBatch


@dataclass(frozen=True, slots=True)
class Record:
    """One journal entry: a batch of readings or an event, at its position."""

    position: int
    content: ReadingBatch | Event


class Journal(Protocol):
    """Synchronous on purpose: the runtime gives it a thread when live, and calls it directly in virtual time."""

    def append(self, batches: Sequence[ReadingBatch], events: Sequence[Event]) -> int:
        """Write all or nothing, in this order (batches first); returns the last position, once it is on disk.

        An event whose key (site, writer, seq) is there already is the same event again: it is not doubled.
        """

    def records(self, after: int = 0, until: int | None = None) -> Iterator[Record]:
        """Everything in order of position, in (after, until]."""

    def events(self, kinds: Iterable[str], after: int = 0) -> Iterator[tuple[int, Event]]:
        """Events of some kinds with their positions, without decoding batches."""

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

    def close(self) -> None:
        """Flush and let go of the file."""
