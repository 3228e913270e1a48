# SPDX-License-Identifier: Apache-2.0
"""How many units of each group are on in each slot: one forward pass over all groups as a single pool.

At a slot each group offers units in two lots: those that could stop, worth their stop loss if kept on, and those that
could start, worth their start gain. All lots are sorted by worth per watt; a prefix of them is on. Left alone the prefix
ends where worth turns negative; a target band moves its end; what must hold moves it last: the lowest modes of those on
must fit under the power to be drawn (now, and through the minimum time of whoever starts), and their highest must reach it.
Minimum times, start budgets and history are kept by construction, because only eligible units are ever offered.
"""

from dataclasses import dataclass

import numpy as np

from scheduling.problem import Floats, Ints, Problem, first_free, first_locking


@dataclass(frozen=True, slots=True)
class Wishes:
    """What single units would do at given prices, shape [group, slot]: money lost by stopping, money gained by starting."""

    stop_loss: Floats
    start_gain: Floats


@dataclass(frozen=True, slots=True)
class Corridor:
    """Flexible power to be drawn, shape [slot]: units on must be able to draw as little as `low_w` allows them at most
    (their lowest modes within it) and at least `high_w` (their highest modes reach it)."""

    most_low_w: Floats
    least_top_w: Floats


class Reach:
    """The site powers that the ramp can reach slot by slot, given who is on."""

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
    wishes: Wishes,
    corridor: Corridor,
    *,
    weight_w: Floats | None = None,
    target_w: Floats | None = None,
    give_w: float = 0.0,
    top_w: Floats,
    most_on: Ints | None = None,
    reach: Reach | None = None,
) -> Ints:
    """Units on, shape [group, slot].

    `weight_w[g]` measures a unit against `target_w[t]` where given, from which a score (money per W) of 1 may lead away by
    `give_w`; `top_w[g, t]` is what a unit can draw at
    most beside the others on its feeder; `reach` narrows the corridor to what the ramp lets the site reach from the slot
    before (where no power path is known yet).
    """
    groups = problem.groups
    groups_n, _, slots_n, feeders_n = problem.shape
    on_window = _windows(problem, groups.min_on_s)
    off_window = _windows(problem, groups.min_off_s)
    room = problem.feeder_room_w()
    base = problem.step_w()[:, 0]
    weight = base if weight_w is None else weight_w
    feeder2 = np.concatenate((groups.feeder, groups.feeder))
    tight = np.bincount(groups.feeder, weights=groups.units * base, minlength=feeders_n) > room.min(axis=1)
    starts, stops = np.zeros((groups_n, slots_n), dtype=np.int64), np.zeros((groups_n, slots_n), dtype=np.int64)
    held_w = groups.locked_on.T.astype(np.float64) @ base
    left = np.where(groups.starts_left >= 0, groups.starts_left, np.iinfo(np.int64).max // 4)
    free_at = _free_at(problem)
    longest = free_at.max(axis=0, initial=0)
    on = np.empty((groups_n, slots_n), dtype=np.int64)
    before = groups.on_now.astype(np.int64)
    on_held = np.zeros(groups_n, dtype=np.int64)
    off_held = np.zeros(groups_n, dtype=np.int64)
    double = np.concatenate((weight, weight))
    for t in range(slots_n):
        on_held -= _expired(starts, on_window, t)
        off_held -= _expired(stops, off_window, t)
        keep = np.minimum(np.maximum(on_held, 0) + groups.locked_on[:, t], before)
        can_stop = before - keep
        can_start = np.clip(groups.units - before - off_held - groups.locked_off[:, t], 0, left)
        if most_on is not None:
            room_units = np.maximum(most_on[:, t] - keep, 0)
            size = np.concatenate(
                (np.minimum(can_stop, room_units), np.minimum(can_start, np.maximum(room_units - can_stop, 0)))
            )
        else:
            size = np.concatenate((can_stop, can_start))
        score = np.concatenate((wishes.stop_loss[:, t], wishes.start_gain[:, t])) / double
        order = np.argsort(-score, kind="stable")
        if bool(tight.any()):
            size = _within_feeders(size, order, feeder2, base, room[:, t], keep, groups.feeder, tight)
        lots = size[order]
        lot_base = np.concatenate((base, base))[order]
        top = top_w[:, t]
        lot_top = np.concatenate((top, top))[order]

        most_low, least_top = corridor.most_low_w[t], corridor.least_top_w[t]
        if reach is not None:
            most_low, least_top = reach.narrowed(t, most_low, least_top)
        low_end = _prefix(lots, lot_base, most_low - float(keep @ base), up=False)
        top_end = _prefix(lots, lot_top, least_top - float(keep @ top), up=True)
        if target_w is None:
            end = float(lots[score[order] > 0].sum())
        else:
            have = target_w[t] - float(keep @ weight)
            end = _soft(lots, double[order], score[order], have, give_w)
        end = min(max(end, top_end), low_end)
        taken = np.clip(end - (np.cumsum(lots) - lots), 0, lots).astype(np.int64)
        chosen = np.zeros(2 * groups_n, dtype=np.int64)
        chosen[order] = taken
        began = chosen[groups_n:]
        if bool(began.any()):
            began = _startable(began, order, groups_n, base, corridor.most_low_w, held_w, t, int(longest[t]))
            _hold(held_w, began * base, free_at[:, t], t)
        starts[:, t] = began
        stops[:, t] = can_stop - chosen[:groups_n]
        before = before + starts[:, t] - stops[:, t]
        on_held += starts[:, t]
        off_held += stops[:, t]
        left = left - starts[:, t]
        on[:, t] = before
        if reach is not None:
            reach.moved(t, float(before @ base), min(float(before @ top), corridor.most_low_w[t]))
    return on


def _prefix(lots: Ints, watts: Floats, room_w: float, *, up: bool | None) -> float:
    """How many units of the sorted lots fill the room: rounded up, down (not above), or to the nearest (None)."""
    filled = np.cumsum(lots * watts)
    index = int(np.searchsorted(filled, room_w, side="right" if not up else "left"))
    if room_w <= 0:
        return 0.0
    if index >= len(lots):
        return float(lots.sum())
    before = float(filled[index - 1]) if index else 0.0
    whole = float(lots[:index].sum())
    part = (room_w - before) / max(float(watts[index]), 1e-12)
    rounded = np.ceil(part - 1e-12) if up else (np.floor(part + 1e-12) if up is False else np.round(part))
    return whole + float(min(rounded, lots[index]))


def _soft(lots: Ints, watts: Floats, score: Floats, have_w: float, give_w: float) -> float:
    """How many units of the sorted lots are on: each lot while its score, money per W, outweighs being above the target;
    `give_w` W of deviation are worth money of 1 per W."""
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
    size: Ints, order: Ints, feeder2: Ints, base: Floats, room: Floats, keep: Ints, feeder: Ints, tight: np.ndarray
) -> Ints:
    """Lots cut so that the lowest modes of each tight feeder fit its room, best lots first."""
    size = size.copy()
    left = room - np.bincount(feeder, weights=keep * base, minlength=len(room))
    of = feeder2[order]
    sel = np.flatnonzero(tight[of])
    sub = sel[np.argsort(of[sel], kind="stable")]
    units = size[order[sub]]
    unit_w = np.concatenate((base, base))[order[sub]]
    total = np.cumsum(units * unit_w)
    fid = of[sub]
    first = np.concatenate(([True], fid[1:] != fid[:-1]))
    begin = np.maximum.accumulate(np.where(first, np.arange(len(fid)), 0))
    prior = total - units * unit_w
    inside = prior - prior[begin]
    fits = np.floor(np.maximum(left[fid] - inside, 0.0) / unit_w + 1e-12)
    size[order[sub]] = np.minimum(units, fits).astype(np.int64)
    return size


def _startable(
    began: Ints, order: Ints, groups_n: int, base: Floats, most_low_w: Floats, held_w: Floats, t: int, until: int
) -> Ints:
    """Starts cut, worst first, so that those locked on fit every coming slot of their minimum time."""
    spare = float((most_low_w[t:until] - held_w[t:until]).min()) if until > t else np.inf
    if float(began @ base) <= spare:
        return began
    ranked = order[order >= groups_n] - groups_n
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


def _windows(problem: Problem, hold_s: Floats) -> list[tuple[Ints, Ints]]:
    """For each distinct minimum time: its groups, and the first slot that still binds each slot."""
    return [(np.flatnonzero(hold_s == hold), first_locking(problem.slots, float(hold))) for hold in np.unique(hold_s)]


def _expired(switched: Ints, windows: list[tuple[Ints, Ints]], t: int) -> Ints:
    """Units whose minimum time ran out since the slot before, shape [group]."""
    out = np.zeros(len(switched), dtype=np.int64)
    if t:
        for groups, first in windows:
            for source in range(int(first[t - 1]), int(first[t])):
                out[groups] += switched[groups, source]
    return out
