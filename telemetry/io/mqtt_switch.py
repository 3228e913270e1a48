# SPDX-License-Identifier: Apache-2.0
"""Switched loads commanded over MQTT by a profile's `[command]` tables.

The broker's acknowledgement is no proof of the effect; the device's next report is.
"""

import re
from typing import Protocol

from kernel.receipt import Accepted, Receipt, Unreachable, Unsupported
from telemetry.device.profile import Profile


class Publishing(Protocol):
    """Connection to a broker. `publish` raises TimeoutError where the broker does not acknowledge the message."""

    async def publish(self, topic: str, payload: bytes, *, timeout_s: float) -> None: ...


class MqttSwitch:
    """Outputs of one device by its profile's `[command]` tables."""

    def __init__(self, profile: Profile, prefix: str, link: Publishing) -> None:
        self._profile, self._prefix, self._link = profile, prefix, link

    async def switch(self, name: str, index: int, on: bool, *, deadline_s: float) -> Receipt:
        """Publish the command: Accepted once the broker acknowledged it, Unreachable where it does not in time."""
        group, number = re.fullmatch(r"(.*?)(\d*)", name).groups()  # type: ignore[union-attr]
        order = self._profile.orders.get(group)
        if order is None or index < 1:
            return Unsupported(f"{self._profile.model} has no {name} {index}")
        topic, payload = order.message(self._prefix, int(number or 1), index, on)
        try:
            await self._link.publish(topic, payload.encode(), timeout_s=deadline_s)
        except TimeoutError:
            return Unreachable(f"the broker did not acknowledge {topic} within {deadline_s:g} s")
        return Accepted(f"the broker acknowledged {topic}")
