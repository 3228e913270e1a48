# SPDX-License-Identifier: Apache-2.0
"""Racks proven one after the other: each sleeps for a while and is woken again, while all feeders' meters are watched.

A proof is a fold over its own events, so that a restarted hub goes on where it stood. For each rack: `begun` (its units are
held from the plan, the meters are watched), `asleep` (commands left), `woken` (commands left), `back` (they hash again, the
meters are watched once more), and then it is judged. `spoilt` says that an order came between: the rack proves nothing;
`stopped` that a person wants no more of it: it is woken, and proves nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from kernel.event import EventKind
from miner_control.fleet.fleet import STATE_CODE, UNSURE, Bools, Fleet, Floats
from miner_control.fleet.miner import State
from miner_control.inventory.inventory_events import RackJudged
from miner_control.inventory.position import PulseResult, judge_pulse

LEAST_SHARE: Final = 0.6
"""A rack is pulsed only where units of so much of its power can sleep, and judged where so many of those did."""
RESTLESS_SHARE: Final = 0.3
"""A feeder whose level changed over a pulse by more than this part of what was expected was moved by others."""
BACK_SHARE: Final = 0.9
LEAST_SAMPLES: Final = 4


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of one rack. `outcome`: judged, disturbed or skipped, the last two with `why`. `devices` slept in it."""

    rack: str
    outcome: str
    why: str
    at_ms: int
    devices: tuple[str, ...]
    result: PulseResult | None

    def to_json(self) -> RackJudged:
        """As the body of `feeder_mapping.judged`."""
        reported = None if self.result is None else asdict(self.result)
        return {
            "rack": self.rack, "outcome": self.outcome, "why": self.why, "devices": list(self.devices), "result": reported,
        }  # fmt: skip

    @classmethod
    def from_json(cls, body: Mapping[str, Any], at_ms: int) -> "Judged":
        """The inverse of `to_json`."""
        result = None if body["result"] is None else PulseResult(**body["result"])
        devices = tuple(map(str, body["devices"]))
        return cls(str(body["rack"]), str(body["outcome"]), str(body["why"]), at_ms, devices, result)


@dataclass(slots=True)
class Rack:
    """The rack under way: its instants (`begun`, `asleep`, `woken`, `back` to ms) and what was asked of whom."""

    name: str
    declared: str
    devices: tuple[str, ...]
    at_ms: dict[str, int]
    expected_w: float = 0.0
    spoilt: str = ""
    asked: tuple[str, ...] = ()
    heard_ms: int = 0
    slept: set[str] = field(default_factory=set)
    waiting: dict[str, str] = field(default_factory=dict)
    """Device by the id of its command, as long as no receipt is there."""

    @property
    def step(self) -> str:
        """The last step taken."""
        return max(self.at_ms, key=lambda step: (self.at_ms[step], STEPS.index(step)))


STEPS: Final = ("begun", "asleep", "woken", "back")


class Proof:
    """Racks to be proven in their order, as somebody asked. `off_s`: how long each sleeps, and is watched before and after."""

    def __init__(self, body: Mapping[str, Any], at_ms: int) -> None:
        self.id, self.asked_by = str(body["id"]), str(body["by"])
        self.racks = [str(rack) for rack in body["racks"]]
        self.off_s = float(body["off_s"])
        self.asked_ms = at_ms
        self.now: Rack | None = None
        self.done: list[Judged] = []
        self.stopped = ""
        self.ended = ""

    @property
    def next_rack(self) -> str | None:
        """The rack that comes next; None where all had their turn or a person stopped it."""
        return self.racks[len(self.done)] if not self.stopped and len(self.done) < len(self.racks) else None

    def apply(self, kind: str, body: Mapping[str, Any], at_ms: int) -> None:
        """Fold one of its events."""
        rack = self.now
        if kind == EventKind.FEEDER_MAPPING_JUDGED:
            self.done.append(Judged.from_json(body, at_ms))
            self.now = None
        elif kind == EventKind.FEEDER_MAPPING_ENDED:
            self.ended = str(body["why"])
            self.now = None
        elif body["step"] == "begun":
            devices = tuple(map(str, body["devices"]))
            self.now = Rack(str(body["rack"]), str(body["declared"]), devices, {"begun": at_ms})
        elif body["step"] == "stopped":
            self.stopped = f"stopped by {body['by']}" + (f": {body['why']}" if body["why"] else "")
            if rack is not None:
                rack.spoilt = rack.spoilt or self.stopped
        elif rack is not None and body["step"] == "spoilt":
            rack.spoilt = str(body["why"])
        elif rack is not None:
            step, commands = str(body["step"]), body.get("commands", {})
            rack.at_ms[step], rack.heard_ms = at_ms, at_ms
            rack.waiting = {str(asked): str(device) for asked, device in commands.items()}
            if step == "asleep":
                rack.expected_w, rack.asked = float(body["expected_w"]), tuple(map(str, commands.values()))

    def heard(self, command_id: str, outcome: str, at_ms: int) -> None:
        """The last receipt of one of its commands."""
        if self.now is None or command_id not in self.now.waiting:
            return
        device = self.now.waiting.pop(command_id)
        self.now.heard_ms = at_ms
        if outcome == "verified" and self.now.step == "asleep":
            self.now.slept.add(device)

    def status(self) -> dict[str, Any]:
        """How far it is."""
        rack = self.now
        return {
            "id": self.id, "by": self.asked_by, "asked_ms": self.asked_ms, "off_s": self.off_s, "racks": self.racks,
            "done": len(self.done), "rack": "" if rack is None else rack.name, "step": "" if rack is None else rack.step,
            "holds": 0 if rack is None else len(rack.devices), "stopped": self.stopped, "ended": self.ended,
        }  # fmt: skip


