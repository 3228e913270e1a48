# SPDX-License-Identifier: Apache-2.0
"""What came of a command: a closed union, never bool. Unknown counts as load that is still on."""

from dataclasses import dataclass
from enum import StrEnum

from kernel.reading import Reading


class HubCause(StrEnum):
    """What the hub itself did to a command. Such an outcome is no fault of the device."""

    WITHDRAWN = "withdrawn"
    """Taken back before it was sent."""
    CUT_SHORT = "cut_short"
    """The hub stopped before there was proof."""
    SUPERSEDED = "superseded"
    """A newer command took its place."""
    BARRED = "barred"
    """A command interlock forbade it before a byte was sent."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A reading sampled after the command shows its effect. `took_s` from the first byte sent to that sample."""

    reading: Reading
    took_s: float


@dataclass(frozen=True, slots=True)
class Accepted:
    """The device says it took it; nothing has shown it yet."""

    text: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The device answered no: with its own code and text."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Unsupported:
    """This model or firmware cannot do it; nothing was sent."""

    text: str


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Nobody there: no byte of the command can have had an effect. `cause`: the hub's own doing, where it was that."""

    text: str
    cause: HubCause | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may or may not have happened: sent, and no proof within the deadline. `cause`: the hub's own doing, if it was that."""

    text: str
    cause: HubCause | None = None


Receipt = Verified | Accepted | Refused | Unsupported | Unreachable | Unknown
