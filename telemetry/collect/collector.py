# SPDX-License-Identifier: Apache-2.0
"""Polling of devices: each tier at its own period, with back-off of failing sources.

- One table of due instants serves all sources. A due poll goes to the queue of its lane (line or socket); a lane runs one
  poll at a time, and lanes run in parallel up to `at_once`.
- One task empties the queues of due polls and starts a second one only when it has to wait, so that a source whose answer
  needs no waiting costs no task of its own: a day of virtual polls takes seconds, and a thousand real ones a few per cent of
  a core.
- A failed poll gives a reading in which each metric that the source reported before is Missing with the reason.
- `source.silent` is issued once, after `silent_after` failures in a row, and `source.returned` once. While a source fails
  only its most frequent tier is polled, less and less often down to once in `most_back_off_s`; its other tiers wait until it
  answers.
- `time_out_s` is a backstop: drivers have shorter time-outs of their own.
"""

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np

from kernel.clock import Clock
from kernel.errors import DecodeError, TransportError
from kernel.event import EventKind
from kernel.reading import MISSING, Absence, Field, Missing, Reading
from telemetry.collect.source import Source, Tier

Receive = Callable[[Sequence[Reading]], None]
"""Receives readings in order of arrival, several at a time."""


class SourceSilent(TypedDict):
    """Payload of `source.silent`. `reason`: name of a `kernel.reading.Absence` in lower case."""

    device: str
    reason: str
    text: str


class SourceReturned(TypedDict):
    """Payload of `source.returned`."""

    device: str
    silent_s: float


Emit = Callable[[str, EventKind, Mapping[str, Any]], object]
"""Receives an event: site (`hub/site`), kind, body."""

Periods = Mapping[str, Mapping[Tier, float]]
"""Seconds between polls, by kind and tier. A tier that is not listed is not polled."""

_FIRST_METRICS: Mapping[str, tuple[str, ...]] = {
    "miner": ("power_w", "hashrate_hs"),
    "meter": ("power_w", "energy_import_wh"),
    "container": ("power_w", "temp_supply_c"),
    "sensor": ("temp_c",),
    "switch": ("output_1_state",),
}
"""Metrics that are Missing in the readings of a source that has never answered."""

_QUEUED = -1.0
_RANDOM_NUMBERS = 4096


@dataclass(slots=True)
class Counts:
    """Counters since the start of the collector. `late`: polls that ended after their next one was due."""

    ok: int = 0
    failed: int = 0
    late: int = 0
    in_flight: int = 0
    reasons: dict[Absence, int] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Poll:
    """One source at one tier. At any time it is in one place: the table of due instants, its lane's queue, or running."""

    polled: "_PolledSource"
    tier: Tier
    period_s: float
    turn_s: float
    """Nominal instant of the poll: the next one is counted from here, so that the period does not drift."""
    due_s: float
    """Its instant in the table of due instants; `_QUEUED` while it waits in a lane or runs."""
    metrics: Iterable[str]


@dataclass(slots=True, eq=False)
class _Lane:
    waiting: deque[_Poll] = field(default_factory=deque)
    busy: bool = False


@dataclass(slots=True, eq=False)
class _PolledSource:
    """State of a polled source: its lane, and for how long it has been failing."""

    source: Source
    lane: _Lane
    site: str
    failures: int = 0
    failing_since_s: float = 0.0
    reported: bool = False
    removed: bool = False
    polls: list[_Poll] = field(default_factory=list)
    probe: _Poll | None = None
    """The most frequent poll, the only one made while the source is silent."""


