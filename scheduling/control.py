# SPDX-License-Identifier: Apache-2.0
"""THE control step: what the plan wants, what the limits allow, and which miners change. Pure, stateless per tick.

The same instant, fleet, schedule, limits and meters give the same decision, in a live hub, in virtual time and in a
replay. The actual state is read again each tick, so that a lost command is simply found still to do. Plan and limits speak
of power at the meter; miners draw less (`Overhead`). Where a fresh meter shows more than a cap allows and no command is
pending, the target is tightened by what the miners' own figures do not explain; a meter never loosens it. The guard may
lower afterwards.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from grid.limit import PHASES, Limit, Priority
from miner_control.allocate import Allocation, Policy, allocate, per_phase
from miner_control.command import Intent, intent_json
from miner_control.fleet import Fleet, Floats, Ints, per_feeder, urgent
from scheduling.narrow import Corridor, Proposal, narrow, proposals_of
from scheduling.plan import Schedule

MARGIN = 0.005
"""Share kept clear below a hard cap: set-points aim below it, and no more is offered."""
SHORT_S = 3_600.0
"""A limit that ends sooner is met by modes before any unit is switched: no start has to be paid for."""


@dataclass(frozen=True, slots=True)
class Overhead:
    """Meter from miners: site meter = site_factor x miners + site_fixed_w; feeder meter = feeder_factor x its miners.

    `site_fixed_w` is what the known loads beside the miners draw now; `beside_w[n]` is what each unit's running brings of
    them (`miner_control.load.shares_w`), and what a plan counts them by. None: no load is known.
    """

    site_factor: float = 1.0
    site_fixed_w: float = 0.0
    feeder_factor: float = 1.0
    beside_w: Floats | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """A site for the step: scope key (feeders are `site/name`), overhead, least power at the meter (heat duty), share kept
    clear below a hard cap, share of the present power around the plan within which nothing is moved."""

    site: str
    overhead: Overhead = Overhead()
    heat_w: float = 0.0
    margin: float = MARGIN
    deadband: float = 0.01


class SetPoint(NamedTuple):
    """One unit (index into the fleet) asked to take a mode (-1: sleep), how, and why."""

    unit: int
    device: str
    mode: int
    intent: Intent
    reason: str


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
    reasons: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.units)

    def __iter__(self) -> Iterator[SetPoint]:
        columns = (self.units.tolist(), self.modes.tolist(), self.word.tolist(), self.why.tolist())
        for unit, mode, word, why in zip(*columns, strict=True):
            yield SetPoint(unit, self.devices[unit], mode, self.intents[word], self.reasons[why])


@dataclass(frozen=True, slots=True)
class Decision:
    """One tick. `target_w` is meter power aimed at, `expected_w` what it will be once all is obeyed, `over_w` by how much
    that exceeds the corridor (units that cannot be commanded or lowered); `feeders_over` the same by feeder name."""

    tick_ms: int
    schedule: str | None
    target_w: float
    reason: str
    corridor: Corridor
    set_points: SetPoints
    expected_w: float
    over_w: float
    feeders_over: tuple[tuple[str, float], ...]

    def to_json(self) -> dict[str, Any]:
        """The decision as JSON values for the journal's `tick.decided`."""
        upper = self.corridor.upper
        cap = None if upper is None else {"rule": upper.rule, "power_w": upper.high_w, "reason": upper.reason}
        return {
            "tick_ms": self.tick_ms,
            "plan": self.schedule,
            "target_w": self.target_w,
            "reason": self.reason,
            "cap": cap,
            "broken": [{"rule": proposal.rule, "reason": proposal.reason} for proposal in self.corridor.broken],
            "changes": [[point.device, intent_json(point.intent), point.reason] for point in self.set_points],
            "expected_w": self.expected_w,
            "over_w": self.over_w,
            "feeders_over": [list(pair) for pair in self.feeders_over],
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
    active = [limit for limit in limits if limit.span.holds(now_ms)]
    overhead, names = terms.overhead, fleet.roster.feeder_names
    meters = {} if meters_w is None or bool(np.any(fleet.wanted != fleet.mode)) else meters_w
    settled_w = float(fleet.settled_w.sum()) * overhead.site_factor + overhead.site_fixed_w

    corridor = narrow([*proposals_of(active, terms.site, now_ms), *_heat(terms)])
    wish_w, reason = _wish(now_ms, schedule, settled_w)
    wish_w = _with_loads_of_now(fleet, wish_w, settled_w, overhead)
    believed_w = float(fleet.power_w.sum()) * overhead.site_factor + overhead.site_fixed_w
    high_w = max(corridor.low_w, _aim(corridor.high_w, terms, meters.get(terms.site), believed_w))
    target_w = min(max(wish_w, corridor.low_w), high_w)
    edge = corridor.upper if target_w < wish_w else corridor.lower if target_w > wish_w else None
    reason = reason if edge is None else f"{edge.rule}: {edge.reason}"
    if settled_w <= high_w and abs(settled_w - target_w) <= terms.deadband * settled_w:
        target_w = settled_w

    feeders = [narrow(proposals_of(active, f"{terms.site}/{name}", now_ms)) for name in names]
    feeder_w = per_feeder(fleet.roster, fleet.power_w) * overhead.feeder_factor
    caps_w = [
        _aim(found.high_w, terms, meters.get(f"{terms.site}/{name}"), float(feeder_w[at]))
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
    found = allocate(
        urgent(fleet) if hard else fleet, miners_w, feeder_cap_w=cap_w, phase_cap_w=phase_cap_w, policy=policy
    )

    reasons = [
        f"{rule.upper.rule}: {rule.upper.reason}" if too_much and rule.upper is not None else reason
        for rule, too_much in zip(feeders, full.tolist(), strict=True)
    ]
    points = _set_points(fleet, found, reasons)
    over = tuple(
        (names[at], float(found.feeder_over_w[at]) * overhead.feeder_factor)
        for at in np.flatnonzero(found.feeder_over_w)
    )
    expected_w = found.power_w * overhead.site_factor + overhead.site_fixed_w
    over_w = max(0.0, expected_w - corridor.high_w)
    plan_id = None if schedule is None else schedule.id
    return Decision(now_ms, plan_id, target_w, reason, corridor, points, expected_w, over_w, over)


def _set_points(fleet: Fleet, found: Allocation, reasons: list[str]) -> SetPoints:
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


def _wish(now_ms: int, schedule: Schedule | None, settled_w: float) -> tuple[float, str]:
    """Meter power that profit asks for; without a plan for this instant: stay, raise nothing."""
    found = None if schedule is None else schedule.at(now_ms)
    return (settled_w, "no plan covers this instant: hold") if found is None else (found[0], f"plan: {found[1]}")


def _with_loads_of_now(fleet: Fleet, wish_w: float, settled_w: float, overhead: Overhead) -> float:
    """What the plan asks for, as the meter will show it with the loads that run now.

    The plan counts a load by its miners' shares, the meter as on or off: a pump that runs on after its miners sleep is no
    reason to put others to sleep, and one that does not run yet none to wake more. So the plan's difference to the settled
    miners is kept, less the part of it that goes into the shares of those who would change.
    """
    if overhead.beside_w is None or wish_w == settled_w:
        return wish_w
    on, factor = fleet.wanted >= 0, overhead.site_factor
    planned_w = float(fleet.settled_w.sum()) * factor + float(overhead.beside_w[on].sum())
    moving = ~on if wish_w > planned_w else on
    group = fleet.roster.group
    normal_w = float(fleet.roster.mode_power_w[group, fleet.roster.normal[group]][moving].sum())
    rate = float(overhead.beside_w[moving].sum()) / normal_w if normal_w > 0 else 0.0
    return settled_w + (wish_w - planned_w) * factor / (factor + rate)


def _aim(cap_w: float, terms: Terms, meter_w: float | None, believed_w: float) -> float:
    """What to aim at below a cap: the margin, and where a fresh meter stands above it, what the miners do not explain."""
    unseen_w = 0.0 if meter_w is None or meter_w <= cap_w else max(0.0, meter_w - believed_w)
    return cap_w * (1.0 - terms.margin) - unseen_w


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
        cap_w[place] = _aim(corridor.high_w, terms, None, 0.0) / terms.overhead.feeder_factor
    return found, cap_w


def _heat(terms: Terms) -> list[Proposal]:
    # A pump's power warms nobody: the miners have to draw it beside the loads.
    least_w = terms.heat_w + terms.overhead.site_fixed_w
    heat = Proposal(least_w, float("inf"), Priority.CONTRACT, "heat duty", "least power that heat needs")
    return [heat] if terms.heat_w > 0 else []


def _short(limits: list[Limit], corridor: Corridor, now_ms: int) -> bool:
    """Whether what binds ends soon."""
    rule = None if corridor.upper is None else corridor.upper.rule
    return any(limit.rule == rule and (limit.span.end_ms - now_ms) / 1000 <= SHORT_S for limit in limits)
