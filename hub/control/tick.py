# SPDX-License-Identifier: Apache-2.0
"""One tick of one site as a function of the hub's state: fleet, limits, control step, guard, commands.

The body it returns is journalled as `tick.decided` and names the position that it was decided at; `hub.app.replay` asks
again with the same state and instant and must get the same body.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from grid.tariff import Tariff
from hub.config import Config
from hub.control.interlock import bar
from hub.control.shadow_tick import glimpse
from hub.state.fold import HubState
from hub.state.site import SiteState
from hub.state.situation import SiteSituation
from kernel.reason import OWN_CHOICE, Reason, Rule
from miner_control.control.allocate import Allocation
from miner_control.control.auxiliary_load import AUXILIARY, running_w, switch
from miner_control.control.cold_protection import Loop
from miner_control.control.cooling_sequence import CoolingResult, sequence_cooling
from miner_control.control.guard import Restraint, guard
from miner_control.control.restore import HeldBack, held_back, returned
from miner_control.fleet.command import Command, Intent, Wake, command, intent_json
from miner_control.fleet.fleet import UNSURE, Fleet, Ints
from scheduling.control import Decision, Terms, step

HEARD_SHARE, MOVING_SHARE, LOADED_SHARE = 0.95, 0.02, 0.4
LOWER, RAISE = 0, 5
TICK_VERSION = 2
"""Of the body of `tick.decided`: 2 since it names its rule, and units restored and held back."""


@dataclass(frozen=True, slots=True)
class TickSettings:
    """Configuration that the tick rests on in addition to the situation."""

    deadline_s: float
    tariff: Tariff | None = None
    """Prices what observe-only would have done; a hub that commands is not moved by it."""

    @classmethod
    def of(cls, config: Config, tariff: Tariff | None = None) -> "TickSettings":
        return cls(config.control.command_deadline_s, tariff)


@dataclass(frozen=True, slots=True)
class TickResult:
    """The tick's journal body and the commands that follow from it."""

    body: Mapping[str, Any]
    commands: tuple[Command, ...]
    fleet: Fleet


def decide(state: HubState, site: SiteState, now: SiteSituation, settings: TickSettings) -> TickResult:
    """The control step for one site. Pure: the same state and situation, the same bytes."""
    now_ms, overhead, generation_w = now.now_ms, now.overhead, now.generation_w
    terms = Terms(site=site.key, overhead=overhead, heat_w=now.heat_w, generation_w=generation_w)
    # While a rack's pulse is watched nothing else may move: the plan would make up for the rack elsewhere.
    watching, fleet = site.pulses.watching, now.fleet
    if watching:
        fleet = replace(fleet, restore=np.full(len(fleet), UNSURE, dtype=np.int8))
    decision = step(now_ms, fleet, None if watching else site.schedule, now.limits, terms, now.meters_w)
    guarded = guard(fleet, _allocation(decision, fleet), meter_fresh=now.meter_fresh, heat=now.chip)
    reasons = {point.unit: point.reason for point in decision.set_points}
    for restraint in guarded.restraints:
        why = Reason(Rule.GUARD, f"{restraint.rule}: {restraint.reason}")
        reasons |= {int(unit): why for unit in restraint.units}
    most_w = (decision.corridor.high_w + generation_w) * (1.0 - terms.margin)
    tended = _tended(site, fleet, guarded.allocation, reasons, now.loops, now.auxiliaries_on, most_w)
    units, modes = tended.allocation.units.tolist(), tended.allocation.modes.tolist()
    restraints = (*guarded.restraints, *tended.restraints)
    intents = [(unit, fleet.intent(unit, mode), reasons[unit]) for unit, mode in zip(units, modes, strict=True)]
    changes = [(fleet.devices[unit], intent_json(intent), reason.text) for unit, intent, reason in intents]
    body = {
        **decision.to_json(),
        # As it reads back from the journal: what lives on is what a restart folds.
        "changes": [list(change) for change in changes],
        "restraints": [[one.rule, one.reason, len(one.units)] for one in restraints],
        "position": now.position,
        "overhead_seen": _overhead_seen(site, now),
        **_restored(state, site, now, fleet, decision, tended.allocation.units, restraints),
    }
    if site.around.loads:
        body["switches"] = [[one.load.key, one.on, one.reason] for one in tended.switchings]
    if site.config.observe_only:
        factor, curves = site.overhead_factor, state.all_curves()
        tariff = settings.tariff
        seen = glimpse(fleet, tended.allocation, now.main_w, factor, curves, tariff, generation_w=generation_w)
        new, no_more = site.shadow.differences(changes)
        return TickResult(
            {**body, "changes": [list(change) for change in new], "no_more": no_more, "shadow": seen.to_json()},
            (),
            fleet,
        )
    switches = [switch(now_ms, one.load, one.on, one.reason, priority=LOWER) for one in tended.switchings]
    asked = [
        _command(now_ms, fleet, unit, intent, reason, settings.deadline_s, _restore_mode(fleet, unit, mode, reason))
        for mode, (unit, intent, reason) in zip(modes, intents, strict=True)
    ]
    return TickResult(body, (*switches, *asked), fleet)


