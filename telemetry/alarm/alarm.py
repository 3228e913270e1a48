# SPDX-License-Identifier: Apache-2.0
"""Alarm states after ISA-18.2: raised, acknowledged, returned, shelved, suppressed by design, out of service.

- `judge`, `acknowledge`, `shelve` and the other deciding methods return bodies of `alarm.changed` events and change nothing;
  the runtime journals them and passes each to `apply`. After a restart the book is rebuilt from those events alone. Running
  delays are not journalled and start again.
- An alarm suppressed by design (a curtailed miner) or covered by an alarm of its rack is marked and not shown.
- When the suppressing state ends, the delay starts again: an alarm is shown only if its condition still holds afterwards, so
  that an action of the hub itself never causes an alarm.
- Shelving needs an end and a reason.
"""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from kernel.clock import MS_PER_S, iso
from kernel.units import S_PER_DAY
from telemetry.alarm.condition import Bools, Designed, Judged, Memory, Places, excused, judged
from telemetry.alarm.rule import AlarmRule, Pattern, Priority
from telemetry.collect.snapshot import Snapshot

_NEVER_MS = -1
MOST_SHELF_S = 7 * S_PER_DAY


class AlarmChanged(TypedDict):
    """Payload of `alarm.changed`.

    `what`: raised, cleared, acknowledged, suppressed, unsuppressed, shelved, unshelved, out_of_service, in_service. A raised
    one has the rule's text at that time, and its value where there is one.
    """

    rule: str
    scope: str
    what: str
    priority: NotRequired[str]
    text: NotRequired[str]
    action: NotRequired[str]
    value: NotRequired[float | None]
    suppressed: NotRequired[str]
    who: NotRequired[str]
    why: NotRequired[str]
    until_ms: NotRequired[int]


Change = AlarmChanged


class AlarmState(StrEnum):
    """The states of ISA-18.2 that an operator sees."""

    UNACKNOWLEDGED = "unacknowledged"
    ACKNOWLEDGED = "acknowledged"
    RETURNED = "returned"
    """The condition ended and the alarm is not yet acknowledged."""
    SHELVED = "shelved"
    SUPPRESSED = "suppressed"
    OUT_OF_SERVICE = "out_of_service"
    NORMAL = "normal"


@dataclass(frozen=True, slots=True)
class Alarm:
    """One rule at one scope (device, rack, feeder or site) in any state other than NORMAL."""

    rule: str
    scope: str
    priority: Priority
    active: bool
    acknowledged: bool
    raised_ms: int
    value: float | None = None
    shelved_until_ms: int | None = None
    suppressed: str = ""
    shown: bool = False
    """Whether the operator's list showed it since it was raised; its end is then shown too, even if it is suppressed later."""
    out_of_service: bool = False
    who: str = ""
    why: str = ""

    @property
    def state(self) -> AlarmState:
        if self.out_of_service:
            return AlarmState.OUT_OF_SERVICE
        if self.shelved_until_ms is not None:
            return AlarmState.SHELVED
        if self.suppressed:
            return AlarmState.SUPPRESSED
        if self.active:
            return AlarmState.ACKNOWLEDGED if self.acknowledged else AlarmState.UNACKNOWLEDGED
        return AlarmState.NORMAL if self.acknowledged else AlarmState.RETURNED

    @property
    def annunciated(self) -> bool:
        """Whether it is shown on the operator's list."""
        return self.state in (AlarmState.UNACKNOWLEDGED, AlarmState.ACKNOWLEDGED, AlarmState.RETURNED)


