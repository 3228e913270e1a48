# SPDX-License-Identifier: Apache-2.0
"""Routes of sites: list, status, power chart, availability, event log."""

from typing import Any, Final

from fastapi import APIRouter, Depends, Query, Request

from hub.api.access import Principal
from hub.api.body import SITE
from hub.api.guard import GuardedRoute, Need
from hub.api.ports import ports_of
from hub.query.schema import EventLine, Series, SiteInfo, Status
from kernel.errors import ConfigError, Fault
from kernel.units import MS_PER_DAY

router = APIRouter(prefix="/api/v1", route_class=GuardedRoute)
LONGEST_MS: Final = 400 * MS_PER_DAY


@router.get("/sites")
async def sites(request: Request, by: Principal = Depends(Need("site:read"))) -> list[SiteInfo]:
    """Sites that the key or session covers."""
    return [info for info in ports_of(request).sites.sites() if by.covers(info["site"])]


@router.get(SITE + "/status")
async def status(request: Request, site: str, by: Principal = Depends(Need("site:read"))) -> Status:
    """Power by three sources, limits and reason, miners by state, feeds, prices: all of one journal position."""
    return ports_of(request).sites.status(site)


@router.get(SITE + "/series")
async def series(
    request: Request,
    site: str,
    start_ms: int = Query(ge=0, lt=2**47),
    end_ms: int = Query(ge=0, lt=2**47),
    width: int = Query(600, ge=10, le=4000),
    by: Principal = Depends(Need("site:read")),
) -> Series:
    """Power, plan, price and limit over a time, at most `width` rows of power."""
    if not 0 < end_ms - start_ms <= LONGEST_MS:
        raise ConfigError([Fault("end_ms", "is not after start_ms, or too far", "Ask for at most 400 days")])
    return ports_of(request).plans.series(site, start_ms, end_ms, width)


@router.get(SITE + "/availability")
async def availability(
    request: Request, site: str, by: Principal = Depends(Need("availability:read"))
) -> dict[str, Any]:
    """Power available up and down now, and what is excluded with its reason."""
    return ports_of(request).plans.availability(site)


@router.get(SITE + "/log")
async def log(
    request: Request, site: str, count: int = Query(100, ge=1, le=1000), by: Principal = Depends(Need("log:read"))
) -> list[EventLine]:
    """Newest events for operators, newest first."""
    return ports_of(request).alarms.log(site, count)
