# SPDX-License-Identifier: Apache-2.0
"""Lagrangian upper bound on the value of any plan, exact for every group at any prices.

Rows that join groups to the site are priced instead of kept; the rest decomposes into one small problem per group, solved
exactly by dynamic programming, and closed forms for the site's own quantities. For ANY prices that are not negative where
they must not be, the sum is an upper bound of the full problem: prices from an optimal programme make it tight, not valid.

One unit that is on and free at slot t earns from there A[t] = max(v[t] + A[t+1], B[free_off(t)]); one that is off,
B[t] = max(B[t+1], V[free_on(t)] - V[t] - start + A[free_on(t)]). v is the best mode's money at the slot's prices, V its
running sum; free_on and free_off are the slots in which a unit switched now may switch back. A unit still locked on until
slot k earns V[k] + A[k], one locked off B[k].
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scheduling.problem.problem import Floats, Ints, Problem, first_free
from scheduling.solve.commitment import SwitchingValues
from scheduling.solve.prices import Prices


@dataclass(frozen=True, slots=True)
class Holds:
    """First slots at which a unit switched in a slot is free again, shape [slot, group]; rows are shared where all groups
    have the same minimum time (`even`). `locked_on[k, g]` and `locked_off[k, g]` are units bound until slot k, 1..T."""

    on: Ints
    off: Ints
    even: bool
    free_on_units: Ints
    free_off_units: Ints
    locked_on: Ints
    locked_off: Ints


def holds(problem: Problem) -> Holds:
    """The time structure of a problem's groups, independent of prices."""
    groups = problem.groups
    slots_n = len(problem.slots)
    tables = {float(h): first_free(problem.slots, float(h)) for h in np.unique((groups.min_on_s, groups.min_off_s))}
    on = np.stack([tables[float(h)] for h in groups.min_on_s], axis=1)
    off = np.stack([tables[float(h)] for h in groups.min_off_s], axis=1)
    even = len(np.unique(groups.min_on_s)) == 1 and len(np.unique(groups.min_off_s)) == 1
    zero = np.zeros((1, len(groups.units)), dtype=np.int64)
    until_on = groups.locked_on.T - np.concatenate((groups.locked_on.T[1:], zero))
    until_off = groups.locked_off.T - np.concatenate((groups.locked_off.T[1:], zero))
    bound_on = groups.locked_on[:, 0] if slots_n else zero[0]
    bound_off = groups.locked_off[:, 0] if slots_n else zero[0]
    return Holds(
        on=on,
        off=off,
        even=even,
        free_on_units=groups.on_now - bound_on,
        free_off_units=groups.units - groups.on_now - bound_off,
        locked_on=until_on,
        locked_off=until_off,
    )


@dataclass(frozen=True, slots=True)
class Paths:
    """Earnings and decisions of single units at given prices. `margin[t, g]`: the best mode's money; `total[t, g]`: its
    running sum; `on[t, g]`, `off[t, g]`: the values A and B (T + 1 rows); `start[t, g]`: cost of a start."""

    margin: Floats
    total: Floats
    on: Floats
    off: Floats
    start: Floats
    worth: Floats


def paths(problem: Problem, held: Holds, prices: Prices) -> Paths:
    """Solve every group's own problem exactly; `worth[g]` is the earnings of all its units together."""
    margin = _margin(problem, prices)
    slots_n, groups_n = margin.shape
    start = problem.start_money().T + prices.start[None, :]
    total = np.zeros((slots_n + 1, groups_n))
    np.cumsum(margin, axis=0, out=total[1:])
    # With A'[t] = A[t] + V[t] the margin drops out: A'[t] = max(A'[t+1], B[free_off] + V[t]).
    on, off = np.empty((slots_n + 1, groups_n)), np.zeros((slots_n + 1, groups_n))
    on[-1] = total[-1]
    run = -total[:-1] - start
    ons, offs, totals, runs = list(on), list(off), list(total), list(run)
    spare = np.empty(groups_n)
    if held.even:
        until_on, until_off = held.on[:, 0].tolist(), held.off[:, 0].tolist()
        for t in range(slots_n - 1, -1, -1):
            np.add(offs[until_off[t]], totals[t], out=spare)
            np.maximum(ons[t + 1], spare, out=ons[t])
            np.add(ons[until_on[t]], runs[t], out=spare)
            np.maximum(offs[t + 1], spare, out=offs[t])
    else:
        columns = np.arange(groups_n)
        for t in range(slots_n - 1, -1, -1):
            np.maximum(ons[t + 1], off[held.off[t], columns] + totals[t], out=ons[t])
            np.maximum(offs[t + 1], on[held.on[t], columns] + runs[t], out=offs[t])
    earned = held.free_on_units * on[0] + held.free_off_units * off[0]
    earned += (held.locked_on * on[1:]).sum(axis=0) + (held.locked_off * off[1:]).sum(axis=0)
    on -= total
    return Paths(margin, total, on, off, start, earned)


