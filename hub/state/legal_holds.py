# SPDX-License-Identifier: Apache-2.0
"""Legal holds: which readings may not be deleted, by whose decision, since when; a fold of the journal's `hold.*` events.

There are two kinds. A report's hold is set by the hub for the span that the report rests on, and nobody
releases it: what a report cites is never deleted. A person's hold (a dispute, an audit) is set and released by name, with
a reason, and both stay in the journal. Settlement holds the meters' readings as a whole, for every payout divides by them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from hub.config.request import Instant, Request, Text, example
from hub.state.meter import AROUND_MS
from kernel.clock import from_iso, iso
from kernel.errors import ConfigError, Fault
from kernel.event import EventKind
from kernel.metric import SCHEMAS
from kernel.span import Span
from telemetry.store.retention import Hold

HUB = "hub"
ALL_TIME = Span(0, 1 << 47)
CITED_KINDS: Mapping[str, frozenset[str] | None] = {
    "site-energy": frozenset({"meter"}),
    "treasury-statement": None,
}
"""Kinds of readings that a report rests on; None: the ledger alone. A report that is not listed holds all kinds."""

SETTLEMENT = Hold(
    ALL_TIME, "settlement", "each payout is divided by the billing meters' energy of its span", frozenset({"meter"})
)


class HoldAdded(TypedDict):
    """Payload of `hold.added`. No `kinds`: readings of every kind."""

    id: str
    start_ms: int
    end_ms: int
    kinds: list[str]
    cited_by: str
    why: str
    by: str


class HoldReleased(TypedDict):
    """Payload of `hold.released`."""

    id: str
    by: str
    why: str


@dataclass(frozen=True, slots=True)
class StandingHold:
    """A hold and its history. `by` is HUB where a report set it."""

    id: str
    hold: Hold
    by: str
    since_ms: int
    released_by: str = ""
    released_why: str = ""
    released_ms: int | None = None

    def to_json(self) -> dict[str, Any]:
        span = self.hold.span
        return {
            "id": self.id, "from": iso(span.start_ms), "to": iso(span.end_ms), "kinds": sorted(self.hold.kinds),
            "cited_by": self.hold.cited_by, "why": self.hold.why, "by": self.by, "since": iso(self.since_ms),
            "released": None if self.released_ms is None else iso(self.released_ms),
            "released_by": self.released_by, "released_why": self.released_why,
        }  # fmt: skip


class HoldBook:
    """All holds that were ever set, by id. Changed by `apply` alone; the other methods give the events' bodies."""

    def __init__(self) -> None:
        self._holds: dict[str, StandingHold] = {}

    def entries(self) -> list[StandingHold]:
        """In the order in which they were set, released ones too."""
        return list(self._holds.values())

    def standing(self) -> list[Hold]:
        """What holds now."""
        return [entry.hold for entry in self._holds.values() if entry.released_ms is None]

    def add(self, hold: Hold, by: str) -> HoldAdded:
        """The body of a person's `hold.added`; its id is the next free one."""
        number = 1 + sum(entry.by != HUB for entry in self._holds.values())
        return _body(f"hold-{number}", hold, by)

    def cite(self, report: str, hold: Hold) -> HoldAdded | None:
        """The body of a report's `hold.added`, or None where it stands already."""
        return None if report in self._holds else _body(report, hold, HUB)

    def release(self, hold_id: str, by: str, why: str) -> HoldReleased:
        """The body of `hold.released`. Raises KeyError where there is none, ConfigError where it may not be released."""
        entry = self._holds[hold_id]
        if entry.by == HUB:
            raise ConfigError([Fault(hold_id, "is a report's hold", "What a report cites is kept; it is not released")])
        if entry.released_ms is not None:
            raise ConfigError([Fault(hold_id, f"was released by {entry.released_by}", "Nothing is left to do")])
        return {"id": hold_id, "by": by, "why": why}

    def apply(self, kind: str, body: Mapping[str, Any], at_ms: int) -> None:
        """Take in `hold.added` or `hold.released`."""
        if kind == EventKind.HOLD_ADDED:
            span = Span(int(body["start_ms"]), int(body["end_ms"]))
            hold = Hold(span, str(body["cited_by"]), str(body["why"]), frozenset(body["kinds"]))
            self._holds[str(body["id"])] = StandingHold(str(body["id"]), hold, str(body["by"]), at_ms)
        elif kind == EventKind.HOLD_RELEASED:
            entry = self._holds[str(body["id"])]
            self._holds[entry.id] = StandingHold(
                entry.id, entry.hold, entry.by, entry.since_ms, str(body["by"]), str(body["why"]), at_ms
            )


def _body(hold_id: str, hold: Hold, by: str) -> HoldAdded:
    return {
        "id": hold_id, "start_ms": hold.span.start_ms, "end_ms": hold.span.end_ms, "kinds": sorted(hold.kinds),
        "cited_by": hold.cited_by, "why": hold.why, "by": by,
    }  # fmt: skip


def hold_of_payouts(last_ms: int) -> Hold:
    """What the payouts up to the last one hold, whether or not settlement is still configured."""
    span = Span(0, last_ms + AROUND_MS)
    return Hold(span, "payouts", "what was paid was divided by metered energy", frozenset({"meter"}))


def hold_of_report(name: str, document: Mapping[str, Any]) -> Hold | None:
    """What a report holds: the readings of its period and those around it that settle its edges, or None where it rests on
    none. Raises KeyError, ValueError."""
    kinds = CITED_KINDS.get(str(document["report"]), frozenset())
    if kinds is None:
        return None
    start_ms, end_ms = int(document["period"]["start_ms"]), int(document["period"]["end_ms"])
    return Hold(
        Span(start_ms - AROUND_MS, end_ms + AROUND_MS), f"report {name}", "a report rests on these readings", kinds
    )


def _kind(text: str) -> str:
    if text not in SCHEMAS:
        raise ValueError("is no kind of readings")
    return text


Kind = Annotated[str, AfterValidator(_kind)]


class HoldRequest(Request):
    """Readings that are to be kept from deletion."""

    model_config = example(
        {"from": "2026-01-01T00:00:00+05:00", "until": "2026-02-01T00:00:00+05:00", "why": "dispute 7"}
    )

    start: Instant = Field(alias="from", description="Write an instant such as 2026-01-01T00:00:00+05:00")
    until: Instant = Field(description="Write an instant such as 2026-01-01T00:00:00+05:00")
    why: Text = Field(description="Give the reason in 1 to 500 characters")
    cited_by: str = Field(default="", max_length=200, description="Name the paper or the case, in up to 200 characters")
    kinds: tuple[Kind, ...] = Field(default=(), description=f"A list of: {', '.join(sorted(SCHEMAS))}; without it: all")

    @field_validator("until")
    @classmethod
    def _after(cls, until: str, info: ValidationInfo) -> str:
        start = info.data.get("start")
        if start is not None and from_iso(until) <= from_iso(start):
            raise ValueError("does not lie after from")
        return until

    def hold(self) -> Hold:
        """The hold that is asked for."""
        span = Span(from_iso(self.start), from_iso(self.until))
        return Hold(span, self.cited_by.strip(), self.why, frozenset(self.kinds))


def holders(path_span: Span, kind: str, holds: Iterable[Hold]) -> list[str]:
    """Who holds readings of a kind in a span."""
    return sorted(
        {
            hold.cited_by or hold.why
            for hold in holds
            if hold.span.overlap(path_span) and (not hold.kinds or kind in hold.kinds)
        }
    )