class Collector:
    """Polls sources until cancelled. `receive` and `emit` are called in the event loop and must not block."""

    def __init__(
        self,
        sources: Iterable[Source],
        receive: Receive,
        emit: Emit,
        clock: Clock,
        rng: np.random.Generator,
        periods: Periods,
        *,
        at_once: int = 256,
        time_out_s: float = 10.0,
        most_back_off_s: float = 60.0,
        silent_after: int = 2,
        jitter_share: float = 0.02,
        tick_s: float = 0.05,
        spread_s: float = 30.0,
    ) -> None:
        self.counts = Counts()
        self._receive, self._emit, self._clock, self._periods = receive, emit, clock, periods
        self._at_once, self._time_out_s, self._most_back_off_s = at_once, time_out_s, most_back_off_s
        self._silent_after, self._tick_s, self._spread_s = silent_after, tick_s, spread_s
        # Drawn once: a random number per poll would cost more than the rest of its scheduling.
        spread = rng.uniform(1.0 - jitter_share, 1.0 + jitter_share, _RANDOM_NUMBERS)
        self._jitter: list[float] = spread.tolist()
        self._drawn = 0
        self._rng = rng
        self._polled: dict[str, _PolledSource] = {}
        self._lanes: dict[str, _Lane] = {}
        self._due: list[tuple[float, int, _Poll]] = []
        self._turns = itertools.count()
        """Polls due at one instant go in the order in which they were entered."""
        self._ready: deque[_Lane] = deque()
        self._received: list[Reading] = []
        self._running: dict[asyncio.Task[None], float] = {}
        self._overdue: set[asyncio.Task[None]] = set()
        self._sooner = asyncio.Event()
        self._ending = False
        for source in sources:
            self.add(source)

    # --- sources -------------------------------------------------------------------------------------------

    def add(self, source: Source) -> None:
        """Poll a further source from now on. The first polls of all tiers are spread over `spread_s`. ValueError where it is
        polled.
        """
        if source.device in self._polled:
            raise ValueError(f"{source.device} is polled already")
        lane = self._lanes.setdefault(source.lane, _Lane())
        polled = _PolledSource(source, lane, source.device.rpartition("/")[0])
        self._polled[source.device] = polled
        asks = getattr(source, "tiers", None)
        now_s = self._clock.monotonic_s()
        for tier, period_s in self._periods.get(source.kind, {}).items():
            if asks is not None and tier not in asks:
                continue
            first_s = now_s + float(self._rng.uniform(0.0, min(period_s, self._spread_s)))
            poll = _Poll(polled, tier, period_s, first_s, first_s, _FIRST_METRICS.get(source.kind, ()))
            polled.polls.append(poll)
            self._enter(poll)
        polled.probe = min(polled.polls, key=lambda poll: poll.period_s, default=None)
        self._sooner.set()

    def remove(self, device: str) -> None:
        """Stop polling a device. A running poll ends and its reading is dropped."""
        self._polled.pop(device).removed = True

    def poll_soon(self, device: str, tier: Tier = Tier.FAST) -> None:
        """Poll a device at the next tick instead of when it is due. No effect where the poll is queued or running."""
        now_s = self._clock.monotonic_s()
        for poll in self._polled[device].polls:
            if poll.tier is tier and poll.due_s > now_s:
                poll.turn_s = poll.due_s = now_s
                self._enter(poll)
                self._sooner.set()

    def silent(self) -> list[str]:
        """Devices reported as silent now."""
        return [device for device, polled in self._polled.items() if polled.reported]

    def _enter(self, poll: _Poll) -> None:
        heapq.heappush(self._due, (poll.due_s, next(self._turns), poll))

    # --- running -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Poll until cancelled; then cancel running polls and pass on the readings received."""
        try:
            while True:
                self._move_due()
                if self._ready:
                    self._start()
                self._cancel_overdue()
                self._flush()
                await self._sleep()
        finally:
            self._ending = True
            for task in list(self._running):
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            self._flush()

    def _move_due(self) -> None:
        """Move due polls from the table to the queues of their lanes."""
        due, now_s = self._due, self._clock.monotonic_s()
        horizon_s = now_s + 1e-9
        while due and due[0][0] <= horizon_s:
            due_s, _, poll = heapq.heappop(due)
            if due_s != poll.due_s or poll.polled.removed:
                continue  # rescheduled meanwhile, or removed
            if poll.polled.reported and poll is not poll.polled.probe:
                poll.turn_s = poll.due_s = now_s + min(poll.period_s, self._most_back_off_s)
                self._enter(poll)
                continue
            poll.due_s = _QUEUED
            lane = poll.polled.lane
            lane.waiting.append(poll)
            if not lane.busy:
                lane.busy = True
                self._ready.append(lane)

    async def _sleep(self) -> None:
        """Wait until a poll is due, rounded up to `tick_s`, so that polls due close together run together."""
        now_s = self._clock.monotonic_s()
        wait_s = max(self._due[0][0] - now_s, 0.0) if self._due else self._time_out_s
        if self._running:
            wait_s = min(wait_s, self._time_out_s / 4)
        wait_s = (wait_s // self._tick_s + 1) * self._tick_s
        self._sooner.clear()
        loop = asyncio.get_running_loop()
        timer = loop.call_later(wait_s, self._sooner.set)
        try:
            await self._sooner.wait()
        finally:
            timer.cancel()

    def _start(self) -> None:
        if len(self._running) < self._at_once:
            task = asyncio.get_running_loop().create_task(self._drain())
            self._running[task] = float("inf")
            self.counts.in_flight = len(self._running)
            task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.pop(task, None)
        self._overdue.discard(task)
        self.counts.in_flight = len(self._running)
        if self._ready and not self._ending:
            self._start()
        self._flush()

    async def _drain(self) -> None:
        """Run polls of ready lanes until none is ready. Starts its successor before it can have to wait."""
        task = asyncio.current_task()
        assert task is not None
        ready, running = self._ready, self._running
        successor = False
        while ready:
            lane = ready.popleft()
            poll = lane.waiting.popleft()
            if ready and not successor:
                successor = True
                self._start()
            running[task] = self._clock.monotonic_s() + self._time_out_s
            try:
                await self._ask(poll)
            except asyncio.CancelledError:
                if task not in self._overdue:
                    raise
                self._overdue.discard(task)
                task.uncancel()
                self._failed(poll, Absence.TIMED_OUT, f"no answer within {self._time_out_s} s")
            finally:
                running[task] = float("inf")
                if lane.waiting:
                    ready.append(lane)
                else:
                    lane.busy = False

    def _cancel_overdue(self) -> None:
        now_s = self._clock.monotonic_s()
        for task, deadline_s in self._running.items():
            if deadline_s < now_s and task not in self._overdue:
                self._overdue.add(task)
                task.cancel()

    async def _ask(self, poll: _Poll) -> None:
        try:
            reading = await poll.polled.source.read(poll.tier)
        except TransportError as error:
            self._failed(poll, error.reason, error.text)
        except DecodeError as error:
            self._failed(poll, Absence.MALFORMED, str(error))
        except Exception as error:  # a defect of one driver must not end the polling of all
            self._failed(poll, Absence.MALFORMED, f"{type(error).__name__}: {error}")
        else:
            self._answered(poll, reading)

    # --- results -----------------------------------------------------------------------------------------

    def _answered(self, poll: _Poll, reading: Reading) -> None:
        polled = poll.polled
        self.counts.ok += 1
        poll.metrics = reading.values
        if polled.failures:
            self._returned(polled)
        if not polled.removed:
            self._received.append(reading)
            self._again(poll)

    def _returned(self, polled: _PolledSource) -> None:
        if polled.reported:
            silent_s = self._clock.monotonic_s() - polled.failing_since_s
            returned: SourceReturned = {"device": polled.source.device, "silent_s": silent_s}
            self._emit(polled.site, EventKind.SOURCE_RETURNED, returned)
        polled.failures, polled.reported = 0, False

    def _failed(self, poll: _Poll, reason: Absence, text: str) -> None:
        polled, counts = poll.polled, self.counts
        counts.failed += 1
        counts.reasons[reason] = counts.reasons.get(reason, 0) + 1
        if polled.removed:
            return
        now_ms = self._clock.now_ms()
        if not polled.failures:
            polled.failing_since_s = self._clock.monotonic_s()
        polled.failures += 1
        self._received.append(_failed_reading(polled.source, poll.metrics, reason, text, now_ms))
        if polled.failures >= self._silent_after and not polled.reported:
            polled.reported = True
            silent: SourceSilent = {"device": polled.source.device, "reason": reason.name.lower(), "text": text}
            self._emit(polled.site, EventKind.SOURCE_SILENT, silent)
        pause_s = min(poll.period_s * 2.0 ** min(polled.failures - 1, 16), max(self._most_back_off_s, poll.period_s))
        poll.turn_s = self._clock.monotonic_s() + pause_s - poll.period_s
        self._again(poll)

    def _again(self, poll: _Poll) -> None:
        """Schedule the next poll one period after the nominal instant, or now where that has passed. Missed polls are not
        repeated.
        """
        self._drawn = (self._drawn + 1) % _RANDOM_NUMBERS
        poll.turn_s += poll.period_s * self._jitter[self._drawn]
        now_s = self._clock.monotonic_s()
        if poll.turn_s < now_s:
            self.counts.late += 1
            poll.turn_s = now_s
        poll.due_s = poll.turn_s
        self._enter(poll)

    def _flush(self) -> None:
        if self._received:
            received, self._received = self._received, []
            self._receive(received)


def _failed_reading(source: Source, metrics: Iterable[str], reason: Absence, text: str, at_ms: int) -> Reading:
    """Reading of a failed poll: each metric Missing with the reason."""
    missing: Missing = Missing(reason, text)
    values: dict[str, Field] = dict.fromkeys(metrics, missing)
    if source.kind == "miner":
        # A device whose answer cannot be decoded is reachable.
        values["state"] = MISSING[Absence.MALFORMED] if reason is Absence.MALFORMED else "unreachable"
    return Reading(source.device, source.kind, at_ms, values)
