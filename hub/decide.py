# SPDX-License-Identifier: Apache-2.0
"""One tick of one site as a function of the hub's state: fleet, limits, control step, guard, commands.

The body it returns is journalled as `tick.decided` and names the position that it was decided at; `hub.replay` asks
again with the same state and instant and must get the same body.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from grid.limit import Limit, Priority
from grid.tariff import Tariff
from grid.transformer import Transformer, cap_w
from hub.bars import bar
from hub.config import Config, Site
from hub.glimpsed import glimpse
from hub.loops import loops_at
from hub.site_generation import generation_at
from hub.state import FOREVER, HubState, SiteState
from hub.tending import loads_on
from kernel.curve import known
from kernel.reason import OWN_CHOICE, Reason, Rule
from miner_control.allocate import Allocation
from miner_control.cold import Loop, heat_floor_w
from miner_control.command import Command, Intent, Wake, command, intent_json
from miner_control.fleet import UNSURE, Fleet, Ints, fleet_of
from miner_control.guard import Heat, Restraint, guard
from miner_control.load import BESIDE, running_w, switch
from miner_control.restore import HeldBack, held_back, returned
from miner_control.seen import seen_of
from miner_control.tend import Tended, tend
from scheduling.control import Decision, Overhead, Terms, step
from scheduling.outlook import AMBIENT

HEARD_SHARE, MOVING_SHARE, LOADED_SHARE = 0.95, 0.02, 0.4
METER_FRESH_S = 15.0
LOWER, RAISE = 0, 5
TICK_VERSION = 2
"""Of the body of `tick.decided`: 2 since it names its rule, and units restored and held back."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What of the configuration the decision rests on."""

    stale_s: float
    deadline_s: float
    meter_fresh_s: float = METER_FRESH_S
    tariff: Tariff | None = None
    """Prices what observe-only would have done; a hub that commands is not moved by it."""

    @classmethod
    def of(cls, config: Config, tariff: Tariff | None = None) -> "Pace":
        """A meter's word is fresh for three of its polls, and for METER_FRESH_S at least."""
        control = config.control
        fresh_s = max(METER_FRESH_S, 3.0 * config.polling.meter_s)
        return cls(control.stale_after_s, control.command_deadline_s, fresh_s, tariff)


@dataclass(frozen=True, slots=True)
class Decided:
    """The tick's journal body and the commands that follow from it."""

    body: Mapping[str, Any]
    commands: tuple[Command, ...]
    fleet: Fleet


def fleet_at(state: HubState, site: SiteState, now_ms: int, stale_s: float) -> Fleet:
    """The site's fleet as the state shows it at an instant."""
    seen = seen_of(site.roster, state.snapshot.kind("miner"), now_ms)
    asked = site.standing.asked(now_ms)
    held = site.kept_apart()
    if held and not ordered(state, site, now_ms):
        units = [site.roster.index[device] for device in held if device in site.roster.index]
        asked.hands_off[units] = True
    return fleet_of(site.roster, seen, asked, now_ms, stale_s=stale_s, starts_cap=site.starts_cap)


def ordered(state: HubState, site: SiteState, now_ms: int) -> bool:
    """Whether somebody's order limits the site, or a part of it, at this instant."""
    return any(one.span.holds(now_ms) for one in _order_limits(state, site, now_ms))


def _order_limits(state: HubState, site: SiteState, now_ms: int) -> list[Limit]:
    return [one for one in state.book.limits(now_ms) if one.scope == site.key or one.scope.startswith(f"{site.key}/")]


def limits_at(state: HubState, site: SiteState, now_ms: int) -> list[Limit]:
    """Everything that limits the site and its feeders: connection, feeders, orders, the transformer as warm as it is now."""
    return [*planned_limits(state, site, now_ms), *_transformer_limit(state, site, now_ms)]


def transformer_of(site: Site) -> Transformer | None:
    """The site's transformer, as the configuration tells it."""
    part = site.transformer
    return None if part is None else Transformer(**part.model_dump(exclude={"assumed_ambient_c"}))


