# SPDX-License-Identifier: Apache-2.0
"""Generation of a site at an instant: forecast, meters of its own, and what the main meter's power therefore means."""

from dataclasses import dataclass
from typing import Final

from hub.state.fold import HubState
from hub.state.site import SiteState
from kernel.clock import MS_PER_S
from kernel.curve import known
from kernel.units import W_PER_MW
from miner_control.fleet.fleet import Fleet
from scheduling.generation import delivered_w
from scheduling.problem.exogenous import GENERATION
from scheduling.problem.overhead import Overhead

METER: Final = "generation"
"""Role of a meter that counts what is generated on site, positive."""


@dataclass(frozen=True, slots=True)
class SiteGeneration:
    """`expected`: the site is configured to generate (a curve or a meter). `forecast_w`: by the newest curve that covers the
    instant. `metered_w`: sum of its generation meters, None unless all of them are fresh. `before_w`: what the last tick
    counted on, None where that is too long ago."""

    expected: bool
    forecast_w: float | None
    metered_w: float | None
    before_w: float | None

    def delivered_w(self, fleet: Fleet, overhead: Overhead, main_w: float | None) -> float:
        """What is delivered now by evidence. `main_w`: fresh power at the main meter."""
        return delivered_w(fleet, overhead, main_w, self.forecast_w, metered_w=self.metered_w, before_w=self.before_w)

    def demand_w(self, main_w: float | None) -> float | None:
        """What the site consumes, as meters show it; None where generation that no meter counts may be in the main meter's
        power."""
        if main_w is None or not self.expected:
            return main_w
        if self.metered_w is not None:
            return main_w + self.metered_w
        return main_w if self.forecast_w == 0.0 else None


def generation_at(state: HubState, site: SiteState, now_ms: int, fresh_s: float) -> SiteGeneration:
    """A site's generation. `fresh_s`: how old a meter's reading and the last tick may be."""
    curves = [one for one in state.curves.get(GENERATION, []) if one.known_at_ms <= now_ms]
    curve = known([one for one in curves if one.at(now_ms) is not None and one.unit == "MW"], GENERATION, now_ms)
    value_mw = None if curve is None else curve.at(now_ms)
    own = [_fresh_w(state.traces[device].last(), now_ms, fresh_s) for device in generation_meters(site)]
    tick = site.tick or {}
    recent = now_ms - int(tick.get("tick_ms", 0)) <= fresh_s * MS_PER_S
    return SiteGeneration(
        expected=bool(own or curves),
        forecast_w=None if value_mw is None else value_mw * W_PER_MW,
        metered_w=None if not own or None in own else sum(watts for watts in own if watts is not None),
        before_w=float(tick.get("generation_w", 0.0)) if recent else None,
    )


def awaits_meter(state: HubState, site: SiteState, now_ms: int, fresh_s: float) -> bool:
    """Whether a meter that is still to be read would prove generation."""
    own = generation_at(state, site, now_ms, fresh_s)
    if own.metered_w is not None:
        return False
    by_main = site.main is not None and own.forecast_w is not None
    if by_main and _fresh_w(state.traces[site.main or ""].last(), now_ms, fresh_s) is not None:
        return False
    return by_main or bool(generation_meters(site))


def _fresh_w(last: tuple[int, float] | None, now_ms: int, fresh_s: float) -> float | None:
    return last[1] if last is not None and now_ms - last[0] <= fresh_s * MS_PER_S else None


def generation_meters(site: SiteState) -> list[str]:
    """Device keys of the meters that count the site's own generation."""
    return [meter.device for meter in site.meter_refs() if meter.role == METER]
