# SPDX-License-Identifier: Apache-2.0
"""Orders over MQTT as `grid.io.dispatch_mqtt` passes them on: to the order desk, answered as they are shown."""

from collections.abc import Mapping
from typing import Any

from grid.order_book import Authority
from hub.api.access import dispatcher
from hub.control.order_desk import OrderDesk
from hub.query.orders import OrderReads
from kernel.actor import Channel


class OrderMessages:
    """`grid.io.dispatch_mqtt.OrderPort` over the order desk."""

    def __init__(self, desk: OrderDesk, orders: OrderReads, entry: Channel = Channel.MQTT) -> None:
        self._desk, self._orders, self._entry = desk, orders, entry

    async def submit_order(self, body: Mapping[str, Any], by: Authority) -> Mapping[str, Any]:
        """As `OrderDesk.submit`."""
        return self._orders.line(await self._desk.submit(body, by, dispatcher(by, self._entry)))

    async def change_order(self, order: str, body: Mapping[str, Any], by: Authority) -> Mapping[str, Any]:
        """As `OrderDesk.change`."""
        return self._orders.line(await self._desk.change(order, body, by, dispatcher(by, self._entry)))

    async def end_order(
        self, order: str, by: Authority, why: str, body: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        """As `OrderDesk.end`."""
        return self._orders.line(await self._desk.end(order, by, dispatcher(by, self._entry), why, body))

    async def set_aside(self, who: str, payload: bytes, why: str) -> None:
        """As `OrderDesk.set_aside`."""
        self._desk.set_aside(who, self._entry, payload, why)
