# SPDX-License-Identifier: Apache-2.0
"""Offers to the grid: power up and down per slot, reserve with its price, bids for tomorrow's auction.

All are derived from a plan and its fleet: nothing is offered that minimum times, history, feeders or caps forbid.
"""

from dataclasses import dataclass, replace

import numpy as np

from scheduling.control import MARGIN
from scheduling.plan import Plan
from scheduling.problem.problem import Floats, Problem
from scheduling.solve.lagrangian import certified
from scheduling.solve.mode_steps import all_mode_steps


@dataclass(frozen=True, slots=True)
class Availability:
    """Per slot, in W at the meter: possible reduction of the planned power (`down_w`, of which `down_modes_w` without
    switching a unit) and possible rise (`up_w`) at once, with the obstacles to more."""

    down_w: Floats
    down_modes_w: Floats
    up_w: Floats
    why_not_more: tuple[str, ...]


def availability(plan: Plan, blind: str = "") -> Availability:
    """Free power of a plan in each slot. Units bound by minimum times neither stop nor start.

    Up keeps the control step's margin below each cap, and leaves room for unexplained meter readings; in the running slot
    also for the present meter reading. `blind`: reason why nothing is raised now, so that the running slot offers no up.
    """
    problem, groups = plan.problem, plan.problem.groups
    step, on, slots_n = problem.step_w(), plan.on(), len(problem.slots)
    drawn = np.einsum("gm,gmt->gt", step, plan.counts.astype(np.float64))
    low = on * step[:, :1]
    bound_on = _bound(plan, on=True)
    bound_off = _bound(plan, on=False)
    down_modes = (drawn - low).sum(axis=0)
    floor = np.maximum(problem.site.heat_w - float(groups.units @ groups.sleep_w), 0.0)
    down = np.minimum((drawn - np.minimum(bound_on, on) * step[:, :1]).sum(axis=0), drawn.sum(axis=0) - floor)
    top = np.empty((len(groups.units), slots_n))
    for mode_max, mode_sets in all_mode_steps(problem).items():
        top[:, problem.site.mode_max == mode_max] = mode_sets.top_w[:, None]
    startable = np.maximum(groups.units[:, None] - on - bound_off, 0)
    could = (on + startable) * top
    room = problem.feeder_room_w() * (1.0 - MARGIN)
    if problem.site.feeder_unexplained_w is not None:
        room = room - problem.site.feeder_unexplained_w[:, None]
    feeders = np.zeros(room.shape)
    np.add.at(feeders, groups.feeder, could)
    reachable = np.minimum(feeders, room).sum(axis=0)
    rise = np.maximum(reachable - drawn.sum(axis=0), 0.0)
    cap_w = problem.cap_w() * (1.0 - MARGIN)
    taken_w = plan.power_w + problem.site.unexplained_w
    taken_w[:1] = np.maximum(taken_w[:1], problem.site.power_now_w)
    left = np.maximum(cap_w - taken_w, 0.0)
    up = np.minimum(rise, left)
    if blind:
        up[:1] = 0.0
    why = []
    for t in range(slots_n):
        texts = [blind] if blind and t == 0 else []
        if bound_on[:, t].sum():
            texts.append(f"{int(bound_on[:, t].sum())} units within their minimum on-time")
        if bound_off[:, t].sum():
            texts.append(f"{int(bound_off[:, t].sum())} units within their minimum off-time")
        if left[t] < rise[t]:
            texts.append("the site's cap")
        if feeders[:, t].sum() > reachable[t] + 1:
            texts.append("full feeders")
        why.append(", ".join(texts) or "nothing")
    return Availability(np.maximum(down, 0.0), down_modes, up, tuple(why))


def nothing(plan: Plan, why: str) -> Availability:
    """The availability of a plan from which nothing may be offered, with the reason."""
    none = np.zeros(len(plan.problem.slots))
    return Availability(none, none, none, (why,) * len(none))


