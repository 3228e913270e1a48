# SPDX-License-Identifier: Apache-2.0
"""Dispatch orders: reading from JSON with all faults at once, derived id, changes.

The id is derived from the content, so that a repeated order gets the same id. JSON of an order (also the object that is
signed, see `grid.signature`):

    {"scope": "hub/site", "power_w": 1500000, "from": "2026-01-05T10:00:00+05:00", "until": "2026-01-05T12:00:00+05:00",
     "reference": "D-117", "reason": "line 5 out", "emergency": false,
     "issued": "...", "expires": "...", "nonce": "...", "signature": "<128 hex>"}

`scope`, `power_w` and `until` are required. Without `from` it starts when it is received. `sense` may be `at_most`, the only
sense supported: power drawn from the grid is at most `power_w`. Instants are RFC 3339 with an offset.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kernel.clock import from_iso, iso
from kernel.errors import ConfigError, Fault
from kernel.ids import business_id
from kernel.span import Span
from kernel.text import entered

KNOWN = frozenset(
    (
        "scope",
        "sense",
        "power_w",
        "from",
        "until",
        "reference",
        "reason",
        "emergency",
        "issued",
        "expires",
        "nonce",
        "signature",
    )
)
CHANGEABLE = frozenset(("power_w", "until", "reason"))
ENVELOPE = frozenset(("change", "nonce", "issued", "signature"))
MAX_TEXT = 500


@dataclass(frozen=True, slots=True)
class DispatchOrder:
    """Power drawn from the grid in `scope` is at most `power_w` during `span`.

    `reference`: the dispatcher's own number. `expires_ms`: the order must not be accepted after this instant.
    """

    id: str
    scope: str
    power_w: float
    span: Span
    who: str
    channel: str
    reference: str
    reason: str
    emergency: bool
    received_ms: int
    issued_ms: int | None = None
    expires_ms: int | None = None
    nonce: str | None = None
    signed: bool = False

    @property
    def name(self) -> str:
        """Name for display: the dispatcher's reference, else the end of its id."""
        return self.reference or self.id[-12:]

    def same_ask(self, other: "DispatchOrder") -> bool:
        """Whether both orders demand the same: an order repeated later or by another channel is still the same order."""
        return (self.scope, self.power_w, self.span.end_ms, self.emergency) == (
            other.scope,
            other.power_w,
            other.span.end_ms,
            other.emergency,
        )

    def narrowed(self, power_w: float | None, end_ms: int | None, reason: str | None) -> "DispatchOrder":
        """The same order with another power, end or reason."""
        return replace(
            self,
            power_w=self.power_w if power_w is None else power_w,
            span=self.span if end_ms is None else Span(self.span.start_ms, end_ms),
            reason=self.reason if reason is None else reason,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "scope": self.scope,
            "power_w": self.power_w,
            "start_ms": self.span.start_ms,
            "end_ms": self.span.end_ms,
            "who": self.who,
            "channel": self.channel,
            "reference": self.reference,
            "reason": self.reason,
            "emergency": self.emergency,
            "received_ms": self.received_ms,
            "issued_ms": self.issued_ms,
            "expires_ms": self.expires_ms,
            "nonce": self.nonce,
            "signed": self.signed,
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "DispatchOrder":
        """The inverse of `to_json`: for events of the hub's own journal."""
        fields = {name: body[name] for name in body if name not in ("start_ms", "end_ms")}
        return cls(span=Span(body["start_ms"], body["end_ms"]), **fields)


class _Reader:
    """Reader of the fields of a JSON object; collects all faults."""

    def __init__(self, body: Mapping[str, Any], place: str) -> None:
        self.body = body
        self.place = place
        self.faults: list[Fault] = []

    def fault(self, name: str, problem: str, remedy: str) -> None:
        self.faults.append(Fault(f"{self.place}.{name}", problem, remedy))

    def text(self, name: str, default: str = "") -> str:
        found = self.body.get(name, default)
        remedy = f"Write at most {MAX_TEXT} characters without control characters"
        if not isinstance(found, str) or len(found) > MAX_TEXT:
            self.fault(name, "is no text of one line", remedy)
            return default
        try:
            return entered(found)
        except ValueError as error:
            self.fault(name, str(error), remedy)
            return default

    def instant_ms(self, name: str) -> int | None:
        found = self.body.get(name)
        if found is None:
            return None
        try:
            return from_iso(found)
        except (ValueError, TypeError, OverflowError):
            self.fault(
                name, f"{str(found)[:60]!r} is no instant with an offset", "Write such as 2026-01-05T10:00:00+05:00"
            )
            return None

    def power_w(self, name: str) -> float | None:
        found = self.body.get(name)
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found) or found < 0:
            self.fault(
                name, f"{str(found)[:60]!r} is no power", "Write watts drawn from the grid, 0 or more, as a number"
            )
            return None
        return float(found)

    def flag(self, name: str) -> bool:
        found = self.body.get(name, False)
        if not isinstance(found, bool):
            self.fault(name, f"{str(found)[:60]!r} is not true or false", "Write true or false")
            return False
        return found


