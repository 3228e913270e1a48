# SPDX-License-Identifier: Apache-2.0
"""MQTT sink with Home Assistant discovery; a batch is acknowledged when the broker has all of it.

- At most `most_in_flight` messages wait for the broker; nothing is queued while it is unreachable, since the journal is the
  queue.
- A reading older than the last one published of its device is not published: states show the present, not history.
"""

import ssl
import threading
from collections import deque

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from kernel.reading import ReadingBatch
from telemetry.store.sink import SinkDown
from telemetry.wire.homeassistant import Announced, Post, Topics


class MqttSink:
    """`telemetry.store.sink.Sink` on a broker, at QoS 1. Connects at the first batch and again after a loss."""

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        *,
        topics: Topics | None = None,
        version: str = "",
        protocol: int = 5,
        account: str = "",
        password: str = "",
        tls: ssl.SSLContext | None = None,
        time_out_s: float = 15.0,
        most_in_flight: int = 200,
    ) -> None:
        self._name, self._host, self._port = name, host, port
        self._topics = topics or Topics()
        self._time_out_s, self._most_in_flight = time_out_s, most_in_flight
        self._announced = Announced(self._topics, version)
        self._published_ms: dict[str, int] = {}
        self._connected = threading.Event()
        self._refused = ""
        self._newest = protocol == 5
        client = (
            paho.Client(CallbackAPIVersion.VERSION2, client_id="", protocol=paho.MQTTv5)
            if self._newest
            else paho.Client(CallbackAPIVersion.VERSION2, client_id="", protocol=paho.MQTTv311, clean_session=True)
        )
        client.max_inflight_messages_set(most_in_flight)
        if account:
            client.username_pw_set(account, password)
        if tls is not None:
            client.tls_set_context(tls)
        client.will_set(self._topics.status, b"offline", qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        self._client = client
        self._started = False

    @property
    def name(self) -> str:
        return self._name

    def send(self, batch: ReadingBatch) -> None:
        self._connect()
        waiting: deque[paho.MQTTMessageInfo] = deque()
        newest: dict[str, int] = {}
        for reading in batch.readings():
            key = f"{reading.device}/{reading.kind}"
            if reading.at_ms < max(self._published_ms.get(key, 0), newest.get(key, 0)):
                continue
            newest[key] = reading.at_ms
            for post in self._announced.posts(reading):
                waiting.append(self._publish(post))
                if len(waiting) >= self._most_in_flight:
                    self._await(waiting.popleft())
        while waiting:
            self._await(waiting.popleft())
        self._published_ms |= newest

    def _publish(self, post: Post) -> paho.MQTTMessageInfo:
        if not self._connected.is_set():
            raise self._down("the connection was lost")
        info = self._client.publish(post.topic, post.payload, qos=1, retain=post.retain)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise self._down(paho.error_string(info.rc))
        return info

    def _await(self, info: paho.MQTTMessageInfo) -> None:
        try:
            info.wait_for_publish(self._time_out_s)
        except (RuntimeError, ValueError) as error:
            raise self._down(str(error)) from error
        if not info.is_published():
            raise self._down(f"no acknowledgement within {self._time_out_s} s")

    def _connect(self) -> None:
        if self._connected.is_set():
            return
        try:
            if self._started:
                self._client.loop_stop()
            self._refused = ""
            clean = True if self._newest else paho.MQTT_CLEAN_START_FIRST_ONLY
            self._client.connect(self._host, self._port, keepalive=30, clean_start=clean)
            self._client.loop_start()
            self._started = True
        except OSError as error:
            raise self._down(str(error)) from error
        if not self._connected.wait(self._time_out_s):
            raise self._down(self._refused or "no answer to the connection")

    def _down(self, text: str) -> SinkDown:
        # Messages still queued in the client would arrive after newer states: the next session starts without them.
        self._connected.clear()
        self._announced.forget()
        self._published_ms.clear()
        if self._started:
            self._client.disconnect()
            self._client.loop_stop()
            self._started = False
        return SinkDown(f"{self._name}: {self._host}:{self._port}: {text}")

    def _on_connect(
        self, client: paho.Client, _data: object, _flags: object, reason: object, _properties: object
    ) -> None:
        if getattr(reason, "is_failure", False):
            self._refused = f"the broker refuses: {reason}"
            return
        client.publish(self._topics.status, b"online", qos=1, retain=True)
        self._connected.set()

    def _on_disconnect(self, *_: object) -> None:
        self._connected.clear()

    def close(self) -> None:
        """Disconnect in order: the status is set to offline, as the will would."""
        if self._started:
            if self._connected.is_set():
                self._client.publish(self._topics.status, b"offline", qos=1, retain=True).wait_for_publish(2.0)
            self._client.disconnect()
            self._client.loop_stop()
            self._started = False