class FeederMappingBook:
    """The proofs of a site: a fold of the events `feeder_mapping.*` and `command.receipt`."""

    def __init__(self) -> None:
        self.running: Proof | None = None
        self.last: Proof | None = None
        self.judged: dict[str, Judged] = {}
        """The newest word on each rack."""

    def apply(self, kind: str, body: Mapping[str, Any], at_ms: int) -> None:
        """Fold one event."""
        if kind == EventKind.FEEDER_MAPPING_REQUESTED:
            self.running = self.last = Proof(body, at_ms)
        elif self.running is None:
            return
        elif kind == EventKind.COMMAND_RECEIPT:
            self.running.heard(str(body["id"]), str(body["outcome"]), at_ms)
        else:
            self.running.apply(kind, body, at_ms)
            if kind == EventKind.FEEDER_MAPPING_JUDGED:
                self.judged[str(body["rack"])] = self.running.done[-1]
            elif kind == EventKind.FEEDER_MAPPING_ENDED:
                self.running = None

    @property
    def watching(self) -> bool:
        """Whether meters are watched for a pulse, so that the site is to stay as it is."""
        rack = None if self.running is None else self.running.now
        return rack is not None and not rack.spoilt

    def held(self) -> frozenset[str]:
        """Units that the plan leaves alone."""
        rack = None if self.running is None else self.running.now
        return frozenset() if rack is None else frozenset(rack.devices)


def can_pulse(fleet: Fleet, starts_cap: int | None) -> Bools:
    """Units that may be put to sleep for a pulse and woken again, shape [N]: they hash, are ours to command, may sleep by
    their minimum on-time, have a start left today, and nothing is asked of them."""
    steady = (fleet.state == STATE_CODE[State.HASHING.value]) & (fleet.wanted == fleet.mode) & (fleet.mode > UNSURE)
    found: Bools = fleet.can_command & fleet.fresh & fleet.may_sleep & steady
    if starts_cap is not None:
        found = found & (fleet.starts_used < starts_cap)
    sleeps = np.array([{"Sleep", "Wake"} <= set(g.envelope.commands) for g in fleet.roster.groups], dtype=np.bool_)
    return found & sleeps[fleet.roster.group]


def drop_w(fleet: Fleet, units: Sequence[int]) -> float:
    """What the load of some units falls by when they sleep."""
    chosen = np.array(units, dtype=np.int64)
    standby_w = fleet.roster.sleep_w[fleet.roster.group[chosen]]
    return float((fleet.power_w[chosen] - standby_w).sum())


def is_back(fleet: Fleet, units: Sequence[int], drop_before_w: float) -> bool:
    """Whether all of some units hash again, and draw nearly what they drew before."""
    chosen = np.array(units, dtype=np.int64)
    hash_again = fleet.fresh[chosen] & (fleet.state[chosen] == STATE_CODE[State.HASHING.value])
    return bool(hash_again.all()) and drop_w(fleet, units) >= BACK_SHARE * drop_before_w


def judge(
    rack: Rack,
    feeders: Sequence[str],
    before_w: Sequence[Floats],
    during_w: Sequence[Floats],
    after_w: Sequence[Floats],
    at_ms: int,
) -> Judged:
    """What the feeders' meters say of a rack that slept: samples by feeder, each of its own length [sample]."""
    if rack.spoilt:
        return Judged(rack.name, "disturbed", rack.spoilt, at_ms, (), None)
    slept = tuple(device for device in rack.asked if device in rack.slept)
    if len(slept) < LEAST_SHARE * len(rack.asked):
        return Judged(rack.name, "skipped", f"only {len(slept)} of {len(rack.asked)} slept", at_ms, slept, None)
    heard = [
        at for at in range(len(feeders)) if min(len(before_w[at]), len(during_w[at]), len(after_w[at])) >= LEAST_SAMPLES
    ]
    if not heard:
        return Judged(rack.name, "skipped", "no feeder's meter told enough", at_ms, slept, None)
    names = [feeders[at] for at in heard]
    before, during, after = (_even([reported[at] for at in heard]) for reported in (before_w, during_w, after_w))
    expected_w = rack.expected_w * len(slept) / len(rack.asked)
    result = judge_pulse(rack.name, rack.declared, expected_w, names, before, during, after)
    changed_w = np.median(after, axis=1) - np.median(before, axis=1)
    fall_w = (np.median(before, axis=1) + np.median(after, axis=1)) / 2.0 - np.median(during, axis=1)
    most = int(np.argmax(fall_w))
    if abs(float(changed_w[most])) > RESTLESS_SHARE * expected_w:
        why = f"{names[most]} changed by {changed_w[most]:.0f} W meanwhile"
        return Judged(rack.name, "disturbed", why, at_ms, slept, result)
    silent = sorted(set(feeders) - set(names))
    if silent and not result.feeder:
        why = f"no feeder moved, and {', '.join(silent)} told nothing"
        return Judged(rack.name, "disturbed", why, at_ms, slept, result)
    return Judged(rack.name, "judged", "", at_ms, slept, result)


def _even(reported: Sequence[Floats]) -> Floats:
    """Samples of equal number for each feeder, spread over all that it told; shape [feeder, sample]."""
    size = min(len(one) for one in reported)
    return np.stack([one[np.linspace(0, len(one) - 1, size).astype(np.int64)] for one in reported])
