# SPDX-License-Identifier: Apache-2.0
"""Several parties propose how much may be drawn; priority narrows them to one corridor, and every reason is kept.

From the most urgent proposal on, each narrows the corridor. One that no longer fits inside is bent to its nearest edge and
listed as broken, so that a contract that asks for heat during a dispatcher's cut is told that it was not met, and by whom.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from grid.limit import Limit, Priority


@dataclass(frozen=True, slots=True)
class Proposal:
    """Draw at least `low_w` and at most `high_w`, says a rule."""

    low_w: float
    high_w: float
    priority: Priority
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Corridor:
    """What is left: [low_w, high_w], who set the upper and the lower edge, and who could not be kept."""

    low_w: float
    high_w: float
    upper: Proposal | None
    lower: Proposal | None
    broken: tuple[Proposal, ...]

    def nearest(self, power_w: float) -> float:
        return min(max(power_w, self.low_w), self.high_w)


def narrow(proposals: Iterable[Proposal], least_w: float = 0.0) -> Corridor:
    """The corridor of all proposals by priority, ties by the tighter cap and then by name. `least_w`: what the meter shows
    while nothing is drawn (below zero where generation on site is then exported)."""
    low, high = least_w, float("inf")
    upper: Proposal | None = None
    lower: Proposal | None = None
    broken: list[Proposal] = []
    for proposal in sorted(proposals, key=lambda p: (p.priority, p.high_w, p.rule)):
        if proposal.high_w < low or proposal.low_w > high:
            broken.append(proposal)
        if proposal.high_w < high:
            high, upper = max(proposal.high_w, low), proposal
        if proposal.low_w > low:
            low, lower = min(proposal.low_w, high), proposal
    return Corridor(low, high, upper, lower, tuple(broken))


def proposals_of(limits: Iterable[Limit], scope: str, at_ms: int) -> list[Proposal]:
    """The limits of a scope that hold at an instant, as proposals."""
    return [
        Proposal(-float("inf"), limit.power_w, limit.priority, limit.rule, limit.reason)
        for limit in limits
        if limit.scope == scope and limit.span.holds(at_ms)
    ]
