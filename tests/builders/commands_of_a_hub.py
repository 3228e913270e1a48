# SPDX-License-Identifier: Apache-2.0
"""Commands of a running hub and what came of them."""

from typing import Any

from hub.app.live import Running


def commands_of(hub: Running) -> list[tuple[str, Any]]:
    """What was asked and what came of it, in order."""
    journal = hub.wired.hub.components.recorder.journal
    return [(event.kind, event.body) for _, event in journal.events(["command.issued", "command.receipt"])]
