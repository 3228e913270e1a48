# SPDX-License-Identifier: Apache-2.0
"""THE control step: what the plan wants, what the limits allow, and which miners change. Pure, stateless per tick.

The same instant, fleet, schedule, limits and meters give the same decision, in a live hub, in virtual time and in a
replay. The actual state is read again each tick, so that a lost command is simply found still to do. Plan and limits speak
of power at the meter; miners draw less (`Overhead`). The step's own target is demand: what miners and loads draw, whether the
grid or generation on site feeds it. Demand = power at the meter + generation (+ battery discharge less charge). For the plan
these are the planned ones; a limit is lifted only by generation that is delivered now (`scheduling.generation`).

Where a fresh meter shows more than a cap allows and no command is pending, the target is tightened by what the miners' own
figures do not explain; nothing is raised into a room that the meter does not show; beside delivered generation nothing that a
meter shows loosens a cap. The guard may lower afterwards.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from grid.limit import PHASES, STANDING, Limit, Priority
from kernel.reason import Reason, Rule
from miner_control.control.allocate import Allocation, Policy, allocate, per_phase
from miner_control.control.restore import below, restoring
from miner_control.fleet.command import Intent, intent_json
from miner_control.fleet.fleet import Fleet, Floats, Ints, per_feeder, urgent
from scheduling.plan import Schedule
from scheduling.problem.corridor import Corridor, Proposal, narrow, proposals_of
from scheduling.problem.overhead import Overhead
from scheduling.wish import wish

MARGIN = 0.005
"""Share kept clear below a hard cap: set-points aim below it, and no more is offered."""
SHORT_S = 3_600.0
"""A limit that ends sooner is met by modes before any unit is switched: no start has to be paid for."""


@dataclass(frozen=True, slots=True)
class Terms:
    """A site for the step: scope key (feeders are `site/name`), overhead, least power of the miners (heat duty), share kept
    clear below a hard cap, share of the present power around the plan within which nothing is moved, and what generation on
    site delivers now by evidence."""

    site: str
    overhead: Overhead = field(default_factory=Overhead)
    heat_w: float = 0.0
    margin: float = MARGIN
    deadband: float = 0.01
    generation_w: float = 0.0


class SetPoint(NamedTuple):
    """One unit (index into the fleet) asked to take a mode (-1: sleep), how, and why."""

    unit: int
    device: str
    mode: int
    intent: Intent
    reason: Reason


@dataclass(frozen=True, slots=True, eq=False)
class SetPoints:
    """Many set-points as columns, since all of a large fleet may change at once: `units[k]` is to take `modes[k]`.

    Like units are asked in like words: `word[k]` indexes `intents`, `why[k]` indexes `reasons`. Read one by one it gives
    `SetPoint`s.
    """

    devices: Sequence[str]
    units: Ints
    modes: Ints
    word: Ints
    intents: tuple[Intent, ...]
    why: Ints
    reasons: tuple[Reason, ...]

    def __len__(self) -> int:
        return len(self.units)

    def __iter__(self) -> Iterator[SetPoint]:
        columns = (self.units.tolist(), self.modes.tolist(), self.word.tolist(), self.why.tolist())
        for unit, mode, word, why in zip(*columns, strict=True):
            yield SetPoint(unit, self.devices[unit], mode, self.intents[word], self.reasons[why])


@dataclass(frozen=True, slots=True)
class Decision:
    """One tick. `target_w` is the demand aimed at, `expected_w` what it will be once all is obeyed; `corridor` is power at
    the meter, `generation_w` what lies between the two. `over_w`: by how much power at the meter will exceed the corridor
    (units that cannot be commanded or lowered); `feeders_over` the same by feeder name. `narrowed`: an order is in force, or
    a limit holds site or feeder below what was wanted; `reached`: within the deadband of it."""

    tick_ms: int
    schedule: str | None
    target_w: float
    reason: Reason
    corridor: Corridor
    set_points: SetPoints
    expected_w: float
    over_w: float
    feeders_over: tuple[tuple[str, float], ...]
    narrowed: bool
    reached: bool
    generation_w: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The decision as JSON values for the journal's `tick.decided`."""
        upper = self.corridor.upper
        cap = None if upper is None else {"rule": upper.rule, "power_w": upper.high_w, "reason": upper.reason}
        return {
            "tick_ms": self.tick_ms,
            "plan": self.schedule,
            "target_w": self.target_w,
            "rule": str(self.reason.rule),
            "reason": self.reason.text,
            "cap": cap,
            "broken": [{"rule": proposal.rule, "reason": proposal.reason} for proposal in self.corridor.broken],
            "changes": [[point.device, intent_json(point.intent), point.reason.text] for point in self.set_points],
            "expected_w": self.expected_w,
            "over_w": self.over_w,
            "feeders_over": [list(pair) for pair in self.feeders_over],
            **({"generation_w": self.generation_w} if self.generation_w else {}),
        }


