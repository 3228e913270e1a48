# SPDX-License-Identifier: Apache-2.0
"""Demand of the site wanted at an instant before any limit: the plan's, or without a plan the operating point before the limit.

A plan that was made under an order says nothing of the slots which that order held down, once the order has ended or was
loosened: until the next plan the units return to where they were, as on a site that has no prices at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from grid.limit import Limit
from kernel.reason import Reason, Rule
from miner_control.control.restore import below, restoring
from miner_control.fleet.fleet import Fleet
from scheduling.explain import Limiting
from scheduling.plan import Schedule

ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Wish:
    """`plan_w` the demand that the plan wants, None without a plan; `more_w` that miners draw once they are back at their
    operating point; `fleet` with the ceilings that allocation has to keep."""

    plan_w: float | None
    more_w: float
    reason: Reason
    fleet: Fleet


def wish(now_ms: int, site: str, fleet: Fleet, schedule: Schedule | None, limits: Sequence[Limit]) -> Wish:
    """What the plan wants; where none holds at this instant, the operating point.

    `limits`: all that are not over, those that begin later included.
    """
    found = None if schedule is None else schedule.at(now_ms)
    ended: list[Limiting] = []
    if schedule is not None and found is not None:
        holding = schedule.limiting(now_ms)
        ended = [one for one in holding if not _in_force(one, site, limits, now_ms)]
        if not ended:
            demand_w = found[0] + schedule.behind_meter_w(now_ms)
            return Wish(demand_w, 0.0, Reason(Rule.LIMIT if holding else Rule.PLAN, f"plan: {found[1]}"), fleet)
    why = f"order {ended[0].order} of the plan has ended" if ended else "no plan covers this instant"
    rising = int(below(fleet).sum())
    units = "1 unit returns" if rising == 1 else f"{rising} units return"
    back = Reason(Rule.RESTORE, f"{why}: {units} to the operating point before the limit")
    capped, more_w = restoring(fleet)
    return Wish(None, more_w, back if rising else Reason(Rule.HOLD, f"{why}: hold"), capped)


def _in_force(one: Limiting, site: str, limits: Sequence[Limit], now_ms: int) -> bool:
    scope = f"{site}/{one.feeder}" if one.feeder else site
    return any(
        limit.rule.removeprefix("order ") == one.order
        and limit.scope == scope
        and limit.span.end_ms > now_ms
        and limit.power_w <= one.power_w * (1.0 + ROUNDING)
        for limit in limits
    )