def _margin(problem: Problem, prices: Prices) -> Floats:
    """Best money per unit on through a slot, in any allowed mode, shape [slot, group]."""
    step, rate = problem.step_w(), problem.groups.mode_hashrate_hs
    price = prices.flexible[:, None] + prices.feeder.T[:, problem.groups.feeder]
    value = problem.slot_value()[:, None]
    best = value * rate[:, 0] - price * step[:, 0]
    for mode in range(1, step.shape[1]):
        other = value * rate[:, mode] - price * step[:, mode]
        allowed = problem.site.mode_max >= mode
        if bool(allowed.all()):
            np.maximum(best, other, out=best)
        else:
            best[allowed] = np.maximum(best[allowed], other[allowed])
    return best


def switching_values(held: Holds, found: Paths) -> SwitchingValues:
    """Money lost by stopping, gained by starting, lost by stopping for good, at the prices of the paths, shape [group, slot]."""
    slots_n, groups_n = found.margin.shape
    slot = np.arange(slots_n)
    if held.even:
        after_off = found.off[held.off[:, 0]]
        after_on = found.total[held.on[:, 0]] + found.on[held.on[:, 0]]
    else:
        cols = np.arange(groups_n)[None, :]
        after_off = found.off[held.off, cols]
        after_on = found.total[held.on, cols] + found.on[held.on, cols]
    stop_loss = found.margin + found.on[slot + 1] - after_off
    start_gain = after_on - found.total[:-1] - found.start - found.off[slot + 1]
    last_loss = found.margin + found.on[slot + 1]
    return SwitchingValues(*(np.ascontiguousarray(values.T) for values in (stop_loss, start_gain, last_loss)))


def shares_on(problem: Problem, held: Holds, found: Paths) -> Floats:
    """Share of each group's units on along the units' own best paths, shape [slot, group]; units on now and units off now
    each follow theirs."""
    slots_n, groups_n = found.margin.shape
    values = switching_values(held, found)
    stop, begin = values.stop_loss.T < 0, values.start_gain.T > 0
    state: NDArray[np.bool_] = np.stack((np.ones(groups_n, dtype=bool), np.zeros(groups_n, dtype=bool)))
    until = np.zeros((2, groups_n), dtype=np.int64)
    weight = np.stack((problem.groups.on_now, problem.groups.units - problem.groups.on_now))
    weight = weight / np.maximum(problem.groups.units, 1)
    share = np.empty((slots_n, groups_n))
    row = weight[0]
    for t in range(slots_n):
        turn = np.where(state, stop[t], begin[t])
        turn &= until <= t
        if turn.any():
            until = np.where(turn, np.where(state, held.off[t], held.on[t]), until)
            state = state ^ turn
            row = weight[0] * state[0] + weight[1] * state[1]
        share[t] = row
    return share


def starts_used(problem: Problem, held: Holds, found: Paths) -> Floats:
    """Starts of each group if all its units follow their own best paths, shape [group]."""
    share = shares_on(problem, held, found)
    before = np.concatenate(((problem.groups.on_now / np.maximum(problem.groups.units, 1))[None, :], share[:-1]))
    used: Floats = np.maximum(share - before, 0.0).sum(axis=0) * problem.groups.units
    return used


def start_prices(problem: Problem, held: Holds, prices: Prices, turns: int = 8) -> Prices:
    """The prices with each group's start price where its budget is just used: groups are independent at fixed prices, so that
    each one's bound is a convex function of its own start price, found by bisection on its slope. Where no class of the
    programme pays for starts, the prices stay unchanged: zero is a valid price."""
    capped = problem.groups.starts_left >= 0
    if not bool((prices.start > 0).any()):
        return prices
    price = np.where(capped, prices.start, 0.0)
    low, high = np.zeros(len(price)), np.full(len(price), np.inf)
    best, best_value = price, np.full(len(price), np.inf)
    typical = np.maximum(problem.start_money().mean(axis=1), 1e-12)
    for _ in range(turns):
        tried = replace(prices, start=price)
        found = paths(problem, held, tried)
        value = found.worth + price * np.maximum(problem.groups.starts_left, 0)
        better = value < best_value
        best, best_value = np.where(better, price, best), np.minimum(value, best_value)
        over = starts_used(problem, held, found) > problem.groups.starts_left
        low, high = np.where(over, price, low), np.where(over, high, price)
        price = np.where(np.isfinite(high), (low + high) / 2, np.maximum(2 * price, typical))
        price = np.where(capped, price, 0.0)
    return replace(prices, start=best)