def step(
    now_ms: int,
    fleet: Fleet,
    schedule: Schedule | None,
    limits: Iterable[Limit],
    terms: Terms,
    meters_w: Mapping[str, float] | None = None,
) -> Decision:
    """Narrow the plan by the limits, allocate what is left to miners, and ask only for differences.

    `meters_w` holds fresh meter readings by scope key. A cap below the present load overrides minimum on-times.
    """
    known = list(limits)
    active = [limit for limit in known if limit.span.holds(now_ms)]
    overhead, names = terms.overhead, fleet.roster.feeder_names
    meters = {} if meters_w is None or bool(np.any(fleet.wanted != fleet.mode)) else meters_w
    settled_w = float(fleet.settled_w.sum()) * overhead.site_factor + overhead.site_fixed_w

    own_w = terms.generation_w
    corridor = narrow([*proposals_of(active, terms.site, now_ms), *_heat(terms)], -own_w)
    wanted = wish(now_ms, terms.site, fleet, schedule, known)
    wish_w, reason = settled_w + wanted.more_w * overhead.site_factor, wanted.reason
    if wanted.plan_w is not None:
        wish_w = _with_loads_of_now(fleet, wanted.plan_w, settled_w, overhead)
    believed_w = float(fleet.power_w.sum()) * overhead.site_factor + overhead.site_fixed_w
    meter_w, low_w = meters.get(terms.site), corridor.low_w + own_w
    drawn_w = None if meter_w is None else meter_w + own_w
    high_w = max(low_w, _aim(corridor.high_w + own_w, terms, drawn_w, believed_w, settled_w))
    target_w = min(max(wish_w, low_w), high_w)
    if target_w < wish_w and corridor.upper is not None:
        reason = Reason(Rule.LIMIT, f"{corridor.upper.rule}: {corridor.upper.reason}")
    elif target_w > wish_w and corridor.lower is not None:
        reason = Reason(Rule.HEAT_DUTY, f"{corridor.lower.rule}: {corridor.lower.reason}")
    reached = settled_w <= high_w and abs(settled_w - target_w) <= terms.deadband * settled_w
    # Units that a limit lowered come back, however little that is of the site's power; no other moves for it.
    returning = reached and target_w > settled_w and bool(below(fleet).any())
    if reached and not returning:
        target_w = settled_w

    feeders = [narrow(proposals_of(active, f"{terms.site}/{name}", now_ms)) for name in names]
    feeder_w = per_feeder(fleet.roster, fleet.power_w) * overhead.feeder_factor
    feeder_settled_w = per_feeder(fleet.roster, fleet.settled_w) * overhead.feeder_factor
    caps_w = [
        _aim(found.high_w, terms, meters.get(f"{terms.site}/{name}"), float(feeder_w[at]), float(feeder_settled_w[at]))
        for at, (name, found) in enumerate(zip(names, feeders, strict=True))
    ]
    cap_w = np.array(caps_w, dtype=np.float64) / overhead.feeder_factor
    phases, phase_cap_w = _phase_caps(active, terms, names, now_ms)
    full = np.bincount(fleet.roster.feeder, weights=fleet.settled_w, minlength=len(names)) > cap_w
    must = [corridor.upper] * (settled_w > high_w) + [feeders[at].upper for at in np.flatnonzero(full)]
    if phase_cap_w is not None:
        for at, lane in np.argwhere(per_phase(fleet.roster, fleet.settled_w) > phase_cap_w).tolist():
            must.append(phases[at, lane].upper)
            if not full[at]:
                full[at], feeders[at] = True, phases[at, lane]
    hard = any(found is not None and found.priority <= Priority.FEEDER for found in must)
    policy = Policy.MODES_FIRST if _short(active, corridor, now_ms) else Policy.MERIT
    miners_w = (target_w - overhead.site_fixed_w) / overhead.site_factor
    if target_w == settled_w:
        # There and back again is not the same number: a hair too little would sell a whole rung.
        miners_w = float(fleet.settled_w.sum())
    # Heat may ask for more than the operating point.
    free = fleet if target_w > wish_w else restoring(fleet)[0] if returning else wanted.fleet
    found = allocate(
        urgent(free) if hard else free,
        miners_w,
        feeder_cap_w=cap_w,
        phase_cap_w=phase_cap_w,
        policy=policy,
    )

    reasons = [
        Reason(Rule.LIMIT, f"{rule.upper.rule}: {rule.upper.reason}") if too_much and rule.upper is not None else reason
        for rule, too_much in zip(feeders, full.tolist(), strict=True)
    ]
    points = _set_points(fleet, found, reasons)
    over = tuple(
        (names[at], float(found.feeder_over_w[at]) * overhead.feeder_factor)
        for at in np.flatnonzero(found.feeder_over_w)
    )
    expected_w = found.power_w * overhead.site_factor + overhead.site_fixed_w
    over_w = max(0.0, expected_w - own_w - corridor.high_w)
    plan_id = None if schedule is None else schedule.id
    ordered = any(limit.priority not in STANDING for limit in active)
    narrowed = ordered or bool(must) or reason.rule is Rule.LIMIT
    return Decision(
        now_ms, plan_id, target_w, reason, corridor, points, expected_w, over_w, over, narrowed, reached, own_w
    )


