# SPDX-License-Identifier: Apache-2.0
"""Commissioning by IP-report buttons: slots of racks in order, and the buttons pressed at them.

All of it is a fold over events (`commissioning.begun`, `button.pressed`, `commissioning.ended`), so that a restart in
between loses no press.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kernel.event import EventKind
from miner_control.inventory.inventory_events import ButtonPressed
from miner_control.inventory.position import Press

KEPT: Final = 200
"""Number of newest presses kept, commissioning or not."""
MORE: Final = 100
"""A commissioning accepts this many presses beyond three per slot; later ones are ignored."""

Slot = tuple[str, str, str]
"""Rack, position, feeder."""


@dataclass(frozen=True, slots=True)
class AssignedPress:
    """A press, and the key of its miner; "" where the miner is unknown."""

    press: Press
    device: str

    def to_json(self) -> ButtonPressed:
        """As the body of `button.pressed`."""
        return {
            "device": self.device, "host": self.press.host, "mac": self.press.mac, "pressed_ms": self.press.at_ms,
        }  # fmt: skip

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "AssignedPress":
        """The inverse of `to_json`."""
        return cls(Press(str(body["host"]), str(body["mac"]), int(body["pressed_ms"])), str(body["device"]))


@dataclass(slots=True)
class Commissioning:
    """Slots in the order in which they are visited, and the presses since the start."""

    by: str
    begun_ms: int
    slots: tuple[Slot, ...]
    presses: list[Press] = field(default_factory=list)

    def take(self, press: Press) -> None:
        """Add one press, up to three per slot and `MORE`."""
        if len(self.presses) < 3 * len(self.slots) + MORE:
            self.presses.append(press)

    def pressed(self) -> int:
        """Buttons pressed so far; the same one twice in a row counts once."""
        macs = [press.mac for press in self.presses]
        return sum(at == 0 or macs[at - 1] != mac for at, mac in enumerate(macs))

    def next_slot(self) -> Slot | None:
        """The slot of the next press; None where all slots had theirs."""
        at = self.pressed()
        return self.slots[at] if at < len(self.slots) else None


class ButtonBook:
    """The last presses of the hub, and the running commissioning of each site, by its key."""

    def __init__(self) -> None:
        self.last: deque[AssignedPress] = deque(maxlen=KEPT)
        self.walks: dict[str, Commissioning] = {}

    def apply(self, kind: str, site: str, body: Mapping[str, Any], at_ms: int) -> None:
        """Fold one event. A press of an unknown miner is added to every running commissioning."""
        if kind == EventKind.BUTTON_PRESSED:
            press = AssignedPress.from_json(body)
            self.last.appendleft(press)
            for key, walk in self.walks.items():
                if not press.device or key == site:
                    walk.take(press.press)
        elif kind == EventKind.COMMISSIONING_BEGUN:
            slots = tuple((str(rack), str(position), str(feeder)) for rack, position, feeder in body["slots"])
            self.walks[site] = Commissioning(str(body["by"]), at_ms, slots)
        elif kind == EventKind.COMMISSIONING_ENDED:
            self.walks.pop(site, None)
