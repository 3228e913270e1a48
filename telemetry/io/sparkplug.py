# SPDX-License-Identifier: Apache-2.0
"""Sparkplug B over MQTT: host application connection, STATE certificate, rebirth requests."""

from collections.abc import Callable, Sequence

import orjson

from kernel.clock import Clock
from kernel.reading import Reading
from telemetry.io.mqtt import Broker, MqttLink
from telemetry.wire.exposition import Figure
from telemetry.wire.sparkplug import rebirth_request
from telemetry.wire.sparkplug_host import NAMESPACE, SparkplugChannel, SparkplugHost


class SparkplugFeed:
    """Sparkplug B edge nodes: a `telemetry.collect.source.Subscription`.

    The hub publishes `spBv1.0/STATE/<host id>`: online while connected, offline by its last will.
    """

    def __init__(
        self,
        broker: Broker,
        host_id: str,
        channels: Sequence[SparkplugChannel],
        clock: Clock,
        *,
        limit: int = 1000,
        on_state: Callable[[bool, str], None] | None = None,
    ) -> None:
        self.host = SparkplugHost(channels)
        self._clock, self._host_id = clock, host_id
        self.link = MqttLink(broker, self.host.topics(), limit=limit, on_state=on_state, greeting=self._certificate)

    def start(self) -> None:
        self.link.start()

    async def stop(self) -> None:
        await self.link.stop()

    async def next(self) -> tuple[list[Reading], int]:
        """Readings of the next message and its token; rebirths that it requires are requested at once."""
        message = await self.link.next()
        now_ms = self._clock.now_ms()
        content = self.host.hear(message.topic, message.payload, now_ms)
        for group, node in content.rebirths:
            self.link.post(f"{NAMESPACE}/{group}/NCMD/{node}", rebirth_request(now_ms))
        return list(content.readings), message.token

    def figures(self) -> list[Figure]:
        """Counters of messages received."""
        return self.host.counts.figures()

    def acknowledge(self, token: int) -> None:
        """Acknowledge a message, after the journal's commit."""
        if token >= 0:
            self.link.acknowledge(token)

    def _certificate(self) -> tuple[str, bytes, bytes]:
        stamp = self._clock.now_ms()
        here = orjson.dumps({"online": True, "timestamp": stamp})
        return f"{NAMESPACE}/STATE/{self._host_id}", here, orjson.dumps({"online": False, "timestamp": stamp})
