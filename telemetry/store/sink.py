# SPDX-License-Identifier: Apache-2.0
"""Forwarding of readings to other stores: a watermark per sink, replay after an outage, poison set aside.

An acknowledgement of a sink is no durability: some hold what they acknowledged in memory for seconds. So each sink has
two marks in the journal: `sent`, what it acknowledged last, and `safe`, what it acknowledged `replay_s` ago. After any
outage, and at every start, forwarding goes on from `safe`. Points are the same points again (series and instant), so a
sink that overwrites holds each once.

A batch that a sink refuses is halved until the rows that it refuses are alone; those are set aside with the sink's own
words and forwarding goes on. Nothing is kept in memory but the batch under way: the journal is the queue.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kernel.clock import Clock
from kernel.reading import Column, ReadingBatch
from telemetry.store.journal import Journal
from telemetry.wire.exposition import Figure

_MOST_TRIES_A_BATCH = 64
"""Requests spent on finding the poison of one batch; what is still refused then is set aside whole."""


class SinkDown(Exception):
    """It does not take anything now: not reached, overloaded, or not set up. What was given is given again later."""


class SinkRefused(Exception):
    """It will never take this payload. `text` is the sink's own word."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)


class Sink(Protocol):
    """A store to which readings go. Idempotent: the same readings given twice are there once."""

    @property
    def name(self) -> str:
        """Its name in the configuration: the key of its marks."""

    def send(self, batch: ReadingBatch) -> None:
        """Give it all rows of a batch; returns once it acknowledged them. Raises SinkDown or SinkRefused."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a sink is, in journal positions."""

    sent: int = 0
    safe: int = 0


@dataclass(frozen=True, slots=True)
class Aside:
    """Rows that a sink will not take, or that were gone before it came back: reported, and out of the way."""

    sink: str
    position: int
    kind: str
    rows: int
    text: str
    at_ms: int


class Marks(Protocol):
    """Where marks and what was set aside are kept, apart from the journal."""

    def mark(self, sink: str) -> Mark: ...

    def move(self, sink: str, mark: Mark) -> None: ...

    def put_aside(self, aside: Aside, batch: ReadingBatch | None) -> None: ...

    def asides(self, sink: str) -> list[Aside]: ...


class SinkState(StrEnum):
    """What a page shows of a sink."""

    LEVEL = "level"
    """It has all that the journal has."""
    BEHIND = "behind"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class SinkHealth:
    """`behind` counts journal positions; `text` is why it is down."""

    name: str
    state: SinkState
    text: str
    sent: int
    behind: int
    rows: int
    set_aside: int


