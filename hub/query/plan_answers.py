# SPDX-License-Identifier: Apache-2.0
"""What is asked of a plan, as one JSON object each: why groups are off and what changes are worth; what can be offered.

The same for the command line and the API; every answer plans anew from what the state holds at the instant.
"""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from grid.limit import Priority
from grid.tariff import Tariff
from hub.config import Config
from hub.config.models import Auction
from hub.config.observe_only import WHY, marked
from hub.control.plan_duty import problem_at, tomorrow
from hub.market.price_duty import MARKET, REAL_TIME
from hub.query.flexibility import blind
from hub.state.fold import HubState
from hub.state.site import SiteState
from hub.state.situation import SiteSituation
from kernel.clock import from_datetime, iso, to_datetime
from kernel.errors import ConfigError, Fault
from kernel.span import local_day
from kernel.units import W_PER_MW, WH_PER_MWH
from scheduling.offer.hedge import errors_by_day, scenarios_of
from scheduling.offer.offers import availability, bid_curve, imbalance_risk, nothing, reserve_offers
from scheduling.planner import make
from scheduling.problem.problem import Problem
from scheduling.study.whatif import (
    Change,
    cheaper,
    full_feeders,
    hashprice,
    more_feeder,
    more_import,
    newer_miners,
    whatif,
    why_off,
    without_order,
)

BY_HOURS = ((3_600.0, 259_200.0),)
"""Bids are for whole hours: three days of them hold every delivery day that an auction may sell."""
FEEDER_STEP_W, FEEDERS_ASKED = 100_000.0, 3
"""Each question is one plan more, so that only a few full feeders are asked about."""


def explained(config: Config, state: HubState, site: SiteState, tariff: Tariff, now: SiteSituation) -> dict[str, Any]:
    """Why each group of miners is off or on now, and what one more MW, a cheaper tariff, a newer model would be worth."""
    problem = problem_at(config, state, site, tariff, now)
    base = make(problem, why_now="asked")
    on = base.on()
    groups = [
        {"group": name, "on": int(on[at, 0]), "of": int(problem.groups.units[at]), "why": why_off(base, name, 0)}
        for at, name in enumerate(problem.groups.names)
    ]
    asked = [without_order(order.id) for order in problem.orders if order.priority is Priority.DISPATCHER]
    feeders = [more_feeder(name, FEEDER_STEP_W) for name in full_feeders(base)[:FEEDERS_ASKED]]
    changes = [more_import(1e6), *feeders, cheaper(10.0), hashprice(10.0), *_renewal(problem), *asked]
    answers = [whatif(problem, change, base=base).to_json() for change in changes]
    answer = {"site": site.key, "value": base.value, "currency": problem.currency, "groups": groups, "what_if": answers}
    return marked(site.config, answer)


def _renewal(problem: Problem) -> list[Change]:
    """The least efficient group replaced by miners of the site's most efficient one."""
    groups = problem.groups
    if len(groups.names) < 2:
        return []
    worth = groups.mode_hashrate_hs[:, -1] / groups.mode_power_w[:, -1]
    worst, best = int(np.argmin(worth)), int(np.argmax(worth))
    if worst == best:
        return []
    return [newer_miners(groups.names[worst], groups.mode_power_w[best], groups.mode_hashrate_hs[best])]


def auction_on(auctions: Sequence[Auction], day: date) -> Auction | None:
    """The edition of the auction's rule that holds on a day. Raises ConfigError where two do."""
    found = [one for one in auctions if one.valid_from <= day and (one.valid_to is None or day < one.valid_to)]
    if len(found) > 1:
        raise ConfigError(
            [Fault("planning.auctions", f"{len(found)} editions hold on {day}", "End the earlier one before")]
        )
    return found[0] if found else None


