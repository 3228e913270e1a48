# SPDX-License-Identifier: Apache-2.0
"""The API of legal holds, `/api/v1/archive/holds`: who holds which readings and why; each change by name, with a reason."""

from typing import Any

from fastapi import APIRouter, Depends, Request

from hub.api.access import EVERY_SITE, Principal
from hub.api.body import Why
from hub.api.guard import GuardedRoute, Need
from hub.api.ports import ports_of
from hub.state.legal_holds import HoldBook, HoldRequest
from kernel.errors import NotFound
from kernel.event import EventKind

router = APIRouter(prefix="/api/v1/archive", route_class=GuardedRoute)


def _book(request: Request, by: Principal) -> HoldBook:
    if EVERY_SITE not in by.sites:
        raise NotFound("holds are of the whole hub; your key is for some of its sites")
    return ports_of(request).holds


@router.get("/holds")
async def holds(request: Request, by: Principal = Depends(Need("archive:read"))) -> list[dict[str, Any]]:
    """All holds that were ever set, oldest first; `released` is null for what holds now."""
    return [entry.to_json() for entry in _book(request, by).entries()]


@router.post("/holds", status_code=201)
async def hold(request: Request, body: HoldRequest, by: Principal = Depends(Need("archive:hold"))) -> dict[str, Any]:
    """Keep readings of a span from deletion until it is released."""
    book = _book(request, by)
    async with request.app.state.holding:
        event = book.add(body.hold(), by.who)
        await ports_of(request).journal.record(EventKind.HOLD_ADDED, by.actor.on(event), None)
    return _line(book, str(event["id"]))


@router.post("/holds/{hold_id}/release")
async def release(
    request: Request, hold_id: str, body: Why, by: Principal = Depends(Need("archive:release"))
) -> dict[str, Any]:
    """Let go of a person's hold, for a reason. A report's hold is never released."""
    book = _book(request, by)
    async with request.app.state.holding:
        try:
            event = book.release(hold_id, by.who, body.why)
        except KeyError:
            raise NotFound(f"no hold {hold_id[:60]!r}") from None
        await ports_of(request).journal.record(EventKind.HOLD_RELEASED, by.actor.on(event), None)
    return _line(book, hold_id)


def _line(book: HoldBook, hold_id: str) -> dict[str, Any]:
    return next(entry.to_json() for entry in book.entries() if entry.id == hold_id)
