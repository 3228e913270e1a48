# SPDX-License-Identifier: Apache-2.0
"""Envelope and kinds of the journal's events: what the hub decided, received or noticed, apart from measurements.

Kinds are named `subject.what`. `hub/state/event_table.py` says for each what folds it and how it reads as a sentence;
docs/reference/events.md is made from that table.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class EventKind(StrEnum):
    """Kinds of events that the hub writes. Values are stored: they never change (a new name needs an alias)."""

    HUB_STARTED = "hub.started"
    HUB_STOPPED = "hub.stopped"
    CLOCK_STEPPED = "clock.stepped"
    HUB_LATE = "hub.late"
    TASK_FAILED = "task.failed"
    DATA_LOST = "data.lost"
    SOURCE_SILENT = "source.silent"
    SOURCE_RETURNED = "source.returned"
    PRICE_CURVE = "price.curve"
    ORDER_RECEIVED = "order.received"
    ORDER_SET_ASIDE = "order.set_aside"
    ORDER_ACCEPTED = "order.accepted"
    ORDER_REFUSED = "order.refused"
    ORDER_PHASE = "order.phase"
    ORDER_CHANGED = "order.changed"
    ORDER_VERDICT = "order.verdict"
    ORDER_ENDED = "order.ended"
    PLAN_MADE = "plan.made"
    TICK_DECIDED = "tick.decided"
    COMMAND_ISSUED = "command.issued"
    COMMAND_RECEIPT = "command.receipt"
    OWNER_CHANGED = "owner.changed"
    THIRD_PARTY_DETECTED = "third_party.detected"
    THIRD_PARTY_CLEARED = "third_party.cleared"
    JOB_PROPOSED = "job.proposed"
    JOB_CHANGED = "job.changed"
    JOB_WAVE = "job.wave"
    WAKE_RECOVERY_STEP = "wake_recovery.step"
    WAKE_RECOVERY_REPORTED = "wake_recovery.reported"
    TICKET_OPENED = "ticket.opened"
    TICKET_CLOSED = "ticket.closed"
    DYNAMICS_IDENTIFIED = "dynamics.identified"
    PERFORMANCE_UPDATED = "performance.updated"
    ASSET_FACT_RECORDED = "asset.fact_recorded"
    BUTTON_PRESSED = "button.pressed"
    COMMISSIONING_BEGUN = "commissioning.begun"
    COMMISSIONING_ENDED = "commissioning.ended"
    FEEDER_MAPPING_REQUESTED = "feeder_mapping.requested"
    FEEDER_MAPPING_STEP = "feeder_mapping.step"
    FEEDER_MAPPING_JUDGED = "feeder_mapping.judged"
    FEEDER_MAPPING_ENDED = "feeder_mapping.ended"
    ALARM_CHANGED = "alarm.changed"
    POOL_EVIDENCE = "pool.evidence"
    RATE_RECORDED = "rate.recorded"
    SALE_POSTED = "sale.posted"
    PAYOUT_POSTED = "payout.posted"
    REPORT_MADE = "report.made"
    REPORT_PULLED = "report.pulled"
    API_ACTED = "api.acted"
    ACCESS_ENTERED = "access.entered"
    ACCESS_DENIED = "access.denied"
    HOLD_ADDED = "hold.added"
    HOLD_RELEASED = "hold.released"
    ARCHIVE_DELETED = "archive.deleted"
    OPERATOR_NOTE = "operator.note"


ALIASES: Final[Mapping[str, EventKind]] = {
    "hand.seen": EventKind.THIRD_PARTY_DETECTED,
    "hand.gone": EventKind.THIRD_PARTY_CLEARED,
    "usual.learnt": EventKind.PERFORMANCE_UPDATED,
    "dynamics.learnt": EventKind.DYNAMICS_IDENTIFIED,
    "fact.learnt": EventKind.ASSET_FACT_RECORDED,
    "walk.begun": EventKind.COMMISSIONING_BEGUN,
    "walk.ended": EventKind.COMMISSIONING_ENDED,
    "pulse.asked": EventKind.FEEDER_MAPPING_REQUESTED,
    "pulse.step": EventKind.FEEDER_MAPPING_STEP,
    "pulse.judged": EventKind.FEEDER_MAPPING_JUDGED,
    "pulse.ended": EventKind.FEEDER_MAPPING_ENDED,
    "campaign.proposed": EventKind.JOB_PROPOSED,
    "campaign.changed": EventKind.JOB_CHANGED,
    "campaign.wave": EventKind.JOB_WAVE,
    "straggler.step": EventKind.WAKE_RECOVERY_STEP,
    "restore.reported": EventKind.WAKE_RECOVERY_REPORTED,
}
"""Former names of kinds in older journals. Stored bytes are never rewritten; names are mapped when they are read."""

FORMER: Final[Mapping[EventKind, tuple[str, ...]]] = {
    kind: tuple(name for name, now in ALIASES.items() if now is kind) for kind in EventKind
}
"""Former names of each kind."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event. Its key is (site, writer, seq): a writer counts its own events from 1 without gaps, so that a second
    delivery of the same event is recognised. `body` holds JSON values only; `kind` and `version` give its shape.

    `kind` is an EventKind; an event that a newer hub wrote has a kind that is unknown here, as plain text.
    """

    kind: str
    version: int
    site: str
    writer: str
    seq: int
    at_ms: int
    body: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, str, int]:
        return self.site, self.writer, self.seq


def kind_read(name: str) -> str:
    """The kind of a stored name: an EventKind, also for a former name; the name itself where it is unknown."""
    try:
        return ALIASES.get(name) or EventKind(name)
    except ValueError:
        return name


def kind_to_write(name: str) -> EventKind:
    """The kind of an event to be written. Raises ValueError where there is none of this name, or it is a former name."""
    try:
        return EventKind(name)
    except ValueError:
        now = f"it is {ALIASES[name]} now" if name in ALIASES else "add it to kernel.event.EventKind"
        raise ValueError(f"{name!r} is no event kind: {now}") from None


def stored_names(kinds: Iterable[str]) -> list[str]:
    """Names under which events of some kinds may be stored: former ones as well. A former name stands for its kind."""
    found = {kind_read(kind) for kind in kinds}
    return sorted({str(kind) for kind in found} | {name for name, kind in ALIASES.items() if kind in found})