class _Timing:
    """Per scope of one rule: since when the condition raises or clears, when it was last suppressed by design, whether it is
    active.

    Instants are in ms; _NEVER_MS where there is none.
    """

    def __init__(self) -> None:
        self.index: dict[str, int] = {}
        self.raises_ms = np.full(0, _NEVER_MS, dtype=np.int64)
        self.clears_ms = np.full(0, _NEVER_MS, dtype=np.int64)
        self.excused_ms = np.full(0, _NEVER_MS, dtype=np.int64)
        self.active = np.zeros(0, dtype=np.bool_)
        self._last_rows: tuple[int, str, NDArray[np.intp]] | None = None

    def rows(self, scopes: Sequence[str]) -> NDArray[np.intp]:
        if (
            self._last_rows is not None
            and self._last_rows[0] == len(scopes)
            and (not scopes or self._last_rows[1] == scopes[-1])
        ):
            return self._last_rows[2]
        rows = np.array([self.row(scope) for scope in scopes], dtype=np.intp)
        self._last_rows = len(scopes), scopes[-1] if scopes else "", rows
        return rows

    def row(self, scope: str) -> int:
        at = self.index.get(scope)
        if at is None:
            at = self.index[scope] = len(self.index)
            if at >= len(self.active):
                more = max(64, len(self.active))
                never = np.full(more, _NEVER_MS, dtype=np.int64)
                self.raises_ms = np.concatenate((self.raises_ms, never))
                self.clears_ms = np.concatenate((self.clears_ms, never))
                self.excused_ms = np.concatenate((self.excused_ms, never))
                self.active = np.concatenate((self.active, np.zeros(more, dtype=np.bool_)))
        return at

    def moved(
        self, found: Judged, rule: AlarmRule, now_ms: int, excused_now: Bools
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """(indices in `found` that are raised now, those that are cleared now), after the rule's delays."""
        rows = self.rows(found.scopes)
        raises_ms, clears_ms, active = self.raises_ms[rows], self.clears_ms[rows], self.active[rows]
        raises_ms = np.where(found.raises, np.where(raises_ms == _NEVER_MS, now_ms, raises_ms), _NEVER_MS)
        clears_ms = np.where(found.clears, np.where(clears_ms == _NEVER_MS, now_ms, clears_ms), _NEVER_MS)
        self.raises_ms[rows], self.clears_ms[rows] = raises_ms, clears_ms
        self.excused_ms[rows[excused_now]] = now_ms
        since_ms = np.where(excused_now, raises_ms, np.maximum(raises_ms, self.excused_ms[rows]))
        up = ~active & found.raises & (now_ms - since_ms >= rule.on_delay_s * MS_PER_S)
        down = active & found.clears & (now_ms - clears_ms >= rule.off_delay_s * MS_PER_S)
        self.active[rows[up]] = True
        self.active[rows[down]] = False
        return np.flatnonzero(up), np.flatnonzero(down)

    def holds(self, scope: str, rule: AlarmRule, now_ms: int) -> bool:
        """Whether the condition has lasted for the rule's delay since the last suppression by design."""
        row = self.row(scope)
        since_ms = max(int(self.raises_ms[row]), int(self.excused_ms[row]))
        return int(self.raises_ms[row]) != _NEVER_MS and now_ms - since_ms >= rule.on_delay_s * MS_PER_S


class AlarmBook:
    """All alarms of a hub. Not thread-safe."""

    def __init__(self, rules: Sequence[AlarmRule], places: Places | None = None) -> None:
        self.rules = {rule.id: rule for rule in rules}
        # Patterns first, so that the rules that they cover are suppressed in the same evaluation.
        self._order = sorted(rules, key=lambda rule: not isinstance(rule.when, Pattern))
        self.places = places or Places()
        self._alarms: dict[tuple[str, str], Alarm] = {}
        self._timing = {rule.id: _Timing() for rule in rules}
        self._memory = Memory()

    # --- deciding ------------------------------------------------------------------------------------------------

    def judge(
        self,
        snapshot: Snapshot,
        now_ms: int,
        designed: Designed | None = None,
        listening_s: float = math.inf,
    ) -> list[Change]:
        """Changes of alarms at the values of now.

        `designed`: scopes that are curtailed, asleep, starting, changing or in maintenance (keys of devices; of sites for
        balances). `listening_s`: seconds for which the hub has been receiving readings.
        """
        changes, designed = self._shelves_ended(now_ms), designed or {}
        for rule in self._order:
            found = judged(rule, snapshot, self.places, now_ms, self._memory, listening_s, designed)
            by_design = excused(rule, {} if isinstance(rule.when, Pattern) else designed, found.scopes)
            up, down = self._timing[rule.id].moved(found, rule, now_ms, by_design)
            for at in up.tolist():
                value = float(found.values[at])
                changes.append(
                    {
                        "rule": rule.id, "scope": found.scopes[at], "what": "raised", "priority": rule.priority.value,
                        "text": rule.text, "action": rule.action, "value": None if np.isnan(value) else value,
                    }
                )  # fmt: skip
            changes += [{"rule": rule.id, "scope": found.scopes[at], "what": "cleared"} for at in down.tolist()]
        return self._with_suppression(changes, designed, now_ms)

    def _with_suppression(self, changes: list[Change], designed: Designed, now_ms: int) -> list[Change]:
        """Mark alarms suppressed by design from their first moment; add changes where suppression begins or ends."""
        active = {key: alarm for key, alarm in self._alarms.items() if alarm.active}
        for change in changes:
            key = (change["rule"], change["scope"])
            if change["what"] == "cleared":
                active.pop(key, None)
            elif change["what"] == "raised":
                active[key] = Alarm(*key, Priority(change["priority"]), True, False, 0)
        covering = {
            (covered, scope) for rule, scope in active for covered in self.rules[rule].covers if rule in self.rules
        }
        for change in changes:
            if change["what"] == "raised":
                change["suppressed"] = self._suppressed(change["rule"], change["scope"], designed, covering)
        reported = {(change["rule"], change["scope"]) for change in changes}
        for key, alarm in self._alarms.items():
            if key not in reported and alarm.active:
                reason = self._suppressed(*key, designed, covering)
                if reason != alarm.suppressed and (
                    reason or self._timing[key[0]].holds(key[1], self.rules[key[0]], now_ms)
                ):
                    what = "suppressed" if reason else "unsuppressed"
                    changes.append({"rule": key[0], "scope": key[1], "what": what, "suppressed": reason})
        return changes

    def _suppressed(self, rule_id: str, scope: str, designed: Designed, covering: Set[tuple[str, str]]) -> str:
        rule = self.rules.get(rule_id)
        if rule is None:
            return ""
        for name in () if isinstance(rule.when, Pattern) else rule.suppressed_by:
            if scope in designed.get(name, ()):
                return name
        for group in self.places.groups_of(scope):
            if (rule_id, group) in covering:
                return f"covered by {group}"
        return ""

    def _shelves_ended(self, now_ms: int) -> list[Change]:
        return [
            {"rule": alarm.rule, "scope": alarm.scope, "what": "unshelved", "who": "", "why": "its time is over"}
            for alarm in self._alarms.values()
            if alarm.shelved_until_ms is not None and alarm.shelved_until_ms <= now_ms
        ]

    def acknowledge(self, rule: str, scope: str, who: str) -> list[Change]:
        """Acknowledge an alarm. KeyError where it does not exist; an empty list where it was acknowledged already."""
        alarm = self._alarms[rule, scope]
        return [] if alarm.acknowledged else [{"rule": rule, "scope": scope, "what": "acknowledged", "who": who}]

    def shelve(self, rule: str, scope: str, who: str, why: str, until_ms: int, now_ms: int) -> list[Change]:
        """Hide an alarm until an instant. ValueError without a reason, or where the end is not in the allowed range."""
        if rule not in self.rules:
            raise KeyError(f"no alarm rule {rule!r}")
        if not why.strip():
            raise ValueError("shelving needs a reason")
        if not now_ms < until_ms <= now_ms + MOST_SHELF_S * MS_PER_S:
            raise ValueError(f"shelve until an instant within {MOST_SHELF_S / S_PER_DAY:.0f} days, not {iso(until_ms)}")
        return [{"rule": rule, "scope": scope, "what": "shelved", "who": who, "why": why, "until_ms": until_ms}]

    def unshelve(self, rule: str, scope: str, who: str) -> list[Change]:
        """End shelving before its time. KeyError where the alarm does not exist."""
        alarm = self._alarms[rule, scope]
        shelved = alarm.shelved_until_ms is not None
        return [{"rule": rule, "scope": scope, "what": "unshelved", "who": who, "why": ""}] if shelved else []

    def out_of_service(self, rule: str, scope: str, who: str, why: str) -> list[Change]:
        """Take an alarm out of service by a person (a meter in the laboratory). ValueError without a reason."""
        if rule not in self.rules:
            raise KeyError(f"no alarm rule {rule!r}")
        if not why.strip():
            raise ValueError("taking an alarm out of service needs a reason")
        return [{"rule": rule, "scope": scope, "what": "out_of_service", "who": who, "why": why}]

    def in_service(self, rule: str, scope: str, who: str) -> list[Change]:
        """Return an alarm to service. KeyError where it does not exist."""
        alarm = self._alarms[rule, scope]
        return [{"rule": rule, "scope": scope, "what": "in_service", "who": who}] if alarm.out_of_service else []

    # --- folding -------------------------------------------------------------------------------------------------

    def apply(self, change: Mapping[str, Any], at_ms: int) -> None:
        """Apply one journalled change. Changes of rules that are no longer configured are ignored."""
        key = (str(change["rule"]), str(change["scope"]))
        rule = self.rules.get(key[0])
        if rule is None:
            return
        known = self._alarms.get(key) or Alarm(*key, rule.priority, False, True, at_ms)
        alarm = _after(known, change, at_ms)
        timing = self._timing[rule.id]
        row = timing.row(key[1])
        timing.active[row] = alarm.active
        if alarm.state is AlarmState.NORMAL:
            self._alarms.pop(key, None)
        else:
            self._alarms[key] = alarm

    # --- showing -------------------------------------------------------------------------------------------------

    def alarms(self, *, annunciated: bool = True) -> list[Alarm]:
        """Alarms, most urgent first, then newest first. `annunciated=False`: also those that are not shown."""
        found = [alarm for alarm in self._alarms.values() if alarm.annunciated or not annunciated]
        return sorted(found, key=lambda alarm: (alarm.acknowledged, alarm.priority.rank, -alarm.raised_ms, alarm.scope))

    def roll_up(self) -> dict[str, dict[str, int]]:
        """Number of alarms on the operator's list by scope (rack, feeder, site, device) and priority."""
        counts: dict[str, dict[str, int]] = {}
        for alarm in self._alarms.values():
            if not alarm.annunciated:
                continue
            for scope in dict.fromkeys((alarm.scope, *self.places.groups_of(alarm.scope))):
                of = counts.setdefault(scope, {})
                of[alarm.priority.value] = of.get(alarm.priority.value, 0) + 1
        return counts


def _after(alarm: Alarm, change: Mapping[str, Any], at_ms: int) -> Alarm:
    who = str(change.get("who", ""))
    match change["what"]:
        case "raised":
            # Raised again before its return was acknowledged: the same alarm, with its first instant.
            first_ms = at_ms if alarm.acknowledged else alarm.raised_ms
            suppressed = str(change.get("suppressed", ""))
            return replace(
                alarm, active=True, acknowledged=False, raised_ms=first_ms, value=change.get("value"),
                suppressed=suppressed, shown=not suppressed or not alarm.acknowledged, who="", why="",
            )  # fmt: skip
        case "cleared":
            # An alarm that was never shown, because it was suppressed by design, needs no acknowledgement.
            return replace(alarm, active=False, acknowledged=alarm.acknowledged or not alarm.shown, suppressed="")
        case "acknowledged":
            return replace(alarm, acknowledged=True, who=who)
        case "suppressed":
            return replace(alarm, suppressed=str(change["suppressed"]))
        case "unsuppressed":
            return replace(alarm, suppressed="", shown=True)
        case "shelved":
            return replace(alarm, shelved_until_ms=int(change["until_ms"]), who=who, why=str(change["why"]))
        case "unshelved":
            return replace(alarm, shelved_until_ms=None, who=who, why="")
        case "out_of_service":
            return replace(alarm, out_of_service=True, who=who, why=str(change["why"]))
        case "in_service":
            return replace(alarm, out_of_service=False, who=who, why="")
        case what:
            raise ValueError(f"unknown change {what!r} of alarm {alarm.rule} at {alarm.scope}")