def air_c(state: HubState, now_ms: int) -> float | None:
    """Outside temperature by the newest weather curve; None where none covers this instant."""
    curve = known(state.all_curves(), AMBIENT, now_ms)
    return None if curve is None else curve.at(now_ms)


def _transformer_limit(state: HubState, site: SiteState, now_ms: int) -> list[Limit]:
    transformer, part = transformer_of(site.config), site.config.transformer
    if transformer is None or part is None:
        return []
    told_c = air_c(state, now_ms)
    taken_c = part.assumed_ambient_c if told_c is None else told_c
    power_w = float(cap_w(transformer, np.array([taken_c]))[0])
    reason = f"hot spot at most {part.hot_spot_limit_c:g} C with air of {taken_c:g} C"
    return [Limit(site.key, power_w, FOREVER, Priority.SAFETY, "transformer", reason)]


def planned_limits(state: HubState, site: SiteState, now_ms: int) -> list[Limit]:
    """What limits the site now or later, and does not follow the weather: the planner knows that by itself."""
    return site.standing_limits() + _order_limits(state, site, now_ms)


def fresh_meters(state: HubState, site: SiteState, now_ms: int, fresh_s: float) -> dict[str, float]:
    """Scope to measured power, for the meters that spoke lately."""
    found = {}
    for scope, device in site.scopes().items():
        last = state.traces[device].last()
        if last is not None and now_ms - last[0] <= fresh_s * 1000:
            found[scope] = last[1]
    return found


def drawn_w(state: HubState, site: SiteState, fleet: Fleet, fresh_s: float) -> float:
    """What the site draws at its meter as the hub believes it: miners, what they bring with them, and the loads that run, less
    what generation on site delivers."""
    on = loads_on(state.snapshot, site.load_book, site.around.loads, fleet.now_ms)
    demand_w = float(fleet.power_w.sum()) * site.overhead_factor + running_w(site.around.loads, on)
    return demand_w - generated_w(state, site, fleet, fresh_s)


def generated_w(state: HubState, site: SiteState, fleet: Fleet, fresh_s: float) -> float:
    """What generation on site delivers at the fleet's instant, as meters prove it."""
    on = loads_on(state.snapshot, site.load_book, site.around.loads, fleet.now_ms)
    overhead = Overhead(site.overhead_factor, running_w(site.around.loads, on))
    main_w = fresh_meters(state, site, fleet.now_ms, fresh_s).get(site.key)
    return generation_at(state, site, fleet.now_ms, fresh_s).delivered_w(fleet, overhead, main_w)


