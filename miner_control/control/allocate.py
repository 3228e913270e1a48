# SPDX-License-Identifier: Apache-2.0
"""Allocation of one power target to modes of single miners: fewest changes, least hashrate lost per watt.

The levels of a unit are asleep, mode 0, mode 1, ... A step leads from one level to the next and has watts and hashrate. All
steps of the fleet are sorted by the hashrate lost per watt, least first, and a prefix of them is taken: the merit order.
`MODES_FIRST` takes the steps between on-modes before any unit is switched (short orders: no start is paid for); `MERIT`
takes all by efficiency (long orders: off at 34 J/TH loses less than low at 13 J/TH).

Like steps (same model, firmware, feeder, level) share a bin, so the prefix is found by summing bins; only the one bin in
which the target falls is sorted by wear and phase. Feeder caps are met first, inside each feeder. A remainder of less than
one step is closed by single steps. A unit is switched only where no change of modes suffices.

Phases of a feeder may be capped too. A single-phase unit loads its own phase, any other all three by a third; an excess on
a phase is taken from its single-phase units, and nothing is raised beyond the room of its phase.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from miner_control.fleet.fleet import ASLEEP, Bools, Fleet, Floats, Ints, Roster, per_feeder


class Policy(StrEnum):
    """Order in which steps are taken."""

    MODES_FIRST = "modes_first"
    MERIT = "merit"


@dataclass(frozen=True, slots=True)
class Allocation:
    """Changes of an allocation: `units[k]` (index into the fleet) to `modes[k]` (ASLEEP or an on-mode).

    `power_w`: the fleet's power after all took effect; `over_w`: its excess over the target (nothing left that may be
    lowered); `feeder_over_w[F]` the same per feeder, `phase_over_w[F, 3]` per phase where phases are capped.
    """

    units: Ints
    modes: Ints
    power_w: float
    over_w: float
    feeder_over_w: Floats
    phase_over_w: Floats | None = None

    def __len__(self) -> int:
        return len(self.units)


@dataclass(frozen=True, slots=True)
class _Steps:
    """Single steps of units: resulting level, watts moved, and place in the order."""

    unit: Ints
    to: Ints
    watts: Floats
    place: Ints

    def where(self, kept: Bools | Ints) -> "_Steps":
        return _Steps(self.unit[kept], self.to[kept], self.watts[kept], self.place[kept])


@dataclass(slots=True)
class _Work:
    """An allocation under construction: level and settled power of each unit, power of each level, order of the steps."""

    fleet: Fleet
    level: Ints
    settled: Floats
    option: Floats
    rank: Ints
    start: Ints
    phase_cap_w: Floats | None = None

    def take(self, steps: _Steps, taken: Bools, down: bool) -> None:
        """Move units along the steps taken; the farthest step of each unit wins."""
        unit, to = steps.unit[taken], steps.to[taken]
        (np.minimum if down else np.maximum).at(self.level, unit, to)
        self.settled[unit] = self.option[unit, self.level[unit] + 1]


def allocate(
    fleet: Fleet,
    target_w: float,
    *,
    feeder_cap_w: Floats | None = None,
    phase_cap_w: Floats | None = None,
    policy: Policy = Policy.MODES_FIRST,
) -> Allocation:
    """Bring the fleet's settled power to at most `target_w`, and as near to it as the steps allow.

    `feeder_cap_w[F]` caps each feeder of the roster, `phase_cap_w[F, 3]` each of its phases (inf: none). Units that cannot
    be commanded stay as they are and count with their believed load. Works upwards too: room above the present power is
    used by raising modes up to each unit's ceiling and by waking.
    """
    level = fleet.wanted.astype(np.int64)
    work = _Work(
        fleet,
        level,
        fleet.settled_w.copy(),
        fleet.option_w(),
        _merit_order(fleet, policy),
        level.copy(),
        phase_cap_w if phase_cap_w is not None and bool(np.isfinite(phase_cap_w).any()) else None,
    )
    caps = np.full(len(fleet.roster.feeder_names), np.inf) if feeder_cap_w is None else feeder_cap_w
    _lower_to_ceiling(work)
    if work.phase_cap_w is not None:
        too_much_w = np.append(per_phase(fleet.roster, work.settled) - work.phase_cap_w, 0.0)
        if bool(np.any(too_much_w > 0)):
            _down(work, _phase_lane(fleet), too_much_w)
    excess_w = per_feeder(fleet.roster, work.settled) - caps
    if bool(np.any(excess_w > 0)):
        _down(work, fleet.roster.feeder, excess_w)
    site_excess_w = float(work.settled.sum()) - target_w
    if site_excess_w > 0:
        _down(work, np.zeros(len(fleet), dtype=np.int64), np.array([site_excess_w]))
    room_w = target_w - float(work.settled.sum())
    if room_w > 0:
        if policy is Policy.MODES_FIRST:
            _put_back(work, target_w, caps)
        if site_excess_w <= 0:
            # After lowering, less than one step is left: only single steps can fit.
            may_wake = not bool(np.any(work.level < work.start))
            # A second turn gives three-phase units the room that was reserved for single-phase ones and not used.
            for _ in range(1 if work.phase_cap_w is None else 3):
                if not _up(work, target_w, caps, policy, may_wake):
                    break
        _fill(work, target_w, caps)
    units = np.flatnonzero(work.level != work.start)
    total_w = float(work.settled.sum())
    return Allocation(
        units=units,
        modes=work.level[units],
        power_w=total_w,
        over_w=max(0.0, total_w - target_w),
        feeder_over_w=np.maximum(0.0, per_feeder(fleet.roster, work.settled) - caps),
        phase_over_w=None
        if phase_cap_w is None
        else np.maximum(0.0, per_phase(fleet.roster, work.settled) - phase_cap_w),
    )


def per_phase(roster: Roster, watts: Floats) -> Floats:
    """Sum of a column per feeder and phase, shape [F, 3]; a unit on all three (or of unknown phase) adds a third to each."""
    feeders = len(roster.feeder_names)
    single = roster.phase >= 0
    lane = roster.feeder * 3 + np.maximum(roster.phase, 0)
    own = np.bincount(lane, weights=np.where(single, watts, 0.0), minlength=3 * feeders).reshape(feeders, 3)
    shared = np.bincount(roster.feeder, weights=np.where(single, 0.0, watts), minlength=feeders) / 3.0
    total: Floats = own + shared[:, None]
    return total


def _phase_lane(fleet: Fleet) -> Ints:
    """The phase index of each unit: three per feeder for single-phase units, and one after all of them for the others."""
    roster = fleet.roster
    lane: Ints = np.where(roster.phase >= 0, roster.feeder * 3 + roster.phase, 3 * len(roster.feeder_names))
    return lane


def _phase_room_w(work: _Work) -> Floats:
    """Remaining room of each phase, shape [F, 3]."""
    assert work.phase_cap_w is not None
    return work.phase_cap_w - per_phase(work.fleet.roster, work.settled)


def _with_room(work: _Work, steps: _Steps) -> _Steps:
    """The steps that fit into the phases: single-phase units first, the others in the rest."""
    roster, lane = work.fleet.roster, _phase_lane(work.fleet)[steps.unit]
    room_w = np.maximum(_phase_room_w(work), 0.0)
    single = lane < room_w.size
    kept = single & _prefix(work.fleet, steps, lane, np.append(room_w, 0.0), reach=False)
    used_w = np.bincount(lane[kept], weights=steps.watts[kept], minlength=room_w.size + 1)[:-1].reshape(room_w.shape)
    others = np.flatnonzero(~single)
    left_w = 3.0 * (room_w - used_w).min(axis=1)
    shared = steps.where(others)
    kept[others] = _prefix(work.fleet, shared, roster.feeder[shared.unit], left_w, reach=False)
    return steps.where(kept)


def _lower_to_ceiling(work: _Work) -> None:
    """Lower units above the mode that heat allows them."""
    ceiling = work.fleet.ceiling.astype(np.int64)
    hot = np.flatnonzero((work.level > ceiling) & work.fleet.can_command)
    work.level[hot] = ceiling[hot]
    work.settled[hot] = work.option[hot, ceiling[hot] + 1]


def _merit_order(fleet: Fleet, policy: Policy) -> Ints:
    """Rank of each step in the order of lowering, shape [G, M]; step m is from mode m to the level below.

    Worth is hashrate per watt, least lowered first; with MODES_FIRST all steps to sleep come last. A unit is lowered from
    its top level, so no step may precede the one above it: worth is made concave by its running minimum.
    """
    roster = fleet.roster
    power = np.concatenate((roster.sleep_w[:, None], roster.mode_power_w), axis=1)
    rate = np.concatenate((np.zeros((len(power), 1)), roster.mode_hashrate_hs), axis=1)
    step_w, step_hs = np.diff(power, axis=1), np.diff(rate, axis=1)
    worth = np.divide(step_hs, step_w, out=np.full_like(step_w, np.inf), where=step_w > 0)
    concave = np.minimum.accumulate(worth, axis=1)
    height = np.broadcast_to(np.arange(worth.shape[1]), worth.shape)
    last = (height == 0) if policy is Policy.MODES_FIRST else np.zeros_like(worth, dtype=bool)
    order = np.lexsort((-height.ravel(), concave.ravel(), last.ravel()))
    rank = np.empty(order.size, dtype=np.int64)
    rank[order] = np.arange(order.size)
    return rank.reshape(worth.shape)


def _by_wear(fleet: Fleet, units: Ints) -> Ints:
    """The order in which like units are switched: fewest starts today, then longest unswitched, phases in rotation."""
    worn = np.lexsort((fleet.since_ms[units], fleet.starts_used[units]))
    phase = fleet.roster.phase[units[worn]]
    turn = np.empty(len(units), dtype=np.int64)
    for lane in np.unique(phase):
        inside = phase == lane
        turn[inside] = np.arange(int(inside.sum()))
    return worn[np.argsort(turn, kind="stable")]


def _join(parts: list[_Steps]) -> _Steps:
    return _Steps(
        np.concatenate([part.unit for part in parts]),
        np.concatenate([part.to for part in parts]),
        np.concatenate([part.watts for part in parts]),
        np.concatenate([part.place for part in parts]),
    )


def _steps_down(work: _Work, among: Bools) -> _Steps:
    """Steps by which some units may be lowered. A step that saves nothing, since the unit is measured below the next mode's
    power, is left out."""
    fleet, parts = work.fleet, []
    may_fall = fleet.can_command & among
    path = work.settled.copy()
    for height in range(work.option.shape[1] - 2, -1, -1):
        able = may_fall & (work.level >= height) & (work.option[:, height] < path)
        if height == 0:
            able &= fleet.may_sleep
        at = np.flatnonzero(able)
        watts = path[at] - work.option[at, height]
        parts.append(_Steps(at, np.full(len(at), height - 1), watts, work.rank[fleet.roster.group[at], height]))
        path[at] = work.option[at, height]
    return _join(parts)


def _room_of_each_w(work: _Work, target_w: float, caps: Floats) -> Floats:
    """Room of site, feeder and phases for one more rise of each unit alone, shape [N]."""
    roster = work.fleet.roster
    room_w = np.minimum(caps - per_feeder(roster, work.settled), target_w - float(work.settled.sum()))[roster.feeder]
    if work.phase_cap_w is not None:
        phase_w = _phase_room_w(work)
        own_w = phase_w[roster.feeder, np.maximum(roster.phase, 0)]
        room_w = np.minimum(room_w, np.where(roster.phase >= 0, own_w, 3.0 * phase_w.min(axis=1)[roster.feeder]))
    return room_w


def _steps_up(work: _Work, target_w: float, caps: Floats, policy: Policy, may_wake: bool) -> _Steps:
    """Steps by which units may be raised. A unit that was on at the start may always return: that is no wake. A unit without
    room for its next step has none for further ones."""
    fleet, parts = work.fleet, []
    top = int(work.rank.max(initial=0)) + 1
    asleep = work.level == ASLEEP
    first = np.where(work.start >= 0, 0, fleet.wake_mode)
    may_rise = fleet.can_command & (~asleep | (fleet.may_wake & may_wake) | (work.start >= 0))
    path = work.settled.copy()
    following = np.minimum(np.where(asleep, first, work.level + 1) + 1, work.option.shape[1] - 1)
    next_w = work.option[np.arange(len(path)), following] - path
    may_rise &= next_w <= _room_of_each_w(work, target_w, caps)
    for height in range(work.option.shape[1] - 1):
        able = may_rise & (fleet.ceiling >= height) & (work.level < height) & (~asleep | (height >= first))
        able &= work.option[:, height + 1] > path
        at = np.flatnonzero(able)
        watts = work.option[at, height + 1] - path[at]
        wakes = asleep[at] & (first[at] == height)
        place = top - work.rank[fleet.roster.group[at], np.where(wakes, 0, height)]
        if policy is Policy.MODES_FIRST:
            place = place + np.where(asleep[at], 2 * top, 0)
        parts.append(_Steps(at, np.full(len(at), height), watts, place))
        path[at] = work.option[at, height + 1]
    return _join(parts)


def _prefix(fleet: Fleet, steps: _Steps, lane: Ints, amount_w: Floats, reach: bool) -> Bools:
    """The steps that form the prefix of each lane up to `amount_w[lane]`, as mask, shape [step].

    `reach`: the last step may pass the amount (lowering must reach it); else it must stay within (raising).
    """
    lanes, places = len(amount_w), int(steps.place.max(initial=0)) + 1
    bin_of = lane * places + steps.place
    sums = np.bincount(bin_of, weights=steps.watts, minlength=lanes * places).reshape(lanes, places)
    upto = np.cumsum(sums, axis=1)
    whole = (upto <= amount_w[:, None]).ravel()
    taken: Bools = whole[bin_of]
    cut = np.argmax(upto > amount_w[:, None], axis=1)
    is_cut = (upto[np.arange(lanes), cut] > amount_w) & (amount_w > 0)
    cut_bin = np.where(is_cut, np.arange(lanes) * places + cut, -1)
    partly = np.flatnonzero(bin_of == cut_bin[lane])
    partly = partly[np.argsort(lane[partly], kind="stable")]
    for inside in np.split(partly, np.flatnonzero(np.diff(lane[partly])) + 1) if len(partly) else ():
        at = int(lane[inside[0]])
        inside = inside[_by_wear(fleet, steps.unit[inside])]
        running = upto[at, cut[at]] - sums[at, cut[at]] + np.cumsum(steps.watts[inside])
        taken[inside] = (running - steps.watts[inside] < amount_w[at]) if reach else (running <= amount_w[at])
    return taken


def _down(work: _Work, lane_of_unit: Ints, excess_w: Floats) -> None:
    """Lower by steps in each lane (feeder, or the site as one) until its excess is gone, the last step included."""
    steps = _steps_down(work, (excess_w > 0)[lane_of_unit])
    taken = _prefix(work.fleet, steps, lane_of_unit[steps.unit], np.maximum(excess_w, 0.0), reach=True)
    work.take(steps, taken, down=True)


def _up(work: _Work, target_w: float, caps: Floats, policy: Policy, may_wake: bool) -> bool:
    """Raise by steps in order while feeder and site have room. No other unit is woken in a run that lowered units.
    Returns whether another run may find more: not where the site's own room ended it, nor where there was no step."""
    steps = _steps_up(work, target_w, caps, policy, may_wake)
    feeder = work.fleet.roster.feeder
    if work.phase_cap_w is not None:
        # The narrower cap first: feeder room that a full phase leaves goes to the other phases.
        steps = _with_room(work, steps)
    if bool(np.any(np.isfinite(caps))):
        room_w = np.maximum(caps - per_feeder(work.fleet.roster, work.settled), 0.0)
        steps = steps.where(_prefix(work.fleet, steps, feeder[steps.unit], room_w, reach=False))
    room = np.array([target_w - float(work.settled.sum())])
    taken = _prefix(work.fleet, steps, np.zeros(len(steps.unit), dtype=np.int64), room, reach=False)
    work.take(steps, taken, down=False)
    return len(taken) > 0 and bool(taken.all())


