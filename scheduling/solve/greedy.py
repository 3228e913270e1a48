# SPDX-License-Identifier: Apache-2.0
"""Merit-order rule: fallback plan, and lower benchmark for every other plan.

A unit runs where its hashing is worth more than its power, and is switched only where the minimum time ahead pays for the
start. No further look-ahead: no peak charge, no take-or-pay, no reserve. Caps, feeders, ramps, history are kept.
"""

import numpy as np

from scheduling.problem.problem import Floats, Ints, Problem, first_free
from scheduling.solve.commitment import Corridor, Reach, SwitchingValues, forward
from scheduling.solve.mode_steps import ModeSteps, all_mode_steps
from scheduling.solve.modes import fill
from scheduling.solve.ramp import ramped
from scheduling.solve.shares import shares, sorted_steps


def greedy(problem: Problem) -> Ints:
    """Counts per group, mode and slot by merit order."""
    site, slots_n = problem.site, len(problem.slots)
    mode_sets = all_mode_steps(problem)
    base_w = problem.base_w() - site.generation_w
    cap = cap_ahead_w(problem) - base_w
    price = problem.money_per_w()
    margin = _margin(problem, price)
    gain = np.concatenate((np.zeros((len(margin), 1)), np.cumsum(margin, axis=1)), axis=1)
    ahead_on, ahead_off = _until(problem, problem.groups.min_on_s), _until(problem, problem.groups.min_off_s)
    now = np.arange(slots_n)[None, :]
    run = np.take_along_axis(gain, ahead_on, axis=1) - np.take_along_axis(
        gain, np.broadcast_to(now, ahead_on.shape), axis=1
    )
    rest = np.take_along_axis(gain, ahead_off, axis=1) - np.take_along_axis(
        gain, np.broadcast_to(now, ahead_off.shape), axis=1
    )
    start_money = problem.start_money()
    switching_values = SwitchingValues(stop_loss=rest + start_money, start_gain=run - start_money)

    asleep_w = float(problem.groups.units @ problem.groups.sleep_w)
    heat = np.maximum(site.heat_w - asleep_w, 0.0)
    inner = _inner(site.ramp_w, problem)
    top_each = top_power_w(problem, mode_sets)
    corridor = Corridor(np.maximum(cap, 0.0), np.minimum(heat, np.maximum(cap, 0.0)))
    reach = Reach(site.power_now_w, inner, base_w) if site.battery is None else None
    on = forward(problem, switching_values, corridor, top_w=top_each, reach=reach)

    low = on.T.astype(np.float64) @ problem.step_w()[:, 0]
    top, desired_w = (on * top_each).sum(axis=0), low.copy()
    for mode_max, mode_steps in mode_sets.items():
        at = site.mode_max == mode_max
        pays = mode_steps.worth[:, :, None] * problem.slot_value()[None, None, at] > price[None, None, at]
        desired_w[at] += np.einsum(
            "gt,gk,gkt->t", on[:, at].astype(np.float64), mode_steps.watts, pays.astype(np.float64)
        )
    path = ramped(
        np.maximum(desired_w, heat) + base_w,
        low + base_w,
        np.minimum(top, np.maximum(cap, low)) + base_w,
        inner,
        site.power_now_w,
    )
    return fill(problem, on, path - base_w, mode_sets)


def top_power_w(problem: Problem, mode_sets: dict[int, ModeSteps]) -> Floats:
    """The highest power of a unit while all units of its feeder are on, shape [group, slot]."""
    top: Floats = np.empty((len(problem.groups.names), len(problem.slots)))
    for part in shares(
        problem, mode_sets, {mode_max: sorted_steps(problem, mode_steps) for mode_max, mode_steps in mode_sets.items()}
    ):
        top[:, part.slots] = part.power_w[:, -1:]
    return top


def _inner(ramp_w: Floats, problem: Problem) -> Floats:
    """The ramp less one unit's largest step, because modes fill a path only to within one step."""
    step = float(problem.groups.mode_power_w.max(initial=0.0))
    return np.where(ramp_w > 4 * step, ramp_w - step, ramp_w)


def cap_ahead_w(problem: Problem) -> Floats:
    """Site cap that also lets every later cap be reached within the ramp, shape [slot]."""
    cap = problem.cap_w()
    for t in range(len(cap) - 2, -1, -1):
        cap[t] = min(cap[t], cap[t + 1] + problem.site.ramp_w[t + 1])
    return cap


def _margin(problem: Problem, price: Floats) -> Floats:
    """Best money of one unit on through a slot, in any allowed mode, shape [group, slot]."""
    step, rate = problem.step_w(), problem.groups.mode_hashrate_hs
    best = np.full((len(step), len(price)), -np.inf)
    for mode in range(step.shape[1]):
        worth = rate[:, mode, None] * problem.slot_value()[None, :] - step[:, mode, None] * price[None, :]
        best = np.where(mode <= problem.site.mode_max[None, :], np.maximum(best, worth), best)
    return best


def _until(problem: Problem, hold_s: Floats) -> Ints:
    table = {float(hold): first_free(problem.slots, float(hold)) for hold in np.unique(hold_s)}
    return (
        np.stack([table[float(hold)] for hold in hold_s])
        if len(hold_s)
        else np.zeros((0, len(problem.slots)), np.int64)
    )
