# SPDX-License-Identifier: Apache-2.0
"""What a site can do for the grid now, from its fleet, its limits and its meters (`grid.availability`)."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from grid.availability import Availability, Headroom, available
from grid.limit import PHASES, Limit, cap_at
from hub.config import Config
from hub.config.observe_only import WHY
from hub.query.status import units_of
from hub.state.site import SiteState
from hub.state.situation import SiteSituation
from miner_control.control.allocate import per_phase
from miner_control.fleet.fleet import Fleet
from scheduling.control import MARGIN

WIRE_S: Final = 2.0
STALE: Final = "the main meter is stale: nothing is raised"


def available_at(site: SiteState, now: SiteSituation, config: Config) -> Availability:
    """Power that the site can shed and take at an instant; nothing where it only observes."""
    return available(
        units_of(now.fleet, now.asked.since_ms, site),
        now.now_ms,
        notice_s=config.control.tick_s / 2 + WIRE_S,
        headroom=headroom_at(site, now.fleet, now.limits, now.meters_w, now.drawn_w),
        rate=site.config.inrush_w_per_s,
        barred=WHY if site.config.observe_only else "",
    )


def blind(site: SiteState, meters: Mapping[str, float]) -> str:
    """Why nothing is raised: the site has a main meter, and it is not among the fresh ones; "" where it may be raised."""
    return STALE if site.main is not None and site.key not in meters else ""


def headroom_at(
    site: SiteState,
    fleet: Fleet,
    limits: Sequence[Limit],
    meters: Mapping[str, float],
    believed_w: float,
) -> Headroom:
    """What limits leave above the power of now: of the site, of each feeder and phase with miners on it.

    Power is what a fresh meter shows or what the hub believes, whichever is higher. `meters` holds the fresh ones by scope,
    `believed_w` is the site's power at its meter by the miners' figures.
    The control step's margin stays clear below each limit.
    """
    roster, now_ms = fleet.roster, fleet.now_ms
    site_w, why = _room_w(limits, site.key, max(believed_w, meters.get(site.key, believed_w)), now_ms)
    if stale := blind(site, meters):
        site_w, why = 0.0, stale
    feeder_w, phase_w = np.empty(len(roster.feeder_names)), np.empty((len(roster.feeder_names), len(PHASES)))
    by_feeder_w, by_phase_w = (
        watts * site.feeder_factor for watts in (fleet.feeder_power_w(), per_phase(roster, fleet.power_w))
    )
    for at, name in enumerate(roster.feeder_names):
        scope, own_w = f"{site.key}/{name}", float(by_feeder_w[at])
        feeder_w[at], _ = _room_w(limits, scope, max(own_w, meters.get(scope, own_w)), now_ms)
        for lane, phase in enumerate(PHASES):
            phase_w[at, lane], _ = _room_w(limits, f"{scope}/{phase}", float(by_phase_w[at, lane]), now_ms)
    # What is offered is counted at the site's meter; a feeder's own meter sees at most as much of it.
    share = min(1.0, site.overhead_factor / site.feeder_factor)
    lane_of = roster.phase.astype(np.int64)
    return Headroom(site_w, why, roster.feeder, feeder_w * share, roster.feeder_names, lane_of, phase_w * share)


def _room_w(limits: Sequence[Limit], scope: str, drawn_now_w: float, now_ms: int) -> tuple[float, str]:
    """(what the lowest limit of a scope leaves above a power, which limit that is); infinite where there is none."""
    cap = cap_at(limits, scope, now_ms)
    if cap is None:
        return float("inf"), ""
    return cap.power_w * (1.0 - MARGIN) - drawn_now_w, f"{cap.binding.rule}: {cap.binding.reason}"
