# SPDX-License-Identifier: Apache-2.0
"""Those who do not come back after a wake: a ladder of steps per firmware, with budgets, and a report of who is missing.

A straggler is given time first (its ramp-up and a margin). Then each rung is tried once, with as much time again: ask once
more, reboot, cycle its PDU socket, and at last a ticket for a person. Budgets bound reboots and power cycles per day and at
once, so that a common cause (pool, network) does not end in a site of rebooting miners. It is a fold over
`command.issued`, `command.receipt` and `wake_recovery.step`; `steps` says what follows and changes nothing.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from kernel.span import floor_ms
from kernel.units import MS_PER_DAY
from miner_control.control.auxiliary_load import Load, switch
from miner_control.fleet.command import Command, Reboot, Wake, command
from miner_control.fleet.fleet import STATE_CODE, STATES, Bools, Fleet
from miner_control.fleet.miner import State

RUNGS: Final = ("retry", "reboot", "pdu", "ticket")
WHAT: Final = "did not come back"
FORGET_S: Final = 6 * 3600.0
"""A wake that long ago explains nothing any more: what is wrong since then is for the health checks."""
OFF_S: Final = 15.0
"""A power cycle leaves the socket open so long: supplies hold their charge for some seconds."""
PATIENCE: Final = 2.0
"""Who starts and says so is given so many times as long: a reboot would only begin its start anew."""
_UP: Final = frozenset({STATE_CODE[State.HASHING], STATE_CODE[State.TUNING]})
_COMING: Final = frozenset({*_UP, STATE_CODE[State.RAMPING]})


@dataclass(frozen=True, slots=True)
class Budget:
    """At most so many of a rung per day in the whole site, and so many at once."""

    reboots_a_day: int = 50
    reboots_at_once: int = 5
    cycles_a_day: int = 10
    cycles_at_once: int = 2

    def left(self, rung: str, today: int, now: int) -> int:
        most, at_once = {
            "reboot": (self.reboots_a_day, self.reboots_at_once),
            "pdu": (self.cycles_a_day, self.cycles_at_once),
        }.get(rung, (10**9, 10**9))
        return max(0, min(most - today, at_once - now))


@dataclass(frozen=True, slots=True)
class Recovery:
    """Where a unit stands on its ladder: woken when, what came of that, which rungs were tried, the last one when."""

    device: str
    woken_ms: int
    outcome: str = ""
    words: str = ""
    tried: tuple[str, ...] = ()
    tried_ms: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """What to do with one straggler now: a command, or (rung `ticket`) words for a person."""

    device: str
    rung: str
    command: Command | None
    words: str


class Recoveries:
    """All units that were woken lately. `margin_factor`: how many of its ramp-up times a unit is given for each rung."""

    def __init__(self, budget: Budget = Budget(), margin_factor: float = 1.5) -> None:
        self.budget, self.margin_factor = budget, margin_factor
        self.climbs: dict[str, Recovery] = {}
        self.cycling: dict[str, str] = {}
        """Loads whose socket was opened to cycle a miner, and that miner."""
        self.woken: dict[str, int] = {}
        """When each unit was woken last, back or not."""
        self._wakes: set[str] = set()
        self._spent: Counter[tuple[int, str]] = Counter()

    # ---- the fold ----

    def asked(self, body: Mapping[str, Any], slept: bool) -> None:
        """A command was issued. `slept`: the unit sleeps by our word, so that a mode wakes it as well."""
        device, intent = str(body["device"]), body["intent"]
        if intent == "Sleep":
            self.climbs.pop(device, None)
        elif intent == "Wake" or (slept and intent in ("SetMode", "PowerTarget")):
            self._wakes.add(str(body["id"]))

    def heard(self, body: Mapping[str, Any], at_ms: int) -> None:
        """A receipt came: whatever the outcome of a wake, from now on the unit is expected back."""
        device, outcome, words = str(body["device"]), str(body["outcome"]), str(body.get("text", ""))
        if str(body["id"]) not in self._wakes:
            if outcome == "verified" and body["intent"] in ("SetMode", "PowerTarget", "PowerPercent"):
                # It was seen running in what was asked of it: it is back, whatever it restarts for later.
                self.climbs.pop(device, None)
            return
        self._wakes.discard(str(body["id"]))
        self.woken[device] = at_ms
        climb = self.climbs.get(device)
        if climb is None or at_ms - climb.woken_ms > FORGET_S * 1000:
            climb = Recovery(device, at_ms)
        # Asked again while it is awaited, it is as late as it was; seen to start, it gets its time before the next rung.
        tried_ms = at_ms if outcome == "verified" else climb.tried_ms
        self.climbs[device] = replace(climb, outcome=outcome, words=words, tried_ms=tried_ms)

    def tried(self, body: Mapping[str, Any], at_ms: int) -> None:
        """A rung was tried (`wake_recovery.step`)."""
        device, rung = str(body["device"]), str(body["rung"])
        climb = self.climbs.get(device, Recovery(device, at_ms))
        self.climbs[device] = replace(climb, tried=(*climb.tried, rung), tried_ms=at_ms)
        self._spent[floor_ms(at_ms, MS_PER_DAY), rung] += 1
        if rung == "pdu":
            self.cycling[str(body["load"])] = device

    def closed(self, load: str, at_ms: int) -> None:
        """The socket of a power cycle is closed again: from now on its miner is given time."""
        device = self.cycling.pop(load, "")
        if device in self.climbs:
            self.climbs[device] = replace(self.climbs[device], tried_ms=at_ms)

    def back(self, fleet: Fleet) -> None:
        """Forget those that hash now: what they do later is no late start. Memory only; a restart sees them hash again."""
        for device in list(self.climbs):
            unit = fleet.roster.index.get(device)
            if unit is not None and fleet.fresh[unit] and int(fleet.state[unit]) in _UP:
                del self.climbs[device]

    # ---- what follows ----

    def expected(self, fleet: Fleet, now_ms: int) -> dict[str, tuple[Recovery, int]]:
        """Device to (climb, unit) of all that were woken lately and do not hash, whatever they do."""
        found = {}
        for device, climb in self.climbs.items():
            unit = fleet.roster.index.get(device)
            if unit is None or now_ms - climb.woken_ms > FORGET_S * 1000:
                continue
            if not (fleet.fresh[unit] and int(fleet.state[unit]) in _UP):
                found[device] = (climb, unit)
        return found

    def steps(self, fleet: Fleet, now_ms: int, sockets: Mapping[str, Load], eligible: Bools) -> list[Step]:
        """What is to be done now, the most efficient first. `sockets` are those that feed one miner alone, by that miner;
        `eligible` (shape [N]) are ours and nobody's else."""
        expected = self.expected(fleet, now_ms)
        under_way = Counter(climb.tried[-1] for climb, _ in expected.values() if climb.tried)
        spent = Counter({rung: self._spent[floor_ms(now_ms, MS_PER_DAY), rung] for rung in RUNGS})
        late: list[tuple[float, str, Recovery, int]] = []
        cycled = set(self.cycling.values())
        for device, (climb, unit) in expected.items():
            if device in cycled or "ticket" in climb.tried:
                continue
            envelope = fleet.roster.envelope(unit)
            since_ms = max(climb.woken_ms, climb.tried_ms)
            comes = bool(fleet.fresh[unit]) and int(fleet.state[unit]) in _COMING
            given_s = envelope.ramp_up_s * self.margin_factor * (PATIENCE if comes else 1.0)
            if eligible[unit] and now_ms - since_ms >= given_s * 1000:
                late.append((envelope.mode(envelope.normal).j_per_th, device, climb, unit))
        found: list[Step] = []
        for _, device, climb, unit in sorted(late, key=lambda one: one[:2]):
            rung = self._next(climb, fleet, unit, sockets)
            if rung is None or self.budget.left(rung, spent[rung], under_way[rung]) == 0:
                continue
            spent[rung] += 1
            under_way[rung] += 1
            found.append(_step(device, rung, fleet, unit, now_ms, sockets.get(device)))
        return found

    def _next(self, climb: Recovery, fleet: Fleet, unit: int, sockets: Mapping[str, Load]) -> str | None:
        for rung in fleet.roster.envelope(unit).ladder:
            if rung in climb.tried or (rung == "pdu" and climb.device not in sockets):
                continue
            if rung in ("retry", "reboot") and not fleet.fresh[unit]:
                # Nobody answers there: only its supply, or a person, can help.
                continue
            if rung == "retry" and int(fleet.state[unit]) in _COMING:
                continue
            return rung
        return None

    def missing(self, fleet: Fleet, now_ms: int, after_s: float, since_ms: int = 0) -> list[dict[str, Any]]:
        """Who was woken (at or after `since_ms`) more than `after_s` ago and does not hash: what came of the wake, what was
        tried, the hashrate that is not there. Costliest first."""
        rows = []
        for device, (climb, unit) in self.expected(fleet, now_ms).items():
            if now_ms - climb.woken_ms < after_s * 1000 or climb.woken_ms < since_ms:
                continue
            if fleet.fresh[unit] and int(fleet.state[unit]) in _COMING:
                continue
            envelope = fleet.roster.envelope(unit)
            rows.append(
                {
                    "device": device,
                    "state": (STATES[int(fleet.state[unit])] if fleet.fresh[unit] else State.UNREACHABLE).value,
                    "asked_ms": climb.woken_ms,
                    "late_s": (now_ms - climb.woken_ms) / 1000.0,
                    "outcome": climb.outcome,
                    "words": climb.words,
                    "tried": list(climb.tried),
                    "lost_hs": envelope.mode(envelope.normal).hashrate_hs,
                }
            )
        return sorted(rows, key=lambda row: (-row["lost_hs"], row["device"]))


def _step(device: str, rung: str, fleet: Fleet, unit: int, now_ms: int, socket: Load | None) -> Step:
    reason = f"did not come back after a wake: {rung}"
    match rung:
        case "retry":
            return Step(device, rung, command(now_ms, device, Wake(), reason, priority=6), reason)
        case "reboot":
            return Step(device, rung, command(now_ms, device, Reboot(), reason, deadline_s=300.0, priority=6), reason)
        case "pdu":
            assert socket is not None
            return Step(device, rung, switch(now_ms, socket, False, f"{device} {reason}", priority=6), reason)
    state = (STATES[int(fleet.state[unit])] if fleet.fresh[unit] else State.UNREACHABLE).value
    return Step(device, "ticket", None, f"{state} after a wake, and no step brought it back; a person has to look")
