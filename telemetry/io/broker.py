# SPDX-License-Identifier: Apache-2.0
"""Embedded MQTT broker for the demo and small sites. MQTT 3.1.1 only: clients must select it.

It listens on loopback only and stores nothing across a restart; a site in production uses Mosquitto.
"""

import asyncio
import logging
from typing import Final

import structlog
from amqtt.broker import Broker as AmqttBroker
from amqtt.contexts import BrokerConfig, ListenerConfig

from kernel.address import authority

log = structlog.get_logger("hub")

_STOP_S: Final = 2.0
_STOPS: Final = 10

logging.getLogger("amqtt").setLevel(logging.CRITICAL)
logging.getLogger("transitions").setLevel(logging.ERROR)


class EmbeddedBroker:
    """A broker inside a running event loop. OSError at start where the port is in use."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        if host not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError(f"the embedded broker has no access control and listens on loopback only, not on {host}")
        self.host, self.port = host, port
        config = BrokerConfig(
            listeners={"default": ListenerConfig(type="tcp", bind=authority(host, port), max_connections=1000)},
            plugins={"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        )
        self._broker = AmqttBroker(config)

    async def start(self) -> None:
        await self._broker.start()

    async def stop(self) -> None:
        """Stop within a bounded time.

        A reader task of the library can miss its cancellation (on Python 3.11 a wait that ends at the same moment loses it),
        and the library's shutdown would then wait for it for ever; a repeated shutdown skips connections that are already
        closed.
        """
        for _ in range(_STOPS):
            try:
                async with asyncio.timeout(_STOP_S):
                    await self._broker.shutdown()
                return
            except TimeoutError:
                continue
        log.warning("the embedded broker did not stop", attempts=_STOPS)
