# SPDX-License-Identifier: Apache-2.0
"""THE control step: what the plan wants, what the limits allow, and which miners change. Pure, stateless per tick.

The same instant, fleet, schedule and limits give the same decision, in a live hub, in virtual time and in a replay. The
actual state is read again each tick, so that a lost command is simply found still to do. The guard may lower afterwards.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from grid.limit import Limit, Priority
from miner_control.allocate import Policy, allocate
from miner_control.command import Intent, intent_text
from miner_control.fleet import Fleet, per_feeder, urgent
from scheduling.narrow import Corridor, Proposal, narrow, proposals_of
from scheduling.plan import Schedule

LONG_ORDER_S = 3_600.0


@dataclass(frozen=True, slots=True)
class Terms:
    """What the step must know of a site: its scope key, what draws beside the miners, the least they must draw (heat),
    how far below a hard cap to aim, and within which band around the plan nothing is moved."""

    site: str
    other_load_w: float = 0.0
    heat_w: float = 0.0
    cap_margin_w: float = 0.0
    deadband_w: float = 0.0


@dataclass(frozen=True, slots=True)
class SetPoint:
    """One unit (index into the fleet) asked to take a mode (-1: sleep), and why."""

    unit: int
    device: str
    mode: int
    intent: Intent
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """One tick. `target_w` is site power aimed at, `corridor` what limits leave; `over_w` by how much the site will still
    exceed it once all is obeyed (units that cannot be commanded or lowered); `feeders_over` the same by feeder name."""

    tick_ms: int
    schedule: str | None
    target_w: float
    reason: str
    corridor: Corridor
    set_points: tuple[SetPoint, ...]
    expected_w: float
    over_w: float
    feeders_over: tuple[tuple[str, float], ...]

    def to_json(self) -> dict[str, Any]:
        """The decision as JSON values for the journal's `tick.decided`."""
        upper = self.corridor.upper
        return {
            "tick_ms": self.tick_ms,
            "plan": self.schedule,
            "target_w": self.target_w,
            "reason": self.reason,
            "limit": None if upper is None else {"rule": upper.rule, "power_w": upper.high_w, "reason": upper.reason},
            "broken": [{"rule": p.rule, "reason": p.reason} for p in self.corridor.broken],
            "set_points": [[s.device, s.mode, intent_text(s.intent), s.reason] for s in self.set_points],
            "expected_w": self.expected_w,
            "over_w": self.over_w,
            "feeders_over": [list(pair) for pair in self.feeders_over],
        }


def step(now_ms: int, fleet: Fleet, schedule: Schedule | None, limits: Iterable[Limit], terms: Terms) -> Decision:
    """Narrow the plan by the limits, allocate what is left to miners, and ask only for differences."""
    active = [limit for limit in limits if limit.span.holds(now_ms)]
    corridor = narrow([*proposals_of(active, terms.site, now_ms), *_heat(terms)])
    settled_w = float(fleet.settled_w.sum()) + terms.other_load_w
    wish_w, reason = _wish(now_ms, schedule, settled_w)
    target_w = corridor.nearest(wish_w)
    if target_w < wish_w and corridor.upper is not None:
        reason = f"{corridor.upper.rule}: {corridor.upper.reason}"
        target_w = max(corridor.low_w, target_w - terms.cap_margin_w)
    elif target_w > wish_w and corridor.lower is not None:
        reason = f"{corridor.lower.rule}: {corridor.lower.reason}"
    binds = settled_w > corridor.high_w
    if not binds and abs(settled_w - target_w) <= terms.deadband_w:
        target_w = settled_w

    caps = {name: _feeder(active, terms.site, name, now_ms) for name in fleet.roster.feeder_names}
    feeder_cap_w = np.array([caps[name].high_w for name in fleet.roster.feeder_names], dtype=np.float64)
    over = per_feeder(fleet.roster, fleet.settled_w) > feeder_cap_w
    edges = [corridor.upper] if binds else []
    edges += [caps[name].upper for name, full in zip(fleet.roster.feeder_names, over, strict=True) if full]
    hard = any(edge is not None and edge.priority <= Priority.FEEDER for edge in edges)
    able = urgent(fleet) if hard else fleet
    policy = Policy.MODES_FIRST if corridor.upper is not None and _short(active, corridor, now_ms) else Policy.MERIT
    found = allocate(able, target_w - terms.other_load_w, feeder_cap_w=feeder_cap_w, policy=policy)

    def why(unit: int) -> str:
        feeder = int(fleet.roster.feeder[unit])
        edge = caps[fleet.roster.feeder_names[feeder]].upper
        return f"{edge.rule}: {edge.reason}" if over[feeder] and edge is not None else reason

    points = tuple(
        SetPoint(unit, fleet.devices[unit], mode, fleet.intent(unit, mode), why(unit))
        for unit, mode in zip(found.units.tolist(), found.modes.tolist(), strict=True)
    )
    names = fleet.roster.feeder_names
    too_much = tuple((names[f], float(found.feeder_over_w[f])) for f in np.flatnonzero(found.feeder_over_w > 0))
    expected_w = found.power_w + terms.other_load_w
    over_w = max(0.0, expected_w - corridor.high_w)
    plan_id = None if schedule is None else schedule.id
    return Decision(now_ms, plan_id, target_w, reason, corridor, points, expected_w, over_w, too_much)


def _wish(now_ms: int, schedule: Schedule | None, settled_w: float) -> tuple[float, str]:
    """Site power that profit asks for; without a plan for this instant: stay, raise nothing."""
    found = None if schedule is None else schedule.at(now_ms)
    return (settled_w, "no plan covers this instant: hold") if found is None else (found[0], f"plan: {found[1]}")


def _heat(terms: Terms) -> list[Proposal]:
    if terms.heat_w <= 0:
        return []
    least = terms.heat_w + terms.other_load_w
    return [Proposal(least, float("inf"), Priority.CONTRACT, "heat duty", "least power that heat needs")]


def _feeder(limits: list[Limit], site: str, name: str, now_ms: int) -> Corridor:
    return narrow(proposals_of(limits, f"{site}/{name}", now_ms))


def _short(limits: list[Limit], corridor: Corridor, now_ms: int) -> bool:
    """Whether what binds ends soon: then modes go first, because no start has to be paid for."""
    assert corridor.upper is not None
    ends = [limit.span.end_ms for limit in limits if limit.rule == corridor.upper.rule]
    return bool(ends) and (min(ends) - now_ms) / 1000 <= LONG_ORDER_S
