# SPDX-License-Identifier: Apache-2.0
"""Control step: plan and limits to a demand target and mode changes of miners. Pure, stateless per tick.

- Determinism: the same instant, fleet, schedule, limits and meters give the same decision, live, in virtual time and in
  replay. The actual state is read again each tick, so that a lost command is simply issued again.
- Reference points: plan and limits are power at the meter; miners draw less (`Overhead`). The step's own target is demand:
  the draw of miners and loads, fed by the grid or by on-site generation. Demand = power at the meter + generation
  (+ battery discharge less charge). For the plan these are the planned ones; a limit is lifted only by generation that is
  delivered now (`scheduling.generation`).
- Meters: where a fresh meter shows more than a cap allows and no command is pending, the target is lowered by the part that
  the miners' own readings do not explain. Nothing is raised into room that the meter does not show, and with generation
  delivered no meter reading loosens a cap.

The guard may lower the result afterwards.
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
from scheduling.desired_power import desired_power
from scheduling.plan import Schedule
from scheduling.problem.corridor import Corridor, Proposal, narrow, proposals_of
from scheduling.problem.overhead import Overhead

MARGIN = 0.005
"""Share kept clear below a hard cap: set-points stay below it, and no more is offered."""
SHORT_S = 3_600.0
"""A limit that ends sooner than this is met by modes before any unit is switched: no start has to be paid for."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Site data for the step: scope key (feeders are `site/name`), overhead, least power of the miners (heat duty), share
    kept clear below a hard cap, deadband around the plan as a share of present power, on-site generation delivered now."""

    site: str
    overhead: Overhead = field(default_factory=Overhead)
    heat_w: float = 0.0
    margin: float = MARGIN
    deadband: float = 0.01
    generation_w: float = 0.0


class SetPoint(NamedTuple):
    """One unit (index into the fleet) with its new mode (-1: sleep), the intent, and the reason."""

    unit: int
    device: str
    mode: int
    intent: Intent
    reason: Reason


@dataclass(frozen=True, slots=True, eq=False)
class SetPoints:
    """Set-points as columns, since all units of a large fleet may change at once: `units[k]` is to take `modes[k]`.

    Intents and reasons are shared by like units: `intent_of[k]` indexes `intents`, `why[k]` indexes `reasons`. Iteration gives
    `SetPoint`s.
    """

    devices: Sequence[str]
    units: Ints
    modes: Ints
    intent_of: Ints
    intents: tuple[Intent, ...]
    why: Ints
    reasons: tuple[Reason, ...]

    def __len__(self) -> int:
        return len(self.units)

    def __iter__(self) -> Iterator[SetPoint]:
        columns = (self.units.tolist(), self.modes.tolist(), self.intent_of.tolist(), self.why.tolist())
        for unit, mode, intent_of, why in zip(*columns, strict=True):
            yield SetPoint(unit, self.devices[unit], mode, self.intents[intent_of], self.reasons[why])


@dataclass(frozen=True, slots=True)
class Decision:
    """Decision of one tick.

    - `target_w`: demand target; `expected_w`: demand after all commands took effect.
    - `corridor`: power at the meter; `generation_w`: the difference between meter and demand.
    - `over_w`: expected excess of power at the meter over the corridor (units that cannot be commanded or lowered);
      `feeders_over`: the same by feeder name.
    - `narrowed`: an order is in force, or a limit holds site or feeder below the desired power; `reached`: within the
      deadband of the target.
    """

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
    """Limit the plan, allocate the result to miners, and command only differences.

    `meters_w` holds fresh meter readings by scope key. A cap below the present load overrides minimum on-times.
    """
    known = list(limits)
    active = [limit for limit in known if limit.span.holds(now_ms)]
    overhead, names = terms.overhead, fleet.roster.feeder_names
    meters = {} if meters_w is None or bool(np.any(fleet.wanted != fleet.mode)) else meters_w
    settled_w = float(fleet.settled_w.sum()) * overhead.site_factor + overhead.site_fixed_w

    own_w = terms.generation_w
    corridor = narrow([*proposals_of(active, terms.site, now_ms), *_heat(terms)], -own_w)
    wanted = desired_power(now_ms, terms.site, fleet, schedule, known)
    desired_w, reason = settled_w + wanted.more_w * overhead.site_factor, wanted.reason
    if wanted.plan_w is not None:
        desired_w = _with_loads_of_now(fleet, wanted.plan_w, settled_w, overhead)
    believed_w = float(fleet.power_w.sum()) * overhead.site_factor + overhead.site_fixed_w
    meter_w, low_w = meters.get(terms.site), corridor.low_w + own_w
    drawn_w = None if meter_w is None else meter_w + own_w
    high_w = max(low_w, _aim(corridor.high_w + own_w, terms, drawn_w, believed_w, settled_w))
    target_w = min(max(desired_w, low_w), high_w)
    if target_w < desired_w and corridor.upper is not None:
        reason = Reason(Rule.LIMIT, f"{corridor.upper.rule}: {corridor.upper.reason}")
    elif target_w > desired_w and corridor.lower is not None:
        reason = Reason(Rule.HEAT_DUTY, f"{corridor.lower.rule}: {corridor.lower.reason}")
    reached = settled_w <= high_w and abs(settled_w - target_w) <= terms.deadband * settled_w
    # Units lowered by a limit return even where that is within the deadband; no others change for it.
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
        # The conversion there and back is not exact: a slightly low target would lower a whole step.
        miners_w = float(fleet.settled_w.sum())
    # Heat may require more than the operating point.
    free = fleet if target_w > desired_w else restoring(fleet)[0] if returning else wanted.fleet
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
    """Set-points of an allocation, each intent made once."""
    units, modes, roster = found.units, found.modes, fleet.roster
    asleep = (fleet.wanted[units] < 0).astype(np.int64)
    height = roster.mode_power_w.shape[1] + 1
    kind = (roster.group[units] * height + modes + 1) * 2 + asleep
    first = np.full(len(roster.mode_power_w) * height * 2, -1, dtype=np.int64)
    first[kind[::-1]] = np.arange(len(units))[::-1]
    used = np.flatnonzero(first >= 0)
    intents = tuple(fleet.intent(int(units[at]), int(modes[at])) for at in first[used])
    intent_of = np.searchsorted(used, kind)
    return SetPoints(fleet.devices, units, modes, intent_of, intents, roster.feeder[units], tuple(reasons))


def _with_loads_of_now(fleet: Fleet, desired_w: float, settled_w: float, overhead: Overhead) -> float:
    """The plan's demand, corrected to the loads that run now.

    The plan counts a load by its miners' shares, the meter as on or off: a pump that runs on after its miners sleep must not
    put others to sleep, and one that does not run yet must not wake more. The plan's difference to the settled miners is
    kept, less the part of it that goes into the load shares of the changing units.
    """
    if overhead.auxiliary_w is None or desired_w == settled_w:
        return desired_w
    on, factor = fleet.wanted >= 0, overhead.site_factor
    planned_w = float(fleet.settled_w.sum()) * factor + float(overhead.auxiliary_w[on].sum())
    moving = ~on if desired_w > planned_w else on
    group = fleet.roster.group
    normal_w = float(fleet.roster.mode_power_w[group, fleet.roster.normal[group]][moving].sum())
    rate = float(overhead.auxiliary_w[moving].sum()) / normal_w if normal_w > 0 else 0.0
    return settled_w + (desired_w - planned_w) * factor / (factor + rate)


def _aim(cap_w: float, terms: Terms, meter_w: float | None, believed_w: float, settled_w: float) -> float:
    """Target below a cap: the margin, and the part of a fresh meter reading that the miners' own readings do not explain.

    A meter above the cap lowers at once; below it the unexplained part only limits a rise, so that fluctuating readings put
    no unit to sleep.
    """
    aim_w = cap_w * (1.0 - terms.margin)
    unexplained_w = 0.0 if meter_w is None else max(0.0, meter_w - believed_w)
    if meter_w is not None and meter_w > cap_w:
        return aim_w - unexplained_w
    return max(min(settled_w, aim_w), aim_w - unexplained_w)


def _phase_caps(
    active: list[Limit], terms: Terms, names: tuple[str, ...], now_ms: int
) -> tuple[dict[tuple[int, int], Corridor], Floats | None]:
    """Corridor of each phase of each feeder, and the miners' caps on them, shape [F, 3]; None where no phase is capped."""
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
    # A pump's power is no heat for the loop: the miners have to draw it in addition to the loads.
    least_w = terms.heat_w + terms.overhead.site_fixed_w - terms.generation_w
    heat = Proposal(least_w, float("inf"), Priority.CONTRACT, "heat duty", "least power that heat needs")
    return [heat] if terms.heat_w > 0 else []


def _short(limits: list[Limit], corridor: Corridor, now_ms: int) -> bool:
    """Whether the binding limit ends soon (`SHORT_S`)."""
    rule = None if corridor.upper is None else corridor.upper.rule
    return any(limit.rule == rule and (limit.span.end_ms - now_ms) / 1000 <= SHORT_S for limit in limits)
