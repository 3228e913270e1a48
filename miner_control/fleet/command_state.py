# SPDX-License-Identifier: Apache-2.0
"""Command state of each unit: last command, its outcome, time of the last on/off change, starts today.

It is a fold over journalled events (`command.issued`, `command.receipt`, `owner.changed`) and nothing else, so that a
restart or a replay arrives at the same state as the live hub. After a failed command a unit is left alone for a time that
doubles with each failure, and counts as load meanwhile: the next tick uses another unit and commands this one again later.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from kernel.event import Event, EventKind
from kernel.span import floor_ms
from kernel.units import MS_PER_DAY
from miner_control.fleet.command import (
    Intent,
    PowerPercent,
    PowerTarget,
    SetMode,
    Sleep,
    Wake,
    hub_cause,
    intent_from_json,
)
from miner_control.fleet.envelope import Envelope
from miner_control.fleet.fleet import ASLEEP, UNSURE, Bools, Commanded, Roster, never_commanded

FIRST_REST_S: Final = 60.0
LONGEST_REST_S: Final = 1800.0
LONGEST_QUEUE_S: Final = 900.0
_FAILED: Final = frozenset({"refused", "unsupported", "unreachable", "unknown"})
_RESTARTS: Final = ("Reboot", "InstallFirmware", "RollBackFirmware")
"""While one of these is pending, no other command is issued to the unit."""
NO_EFFECT: Final = frozenset({"refused", "unsupported", "unreachable"})


def mode_of(intent: Intent, envelope: Envelope, on_mode: int) -> int | None:
    """The mode index that an intent leads to; None for intents that change no load (locate, pools, credential).

    A power target or percent leads to the highest mode that does not exceed it (the lowest where all do).
    """
    match intent:
        case Sleep():
            return ASLEEP
        case Wake():
            return on_mode if on_mode >= 0 else envelope.names.index(envelope.normal)
        case SetMode(mode):
            return envelope.names.index(mode) if mode in envelope.names else None
        case PowerTarget(power_w):
            return _highest_within(envelope, power_w)
        case PowerPercent(percent):
            return _highest_within(envelope, envelope.mode(envelope.normal).power_w * percent / 100.0)
        case _:
            return None


def _highest_within(envelope: Envelope, power_w: float) -> int:
    within = [at for at, mode in enumerate(envelope.modes) if mode.power_w <= power_w * 1.001]
    return within[-1] if within else 0


@dataclass(frozen=True, slots=True)
class _Pending:
    """A command whose last receipt is awaited: id, resulting mode, and whether the hub had put the unit to sleep."""

    id: str
    mode: int
    was_asleep: bool


class CommandState:
    """The columns of `Commanded`, updated by events in journal order."""

    def __init__(self, roster: Roster) -> None:
        self.roster = roster
        self._now = never_commanded(roster)
        self._pending: dict[int, _Pending] = {}
        self._failures = np.zeros(len(roster), dtype=np.int64)
        self._rest_until_ms = np.zeros(len(roster), dtype=np.int64)
        self._held = np.zeros(len(roster), dtype=np.bool_)
        self._start_day_ms = np.zeros(len(roster), dtype=np.int64)
        self._restarting: dict[int, str] = {}
        self._restart_until_ms = np.zeros(len(roster), dtype=np.int64)

    def apply(self, event: Event) -> None:
        """Apply one event; other kinds, and devices that are not in the roster, change nothing."""
        unit = self.roster.index.get(str(event.body.get("device", "")))
        if unit is None:
            return
        if event.kind == EventKind.COMMAND_ISSUED:
            self._issued(unit, event.body)
        elif event.kind == EventKind.COMMAND_RECEIPT:
            self._answered(unit, event.body, event.at_ms)
        elif event.kind == EventKind.OWNER_CHANGED:
            self._held[unit] = bool(event.body["hands_off"])

    def _issued(self, unit: int, body: Mapping[str, Any]) -> None:
        envelope = self.roster.groups[int(self.roster.group[unit])].envelope
        mode = mode_of(intent_from_json(body), envelope, int(self._now.on_mode[unit]))
        before = body.get("restore_mode")
        if before in envelope.names and self._now.restore[unit] == UNSURE:
            self._now.restore[unit] = envelope.names.index(before)
        issued_ms = int(body["issued_ms"])
        if body["intent"] in _RESTARTS:
            self._restarting[unit] = str(body["id"])
            self._restart_until_ms[unit] = issued_ms + round((float(body["deadline_s"]) + LONGEST_QUEUE_S) * 1000)
        if mode is None:
            return
        was_asleep = bool(self._now.put_to_sleep[unit])
        self._pending[unit] = _Pending(str(body["id"]), mode, was_asleep)
        self._now.put_to_sleep[unit] = False
        self._now.mode[unit] = mode
        wakes = body["intent"] == "Wake" or (was_asleep and mode >= 0)
        # The deadline runs from the moment of sending, and a wake may wait long for its turn under the inrush limit.
        wait_s = float(body["deadline_s"]) + (LONGEST_QUEUE_S if wakes else 0.0)
        self._now.until_ms[unit] = issued_ms + round(wait_s * 1000)
        if wakes:
            day_ms = floor_ms(issued_ms, MS_PER_DAY)
            if day_ms != self._start_day_ms[unit]:
                self._start_day_ms[unit], self._now.starts_used[unit] = day_ms, 0
            self._now.starts_used[unit] += 1

    def _answered(self, unit: int, body: Mapping[str, Any], at_ms: int) -> None:
        if self._restarting.get(unit) == body["id"]:
            del self._restarting[unit]
            self._restart_until_ms[unit] = 0
        pending = self._pending.get(unit)
        if pending is None or pending.id != body["id"]:
            return
        outcome, mode = str(body["outcome"]), pending.mode
        if outcome == "verified":
            if body.get("intent") in ("Sleep", "Wake") or pending.was_asleep:
                self._now.since_ms[unit] = at_ms
            self._now.proven_mode[unit], self._now.proven_ms[unit] = mode, int(body.get("sampled_ms", at_ms))
            self._now.put_to_sleep[unit] = mode == ASLEEP
        elif outcome in NO_EFFECT:
            self._now.put_to_sleep[unit] = pending.was_asleep
        if outcome in ("verified", "accepted", "unknown") and mode >= 0:
            self._now.on_mode[unit] = mode
        if outcome != "accepted":
            del self._pending[unit]
            self._now.until_ms[unit] = 0
            self._now.mode[unit] = UNSURE
        if outcome in _FAILED and hub_cause(body) is None:
            rest_s = min(FIRST_REST_S * 2.0 ** float(self._failures[unit]), LONGEST_REST_S)
            self._rest_until_ms[unit] = at_ms + round(rest_s * 1000)
            self._failures[unit] += 1
        elif outcome == "verified":
            self._failures[unit] = 0
            self._rest_until_ms[unit] = 0

    def restored(self, devices: Iterable[str]) -> None:
        """Units that are back at their operating point, or whose operating point is set by the plan from here on."""
        units = [self.roster.index[device] for device in devices if device in self.roster.index]
        self._now.restore[units] = UNSURE

    @property
    def held(self) -> Bools:
        """Units controlled by another owner or by a person, shape [N]."""
        return self._held.copy()

    def slept(self, device: str) -> bool:
        """Whether the hub's last verified command put the unit to sleep."""
        unit = self.roster.index.get(device)
        return unit is not None and bool(self._now.put_to_sleep[unit])

    def commanded(self, now_ms: int) -> Commanded:
        """The columns at an instant, as copies that the caller may keep."""
        now = self._now
        today = self._start_day_ms == floor_ms(now_ms, MS_PER_DAY)
        return Commanded(
            mode=now.mode.copy(),
            on_mode=now.on_mode.copy(),
            until_ms=now.until_ms.copy(),
            since_ms=now.since_ms.copy(),
            starts_used=np.where(today, now.starts_used, 0),
            excluded=self._held | (self._rest_until_ms > now_ms) | (self._restart_until_ms > now_ms),
            put_to_sleep=now.put_to_sleep.copy(),
            proven_mode=now.proven_mode.copy(),
            proven_ms=now.proven_ms.copy(),
            mode_ceiling=now.mode_ceiling.copy(),
            restore=now.restore.copy(),
        )
