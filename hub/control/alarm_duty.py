# SPDX-License-Identifier: Apache-2.0
"""Alarms in the hub: rules judged on the snapshot, every change an event, suppressed by design where we did it ourselves."""

from collections.abc import Set

from hub.journal.recorder import Recorder
from hub.state.fold import HubState
from kernel.clock import Clock
from miner_control.fleet.fleet import ASLEEP, STATE_CODE
from miner_control.fleet.miner import State
from miner_control.fleet.observed import seen_of
from telemetry.alarm.alarm import AlarmBook

JUDGE_EVERY_S = 5.0


class AlarmDuty:
    """Judges all rules each few seconds; the fold applies the events to the book."""

    name = "alarms"

    def __init__(self, book: AlarmBook, state: HubState, recorder: Recorder, clock: Clock, every_s: float) -> None:
        self.every_s = every_s
        self._book, self._state, self._recorder, self._clock = book, state, recorder, clock
        self._since_s = clock.monotonic_s()

    async def do(self) -> None:
        """One judgement; its changes are told, and folded with the next record."""
        now_ms = self._clock.now_ms()
        hub = next(iter(self._state.sites.values())).key.partition("/")[0]
        listening_s = self._clock.monotonic_s() - self._since_s
        for body in self._book.judge(self._state.snapshot, now_ms, self.designed(now_ms), listening_s):
            site = "/".join(str(body["scope"]).split("/")[:2])
            self._recorder.tell(site if site in self._state.sites else hub, "alarm.changed", body)

    def designed(self, now_ms: int) -> dict[str, Set[str]]:
        """Devices that are as they are because the hub wanted it: curtailed, asleep, starting."""
        curtailed: set[str] = set()
        asleep: set[str] = set()
        starting: set[str] = set()
        table = self._state.snapshot.kind("miner")
        for site in self._state.sites.values():
            seen, asked = seen_of(site.roster, table, now_ms), site.standing.asked(now_ms)
            for unit, device in enumerate(site.roster.devices):
                if seen.state[unit] == STATE_CODE[State.ASLEEP]:
                    asleep.add(device)
                    curtailed.add(device)
                elif asked.mode[unit] == ASLEEP:
                    curtailed.add(device)
                elif seen.state[unit] in (STATE_CODE[State.RAMPING], STATE_CODE[State.TUNING]):
                    starting.add(device)
        return {"curtailed": curtailed, "asleep": asleep, "starting": starting}
