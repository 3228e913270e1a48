# SPDX-License-Identifier: Apache-2.0
"""Routes of plans: the plan in force, its explanation, offers; identified dynamics and shadow-mode value."""

from typing import Any

from fastapi import APIRouter, Depends, Query, Request

from hub.api.access import Principal
from hub.api.body import SITE
from hub.api.guard import GuardedRoute, Need
from hub.api.ports import ports_of
from kernel.errors import NotFound

router = APIRouter(prefix="/api/v1", route_class=GuardedRoute)


@router.get(SITE + "/plan")
async def plan(request: Request, site: str, by: Principal = Depends(Need("plan:read"))) -> dict[str, Any]:
    """The plan that holds, with value, bound, gap and the reason of each slot."""
    found = ports_of(request).plans.plan(site)
    if found is None:
        raise NotFound("no plan was made yet")
    return found


@router.get(SITE + "/plan/explain")
async def explain(request: Request, site: str, by: Principal = Depends(Need("plan:read"))) -> dict[str, Any]:
    """Why each group is off or on now, and what one more MW, a cheaper tariff, a newer model would be worth."""
    return await ports_of(request).plans.explain(site)


@router.get(SITE + "/plan/offers")
async def offers(
    request: Request,
    site: str,
    reserve_w: float | None = Query(None, gt=0, le=1e10),
    by: Principal = Depends(Need("plan:read")),
) -> dict[str, Any]:
    """What can be offered: power up and down, bids with the auction's deadlines, reserve, tomorrow bought ahead."""
    return await ports_of(request).plans.offers(site, reserve_w)


@router.get(SITE + "/dynamics")
async def learnt(request: Request, site: str, by: Principal = Depends(Need("fleet:read"))) -> list[dict[str, Any]]:
    """Identified figures of each model and firmware, with spread, count and confidence, against the assumed ones."""
    return ports_of(request).fleet.learnt(site)


@router.get(SITE + "/shadow")
async def shadow(request: Request, site: str, by: Principal = Depends(Need("plan:read"))) -> dict[str, Any]:
    """Value that commanding would have had while the site only observed, by local day, in the site's currency."""
    return ports_of(request).plans.shadow(site)
