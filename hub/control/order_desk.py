# SPDX-License-Identifier: Apache-2.0
"""Order desk: the one place where orders from page, REST and MQTT are decided, journalled and carried out."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from grid.order import read_change, read_order
from grid.order_book import Authority, Happening
from grid.order_entry import Entry
from grid.order_events import OrderReceived, OrderSetAside
from hub.control.runtime import Hub, site_of
from kernel.actor import Actor
from kernel.errors import NotFound
from kernel.event import EventKind
from kernel.text import entered_field, entered_or_not

KEPT_BYTES: Final = 2048


class OrderDesk:
    """Each act returns once the journal holds it and the control step was brought forward.

    Acts are decided one at a time, each against the result of the one before.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub, self._components = hub, hub.components
        self._book, self._clock = hub.components.state.book, hub.components.clock

    async def submit(self, body: Mapping[str, Any], by: Authority, actor: Actor) -> Entry:
        """Enter an order (`grid.order`). A refusal is an entry with phase `refused`.

        Raises ConfigError with all faults where the body cannot be read as an order.
        """
        now_ms = self._clock.now_ms()
        order = read_order(body, by.who, actor.entry, now_ms)
        async with self._components.turn:
            order_id, happenings = self._book.receive(order, by, now_ms, body)
            return await self._take(order_id, happenings, actor)

    async def change(self, order: str, body: Mapping[str, Any], by: Authority, actor: Actor) -> Entry:
        """New `power_w`, `until` or `reason`, at any phase before the end. A refused change is the last of its notes.

        Raises NotFound, and ConfigError where the body cannot be read.
        """
        self._entry(order)
        change = read_change(body)
        async with self._components.turn:
            happenings = self._book.change(order, change, by, self._clock.now_ms(), body)
            return await self._take(order, happenings, actor)

    async def end(
        self, order: str, by: Authority, actor: Actor, why: str, body: Mapping[str, Any] | None = None
    ) -> Entry:
        """Release an order, or cancel it before its start; ending an ended order changes nothing. Raises NotFound, and
        ConfigError for a reason that is no text of one line.

        `body` is the message with its signature, where one came.
        """
        self._entry(order)
        why = entered_field(why, "why")
        async with self._components.turn:
            happenings = self._book.end(order, by, why, self._clock.now_ms(), body)
            return await self._take(order, happenings, actor)

    def set_aside(self, who: str, way: str, payload: bytes, why: str) -> None:
        """Journal a message that could not be processed, with the beginning of its bytes."""
        body: OrderSetAside = {
            "who": entered_or_not(who), "way": way, "error": entered_or_not(why), "bytes": len(payload),
            "payload_hex": payload[:KEPT_BYTES].hex(),
        }  # fmt: skip
        self._components.recorder.emit(self._components.config.hub.name, EventKind.ORDER_SET_ASIDE, body)

    def _entry(self, order: str) -> Entry:
        entry = self._book.get(order)
        if entry is None:
            raise NotFound(f"no order {order}")
        return entry

    async def _take(self, order: str, happenings: Sequence[Happening], actor: Actor) -> Entry:
        received = [cast(OrderReceived, body) for kind, body in happenings if kind is EventKind.ORDER_RECEIVED]
        scopes = [str(body["order"]["scope"]) for body in received]
        authored = [cast(Happening, (kind, actor.on(body))) for kind, body in happenings]
        await self._hub.take(authored, site_of(scopes[0] if scopes else self._entry(order).order.scope))
        return self._entry(order)
