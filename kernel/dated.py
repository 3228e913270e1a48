# SPDX-License-Identifier: Apache-2.0
"""Rules with a period of validity (rates, fees, shares), each with source and certainty.

Certainty: A official text read, B press or law firm naming its source, C weak, D derived by arithmetic, U unknown. A rule of
certainty U has no value: reading it raises an error, so that an unknown never becomes a silent default.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Generic, TypeVar

from kernel.errors import ConfigError, Fault

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Dated(Generic[T]):
    """One edition of a rule: valid on days `valid_from <= day < valid_to` (None: until further notice)."""

    key: str
    value: T | None
    valid_from: date
    valid_to: date | None
    source: str
    sure: str
    confirmed_by: str | None = None

    def holds(self, day: date) -> bool:
        return self.valid_from <= day and (self.valid_to is None or day < self.valid_to)

    @property
    def firm(self) -> bool:
        """Whether a report that uses it may be final rather than a draft."""
        return self.sure in ("A", "B", "D") or self.confirmed_by is not None


def rule_on(rules: Sequence[Dated[T]], key: str, day: date) -> Dated[T]:
    """The one edition of a rule that is valid on a day, with a value.

    Raises ConfigError where none or several are valid, or the value is unknown (certainty U).
    """
    found = [rule for rule in rules if rule.key == key and rule.holds(day)]
    if len(found) != 1:
        what = "no edition" if not found else f"{len(found)} editions"
        raise ConfigError([Fault(f"rule {key} on {day}", f"{what} valid", "Give exactly one with valid_from/valid_to")])
    if found[0].value is None:
        raise ConfigError(
            [Fault(f"rule {key} on {day}", "its value is unknown", "Ask the operator and enter the value")]
        )
    return found[0]