def decide(state: HubState, site: SiteState, now_ms: int, pace: Pace) -> Decided:
    """The control step for one site. Pure: the same state and instant, the same bytes."""
    fleet = fleet_at(state, site, now_ms, pace.stale_s)
    limits = limits_at(state, site, now_ms)
    meters = fresh_meters(state, site, now_ms, pace.meter_fresh_s)
    loops = loops_at(site.around.loops, state.snapshot, air_c(state, now_ms), now_ms)
    heat_w = site.config.heat_least_w + sum(map(heat_floor_w, loops))
    on = loads_on(state.snapshot, site.load_book, site.around.loads, now_ms)
    beside_w = running_w(site.around.loads, on)
    overhead = Overhead(site.overhead_factor, beside_w, site.feeder_factor, site.around.beside_w)
    own, main_w = generation_at(state, site, now_ms, pace.meter_fresh_s), meters.get(site.key)
    generation_w = own.delivered_w(fleet, overhead, main_w)
    terms = Terms(site=site.key, overhead=overhead, heat_w=heat_w, generation_w=generation_w)
    # While a rack's pulse is watched nothing else may move: the plan would make up for the rack elsewhere.
    watching = site.pulses.watching
    if watching:
        fleet = replace(fleet, restore=np.full(len(fleet), UNSURE, dtype=np.int8))
    decision = step(now_ms, fleet, None if watching else site.schedule, limits, terms, meters)
    guarded = guard(
        fleet,
        _allocation(decision, fleet),
        meter_fresh=site.main is None or site.key in meters,
        heat=_heat(state, site, now_ms, pace.stale_s),
    )
    reasons = {point.unit: point.reason for point in decision.set_points}
    for restraint in guarded.restraints:
        why = Reason(Rule.GUARD, f"{restraint.rule}: {restraint.reason}")
        reasons |= {int(unit): why for unit in restraint.units}
    most_w = (decision.corridor.high_w + generation_w) * (1.0 - terms.margin)
    tended = _tended(site, fleet, guarded.allocation, reasons, loops, on, most_w)
    units, modes = tended.allocation.units.tolist(), tended.allocation.modes.tolist()
    restraints = (*guarded.restraints, *tended.restraints)
    intents = [(unit, fleet.intent(unit, mode), reasons[unit]) for unit, mode in zip(units, modes, strict=True)]
    changes = [(fleet.devices[unit], intent_json(intent), reason.text) for unit, intent, reason in intents]
    body = {
        **decision.to_json(),
        # As it reads back from the journal: what lives on is what a restart folds.
        "changes": [list(change) for change in changes],
        "restraints": [[one.rule, one.reason, len(one.units)] for one in restraints],
        "position": state.position,
        "overhead_seen": _overhead_seen(site, fleet, own.demand_w(main_w), on),
        **_restored(state, site, fleet, decision, tended.allocation.units, restraints),
    }
    if site.around.loads:
        body["switches"] = [[one.load.key, one.on, one.reason] for one in tended.switchings]
    if site.config.observe_only:
        factor, curves = site.overhead_factor, state.all_curves()
        seen = glimpse(fleet, tended.allocation, main_w, factor, curves, pace.tariff, generation_w=generation_w)
        new, no_more = site.shadow.differences(changes)
        return Decided(
            {**body, "changes": [list(change) for change in new], "no_more": no_more, "shadow": seen.to_json()},
            (),
            fleet,
        )
    switches = [switch(now_ms, one.load, one.on, one.reason, priority=LOWER) for one in tended.switchings]
    asked = [
        _command(now_ms, fleet, unit, intent, reason, pace, _restore_mode(fleet, unit, mode, reason))
        for mode, (unit, intent, reason) in zip(modes, intents, strict=True)
    ]
    return Decided(body, (*switches, *asked), fleet)


def _restore_mode(fleet: Fleet, unit: int, mode: int, reason: Reason) -> str:
    """The mode that a unit returns to after this command, where something other than our own choice lowers it."""
    before = max(int(fleet.wanted[unit]), int(fleet.restore[unit]))
    if reason.rule in OWN_CHOICE or mode >= int(fleet.wanted[unit]):
        return ""
    return fleet.roster.envelope(unit).names[before]


def _restored(
    state: HubState,
    site: SiteState,
    fleet: Fleet,
    decision: Decision,
    units: Ints,
    restraints: Sequence[Restraint],
) -> dict[str, Any]:
    """Keys of the tick's body: units that are back at their operating point, and what holds others back from it."""
    marked = fleet.restore >= 0
    if not bool(marked.any()):
        return {}
    carried_out = decision.reason.rule is Rule.PLAN and decision.reached and not len(units) and not decision.narrowed
    back = np.flatnonzero(marked if carried_out else returned(fleet))
    found: dict[str, Any] = {"restored": [fleet.devices[unit] for unit in back.tolist()]} if len(back) else {}
    if decision.narrowed or carried_out:
        return found
    kept = site.kept_apart()
    apart = np.array([device in kept for device in fleet.devices], dtype=np.bool_)
    stopped = [(f"{one.rule}: {one.reason}", one.units) for one in restraints]
    asked = site.standing.asked(fleet.now_ms)
    lines = held_back(fleet, asked, site.standing.held, apart, units, stopped)
    if lines:
        found["held_back"] = [[_why(state, site, one), one.count, list(one.devices)] for one in lines]
    return found


