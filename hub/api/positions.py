# SPDX-License-Identifier: Apache-2.0
"""The API's register: where miners stand and whose they are, as dated facts."""

from typing import Any

from fastapi import APIRouter, Depends, Query, Request

from hub.access import Principal
from hub.api.guard import Need
from hub.api.routes import SITE, object_of
from hub.api.view import PlaceDesk

router = APIRouter(prefix="/api/v1")

FACTS_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["facts"],
                    "properties": {
                        "facts": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["device", "what", "value"],
                                "properties": {
                                    "device": {"type": "string", "description": "the miner's name within the site"},
                                    "what": {
                                        "type": "string",
                                        "description": "site, container, rack, position (or slot), feeder, phase, owner",
                                    },
                                    "value": {"type": "string"},
                                    "from": {"type": "string", "format": "date-time"},
                                },
                            },
                        },
                        "source": {"type": "string", "description": "who says so; default: a person"},
                        "dry_run": {"type": "boolean"},
                    },
                }
            }
        },
    }
}


def _places(request: Request) -> PlaceDesk:
    places: PlaceDesk = request.app.state.view.places
    return places


@router.get(SITE + "/facts")
async def facts(
    request: Request,
    site: str,
    device: str | None = Query(None, max_length=63),
    by: Principal = Depends(Need("fleet:read")),
) -> list[dict[str, Any]]:
    """What was learnt of where miners stand and whose they are, oldest first: what held last month is still known."""
    return _places(request).facts(site, device)


@router.post(SITE + "/facts", openapi_extra=FACTS_SCHEMA)
async def learn(request: Request, site: str, by: Principal = Depends(Need("miner:place"))) -> dict[str, Any]:
    """Say where miners stand: all of it or, where anything of it is wrong, nothing. It holds from the next control step."""
    body = await object_of(request)
    told = await _places(request).learn(site, body, by.who)
    detail = {"facts": len(told["learnt"]), "source": body.get("source", ""), "dry_run": told["dry_run"]}
    await request.app.state.guard.audit.acted(by, "miner:place", site, "done", detail)
    return told
