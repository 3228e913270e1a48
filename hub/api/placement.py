# SPDX-License-Identifier: Apache-2.0
"""The API's register: where miners stand and whose they are, as dated facts; walks along slots; racks
proven by pulse."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Depends, Query, Request

from hub.api.access import Principal
from hub.api.body import SITE, object_of, of_site, texts_of
from hub.api.guard import Need
from hub.api.ports import ports_of

router = APIRouter(prefix="/api/v1")

TEXT = {"type": "string"}


def _listed(what: Mapping[str, Any], reported: str = "") -> dict[str, Any]:
    return {"type": "array", "items": what} | ({"description": reported} if reported else {})


def _object(needed: Sequence[str], **properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(needed), "properties": properties}


def _body(needed: Sequence[str], **properties: Mapping[str, Any]) -> dict[str, Any]:
    """What a request brings, for the API's own description."""
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": _object(needed, **properties)}}}
    }


_WHATS = "site, container, rack, position (or slot), feeder, phase, owner"
_FACT = _object(
    ("device", "what", "value"),
    device=TEXT | {"description": "the miner's name within the site"},
    what=TEXT | {"description": _WHATS},
    value=TEXT,
    **{"from": TEXT | {"format": "date-time"}},
)
FACTS_SCHEMA = _body(
    ("facts",),
    facts=_listed(_FACT),
    source=TEXT | {"description": "who says so; default: a person"},
    dry_run={"type": "boolean"},
)
_SLOT = _object(("rack", "position", "feeder"), rack=TEXT, position=TEXT, feeder=TEXT)
WALK_SCHEMA = _body(("slots",), slots=_listed(_SLOT, "in the order of the walk"))
PROOF_SCHEMA = _body(
    ("racks",),
    racks=_listed(TEXT),
    off_s={"type": "number", "description": "how long each sleeps, and is watched around it"},
)


@router.get(SITE + "/facts")
async def facts(
    request: Request,
    site: str,
    device: str | None = Query(None, max_length=63),
    by: Principal = Depends(Need("fleet:read")),
) -> list[dict[str, Any]]:
    """What was learnt of where miners stand and whose they are, oldest first: what held last month is still known."""
    return ports_of(request).assets.facts(site, device)


@router.get(SITE + "/loads")
async def loads(request: Request, site: str, by: Principal = Depends(Need("fleet:read"))) -> dict[str, Any]:
    """Pumps, fans, heaters, sockets and contactors as they are now, and the loops with what holds wakes back."""
    return of_site(request, ports_of(request).auxiliaries.loads(site))


@router.post(SITE + "/facts", openapi_extra=FACTS_SCHEMA)
async def learn(request: Request, site: str, by: Principal = Depends(Need("miner:place"))) -> dict[str, Any]:
    """Say where miners stand: all of it or, where anything of it is wrong, nothing. It holds from the next control step."""
    body = await object_of(request)
    reported = await ports_of(request).assets.record(site, body, by.who)
    detail = {"facts": len(reported["learnt"]), "source": body.get("source", ""), "dry_run": reported["dry_run"]}
    await request.app.state.guard.audit.acted(by, "miner:place", site, "done", detail)
    return of_site(request, reported)


@router.get(SITE + "/walk")
async def walk(request: Request, site: str, by: Principal = Depends(Need("fleet:read"))) -> dict[str, Any]:
    """The walk under way, where the next press belongs, and the last IP-report buttons pressed."""
    return of_site(request, ports_of(request).commissioning.walk(site))


@router.post(SITE + "/walk", status_code=201, openapi_extra=WALK_SCHEMA)
async def begin_walk(request: Request, site: str, by: Principal = Depends(Need("miner:place"))) -> dict[str, Any]:
    """Begin to walk along slots and press the IP-report button at each."""
    body = await object_of(request)
    reported = await ports_of(request).commissioning.begin(site, body, by.who)
    await request.app.state.guard.audit.acted(
        by, "miner:place", site, "walk begun", {"slots": reported["walk"]["slots"]}
    )
    return of_site(request, reported)


@router.post(SITE + "/walk/end")
async def end_walk(request: Request, site: str, by: Principal = Depends(Need("miner:place"))) -> dict[str, Any]:
    """Take in what was pressed, slot by slot. Too many or too few presses give no fact, and the walk goes on.

    `dry_run` only tells it.
    """
    body = await object_of(request)
    reported = await ports_of(request).commissioning.end(site, by.who, body.get("dry_run") is True)
    outcome = "walk ended" if reported["ended"] else "walk goes on"
    detail = {"facts": len(reported["learnt"]), "faults": len(reported["faults"]), "dry_run": reported["dry_run"]}
    await request.app.state.guard.audit.acted(by, "miner:place", site, outcome, detail)
    return of_site(request, reported)


@router.post(SITE + "/walk/cancel")
async def cancel_walk(request: Request, site: str, by: Principal = Depends(Need("miner:place"))) -> dict[str, Any]:
    """Forget what was pressed."""
    reported = await ports_of(request).commissioning.cancel(site, by.who)
    await request.app.state.guard.audit.acted(by, "miner:place", site, "walk cancelled", {})
    return of_site(request, reported)


@router.get(SITE + "/pulses")
async def pulses(request: Request, site: str, by: Principal = Depends(Need("fleet:read"))) -> dict[str, Any]:
    """The racks under proof, the newest word of the meters on each, and every mismatch with the register."""
    return of_site(request, ports_of(request).feeder_mapping.status(site))


@router.post(SITE + "/pulses", status_code=201, openapi_extra=PROOF_SCHEMA)
async def prove(request: Request, site: str, by: Principal = Depends(Need("miner:prove"))) -> dict[str, Any]:
    """Prove racks against their feeders' meters: one after the other sleeps for a while and is woken again."""
    body = await object_of(request)
    reported = await ports_of(request).feeder_mapping.start(site, body, by.who)
    await request.app.state.guard.audit.acted(by, "miner:prove", site, "begun", {"racks": body.get("racks")})
    return of_site(request, reported)


@router.post(SITE + "/pulses/stop")
async def stop(request: Request, site: str, by: Principal = Depends(Need("miner:prove"))) -> dict[str, Any]:
    """No further rack; the one that sleeps is woken."""
    body = await object_of(request)
    (why,) = texts_of(body, "why") if "why" in body else ("",)
    reported = await ports_of(request).feeder_mapping.stop(site, by.who, why)
    await request.app.state.guard.audit.acted(by, "miner:prove", site, "stopped", {"why": why})
    return of_site(request, reported)


@router.post(SITE + "/pulses/apply")
async def apply(request: Request, site: str, by: Principal = Depends(Need("miner:place"))) -> dict[str, Any]:
    """Take in as facts which feeders were proven by pulse. `dry_run` only tells them."""
    body = await object_of(request)
    reported = await ports_of(request).feeder_mapping.apply(site, by.who, body.get("dry_run") is True)
    detail = {"facts": len(reported["learnt"]), "source": "rack pulse", "dry_run": reported["dry_run"]}
    await request.app.state.guard.audit.acted(by, "miner:place", site, "done", detail)
    return of_site(request, reported)
