# SPDX-License-Identifier: Apache-2.0
"""Curves from outside into the journal: polls the configured feeds in their order.

A curve that cannot be believed is journalled as refused, with the reason, and the hub goes on with the last good one. A feed
that does not answer holds up no other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from grid.curve_feed import CurveFeed, FoundCurve
from grid.price_plausibility import PriceRules, check
from hub.config import Prices
from hub.journal.recorder import Offload, Recorder
from hub.state.curve_body import curve_to_json
from hub.state.fold import HubState
from kernel.clock import Clock
from kernel.curve import Curve, known
from kernel.errors import ConfigError, DecodeError, Fault, TransportError
from kernel.event import EventKind
from kernel.units import MS_PER_S

MARKET = "price/day_ahead"
REAL_TIME = "price/real_time"
COIN, DIFFICULTY, FEES, HEIGHT = "coin_price", "difficulty", "fees_sat", "height"
HASHPRICE = "hashprice"

AMBIENT_RANGE_C: Final = (-90.0, 60.0)
"""Colder and warmer than any air temperature ever measured at the ground (World Meteorological Organization)."""

OUTSIDE: Final = (TransportError, DecodeError, ConfigError, OSError, TimeoutError, ValueError)
"""What a feed raises where its source does not answer, or answers nonsense."""

log = structlog.get_logger("hub")


@dataclass(slots=True)
class FeedHealth:
    """State of one feed: when it last answered, since when it does not and why, and the curves that it gave."""

    curve: str | None
    answered_ms: int | None = None
    down_ms: int | None = None
    text: str = ""
    given: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    """Reason by file (or curve) of what cannot be used now."""


@dataclass(frozen=True, slots=True)
class ConfiguredFeed:
    """A feed by its name in the configuration; `curve` is the one curve that it gives, None for any number."""

    name: str
    curve: str | None
    source: CurveFeed


def rules_of(prices: Prices, curve: Curve) -> PriceRules:
    """What is possible for a curve: configured bounds for power prices, those of weather for a temperature, else 0 or more."""
    low, high = prices.lowest_per_mwh, prices.highest_per_mwh
    if curve.name == MARKET:
        return PriceRules(f"{prices.currency}/MWh", low, high, stale_s=prices.stale_after_s)
    if curve.unit.endswith("/MWh"):
        return PriceRules(curve.unit, low, high)
    return PriceRules(curve.unit, *(AMBIENT_RANGE_C if curve.unit == "C" else (0.0, float("inf"))))


def faults_of(feed: ConfiguredFeed, curve: Curve | None, prices: Prices, now_ms: int) -> list[Fault]:
    """Why a curve is not believed, or is not the one that its feed gives."""
    if curve is None:
        return []
    faults = check(curve, rules_of(prices, curve), now_ms)
    if feed.curve not in (None, curve.name):
        text = f"its curve is {curve.name}, and the feed gives {feed.curve}"
        faults.append(Fault(f"feed {feed.name}", text, "Correct curve of the feed, or leave it out"))
    return faults


class PriceDuty:
    """Polls each feed, journals what is new; `health` by the feed's name."""

    name = "prices"

    def __init__(
        self,
        feeds: Sequence[ConfiguredFeed],
        prices: Prices,
        state: HubState,
        recorder: Recorder,
        clock: Clock,
        offload: Offload,
        site: str,
        every_s: float,
    ) -> None:
        self.every_s = every_s
        self.health = {feed.name: FeedHealth(feed.curve) for feed in feeds}
        self._feeds, self._prices, self._site = feeds, prices, site
        self._state, self._recorder, self._clock, self._offload = state, recorder, clock, offload

    async def do(self) -> None:
        """One turn over all feeds. Raises OSError where the journal cannot be written."""
        now_ms = self._clock.now_ms()
        for feed in self._feeds:
            health = self.health[feed.name]
            try:
                found = await self._offload(feed.source.poll, now_ms)
            except OUTSIDE as error:
                if health.down_ms is None:
                    health.down_ms = now_ms
                    log.warning("down", what=f"feed {feed.name}", why=str(error))
                health.text = str(error)
                continue
            if health.down_ms is not None:
                log.info("returned", what=f"feed {feed.name}", after_s=round((now_ms - health.down_ms) / MS_PER_S, 1))
            health.answered_ms, health.down_ms, health.text = now_ms, None, ""
            for one in found:
                self._take(feed, one, health, now_ms)
            if found:
                await self._recorder.flush(required=True)

    def _take(self, feed: ConfiguredFeed, found: FoundCurve, health: FeedHealth, now_ms: int) -> None:
        """Journal one answer, unless it was journalled before."""
        key = found.file or found.name
        evidence = self._recorder.journal.keep(found.raw) if found.raw else None
        faults = [*found.faults, *faults_of(feed, found.curve, self._prices, now_ms)]
        origin: dict[str, str | None] = {} if found.file is None else {"file": found.file}
        if faults or found.curve is None:
            why = "; ".join(str(fault) for fault in faults)
            health.refused[key] = why
            body = {"name": found.name, **origin, "refused": why, "evidence": evidence}
            before = self._state.refused.get(key)
            if before is None or dict(before.body) != body:
                self._recorder.emit(self._site, EventKind.PRICE_CURVE, body)
            return
        health.refused.pop(key, None)
        health.given.add(found.curve.name)
        held = known(self._state.all_curves(), found.curve.name, now_ms)
        again = held is not None and held.known_at_ms == found.curve.known_at_ms and held.evidence == evidence
        if again and key not in self._state.refused:
            return
        if origin:
            origin = {**origin, "evidence": evidence}
        self._recorder.emit(self._site, EventKind.PRICE_CURVE, {**curve_to_json(found.curve), **origin})