def _set_points(fleet: Fleet, found: Allocation, reasons: list[Reason]) -> SetPoints:
    """Set-points of an allocation, each wording made once."""
    units, modes, roster = found.units, found.modes, fleet.roster
    asleep = (fleet.wanted[units] < 0).astype(np.int64)
    height = roster.mode_power_w.shape[1] + 1
    kind = (roster.group[units] * height + modes + 1) * 2 + asleep
    first = np.full(len(roster.mode_power_w) * height * 2, -1, dtype=np.int64)
    first[kind[::-1]] = np.arange(len(units))[::-1]
    used = np.flatnonzero(first >= 0)
    intents = tuple(fleet.intent(int(units[at]), int(modes[at])) for at in first[used])
    word = np.searchsorted(used, kind)
    return SetPoints(fleet.devices, units, modes, word, intents, roster.feeder[units], tuple(reasons))


def _with_loads_of_now(fleet: Fleet, wish_w: float, settled_w: float, overhead: Overhead) -> float:
    """What the plan asks for, as the meter will show it with the loads that run now.

    The plan counts a load by its miners' shares, the meter as on or off: a pump that runs on after its miners sleep is no
    reason to put others to sleep, and one that does not run yet none to wake more. So the plan's difference to the settled
    miners is kept, less the part of it that goes into the shares of those who would change.
    """
    if overhead.auxiliary_w is None or wish_w == settled_w:
        return wish_w
    on, factor = fleet.wanted >= 0, overhead.site_factor
    planned_w = float(fleet.settled_w.sum()) * factor + float(overhead.auxiliary_w[on].sum())
    moving = ~on if wish_w > planned_w else on
    group = fleet.roster.group
    normal_w = float(fleet.roster.mode_power_w[group, fleet.roster.normal[group]][moving].sum())
    rate = float(overhead.auxiliary_w[moving].sum()) / normal_w if normal_w > 0 else 0.0
    return settled_w + (wish_w - planned_w) * factor / (factor + rate)


def _aim(cap_w: float, terms: Terms, meter_w: float | None, believed_w: float, settled_w: float) -> float:
    """What to aim at below a cap: the margin, and what a fresh meter shows beyond the miners' own figures.

    A meter above the cap lowers at once; below it the unexplained part only stands in the way of a rise, so that a reading
    that varies puts no unit to sleep.
    """
    aim_w = cap_w * (1.0 - terms.margin)
    unseen_w = 0.0 if meter_w is None else max(0.0, meter_w - believed_w)
    if meter_w is not None and meter_w > cap_w:
        return aim_w - unseen_w
    return max(min(settled_w, aim_w), aim_w - unseen_w)


def _phase_caps(
    active: list[Limit], terms: Terms, names: tuple[str, ...], now_ms: int
) -> tuple[dict[tuple[int, int], Corridor], Floats | None]:
    """What narrows each phase of each feeder, and the caps of the miners on them, shape [F, 3]; None where none is capped."""
    scopes = {limit.scope for limit in active}
    found = {
        (at, lane): narrow(proposals_of(active, scope, now_ms))
        for at, name in enumerate(names)
        for lane, phase in enumerate(PHASES)
        if (scope := f"{terms.site}/{name}/{phase}") in scopes
    }
    if not found:
        return found, None
    cap_w = np.full((len(names), len(PHASES)), np.inf)
    for place, corridor in found.items():
        cap_w[place] = _aim(corridor.high_w, terms, None, 0.0, 0.0) / terms.overhead.feeder_factor
    return found, cap_w


def _heat(terms: Terms) -> list[Proposal]:
    # A pump's power warms nobody: the miners have to draw it beside the loads.
    least_w = terms.heat_w + terms.overhead.site_fixed_w - terms.generation_w
    heat = Proposal(least_w, float("inf"), Priority.CONTRACT, "heat duty", "least power that heat needs")
    return [heat] if terms.heat_w > 0 else []


def _short(limits: list[Limit], corridor: Corridor, now_ms: int) -> bool:
    """Whether what binds ends soon."""
    rule = None if corridor.upper is None else corridor.upper.rule
    return any(limit.rule == rule and (limit.span.end_ms - now_ms) / 1000 <= SHORT_S for limit in limits)
