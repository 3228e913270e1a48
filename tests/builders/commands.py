# SPDX-License-Identifier: Apache-2.0
"""Commands for actuators under test, without a journal."""

from collections.abc import Iterable
from uuid import UUID

from kernel.receipt import Receipt
from miner_control.control.actuator import Actuator
from miner_control.fleet.command import Command, Journalled


def journalled(commands: Iterable[Command]) -> Journalled:
    """Commands as if the journal held them."""
    return Journalled(tuple(commands))


async def carry_out(actuator: Actuator, issued: Journalled) -> dict[UUID, Receipt]:
    """Send commands and wait for the last receipt of each."""
    return {key: await future for key, future in actuator.start(issued).items()}
