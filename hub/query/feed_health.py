# SPDX-License-Identifier: Apache-2.0
"""Feeds of curves as lines of feed health: fresh, stale, refused, never received, and what the hub plans on."""

from collections.abc import Mapping
from typing import Literal

from grid.price_plausibility import PriceRules, choose
from hub.config import Prices
from hub.market.price_duty import HASHPRICE, MARKET, FeedHealth
from hub.query.schema import Feed
from hub.state.fold import HubState
from kernel.units import MS_PER_HOUR, MS_PER_S

TITLES = {MARKET: ("price", "Power price"), HASHPRICE: ("hashprice", "Hashprice")}


def configured_feeds(feeds: Mapping[str, FeedHealth], now_ms: int) -> list[Feed]:
    """One line for each feed of the configuration: whether it answers, the curves that it gave, and what was refused."""
    return [_feed(name, health, now_ms) for name, health in feeds.items()]


def _feed(name: str, health: FeedHealth, now_ms: int) -> Feed:
    level: Literal["ok", "stale", "dead", "refused"]
    curves = ", ".join(sorted(health.given))
    if health.down_ms is not None:
        level, text = "dead", f"{health.text}; its last good curves hold"
    elif health.refused:
        first = next(iter(health.refused.values()))
        more = f" (and {len(health.refused) - 1} more)" if len(health.refused) > 1 else ""
        level, text = "refused", f"{first}{more}"
    elif not health.given:
        level, text = "stale", f"has given no curve yet{f' of {health.curve}' if health.curve else ''}"
    else:
        level, text = "ok", f"gives {curves}"
    age_s = None if health.answered_ms is None else (now_ms - health.answered_ms) / MS_PER_S
    return {"name": f"feed {name}", "title": f"Feed {name}", "state": level, "age_s": age_s, "text": text}


def price_feeds(state: HubState, prices: Prices, now_ms: int) -> list[Feed]:
    """One line for each curve that the planner needs; a refused file has its line until a good one takes its place."""
    lines = [_line(state, prices, name, now_ms) for name in TITLES]
    shown = {str(event.body["name"]) for event in state.refused.values()} & set(TITLES)
    for file, event in sorted(state.refused.items()):
        if event.body["name"] in shown:
            continue
        text = f"{event.body['refused']}; the last good one holds"
        age_s = (now_ms - event.at_ms) / 1000
        lines.append(
            {"name": f"file {file}", "title": f"File {file}", "state": "refused", "age_s": age_s, "text": text}
        )
    return lines


def _line(state: HubState, prices: Prices, name: str, now_ms: int) -> Feed:
    curves = state.curves.get(name, [])
    unit = f"{prices.currency}/MWh" if name == MARKET else curves[-1].unit if curves else ""
    low, high = (prices.lowest_per_mwh, prices.highest_per_mwh) if name == MARKET else (0.0, float("inf"))
    chosen = choose(curves, name, PriceRules(unit, low, high, stale_s=prices.stale_after_s), now_ms)
    refused = next((event.body["refused"] for event in state.refused.values() if event.body["name"] == name), None)
    level: Literal["ok", "stale", "dead", "refused"]
    if chosen.curve is None:
        level, text = "dead", f"{refused or chosen.why}; the site holds what it draws and obeys every limit"
    elif refused is not None:
        level, text = "refused", f"{refused}; the last good curve holds"
    elif chosen.stale:
        level, text = "stale", f"{chosen.why}; planned on the same hours of the last known day"
    else:
        level, text = "ok", f"covers the next {(chosen.curve.span.end_ms - now_ms) / MS_PER_HOUR:.0f} h"
    age_s = None if chosen.curve is None else (now_ms - chosen.curve.known_at_ms) / 1000
    short, title = TITLES[name]
    return {"name": short, "title": title, "state": level, "age_s": age_s, "text": text}
