# SPDX-License-Identifier: Apache-2.0
"""Receiver of IP-report buttons: short UDP broadcasts, one per press (port 14235). Nothing is ever answered."""

import asyncio
from collections.abc import Callable
from typing import Any

from kernel.clock import Clock
from miner_control.inventory.position import Press, read_press

PORT = 14235


class _Listener(asyncio.DatagramProtocol):
    def __init__(self, clock: Clock, on_press: Callable[[Press], None]) -> None:
        self._clock, self._on_press = clock, on_press

    def datagram_received(self, data: bytes, addr: Any) -> None:
        press = read_press(data, str(addr[0]), self._clock.now_ms())
        if press is not None:
            self._on_press(press)


async def listen(
    on_press: Callable[[Press], None], clock: Clock, host: str = "127.0.0.1", port: int = PORT
) -> asyncio.DatagramTransport:
    """Call `on_press` for each press until the transport is closed. Raises OSError where the port is taken.

    Broadcasts reach only a socket bound to the network's own address: give the address of the miners' interface.
    """
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Listener(clock, on_press), local_addr=(host, port), allow_broadcast=True
    )
    return transport
