# SPDX-License-Identifier: Apache-2.0
"""How the outside curves stand, as lines of feed health: fresh, stale, refused, never received, and what the hub plans on."""

from grid.price import PriceRules, choose
from hub.api.view import Feed
from hub.config import Prices
from hub.feeds import HASHPRICE, MARKET
from hub.state import HubState

TITLES = {MARKET: "Power price", HASHPRICE: "Hashprice"}


def price_feeds(state: HubState, prices: Prices, now_ms: int) -> list[Feed]:
    """One line for each curve that the planner needs; a file that was refused is told until a good one takes its place."""
    lines = [_line(state, prices, name, title, now_ms) for name, title in TITLES.items()]
    shown = {str(event.body["name"]) for event in state.refused.values()} & set(TITLES)
    for file, event in sorted(state.refused.items()):
        if event.body["name"] in shown:
            continue
        text = f"{event.body['refused']}. The last good one holds."
        age_s = (now_ms - event.at_ms) / 1000
        lines.append(
            {"name": f"file {file}", "title": f"File {file}", "state": "refused", "age_s": age_s, "text": text}
        )
    return lines


def _line(state: HubState, prices: Prices, name: str, title: str, now_ms: int) -> Feed:
    curves = state.curves.get(name, [])
    unit = f"{prices.currency}/MWh" if name == MARKET else curves[-1].unit if curves else ""
    low, high = (prices.lowest_per_mwh, prices.highest_per_mwh) if name == MARKET else (0.0, float("inf"))
    chosen = choose(curves, name, PriceRules(unit, low, high, stale_s=prices.stale_after_s), now_ms)
    refused = next((event for event in state.refused.values() if event.body["name"] == name), None)
    if chosen.curve is None:
        text = f"{chosen.why}: nothing is planned without it; limits hold all the same"
        return {"name": name, "title": title, "state": "dead", "age_s": None, "text": text}
    age_s = (now_ms - chosen.curve.known_at_ms) / 1000
    until = f"covers the next {(chosen.curve.span.end_ms - now_ms) / 3_600_000:.0f} h"
    if refused is not None:
        text = f"{refused.body['refused']}. Planning on the one before, which {until}."
        return {"name": name, "title": title, "state": "refused", "age_s": age_s, "text": text}
    if chosen.stale:
        return {
            "name": name,
            "title": title,
            "state": "stale",
            "age_s": age_s,
            "text": f"{chosen.why}; planning on what is known",
        }
    return {"name": name, "title": title, "state": "ok", "age_s": age_s, "text": until}
