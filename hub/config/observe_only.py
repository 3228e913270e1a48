# SPDX-License-Identifier: Apache-2.0
"""Observe-only sites: the reasons given for what is not done there, and the field and header of answers about a site.

Whether a site only observes stands in its configuration (`Site.observe_only`) and nowhere else. The hub polls, plans and
decides there as anywhere; it sends no command, carries out no order and offers no power.
"""

from collections.abc import Mapping
from typing import Any, Final

from hub.config import Site

FIELD: Final = "observe_only"
HEADER: Final = "Mining-Hub-Observe-Only"
WHY: Final = "the site only observes"
"""The reason of a figure that is 0 because nothing is commanded."""


def no_commands(site: Site) -> str:
    """The reason why no command leaves for a device of an observing site."""
    return f"{site.name} only observes"


def no_orders(site: Site) -> str:
    """The reason why an observing site carries out no order, and what to do."""
    return (
        f"{no_commands(site)} ({FIELD}): it carries out no order. Ask its operator to take {FIELD} out of the configuration, "
        "then send a new order"
    )


def marked(site: Site, answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer about a site with the field that says whether it only observes."""
    return {**answer, FIELD: site.observe_only}
