# SPDX-License-Identifier: Apache-2.0
"""One power target to the modes of single miners: only differences, least hash lost per watt.

Every unit is a ladder: asleep, mode 0, mode 1, ... Each rung has watts and hashes; going down sells hashes for watts. All
rungs of the fleet stand in one order by what they lose per watt, least first, and a prefix of them is taken: that is the
merit order. `MODES_FIRST` takes the rungs between on-modes before any unit is switched (short orders: no start is paid
for); `MERIT` takes them all by efficiency (long orders: off at 34 J/TH loses less than low at 13 J/TH).

Like rungs (same model, firmware, feeder, height) share a bin, so the prefix is found by summing bins; only the one bin that
the target cuts through is put in order of wear and phase. Feeder caps are met first, inside each feeder. What is left, less
than one rung, is closed by single rungs. A unit is switched only where no change of modes could do.

Phases of a feeder may be capped too. A single-phase unit loads its own phase, any other all three by a third; what is too
much on a phase is taken from its single-phase units, and nothing is raised that a phase has no room for.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from miner_control.fleet.fleet import ASLEEP, Bools, Fleet, Floats, Ints, Roster, per_feeder


class Policy(StrEnum):
    """Which rungs are taken first."""

    MODES_FIRST = "modes_first"
    MERIT = "merit"


@dataclass(frozen=True, slots=True)
class Allocation:
    """What is to change: `units[k]` (index into the fleet) to `modes[k]` (ASLEEP or an on-mode).

    `power_w` is what the fleet then draws once all took effect; `over_w` by how much that still exceeds the target
    (nothing left that may be lowered); `feeder_over_w[F]` the same per feeder, `phase_over_w[F, 3]` per phase where
    phases are capped.
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
class _Rungs:
    """Single steps of units on their ladders: to which level, how many watts it moves, and its place in the order."""

    unit: Ints
    to: Ints
    watts: Floats
    place: Ints

    def where(self, kept: Bools | Ints) -> "_Rungs":
        return _Rungs(self.unit[kept], self.to[kept], self.watts[kept], self.place[kept])


