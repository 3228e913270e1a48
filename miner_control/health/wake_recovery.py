# SPDX-License-Identifier: Apache-2.0
"""Recovery after a failed wake: retry, reboot, power cycle, ticket; per firmware, within daily budgets.

A late unit is first given time (its ramp-up with a margin). Then each step is tried once, with as much time again: repeat the
wake, reboot, cycle its PDU socket, and finally a ticket for a person. Budgets bound reboots and power cycles per day and at
once, so that a common cause (pool, network) does not end in a site of rebooting miners. It is a fold over
`command.issued`, `command.receipt` and `wake_recovery.step`; `steps` returns the next steps and changes nothing.
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

STEPS: Final = ("retry", "reboot", "pdu", "ticket")
WHAT: Final = "did not come back"
FORGET_S: Final = 6 * 3600.0
"""Age after which a wake no longer explains a silent unit: later faults belong to the health checks."""
OFF_S: Final = 15.0
"""Time that a power cycle leaves the socket open: supplies hold their charge for some seconds."""
PATIENCE: Final = 2.0
"""Time factor for a unit that reports a start in progress: a reboot would only restart it."""
_UP: Final = frozenset({STATE_CODE[State.HASHING], STATE_CODE[State.TUNING]})
_COMING: Final = frozenset({*_UP, STATE_CODE[State.RAMPING]})


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of each step in the whole site, per day and at once."""

    reboots_a_day: int = 50
    reboots_at_once: int = 5
    cycles_a_day: int = 10
    cycles_at_once: int = 2

    def left(self, kind: str, today: int, now: int) -> int:
        most, at_once = {
            "reboot": (self.reboots_a_day, self.reboots_at_once),
            "pdu": (self.cycles_a_day, self.cycles_at_once),
        }.get(kind, (10**9, 10**9))
        return max(0, min(most - today, at_once - now))


@dataclass(frozen=True, slots=True)
class Recovery:
    """Recovery of a unit: instant and outcome of the wake, steps tried, instant of the last one."""

    device: str
    woken_ms: int
    outcome: str = ""
    text: str = ""
    tried: tuple[str, ...] = ()
    tried_ms: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """The next step for one late unit: a command, or (step `ticket`) a text for a person."""

    device: str
    kind: str
    command: Command | None
    text: str


