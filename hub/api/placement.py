# SPDX-License-Identifier: Apache-2.0
"""The API's register: where miners stand and whose they are, as dated facts; walks along slots; racks
proven by pulse."""

from typing import Any

from fastapi import APIRouter, Depends, Query, Request

from hub.api.access import Principal
from hub.api.body import SITE, DryRun, MaybeWhy, of_site
from hub.api.guard import GuardedRoute, Need
from hub.api.ports import ports_of
from hub.fleet.feeder_mapping import FeederMappingRequest
from hub.fleet.ip_report import CommissioningRequest
from hub.fleet.placement import FactsRequest

router = APIRouter(prefix="/api/v1", route_class=GuardedRoute)


@router.get(SITE + "/facts")
async def facts(
    request: Request,
    site: str,
    device: str | None = Query(None, max_length=63),
    by: Principal = Depends(Need("fleet:read")),
) -> list[dict[str, Any]]:
    """What was learnt of where miners stand and whose they are, oldest first: what held last month is still known."""
    return ports_of(request).assets.facts(site, device)


@router.get(SITE + "/auxiliaries")
async def loads(request: Request, site: str, by: Principal = Depends(Need("fleet:read"))) -> dict[str, Any]:
    """Pumps, fans, heaters, sockets and contactors as they are now, and the loops with what holds wakes back."""
    return of_site(request, ports_of(request).auxiliaries.loads(site))


@router.post(SITE + "/facts")
async def learn(
    request: Request, site: str, body: FactsRequest, by: Principal = Depends(Need("miner:place"))
) -> dict[str, Any]:
    """Say where miners stand: all of it or, where anything of it is wrong, nothing. It holds from the next control step."""
    reported = await ports_of(request).assets.record(site, body, by.actor)
    detail = {"facts": len(reported["recorded"]), "source": body.source, "dry_run": reported["dry_run"]}
    await request.app.state.guard.audit.acted(by, "miner:place", site, "done", detail)
    return of_site(request, reported)


@router.get(SITE + "/commissioning")
async def walk(request: Request, site: str, by: Principal = Depends(Need("fleet:read"))) -> dict[str, Any]:
    """The walk under way, where the next press belongs, and the last IP-report buttons pressed."""
    return of_site(request, ports_of(request).commissioning.walk(site))


@router.post(SITE + "/commissioning", status_code=201)
async def begin_walk(
    request: Request, site: str, body: CommissioningRequest, by: Principal = Depends(Need("miner:place"))
) -> dict[str, Any]:
    """Begin to walk along slots and press the IP-report button at each."""
    reported = await ports_of(request).commissioning.begin(site, body, by.actor)
    await request.app.state.guard.audit.acted(
        by, "miner:place", site, "walk begun", {"slots": reported["commissioning"]["slots"]}
    )
    return of_site(request, reported)


@router.post(SITE + "/commissioning/end")
async def end_walk(
    request: Request, site: str, body: DryRun, by: Principal = Depends(Need("miner:place"))
) -> dict[str, Any]:
    """Take in what was pressed, slot by slot. Too many or too few presses give no fact, and the walk goes on.

    `dry_run` only tells it.
    """
    reported = await ports_of(request).commissioning.end(site, by.actor, body.dry_run)
    outcome = "walk ended" if reported["ended"] else "walk goes on"
    detail = {"facts": len(reported["recorded"]), "faults": len(reported["faults"]), "dry_run": reported["dry_run"]}
    await request.app.state.guard.audit.acted(by, "miner:place", site, outcome, detail)
    return of_site(request, reported)


@router.post(SITE + "/commissioning/cancel")
async def cancel_walk(request: Request, site: str, by: Principal = Depends(Need("miner:place"))) -> dict[str, Any]:
    """Forget what was pressed."""
    reported = await ports_of(request).commissioning.cancel(site, by.actor)
    await request.app.state.guard.audit.acted(by, "miner:place", site, "walk cancelled", {})
    return of_site(request, reported)


@router.get(SITE + "/feeder-mapping")
async def pulses(request: Request, site: str, by: Principal = Depends(Need("fleet:read"))) -> dict[str, Any]:
    """Racks under proof, the newest result of each by the meters, and every mismatch with the register."""
    return of_site(request, ports_of(request).feeder_mapping.status(site))


@router.post(SITE + "/feeder-mapping", status_code=201)
async def prove(
    request: Request, site: str, body: FeederMappingRequest, by: Principal = Depends(Need("miner:prove"))
) -> dict[str, Any]:
    """Prove racks against their feeders' meters: one after the other sleeps for a while and is woken again."""
    reported = await ports_of(request).feeder_mapping.start(site, body, by.actor)
    await request.app.state.guard.audit.acted(by, "miner:prove", site, "begun", {"racks": body.racks})
    return of_site(request, reported)


@router.post(SITE + "/feeder-mapping/stop")
async def stop(
    request: Request, site: str, body: MaybeWhy, by: Principal = Depends(Need("miner:prove"))
) -> dict[str, Any]:
    """No further rack; the one that sleeps is woken."""
    why = body.why or ""
    reported = await ports_of(request).feeder_mapping.stop(site, by.actor, why)
    await request.app.state.guard.audit.acted(by, "miner:prove", site, "stopped", {"why": why})
    return of_site(request, reported)


@router.post(SITE + "/feeder-mapping/apply")
async def apply(
    request: Request, site: str, body: DryRun, by: Principal = Depends(Need("miner:place"))
) -> dict[str, Any]:
    """Take in as facts which feeders were proven by pulse. `dry_run` only tells them."""
    reported = await ports_of(request).feeder_mapping.apply(site, by.actor, body.dry_run)
    detail = {"facts": len(reported["recorded"]), "source": "rack pulse", "dry_run": reported["dry_run"]}
    await request.app.state.guard.audit.acted(by, "miner:place", site, "done", detail)
    return of_site(request, reported)
