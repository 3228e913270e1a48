# SPDX-License-Identifier: Apache-2.0
"""Corridor of allowed power: proposals of several rules, narrowed by priority, with the reasons kept.

From the most urgent proposal on, each narrows the corridor. One that no longer fits is moved to the nearest edge and listed
as broken, so that a heat contract during a dispatcher's cut is reported as not met, with the cause.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from grid.limit import Limit, Priority


@dataclass(frozen=True, slots=True)
class Proposal:
    """A rule's range: at least `low_w` and at most `high_w`."""

    low_w: float
    high_w: float
    priority: Priority
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Corridor:
    """The resulting range [low_w, high_w], the proposals that set its edges, and the broken ones."""

    low_w: float
    high_w: float
    upper: Proposal | None
    lower: Proposal | None
    broken: tuple[Proposal, ...]

    def nearest(self, power_w: float) -> float:
        return min(max(power_w, self.low_w), self.high_w)


def narrow(proposals: Iterable[Proposal], least_w: float = 0.0) -> Corridor:
    """The corridor of all proposals by priority, ties by the tighter cap and then by name. `least_w`: meter power while
    nothing is drawn (below zero where on-site generation is then exported)."""
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
    """The limits of a scope in force at an instant, as proposals."""
    return [
        Proposal(-float("inf"), limit.power_w, limit.priority, limit.rule, limit.reason)
        for limit in limits
        if limit.scope == scope and limit.span.holds(at_ms)
    ]
