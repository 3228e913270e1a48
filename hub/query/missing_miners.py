# SPDX-License-Identifier: Apache-2.0
"""Who did not come back: miners that were woken lately, some time ago, and do not hash now, as the ladder remembers them."""

from typing import Any

from hub.state.site import SiteState
from hub.state.situation import SiteSituation


def missing(site: SiteState, now: SiteSituation, after_s: float) -> list[dict[str, Any]]:
    """Costliest first (`miner_control.health.wake_recovery.Ladder.missing`). A unit in a later sleep is not missing; a
    silent one is."""
    return site.ladder.missing(now.fleet, now.now_ms, after_s)


def restores(site: SiteState) -> list[dict[str, Any]]:
    """The reports of restores, newest first."""
    return [dict(body) for body in sorted(site.restores.values(), key=lambda body: -int(body["ended_ms"]))]