def _restore_mode(fleet: Fleet, unit: int, mode: int, reason: Reason) -> str:
    """The mode that a unit returns to after this command, where something other than our own choice lowers it."""
    before = max(int(fleet.wanted[unit]), int(fleet.restore[unit]))
    if reason.rule in OWN_CHOICE or mode >= int(fleet.wanted[unit]):
        return ""
    return fleet.roster.envelope(unit).names[before]


def _restored(
    state: HubState,
    site: SiteState,
    now: SiteSituation,
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
    lines = held_back(fleet, now.asked, site.standing.held, apart, units, stopped)
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
) -> CoolingResult:
    """What loops and loads around the miners make of a proposal (`miner_control.control.cooling_sequence`)."""
    loads = site.around.loads
    if not loads and not loops:
        return CoolingResult(proposed, (), ())
    by_plan = np.array([reasons[unit].rule is Rule.PLAN for unit in proposed.units.tolist()], dtype=np.bool_)
    busy = frozenset(load.name for load in loads if site.load_book.pending(load.key, fleet.now_ms))
    run_on_s = site.around.run_on_s
    return sequence_cooling(
        fleet, proposed, loads, on, loops, by_plan=by_plan, busy=busy, run_on_s=run_on_s, most_w=most_w
    )


def _command(
    now_ms: int, fleet: Fleet, unit: int, intent: Intent, reason: Reason, deadline_s: float, restore_mode: str
) -> Command:
    """Lowering goes before raising, whatever the reason."""
    priority = RAISE if isinstance(intent, Wake) else LOWER
    device = fleet.devices[unit]
    return command(
        now_ms, device, intent, reason.text, deadline_s=deadline_s, priority=priority, restore_mode=restore_mode
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


def _overhead_seen(site: SiteState, now: SiteSituation) -> float | None:
    """Metered demand less the known loads, over miners; None unless nearly all miners are fresh and next to nothing changes.

    None too while the demand or the state of a load with power of its own is not known (it would be counted twice), and while
    most miners sleep: what is always on (cooling, standby, the transformer) would then be taken for a share.
    """
    fleet, demand_w, on = now.fleet, now.generation.demand_w(now.main_w), now.auxiliaries_on
    miners_w = float(fleet.power_w.sum())
    normal_w = float(site.roster.mode_power_w[site.roster.group, site.roster.normal[site.roster.group]].sum())
    if demand_w is None or len(fleet) == 0 or miners_w < LOADED_SHARE * normal_w:
        return None
    pending = float((fleet.wanted != fleet.mode).mean())
    ramping = fleet.tally()["ramping"] / len(fleet)
    loads = [load for load in site.around.loads if load.kind in AUXILIARY and load.power_w > 0]
    if any(on[load.name] is None for load in loads):
        return None
    calm = float(fleet.fresh.mean()) >= HEARD_SHARE and pending + ramping <= MOVING_SHARE
    return (demand_w - running_w(loads, on)) / miners_w if calm else None
