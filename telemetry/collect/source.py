# SPDX-License-Identifier: Apache-2.0
"""Ports of data collection: polled sources, subscriptions, and lanes (serial queues).

A lane is the serial queue of one line or socket. Collector and actuator share the lane of a device, so that a single-slot
gateway or a single-threaded miner never has two requests at once. Drivers raise only `TransportError` (no answer) or
`DecodeError` (an answer that cannot be decoded).
"""

from enum import StrEnum
from typing import Protocol

from kernel.reading import Reading


class Tier(StrEnum):
    """Polling frequency class: fast (power, hashrate, state), slow (boards, pools, errors), daily (inventory)."""

    FAST = "fast"
    SLOW = "slow"
    DAILY = "daily"


class Source(Protocol):
    """One device that can be polled."""

    @property
    def device(self) -> str:
        """Device key, `hub/site/device`."""

    @property
    def kind(self) -> str:
        """Schema of its readings: miner, meter, container, sensor, switch."""

    @property
    def lane(self) -> str:
        """Name of the line or socket that it uses; sources of one lane are read one after another."""

    async def read(self, tier: Tier) -> Reading:
        """Poll it now. Raises TransportError or DecodeError."""


class Subscription(Protocol):
    """A feed of devices that report by themselves (MQTT). `acknowledge` is called after the journal's commit, never before."""

    async def next(self) -> tuple[list[Reading], int]:
        """Readings of the next message, and the token to acknowledge it."""

    def acknowledge(self, token: int) -> None:
        """Confirm that the journal has the message; the broker may discard it."""
