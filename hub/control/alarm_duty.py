# SPDX-License-Identifier: Apache-2.0
"""Alarms in the hub: rules judged on the snapshot, every change an event, suppressed by design where we did it ourselves."""

from hub.control.designed import designed_at
from hub.journal.recorder import Recorder
from hub.state.fold import HubState
from kernel.clock import Clock
from kernel.event import EventKind
from telemetry.alarm.alarm import AlarmBook


class AlarmDuty:
    """Judges all rules each few seconds; the fold applies the events to the book."""

    name = "alarms"

    def __init__(self, book: AlarmBook, state: HubState, recorder: Recorder, clock: Clock, every_s: float) -> None:
        self.every_s = every_s
        self._book, self._state, self._recorder, self._clock = book, state, recorder, clock
        self._since_s = clock.monotonic_s()

    async def do(self) -> None:
        """One judgement; its changes are journalled, and folded with the next record."""
        now_ms = self._clock.now_ms()
        hub = next(iter(self._state.sites.values())).key.partition("/")[0]
        listening_s = self._clock.monotonic_s() - self._since_s
        designed = designed_at(self._state, now_ms)
        for body in self._book.judge(self._state.snapshot, now_ms, designed, listening_s):
            site = "/".join(str(body["scope"]).split("/")[:2])
            self._recorder.emit(site if site in self._state.sites else hub, EventKind.ALARM_CHANGED, body)
