# SPDX-License-Identifier: Apache-2.0
"""Outcome of a command: a closed union, never a bool. Unknown counts as load still on."""

from dataclasses import dataclass
from enum import StrEnum

from kernel.reading import Reading


class HubCause(StrEnum):
    """What the hub itself did to a command; such an outcome is no fault of the device."""

    WITHDRAWN = "withdrawn"
    """Withdrawn before it was sent."""
    CUT_SHORT = "cut_short"
    """The hub stopped before the effect was proven."""
    SUPERSEDED = "superseded"
    """A newer command replaced it."""
    BARRED = "barred"
    """A command interlock forbade it before a byte was sent."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A reading sampled after the command shows its effect. `took_s`: seconds from the first byte sent to that sample."""

    reading: Reading
    took_s: float


@dataclass(frozen=True, slots=True)
class Accepted:
    """The device acknowledged the command; no reading has shown the effect yet."""

    text: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The device refused the command, with its own code and text."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Unsupported:
    """This model or firmware cannot execute the command; nothing was sent."""

    text: str


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No connection: no byte of the command can have had an effect. `cause`: set where the hub itself caused this, else None."""

    text: str
    cause: HubCause | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Sent, and the effect not proven within the deadline. `cause`: set where the hub itself caused this, else None."""

    text: str
    cause: HubCause | None = None


Receipt = Verified | Accepted | Refused | Unsupported | Unreachable | Unknown
