# SPDX-License-Identifier: Apache-2.0
"""Rolling-horizon decisions for many instants at once: stop losses and start gains by forecast prices.

A unit's best decision depends on the prices ahead and not on other units, so that the dynamic programme of `bound` runs for
all instants of a day in parallel: arrays are [instant, group], the loop is over steps ahead.
"""

import numpy as np

from scheduling.problem.problem import Floats, Groups, Ints
from scheduling.solve.commitment import SwitchingValues


def _steps(hold_s: Floats, step_h: float) -> Ints:
    return np.maximum(np.ceil(hold_s / (step_h * 3600) - 1e-9), 1).astype(np.int64)


def alone(groups: Groups, margin: Floats, start_money: Floats, times: Floats, step_h: float) -> tuple[Floats, Floats]:
    """(starts, money earned at the starts' true cost) of all units over known slots, shape [time], where each group follows
    its own best path with a start valued at `times` its cost `start_money[g]`. `margin[g, t]` is money per unit on; all units
    are on at the beginning."""
    groups_n, slots_n = margin.shape
    cost = times[:, None] * start_money[None, :]
    total = np.concatenate((np.zeros((1, groups_n)), np.cumsum(margin.T, axis=0)))
    on, off = np.zeros((2, slots_n + 1, len(times), groups_n))
    columns, (hold, rest) = np.arange(groups_n), (_steps(groups.min_on_s, step_h), _steps(groups.min_off_s, step_h))
    stop_free = np.minimum(np.arange(slots_n)[:, None] + rest, slots_n)
    start_free = np.minimum(np.arange(slots_n)[:, None] + hold, slots_n)
    stops, begins = np.zeros((2, slots_n, len(times), groups_n), dtype=bool)
    gain = total[start_free, columns] - total[:-1]
    for t in range(slots_n - 1, -1, -1):
        stay, leave = margin[:, t] + on[t + 1], off[stop_free[t], :, columns].T
        wait, begin = off[t + 1], gain[t] - cost + on[start_free[t], :, columns].T
        stops[t], begins[t] = leave > stay, begin > wait
        on[t], off[t] = np.maximum(stay, leave), np.maximum(wait, begin)
    state, free = np.ones((len(times), groups_n), dtype=bool), np.zeros((len(times), groups_n), dtype=np.int64)
    begun, earned = np.zeros((2, len(times), groups_n))
    for t in range(slots_n):
        turn = np.where(state, stops[t], begins[t]) & (free <= t)
        if turn.any():
            free = np.where(turn, np.where(state, stop_free[t], start_free[t]), free)
            begun += turn & ~state
            state = state ^ turn
        earned += state * margin[:, t]
    return begun @ groups.units, (earned - begun * start_money) @ groups.units


def rolling_switching_values(
    groups: Groups, price_per_wh: Floats, hash_value: Floats, step_h: float, start_money: Floats
) -> SwitchingValues:
    """Stop loss and start gain of one unit of each group, shape [group, instant], at each instant.

    `price_per_wh[instant, step]` is the power price forecast at the instant (with all adders), `hash_value` money per H/s and
    slot, shape [instant]; `start_money[g]`. Beyond the last step nothing is earned or lost.
    """
    instants, steps = price_per_wh.shape
    watts = groups.mode_power_w - groups.sleep_w[:, None]
    on_steps, off_steps = _steps(groups.min_on_s, step_h), _steps(groups.min_off_s, step_h)
    shape = (steps + 1, instants, len(groups.units))
    margin, total, on, off = np.empty(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for step in range(steps):
        money = price_per_wh[:, step, None] * step_h
        best = groups.mode_hashrate_hs[:, 0] * hash_value[:, None] - watts[:, 0] * money
        for mode in range(1, watts.shape[1]):
            other = groups.mode_hashrate_hs[:, mode] * hash_value[:, None] - watts[:, mode] * money
            np.maximum(best, other, out=best)
        margin[step] = best
        np.add(total[step], best, out=total[step + 1])
    even = len(np.unique(on_steps)) == 1 and len(np.unique(off_steps)) == 1
    columns = np.arange(len(groups.units))
    for step in range(steps - 1, -1, -1):
        if even:
            resting, running = min(step + int(off_steps[0]), steps), min(step + int(on_steps[0]), steps)
            after_off, after_on = off[resting], total[running] + on[running]
        else:
            rest, run = np.minimum(step + off_steps, steps), np.minimum(step + on_steps, steps)
            after_off = off[rest, :, columns].T
            after_on = (total[run, :, columns] + on[run, :, columns]).T
        if step == 0:
            stop_loss = margin[0] + on[1] - after_off
            start_gain = after_on - total[0] - start_money - off[1]
            return SwitchingValues(np.ascontiguousarray(stop_loss.T), np.ascontiguousarray(start_gain.T))
        np.maximum(margin[step] + on[step + 1], after_off, out=on[step])
        np.maximum(off[step + 1], after_on - total[step] - start_money, out=off[step])
    raise ValueError("a forecast needs at least one step")
