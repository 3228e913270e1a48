# SPDX-License-Identifier: Apache-2.0
"""Order book entry: phase of an order, its power over time, verdict, notes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from grid.limit import Priority
from grid.order import DispatchOrder
from kernel.clock import MS_PER_S, iso


class Phase(StrEnum):
    """Phase of an order."""

    RECEIVED = "received"
    REFUSED = "refused"
    ACCEPTED = "accepted"
    ACTING = "acting"
    HOLDING = "holding"
    RELEASED = "released"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


LIVE = frozenset({Phase.ACCEPTED, Phase.ACTING, Phase.HOLDING})
OVER = frozenset({Phase.REFUSED, Phase.RELEASED, Phase.EXPIRED, Phase.CANCELLED})


@dataclass(frozen=True, slots=True)
class Entry:
    """An order as it is now and as it was received (`asked`), with its history. `verdict`: from the meter, open until judged.

    - `caps`: (from_ms, power_w): its initial power and each change of it.
    - `observed_ms`: instant from which the site only observed while the order was live; from then on nothing of it was
      carried out.
    """

    order: DispatchOrder
    phase: Phase
    asked: DispatchOrder
    accepted_ms: int | None = None
    acting_ms: int | None = None
    holding_ms: int | None = None
    ended_ms: int | None = None
    why: str = ""
    verdict: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    caps: tuple[tuple[int, float], ...] = ()
    priority: Priority = Priority.DISPATCHER
    observed_ms: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As `hub.query.schema.OrderLine`."""
        order, verdict = self.order, self.verdict
        accepted_s = None if self.accepted_ms is None else (self.accepted_ms - order.received_ms) / MS_PER_S
        return {
            "id": order.id,
            "scope": order.scope,
            "power_w": order.power_w,
            "start_ms": order.span.start_ms,
            "end_ms": order.span.end_ms,
            "who": order.who,
            "channel": order.channel,
            "reference": order.reference,
            "reason": order.reason,
            "phase": str(self.phase),
            "received_ms": order.received_ms,
            "accepted_s": accepted_s,
            "refused": self.why if self.phase is Phase.REFUSED else "",
            "ended": self.why if self.phase in OVER and self.phase is not Phase.REFUSED else "",
            "ended_ms": self.ended_ms,
            "outcome": verdict.get("outcome", "open"),
            "obeyed_by_meter_s": verdict.get("obeyed_by_meter_s"),
            "over_s": verdict.get("over_s"),
            "coverage": verdict.get("coverage"),
            "notes": list(self.notes),
        }


def moved(entry: Entry, phase: Phase, at_ms: int) -> Entry:
    if phase is Phase.HOLDING:
        return replace(entry, phase=phase, holding_ms=at_ms)
    return replace(entry, phase=phase, acting_ms=at_ms if entry.acting_ms is None else entry.acting_ms)


def changed(entry: Entry, body: Mapping[str, Any], at_ms: int) -> Entry:
    when = iso(at_ms)
    if not body["accepted"]:
        return replace(entry, notes=(*entry.notes, f"{when} change by {body['who']} refused: {body['why']}"))
    order = entry.order.narrowed(body["power_w"], body["end_ms"], body["reason"])
    note = f"{when} changed by {body['who']}: {order.power_w:.0f} W until {iso(order.span.end_ms)}"
    lower = order.power_w < entry.order.power_w
    phase = Phase.ACTING if entry.phase is Phase.HOLDING and lower else entry.phase
    caps = entry.caps if order.power_w == entry.order.power_w else (*entry.caps, (at_ms, order.power_w))
    if at_ms <= order.span.start_ms:
        caps = ((order.span.start_ms, order.power_w),)
    return replace(entry, order=order, phase=phase, notes=(*entry.notes, note), caps=caps)
