# SPDX-License-Identifier: Apache-2.0
"""Durable issue of commands: what an actuator may send is the return value of this write."""

from collections.abc import Sequence

from hub.journal.recorder import Recorder
from kernel.event import EventKind
from kernel.receipt import HubCause, Unreachable
from miner_control.fleet.command import WITHDRAWN, Command, Journalled, command_json, receipt_json


async def issue(recorder: Recorder, site: str, commands: Sequence[Command]) -> Journalled:
    """Journal `command.issued` of each command, with everything queued before, and wait until it is on disk.

    Raises OSError where the journal cannot be written: nothing may leave. The events stay queued, each with a receipt that
    says so, so that no command is left unanswered once the journal takes them.
    """
    for one in commands:
        recorder.emit(site, EventKind.COMMAND_ISSUED, command_json(one))
    try:
        await recorder.flush(required=True)
    except OSError:
        withdrawn = receipt_json(Unreachable(WITHDRAWN, HubCause.WITHDRAWN))
        for one in commands:
            recorder.emit(site, EventKind.COMMAND_RECEIPT, {**command_json(one), **withdrawn})
        raise
    return Journalled(tuple(commands))
