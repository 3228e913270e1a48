# SPDX-License-Identifier: Apache-2.0
"""What a site can do for the grid now, from its fleet, its limits and its meters (`grid.availability`)."""

from typing import Final

from grid.availability import Availability, available
from grid.limit import cap_at
from hub.decide import drawn_w, limits_at
from hub.observe_only import WHY
from hub.sight import units_of
from hub.state import HubState, SiteState
from miner_control.fleet import Fleet

WIRE_S: Final = 2.0


def available_at(state: HubState, site: SiteState, fleet: Fleet, now_ms: int, tick_s: float) -> Availability:
    """Power that the site can shed and take at an instant; nothing where it only observes. `tick_s`: of the control loop."""
    cap = cap_at(limits_at(state, site, now_ms), site.key, now_ms)
    room_w = float("inf") if cap is None else cap.power_w - drawn_w(state, site, fleet)
    return available(
        units_of(fleet, site.standing.asked(now_ms).since_ms, site),
        now_ms,
        notice_s=tick_s / 2 + WIRE_S,
        room_w=room_w,
        rate=site.config.inrush_w_per_s,
        barred=WHY if site.config.observe_only else "",
    )
