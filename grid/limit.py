# SPDX-License-Identifier: Apache-2.0
"""Power limits by scope and time, and the limit in force with its reason.

Each party proposes a limit for a scope and a span; the lowest one is in force, and the reasons of all are kept. The priority
decides which parties are informed that they were limited, and which limit is broken last when not all can be kept: safety,
law, dispatcher, feeder, contract, operator, profit.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from kernel.span import Span


class Priority(IntEnum):
    """Origin of a limit. The lower number is kept when two limits cannot both be kept."""

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
    """Power drawn from the grid in `scope` is at most `power_w` during `span`.

    `scope`: a site key (`hub/site`), a feeder of it (`hub/site/feeder-3`), or a phase of that (`.../l1`). `rule` names the
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
    """Limit in force in one scope at one instant: the lowest limit, and all others active at that time."""

    power_w: float
    binding: Limit
    others: tuple[Limit, ...] = ()


def cap_at(limits: Iterable[Limit], scope: str, at_ms: int) -> Cap | None:
    """Limit in force in a scope at an instant; None where there is none. Ties go to the more urgent priority."""
    active = sorted(
        (limit for limit in limits if limit.scope == scope and limit.span.holds(at_ms)),
        key=lambda limit: (limit.power_w, limit.priority, limit.rule),
    )
    return Cap(active[0].power_w, active[0], tuple(active[1:])) if active else None