class Forwarder:
    """Moves one sink along the journal. `step` blocks while it sends: the runtime calls it in a thread."""

    def __init__(
        self,
        journal: Journal,
        sink: Sink,
        marks: Marks,
        clock: Clock,
        *,
        kinds: frozenset[str] = frozenset({"miner", "meter", "container", "sensor", "switch"}),
        replay_s: float = 600.0,
        rows_a_send: int = 5_000,
        least_pause_s: float = 1.0,
        most_pause_s: float = 60.0,
    ) -> None:
        self._journal, self._sink, self._marks, self._clock = journal, sink, marks, clock
        self._kinds, self._replay_s, self._rows_a_send = kinds, replay_s, rows_a_send
        self._least_pause_s, self._most_pause_s = least_pause_s, most_pause_s
        mark = marks.mark(sink.name)
        self._cursor, self._sent, self._safe = mark.safe, mark.sent, mark.safe
        self._acknowledged: deque[tuple[float, int]] = deque()
        self._failures, self._text = 0, ""
        self._rows, self._aside = 0, len(marks.asides(sink.name))

    def step(self, most_records: int = 200) -> float:
        """Send what is next; returns the seconds after which to call again (0: there is more)."""
        oldest = self._journal.health().oldest_position
        if self._cursor + 1 < oldest and self._sent + 1 < oldest:
            self._put_aside(
                self._sent + 1, "", oldest - self._sent - 1, "no longer in the journal: see the archive", None
            )
            self._cursor = self._sent = oldest - 1
        count = 0
        try:
            for record in self._journal.records(after=self._cursor):
                if isinstance(record.content, ReadingBatch) and record.content.kind in self._kinds:
                    for part in _parts(record.content, self._rows_a_send):
                        self._give(record.position, part)
                self._moved(record.position)
                count += 1
                if count >= most_records:
                    break
        except SinkDown as error:
            self._failures += 1
            self._text = str(error)
            self._keep()
            # What it acknowledged lately may be lost to it: go back to what is safe.
            self._cursor = self._safe
            self._acknowledged.clear()
            return min(self._least_pause_s * 2.0 ** min(self._failures - 1, 16), self._most_pause_s)
        self._failures, self._text = 0, ""
        self._keep()
        return 0.0 if count >= most_records else self._least_pause_s

    def health(self) -> SinkHealth:
        """How far it is. May be called from another thread."""
        behind = self._journal.position() - self._cursor
        state = SinkState.DOWN if self._failures else SinkState.BEHIND if behind > 0 else SinkState.LEVEL
        return SinkHealth(self._sink.name, state, self._text, self._sent, behind, self._rows, self._aside)

    def figures(self) -> list[Figure]:
        """As figures for `/metrics`, labelled with the sink's name."""
        health, labels = self.health(), {"sink": self._sink.name}
        aside = "Batches that a sink refused for good and that were set aside."
        return [
            Figure("sink_rows", float(health.rows), "Rows forwarded to a sink.", counter=True, labels=labels),
            Figure("sink_behind_records", float(health.behind), "Journal records not yet forwarded.", labels=labels),
            Figure("sink_set_aside", float(health.set_aside), aside, counter=True, labels=labels, loss=True),
        ]

    def _moved(self, position: int) -> None:
        now_s = self._clock.monotonic_s()
        self._cursor = position
        self._sent = max(self._sent, position)
        self._acknowledged.append((now_s, position))
        while self._acknowledged and self._acknowledged[0][0] <= now_s - self._replay_s:
            self._safe = max(self._safe, self._acknowledged.popleft()[1])

    def _keep(self) -> None:
        self._marks.move(self._sink.name, Mark(self._sent, self._safe))

    def _give(self, position: int, batch: ReadingBatch) -> None:
        """Send; where it is refused, halve it until what is refused stands alone."""
        waiting, tries = deque([batch]), 0
        while waiting:
            part = waiting.popleft()
            tries += 1
            try:
                self._sink.send(part)
                self._rows += len(part)
            except SinkRefused as error:
                if len(part) == 1 or tries >= _MOST_TRIES_A_BATCH:
                    self._put_aside(position, part.kind, len(part), error.text, part)
                else:
                    half = len(part) // 2
                    waiting.appendleft(_rows(part, slice(half, len(part))))
                    waiting.appendleft(_rows(part, slice(0, half)))

    def _put_aside(self, position: int, kind: str, rows: int, text: str, batch: ReadingBatch | None) -> None:
        self._aside += 1
        self._marks.put_aside(Aside(self._sink.name, position, kind, rows, text, self._clock.now_ms()), batch)


def _parts(batch: ReadingBatch, most: int) -> Sequence[ReadingBatch]:
    if len(batch) <= most:
        return [batch]
    return [_rows(batch, slice(first, first + most)) for first in range(0, len(batch), most)]


def _rows(batch: ReadingBatch, chosen: slice) -> ReadingBatch:
    """Some rows of a batch; numbers are views."""
    columns = {name: Column(column.stored[chosen], column.codes[chosen]) for name, column in batch.columns.items()}
    at_ms: NDArray[np.int64] = batch.at_ms[chosen]
    return ReadingBatch(batch.kind, batch.devices[chosen], at_ms, columns)