class Recoveries:
    """Recoveries of all units woken lately. `margin_factor`: time per step, in ramp-up times of the unit."""

    def __init__(self, budget: Budget = Budget(), margin_factor: float = 1.5) -> None:
        self.budget, self.margin_factor = budget, margin_factor
        self.recoveries: dict[str, Recovery] = {}
        self.cycling: dict[str, str] = {}
        """Loads whose socket was opened to cycle a miner, with that miner."""
        self.woken: dict[str, int] = {}
        """Instant of each unit's last wake, successful or not."""
        self._wakes: set[str] = set()
        self._spent: Counter[tuple[int, str]] = Counter()

    # ---- the fold ----

    def issued(self, body: Mapping[str, Any], slept: bool) -> None:
        """Fold an issued command. `slept`: the hub had put the unit to sleep, so that a mode wakes it as well."""
        device, intent = str(body["device"]), body["intent"]
        if intent == "Sleep":
            self.recoveries.pop(device, None)
        elif intent == "Wake" or (slept and intent in ("SetMode", "PowerTarget")):
            self._wakes.add(str(body["id"]))

    def received(self, body: Mapping[str, Any], at_ms: int) -> None:
        """Fold a receipt: whatever the outcome of a wake, the unit is expected to hash from now on."""
        device, outcome, text = str(body["device"]), str(body["outcome"]), str(body.get("text", ""))
        if str(body["id"]) not in self._wakes:
            if outcome == "verified" and body["intent"] in ("SetMode", "PowerTarget", "PowerPercent"):
                # It was observed running as commanded: the recovery is over, even if it restarts later.
                self.recoveries.pop(device, None)
            return
        self._wakes.discard(str(body["id"]))
        self.woken[device] = at_ms
        recovery = self.recoveries.get(device)
        if recovery is None or at_ms - recovery.woken_ms > FORGET_S * 1000:
            recovery = Recovery(device, at_ms)
        # A repeated wake does not reset the lateness; a verified one gives its time before the next step.
        tried_ms = at_ms if outcome == "verified" else recovery.tried_ms
        self.recoveries[device] = replace(recovery, outcome=outcome, text=text, tried_ms=tried_ms)

    def tried(self, body: Mapping[str, Any], at_ms: int) -> None:
        """Fold a step that was tried (`wake_recovery.step`)."""
        device, kind = str(body["device"]), str(body["rung"])
        recovery = self.recoveries.get(device, Recovery(device, at_ms))
        self.recoveries[device] = replace(recovery, tried=(*recovery.tried, kind), tried_ms=at_ms)
        self._spent[floor_ms(at_ms, MS_PER_DAY), kind] += 1
        if kind == "pdu":
            self.cycling[str(body["load"])] = device

    def closed(self, load: str, at_ms: int) -> None:
        """Fold the end of a power cycle: the time of its miner starts now."""
        device = self.cycling.pop(load, "")
        if device in self.recoveries:
            self.recoveries[device] = replace(self.recoveries[device], tried_ms=at_ms)

    def back(self, fleet: Fleet) -> None:
        """Remove units that hash now: later faults are no late start. Memory only; after a restart they hash again."""
        for device in list(self.recoveries):
            unit = fleet.roster.index.get(device)
            if unit is not None and fleet.fresh[unit] and int(fleet.state[unit]) in _UP:
                del self.recoveries[device]

    # ---- what follows ----

    def expected(self, fleet: Fleet, now_ms: int) -> dict[str, tuple[Recovery, int]]:
        """Device to (recovery, unit) of all units woken lately that do not hash, in any other state."""
        found = {}
        for device, recovery in self.recoveries.items():
            unit = fleet.roster.index.get(device)
            if unit is None or now_ms - recovery.woken_ms > FORGET_S * 1000:
                continue
            if not (fleet.fresh[unit] and int(fleet.state[unit]) in _UP):
                found[device] = (recovery, unit)
        return found

    def steps(self, fleet: Fleet, now_ms: int, sockets: Mapping[str, Load], eligible: Bools) -> list[Step]:
        """Steps due now, most efficient unit first. `sockets` are those that feed one miner alone, by that miner;
        `eligible` (shape [N]): controlled by the hub and by no other party."""
        expected = self.expected(fleet, now_ms)
        under_way = Counter(recovery.tried[-1] for recovery, _ in expected.values() if recovery.tried)
        spent = Counter({kind: self._spent[floor_ms(now_ms, MS_PER_DAY), kind] for kind in STEPS})
        late: list[tuple[float, str, Recovery, int]] = []
        cycled = set(self.cycling.values())
        for device, (recovery, unit) in expected.items():
            if device in cycled or "ticket" in recovery.tried:
                continue
            envelope = fleet.roster.envelope(unit)
            since_ms = max(recovery.woken_ms, recovery.tried_ms)
            comes = bool(fleet.fresh[unit]) and int(fleet.state[unit]) in _COMING
            given_s = envelope.ramp_up_s * self.margin_factor * (PATIENCE if comes else 1.0)
            if eligible[unit] and now_ms - since_ms >= given_s * 1000:
                late.append((envelope.mode(envelope.normal).j_per_th, device, recovery, unit))
        found: list[Step] = []
        for _, device, recovery, unit in sorted(late, key=lambda one: one[:2]):
            kind = self._next(recovery, fleet, unit, sockets)
            if kind is None or self.budget.left(kind, spent[kind], under_way[kind]) == 0:
                continue
            spent[kind] += 1
            under_way[kind] += 1
            found.append(_step(device, kind, fleet, unit, now_ms, sockets.get(device)))
        return found

    def _next(self, recovery: Recovery, fleet: Fleet, unit: int, sockets: Mapping[str, Load]) -> str | None:
        for kind in fleet.roster.envelope(unit).recovery_steps:
            if kind in recovery.tried or (kind == "pdu" and recovery.device not in sockets):
                continue
            if kind in ("retry", "reboot") and not fleet.fresh[unit]:
                # No answer: only its supply, or a person, can help.
                continue
            if kind == "retry" and int(fleet.state[unit]) in _COMING:
                continue
            return kind
        return None

    def missing(self, fleet: Fleet, now_ms: int, after_s: float, since_ms: int = 0) -> list[dict[str, Any]]:
        """Units woken (at or after `since_ms`) more than `after_s` ago that do not hash: outcome of the wake, steps tried,
        missing hashrate. Largest loss first."""
        rows = []
        for device, (recovery, unit) in self.expected(fleet, now_ms).items():
            if now_ms - recovery.woken_ms < after_s * 1000 or recovery.woken_ms < since_ms:
                continue
            if fleet.fresh[unit] and int(fleet.state[unit]) in _COMING:
                continue
            envelope = fleet.roster.envelope(unit)
            rows.append(
                {
                    "device": device,
                    "state": (STATES[int(fleet.state[unit])] if fleet.fresh[unit] else State.UNREACHABLE).value,
                    "asked_ms": recovery.woken_ms,
                    "late_s": (now_ms - recovery.woken_ms) / 1000.0,
                    "outcome": recovery.outcome,
                    "words": recovery.text,
                    "tried": list(recovery.tried),
                    "lost_hs": envelope.mode(envelope.normal).hashrate_hs,
                }
            )
        return sorted(rows, key=lambda row: (-row["lost_hs"], row["device"]))


def _step(device: str, kind: str, fleet: Fleet, unit: int, now_ms: int, socket: Load | None) -> Step:
    reason = f"did not come back after a wake: {kind}"
    match kind:
        case "retry":
            return Step(device, kind, command(now_ms, device, Wake(), reason, priority=6), reason)
        case "reboot":
            return Step(device, kind, command(now_ms, device, Reboot(), reason, deadline_s=300.0, priority=6), reason)
        case "pdu":
            assert socket is not None
            return Step(device, kind, switch(now_ms, socket, False, f"{device} {reason}", priority=6), reason)
    state = (STATES[int(fleet.state[unit])] if fleet.fresh[unit] else State.UNREACHABLE).value
    return Step(device, "ticket", None, f"{state} after a wake, and no step brought it back; a person has to look")
