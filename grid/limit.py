# SPDX-License-Identifier: Apache-2.0
"""How much may be drawn now, and which rule says so.

Each party proposes a cap for a scope and a span; the lowest binding one wins, and the reasons of all stay with it.
Priority orders who is told they were narrowed, and who is broken last when not all can be kept:
safety, law, dispatcher, feeder, contract, operator, profit.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from kernel.span import Span


class Priority(IntEnum):
    """Who speaks. A lower number is kept when two cannot both be."""

    SAFETY = 0
    LAW = 1
    DISPATCHER = 2
    FEEDER = 3
    CONTRACT = 4
    OPERATOR = 5
    PROFIT = 6


STANDING = frozenset({Priority.SAFETY, Priority.FEEDER})
"""Priorities of the limits of the plant itself (connection, breakers): they do not end as an order does."""

PHASES = ("l1", "l2", "l3")
"""The last part of the scope of a feeder's phase, in the order of an inventory's 0, 1, 2."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Power drawn from the grid in `scope` stays at or below `power_w` during `span`.

    `scope` is a site key (`hub/site`), a feeder of it (`hub/site/feeder-3`), or a phase of that (`.../l1`). `rule` names
    order, contract or setting.
    """

    scope: str
    power_w: float
    span: Span
    priority: Priority
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Cap:
    """What holds at one instant in one scope: the lowest limit, and every other that was active beside it."""

    power_w: float
    binding: Limit
    others: tuple[Limit, ...] = ()


def cap_at(limits: Iterable[Limit], scope: str, at_ms: int) -> Cap | None:
    """The cap of a scope at an instant; None where nothing limits it. Ties go to the more urgent priority."""
    active = sorted(
        (limit for limit in limits if limit.scope == scope and limit.span.holds(at_ms)),
        key=lambda limit: (limit.power_w, limit.priority, limit.rule),
    )
    return Cap(active[0].power_w, active[0], tuple(active[1:])) if active else None
