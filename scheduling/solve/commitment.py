# SPDX-License-Identifier: Apache-2.0
"""Unit commitment: units on per group and slot, by one forward pass over all groups as a single pool.

At a slot each group offers units in two lots: those that could stop, valued by their stop loss, and those that could start,
valued by their start gain. Where starts are budgeted a third lot holds those that could stop but have no start left to
return, valued by all their remaining earnings. All lots are sorted by value per watt; a prefix of them is on. Without other
rules the prefix ends where the value turns negative; a target band moves its end; hard rules move it last: the lowest modes
of the units on must fit under the power to be drawn (now, and through the minimum time of starting units), and their highest
modes must reach it.

Minimum times, start budgets and history are kept by construction, because only eligible units are offered.
"""

from dataclasses import dataclass

import numpy as np

from scheduling.problem.problem import Floats, Ints, Problem, first_free, first_locking


@dataclass(frozen=True, slots=True)
class SwitchingValues:
    """Own decisions of single units at given prices, shape [group, slot]: money lost by stopping, money gained by starting,
    and money lost by stopping for good (needed where starts are budgeted)."""

    stop_loss: Floats
    start_gain: Floats
    last_loss: Floats | None = None


@dataclass(frozen=True, slots=True)
class Corridor:
    """Flexible power to be drawn, shape [slot]: the lowest modes of the units on stay within `most_low_w`, their highest
    modes reach `least_top_w`."""

    most_low_w: Floats
    least_top_w: Floats


@dataclass(frozen=True, slots=True)
class Target:
    """Counts held near a desired power: `weight_w[g]` measures a unit against `power_w[t]`, from which a score (money per W)
    of 1 allows a deviation of `give_w`."""

    weight_w: Floats
    power_w: Floats
    give_w: float


class Reach:
    """The site powers reachable within the ramp slot by slot, given the units on."""

    def __init__(self, now_w: float, ramp_w: Floats, fixed_w: Floats) -> None:
        self.low_w = self.high_w = now_w
        self.ramp_w, self.fixed_w = ramp_w, fixed_w

    def narrowed(self, t: int, most_low_w: float, least_top_w: float) -> tuple[float, float]:
        fixed, ramp = self.fixed_w[t], self.ramp_w[t]
        return min(most_low_w, self.high_w + ramp - fixed), max(least_top_w, self.low_w - ramp - fixed)

    def moved(self, t: int, low_w: float, top_w: float) -> None:
        fixed, ramp = self.fixed_w[t], self.ramp_w[t]
        self.low_w = max(low_w + fixed, self.low_w - ramp)
        self.high_w = max(min(top_w + fixed, self.high_w + ramp), self.low_w)


