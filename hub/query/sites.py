# SPDX-License-Identifier: Apache-2.0
"""Sites of a hub and the status of each: power, limits, counts, feeds and prices of one instant."""

import hub.query.schema as shape
from grid.limit import cap_at
from hub.config.observe_only import WHY
from hub.control.runtime import Components
from hub.market.price_duty import HASHPRICE, MARKET
from hub.query import status
from hub.query.feed_health import configured_feeds, price_feeds
from hub.query.flexibility import available_at
from hub.query.frame import frame
from kernel.curve import known
from kernel.units import H_PER_DAY, HS_PER_PHS, WH_PER_MWH
from miner_control.fleet.fleet import Fleet


class SiteReads:
    """Answers from memory. Raises NotFound for an unknown site."""

    def __init__(self, components: Components) -> None:
        self._components, self._state = components, components.state

    def key(self, site: str) -> str:
        """The key of a site, `hub/site`."""
        return self._state.site(site).key

    def sites(self) -> list[shape.SiteInfo]:
        currency = self._components.config.prices.currency
        return [
            {
                "site": site.config.name,
                "key": site.key,
                "title": f"{site.config.name} ({site.config.operator})",
                "zone": site.config.zone,
                "currency": currency,
                "capacity_w": site.config.import_cap_w,
                "observe_only": site.config.observe_only,
            }
            for site in self._state.sites.values()
        ]

    def status(self, site: str) -> shape.Status:
        here, state = self._state.site(site), self._state
        now = frame(self._components, here)
        now_ms, fleet, limits = now.now_ms, now.fleet, list(now.limits)
        cap = cap_at(limits, here.key, now_ms)
        free = available_at(here, now, self._components.config)
        why = WHY if here.config.observe_only else ""
        heard = int(fleet.fresh.sum())
        hashrate = float(fleet.hashrate_hs.sum()) if heard else None
        return {
            "as_of_ms": now_ms,
            "position": state.position,
            "site": site,
            "observe_only": here.config.observe_only,
            "power": status.power(here, now),
            "hashrate_hs": status.measure(hashrate, f"sum of {heard} miners heard"),
            "cap_w": cap.power_w if cap else None,
            "limits": status.limit_lines(limits, now_ms),
            "why": status.why(here, limits, now_ms),
            "counts": status.counts(fleet),
            "feeds": [
                *status.silent_feed(here, fleet, now_ms),
                *price_feeds(state, self._components.config.prices, now_ms),
                *configured_feeds(self._components.feeds, now_ms),
                *status.duty_feeds(self._components, now_ms),
            ],
            "price": self._curve_now(MARKET, now_ms),
            "hashprice": self._curve_now(HASHPRICE, now_ms, HS_PER_PHS),
            "breakeven_price": self._breakeven(fleet, now_ms),
            "available_down_w": status.measure(free.down_w, "fleet", None, why),
            "available_up_w": status.measure(free.up_w, "fleet", None, why or "; ".join(free.up_limited_by)),
        }

    def _curve_now(self, name: str, now_ms: int, scale: float = 1.0) -> shape.Measure:
        curve = known(self._state.all_curves(), name, now_ms)
        if curve is None:
            return status.measure(None, name, None, "none was ever received")
        value = curve.at(now_ms)
        age_s = (now_ms - curve.known_at_ms) / 1000
        if value is None:
            return status.measure(None, curve.source, age_s, "the newest curve does not cover this instant")
        return status.measure(value * scale, curve.source, age_s)

    def _breakeven(self, fleet: Fleet, now_ms: int) -> shape.Measure:
        """The power price per MWh at which the running fleet earns nothing: hash value per watt-hour."""
        hashprice = self._curve_now(HASHPRICE, now_ms)["value"]
        power_w, rate_hs = float(fleet.power_w.sum()), float(fleet.hashrate_hs.sum())
        if hashprice is None or power_w <= 0 or rate_hs <= 0:
            return status.measure(None, "computed", None, "no hashprice" if hashprice is None else "nothing hashes")
        return status.measure(hashprice * rate_hs / H_PER_DAY / power_w * WH_PER_MWH, "hashprice over the fleet's J/TH")