def read_order(body: Any, who: str, channel: str, now_ms: int) -> DispatchOrder:
    """An order from its JSON object; unsigned until `grid.signature` has verified it.

    ConfigError with every fault. Unknown fields are faults: a misspelt field must not be ignored.
    """
    if not isinstance(body, Mapping):
        raise ConfigError([Fault("order", "is no JSON object", 'Send {"scope": ..., "power_w": ..., "until": ...}')])
    reader = _Reader(body, "order")
    for name in sorted(str(name) for name in body if name not in KNOWN):
        reader.fault(name[:60], "is not a field of an order", f"Use {', '.join(sorted(KNOWN))}")
    scope = reader.text("scope")
    power_w, end_ms = reader.power_w("power_w"), reader.instant_ms("until")
    start_ms = reader.instant_ms("from")
    for name, found in (("scope", scope), ("power_w", body.get("power_w")), ("until", body.get("until"))):
        if found in (None, ""):
            reader.fault(name, "is missing", "It is required")
    if reader.text("sense", "at_most") != "at_most":
        reader.fault("sense", "is not at_most", "An order may only cap what is drawn; nothing here raises load")
    begin_ms = now_ms if start_ms is None else start_ms
    if end_ms is not None and end_ms <= begin_ms:
        reader.fault("until", f"{iso(end_ms)} is not after its start {iso(begin_ms)}", "Give a later end")
    reference, reason, nonce = reader.text("reference"), reader.text("reason"), reader.text("nonce") or None
    emergency = reader.flag("emergency")
    issued_ms, expires_ms = reader.instant_ms("issued"), reader.instant_ms("expires")
    if reader.faults or power_w is None or end_ms is None:
        raise ConfigError(reader.faults)
    key = (reference,) if reference else (f"{power_w:.3f}", end_ms, int(emergency))
    made = business_id(end_ms if start_ms is None else start_ms, "order", scope, who, *key)
    return DispatchOrder(
        id=str(made),
        scope=scope,
        power_w=power_w,
        span=Span(begin_ms, end_ms),
        who=who,
        channel=channel,
        reference=reference,
        reason=reason,
        emergency=emergency,
        received_ms=now_ms,
        issued_ms=issued_ms,
        expires_ms=expires_ms,
        nonce=nonce,
    )


@dataclass(frozen=True, slots=True)
class Change:
    """Changes to an order; None: unchanged."""

    power_w: float | None
    end_ms: int | None
    reason: str | None


def read_change(body: Any) -> Change:
    """A change of an order from its JSON object: any of `power_w`, `until`, `reason`. Raises ConfigError.

    `change`, `nonce`, `issued` and `signature` are the envelope of a signed message and are accepted.
    """
    if not isinstance(body, Mapping) or not body:
        raise ConfigError([Fault("change", "is no JSON object", "Send any of power_w, until, reason")])
    reader = _Reader(body, "change")
    for name in sorted(str(name) for name in body if name not in CHANGEABLE | ENVELOPE):
        reader.fault(name[:60], "cannot be changed", "End the order and give a new one")
    change = Change(
        reader.power_w("power_w"), reader.instant_ms("until"), reader.text("reason") if "reason" in body else None
    )
    if not CHANGEABLE & set(body):
        reader.fault("body", "changes nothing", "Send any of power_w, until, reason")
    if reader.faults:
        raise ConfigError(reader.faults)
    return change
