# SPDX-License-Identifier: Apache-2.0
"""Dispatch orders over MQTT: requests on `<root>/<who>`, the hub's answers on `<root>/<who>/reply`.

- A payload is one JSON object: an order (`grid.order`), or `{"change": id, "power_w": ...}`, or `{"end": id, "why": ...}`.
- MQTT does not identify the publisher: either the broker's access list binds the topic to the credential (Mosquitto: `pattern
  write <root>/%u`), or the dispatcher signs (`Authority.must_sign`). Without one of the two the configuration is wrong.
- A message is acknowledged after the journal has its result. Retained orders are refused: they may be of any age.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from grid.order_book import Authority
from kernel.clock import Clock
from kernel.errors import BrokenInvariant, ConfigError, DecodeError, Fault
from kernel.foreign_json import strict_json
from telemetry.wire.exposition import Figure

log = logging.getLogger(__name__)

MOST_BYTES = 16_384


class Message(Protocol):
    """One message as received."""

    @property
    def topic(self) -> str: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def retained(self) -> bool: ...
    @property
    def token(self) -> int: ...


class Link(Protocol):
    """One connection to a broker, subscribed to `topics(root)`; `telemetry.io.mqtt.MqttLink` is one."""

    async def next(self) -> Any: ...

    def acknowledge(self, token: int) -> None: ...

    async def publish(self, topic: str, payload: bytes) -> None: ...


class OrderPort(Protocol):
    """Receiver of orders (the runtime). Each call returns when the journal has the result; ConfigError for invalid contents."""

    async def submit_order(self, body: Mapping[str, Any], by: Authority) -> Mapping[str, Any]: ...

    async def change_order(self, order: str, body: Mapping[str, Any], by: Authority) -> Mapping[str, Any]: ...

    async def end_order(self, order: str, by: Authority, why: str, body: Mapping[str, Any]) -> Mapping[str, Any]: ...

    async def set_aside(self, who: str, payload: bytes, why: str) -> None:
        """Keep a message that could not be processed, with its bytes."""


def topics(root: str) -> list[str]:
    """Topics to subscribe to."""
    return [f"{root}/+"]


class DispatchMqtt:
    """Receives orders from a link and answers them; runs until cancelled."""

    def __init__(self, link: Link, desk: OrderPort, authorities: Sequence[Authority], root: str, clock: Clock) -> None:
        self._link, self._desk, self._root, self._clock = link, desk, root, clock
        self._authorities = {authority.who: authority for authority in authorities}
        self.taken = 0
        self.refused = 0

    def figures(self) -> list[Figure]:
        """Counters of messages on the dispatchers' topic."""
        return [
            Figure("orders_mqtt_taken", float(self.taken), "Order messages taken over MQTT.", counter=True),
            Figure("orders_mqtt_refused", float(self.refused), "Order messages refused over MQTT.", counter=True),
        ]

    async def run(self) -> None:
        while True:
            message: Message = await self._link.next()
            who = message.topic.removeprefix(self._root).strip("/")
            answer = await self._answer(message, who)
            self._link.acknowledge(message.token)
            if who in self._authorities:
                await self._reply(who, answer)

    async def _answer(self, message: Message, who: str) -> dict[str, Any]:
        """Answer to the dispatcher. Never raises an exception because of a message's contents."""
        try:
            answer = dict(await self._act(message, who))
            self.taken += 1
            return {"ok": answer.get("phase") != "refused", "order": answer}
        except ConfigError as error:
            self.refused += 1
            log.warning("order over MQTT on %s refused: %s", message.topic[:200], error.faults[0])
            faults = [{"place": f.place, "problem": f.problem, "remedy": f.remedy} for f in error.faults]
            return {"ok": False, "faults": faults}
        except LookupError as error:
            self.refused += 1
            return {"ok": False, "faults": [{"place": "id", "problem": str(error), "remedy": "Name an order of yours"}]}
        except OSError as error:
            self.refused += 1
            problem = f"the journal cannot be written ({error}): whether the order was taken is unknown"
            return _no("journal", problem, "Ask by its reference, then send it again under the same one")
        except BrokenInvariant:
            raise
        except Exception as error:
            # Whatever a message does to us, the next one is taken: this one is kept with its bytes.
            self.refused += 1
            text = f"{type(error).__name__}: {error}"[:300]
            log.exception("message on %s set aside", message.topic[:200])
            await self._desk.set_aside(who[:100], message.payload, text)
            return _no("message", f"could not be carried out: {text}", "It is kept; send another or telephone")

    async def _act(self, message: Message, who: str) -> Mapping[str, Any]:
        by = self._authorities.get(who)
        if by is None:
            raise ConfigError(
                [Fault("topic", f"{who[:60]!r} may give no orders here", "Enter it as a dispatcher first")]
            )
        if message.retained:
            raise ConfigError([Fault("message", "is retained", "Publish orders without the retain flag")])
        body = object_of(message.payload)
        order_id = body.get("change", body.get("end"))
        if order_id is None:
            return await self._desk.submit_order(body, by)
        if not isinstance(order_id, str) or ("change" in body and "end" in body):
            raise ConfigError([Fault("message", "change or end must name one order", "Send the id as a text")])
        if "change" in body:
            return await self._desk.change_order(order_id, body, by)
        why = body.get("why", "")
        return await self._desk.end_order(order_id, by, why if isinstance(why, str) else "", body)

    async def _reply(self, who: str, answer: dict[str, Any]) -> None:
        payload = json.dumps(answer | {"at_ms": self._clock.now_ms()}).encode()
        try:
            await self._link.publish(f"{self._root}/{who}/reply", payload)
        except (TimeoutError, OSError) as error:
            log.warning("the reply to %s was not delivered: %s", who, error or type(error).__name__)


def _no(place: str, problem: str, remedy: str) -> dict[str, Any]:
    return {"ok": False, "faults": [{"place": place, "problem": problem, "remedy": remedy}]}


def object_of(payload: bytes) -> dict[str, Any]:
    if len(payload) > MOST_BYTES:
        raise ConfigError([Fault("message", f"is over {MOST_BYTES} bytes", "Send one order a message")])
    try:
        body = strict_json(payload, "message")
    except DecodeError as error:
        raise ConfigError([Fault(error.place, error.text, "Send one JSON object in UTF-8")]) from None
    if not isinstance(body, dict):
        raise ConfigError([Fault("message", "is no JSON object", "Send one JSON object")])
    return body
