# SPDX-License-Identifier: Apache-2.0
"""The four exception types. Results of commands are no exceptions but receipts (`kernel.receipt`)."""

from dataclasses import dataclass

from kernel.reading import Absence


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of an input: where it was, what was wrong, what to do."""

    place: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}. {self.remedy}"


class ConfigError(Exception):
    """The configuration, or another file of the site, is wrong. Carries all faults at once; the hub does not start."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__("\n".join(str(fault) for fault in faults))


class TransportError(Exception):
    """No answer from a device. Transient; caught only by collector and actuator.

    `reason` is the Missing reason that its metrics get: unreachable, timed out, busy, malformed.
    """

    def __init__(self, reason: Absence, text: str) -> None:
        self.reason = reason
        self.text = text
        super().__init__(f"{reason.name.lower()}: {text}")


class DecodeError(Exception):
    """An answer that the dialect or profile cannot decode. `place` names the register, key or offset."""

    def __init__(self, place: str, text: str) -> None:
        self.place = place
        self.text = text
        super().__init__(f"{place}: {text}")


class NotFound(LookupError):
    """A site, miner, order, report or other thing that was named does not exist."""


class BrokenInvariant(Exception):
    """An impossible state of the program. The fleet goes to its safe power and the hub restarts from the journal."""