def deadlines(auction: Auction, now_ms: int) -> dict[str, Any]:
    """Until when bids for the next auction must stand (and be paid), and which day's energy it sells: after today's hour it
    is tomorrow's auction for the day after."""
    zone = ZoneInfo(auction.zone)
    today = to_datetime(now_ms).astimezone(zone).date()

    def at(day: date, text: str) -> int:
        return from_datetime(datetime.combine(day, time.fromisoformat(text), zone))

    held = today if now_ms < at(today, auction.input_until) else today + timedelta(days=1)
    paid = None if auction.prepay_until is None else at(held, auction.prepay_until)
    return {
        "auction": str(held),
        "delivery": str(held + timedelta(days=1)),
        "input_until": iso(at(held, auction.input_until)),
        "prepay_until": None if paid is None else iso(paid),
        "prepay_missed": paid is not None and paid <= now_ms,
        "zone": auction.zone,
        "source": auction.source,
    }


def offered(
    config: Config, state: HubState, site: SiteState, tariff: Tariff, now: SiteSituation, reserve_w: float | None = None
) -> dict[str, Any]:
    """Availability per slot, the bid curve for the next auction with its deadlines, reserve prices, and what to buy ahead.

    A site that only observes offers nothing: no power up or down, no bid, no reserve, nothing bought ahead.
    """
    now_ms = now.now_ms
    problem = problem_at(config, state, site, tariff, now)
    plan = make(problem, why_now="offers")
    slots, observing = problem.slots, site.config.observe_only
    free = nothing(plan, WHY) if observing else availability(plan, blind(site, now.meters_w))
    lines: list[dict[str, Any]] = [
        {
            "start": iso(int(at)), "planned_w": float(plan.power_w[slot]), "down_w": float(free.down_w[slot]),
            "down_modes_w": float(free.down_modes_w[slot]), "up_w": float(free.up_w[slot]),
            "why_not_more": free.why_not_more[slot],
        }
        for slot, at in enumerate(slots.starts_ms)
    ]  # fmt: skip
    auction = auction_on(config.planning.auctions, to_datetime(now_ms).astimezone(ZoneInfo(site.config.zone)).date())
    calendar = None if auction is None else deadlines(auction, now_ms)
    day = None if calendar is None else local_day(date.fromisoformat(calendar["delivery"]), ZoneInfo(calendar["zone"]))
    by_hours = config.planning.model_copy(update={"horizon": BY_HOURS})
    hourly = problem_at(config.model_copy(update={"planning": by_hours}), state, site, tariff, now)
    hours = hourly.slots
    bids: list[dict[str, Any]] = [
        {
            "start": iso(int(hours.starts_ms[bid.slot])),
            "end": iso(int(hours.edges_ms[bid.slot + 1])),
            "steps": [
                {"price_per_mwh": price * WH_PER_MWH, "energy_mwh": energy / WH_PER_MWH}
                for price, energy in zip(bid.prices_per_wh, bid.energy_wh, strict=True)
            ],
        }
        for bid in (bid_curve(hourly) if day is not None and not observing else ())
        if day is not None and day.holds(int(hours.starts_ms[bid.slot]))
    ]
    reserve = []
    if reserve_w is not None and not observing:
        block_of = (np.cumsum(slots.hours) - slots.hours) // 4
        reserve = [
            {"block": offer.block, "power_w": offer.power_w, "least_price_per_mw": offer.price_per_w * W_PER_MW}
            for offer in reserve_offers(problem, reserve_w, block_of.astype(np.int64))
        ]
    reported = None if observing else tomorrow(config, site, problem, state.all_curves(), now_ms)
    risk = None
    if reported is not None:
        zone, rng = ZoneInfo(site.config.zone), np.random.default_rng(now_ms // 1000)
        errors = errors_by_day(state.all_curves(), MARKET, REAL_TIME, zone, now_ms)
        mean, worst = imbalance_risk(plan, scenarios_of(problem, zone, errors, 200, rng))
        risk = {**reported.to_json(slots), "imbalance_mean": mean, "imbalance_worst": worst}
    return marked(site.config, {
        "site": site.key, "as_of": iso(now_ms), "currency": problem.currency, "availability": lines, "auction": calendar,
        "bids": bids, "reserve": reserve, "tomorrow": risk, "facts": dict(problem.facts),
    })  # fmt: skip
