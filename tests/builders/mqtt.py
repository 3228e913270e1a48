# SPDX-License-Identifier: Apache-2.0
"""A link to a broker whose subscription stands."""

import asyncio

from telemetry.io.mqtt import MqttLink


async def connected(link: MqttLink, timeout_s: float = 10.0) -> None:
    """Until the subscription stands. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not link.connected:
            await asyncio.sleep(0.01)
