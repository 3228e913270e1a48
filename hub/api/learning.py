# SPDX-License-Identifier: Apache-2.0
"""The API of what the hub finds out by itself: what its miners really do, and what commanding would have been worth."""

from typing import Any

from fastapi import APIRouter, Depends, Request

from hub.api.access import Principal
from hub.api.guard import Need
from hub.api.view import HubView

router = APIRouter(prefix="/api/v1/sites/{site}")


@router.get("/learnt")
async def learnt(request: Request, site: str, by: Principal = Depends(Need("fleet:read"))) -> list[dict[str, Any]]:
    """What was learnt of each model under its firmware, with spread, count and confidence, against what was assumed."""
    view: HubView = request.app.state.view
    return view.learnt(site)


@router.get("/shadow")
async def shadow(request: Request, site: str, by: Principal = Depends(Need("plan:read"))) -> dict[str, Any]:
    """What commanding would have been worth while the site only observed, by local day, in the site's currency."""
    view: HubView = request.app.state.view
    return view.shadow(site)