@dataclass(slots=True)
class _Work:
    """An allocation in the making: level and settled power of each unit, what each level would draw, the order of rungs."""

    fleet: Fleet
    level: Ints
    settled: Floats
    option: Floats
    rank: Ints
    start: Ints
    phase_cap_w: Floats | None = None

    def land(self, rungs: _Rungs, taken: Bools, down: bool) -> None:
        """Move units along the rungs taken; the farthest rung of each unit wins."""
        unit, to = rungs.unit[taken], rungs.to[taken]
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
    """Bring the fleet's settled power to at most `target_w`, and as near to it as the rungs allow.

    `feeder_cap_w[F]` caps each feeder of the roster, `phase_cap_w[F, 3]` each of its phases (inf: none). Units that cannot
    be commanded stay as they are and count with the load they are believed to draw. Goes up as well as down: room above
    the present is used by raising modes up to each unit's ceiling and by waking.
    """
    level = fleet.wanted.astype(np.int64)
    work = _Work(
        fleet,
        level,
        fleet.settled_w.copy(),
        fleet.option_w(),
        _order_of_sale(fleet, policy),
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
            # After selling, less than one rung is left: only single rungs can fit.
            may_wake = not bool(np.any(work.level < work.start))
            # Three-phase units get what single-phase ones were kept room for and did not take, in a second turn.
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
    """The lane of each unit: three a feeder for single-phase units, and one behind them all for the others."""
    roster = fleet.roster
    lane: Ints = np.where(roster.phase >= 0, roster.feeder * 3 + roster.phase, 3 * len(roster.feeder_names))
    return lane


def _phase_room_w(work: _Work) -> Floats:
    """What each phase may still take, shape [F, 3]."""
    assert work.phase_cap_w is not None
    return work.phase_cap_w - per_phase(work.fleet.roster, work.settled)


def _with_room(work: _Work, rungs: _Rungs) -> _Rungs:
    """The rungs that the phases have room for: single-phase units first, the others in what these leave."""
    roster, lane = work.fleet.roster, _phase_lane(work.fleet)[rungs.unit]
    room_w = np.maximum(_phase_room_w(work), 0.0)
    single = lane < room_w.size
    kept = single & _prefix(work.fleet, rungs, lane, np.append(room_w, 0.0), reach=False)
    used_w = np.bincount(lane[kept], weights=rungs.watts[kept], minlength=room_w.size + 1)[:-1].reshape(room_w.shape)
    others = np.flatnonzero(~single)
    left_w = 3.0 * (room_w - used_w).min(axis=1)
    shared = rungs.where(others)
    kept[others] = _prefix(work.fleet, shared, roster.feeder[shared.unit], left_w, reach=False)
    return rungs.where(kept)


def _lower_to_ceiling(work: _Work) -> None:
    """Nobody stays above the mode that heat allows it."""
    ceiling = work.fleet.ceiling.astype(np.int64)
    hot = np.flatnonzero((work.level > ceiling) & work.fleet.can_command)
    work.level[hot] = ceiling[hot]
    work.settled[hot] = work.option[hot, ceiling[hot] + 1]


def _order_of_sale(fleet: Fleet, policy: Policy) -> Ints:
    """The place of each rung in the order in which rungs are sold, shape [G, M]; rung m is from mode m to the one below.

    Worth is hashes per watt, least sold first; with MODES_FIRST all sleep rungs come last. A ladder is sold from the top,
    so no rung may come before one above it: worth is made concave by its running minimum.
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
    """The order in which like units are switched: fewest starts today, then longest unswitched, phases in turn."""
    worn = np.lexsort((fleet.since_ms[units], fleet.starts_used[units]))
    phase = fleet.roster.phase[units[worn]]
    turn = np.empty(len(units), dtype=np.int64)
    for lane in np.unique(phase):
        inside = phase == lane
        turn[inside] = np.arange(int(inside.sum()))
    return worn[np.argsort(turn, kind="stable")]


def _join(parts: list[_Rungs]) -> _Rungs:
    return _Rungs(
        np.concatenate([part.unit for part in parts]),
        np.concatenate([part.to for part in parts]),
        np.concatenate([part.watts for part in parts]),
        np.concatenate([part.place for part in parts]),
    )


def _rungs_down(work: _Work, among: Bools) -> _Rungs:
    """Every rung of some units that may be sold. Where a measured unit draws less than the mode below would, that rung saves
    nothing."""
    fleet, parts = work.fleet, []
    may_fall = fleet.can_command & among
    path = work.settled.copy()
    for height in range(work.option.shape[1] - 2, -1, -1):
        able = may_fall & (work.level >= height) & (work.option[:, height] < path)
        if height == 0:
            able &= fleet.may_sleep
        at = np.flatnonzero(able)
        watts = path[at] - work.option[at, height]
        parts.append(_Rungs(at, np.full(len(at), height - 1), watts, work.rank[fleet.roster.group[at], height]))
        path[at] = work.option[at, height]
    return _join(parts)


def _room_of_each_w(work: _Work, target_w: float, caps: Floats) -> Floats:
    """What site, feeder and phases leave for one more rise of each unit alone, shape [N]."""
    roster = work.fleet.roster
    room_w = np.minimum(caps - per_feeder(roster, work.settled), target_w - float(work.settled.sum()))[roster.feeder]
    if work.phase_cap_w is not None:
        phase_w = _phase_room_w(work)
        own_w = phase_w[roster.feeder, np.maximum(roster.phase, 0)]
        room_w = np.minimum(room_w, np.where(roster.phase >= 0, own_w, 3.0 * phase_w.min(axis=1)[roster.feeder]))
    return room_w


def _rungs_up(work: _Work, target_w: float, caps: Floats, policy: Policy, may_wake: bool) -> _Rungs:
    """Every rung that may be bought. A unit that was on at the start may always be put back: that is no wake. Who has no
    room for its next rung has none for the others."""
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
        parts.append(_Rungs(at, np.full(len(at), height), watts, place))
        path[at] = work.option[at, height + 1]
    return _join(parts)


def _prefix(fleet: Fleet, rungs: _Rungs, lane: Ints, amount_w: Floats, reach: bool) -> Bools:
    """Which rungs form the prefix of each lane that amounts to `amount_w[lane]`, shape [rung].

    `reach`: the last rung may pass the amount (selling must reach it); else it must stay within (buying).
    """
    lanes, places = len(amount_w), int(rungs.place.max(initial=0)) + 1
    bin_of = lane * places + rungs.place
    sums = np.bincount(bin_of, weights=rungs.watts, minlength=lanes * places).reshape(lanes, places)
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
        inside = inside[_by_wear(fleet, rungs.unit[inside])]
        running = upto[at, cut[at]] - sums[at, cut[at]] + np.cumsum(rungs.watts[inside])
        taken[inside] = (running - rungs.watts[inside] < amount_w[at]) if reach else (running <= amount_w[at])
    return taken


def _down(work: _Work, lane_of_unit: Ints, excess_w: Floats) -> None:
    """Sell rungs in each lane (feeder, or the site as one) until its excess is gone, the last rung included."""
    rungs = _rungs_down(work, (excess_w > 0)[lane_of_unit])
    taken = _prefix(work.fleet, rungs, lane_of_unit[rungs.unit], np.maximum(excess_w, 0.0), reach=True)
    work.land(rungs, taken, down=True)


def _up(work: _Work, target_w: float, caps: Floats, policy: Policy, may_wake: bool) -> bool:
    """Buy rungs in order while feeder and site have room. Where units were lowered in this breath none other is woken.
    Tells whether another turn may find more: not where the site's own room ends it, nor where nothing was to be had."""
    rungs = _rungs_up(work, target_w, caps, policy, may_wake)
    feeder = work.fleet.roster.feeder
    if work.phase_cap_w is not None:
        # The narrower cap first: what a full phase leaves of its feeder's room goes to the other phases.
        rungs = _with_room(work, rungs)
    if bool(np.any(np.isfinite(caps))):
        room_w = np.maximum(caps - per_feeder(work.fleet.roster, work.settled), 0.0)
        rungs = rungs.where(_prefix(work.fleet, rungs, feeder[rungs.unit], room_w, reach=False))
    room = np.array([target_w - float(work.settled.sum())])
    taken = _prefix(work.fleet, rungs, np.zeros(len(rungs.unit), dtype=np.int64), room, reach=False)
    work.land(rungs, taken, down=False)
    return len(taken) > 0 and bool(taken.all())


def _put_back(work: _Work, target_w: float, caps: Floats) -> None:
    """Undo a switch that need not be: the largest units put to sleep just now that fit in what is left."""
    units = np.flatnonzero((work.level == ASLEEP) & (work.start >= 0))
    _one_by_one(work, units, np.zeros(len(units), dtype=np.int64), target_w, caps)


def _fill(work: _Work, target_w: float, caps: Floats) -> None:
    """Close what is left, less than a rung, by the largest single rungs between on-modes that fit; then by put-backs."""
    fleet = work.fleet
    while True:
        units = np.flatnonzero(fleet.can_command & (work.level >= 0) & (work.level < fleet.ceiling))
        if not _one_by_one(work, units, work.level[units] + 1, target_w, caps):
            return


def _one_by_one(work: _Work, units: Ints, to: Ints, target_w: float, caps: Floats) -> bool:
    """Raise units to `to`, the largest rise that fits first, each at most once; tells whether any was raised.

    Where feeders or phases are capped, the largest of each lane are tried in one go.
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
