# SPDX-License-Identifier: Apache-2.0
"""Recorder: readings and events are written to the journal first, and only then folded into the state.

`enqueue` and `emit` queue; `flush` appends all queued at once and folds the appended records, in order of position, into the
hub's state. `commit` is emit and flush: when it returns, the event survives a kill. While the journal cannot be written
(disk full, read-only) nothing is folded: readings wait in a bounded queue, events wait whole, and `fault` says why.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

from kernel.clock import Clock
from kernel.event import Event, EventKind, kind_to_write
from kernel.metric import SCHEMAS, TEXT_METRICS
from kernel.reading import Reading, ReadingBatch, batch_of
from telemetry.store.journal import Journal, Record

T = TypeVar("T")

MOST_WAITING_READINGS = 500_000


class Offload:
    """Where blocking work runs: in a thread when live, at once in virtual time."""

    def __init__(self, call: Callable[..., Awaitable[Any]], apart: Callable[[], "Offload"] | None = None) -> None:
        self._call, self._apart = call, apart

    async def __call__(self, work: Callable[..., T], *arguments: Any) -> T:
        result: T = await self._call(work, *arguments)
        return result

    def apart(self) -> "Offload":
        """The same for one kind of work that keeps memory from call to call: live, in one thread of its own.

        The C library gives each thread a heap of its own: a solver that is freed in one thread leaves nothing for the next.
        """
        return self if self._apart is None else self._apart()


def in_thread() -> Offload:
    """Live: the default executor's threads."""
    return Offload(asyncio.to_thread, _in_one_thread)


def _in_one_thread() -> Offload:
    thread = ThreadPoolExecutor(1, "apart")

    async def call(work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(thread, copy_context().run, work, *arguments)

    return Offload(call)


def at_once() -> Offload:
    """Virtual time: a direct call, so that the order of things never varies."""

    async def call(work: Callable[..., Any], *arguments: Any) -> Any:
        return work(*arguments)

    return Offload(call)


class Recorder:
    """Queue, append, fold. One writer; sequence numbers run per site without gaps."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        fold: Callable[[Record], None],
        offload: Offload,
        writer: str = "hub",
    ) -> None:
        self.journal = journal
        self.fault: str | None = None
        self.readings_lost = 0
        self.position = journal.position()
        self._clock, self._fold, self._offload, self._writer = clock, fold, offload, writer
        self._readings: deque[Reading] = deque()
        self._events: deque[Event] = deque()
        self._seqs: dict[str, int] = {}
        self._lock = asyncio.Lock()
        self._after: list[Callable[[], None]] = []

    def enqueue(self, readings: Sequence[Reading]) -> None:
        """Queue readings. Where the journal is down for long the oldest make room, and are counted."""
        self._readings.extend(readings)
        while len(self._readings) > MOST_WAITING_READINGS:
            self._readings.popleft()
            self.readings_lost += 1

    def emit(self, site: str, kind: EventKind, body: Mapping[str, Any], version: int = 1) -> Event:
        """Queue an event; its sequence number is its own from here on. Raises ValueError where the kind is none."""
        kind = kind_to_write(kind)
        if site not in self._seqs:
            self._seqs[site] = self.journal.last_seq(site, self._writer)
        self._seqs[site] += 1
        event = Event(kind, version, site, self._writer, self._seqs[site], self._clock.now_ms(), body)
        self._events.append(event)
        return event

    def when_durable(self, call: Callable[[], None]) -> None:
        """Call once everything queued so far is on disk (an acknowledgement to a broker, for example)."""
        self._after.append(call)

    async def commit(self, site: str, kind: EventKind, body: Mapping[str, Any]) -> Event:
        """Emit, and wait until it is on disk and folded. Raises OSError where the journal cannot be written."""
        event = self.emit(site, kind, body)
        await self.flush(required=True)
        return event

    async def flush(self, *, required: bool = False) -> None:
        """Append everything queued. A failure is kept in `fault` (and raised where `required`); nothing is dropped."""
        async with self._lock:
            if not self._readings and not self._events and not self._after:
                return
            readings, events, after = list(self._readings), list(self._events), self._after
            self._readings.clear()
            self._events.clear()
            self._after = []
            try:
                records = await self._offload(self._append, readings, events)
            except OSError as error:
                self.fault = str(error)
                self._readings.extendleft(reversed(readings))
                self._events.extendleft(reversed(events))
                self._after = after + self._after
                if required:
                    raise
                return
            self.fault = None
            for record in records:
                self._fold(record)
                self.position = record.position
            for call in after:
                call()

    def _append(self, readings: list[Reading], events: list[Event]) -> list[Record]:
        contents: list[ReadingBatch | Event] = [*_batches(readings), *events]
        batches = [content for content in contents if isinstance(content, ReadingBatch)]
        last = self.journal.append(batches, events)
        first = last - len(contents) + 1
        return [Record(first + index, content) for index, content in enumerate(contents)]


def _batches(readings: list[Reading]) -> list[ReadingBatch]:
    """One batch per kind, rows in the order heard."""
    kinds: dict[str, list[Reading]] = {}
    for reading in readings:
        kinds.setdefault(reading.kind, []).append(reading)
    return [batch_of(kind, list(SCHEMAS[kind]), TEXT_METRICS[kind], rows) for kind, rows in kinds.items()]
