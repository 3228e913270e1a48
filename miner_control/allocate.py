# SPDX-License-Identifier: Apache-2.0
"""One power target to the modes of single miners: only differences, least hash lost per watt.

Every unit is a ladder: asleep, mode 0, mode 1, ... Each rung has watts and hashes; going down sells watts for hashes.
All rungs of the fleet are ordered once by what they lose (J/TH of the rung, worst first), then a prefix of them is taken:
that is the merit order. `MODES_FIRST` takes the rungs between on-modes before any unit is switched (short orders: no
start is paid for); `MERIT` takes them all by efficiency (long orders: off at 34 J/TH loses less than low at 13 J/TH).

Ties (like units) go by wear, then round the phases in turn. Feeder caps are met first, inside each feeder. What is left
after the prefix, less than one rung, is closed by single rungs, so that the result is at or below the target by less than
the smallest rung that could still move. A unit is switched only where no change of modes could do.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from miner_control.fleet import ASLEEP, Bools, Fleet, Floats, Ints, per_feeder


class Policy(StrEnum):
    """Which rungs are taken first."""

    MODES_FIRST = "modes_first"
    MERIT = "merit"


@dataclass(frozen=True, slots=True)
class Allocation:
    """What is to change: `units[k]` (index into the fleet) to `modes[k]` (ASLEEP or an on-mode).

    `power_w` is what the fleet then draws once all took effect; `over_w` by how much that still exceeds the target
    (nothing left that may be lowered); `feeder_over_w[F]` the same per feeder.
    """

    units: Ints
    modes: Ints
    power_w: float
    over_w: float
    feeder_over_w: Floats

    def __len__(self) -> int:
        return len(self.units)


@dataclass(frozen=True, slots=True)
class _Rungs:
    """Single steps of units on their ladders: `watts` > 0 moved by each, `lost` hashes per watt, `switch`: sleep or wake."""

    unit: Ints
    to: Ints
    watts: Floats
    feeder: Ints


def allocate(
    fleet: Fleet,
    target_w: float,
    *,
    feeder_cap_w: Floats | None = None,
    policy: Policy = Policy.MODES_FIRST,
) -> Allocation:
    """Bring the fleet's settled power to at most `target_w`, and as near to it as the rungs allow.

    `feeder_cap_w[F]` caps each feeder of the roster (inf: none). Units that cannot be commanded stay as they are and
    count with the load they are believed to draw. Goes up as well as down: power above the present is used by raising
    modes up to each unit's ceiling and by waking.
    """
    settled = fleet.settled_w.copy()
    level = fleet.wanted.astype(np.int64).copy()
    option = fleet.option_w()
    caps = np.full(len(fleet.roster.feeder_names), np.inf) if feeder_cap_w is None else feeder_cap_w
    start = level.copy()
    level, settled = _lower_to_ceiling(fleet, level, settled, option)
    feeder_w = per_feeder(fleet.roster, settled)
    if bool(np.any(feeder_w > caps)):
        level, settled = _down(fleet, level, settled, option, policy, feeder_w - caps, None)
    excess = float(settled.sum()) - target_w
    if excess > 0:
        level, settled = _down(fleet, level, settled, option, policy, None, excess)
    room = target_w - float(settled.sum())
    if room > 0:
        level, settled = _up(fleet, level, settled, option, policy, room, caps, start)
    units = np.flatnonzero(level != start)
    total = float(settled.sum())
    return Allocation(
        units=units,
        modes=level[units],
        power_w=total,
        over_w=max(0.0, total - target_w),
        feeder_over_w=np.maximum(0.0, per_feeder(fleet.roster, settled) - caps),
    )


def _lower_to_ceiling(fleet: Fleet, level: Ints, settled: Floats, option: Floats) -> tuple[Ints, Floats]:
    """Nobody stays above the mode that heat allows it."""
    ceiling = fleet.ceiling.astype(np.int64)
    hot = np.flatnonzero((level > ceiling) & fleet.can_command)
    if len(hot):
        level[hot] = ceiling[hot]
        settled[hot] = option[hot, ceiling[hot] + 1]
    return level, settled


def _efficiency_rank(fleet: Fleet, policy: Policy) -> Ints:
    """Order in which rungs are sold, shape [G, M]: rung m is from mode m down to the one below it (0: to sleep).

    0 is sold first. A rung's worth is its hashes per watt; within MODES_FIRST all sleep rungs come after all others. A
    ladder must be sold from the top, so a rung never ranks before one above it (worth is made concave by running minimum).
    """
    roster = fleet.roster
    power = np.concatenate((roster.sleep_w[:, None], roster.mode_power_w), axis=1)
    rate = np.concatenate((np.zeros((len(power), 1)), roster.mode_hashrate_hs), axis=1)
    step_w, step_hs = np.diff(power, axis=1), np.diff(rate, axis=1)
    worth = np.divide(step_hs, step_w, out=np.full_like(step_w, np.inf), where=step_w > 0)
    worth = np.where(step_w > 0, worth, np.inf)
    concave = np.minimum.accumulate(worth, axis=1)
    height = np.broadcast_to(np.arange(worth.shape[1]), worth.shape)
    switch = (height == 0) if policy is Policy.MODES_FIRST else np.zeros_like(worth, dtype=bool)
    order = np.lexsort((-height.ravel(), concave.ravel(), switch.ravel()))
    rank = np.empty(order.size, dtype=np.int64)
    rank[order] = np.arange(order.size)
    return rank.reshape(worth.shape)


def _tie_break(fleet: Fleet) -> Ints:
    """Position of each unit among its like when one must stop: least worn first, round the phases in turn, shape [N]."""
    roster = fleet.roster
    order = np.argsort(fleet.starts_used, kind="stable")
    lane = (roster.group * 4 + roster.phase.astype(np.int64) + 1)[order]
    by_lane = np.argsort(lane, kind="stable")
    sorted_lane = lane[by_lane]
    first = np.concatenate(([True], sorted_lane[1:] != sorted_lane[:-1])) if len(lane) else np.zeros(0, dtype=bool)
    begin = np.maximum.accumulate(np.where(first, np.arange(len(lane)), 0))
    place = np.empty(len(lane), dtype=np.int64)
    place[order[by_lane]] = np.arange(len(lane)) - begin
    return place


def _rungs_down(fleet: Fleet, level: Ints, settled: Floats, option: Floats, rank: Ints) -> _Rungs:
    """Every rung that may be sold, in the order of sale."""
    roster = fleet.roster
    units, tos, watts, keys = [], [], [], []
    for height in range(option.shape[1] - 1):
        able = fleet.can_command & (level >= height)
        if height == 0:
            able = able & fleet.may_sleep
        at = np.flatnonzero(able)
        above = np.where(level[at] == height, settled[at], option[at, height + 1])
        drop = above - option[at, height]
        kept = drop > 0
        at = at[kept]
        units.append(at)
        tos.append(np.full(len(at), height - 1))
        watts.append(drop[kept])
        keys.append(rank[roster.group[at], height])
    return _ordered(fleet, np.concatenate(units), np.concatenate(tos), np.concatenate(watts), np.concatenate(keys))


def _rungs_up(
    fleet: Fleet,
    level: Ints,
    settled: Floats,
    option: Floats,
    rank: Ints,
    policy: Policy,
    start: Ints,
    next_only: bool,
) -> _Rungs:
    """Every rung that may be bought, best first. A unit that was on at the start may always be put back: that is no wake."""
    roster = fleet.roster
    units, tos, watts, keys = [], [], [], []
    top = int(rank.max(initial=0)) + 1
    asleep = level == ASLEEP
    first = np.where(start >= 0, 0, fleet.wake_mode)
    may_rise = fleet.can_command & (~asleep | fleet.may_wake | (start >= 0))
    for height in range(option.shape[1] - 1):
        wakes = asleep & (first == height)
        able = may_rise & (fleet.ceiling >= height) & (level < height) & (~asleep | (height >= first))
        if next_only:
            able = able & ((level == height - 1) | wakes)
        at = np.flatnonzero(able)
        below = np.where(wakes[at] | (level[at] == height - 1), settled[at], option[at, height])
        rise = option[at, height + 1] - below
        kept = rise > 0
        at = at[kept]
        key = top - rank[roster.group[at], np.where(wakes[at], 0, height)]
        if policy is Policy.MODES_FIRST:
            key = key + np.where(asleep[at], 2 * top, 0)
        units.append(at)
        tos.append(np.full(len(at), height))
        watts.append(rise[kept])
        keys.append(key)
    return _ordered(fleet, np.concatenate(units), np.concatenate(tos), np.concatenate(watts), np.concatenate(keys))


def _ordered(fleet: Fleet, unit: Ints, to: Ints, watts: Floats, key: Ints) -> _Rungs:
    order = np.lexsort((_tie_break(fleet)[unit], key))
    unit = unit[order]
    return _Rungs(unit, to[order], watts[order], fleet.roster.feeder[unit])


def _segment_total(feeder: Ints, watts: Floats, feeders: int) -> Floats:
    """Running total of watts inside each feeder, in the order given, shape [rung]."""
    by_feeder = np.argsort(feeder, kind="stable")
    running = np.cumsum(watts[by_feeder])
    sums = np.bincount(feeder, weights=watts, minlength=feeders)
    before = np.concatenate(([0.0], np.cumsum(sums)[:-1]))
    total = np.empty_like(running)
    total[by_feeder] = running - before[feeder[by_feeder]]
    return total


def _apply(level: Ints, settled: Floats, option: Floats, rungs: _Rungs, taken: Bools, down: bool) -> None:
    """Move units along the rungs taken: the lowest (or highest) rung of each unit wins."""
    unit, to = rungs.unit[taken], rungs.to[taken]
    if down:
        np.minimum.at(level, unit, to)
    else:
        np.maximum.at(level, unit, to)
    moved = np.unique(unit)
    settled[moved] = option[moved, level[moved] + 1]


def _down(
    fleet: Fleet,
    level: Ints,
    settled: Floats,
    option: Floats,
    policy: Policy,
    feeder_excess_w: Floats | None,
    excess_w: float | None,
) -> tuple[Ints, Floats]:
    """Sell rungs until the excess (of each feeder, or of the site) is gone, the last one included."""
    rungs = _rungs_down(fleet, level, settled, option, _efficiency_rank(fleet, policy))
    if feeder_excess_w is not None:
        total = _segment_total(rungs.feeder, rungs.watts, len(feeder_excess_w))
        taken = total - rungs.watts < feeder_excess_w[rungs.feeder]
    else:
        assert excess_w is not None
        total = np.cumsum(rungs.watts)
        taken = total - rungs.watts < excess_w
    _apply(level, settled, option, rungs, taken, down=True)
    return level, settled


def _up(
    fleet: Fleet,
    level: Ints,
    settled: Floats,
    option: Floats,
    policy: Policy,
    room_w: float,
    caps: Floats,
    start: Ints,
) -> tuple[Ints, Floats]:
    """Buy rungs while there is room: first whole ladders in order, then single next rungs that still fit."""
    rank = _efficiency_rank(fleet, policy)
    for turn in range(24):
        rungs = _rungs_up(fleet, level, settled, option, rank, policy, start, next_only=turn > 0)
        feeder_room = caps - per_feeder(fleet.roster, settled)
        if turn:
            fits = (rungs.watts <= room_w) & (rungs.watts <= feeder_room[rungs.feeder])
            rungs = _Rungs(rungs.unit[fits], rungs.to[fits], rungs.watts[fits], rungs.feeder[fits])
            if not len(rungs.unit):
                break
        inside = _segment_total(rungs.feeder, rungs.watts, len(caps)) <= feeder_room[rungs.feeder]
        taken = inside & (np.cumsum(np.where(inside, rungs.watts, 0.0)) <= room_w)
        _apply(level, settled, option, rungs, taken, down=False)
        room_w -= float(rungs.watts[taken].sum())
    return level, settled
