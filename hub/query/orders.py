# SPDX-License-Identifier: Apache-2.0
"""Orders of a site for display, with the observe-only flag of the site."""

import hub.query.schema as shape
from grid.order_entry import Entry
from hub.control.runtime import Components, site_of
from hub.query.rows import order_line
from kernel.errors import NotFound
from kernel.units import MS_PER_DAY

SHOWN_MS = 7 * MS_PER_DAY
"""Ended orders are listed for this long."""


class OrderReads:
    """Answers from memory. Raises NotFound for an unknown site or order."""

    def __init__(self, components: Components) -> None:
        self._components, self._state = components, components.state

    def orders(self, site: str) -> list[shape.OrderLine]:
        """Orders that have not ended, and those that ended within `SHOWN_MS`, newest first."""
        key, since_ms = self._state.site(site).key, self._components.clock.now_ms() - SHOWN_MS
        return [
            self.line(entry)
            for entry in self._state.book.entries()
            if site_of(entry.order.scope) == key and (entry.ended_ms is None or entry.ended_ms >= since_ms)
        ]

    def order(self, site: str, order: str) -> shape.OrderLine:
        """One order of this site and no other."""
        for line in self.orders(site):
            if line["id"] == order:
                return line
        raise NotFound(f"no order {order[:60]!r} at {site}")

    def line(self, entry: Entry) -> shape.OrderLine:
        """One order as it is shown."""
        site = self._state.sites.get(site_of(entry.order.scope))
        return order_line(entry, None if site is None else site.config.observe_only)
