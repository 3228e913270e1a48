# SPDX-License-Identifier: Apache-2.0
"""The listener for IP-report buttons as a connection next to the control loops."""

import asyncio

from hub.config import Config
from hub.control.runtime import Components
from hub.fleet.ip_report import Buttons
from hub.wiring.devices import Connection
from kernel.errors import ConfigError, Fault
from miner_control.io.ip_report import listen


class ButtonListener:
    """Hears presses from start to stop. Raises ConfigError where the address is not ours or the port is taken."""

    def __init__(self, components: Components, host: str, port: int) -> None:
        self._buttons, self._clock = Buttons(components.state, components.recorder, components.clock), components.clock
        self._host, self._port = host, port
        self._transport: asyncio.DatagramTransport | None = None
        components.counters.append(self._buttons.figures)

    async def start(self) -> None:
        try:
            self._transport = await listen(self._buttons.heard, self._clock, self._host, self._port)
        except OSError as error:
            place = f"ip_report, {self._host} port {self._port}"
            remedy = "Give an address of this machine, and end what else listens there"
            raise ConfigError([Fault(place, error.strerror or str(error), remedy)]) from None

    async def stop(self) -> None:
        if self._transport is not None:
            self._transport.close()


def button_ears(config: Config, components: Components) -> list[Connection]:
    """The listener, where one is configured."""
    part = config.ip_report
    return [] if part.listen is None else [ButtonListener(components, part.listen, part.port)]
