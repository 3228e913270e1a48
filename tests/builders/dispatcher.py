# SPDX-License-Identifier: Apache-2.0
"""A dispatcher at the broker: sends orders, hears the answers."""

import asyncio
import json
import threading
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

SITE, ROOT = "h1/alma", "mining-hub/orders"


class Dispatcher:
    """A control room's own client: another connection, another library loop."""

    def __init__(self, port: int, who: str) -> None:
        self.who = who
        self.replies: list[dict[str, Any]] = []
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"room-{who}")
        self.client.on_message = lambda _c, _u, message: self.replies.append(json.loads(message.payload))
        subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.connect("127.0.0.1", port)
        self.client.subscribe(f"{ROOT}/{who}/reply", qos=1)
        self.client.loop_start()
        assert subscribed.wait(20)

    async def ask(self, body: Any, *, retain: bool = False) -> dict[str, Any]:
        seen = len(self.replies)
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.client.publish(f"{ROOT}/{self.who}", payload, qos=1, retain=retain)
        async with asyncio.timeout(30):
            while len(self.replies) == seen:
                await asyncio.sleep(0.01)
        return self.replies[-1]

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
