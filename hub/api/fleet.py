# SPDX-License-Identifier: Apache-2.0
"""Routes of the fleet: miners as columns, one miner, tickets, missing miners, commands, control by other systems."""

from typing import Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from hub.api.access import Principal
from hub.api.body import SITE, Why, of_site
from hub.api.guard import GuardedRoute, Need
from hub.api.ports import ports_of
from hub.query.schema import Fleet, ReceiptLine
from kernel.errors import NotFound
from kernel.event import EventKind
from miner_control.fleet.command_events import OwnerChanged

router = APIRouter(prefix="/api/v1", route_class=GuardedRoute)


@router.get(SITE + "/fleet", response_model=Fleet)
async def fleet(request: Request, site: str, by: Principal = Depends(Need("fleet:read"))) -> Response:
    """Every miner as columns; states by code (`hub.query.schema.STATE_CODES`)."""
    return JSONResponse(ports_of(request).fleet.fleet(site))


@router.get(SITE + "/miners/{device}")
async def miner(
    request: Request, site: str, device: str, by: Principal = Depends(Need("fleet:read"))
) -> dict[str, Any]:
    """One miner: its values or why one is missing, and its commands."""
    return ports_of(request).fleet.miner(site, device)


@router.get(SITE + "/tickets")
async def tickets(
    request: Request, site: str, closed: bool = False, by: Principal = Depends(Need("fleet:read"))
) -> list[dict[str, Any]]:
    """Work tickets of faulty miners, costliest first; `closed`: also those that are over."""
    return ports_of(request).fleet.tickets(site, closed)


@router.get(SITE + "/missing")
async def missing(
    request: Request,
    site: str,
    after_s: float = Query(1200.0, ge=0, le=864_000),
    by: Principal = Depends(Need("fleet:read")),
) -> list[dict[str, Any]]:
    """Miners commanded to wake `after_s` ago that do not hash: outcome of the wake, and its cost."""
    return ports_of(request).fleet.missing(site, after_s)


@router.get(SITE + "/wake-recovery")
async def restores(request: Request, site: str, by: Principal = Depends(Need("fleet:read"))) -> list[dict[str, Any]]:
    """Per ended order: miners woken, miners back, miners missing and the steps tried."""
    return ports_of(request).fleet.restores(site)


@router.get(SITE + "/third-party")
async def third_parties(
    request: Request, site: str, by: Principal = Depends(Need("fleet:read"))
) -> list[dict[str, Any]]:
    """Control by other systems: miners that are left alone, containers with tactics of their own."""
    return ports_of(request).fleet.third_parties(site)


@router.post(SITE + "/miners/{device}/release")
async def release(
    request: Request, site: str, device: str, body: Why, by: Principal = Depends(Need("miner:release"))
) -> dict[str, Any]:
    """Take back a miner that was left to another control system: the hub commands it again."""
    ports, why = ports_of(request), body.why
    key = f"{ports.sites.key(site)}/{device}"
    if key not in {party["scope"] for party in ports.fleet.third_parties(site)}:
        raise NotFound(f"{device} is under no other control")
    reported: OwnerChanged = {"device": key, "hands_off": False, "owner": "the hub", "words": why, "by": by.who}
    await ports.journal.record(EventKind.OWNER_CHANGED, by.actor.on(reported), site)
    await request.app.state.guard.audit.acted(by, "miner:release", site, "done", {"device": key, "why": why})
    return of_site(request, {"device": key, "owner": "the hub", "commanded": True, "why": why, "by": by.who})


@router.get(SITE + "/receipts")
async def receipts(
    request: Request, site: str, count: int = Query(100, ge=1, le=1000), by: Principal = Depends(Need("fleet:read"))
) -> list[ReceiptLine]:
    """Newest commands with their receipts."""
    return ports_of(request).fleet.receipts(site, count)