def forward(
    problem: Problem,
    switching_values: SwitchingValues,
    corridor: Corridor,
    *,
    top_w: Floats,
    most_on: Ints | None = None,
    target: Target | None = None,
    reach: Reach | None = None,
) -> Ints:
    """Units on, shape [group, slot].

    - `top_w[g, t]`: highest power of a unit together with the others on its feeder; `most_on[g, t]`: most units of a group
      that fit there.
    - `target` holds counts near a desired power.
    - `reach` narrows the corridor to the powers reachable within the ramp (where no power path is known yet).
    """
    groups = problem.groups
    groups_n, _, slots_n, feeders_n = problem.shape
    room, base = problem.feeder_room_w(), problem.step_w()[:, 0]
    tight = np.bincount(groups.feeder, weights=groups.units * base, minlength=feeders_n) > room.min(axis=1)
    crowded = bool(tight.any())
    budgeted = switching_values.last_loss is not None and bool((groups.starts_left >= 0).any())
    lots_n = 3 if budgeted else 2
    watts, feeders = np.tile(base, lots_n), np.tile(groups.feeder, lots_n)
    measure = watts if target is None else np.tile(target.weight_w, lots_n)
    offers = (
        switching_values.stop_loss,
        switching_values.start_gain,
        *((switching_values.last_loss,) if budgeted else ()),
    )
    gains = np.concatenate([offer for offer in offers if offer is not None]).T
    tops = np.ascontiguousarray(top_w.T)
    locked_on, locked_off = np.ascontiguousarray(groups.locked_on.T), np.ascontiguousarray(groups.locked_off.T)
    limit = None if most_on is None else np.ascontiguousarray(most_on.T)
    starts, stops = np.zeros((slots_n, groups_n), dtype=np.int64), np.zeros((slots_n, groups_n), dtype=np.int64)
    on_ends, off_ends = _ends(problem, groups.min_on_s), _ends(problem, groups.min_off_s)
    free_at = _free_at(problem)
    longest = free_at.max(axis=0, initial=0)
    held_w = locked_on.astype(np.float64) @ base
    left = np.where(groups.starts_left >= 0, groups.starts_left, np.iinfo(np.int64).max // 4)
    on = np.empty((slots_n, groups_n), dtype=np.int64)
    before = groups.on_now.astype(np.int64)
    on_held, off_held = np.zeros(groups_n, dtype=np.int64), np.zeros(groups_n, dtype=np.int64)
    for t in range(slots_n):
        for rows, source in on_ends[t]:
            on_held[rows] -= starts[source, rows]
        for rows, source in off_ends[t]:
            off_held[rows] -= stops[source, rows]
        keep = np.minimum(on_held + locked_on[t], before)
        can_stop = before - keep
        can_start = np.minimum(np.maximum(groups.units - before - off_held - locked_off[t], 0), left)
        offered = can_stop
        if limit is not None:
            spare = np.maximum(limit[t] - keep, 0)
            offered = np.minimum(can_stop, spare)
            can_start = np.minimum(can_start, spare - offered)
        if budgeted:
            back = np.minimum(offered, np.maximum(left - (groups.units - before), 0))
            size = np.concatenate((back, can_start, offered - back))
        else:
            size = np.concatenate((offered, can_start))
        gain = gains[t]
        if crowded:
            rank = np.argsort(-gain / watts, kind="stable")
            size = _within_feeders(size, rank, feeders, watts, room[:, t], keep, groups.feeder, tight)
        most_low, least_top = corridor.most_low_w[t], corridor.least_top_w[t]
        if reach is not None:
            most_low, least_top = reach.narrowed(t, most_low, least_top)
        low_room, top_need = most_low - float(keep @ base), least_top - float(keep @ tops[t])

        chosen = np.where(gain > 0, size, 0)
        lot_tops = np.tile(tops[t], lots_n)
        kept = target is None and float(chosen @ watts) <= low_room and float(chosen @ lot_tops) >= top_need
        if not kept:
            chosen = _ranked(size, gain, watts, measure, lot_tops, low_room, top_need, keep, target, t)
        began = chosen[groups_n : 2 * groups_n]
        if began.any():
            worst = np.argsort(gain[groups_n : 2 * groups_n] / base, kind="stable")
            began = _startable(began, worst, base, corridor.most_low_w, held_w, t, int(longest[t]))
            _hold(held_w, began * base, free_at[:, t], t)
            starts[t] = began
            on_held += began
            left = left - began
        stops[t] = can_stop - chosen[:groups_n] - (chosen[2 * groups_n :] if budgeted else 0)
        off_held += stops[t]
        before = before + starts[t] - stops[t]
        on[t] = before
        if reach is not None:
            reach.moved(t, float(before @ base), min(float(before @ tops[t]), corridor.most_low_w[t]))
    return np.ascontiguousarray(on.T)


def _ranked(
    size: Ints,
    gain: Floats,
    watts: Floats,
    measure: Floats,
    top_w: Floats,
    low_room: float,
    top_need: float,
    keep: Ints,
    target: Target | None,
    t: int,
) -> Ints:
    """Units of each lot that are on where the plain decisions do not fit: a prefix of the lots by money per W."""
    at = np.flatnonzero(size)
    order = at[np.argsort(-gain[at] / measure[at], kind="stable")]
    lots, score = size[order], gain[order] / measure[order]
    low_end = _prefix(lots, watts[order], low_room, up=False)
    top_end = _prefix(lots, top_w[order], top_need, up=True)
    if target is None:
        end = float(lots[score > 0].sum())
    else:
        have = target.power_w[t] - float(keep @ target.weight_w)
        end = _soft(lots, measure[order], score, have, target.give_w)
    end = min(max(end, top_end), low_end)
    chosen = np.zeros(len(size), dtype=np.int64)
    chosen[order] = np.clip(end - (np.cumsum(lots) - lots), 0, lots).astype(np.int64)
    return chosen


def _prefix(lots: Ints, watts: Floats, room_w: float, *, up: bool) -> float:
    """Number of units of the sorted lots that fill the room: rounded up, or down so as to stay within it."""
    filled = np.cumsum(lots * watts)
    index = int(np.searchsorted(filled, room_w, side="right" if not up else "left"))
    if room_w <= 0:
        return 0.0
    if index >= len(lots):
        return float(lots.sum())
    before = float(filled[index - 1]) if index else 0.0
    whole = float(lots[:index].sum())
    part = (room_w - before) / max(float(watts[index]), 1e-12)
    rounded = np.ceil(part - 1e-12) if up else np.floor(part + 1e-12)
    return whole + float(min(rounded, lots[index]))


def _soft(lots: Ints, watts: Floats, score: Floats, have_w: float, give_w: float) -> float:
    """Number of units of the sorted lots that are on: each lot while its score, money per W, outweighs the excess over the
    target; `give_w` W of deviation are worth money of 1 per W."""
    filled = np.cumsum(lots * watts)
    limit = have_w + give_w * score
    over = np.flatnonzero(filled > limit)
    if not len(over):
        return float(lots.sum())
    index = int(over[0])
    before = float(filled[index - 1]) if index else 0.0
    part = np.round((limit[index] - before) / max(float(watts[index]), 1e-12))
    return float(lots[:index].sum()) + float(min(max(part, 0.0), lots[index]))


def _within_feeders(
    size: Ints, order: Ints, feeders: Ints, watts: Floats, room: Floats, keep: Ints, feeder: Ints, tight: np.ndarray
) -> Ints:
    """Lots cut so that the lowest modes of each tight feeder fit its room, best lots first."""
    size = size.copy()
    left = room - np.bincount(feeder, weights=keep * watts[: len(feeder)], minlength=len(room))
    of = feeders[order]
    sel = np.flatnonzero(tight[of])
    sub = sel[np.argsort(of[sel], kind="stable")]
    units = size[order[sub]]
    unit_w = watts[order[sub]]
    total = np.cumsum(units * unit_w)
    fid = of[sub]
    first = np.concatenate(([True], fid[1:] != fid[:-1]))
    begin = np.maximum.accumulate(np.where(first, np.arange(len(fid)), 0))
    prior = total - units * unit_w
    inside = prior - prior[begin]
    fits = np.floor(np.maximum(left[fid] - inside, 0.0) / unit_w + 1e-12)
    size[order[sub]] = np.minimum(units, fits).astype(np.int64)
    return size


def _startable(began: Ints, worst: Ints, base: Floats, most_low_w: Floats, held_w: Floats, t: int, until: int) -> Ints:
    """Starts cut, worst first, so that locked units fit every coming slot of their minimum time."""
    spare = float((most_low_w[t:until] - held_w[t:until]).min()) if until > t else np.inf
    if float(began @ base) <= spare:
        return began
    ranked = worst[::-1]
    units, watts = began[ranked], base[ranked]
    end = _prefix(units, watts, spare, up=False)
    began = began.copy()
    began[ranked] = np.clip(end - (np.cumsum(units) - units), 0, units).astype(np.int64)
    return began


def _hold(held_w: Floats, watts: Floats, free_at: Ints, t: int) -> None:
    """Add the lowest-mode power of units just started to the slots in which they cannot be stopped."""
    for until in np.unique(free_at[watts > 0]):
        held_w[t:until] += float(watts[free_at == until].sum())


def _free_at(problem: Problem) -> Ints:
    """First slot in which a unit started in a slot may stop again, shape [group, slot]."""
    hold = problem.groups.min_on_s
    table = {float(value): first_free(problem.slots, float(value)) for value in np.unique(hold)}
    return (
        np.stack([table[float(value)] for value in hold]) if len(hold) else np.zeros((0, len(problem.slots)), np.int64)
    )


def _ends(problem: Problem, hold_s: Floats) -> list[list[tuple[Ints, int]]]:
    """For each slot the (groups, earlier slot) whose switched units have just served their minimum time."""
    slots_n = len(problem.slots)
    found: list[list[tuple[Ints, int]]] = [[] for _ in range(slots_n)]
    for hold in np.unique(hold_s):
        rows = np.flatnonzero(hold_s == hold)
        first = first_locking(problem.slots, float(hold)).tolist()
        for t in range(1, slots_n):
            found[t] += [(rows, source) for source in range(first[t - 1], first[t])]
    return found