def _put_back(work: _Work, target_w: float, caps: Floats) -> None:
    """Undo needless switching: the largest units just put to sleep that fit into the remainder."""
    units = np.flatnonzero((work.level == ASLEEP) & (work.start >= 0))
    _one_by_one(work, units, np.zeros(len(units), dtype=np.int64), target_w, caps)


def _fill(work: _Work, target_w: float, caps: Floats) -> None:
    """Close a remainder smaller than one step by the largest single steps between on-modes that fit."""
    fleet = work.fleet
    while True:
        units = np.flatnonzero(fleet.can_command & (work.level >= 0) & (work.level < fleet.ceiling))
        if not _one_by_one(work, units, work.level[units] + 1, target_w, caps):
            return


def _one_by_one(work: _Work, units: Ints, to: Ints, target_w: float, caps: Floats) -> bool:
    """Raise units to `to`, the largest rise that fits first, each at most once; returns whether any was raised.

    Where feeders or phases are capped, the largest of each lane are tried in one pass.
    """
    roster = work.fleet.roster
    feeder, phase = roster.feeder, roster.phase
    room_w = target_w - float(work.settled.sum())
    feeder_room_w = caps - per_feeder(roster, work.settled)
    phase_room_w = np.full((len(caps), 3), np.inf) if work.phase_cap_w is None else _phase_room_w(work)
    lane = (
        feeder[units] * 4 + phase[units] + 1
        if bool(np.isfinite(caps).any()) or work.phase_cap_w is not None
        else 0 * units
    )
    watts = work.option[units, to + 1] - work.settled[units]
    some = False
    while True:
        fits = (watts > 0) & (watts <= room_w) & (watts <= feeder_room_w[feeder[units]])
        if work.phase_cap_w is not None:
            own = phase_room_w[feeder[units], np.maximum(phase[units], 0)]
            fits &= watts <= np.where(phase[units] >= 0, own, 3.0 * phase_room_w[feeder[units]].min(axis=1))
        units, to, watts, lane = units[fits], to[fits], watts[fits], lane[fits]
        if not len(units):
            return some
        largest = np.zeros(int(lane.max()) + 1)
        np.maximum.at(largest, lane, watts)
        tops = np.flatnonzero(watts == largest[lane])
        tops = tops[np.unique(lane[tops], return_index=True)[1]]
        for best in tops[np.argsort(-watts[tops], kind="stable")].tolist():
            unit, rise_w = units[best], float(watts[best])
            at, lanes = feeder[unit], slice(None) if phase[unit] < 0 else slice(phase[unit], phase[unit] + 1)
            load_w = rise_w / 3.0 if phase[unit] < 0 else rise_w
            watts[best] = 0.0
            if rise_w > room_w or rise_w > feeder_room_w[at] or load_w > phase_room_w[at, lanes].min():
                continue
            work.level[unit], work.settled[unit] = to[best], work.option[unit, to[best] + 1]
            room_w -= rise_w
            feeder_room_w[at] -= rise_w
            phase_room_w[at, lanes] -= load_w
            some = True
