# SPDX-License-Identifier: Apache-2.0
"""Listening to a broker, and waiting for what is due."""

import json
import time
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion


def listen(port: int, heard: dict[str, Any]) -> Client:
    def on_message(_client: Client, _data: object, message: MQTTMessage) -> None:
        heard[message.topic] = json.loads(message.payload)

    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message = on_message
    client.connect("127.0.0.1", port)
    client.subscribe("#", qos=1)
    client.loop_start()
    return client


def until(heard: dict[str, Any], topic: str, timeout_s: float = 30.0) -> Any:
    end = time.monotonic() + timeout_s
    while topic not in heard:
        assert time.monotonic() < end, f"{topic} was not heard; heard {sorted(heard)}"
        time.sleep(0.05)
    return heard[topic]
