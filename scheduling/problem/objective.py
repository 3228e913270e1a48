# SPDX-License-Identifier: Apache-2.0
"""Objective of a planning problem: power and money of given counts. The checker has its own formula."""

from dataclasses import dataclass

import numpy as np

from scheduling.problem.problem import Floats, Ints, Problem, Reserve


@dataclass(frozen=True, slots=True)
class Valuation:
    """Power per slot and money over the horizon. `value` is income less costs."""

    flexible_w: Floats
    site_w: Floats
    reserve_down_w: Floats
    reserve_up_w: Floats
    hash_income: float
    reserve_income: float
    energy_cost: float
    coincident_cost: float
    start_cost: float
    peak_cost: float
    take_cost: float
    wear_cost: float

    @property
    def value(self) -> float:
        income = self.hash_income + self.reserve_income
        costs = self.energy_cost + self.coincident_cost + self.start_cost + self.peak_cost + self.take_cost
        return income - costs - self.wear_cost

    def parts(self) -> dict[str, float]:
        """The signed sums that make up the value, for people."""
        return {
            "hash_income": self.hash_income,
            "reserve_income": self.reserve_income,
            "energy": -self.energy_cost,
            "coincident_peak": -self.coincident_cost,
            "starts": -self.start_cost,
            "peak": -self.peak_cost,
            "take_or_pay": -self.take_cost,
            "battery_wear": -self.wear_cost,
        }


def switches(on_now: Ints, on: Ints) -> tuple[Ints, Ints]:
    """(starts, stops) per group and slot: the fewest that turn each count into the next."""
    change = np.diff(on, axis=1, prepend=on_now[:, None])
    return np.maximum(change, 0), np.maximum(-change, 0)


def flexible_power_w(problem: Problem, counts: Ints) -> Floats:
    """Power of the miners above sleep, shape [slot]."""
    found: Floats = np.einsum("gm,gmt->t", problem.step_w(), counts.astype(np.float64))
    return found


def held(reserve: Reserve | None, room_w: Floats) -> Floats:
    """The most of a reserve product that the room of each block allows, shape [block]."""
    if reserve is None:
        return np.zeros(0)
    amount = np.zeros(len(reserve.price_per_w))
    for block, price in enumerate(reserve.price_per_w):
        inside = reserve.block_of == block
        if price > 0 and bool(np.any(inside)):
            amount[block] = max(0.0, min(reserve.max_w, float(room_w[inside].min())))
    return amount


def worth(
    problem: Problem,
    counts: Ints,
    *,
    charge_w: Floats | None = None,
    discharge_w: Floats | None = None,
    spill_w: Floats | None = None,
) -> Valuation:
    """Power and money of counts[g, m, t], with the battery's charge and discharge and the spilled generation."""
    site, groups, hours = problem.site, problem.groups, problem.slots.hours
    count = len(problem.slots)
    charge = np.zeros(count) if charge_w is None else charge_w
    discharge = np.zeros(count) if discharge_w is None else discharge_w
    flexible = flexible_power_w(problem, counts)
    net = flexible + problem.base_w() + charge - discharge - site.generation_w
    site_w = net + (np.clip(-net, 0.0, None) if spill_w is None else spill_w)

    starts, _ = switches(groups.on_now, counts.sum(axis=1))
    rate = np.einsum("gm,gmt->t", groups.mode_hashrate_hs, counts.astype(np.float64))
    down = held(site.reserve_down, flexible)
    up = held(site.reserve_up, problem.cap_w() - site_w)
    reserve_income = sum(
        float(product.price_per_w @ amount)
        for product, amount in ((site.reserve_down, down), (site.reserve_up, up))
        if product is not None
    )
    energy_wh = site_w * hours
    take_cost = sum(
        take.penalty_per_wh * max(0.0, take.energy_wh - float(energy_wh[take.first : take.last + 1].sum()))
        for take in site.takes
    )
    peak = max(0.0, float(site_w.max(initial=0.0)) - site.peak_so_far_w)
    wear = 0.0 if site.battery is None else site.battery.wear_per_wh * float(((charge + discharge) * hours).sum())
    return Valuation(
        flexible_w=flexible,
        site_w=site_w,
        reserve_down_w=down,
        reserve_up_w=up,
        hash_income=float(rate @ problem.slot_value()),
        reserve_income=reserve_income,
        energy_cost=float(site.energy_price_per_wh @ energy_wh),
        coincident_cost=float(site.coincident_price_per_w @ site_w),
        start_cost=float((starts * problem.start_money()).sum()),
        peak_cost=site.peak_price_per_w * peak,
        take_cost=take_cost,
        wear_cost=wear,
    )
