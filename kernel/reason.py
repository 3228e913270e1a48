# SPDX-License-Identifier: Apache-2.0
"""Reason of a decision: the rule that decided, as a value, and its text for people."""

from dataclasses import dataclass
from enum import StrEnum


class Rule(StrEnum):
    """Rule that decided a target or a set-point. Decisions compare these values, never the text."""

    PLAN = "plan"
    HOLD = "hold"
    """No plan covers the instant and nothing is to be restored."""
    RESTORE = "restore"
    """Return to the operating point before a limit."""
    LIMIT = "limit"
    HEAT_DUTY = "heat duty"
    GUARD = "guard"
    """Protection of a unit or of the site: temperature, stale meter, cooling."""


OWN_CHOICE = frozenset({Rule.PLAN, Rule.HOLD, Rule.RESTORE})
"""Rules of the hub's own choice: lowering a unit by one of them records no mode to restore."""


@dataclass(frozen=True, slots=True)
class Reason:
    """`text` names the order, limit or price and is journalled as it stands."""

    rule: Rule
    text: str
