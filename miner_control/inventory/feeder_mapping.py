# SPDX-License-Identifier: Apache-2.0
"""Feeder mapping: proof of each rack's feeder by a sleep pulse, while all feeders' meters are recorded.

A run is a fold over its own events, so that a restarted hub continues it. Steps of each rack: `begun` (its units are
excluded from the plan, the meters are recorded), `asleep` (commands sent), `woken` (commands sent), `back` (they hash again,
the meters are recorded once more), then the judgement. `spoilt`: an order interrupted it, so that the rack proves nothing;
`stopped`: a person ended it, so that the rack is woken and proves nothing.
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
"""A rack is pulsed only where this share of its power can sleep, and judged where this share of its units did."""
RESTLESS_SHARE: Final = 0.3
"""A feeder whose level changed over a pulse by more than this part of the expected fall had other changes of load."""
BACK_SHARE: Final = 0.9
LEAST_SAMPLES: Final = 4


@dataclass(frozen=True, slots=True)
class Judged:
    """Result of one rack. `outcome`: judged, disturbed or skipped, the last two with `why`. `devices` slept in it."""

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
    """The rack in progress: instants (`begun`, `asleep`, `woken`, `back` to ms) and its commands."""

    name: str
    declared: str
    devices: tuple[str, ...]
    at_ms: dict[str, int]
    expected_w: float = 0.0
    spoilt: str = ""
    commanded: tuple[str, ...] = ()
    received_ms: int = 0
    slept: set[str] = field(default_factory=set)
    waiting: dict[str, str] = field(default_factory=dict)
    """Device by command id, while its receipt is awaited."""

    @property
    def step(self) -> str:
        """The last completed step."""
        return max(self.at_ms, key=lambda step: (self.at_ms[step], STEPS.index(step)))


STEPS: Final = ("begun", "asleep", "woken", "back")


class FeederMappingRun:
    """Requested racks in their order. `off_s`: time that each sleeps, and is recorded before and after."""

    def __init__(self, body: Mapping[str, Any], at_ms: int) -> None:
        self.id, self.requested_by = str(body["id"]), str(body["by"])
        self.racks = [str(rack) for rack in body["racks"]]
        self.off_s = float(body["off_s"])
        self.requested_ms = at_ms
        self.now: Rack | None = None
        self.done: list[Judged] = []
        self.stopped = ""
        self.ended = ""

    @property
    def next_rack(self) -> str | None:
        """The next rack; None where all were done or a person stopped the run."""
        return self.racks[len(self.done)] if not self.stopped and len(self.done) < len(self.racks) else None

    def apply(self, kind: str, body: Mapping[str, Any], at_ms: int) -> None:
        """Fold one event of the run."""
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
            rack.at_ms[step], rack.received_ms = at_ms, at_ms
            rack.waiting = {str(commanded): str(device) for commanded, device in commands.items()}
            if step == "asleep":
                rack.expected_w, rack.commanded = float(body["expected_w"]), tuple(map(str, commands.values()))

    def received(self, command_id: str, outcome: str, at_ms: int) -> None:
        """Fold the last receipt of one of its commands."""
        if self.now is None or command_id not in self.now.waiting:
            return
        device = self.now.waiting.pop(command_id)
        self.now.received_ms = at_ms
        if outcome == "verified" and self.now.step == "asleep":
            self.now.slept.add(device)

    def status(self) -> dict[str, Any]:
        """Progress of the run."""
        rack = self.now
        return {
            "id": self.id, "by": self.requested_by, "asked_ms": self.requested_ms, "off_s": self.off_s, "racks": self.racks,
            "done": len(self.done), "rack": "" if rack is None else rack.name, "step": "" if rack is None else rack.step,
            "holds": 0 if rack is None else len(rack.devices), "stopped": self.stopped, "ended": self.ended,
        }  # fmt: skip


class FeederMappingBook:
    """Feeder-mapping runs of a site: a fold of the events `feeder_mapping.*` and `command.receipt`."""

    def __init__(self) -> None:
        self.running: FeederMappingRun | None = None
        self.last: FeederMappingRun | None = None
        self.judged: dict[str, Judged] = {}
        """The newest result of each rack."""

    def apply(self, kind: str, body: Mapping[str, Any], at_ms: int) -> None:
        """Fold one event."""
        if kind == EventKind.FEEDER_MAPPING_REQUESTED:
            self.running = self.last = FeederMappingRun(body, at_ms)
        elif self.running is None:
            return
        elif kind == EventKind.COMMAND_RECEIPT:
            self.running.received(str(body["id"]), str(body["outcome"]), at_ms)
        else:
            self.running.apply(kind, body, at_ms)
            if kind == EventKind.FEEDER_MAPPING_JUDGED:
                self.judged[str(body["rack"])] = self.running.done[-1]
            elif kind == EventKind.FEEDER_MAPPING_ENDED:
                self.running = None

    @property
    def watching(self) -> bool:
        """Whether meters are recorded for a pulse, so that the site must stay as it is."""
        rack = None if self.running is None else self.running.now
        return rack is not None and not rack.spoilt

    def held(self) -> frozenset[str]:
        """Units excluded from the plan."""
        rack = None if self.running is None else self.running.now
        return frozenset() if rack is None else frozenset(rack.devices)


def can_pulse(fleet: Fleet, starts_cap: int | None) -> Bools:
    """Units that may be put to sleep for a pulse and woken again, shape [N]: hashing, commandable, past their minimum
    on-time, with a start left today, and without a pending command."""
    steady = (fleet.state == STATE_CODE[State.HASHING.value]) & (fleet.wanted == fleet.mode) & (fleet.mode > UNSURE)
    found: Bools = fleet.can_command & fleet.fresh & fleet.may_sleep & steady
    if starts_cap is not None:
        found = found & (fleet.starts_used < starts_cap)
    sleeps = np.array([{"Sleep", "Wake"} <= set(g.envelope.commands) for g in fleet.roster.groups], dtype=np.bool_)
    return found & sleeps[fleet.roster.group]


def drop_w(fleet: Fleet, units: Sequence[int]) -> float:
    """Fall of load when some units sleep, in watts."""
    chosen = np.array(units, dtype=np.int64)
    standby_w = fleet.roster.sleep_w[fleet.roster.group[chosen]]
    return float((fleet.power_w[chosen] - standby_w).sum())


def is_back(fleet: Fleet, units: Sequence[int], drop_before_w: float) -> bool:
    """Whether all of some units hash again, at nearly their former power (`BACK_SHARE`)."""
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
    """Judge a rack that slept by its feeders' meters: samples by feeder, each of its own length [sample]."""
    if rack.spoilt:
        return Judged(rack.name, "disturbed", rack.spoilt, at_ms, (), None)
    slept = tuple(device for device in rack.commanded if device in rack.slept)
    if len(slept) < LEAST_SHARE * len(rack.commanded):
        return Judged(rack.name, "skipped", f"only {len(slept)} of {len(rack.commanded)} slept", at_ms, slept, None)
    received = [
        at for at in range(len(feeders)) if min(len(before_w[at]), len(during_w[at]), len(after_w[at])) >= LEAST_SAMPLES
    ]
    if not received:
        return Judged(rack.name, "skipped", "no feeder's meter reported enough samples", at_ms, slept, None)
    names = [feeders[at] for at in received]
    before, during, after = (_even([reported[at] for at in received]) for reported in (before_w, during_w, after_w))
    expected_w = rack.expected_w * len(slept) / len(rack.commanded)
    result = judge_pulse(rack.name, rack.declared, expected_w, names, before, during, after)
    changed_w = np.median(after, axis=1) - np.median(before, axis=1)
    fall_w = (np.median(before, axis=1) + np.median(after, axis=1)) / 2.0 - np.median(during, axis=1)
    most = int(np.argmax(fall_w))
    if abs(float(changed_w[most])) > RESTLESS_SHARE * expected_w:
        why = f"{names[most]} changed by {changed_w[most]:.0f} W meanwhile"
        return Judged(rack.name, "disturbed", why, at_ms, slept, result)
    silent = sorted(set(feeders) - set(names))
    if silent and not result.feeder:
        why = f"no feeder moved, and {', '.join(silent)} reported too little"
        return Judged(rack.name, "disturbed", why, at_ms, slept, result)
    return Judged(rack.name, "judged", "", at_ms, slept, result)


def _even(reported: Sequence[Floats]) -> Floats:
    """Samples of equal number for each feeder, spread over all that it reported; shape [feeder, sample]."""
    size = min(len(one) for one in reported)
    return np.stack([one[np.linspace(0, len(one) - 1, size).astype(np.int64)] for one in reported])
