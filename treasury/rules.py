# SPDX-License-Identifier: Apache-2.0
"""Dated rules of a jurisdiction from `configs/jurisdictions/*.toml`: value, unit, days, source, certainty.

An unknown rule (certainty U) is in the file without a value, and reading it raises an error. The value of a weakly known rule
(C) may be used only in draft reports, until a named person confirms it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import combinations
from pathlib import Path

from kernel.dated import Dated, rule_on
from kernel.errors import ConfigError, Fault
from kernel.toml_model import read_toml
from treasury.contract_file import Table

SURENESS = ("A", "B", "C", "D", "U")


@dataclass(frozen=True, slots=True)
class Jurisdiction:
    """All editions of all rules of one jurisdiction."""

    name: str
    currency: str
    zone: str
    rules: tuple[Dated[str], ...]
    units: dict[str, str]

    def on(self, key: str, day: date) -> Dated[str]:
        """The one edition of a rule on a day. ConfigError where there is none or its value is unknown."""
        return rule_on(self.rules, key, day)

    def unknown(self) -> list[str]:
        """Rules without a value, which the operator has to find out."""
        return sorted({rule.key for rule in self.rules if rule.value is None})

    def unconfirmed(self, day: date) -> list[str]:
        """Rules valid on a day that make a report a draft."""
        return sorted({rule.key for rule in self.rules if rule.holds(day) and not rule.firm})


def load_rules(path: Path) -> Jurisdiction:
    """Read a jurisdiction. ConfigError with all faults."""
    faults: list[Fault] = []
    top = Table(read_toml(path, "Give a file of jurisdictions/"), str(path), faults)
    head = top.table("jurisdiction")
    name, currency, zone = head.text("name"), head.text("currency"), head.zone("zone")
    head.end()
    rows = [_rule(table) for table in top.tables("rule")]
    top.end()
    faults += _overlaps([rule for rule, _ in rows], str(path))
    if faults:
        raise ConfigError(faults)
    return Jurisdiction(name, currency, zone, tuple(rule for rule, _ in rows), {rule.key: unit for rule, unit in rows})


def _rule(table: Table) -> tuple[Dated[str], str]:
    key, sure = table.text("key"), table.choice("sure", SURENESS)
    value = table.text_or_none("value")
    if sure == "U" and value is not None:
        table.fault("value", "is given, and the rule is marked unknown (U)", "Remove it, or give its certainty")
    if sure and sure != "U" and value is None:
        table.fault("value", "is missing", 'Write value = "...", or sure = "U" where it is unknown')
    valid_from, valid_to = table.day("valid_from"), table.day_or_none("valid_to")
    if valid_to is not None and valid_to <= valid_from:
        table.fault("valid_to", "is not after valid_from", "Give the first day on which it no longer holds")
    source, confirmed_by, unit = table.text("source"), table.text_or_none("confirmed_by"), table.text("unit")
    table.end()
    return Dated(key, value, valid_from, valid_to, source, sure, confirmed_by), unit


def _overlaps(rules: Sequence[Dated[str]], place: str) -> list[Fault]:
    found = []
    for rule, other in combinations(rules, 2):
        day = max(rule.valid_from, other.valid_from)
        if rule.key == other.key and rule.holds(day) and other.holds(day):
            text = f"two editions hold on {day}"
            found.append(Fault(f"{place}, {rule.key}", text, "Let one end (valid_to) where the other begins"))
    return found
