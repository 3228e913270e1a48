# SPDX-License-Identifier: Apache-2.0
"""The API's bulk work: propose, approve by a second person, pause, resume, retry, restore, end."""

from typing import Any

from fastapi import APIRouter, Depends, Request

from hub.api.access import Principal
from hub.api.body import SITE, object_of, of_site, texts_of
from hub.api.guard import Need
from hub.api.ports import ports_of

router = APIRouter(prefix="/api/v1")

PROPOSAL_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["name", "intent"],
                    "properties": {
                        "name": {"type": "string"},
                        "intent": {"type": "string", "description": "sleep, mode=low, pools=main, firmware=1.2.3 ..."},
                        "devices": {"type": "array", "items": {"type": "string"}},
                        "where": {"type": "object", "description": "patterns of rack, model, feeder, firmware, state"},
                        "canary": {"type": "integer", "minimum": 0},
                        "wave_share": {"type": "number"},
                        "failure_share": {"type": "number"},
                        "gap_s": {"type": "number"},
                        "deadline_s": {"type": "number"},
                        "dry_run": {"type": "boolean"},
                    },
                }
            }
        },
    }
}


@router.get(SITE + "/campaigns")
async def jobs(request: Request, site: str, by: Principal = Depends(Need("campaign:read"))) -> list[dict[str, Any]]:
    """All bulk work of the site, newest first."""
    return ports_of(request).jobs.jobs(site)


@router.post(SITE + "/campaigns", status_code=201, openapi_extra=PROPOSAL_SCHEMA)
async def propose(request: Request, site: str, by: Principal = Depends(Need("campaign:run"))) -> dict[str, Any]:
    """Ask many miners for one thing, canary first. `dry_run` only tells who would be asked, in which waves."""
    body = await object_of(request)
    dry = body.get("dry_run") is True
    reported = await ports_of(request).jobs.propose(site, body, by.who, dry)
    detail = {"campaign": reported["id"], "name": body.get("name"), "intent": body.get("intent"), "dry_run": dry}
    await request.app.state.guard.audit.acted(by, "campaign:run", site, "done", detail)
    return of_site(request, reported)


@router.post(SITE + "/campaigns/{job}/approve")
async def approve(
    request: Request, site: str, job: str, by: Principal = Depends(Need("campaign:approve"))
) -> dict[str, Any]:
    """The second person's word. One's own proposal cannot be approved."""
    return await _answer(request, site, job, "approved", by, {})


@router.post(SITE + "/campaigns/{job}/{act}")
async def act(
    request: Request, site: str, job: str, act: str, by: Principal = Depends(Need("campaign:run"))
) -> dict[str, Any]:
    """`pause`, `resume`, `retry` (failures only), `restore` (to what each miner was), `end` (let go of what it holds)."""
    words = {"pause": "paused", "resume": "resumed", "end": "ended"}
    return await _answer(request, site, job, words.get(act, act), by, await object_of(request))


async def _answer(
    request: Request, site: str, job: str, what: str, by: Principal, body: dict[str, Any]
) -> dict[str, Any]:
    (why,) = texts_of(body, "why") if "why" in body else ("",)
    reported = await ports_of(request).jobs.answer(site, job, what, by.who, why)
    detail = {"campaign": job, "why": why}
    await request.app.state.guard.audit.acted(by, f"campaign:{what}", site, reported["state"], detail)
    return of_site(request, reported)