def bound(problem: Problem, prices: Prices, found: Paths) -> float:
    """The upper bound of every plan's value at these prices, money."""
    site, groups = problem.site, problem.groups
    hours, cap = problem.slots.hours, np.maximum(problem.cap_w(), 0.0)
    total = float(found.worth.sum())
    total += float((prices.feeder * np.where(np.isfinite(problem.feeder_room_w()), problem.feeder_room_w(), 0.0)).sum())
    total += float(prices.start @ np.maximum(groups.starts_left, 0))

    asleep = float(groups.units @ groups.sleep_w)
    low_j = np.maximum(site.heat_w - asleep, 0.0)
    high_j = np.maximum(_top_w(problem), low_j)
    total += _box(prices.flexible - prices.site + prices.down, low_j, high_j)

    fixed = problem.base_w() - site.generation_w
    battery = 0.0 if site.battery is None else site.battery.charge_max_w
    high_s = np.minimum(cap, np.maximum(high_j + problem.base_w() + battery, 0.0))
    take = np.zeros(len(hours))
    for price, block in zip(prices.take, site.takes, strict=True):
        take[block.first : block.last + 1] += price * hours[block.first : block.last + 1]
        total -= price * block.energy_wh
    turn = prices.ramp_up - prices.ramp_down
    later = np.concatenate((turn[1:], [0.0]))
    slope = prices.site - problem.money_per_w() - prices.peak - turn + later + take - prices.up
    total += _box(slope, np.zeros_like(high_s), high_s)
    total -= float(prices.site @ fixed)
    total += float(np.maximum(-prices.site, 0.0) @ site.generation_w)

    ramp = np.where(np.isfinite(site.ramp_w), site.ramp_w, 0.0)
    total += float((prices.ramp_up + prices.ramp_down) @ ramp) + float(turn[0]) * site.power_now_w
    if site.peak_price_per_w > 0:
        so_far = max(site.peak_so_far_w, 0.0)
        over = float(prices.peak.sum()) - site.peak_price_per_w
        total += max(over * so_far, over * max(float(high_s.max()), so_far)) + site.peak_price_per_w * so_far
    for reserve, price in ((site.reserve_down, prices.down), (site.reserve_up, prices.up)):
        if reserve is not None:
            inside = reserve.block_of >= 0
            used = np.bincount(reserve.block_of[inside], price[inside], minlength=len(reserve.price_per_w))
            total += reserve.max_w * float(np.maximum(np.maximum(reserve.price_per_w, 0.0) - used, 0.0).sum())
    total += float(prices.up @ np.where(np.isfinite(cap), cap, 0.0))
    return total + _battery(problem, prices, hours)


def _box(slope: Floats, low: Floats, high: Floats) -> float:
    """Sum over slots of the maximum of slope x on [low, high]."""
    return float(np.where(slope > 0, slope * high, slope * low).sum())


def _top_w(problem: Problem) -> Floats:
    """The miners' highest power above sleep, feeders included, shape [slot]."""
    step = problem.step_w()
    room = problem.feeder_room_w()
    top = np.empty(len(problem.slots))
    for mode_max in np.unique(problem.site.mode_max):
        at = problem.site.mode_max == mode_max
        watts = problem.groups.units * step[:, : int(mode_max) + 1].max(axis=1)
        each = np.bincount(problem.groups.feeder, weights=watts, minlength=len(room))
        top[at] = np.minimum(each[:, None], np.maximum(room[:, at], 0.0)).sum(axis=0)
    return top


def _battery(problem: Problem, prices: Prices, hours: Floats) -> float:
    battery = problem.site.battery
    if battery is None:
        return 0.0
    stored, wear = prices.stored, battery.wear_per_wh * hours
    charge = -prices.site - wear + battery.efficiency_charge * hours * stored
    discharge = prices.site - wear - hours / battery.efficiency_discharge * stored
    total = battery.charge_max_w * float(np.maximum(charge, 0.0).sum())
    total += battery.discharge_max_w * float(np.maximum(discharge, 0.0).sum())
    change = np.concatenate((stored[1:], [0.0])) - stored
    low = np.zeros(len(hours))
    low[-1] = min(battery.soc_end_wh, battery.energy_wh)
    return total + _box(change, low, np.full(len(hours), battery.energy_wh)) + float(stored[0]) * battery.soc_now_wh
