# SPDX-License-Identifier: Apache-2.0
"""Log line of an event."""

from hub.query.schema import EventLine
from hub.state.event_table import EVENTS
from kernel.event import Event


def line(event: Event) -> EventLine:
    """Kind, level and sentence of an event. An event of a newer hub, unknown here, is shown by its kind."""
    row = EVENTS.get(event.kind)
    if row is None:
        return {"at_ms": event.at_ms, "kind": event.kind, "level": "info", "text": event.kind}
    return {
        "at_ms": event.at_ms,
        "kind": event.kind,
        "level": row.level_of(event.body),
        "text": row.text(event.body),
    }
