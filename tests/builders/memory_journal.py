# SPDX-License-Identifier: Apache-2.0
"""Journal in memory that can be made unwritable: the port's promises without a disk."""

from collections.abc import Iterable, Iterator, Sequence

from kernel.event import Event
from kernel.reading import ReadingBatch
from telemetry.store.journal import JournalState, JournalUnwritable, Record


class MemoryJournal:
    """Appends to a list; while `down` it writes nothing and raises as a full disk does. `calls` counts appends."""

    def __init__(self) -> None:
        self.held: list[Record] = []
        self.down = False
        self.calls = 0

    def append(self, batches: Sequence[ReadingBatch], events: Sequence[Event]) -> int:
        self.calls += 1
        if self.down:
            raise JournalUnwritable(JournalState.FULL, "no space left on device")
        for content in (*batches, *events):
            self.held.append(Record(len(self.held) + 1, content))
        return len(self.held)

    def records(self, after: int = 0, until: int | None = None) -> Iterator[Record]:
        yield from self.held[after:until]

    def events(self, kinds: Iterable[str], after: int = 0) -> Iterator[tuple[int, Event]]:
        wanted = set(kinds)
        for record in self.held[after:]:
            if isinstance(record.content, Event) and record.content.kind in wanted:
                yield record.position, record.content

    def last_seq(self, site: str, writer: str) -> int:
        mine = (one.content for one in self.held if isinstance(one.content, Event))
        return max((one.seq for one in mine if (one.site, one.writer) == (site, writer)), default=0)

    def position(self) -> int:
        return len(self.held)

    def close(self) -> None:
        return None
