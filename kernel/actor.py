# SPDX-License-Identifier: Apache-2.0
"""Author of an act: person, role and entry, recorded in the event of the act."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

FIELD: Final = "actor"
"""Field of an event's body; absent in events written before authors were recorded."""


class Channel(StrEnum):
    """Entry point of an act into the hub. Values are stored in events and orders."""

    PAGE = "page"
    REST = "rest"
    MQTT = "mqtt"
    IEC_104 = "104"
    COMMAND_LINE = "command line"
    TELEPHONE = "telephone"


@dataclass(frozen=True, slots=True)
class Actor:
    """Person (or program) that acts, its role, and the entry point used."""

    person: str
    role: str
    entry: Channel

    def to_json(self) -> dict[str, str]:
        """JSON object with `person`, `role`, `entry`."""
        return {"person": self.person, "role": self.role, "entry": str(self.entry)}

    def on(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Body of an event with its author added."""
        return {**body, FIELD: self.to_json()}
