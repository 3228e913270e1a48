# SPDX-License-Identifier: Apache-2.0
"""An embedded MQTT broker, so that a demo or a small site needs no server. MQTT 3.1.1 only: clients must force it.

It listens on loopback alone and keeps nothing over a restart; a site in production uses Mosquitto.
"""

import logging

from amqtt.broker import Broker as AmqttBroker
from amqtt.contexts import BrokerConfig, ListenerConfig

from kernel.address import authority

logging.getLogger("amqtt").setLevel(logging.CRITICAL)
logging.getLogger("transitions").setLevel(logging.ERROR)


class EmbeddedBroker:
    """Start and stop it inside a running event loop. Raises OSError where the port is taken."""

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
        await self._broker.shutdown()
