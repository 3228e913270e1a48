# SPDX-License-Identifier: Apache-2.0
"""Listener on every topic of a broker."""

import json
import threading
import time

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion


class Listener:
    """What a subscriber to everything has seen last of each topic."""

    def __init__(self, port: int) -> None:
        self.seen: dict[str, bytes] = {}
        self.count = 0
        self._changed = threading.Condition()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._message
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("#", qos=1)
        self._client.loop_start()

    def _message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        with self._changed:
            self.seen[message.topic] = message.payload
            self.count += 1
            self._changed.notify_all()

    def wait(self, topic: str, want: object) -> None:
        """Until the topic's payload (JSON's `at_ms`, or the text) is what is wanted."""
        end = time.monotonic() + 15
        with self._changed:
            while True:
                found = self.seen.get(topic, b"")
                got: object = json.loads(found)["at_ms"] if found.startswith(b"{") else found.decode()
                if got == want:
                    return
                assert self._changed.wait(max(0.0, end - time.monotonic())), f"{topic}: {found!r}, wanted {want!r}"

    def wait_announced(self, devices: int) -> None:
        """Until so many devices have told what they are."""
        end = time.monotonic() + 15
        with self._changed:
            while sum(topic.startswith("homeassistant/device/") for topic in self.seen) != devices:
                assert self._changed.wait(max(0.0, end - time.monotonic())), sorted(self.seen)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
