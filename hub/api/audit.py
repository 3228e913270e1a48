# SPDX-License-Identifier: Apache-2.0
"""Everything that acts, enters, pulls or is denied is an event of the journal, written before its effect leaves the hub.

The journal is append-only and its events carry the writer's own sequence: the audit needs no second store. A secret never
enters a body: keys are named by their owner.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from hub.api.access import Principal
from hub.journal.payloads import AccessDenied, AccessEntered, ApiActed, ReportPulled
from kernel.event import EventKind

Record = Callable[[EventKind, Mapping[str, Any], str | None], Awaitable[None]]


class Audit:
    """Writes through `record(kind, body, site)`, which returns once the journal holds the event."""

    def __init__(self, record: Record) -> None:
        self._record = record

    async def entered(self, by: Principal, address: str) -> None:
        body: AccessEntered = {"who": by.who, "role": str(by.role), "from": address}
        await self._record(EventKind.ACCESS_ENTERED, by.actor.on(body), None)

    async def denied(self, who: str, asked: str, permission: str, why: str, address: str, site: str | None) -> None:
        body: AccessDenied = {"who": who, "asked": asked, "permission": permission, "why": why, "from": address}
        await self._record(EventKind.ACCESS_DENIED, body, site)

    async def acted(self, by: Principal, what: str, site: str, outcome: str, detail: Mapping[str, Any]) -> None:
        act: ApiActed = {"who": by.who, "role": str(by.role), "way": by.way, "what": what, "outcome": outcome}
        await self._record(EventKind.API_ACTED, by.actor.on({**act, **detail}), site)

    async def pulled(self, by: Principal, site: str, report: str, form: str, sha256: str) -> None:
        body: ReportPulled = {"who": by.who, "role": str(by.role), "report": report, "form": form, "sha256": sha256}
        await self._record(EventKind.REPORT_PULLED, by.actor.on(body), site)