def _why(state: HubState, site: SiteState, one: HeldBack) -> str:
    """A command interlock of the units named says more than that they did not obey."""
    return bar(state, site, one.devices[0]) or one.why


def _tended(
    site: SiteState,
    fleet: Fleet,
    proposed: Allocation,
    reasons: Mapping[int, Reason],
    loops: Sequence[Loop],
    on: Mapping[str, bool | None],
    most_w: float,
) -> Tended:
    """What loops and loads around the miners make of a proposal (`miner_control.tend`)."""
    loads = site.around.loads
    if not loads and not loops:
        return Tended(proposed, (), ())
    by_plan = np.array([reasons[unit].rule is Rule.PLAN for unit in proposed.units.tolist()], dtype=np.bool_)
    busy = frozenset(load.name for load in loads if site.load_book.pending(load.key, fleet.now_ms))
    run_on_s = site.around.run_on_s
    return tend(fleet, proposed, loads, on, loops, by_plan=by_plan, busy=busy, run_on_s=run_on_s, most_w=most_w)


def _command(
    now_ms: int, fleet: Fleet, unit: int, intent: Intent, reason: Reason, pace: Pace, restore_mode: str
) -> Command:
    """Lowering goes before raising, whatever the reason."""
    priority = RAISE if isinstance(intent, Wake) else LOWER
    device = fleet.devices[unit]
    return command(
        now_ms, device, intent, reason.text, deadline_s=pace.deadline_s, priority=priority, restore_mode=restore_mode
    )


def _allocation(decision: Decision, fleet: Fleet) -> Allocation:
    """The step's set-points in the guard's own terms."""
    return Allocation(
        units=decision.set_points.units,
        modes=decision.set_points.modes,
        power_w=decision.expected_w,
        over_w=decision.over_w,
        feeder_over_w=np.zeros(len(fleet.roster.feeder_names)),
    )


def _heat(state: HubState, site: SiteState, now_ms: int, stale_s: float) -> Heat:
    """Chip temperatures by unit, where they were told lately; the board's where the chip's is not."""
    table = state.snapshot.kind("miner")
    rows = np.array([table.index.get(device, -1) for device in site.roster.devices], dtype=np.int64)
    chip_c, known = np.zeros(len(rows)), np.zeros(len(rows), dtype=np.bool_)
    for metric in ("temp_board_max_c", "temp_chip_max_c"):
        values, codes, age_s = table.values(metric, now_ms)
        if not len(values):
            continue
        good = (rows >= 0) & (codes[rows] == 0) & (age_s[rows] <= stale_s)
        chip_c[good], known[good] = values[rows[good]].astype(np.float64), True
    return Heat(chip_c, known)


def _overhead_seen(site: SiteState, fleet: Fleet, main_w: float | None, on: Mapping[str, bool | None]) -> float | None:
    """Metered demand (None: not known) less the known loads, over miners, where nearly all were heard and next to nothing is
    under way; else nothing is learnt, nor while nobody knows whether a load with power of its own is on: it would be counted
    twice.

    Nor while most of them sleep: what is always on (cooling, standby, the transformer) would then be taken for a share.
    """
    miners_w = float(fleet.power_w.sum())
    normal_w = float(site.roster.mode_power_w[site.roster.group, site.roster.normal[site.roster.group]].sum())
    if main_w is None or len(fleet) == 0 or miners_w < LOADED_SHARE * normal_w:
        return None
    pending = float((fleet.wanted != fleet.mode).mean())
    ramping = fleet.tally()["ramping"] / len(fleet)
    loads = [load for load in site.around.loads if load.kind in BESIDE and load.power_w > 0]
    if any(on[load.name] is None for load in loads):
        return None
    calm = float(fleet.fresh.mean()) >= HEARD_SHARE and pending + ramping <= MOVING_SHARE
    return (main_w - running_w(loads, on)) / miners_w if calm else None
