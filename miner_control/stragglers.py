# SPDX-License-Identifier: Apache-2.0
"""Those who do not come back after a wake: a ladder of steps per model, with budgets, and a report of who is missing.

A straggler is given time first (its ramp-up and a margin). Then each rung is tried once, with as much time again: ask once
more, reboot, cycle its PDU socket, and at last a ticket for a person. Budgets bound reboots and power cycles per day and at
once, so that a common cause (pool, network) does not end in a site of rebooting miners.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from miner_control.command import Command, Reboot, SwitchLoad, Wake, command
from miner_control.fleet import STATE_CODE, STATES, Fleet
from miner_control.miner import State

RUNGS: Final = ("retry", "reboot", "pdu", "ticket")
_UP: Final = frozenset({STATE_CODE[State.HASHING], STATE_CODE[State.TUNING]})


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
class Climb:
    """Where a unit stands on its ladder: woken when, which rungs were tried, the last one when."""

    device: str
    woken_ms: int
    tried: tuple[str, ...] = ()
    tried_ms: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """What to do with one straggler now: a command, or (rung `ticket`) words for a person."""

    device: str
    rung: str
    command: Command | None
    words: str


@dataclass(frozen=True, slots=True)
class Socket:
    """The PDU output that feeds a miner."""

    device: str
    index: int


@dataclass(slots=True)
class Ladder:
    """All units that were woken and have not come back yet. `spent` counts rungs of the running day."""

    rungs_of: Mapping[str, Sequence[str]]
    budget: Budget = field(default_factory=Budget)
    margin_factor: float = 1.5
    climbs: dict[str, Climb] = field(default_factory=dict)
    spent: Counter[str] = field(default_factory=Counter)
    day_ms: int = 0

    def woken(self, device: str, at_ms: int) -> None:
        """A wake was verified or accepted: from now on it is expected back."""
        self.climbs.setdefault(device, Climb(device, at_ms))

    def dropped(self, device: str) -> None:
        """Asked to sleep again: nobody expects it any more."""
        self.climbs.pop(device, None)

    def steps(self, fleet: Fleet, now_ms: int, sockets: Mapping[str, Socket] | None = None) -> list[Step]:
        """What is to be done now. Who hashes is off the ladder; the least efficient wait for those that earn more."""
        if now_ms - self.day_ms >= 86_400_000:
            self.day_ms, self.spent = now_ms, Counter()
        under_way = Counter(c.tried[-1] for c in self.climbs.values() if c.tried)
        found: list[Step] = []
        late: list[tuple[float, Climb, int]] = []
        for device in list(self.climbs):
            unit = fleet.roster.index.get(device)
            if unit is None or (fleet.fresh[unit] and int(fleet.state[unit]) in _UP):
                del self.climbs[device]
                continue
            climb = self.climbs[device]
            envelope = fleet.roster.groups[int(fleet.roster.group[unit])].envelope
            since_ms = max(climb.woken_ms, climb.tried_ms)
            if now_ms - since_ms >= envelope.ramp_up_s * self.margin_factor * 1000:
                late.append((envelope.mode(envelope.normal).j_per_th, climb, unit))
        for _, climb, unit in sorted(late, key=lambda one: (one[0], one[1].device)):
            rung = self._next(climb, fleet, unit, sockets or {})
            if rung is None:
                continue
            if self.budget.left(rung, self.spent[rung], under_way[rung]) == 0:
                continue
            self.spent[rung] += 1
            under_way[rung] += 1
            self.climbs[climb.device] = Climb(climb.device, climb.woken_ms, (*climb.tried, rung), now_ms)
            found.append(_step(climb.device, rung, fleet, unit, now_ms, (sockets or {}).get(climb.device)))
        return found

    def _next(self, climb: Climb, fleet: Fleet, unit: int, sockets: Mapping[str, Socket]) -> str | None:
        group = fleet.roster.groups[int(fleet.roster.group[unit])]
        for rung in self.rungs_of.get(group.envelope.firmware, RUNGS):
            if rung in climb.tried or (rung == "pdu" and climb.device not in sockets):
                continue
            if rung in ("retry", "reboot") and not fleet.fresh[unit]:
                # Nobody answers there: only its supply, or a person, can help.
                continue
            return rung
        return None

    def missing(self, fleet: Fleet, now_ms: int, after_s: float) -> list[dict[str, Any]]:
        """The report after a restore: who was woken more than `after_s` ago and does not hash, what it costs, what was tried."""
        rows = []
        for climb in self.climbs.values():
            unit = fleet.roster.index.get(climb.device)
            if unit is None or now_ms - climb.woken_ms < after_s * 1000:
                continue
            if fleet.fresh[unit] and int(fleet.state[unit]) in _UP:
                continue
            envelope = fleet.roster.groups[int(fleet.roster.group[unit])].envelope
            rows.append(
                {
                    "device": climb.device,
                    "state": STATES[int(fleet.state[unit])].value,
                    "late_s": (now_ms - climb.woken_ms) / 1000.0,
                    "tried": list(climb.tried),
                    "lost_hs": envelope.mode(envelope.normal).hashrate_hs,
                }
            )
        return sorted(rows, key=lambda row: (-row["lost_hs"], row["device"]))


def _step(device: str, rung: str, fleet: Fleet, unit: int, now_ms: int, socket: Socket | None) -> Step:
    reason = f"did not come back after a wake: {rung}"
    match rung:
        case "retry":
            return Step(device, rung, command(now_ms, device, Wake(), reason, priority=6), reason)
        case "reboot":
            return Step(device, rung, command(now_ms, device, Reboot(), reason, deadline_s=300.0, priority=6), reason)
        case "pdu":
            assert socket is not None
            # Off now; the caller switches it on again once the off is verified.
            off = command(now_ms, socket.device, SwitchLoad(socket.index, False), f"{device} {reason}", priority=6)
            return Step(device, rung, off, reason)
    state = STATES[int(fleet.state[unit])].value
    return Step(device, "ticket", None, f"{device} is {state} and no step brought it back; a person has to look")
