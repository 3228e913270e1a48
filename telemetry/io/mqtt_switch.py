# SPDX-License-Identifier: Apache-2.0
"""Switched loads of devices that are told over MQTT. The broker's acknowledgement is no proof: what the device tells next is."""

import re
from typing import Protocol

from kernel.receipt import Accepted, Receipt, Unreachable, Unsupported
from telemetry.device.profile import Profile


class Publishing(Protocol):
    """A connection to the broker. `publish` raises TimeoutError where the broker does not take the message."""

    async def publish(self, topic: str, payload: bytes, *, timeout_s: float) -> None: ...


class MqttSwitch:
    """The outputs of one device by its profile's `[command]` tables."""

    def __init__(self, profile: Profile, prefix: str, link: Publishing) -> None:
        self._profile, self._prefix, self._link = profile, prefix, link

    async def switch(self, name: str, index: int, on: bool, *, deadline_s: float) -> Receipt:
        """Publish the order: Accepted once the broker has it, Unreachable where it does not take it in time."""
        group, number = re.fullmatch(r"(.*?)(\d*)", name).groups()  # type: ignore[union-attr]
        order = self._profile.orders.get(group)
        if order is None or index < 1:
            return Unsupported(f"{self._profile.model} has no {name} {index}")
        topic, payload = order.reported(self._prefix, int(number or 1), index, on)
        try:
            await self._link.publish(topic, payload.encode(), timeout_s=deadline_s)
        except TimeoutError:
            return Unreachable(f"the broker did not take {topic} within {deadline_s:g} s")
        return Accepted(f"the broker has {topic}")
