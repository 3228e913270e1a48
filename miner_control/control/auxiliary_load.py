# SPDX-License-Identifier: Apache-2.0
"""Switched loads other than miners: PDU sockets, contactors, pumps, fans, heaters.

A load is commanded like a miner: through a driver, with read-back, and silence counts as on. Order of switching: cooling
starts before miners wake and stops after they sleep; the hub never opens a contactor.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from kernel.errors import Fault, TransportError
from kernel.event import EventKind
from kernel.reading import Absence, Reading
from kernel.receipt import Receipt, Unsupported
from miner_control.fleet.command import Command, Intent, SwitchLoad, command
from miner_control.fleet.envelope import Envelope, Mode, Provenance
from telemetry.collect.source import Tier

Floats = NDArray[np.float64]


class LoadKind(StrEnum):
    """Kind of a switched load."""

    SOCKET = "socket"
    CONTACTOR = "contactor"
    PUMP = "pump"
    FAN = "fan"
    HEATER = "heater"


COOLING: Final = frozenset({LoadKind.PUMP, LoadKind.FAN})
AUXILIARY: Final = COOLING | {LoadKind.HEATER}
"""Kinds with a power draw of their own: that of a socket or contactor is the draw of the miners behind it."""
FEEDING: Final = frozenset({LoadKind.SOCKET, LoadKind.CONTACTOR})
DEADLINE_S: Final = 30.0
OUTPUT: Final = "output"
"""The group of a switch's outputs."""


@dataclass(frozen=True, slots=True)
class Load:
    """One switched load, with its own key (`hub/site/name`): the outputs of one PDU are commanded separately.

    - `device`: key of the switching device; `index`: output on it (from 1) in its `group` (`socket`, `pdu02`; the kind's
      own name where empty).
    - `power_w`: own draw when on, behind the site's meter.
    - `feeds`: miners behind it (socket, contactor), or those it cools or warms (pump, fan, heater).
    """

    name: str
    kind: LoadKind
    device: str
    index: int
    feeder: str
    power_w: float
    feeds: frozenset[str] = frozenset()
    group: str = ""

    @property
    def key(self) -> str:
        """Device key of the load, at the same hub and site as its switching device."""
        return f"{self.device.rpartition('/')[0]}/{self.name}"

    def envelope(self) -> Envelope:
        """The load as an envelope, so that the actuator treats it like a miner."""
        return Envelope(
            model=f"{self.kind} {self.name}",
            firmware="switch",
            modes=(Mode("on", max(self.power_w, 1.0), 1.0),),
            normal="on",
            sleep_w=0.0,
            ramp_up_s=0.0,
            ramp_down_s=0.0,
            start_lost_s=0.0,
            min_on_s=0.0,
            min_off_s=0.0,
            commands=frozenset({"SwitchLoad"}),
            provenance=Provenance.SOURCED,
        )


def check_loads(loads: Sequence[Load]) -> list[Fault]:
    """Contradictions in a list of loads: an output assigned twice, cooling without miners."""
    faults: list[Fault] = []
    seen: dict[tuple[str, str, int], str] = {}
    for load in loads:
        place = (load.device, load.group or load.kind.value, load.index)
        if place in seen:
            faults.append(Fault(f"load {load.name}", f"output {place} is {seen[place]} already", "Give each its own"))
        seen[place] = load.name
        if load.kind in COOLING and not load.feeds:
            faults.append(Fault(f"load {load.name}", "cools no miner", "Name the miners it cools in `feeds`"))
    return faults


def running_w(loads: Iterable[Load], on: Mapping[str, bool | None]) -> float:
    """Present draw of the auxiliary loads; a load of unknown state counts as on."""
    return sum(load.power_w for load in loads if load.kind in AUXILIARY and on.get(load.name) is not False)


def shares_w(loads: Iterable[Load], index: Mapping[str, int]) -> Floats:
    """Cooling power that each running miner entails, in watts by unit, shape [N]: the power of a pump or fan in equal parts
    over the miners it serves. Exact where these run together; `index` is device key to unit."""
    found = np.zeros(len(index))
    for load in loads:
        units = [index[device] for device in load.feeds if device in index]
        if load.kind in COOLING and load.power_w > 0 and units:
            np.add.at(found, units, load.power_w / len(units))
    return found


def before_wake(loads: Sequence[Load], waking: frozenset[str], on: Mapping[str, bool | None]) -> list[Load]:
    """Loads to switch on, in this order, before these miners may wake: their supply, then their cooling."""
    useful = [load for load in loads if load.kind in COOLING | FEEDING and load.feeds & waking]
    needed = [load for load in useful if on.get(load.name) is not True]
    return sorted(needed, key=lambda load: (load.kind in COOLING, load.name))


def after_shed(
    loads: Sequence[Load], asleep: frozenset[str], on: Mapping[str, bool | None], *, cooled: bool
) -> list[Load]:
    """Loads that may be switched off after miners sleep: cooling whose miners are all asleep, and only after the run-on
    (`cooled`). Supplies stay on: a sleeping control board must stay reachable."""
    if not cooled:
        return []
    return [load for load in loads if load.kind in COOLING and load.feeds <= asleep and on.get(load.name) is not False]


