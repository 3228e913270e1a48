# SPDX-License-Identifier: Apache-2.0
"""The API's bulk work: propose, approve by a second person, pause, resume, retry, restore, end."""

from typing import Any

from fastapi import APIRouter, Depends, Request

from hub.api.access import Principal
from hub.api.body import SITE, MaybeWhy, of_site
from hub.api.guard import GuardedRoute, Need
from hub.api.ports import ports_of
from hub.fleet.jobs import JobRequest

router = APIRouter(prefix="/api/v1", route_class=GuardedRoute)


@router.get(SITE + "/jobs")
async def jobs(request: Request, site: str, by: Principal = Depends(Need("job:read"))) -> list[dict[str, Any]]:
    """All bulk work of the site, newest first."""
    return ports_of(request).jobs.jobs(site)


@router.post(SITE + "/jobs", status_code=201)
async def propose(
    request: Request, site: str, body: JobRequest, by: Principal = Depends(Need("job:run"))
) -> dict[str, Any]:
    """Command one thing of many miners, canary first. `dry_run` only shows the miners and the waves."""
    reported = await ports_of(request).jobs.propose(site, body, by.actor)
    detail = {"campaign": reported["id"], "name": body.name, "intent": body.intent, "dry_run": body.dry_run}
    await request.app.state.guard.audit.acted(by, "job:run", site, "done", detail)
    return of_site(request, reported)


@router.post(SITE + "/jobs/{job}/approve")
async def approve(
    request: Request, site: str, job: str, by: Principal = Depends(Need("job:approve"))
) -> dict[str, Any]:
    """Approval by a second person. An own proposal cannot be approved."""
    return await _answer(request, site, job, "approved", by, "")


@router.post(SITE + "/jobs/{job}/{act}")
async def act(
    request: Request, site: str, job: str, act: str, body: MaybeWhy, by: Principal = Depends(Need("job:run"))
) -> dict[str, Any]:
    """`pause`, `resume`, `retry` (failures only), `restore` (to what each miner was), `end` (let go of what it holds)."""
    acts = {"pause": "paused", "resume": "resumed", "end": "ended"}
    return await _answer(request, site, job, acts.get(act, act), by, body.why or "")


async def _answer(request: Request, site: str, job: str, what: str, by: Principal, why: str) -> dict[str, Any]:
    reported = await ports_of(request).jobs.answer(site, job, what, by.actor, why)
    detail = {"campaign": job, "why": why}
    await request.app.state.guard.audit.acted(by, f"job:{what}", site, reported["state"], detail)
    return of_site(request, reported)
