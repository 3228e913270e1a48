# SPDX-License-Identifier: Apache-2.0
"""Explanation of a plan: the binding rule of each slot, with its numbers."""

from typing import NamedTuple

import numpy as np

from grid.limit import STANDING
from kernel.units import W_PER_KW, W_PER_MW, WH_PER_MWH
from scheduling.problem.problem import Floats, Ints, Problem


class Limiting(NamedTuple):
    """An order that limits the plan in a slot: the site's (`feeder` "") or that of a feeder, with its power."""

    slot: int
    feeder: str
    order: str
    power_w: float


def megawatts(watts: float) -> str:
    """Watts as text: kW below 10 MW, else MW."""
    return f"{watts / W_PER_MW:.2f} MW" if abs(watts) >= 1e7 else f"{watts / W_PER_KW:.1f} kW"


def breakeven_per_wh(problem: Problem) -> Floats:
    """Power price at which a group's best mode earns nothing, shape [group, slot], by hash value and efficiency."""
    step, rate = problem.step_w(), problem.groups.mode_hashrate_hs
    best = np.max(np.divide(rate, step, out=np.zeros_like(rate), where=step > 0), axis=1)
    worth = problem.slot_value() / problem.slots.hours
    found: Floats = best[:, None] * worth[None, :]
    return found


def reasons(problem: Problem, counts: Ints, site_w: Floats) -> tuple[str, ...]:
    """The binding reason of each slot. The tolerance is one unit's largest step: below it no unit could move."""
    site, groups = problem.site, problem.groups
    on = counts.sum(axis=1)
    step_w = float(groups.mode_power_w.max(initial=1.0))
    feeders = _full_feeders(problem, counts)
    breakeven = breakeven_per_wh(problem)
    top_counts = _at_top(problem, counts)
    peak = float(site_w.max(initial=0.0))
    price = problem.money_per_w() / problem.slots.hours
    pays = breakeven > price
    eager = (pays & (on < groups.units[:, None])).any(axis=0) | ~top_counts
    refused, idle = (~pays).sum(axis=0), ~on.any(axis=0)
    texts = []
    for t, power in enumerate(site_w):
        cap = float(site.import_cap_w[t])
        orders = [o for o in problem.orders if o.first <= t <= o.last and power > o.power_w - step_w]
        before = site.power_now_w if t == 0 else float(site_w[t - 1])
        wants_more = bool(eager[t])
        if orders:
            tightest = min(orders, key=lambda order: order.power_w)
            text = f"order {tightest.id} holds {megawatts(tightest.power_w)}"
        elif power > cap - step_w:
            text = f"import cap {megawatts(cap)}"
        elif top_counts[t]:
            text = "every unit runs in its highest mode allowed"
        elif np.isfinite(site.ramp_w[t]) and abs(power - before) > site.ramp_w[t] - step_w:
            text = f"ramp of {megawatts(float(site.ramp_w[t]))} per slot"
        elif feeders[t] and wants_more and len(feeders[t]) * 2 >= len(site.feeder_names):
            text = "feeders full: " + ", ".join(feeders[t][:4]) + (" ..." if len(feeders[t]) > 4 else "")
        elif site.peak_price_per_w > 0 and power > peak - step_w and peak > step_w and wants_more:
            text = f"peak charge: {megawatts(peak)} is the highest worth paying for"
        elif idle[t] and bool(pays[:, t].any()):
            text = "off by minimum times or the cost of a start: the price alone would pay"
        elif idle[t]:
            text = f"price {price[t] * WH_PER_MWH:.2f} {problem.currency}/MWh above every group's breakeven"
        else:
            count = int(refused[t])
            text = f"price {price[t] * WH_PER_MWH:.2f} {problem.currency}/MWh: {count} of {len(groups.names)} groups do not pay"
            if not count:
                text = (
                    f"price {price[t] * WH_PER_MWH:.2f} {problem.currency}/MWh: every group pays, higher modes do not"
                )
            if feeders[t]:
                text += f"; {len(feeders[t])} feeders full"
        texts.append(text)
    return tuple(texts)


def limiting(problem: Problem, counts: Ints, site_w: Floats) -> tuple[Limiting, ...]:
    """The orders that limit the plan, by slot: site orders that its power reaches to within one unit's largest step, and
    those of full feeders."""
    step_w = float(problem.groups.mode_power_w.max(initial=1.0))
    full = _full_feeders(problem, counts) if problem.feeder_orders else []
    found = [
        Limiting(t, "", order.id, order.power_w)
        for order in problem.orders
        if order.priority not in STANDING
        for t in range(order.first, order.last + 1)
        if site_w[t] > order.power_w - step_w
    ]
    found += [
        Limiting(t, order.scope, order.id, order.power_w)
        for order in problem.feeder_orders
        for t in range(order.first, order.last + 1)
        if order.name in full[t]
    ]
    return tuple(sorted(set(found)))


def _full_feeders(problem: Problem, counts: Ints) -> list[list[str]]:
    site, groups = problem.site, problem.groups
    step = problem.step_w()
    drawn = np.zeros(site.feeder_cap_w.shape)
    np.add.at(drawn, groups.feeder, np.einsum("gm,gmt->gt", step, counts.astype(np.float64)))
    smallest = np.full(len(site.feeder_names), np.inf)
    np.minimum.at(smallest, groups.feeder, step[:, 0])
    full = drawn > problem.feeder_room_w() - smallest[:, None]
    return [[site.feeder_names[f] for f in np.flatnonzero(full[:, t])] for t in range(full.shape[1])]


def _at_top(problem: Problem, counts: Ints) -> np.ndarray:
    """Whether every unit is in the highest mode that its slot allows, shape [slot]."""
    power = problem.groups.mode_power_w
    result = np.zeros(counts.shape[2], dtype=bool)
    for top in np.unique(problem.site.mode_max):
        at = np.flatnonzero(problem.site.mode_max == top)
        best = power >= power[:, : int(top) + 1].max(axis=1)[:, None]
        reached = np.einsum("gmt,gm->gt", counts[:, :, at], best.astype(np.int64))
        result[at] = np.all(reached >= problem.groups.units[:, None], axis=0)
    return result
