# SPDX-License-Identifier: Apache-2.0
"""The ports of telemetry: a Source can be read; a Lane is the serial queue of one line or socket.

Collector and actuator share the lane of a device, so that a single-slot gateway or a single-threaded miner is never
asked twice at once. Drivers raise `TransportError` (nobody answered) or `DecodeError` (an answer that cannot be read);
nothing else leaves them.
"""

from enum import StrEnum
from typing import Protocol

from kernel.reading import Reading


class Tier(StrEnum):
    """How often a thing is asked: fast (power, hashrate, state), slow (boards, pools, errors), daily (inventory)."""

    FAST = "fast"
    SLOW = "slow"
    DAILY = "daily"


class Source(Protocol):
    """One device that can be polled."""

    @property
    def device(self) -> str:
        """Its key, `hub/site/device`."""

    @property
    def kind(self) -> str:
        """Its schema: miner, meter, container, sensor."""

    @property
    def lane(self) -> str:
        """The name of the line or socket it shares; sources of one lane are read one after another."""

    async def read(self, tier: Tier) -> Reading:
        """Ask it now. Raises TransportError or DecodeError."""


class Subscription(Protocol):
    """A feed that speaks unasked (MQTT). `acknowledge` is called after the journal's commit, never before."""

    async def next(self) -> tuple[list[Reading], int]:
        """The readings of the next message, and the token to acknowledge it with."""

    def acknowledge(self, token: int) -> None:
        """The journal holds it; the broker may forget it."""