def switch(tick_ms: int, load: Load, on: bool, reason: str, *, priority: int = 5) -> Command:
    """The command for one load; the intent carries its output."""
    return command(tick_ms, load.key, SwitchLoad(load.index, on), reason, deadline_s=DEADLINE_S, priority=priority)


def output_metrics(load: Load) -> frozenset[str]:
    """The metrics in which a device may report a load's output."""
    group = load.group or load.kind.value
    return frozenset({f"{group}_state", "sockets_json", f"output_{load.index}_state"})


def output_state(reading: Reading, group: str, index: int) -> bool | None:
    """State of one output of a container or PDU (counted from 1); None where it is not reported.

    Sources: `output_N_state` of a switch; `pump_state` and `fan_state` of a container (the first of them); the list of PDUs
    `{PDUIndex, SocketStatus}` with both counted from 0, or a list of sockets `{index, on}`.
    """
    output = reading.get(f"output_{index}_state")
    if isinstance(output, str):
        return output == "on" if output in ("on", "off") else None
    if group in ("pump", "fan"):
        reported = reading.get(f"{group}_state")
        return reported == "on" if index == 1 and reported in ("on", "off") else None
    listed = reading.get("sockets_json")
    if not isinstance(listed, str):
        return None
    number = int(digits) if (digits := group.removeprefix("pdu")).isdigit() else 1
    for one in json.loads(listed):
        states = one.get("SocketStatus")
        if isinstance(states, list) and str(one.get("PDUIndex")) == str(number - 1):
            return str(states[index - 1]) == "1" if index <= len(states) else None
        if "index" in one and int(one["index"]) == index:
            return bool(one.get("on"))
    return None


class LoadBook:
    """Outcome of switching commands by load key: a fold of `command.issued` and `command.receipt`."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._keys = frozenset(keys)
        self._shown: dict[str, tuple[bool | None, int]] = {}
        self._pending: dict[str, tuple[str, int]] = {}

    def apply(self, kind: str, body: Mapping[str, Any], at_ms: int) -> None:
        """Fold one event; those of other devices change nothing."""
        key = str(body["device"])
        if key not in self._keys or body["intent"] != "SwitchLoad":
            return
        if kind == EventKind.COMMAND_ISSUED:
            until_ms = int(body["issued_ms"]) + round(2000 * float(body["deadline_s"]))
            self._pending[key] = (str(body["id"]), until_ms)
            return
        if self._pending.get(key, ("", 0))[0] == body["id"]:
            del self._pending[key]
        if body["outcome"] == "verified":
            self._shown[key] = (bool(body["on"]), int(body.get("sampled_ms", at_ms)))
        elif body["outcome"] == "unknown":
            self._shown[key] = (None, at_ms)

    def pending(self, key: str, now_ms: int) -> bool:
        """Whether a switching is in progress."""
        return self._pending.get(key, ("", 0))[1] > now_ms

    def on(self, key: str) -> tuple[bool | None, int]:
        """(on, off, or None where unknown; the instant of that observation, 0: never)."""
        return self._shown.get(key, (None, 0))


class Switching(Protocol):
    """Port of a device with switched outputs, which reads each write back before it returns Verified."""

    async def switch(self, name: str, index: int, on: bool, *, deadline_s: float) -> Receipt: ...


class SwitchPort:
    """One load as a driver for the actuator: a command goes to its output, and the device's own read-back is the proof.

    `look` gives the last reading of a device that does not read back by itself: its next report of this output is the proof.
    """

    kind = "container"

    def __init__(self, load: Load, device: Switching, look: Callable[[], Reading | None] = lambda: None) -> None:
        self._load, self._device, self._look = load, device, look

    @property
    def device(self) -> str:
        return self._load.key

    @property
    def lane(self) -> str:
        return self._load.device

    async def read(self, tier: Tier) -> Reading:
        """The last reported state of this output. Raises TransportError where it is not reported."""
        reading, load = self._look(), self._load
        on = None if reading is None else output_state(reading, load.group or load.kind.value, load.index)
        if reading is None or on is None:
            raise TransportError(Absence.UNSUPPORTED, f"{load.device} does not report the output of {load.name}")
        reported = json.dumps([{"index": load.index, "on": on}])
        return Reading(load.key, self.kind, reading.at_ms, {"sockets_json": reported})

    async def carry_out(self, intent: Intent, deadline_s: float) -> Receipt:
        """Switch the output. Any other intent, or another output, is Unsupported."""
        if not isinstance(intent, SwitchLoad) or intent.index != self._load.index:
            return Unsupported(f"{self._load.name} can only be switched, output {self._load.index}")
        group = self._load.group or self._load.kind.value
        return await self._device.switch(group, intent.index, intent.on, deadline_s=deadline_s)
