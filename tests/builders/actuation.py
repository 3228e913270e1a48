# SPDX-License-Identifier: Apache-2.0
"""One actuator over miners that are values, in virtual time."""

# SPDX-License-Identifier: Apache-2.0
from collections.abc import Awaitable, Callable
from typing import Any

from hub.app.virtual_time import VirtualLoop
from kernel.receipt import Receipt
from miner_control.control.actuator import Actuator
from miner_control.fleet.command import (
    Command,
    Intent,
    command,
)
from tests.miner_control.fleets import envelope
from tests.miner_control.miners import EPOCH_MS, FakeMiner, clock_of, in_virtual_time


class Site:
    """Fake miners, an actuator over them, and the receipts it gave."""

    def __init__(self, traits: list[str], loop: VirtualLoop, **options: Any) -> None:
        clock = clock_of(loop)
        self.miners = {f"h/s/m{at}": FakeMiner(f"h/s/m{at}", clock, trait) for at, trait in enumerate(traits)}
        self.receipts: list[tuple[Command, Receipt]] = []
        self.actuator = Actuator(
            self.miners, clock, lambda device: envelope(),
            lambda asked, receipt, at_ms: self.receipts.append((asked, receipt)), **options,
        )  # fmt: skip

    def ask(self, at: int, intent: Intent, tick_ms: int = EPOCH_MS, **options: Any) -> Command:
        return command(tick_ms, f"h/s/m{at}", intent, "test", **options)


def play(traits: list[str], story: Callable[[Site], Awaitable[None]], **options: Any) -> Site:
    loop = VirtualLoop()
    site = Site(traits, loop, **options)

    async def main() -> None:
        await story(site)
        await site.actuator.close()

    in_virtual_time(main(), loop)
    return site
