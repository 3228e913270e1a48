# SPDX-License-Identifier: Apache-2.0
"""Durable issue of commands: what an actuator may send is the return value of this write."""

from collections.abc import Sequence

from hub.journal.recorder import Recorder
from miner_control.fleet.command import Command, Journalled, command_json


async def issue(recorder: Recorder, site: str, commands: Sequence[Command]) -> Journalled:
    """Journal `command.issued` of each command, with everything queued before, and wait until it is on disk.

    Raises OSError where the journal cannot be written: the events stay queued, and nothing may leave.
    """
    for one in commands:
        recorder.tell(site, "command.issued", command_json(one))
    await recorder.flush(required=True)
    return Journalled(tuple(commands))
