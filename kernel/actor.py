# SPDX-License-Identifier: Apache-2.0
"""Author of an act: person, role and entry, recorded in the body of each event that an act writes."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

FIELD: Final = "actor"
"""Field of an event's body. Events that were written before it was recorded have none."""


class Channel(StrEnum):
    """Entry of an act into the hub. Values are stored in events and orders."""

    PAGE = "page"
    REST = "rest"
    MQTT = "mqtt"
    IEC_104 = "104"
    COMMAND_LINE = "command line"
    TELEPHONE = "telephone"


@dataclass(frozen=True, slots=True)
class Actor:
    """The person (or program) that acts, its role, and the entry by which the act came."""

    person: str
    role: str
    entry: Channel

    def to_json(self) -> dict[str, str]:
        """`person, role, entry`."""
        return {"person": self.person, "role": self.role, "entry": str(self.entry)}

    def on(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body of an event with its author."""
        return {**body, FIELD: self.to_json()}
