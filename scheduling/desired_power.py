# SPDX-License-Identifier: Apache-2.0
"""Desired demand of the site before any limit: the plan's, or else the operating point before the limit.

A plan made under an order says nothing about the slots held down by it once the order has ended or was loosened: until the
next plan the units return to their operating point, as on a site without prices.
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
class DesiredPower:
    """`plan_w`: demand desired by the plan, None without a plan; `more_w`: additional miner power at the operating point;
    `fleet`: with the ceilings that allocation has to keep."""

    plan_w: float | None
    more_w: float
    reason: Reason
    fleet: Fleet


def desired_power(
    now_ms: int, site: str, fleet: Fleet, schedule: Schedule | None, limits: Sequence[Limit]
) -> DesiredPower:
    """The plan's demand; where no plan is valid at this instant, the operating point.

    `limits`: all that have not ended, including those that begin later.
    """
    found = None if schedule is None else schedule.at(now_ms)
    ended: list[Limiting] = []
    if schedule is not None and found is not None:
        holding = schedule.limiting(now_ms)
        ended = [one for one in holding if not _in_force(one, site, limits, now_ms)]
        if not ended:
            demand_w = found[0] + schedule.behind_meter_w(now_ms)
            return DesiredPower(demand_w, 0.0, Reason(Rule.LIMIT if holding else Rule.PLAN, f"plan: {found[1]}"), fleet)
    why = f"order {ended[0].order} of the plan has ended" if ended else "no plan covers this instant"
    rising = int(below(fleet).sum())
    units = "1 unit returns" if rising == 1 else f"{rising} units return"
    back = Reason(Rule.RESTORE, f"{why}: {units} to the operating point before the limit")
    capped, more_w = restoring(fleet)
    return DesiredPower(None, more_w, back if rising else Reason(Rule.HOLD, f"{why}: hold"), capped)


def _in_force(one: Limiting, site: str, limits: Sequence[Limit], now_ms: int) -> bool:
    scope = f"{site}/{one.feeder}" if one.feeder else site
    return any(
        limit.rule.removeprefix("order ") == one.order
        and limit.scope == scope
        and limit.span.end_ms > now_ms
        and limit.power_w <= one.power_w * (1.0 + ROUNDING)
        for limit in limits
    )
