# SPDX-License-Identifier: Apache-2.0
"""Batches of the journal that are not what was written: left out of every answer, named with their place."""

import logging
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from kernel.clock import iso
from kernel.reading import ReadingBatch
from telemetry.io.arrow import CorruptBatch, has_checksum, unpack
from telemetry.wire.exposition import Figure

log = logging.getLogger(__name__)

T = TypeVar("T")


class Batches(Protocol):
    """A journal of which every batch can be read."""

    def places(self) -> list[tuple[int, str, int, int, int]]: ...

    def blob(self, position: int) -> bytes: ...


class Rotten:
    """Batches found corrupt so far, by position; each is reported once."""

    def __init__(self) -> None:
        self.found: dict[int, str] = {}

    def whole(self, position: int, what: str, read: Callable[[], T]) -> T | None:
        """What `read` gives; None for a corrupt batch, which is reported with its position and `what` it holds."""
        if position in self.found:
            return None
        try:
            return read()
        except CorruptBatch as error:
            self.found[position] = f"{what}: {error}"
            log.error("journal batch %s is corrupt and left out, %s: %s", position, what, error)
            return None

    def figures(self) -> list[Figure]:
        """The counter of corrupt batches; its growth is an alarm."""
        help_text = "Batches of the journal that are not what was written, and are left out."
        return [Figure("journal_batches_corrupt", float(len(self.found)), help_text, counter=True, loss=True)]

    def unpacked(self, position: int, kind: str, blob: bytes, rows: list[int] | None = None) -> ReadingBatch | None:
        """A batch, or only some of its rows; None for a corrupt one."""
        return self.whole(position, f"{kind} readings", lambda: unpack(kind, blob, rows))


def corrupt_batches(journal: "Batches") -> Iterator[tuple[int, str]]:
    """(position, what it holds and what is wrong) of each corrupt batch of a whole journal: every one is read."""
    for position, kind, start_ms, end_ms, rows in journal.places():
        try:
            found = unpack(kind, journal.blob(position))
        except CorruptBatch as error:
            yield position, f"{place_of(kind, start_ms, end_ms, rows)}: {error}"
            continue
        if len(found) != rows:
            yield position, f"{place_of(kind, start_ms, end_ms, rows)}: it holds {len(found)}"


def without_checksum(journal: Batches) -> int:
    """How many batches were written before there was a checksum: of them only gross damage is found."""
    return sum(not has_checksum(journal.blob(position)) for position, *_ in journal.places())


def place_of(kind: str, start_ms: int, end_ms: int, rows: int) -> str:
    """What a batch holds, for people."""
    return f"{rows} {kind} readings of {iso(start_ms)} to {iso(end_ms)}"
