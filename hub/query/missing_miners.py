# SPDX-License-Identifier: Apache-2.0
"""Who did not come back: miners that were woken lately, some time ago, and do not hash now, as the ladder remembers them."""

from collections.abc import Mapping
from typing import Any

from hub.state.site import SiteState
from hub.state.situation import SiteSituation


def missing(site: SiteState, now: SiteSituation, after_s: float) -> list[dict[str, Any]]:
    """Costliest first (`miner_control.health.wake_recovery.Recoveries.missing`). A unit in a later sleep is not missing; a
    silent one is."""
    return [_shown(one) for one in site.ladder.missing(now.fleet, now.now_ms, after_s)]


def restores(site: SiteState) -> list[dict[str, Any]]:
    """The reports of restores, newest first."""
    found = sorted(site.restores.values(), key=lambda body: -int(body["ended_ms"]))
    return [{**body, "missing": [_shown(one) for one in body["missing"]]} for body in found]


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of an event as it is shown: the device's own text is `text`."""
    return {"text" if name == "words" else name: value for name, value in row.items()}
