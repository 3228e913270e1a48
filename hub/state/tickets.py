# SPDX-License-Identifier: Apache-2.0
"""Work tickets of faulty miners: opened once with the evidence, closed when cured, opened again on relapse.

The book is a fold of `ticket.opened` and `ticket.closed`. A finding must be seen twice in a row before a ticket is opened,
and be gone twice in a row from a miner that speaks before it is closed: a single odd answer sends nobody out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypedDict

from kernel.event import EventKind
from miner_control.health.health import HealthFinding
from miner_control.health.wake_recovery import WHAT

TWICE: Final = 2
Key = tuple[str, str]


class TicketClosed(TypedDict):
    """Payload of `ticket.closed`."""

    device: str
    what: str
    words: str


class TicketOpened(TicketClosed):
    """Payload of `ticket.opened`."""

    remedy: str
    evidence: dict[str, Any]
    loss_hs: float


@dataclass(frozen=True, slots=True)
class Ticket:
    """One thing wrong with one miner; `times` it was opened; `loss_hs` what it costs, where it is known."""

    device: str
    what: str
    text: str
    remedy: str
    evidence: Mapping[str, Any]
    loss_hs: float
    opened_ms: int
    closed_ms: int | None
    times: int

    @property
    def open(self) -> bool:
        return self.closed_ms is None

    def to_json(self) -> dict[str, Any]:
        """As API and command line show it."""
        return {
            "device": self.device, "what": self.what, "text": self.text, "remedy": self.remedy,
            "evidence": dict(self.evidence), "loss_hs": self.loss_hs, "opened_ms": self.opened_ms,
            "closed_ms": self.closed_ms, "times": self.times,
        }  # fmt: skip


class TicketBook:
    """All tickets by device and finding."""

    def __init__(self) -> None:
        self._tickets: dict[Key, Ticket] = {}

    def apply(self, kind: str, body: Mapping[str, Any], at_ms: int) -> None:
        """Fold one event."""
        key = (str(body["device"]), str(body["what"]))
        before = self._tickets.get(key)
        if kind == EventKind.TICKET_OPENED:
            self._tickets[key] = Ticket(
                *key, str(body["words"]), str(body["remedy"]), dict(body["evidence"]), float(body["loss_hs"]),
                at_ms, None, 1 if before is None else before.times + 1,
            )  # fmt: skip
        elif kind == EventKind.TICKET_CLOSED and before is not None:
            self._tickets[key] = replace(before, closed_ms=at_ms)

    def tickets(self, *, closed: bool = False) -> list[Ticket]:
        """Open tickets (or all), costliest first."""
        found = [one for one in self._tickets.values() if closed or one.open]
        return sorted(found, key=lambda one: (-one.loss_hs, one.opened_ms, one.device, one.what))

    def is_open(self, key: Key) -> bool:
        """Whether a ticket of this device and finding is open."""
        found = self._tickets.get(key)
        return found is not None and found.open


class Rounds:
    """What the last rounds of examination saw: remembers how often in a row each finding was there, or was gone."""

    def __init__(self) -> None:
        self._seen: dict[Key, int] = {}
        self._gone: dict[Key, int] = {}

    def judge(
        self, book: TicketBook, findings: Iterable[HealthFinding], over: frozenset[Key]
    ) -> list[tuple[EventKind, TicketOpened | TicketClosed]]:
        """The events of one round. `over`: what is not found any more on a fresh reading that can tell. Who did
        not come back is judged by the ladder."""
        now = {(one.device, one.what): one for one in findings}
        reported: list[tuple[EventKind, TicketOpened | TicketClosed]] = []
        self._seen = {key: self._seen.get(key, 0) + 1 for key in now}
        for key, one in now.items():
            self._gone.pop(key, None)
            if self._seen[key] >= TWICE and not book.is_open(key):
                reported.append(
                    (
                        EventKind.TICKET_OPENED,
                        {
                            "device": one.device,
                            "what": one.what,
                            "words": one.text,
                            "remedy": one.remedy,
                            "evidence": dict(one.evidence),
                            "loss_hs": one.loss_hs,
                        },
                    )
                )
        for ticket in book.tickets():
            key = (ticket.device, ticket.what)
            if key in now or key not in over or ticket.what == WHAT:
                continue
            self._gone[key] = self._gone.get(key, 0) + 1
            if self._gone[key] >= TWICE:
                del self._gone[key]
                reported.append(
                    (EventKind.TICKET_CLOSED, {"device": ticket.device, "what": ticket.what, "words": ticket.text})
                )
        return reported
