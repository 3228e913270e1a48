# SPDX-License-Identifier: Apache-2.0
"""The API of legal holds, `/api/v1/archive/holds`: who holds which readings and why; each change by name, with a reason."""

from typing import Any

from fastapi import APIRouter, Depends, Request

from hub.api.access import EVERY_SITE, Principal
from hub.api.body import object_of, texts_of
from hub.api.guard import Need
from hub.api.ports import ports_of
from hub.state.legal_holds import HoldBook, read_hold
from kernel.errors import NotFound
from kernel.event import EventKind

router = APIRouter(prefix="/api/v1/archive")
HOLD_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["from", "until", "why"],
                    "properties": {
                        "from": {"type": "string", "format": "date-time"},
                        "until": {"type": "string", "format": "date-time"},
                        "why": {"type": "string"},
                        "cited_by": {"type": "string", "description": "the paper or the case"},
                        "kinds": {"type": "array", "items": {"type": "string"}, "description": "without it: all"},
                    },
                }
            }
        },
    }
}
RELEASE_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object", "required": ["why"], "properties": {"why": {"type": "string"}}}
            }
        },
    }
}


def _book(request: Request, by: Principal) -> HoldBook:
    if EVERY_SITE not in by.sites:
        raise NotFound("holds are of the whole hub; your key is for some of its sites")
    return ports_of(request).holds


@router.get("/holds")
async def holds(request: Request, by: Principal = Depends(Need("archive:read"))) -> list[dict[str, Any]]:
    """All holds that were ever set, oldest first; `released` is null for what holds now."""
    return [entry.to_json() for entry in _book(request, by).entries()]


@router.post("/holds", openapi_extra=HOLD_SCHEMA, status_code=201)
async def hold(request: Request, by: Principal = Depends(Need("archive:hold"))) -> dict[str, Any]:
    """Keep readings of a span from deletion until it is released."""
    book = _book(request, by)
    asked = read_hold(await object_of(request))
    async with request.app.state.holding:
        body = book.add(asked, by.who)
        await ports_of(request).journal.record(EventKind.HOLD_ADDED, body, None)
    return _line(book, str(body["id"]))


@router.post("/holds/{hold_id}/release", openapi_extra=RELEASE_SCHEMA)
async def release(request: Request, hold_id: str, by: Principal = Depends(Need("archive:release"))) -> dict[str, Any]:
    """Let go of a person's hold, for a reason. A report's hold is never released."""
    book = _book(request, by)
    (why,) = texts_of(await object_of(request), "why")
    async with request.app.state.holding:
        try:
            body = book.release(hold_id, by.who, why)
        except KeyError:
            raise NotFound(f"no hold {hold_id[:60]!r}") from None
        await ports_of(request).journal.record(EventKind.HOLD_RELEASED, body, None)
    return _line(book, hold_id)


def _line(book: HoldBook, hold_id: str) -> dict[str, Any]:
    return next(entry.to_json() for entry in book.entries() if entry.id == hold_id)
