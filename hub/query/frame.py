# SPDX-License-Identifier: Apache-2.0
"""Situation of a site shared by all clients of one page frame."""

from typing import Final

from hub.control.runtime import Components
from hub.state.site import SiteState
from hub.state.situation import SiteSituation

FRAME_MS: Final = 1_000
"""Length of a page frame: requests within it share one situation."""


def frame(components: Components, site: SiteState) -> SiteSituation:
    """The situation of a site, at most `FRAME_MS` old."""
    return components.situations.at(site, components.clock.now_ms(), within_ms=FRAME_MS)
