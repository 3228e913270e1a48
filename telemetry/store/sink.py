# SPDX-License-Identifier: Apache-2.0
"""Forwarding of readings to other stores: marks per sink, replay after outages, rejected rows stored apart.

- A sink's acknowledgement is no proof of durability: some keep acknowledged rows in memory for seconds. So each sink has two
  marks in the journal: `sent`, the last position acknowledged, and `safe`, the last one acknowledged at least `replay_s` ago.
  After any outage, and at every start, forwarding continues from `safe`. Repeated points have the same series and instant, so
  that a sink that overwrites holds each once.
- A batch that a sink refuses is halved until the refused rows are isolated; those are stored apart with the sink's own text,
  and forwarding continues.
- Only the current batch is in memory: the journal is the queue.
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
"""Requests for isolating the refused rows of one batch; parts refused after that are set aside whole."""


class SinkDown(Exception):
    """The sink takes nothing now: unreachable, overloaded, or not set up. The rows are sent again later."""


class SinkRefused(Exception):
    """The sink refuses these rows for good. `text` is the sink's own text."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)


class Sink(Protocol):
    """A store that receives readings. Idempotent: readings sent twice are stored once."""

    @property
    def name(self) -> str:
        """Name in the configuration: the key of its marks."""

    def send(self, batch: ReadingBatch) -> None:
        """Send all rows of a batch; returns once they are acknowledged. Raises SinkDown or SinkRefused."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Progress of a sink, in journal positions."""

    sent: int = 0
    safe: int = 0


@dataclass(frozen=True, slots=True)
class Aside:
    """Rows that a sink refused, or that were trimmed from the journal before it came back."""

    sink: str
    position: int
    kind: str
    rows: int
    text: str
    at_ms: int


class Marks(Protocol):
    """Store of marks and of rows set aside, apart from the journal."""

    def mark(self, sink: str) -> Mark: ...

    def move(self, sink: str, mark: Mark) -> None: ...

    def put_aside(self, aside: Aside, batch: ReadingBatch | None) -> None: ...

    def asides(self, sink: str) -> list[Aside]: ...


class SinkState(StrEnum):
    """State of a sink for the page."""

    LEVEL = "level"
    """All records of the journal are forwarded."""
    BEHIND = "behind"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class SinkHealth:
    """`behind` counts journal positions; `text` is the reason why it is down."""

    name: str
    state: SinkState
    text: str
    sent: int
    behind: int
    rows: int
    set_aside: int


class Forwarder:
    """Forwards the journal to one sink. `step` blocks while sending: the runtime calls it in a thread."""

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
        """Send the next records; returns the seconds to wait before the next call (0: there are more)."""
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
                        self._send(record.position, part)
                self._moved(record.position)
                count += 1
                if count >= most_records:
                    break
        except SinkDown as error:
            self._failures += 1
            self._text = str(error)
            self._keep()
            # Rows that it acknowledged recently may be lost: go back to the safe mark.
            self._cursor = self._safe
            self._acknowledged.clear()
            return min(self._least_pause_s * 2.0 ** min(self._failures - 1, 16), self._most_pause_s)
        self._failures, self._text = 0, ""
        self._keep()
        return 0.0 if count >= most_records else self._least_pause_s

    def health(self) -> SinkHealth:
        """Progress of the sink. May be called from another thread."""
        behind = self._journal.position() - self._cursor
        state = SinkState.DOWN if self._failures else SinkState.BEHIND if behind > 0 else SinkState.LEVEL
        return SinkHealth(self._sink.name, state, self._text, self._sent, behind, self._rows, self._aside)

    def figures(self) -> list[Figure]:
        """Figures for `/metrics`, labelled with the sink's name."""
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

    def _send(self, position: int, batch: ReadingBatch) -> None:
        """Send a batch; where it is refused, halve it until the refused rows are isolated."""
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
    """Some rows of a batch; number columns are views."""
    columns = {name: Column(column.stored[chosen], column.codes[chosen]) for name, column in batch.columns.items()}
    at_ms: NDArray[np.int64] = batch.at_ms[chosen]
    return ReadingBatch(batch.kind, batch.devices[chosen], at_ms, columns)
