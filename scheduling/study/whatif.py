# SPDX-License-Identifier: Apache-2.0
"""What-if questions to a plan: why a group is off, and the value of more power, a cheaper tariff, newer miners."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kernel.units import HS_PER_THS, WH_PER_MWH
from scheduling.explain import breakeven_per_wh, megawatts
from scheduling.plan import Plan
from scheduling.planner import make
from scheduling.problem.problem import Floats, Problem


@dataclass(frozen=True, slots=True)
class Change:
    """One question: `text` for people, and the change of the problem."""

    text: str
    apply: Callable[[Problem], Problem]


@dataclass(frozen=True, slots=True)
class Answer:
    """Value of a change over the horizon: planned value with it less without, between proven bounds `least`..`most`."""

    text: str
    worth: float
    least: float | None
    most: float | None
    energy_wh: float
    currency: str

    def to_json(self) -> dict[str, Any]:
        return {
            "change": self.text,
            "worth": self.worth,
            "least": self.least,
            "most": self.most,
            "energy_wh": self.energy_wh,
            "currency": self.currency,
        }


def whatif(problem: Problem, change: Change, *, base: Plan | None = None) -> Answer:
    """Plan with and without the change; the proven gaps of both bound the difference."""
    before = make(problem, why_now="what if") if base is None else base
    after = make(change.apply(problem), why_now="what if")
    least = None if before.bound is None else after.value - before.bound
    most = None if after.bound is None else after.bound - before.value
    energy = float(((after.power_w - before.power_w) * problem.slots.hours).sum())
    return Answer(change.text, after.value - before.value, least, most, energy, problem.currency)


def more_import(watts: float) -> Change:
    """A larger connection: import cap and orders stay rules, only the cap rises."""

    def apply(problem: Problem) -> Problem:
        return replace(problem, site=replace(problem.site, import_cap_w=problem.site.import_cap_w + watts))

    return Change(f"{megawatts(watts)} more import", apply)


def more_feeder(name: str, watts: float) -> Change:
    """A larger feeder. Raises KeyError that lists the feeders."""

    def apply(problem: Problem) -> Problem:
        names = problem.site.feeder_names
        if name not in names:
            raise KeyError(f"no feeder {name!r}: {', '.join(names)}")
        cap = problem.site.feeder_cap_w.copy()
        cap[names.index(name)] += watts
        return replace(problem, site=replace(problem.site, feeder_cap_w=cap))

    return Change(f"{megawatts(watts)} more on {name}", apply)


def full_feeders(plan: Plan) -> tuple[str, ...]:
    """Feeders that keep a unit off: in some slot some of their units are off, and the smallest would not fit."""
    problem, groups = plan.problem, plan.problem.groups
    step = problem.step_w()
    drawn = np.einsum("gm,gmt->gt", step, plan.counts.astype(np.float64))
    spare = problem.feeder_room_w().copy()
    np.subtract.at(spare, groups.feeder, drawn)
    off = groups.units[:, None] > plan.counts.sum(axis=1)
    kept = np.any(off & (step[:, :1] > spare[groups.feeder]), axis=1)
    return tuple(problem.site.feeder_names[at] for at in np.unique(groups.feeder[kept]).tolist())


def cheaper(percent: float) -> Change:
    """All energy prices lower by a share."""

    def apply(problem: Problem) -> Problem:
        price = problem.site.energy_price_per_wh * (1 - percent / 100)
        return replace(problem, site=replace(problem.site, energy_price_per_wh=price))

    return Change(f"energy {percent:g} % cheaper", apply)


def hashprice(percent: float) -> Change:
    """Hashing worth more (or, negative, less) by a share."""

    def apply(problem: Problem) -> Problem:
        return replace(problem, hash_value_per_hs_s=problem.hash_value_per_hs_s * (1 + percent / 100))

    return Change(f"hashprice {percent:+g} %", apply)


def newer_miners(group: str, power_w: Floats, hashrate_hs: Floats) -> Change:
    """The units of a group replaced one for one by a model with these modes (as many as the fleet has)."""

    def apply(problem: Problem) -> Problem:
        groups = problem.groups
        if group not in groups.names:
            raise KeyError(f"no group {group!r}: {', '.join(groups.names)}")
        at = groups.names.index(group)
        power, rate = groups.mode_power_w.copy(), groups.mode_hashrate_hs.copy()
        power[at], rate[at] = power_w, hashrate_hs
        return replace(problem, groups=replace(groups, mode_power_w=power, mode_hashrate_hs=rate))

    joule = float(power_w[-1] / (hashrate_hs[-1] / HS_PER_THS))
    return Change(f"{group} replaced by miners of {joule:.1f} J/TH", apply)


def without_order(order: str) -> Change:
    """Cost of an order: the plan without it."""

    def apply(problem: Problem) -> Problem:
        return replace(problem, orders=tuple(one for one in problem.orders if one.id != order))

    return Change(f"without order {order}", apply)


def why_off(plan: Plan, group: str, slot: int) -> str:
    """Reason why units of a group are off in a slot, as text with numbers. Raises KeyError for an unknown group."""
    problem, groups = plan.problem, plan.problem.groups
    if group not in groups.names:
        raise KeyError(f"no group {group!r}: {', '.join(groups.names)}")
    at = groups.names.index(group)
    off = int(groups.units[at] - plan.counts[at, :, slot].sum())
    if not off:
        return f"all {int(groups.units[at])} units of {group} are on"
    head = f"{off} of {int(groups.units[at])} units of {group} are off: "
    breakeven = float(breakeven_per_wh(problem)[at, slot]) * WH_PER_MWH
    energy = float((problem.money_per_w() / problem.slots.hours)[slot]) * WH_PER_MWH
    shadow = float(plan.site_price_per_wh[slot]) * WH_PER_MWH
    money = f"{problem.currency}/MWh"
    if breakeven <= energy:
        return head + f"power costs {energy:.2f} {money}, they earn {breakeven:.2f}"
    if int(groups.locked_off[at, slot]):
        return head + f"{int(groups.locked_off[at, slot])} are within their minimum off-time or cannot wake"
    if breakeven <= shadow:
        return (
            head + f"{plan.reasons[slot]}: that makes power worth {shadow:.2f} {money} here, they earn {breakeven:.2f}"
        )
    feeder = int(groups.feeder[at])
    step = problem.step_w()
    same = groups.feeder == feeder
    drawn = float(np.einsum("gm,gm->", step[same], plan.counts[same, :, slot].astype(np.float64)))
    room = float(problem.feeder_room_w()[feeder, slot])
    if drawn + step[at, 0] > room:
        return (
            head + f"{problem.site.feeder_names[feeder]} is full at {megawatts(room)}, and others on it earn more per W"
        )
    if groups.starts_left[at] >= 0 and int(plan.starts[at].sum()) >= int(groups.starts_left[at]):
        return head + f"the start budget of {int(groups.starts_left[at])} is used up"
    start = float(problem.start_money()[at, slot])
    return head + f"a start costs {start:.4f} {problem.currency} a unit, more than the hours ahead would earn"
