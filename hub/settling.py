# SPDX-License-Identifier: Apache-2.0
"""The treasury's place in the hub: a round each so often; what had to wait is told as the feed's fault."""

from hub.settle import Desk, Settled, settle_once
from kernel.errors import ConfigError


class SettleDuty:
    """`last` is the treasury after the newest round."""

    name = "settle"

    def __init__(self, desk: Desk, every_s: float) -> None:
        self.every_s = every_s
        self.last: Settled | None = None
        self._desk = desk

    async def do(self) -> None:
        """One round. Raises ConfigError with what is held, so that it is said once and shown until it is gone."""
        self.last = await settle_once(self._desk)
        if self.last.held:
            raise ConfigError(list(self.last.held))
