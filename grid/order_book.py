# SPDX-License-Identifier: Apache-2.0
"""Order book: dispatch orders and their phases, event-sourced.

received -> refused | accepted -> acting (its span began) -> holding (the meter shows it) -> released | expired, and
accepted -> cancelled.

- `receive`, `change`, `end` and `tick` decide: they change nothing and return the events to journal. Only `apply` changes the
  book, so that it is the same before and after a restart.
- Overlapping orders: `limits` gives one Limit per order, and the lowest is in force (`grid.limit.cap_at`).
- A site that only observes carries out no order: a new order and a change are refused, and the next `tick` ends one that is
  live there. The same applies to an order that was live when its site last only observed, although the hub commands the site
  now: removing the setting starts nothing that was not carried out before. Once a control step has commanded, its orders
  remain.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from grid.limit import Limit, Priority
from grid.order import Change, DispatchOrder
from grid.order_entry import LIVE, OVER, Entry, Phase, changed, moved
from grid.order_events import (
    OrderAccepted,
    OrderChanged,
    OrderEnded,
    OrderPayload,
    OrderPhase,
    OrderReceived,
    OrderRefused,
)
from grid.signature import signed_by
from kernel.clock import MS_PER_S, iso
from kernel.event import Event, EventKind
from kernel.ids import business_id
from kernel.span import Span
from kernel.units import S_PER_DAY

Happening = tuple[EventKind, OrderPayload]
"""Kind and body of an event to be journalled. The runtime adds seq and at_ms, journals it, then calls `apply`."""

Advance = tuple[EventKind, OrderPhase | OrderEnded]
"""Event caused by time or by the meter."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A party that may give orders: for which scopes (a site key includes its feeders), with what priority.

    `public_key` (64 hex, Ed25519) verifies signatures; with `must_sign` unsigned messages are refused.
    """

    who: str
    scopes: tuple[str, ...]
    priority: Priority = Priority.DISPATCHER
    public_key: str | None = None
    must_sign: bool = False

    def covers(self, scope: str) -> bool:
        return any(_within(scope, own) for own in self.scopes)


@dataclass(frozen=True, slots=True)
class OrderRules:
    """Plausibility limits of orders, in seconds: duration, time ahead, age, difference of clocks."""

    longest_s: float = 31 * S_PER_DAY
    furthest_s: float = 31 * S_PER_DAY
    oldest_s: float = 900.0
    skew_s: float = 120.0


AFTER_OBSERVING = (
    "it was live while its site only observed (observe_only), and is not carried out later: send a new order"
)


class OrderBook:
    """All orders of a hub.

    `capacity_w`: connection capacity of each scope that can be ordered. `observing`: for each site that only observes, the
    reason why it and its feeders carry out no order.
    """

    def __init__(
        self,
        capacity_w: Mapping[str, float],
        rules: OrderRules | None = None,
        observing: Mapping[str, str] | None = None,
    ) -> None:
        self._capacity_w = dict(capacity_w)
        self._observing = dict(observing or {})
        self._rules = rules or OrderRules()
        self._entries: dict[str, Entry] = {}
        self._nonces: set[tuple[str, str]] = set()
        self._applied: set[tuple[str, str, int]] = set()
        self._observed: set[str] = set()
        """Sites whose last control step only observed."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, order_id: str) -> Entry | None:
        return self._entries.get(order_id)

    def entries(self) -> list[Entry]:
        """All orders, newest received first."""
        return sorted(self._entries.values(), key=lambda e: (e.order.received_ms, e.order.id), reverse=True)

    def live(self) -> list[Entry]:
        """Orders in force or accepted for later, by their start."""
        found = [entry for entry in self._entries.values() if entry.phase in LIVE]
        return sorted(found, key=lambda e: (e.order.span.start_ms, e.order.id))

    def limits(self, now_ms: int) -> list[Limit]:
        """One Limit per order that is not over at `now_ms`, including later ones (for the planner)."""
        return [
            Limit(
                scope=entry.order.scope,
                power_w=entry.order.power_w,
                span=entry.order.span,
                priority=entry.priority,
                rule=f"order {entry.order.name}",
                reason=entry.order.reason or f"order of {entry.order.who}",
            )
            for entry in self.live()
            if entry.order.span.end_ms > now_ms
        ]

    # ---- decisions: nothing here changes the book ----

    def receive(
        self, order: DispatchOrder, by: Authority, now_ms: int, body: Mapping[str, Any] | None = None
    ) -> tuple[str, list[Happening]]:
        """(order id, events): accepted or refused. A repeated order gives no event, or its end where it is live although its
        site only observes.

        `body` is the JSON as received, for its signature. A reference used before with other contents is refused under an id
        of its own: the first order remains, and `change` changes it.
        """
        known = self._entries.get(order.id)
        again = known is not None and known.phase is not Phase.REFUSED and known.asked.same_ask(order)
        if known is not None and again and (order.reference or known.phase in LIVE):
            return order.id, [*self._withdrawal(known, now_ms)]
        why, signed = self._message_objection(by, order.scope, body)
        why = why or self._observes(order.scope) or self._untimely(order, now_ms) or self._no_sense(order, now_ms)
        if known is not None:
            if known.phase is Phase.REFUSED and known.why == why:
                return order.id, []
            if known.phase is not Phase.REFUSED and order.reference:
                why = (
                    why or f"reference {order.reference!r} is another order's: change that one, or use a new reference"
                )
            made = business_id(now_ms, "order", order.id, f"{order.power_w:.3f}", order.span.end_ms)
            order = replace(order, id=str(made))
            if order.id in self._entries:
                return order.id, []
        received: Happening = (EventKind.ORDER_RECEIVED, OrderReceived(order=replace(order, signed=signed).to_json()))
        if why:
            return order.id, [received, (EventKind.ORDER_REFUSED, OrderRefused(id=order.id, why=why))]
        accepted: OrderAccepted = {"id": order.id, "priority": int(by.priority), "notes": self._notes(order)}
        return order.id, [received, (EventKind.ORDER_ACCEPTED, accepted)]

    def change(
        self, order_id: str, change: Change, by: Authority, now_ms: int, body: Mapping[str, Any] | None = None
    ) -> list[Happening]:
        """A new power, end or reason, at any phase before the end. A refused change leaves the order unchanged.

        KeyError where there is no such order.
        """
        entry = self._entries[order_id]
        end_ms = change.end_ms if change.end_ms is not None else entry.order.span.end_ms
        why, _ = self._message_objection(by, entry.order.scope, body)
        if not why and entry.phase not in LIVE:
            why = f"the order is {entry.phase}: give a new one"
        why = why or self._observes(entry.order.scope)
        if not why and end_ms <= max(entry.order.span.start_ms, now_ms):
            why = f"its new end {iso(end_ms)} is already over: end the order instead"
        if not why and by.priority > entry.priority and _loosens(entry.order, change):
            why = f"{by.who} speaks as {by.priority.name.lower()}: it may narrow this order, not loosen it"
        if not why:
            why = self._no_sense(entry.order.narrowed(change.power_w, end_ms, change.reason), now_ms)
        outcome: OrderChanged = {
            "id": order_id, "who": by.who, "accepted": not why, "why": why, "nonce": (body or {}).get("nonce"),
            "power_w": change.power_w, "end_ms": change.end_ms, "reason": change.reason,
        }  # fmt: skip
        return [(EventKind.ORDER_CHANGED, outcome)]

    def end(
        self, order_id: str, by: Authority, why: str, now_ms: int, body: Mapping[str, Any] | None = None
    ) -> list[Happening]:
        """Release an order, or cancel it before its start. Any authority over its scope can end it at any time.

        An ended order gives no event. KeyError where there is no such order.
        """
        entry = self._entries[order_id]
        if entry.phase not in LIVE:
            return []
        nonce = (body or {}).get("nonce")
        objection, _ = self._message_objection(by, entry.order.scope, body)
        if objection:
            refused: OrderChanged = {"id": order_id, "who": by.who, "accepted": False, "why": objection, "nonce": nonce}
            return [(EventKind.ORDER_CHANGED, refused)]
        how = _end_of(entry, now_ms)
        text = f"{how} by {by.who}" + (f": {why}" if why else "")
        ended: OrderEnded = {"id": order_id, "how": str(how), "who": by.who, "why": text, "nonce": nonce}
        return [(EventKind.ORDER_ENDED, ended)]

    def tick(self, now_ms: int, meters: Mapping[str, tuple[int, float]]) -> list[Advance]:
        """Events caused by time and meter. `meters` maps a scope to its newest (at_ms, power_w).

        HOLDING requires a meter sample taken after the order began, at or below it.
        """
        happenings: list[Advance] = []
        for entry in self.live():
            order, phase = entry.order, entry.phase
            if now_ms >= order.span.end_ms:
                over: OrderEnded = {"id": order.id, "how": str(Phase.EXPIRED), "who": "", "why": "its time is over"}
                happenings.append((EventKind.ORDER_ENDED, over))
                continue
            if withdrawn := self._withdrawal(entry, now_ms):
                happenings += withdrawn
                continue
            if phase is Phase.ACCEPTED and now_ms >= order.span.start_ms:
                happenings.append((EventKind.ORDER_PHASE, OrderPhase(id=order.id, phase=str(Phase.ACTING))))
                phase = Phase.ACTING
            sample = meters.get(order.scope)
            if phase is Phase.ACTING and sample and sample[0] >= order.span.start_ms and sample[1] <= order.power_w:
                shown: OrderPhase = {
                    "id": order.id,
                    "phase": str(Phase.HOLDING),
                    "sampled_ms": sample[0],
                    "power_w": sample[1],
                }
                happenings.append((EventKind.ORDER_PHASE, shown))
        return happenings

    def _withdrawal(self, entry: Entry, now_ms: int) -> list[Advance]:
        """End of a live order that its site does not carry out, because it observes, or observed while the order was live."""
        why = self._observes(entry.order.scope)
        if not why and entry.observed_ms is not None and any(_within(entry.order.scope, one) for one in self._observed):
            why = AFTER_OBSERVING
        if not why or entry.phase not in LIVE:
            return []
        how = _end_of(entry, now_ms)
        ended: OrderEnded = {"id": entry.order.id, "how": str(how), "who": "", "why": f"{how}: {why}"}
        return [(EventKind.ORDER_ENDED, ended)]

    def _observes(self, scope: str) -> str:
        """Reason why a scope carries out no order; "" where it does."""
        return next((why for site, why in self._observing.items() if _within(scope, site)), "")

    # ---- application of journalled events ----

    def stepped(self, site: str, at_ms: int, *, observing: bool) -> None:
        """Apply a control step of a site: one that only observes carries out none of the live orders."""
        if not observing:
            self._observed.discard(site)
            return
        self._mark(site, None if site in self._observed else at_ms)
        self._observed.add(site)

    def restarted(self) -> None:
        """Apply a start of the hub: an order received after the last step, which only observed, was not carried out either."""
        for site in self._observed:
            self._mark(site, None)

    def _mark(self, site: str, at_ms: int | None) -> None:
        """Mark a site's live orders as observed from an instant, or from their acceptance where `at_ms` is None."""
        for entry in self.live():
            if entry.observed_ms is None and _within(entry.order.scope, site):
                since_ms = entry.accepted_ms if at_ms is None else at_ms
                self._entries[entry.order.id] = replace(entry, observed_ms=since_ms)

    def apply(self, event: Event) -> None:
        """Apply one journalled event; events of other kinds are ignored, and a repeated event changes nothing."""
        if not event.kind.startswith("order.") or event.key in self._applied:
            return
        self._applied.add(event.key)
        body = event.body
        if event.kind == EventKind.ORDER_RECEIVED:
            order = DispatchOrder.from_json(body["order"])
            self._entries.setdefault(order.id, Entry(order, Phase.RECEIVED, order))
            if order.nonce:
                self._nonces.add((order.who, order.nonce))
            return
        if body.get("nonce"):
            self._nonces.add((body["who"], str(body["nonce"])))
        entry = self._entries.get(body["id"])
        if entry is None or (entry.phase in OVER and event.kind != EventKind.ORDER_VERDICT):
            return
        if event.kind in (EventKind.ORDER_ACCEPTED, EventKind.ORDER_REFUSED) and entry.phase is not Phase.RECEIVED:
            return
        match event.kind:
            case EventKind.ORDER_ACCEPTED:
                notes, priority = tuple(body["notes"]), Priority(body["priority"])
                caps = ((entry.order.span.start_ms, entry.order.power_w),)
                entry = replace(entry, phase=Phase.ACCEPTED, accepted_ms=event.at_ms, notes=notes, caps=caps)
                entry = replace(entry, priority=priority)
            case EventKind.ORDER_REFUSED:
                entry = replace(entry, phase=Phase.REFUSED, why=body["why"], ended_ms=event.at_ms)
            case EventKind.ORDER_PHASE:
                entry = moved(entry, Phase(body["phase"]), event.at_ms)
            case EventKind.ORDER_CHANGED:
                entry = changed(entry, body, event.at_ms)
            case EventKind.ORDER_ENDED:
                span = entry.order.span
                end_ms = min(span.end_ms, max(event.at_ms, span.start_ms))
                order = replace(entry.order, span=Span(span.start_ms, end_ms))
                entry = replace(entry, order=order, phase=Phase(body["how"]), why=body["why"], ended_ms=event.at_ms)
            case EventKind.ORDER_VERDICT:
                entry = replace(entry, verdict=dict(body))
        self._entries[entry.order.id] = entry

    # ---- checks ----

    def _message_objection(self, by: Authority, scope: str, body: Mapping[str, Any] | None) -> tuple[str, bool]:
        """(reason why this message is not accepted, or ""; whether a valid signature was verified)."""
        body = body or {}
        nonce, signed = body.get("nonce"), "signature" in body
        if not by.covers(scope):
            return f"{by.who} may not give orders for {scope}", False
        if by.must_sign and not signed:
            return f"{by.who} must sign its orders", False
        if signed and by.public_key is None:
            return f"no public key of {by.who} is known: its signature cannot be checked", False
        if signed and not signed_by(by.public_key or "", body):
            return "the signature does not fit the order", False
        if signed and not (nonce and body.get("issued")):
            return "a signed order needs nonce and issued, against replay", False
        if nonce and (by.who, str(nonce)) in self._nonces:
            return f"nonce {str(nonce)[:60]!r} was used before: this is a replay", False
        return "", signed

    def _untimely(self, order: DispatchOrder, now_ms: int) -> str:
        rules = self._rules
        if order.expires_ms is not None and now_ms > order.expires_ms:
            return f"it came after it expired at {iso(order.expires_ms)}"
        if order.issued_ms is None:
            return ""
        age_s = (now_ms - order.issued_ms) / MS_PER_S
        if age_s < -rules.skew_s:
            return f"it was issued {-age_s:.0f} s in the future: check the clocks"
        if order.expires_ms is None and age_s > rules.oldest_s:
            return f"it was issued {age_s:.0f} s ago; older than {rules.oldest_s:.0f} s needs its own expires"
        return ""

    def _no_sense(self, order: DispatchOrder, now_ms: int) -> str:
        rules, capacity_w = self._rules, self._capacity_w.get(order.scope)
        if capacity_w is None:
            return f"{order.scope} is none of {', '.join(sorted(self._capacity_w))}"
        if order.power_w > 10 * capacity_w:
            return f"{order.power_w:.0f} W is more than ten times the connection of {capacity_w:.0f} W: check the unit"
        if order.span.end_ms <= now_ms:
            return f"it was over at {iso(order.span.end_ms)}"
        if order.span.seconds > rules.longest_s:
            return f"it lasts {order.span.hours:.1f} h; the longest is {rules.longest_s / 3600:.0f} h"
        if order.span.start_ms > now_ms + rules.furthest_s * MS_PER_S:
            return f"it starts more than {rules.furthest_s / 3600:.0f} h ahead"
        return ""

    def _notes(self, order: DispatchOrder) -> list[str]:
        notes = []
        if order.power_w >= self._capacity_w[order.scope]:
            notes.append("does not bind: at or above the connection's capacity")
        lower = [e.order for e in self.live() if e.order.scope == order.scope and e.order.span.overlap(order.span)]
        if any(other.power_w < order.power_w for other in lower):
            notes.append("narrowed for a part of its time by a lower order")
        return notes


def _within(scope: str, site: str) -> bool:
    return scope == site or scope.startswith(site + "/")


def _end_of(entry: Entry, now_ms: int) -> Phase:
    """Phase of an order that an authority or the hub ends now."""
    return Phase.CANCELLED if now_ms < entry.order.span.start_ms else Phase.RELEASED


def _loosens(order: DispatchOrder, change: Change) -> bool:
    return (change.power_w is not None and change.power_w > order.power_w) or (
        change.end_ms is not None and change.end_ms < order.span.end_ms
    )
