# SPDX-License-Identifier: Apache-2.0
"""Errors shared by all packages. Outcomes of commands are not errors: they are receipts (`kernel.receipt`)."""

from dataclasses import dataclass

from kernel.reading import Absence


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with what we were given: where it stands, what is wrong, what to do."""

    place: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}. {self.remedy}"


class ConfigError(Exception):
    """The configuration (or any file of ours) is wrong. Carries all faults at once; the hub does not start."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__("\n".join(str(fault) for fault in faults))


class TransportError(Exception):
    """A device could not be asked: transient; caught only by collector and actuator.

    `reason` is the Missing reason that its metrics take: unreachable, timed out, busy.
    """

    def __init__(self, reason: Absence, text: str) -> None:
        self.reason = reason
        self.text = text
        super().__init__(f"{reason.name.lower()}: {text}")


class DecodeError(Exception):
    """A device answered something that its dialect or profile cannot read. `place` names register, key or offset."""

    def __init__(self, place: str, text: str) -> None:
        self.place = place
        self.text = text
        super().__init__(f"{place}: {text}")


class NotFound(LookupError):
    """A site, miner, order, report or other thing that was named does not exist."""


class BrokenInvariant(Exception):
    """Something that cannot be is. The fleet goes to its safe power and the hub restarts from the journal."""