def _bound(plan: Plan, *, on: bool) -> Floats:
    """Units that may not be switched off (or on) in each slot because of their last switching, shape [group, slot]."""
    groups, starts_ms = plan.problem.groups, plan.problem.slots.starts_ms
    switched = plan.starts if on else plan.stops
    hold_ms = (groups.min_on_s if on else groups.min_off_s) * 1000
    found = (groups.locked_on if on else groups.locked_off).astype(np.float64)
    for t in range(len(starts_ms)):
        ago_ms = starts_ms[t] - starts_ms[: t + 1]
        serving = ago_ms[None, :] < hold_ms[:, None]
        serving[:, t] = False
        found[:, t] += (switched[:, : t + 1] * serving).sum(axis=1)
    return found


@dataclass(frozen=True, slots=True)
class ReserveOffer:
    """Power that can be held down through a block, and the lowest price (money per W and block) that covers its cost."""

    block: int
    power_w: float
    price_per_w: float


def reserve_offers(problem: Problem, power_w: float, block_of: np.ndarray) -> tuple[ReserveOffer, ...]:
    """Offers of `power_w` held through each block: the price is the best plan's loss from never drawing less there.

    One plan without and one for each block; prices are rounded up by both plans' proven gaps, so that none is a loss.
    """
    free = certified(problem)
    if free is None or free.bound is None:
        return ()
    asleep_w = float(problem.groups.units @ problem.groups.sleep_w)
    offers = []
    for block in range(int(block_of.max(initial=-1)) + 1):
        inside = block_of == block
        heat = np.where(inside, power_w + asleep_w, problem.site.heat_w)
        bound_plan = certified(
            replace(problem, site=replace(problem.site, heat_w=np.maximum(problem.site.heat_w, heat)))
        )
        if bound_plan is not None:
            offers.append(ReserveOffer(block, power_w, max(0.0, free.bound - bound_plan.value) / power_w))
    return tuple(offers)


@dataclass(frozen=True, slots=True)
class Bid:
    """For one slot: energy demanded (Wh) at or below each price (money per Wh), prices falling, energy rising."""

    slot: int
    prices_per_wh: tuple[float, ...]
    energy_wh: tuple[float, ...]


def bid_curve(
    problem: Problem, factors: tuple[float, ...] = (4.0, 2.0, 1.5, 1.2, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0)
) -> tuple[Bid, ...]:
    """Price and volume steps per slot for a central auction of tomorrow's energy.

    The day is planned at the whole price curve times each factor, so that a bid includes the coupling of its hours (starts,
    minimum times, peak). Volumes are made monotone: at a lower price never less.
    """
    energy, prices = [], []
    for factor in sorted(factors, reverse=True):
        price = problem.site.energy_price_per_wh * factor
        plan = certified(replace(problem, site=replace(problem.site, energy_price_per_wh=price)))
        if plan is not None:
            energy.append(plan.power_w * problem.slots.hours)
            prices.append(price)
    if not energy:
        return ()
    asked, volume = np.array(prices), np.array(energy)
    order = np.argsort(-asked, axis=0, kind="stable")
    asked = np.take_along_axis(asked, order, axis=0)
    volume = np.maximum.accumulate(np.take_along_axis(volume, order, axis=0), axis=0)
    return tuple(Bid(t, tuple(asked[:, t].tolist()), tuple(volume[:, t].tolist())) for t in range(len(problem.slots)))


def imbalance_risk(plan: Plan, real_per_wh: Floats) -> tuple[float, float]:
    """(mean, worst) additional cost of running the plan over scenarios real_per_wh[s, t], with no energy bought ahead, money.
    Stopping units when they no longer pay would only lower it."""
    planned = plan.problem.site.energy_price_per_wh
    energy = np.maximum(plan.power_w, 0.0) * plan.problem.slots.hours
    more = (real_per_wh - planned[None, :]) @ energy
    return float(more.mean()), float(more.max())
