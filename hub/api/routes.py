# SPDX-License-Identifier: Apache-2.0
"""The API's reads and orders, `/api/v1/sites/{site}/...`: JSON in, JSON out, one permission each."""

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from hub.api.access import EVERY_SITE, Principal
from hub.api.guard import Need
from hub.api.view import HubView
from hub.config.observe_only import FIELD
from hub.query.schema import (
    AlarmAct,
    AlarmLine,
    EventLine,
    Fleet,
    Ledger,
    NotThere,
    ReceiptLine,
    ReportLine,
    Series,
    SiteInfo,
    Status,
)
from kernel.errors import ConfigError, Fault
from kernel.ids import sha256_hex
from kernel.units import MS_PER_DAY
from telemetry.wire.exposition import CONTENT_TYPE

router = APIRouter(prefix="/api/v1")
SITE = "/sites/{site}"
FORMS = {"json": "application/json", "csv": "text/csv; charset=utf-8", "sig": "application/octet-stream"}
LONGEST_MS = 400 * MS_PER_DAY


ALARM_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["rule"],
                    "properties": {
                        "rule": {"type": "string"},
                        "scope": {"type": "string", "description": "without it: every place of the rule"},
                        "why": {"type": "string", "description": "required to shelve and to take out of service"},
                        "minutes": {"type": "integer", "minimum": 1, "maximum": 10080},
                    },
                }
            }
        },
    }
}


def view_of(request: Request) -> HubView:
    """The hub that the application was made for."""
    view: HubView = request.app.state.view
    return view


def of_site(request: Request, answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer about the request's site with the field that says whether the site only observes."""
    return {**answer, FIELD: request.state.observe_only}


def key_of(view: HubView, site: str) -> str:
    return next(info["key"] for info in view.sites() if info["site"] == site)


@router.get("/sites")
async def sites(request: Request, by: Principal = Depends(Need("site:read"))) -> list[SiteInfo]:
    """The sites that the asker may see."""
    return [info for info in view_of(request).sites() if by.covers(info["site"])]


@router.get("/health")
async def health(request: Request, by: Principal = Depends(Need("site:read"))) -> dict[str, Any]:
    """How the hub itself is."""
    return view_of(request).health()


@router.get("/metrics", response_class=Response)
async def metrics(request: Request, by: Principal = Depends(Need("fleet:read"))) -> Response:
    """The latest of every device and the hub's own figures, as Prometheus reads them. Of the whole hub."""
    if EVERY_SITE not in by.sites and not all(by.covers(info["site"]) for info in view_of(request).sites()):
        raise NotThere("metrics are of the whole hub; your key is for some of its sites")
    return Response(view_of(request).exposition(), media_type=CONTENT_TYPE)


@router.get(SITE + "/status")
async def status(request: Request, site: str, by: Principal = Depends(Need("site:read"))) -> Status:
    """Power three ways, limits and why, miners by state, feeds, prices: all of one journal position."""
    return view_of(request).status(site)


@router.get(SITE + "/fleet", response_model=Fleet)
async def fleet(request: Request, site: str, by: Principal = Depends(Need("fleet:read"))) -> Response:
    """Every miner as columns; states by code (`hub.query.schema.STATE_CODES`)."""
    return JSONResponse(view_of(request).fleet(site))


@router.get(SITE + "/miners/{device}")
async def miner(
    request: Request, site: str, device: str, by: Principal = Depends(Need("fleet:read"))
) -> dict[str, Any]:
    """One miner: its values or why there is none, and what was commanded of it."""
    return view_of(request).miner(site, device)


@router.get(SITE + "/tickets")
async def tickets(
    request: Request, site: str, closed: bool = False, by: Principal = Depends(Need("fleet:read"))
) -> list[dict[str, Any]]:
    """Work tickets of sick miners, costliest first; `closed`: also those that are over."""
    return view_of(request).tickets(site, closed)


@router.get(SITE + "/missing")
async def missing(
    request: Request,
    site: str,
    after_s: float = Query(1200.0, ge=0, le=864_000),
    by: Principal = Depends(Need("fleet:read")),
) -> list[dict[str, Any]]:
    """Miners that were woken so long ago and do not hash: what came of the wake, and what it costs."""
    return view_of(request).missing(site, after_s)


@router.get(SITE + "/restores")
async def restores(request: Request, site: str, by: Principal = Depends(Need("fleet:read"))) -> list[dict[str, Any]]:
    """After each order that ended: how many were woken, how many are back, who is missing and what was tried."""
    return view_of(request).restores(site)


@router.get(SITE + "/hands")
async def hands(request: Request, site: str, by: Principal = Depends(Need("fleet:read"))) -> list[dict[str, Any]]:
    """Who else commands here: miners that are left alone, containers with tactics of their own."""
    return view_of(request).hands(site)


@router.post(SITE + "/miners/{device}/release")
async def release(
    request: Request, site: str, device: str, by: Principal = Depends(Need("miner:release"))
) -> dict[str, Any]:
    """Take a miner back that was left to a foreign hand: from now on it is commanded again."""
    view, body = view_of(request), await object_of(request)
    (why,) = texts_of(body, "why")
    key = f"{key_of(view, site)}/{device}"
    if key not in {hand["scope"] for hand in view.hands(site)}:
        raise NotThere(f"{device} is in nobody's hands")
    reported = {"device": key, "hands_off": False, "owner": "the hub", "words": why, "by": by.who}
    await view.record("owner.changed", reported, site)
    await request.app.state.guard.audit.acted(by, "miner:release", site, "done", {"device": key, "why": why})
    return of_site(request, reported)


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
    return view_of(request).series(site, start_ms, end_ms, width)


@router.get(SITE + "/plan")
async def plan(request: Request, site: str, by: Principal = Depends(Need("plan:read"))) -> dict[str, Any]:
    """The plan that holds, with value, bound, gap and the reason of each slot."""
    found = view_of(request).plan(site)
    if found is None:
        raise NotThere("no plan was made yet")
    return found


@router.get(SITE + "/plan/explain")
async def explain(request: Request, site: str, by: Principal = Depends(Need("plan:read"))) -> dict[str, Any]:
    """Why each group is off or on now, and what one more MW, a cheaper tariff, a newer model would be worth."""
    return await view_of(request).explain(site)


@router.get(SITE + "/plan/offers")
async def offers(
    request: Request,
    site: str,
    reserve_w: float | None = Query(None, gt=0, le=1e10),
    by: Principal = Depends(Need("plan:read")),
) -> dict[str, Any]:
    """What can be offered: power up and down, bids with the auction's deadlines, reserve, tomorrow bought ahead."""
    return await view_of(request).offers(site, reserve_w)


@router.get(SITE + "/availability")
async def availability(
    request: Request, site: str, by: Principal = Depends(Need("availability:read"))
) -> dict[str, Any]:
    """What the site can do now, up and down, and what is left out and why."""
    return view_of(request).availability(site)


@router.get(SITE + "/receipts")
async def receipts(
    request: Request, site: str, count: int = Query(100, ge=1, le=1000), by: Principal = Depends(Need("fleet:read"))
) -> list[ReceiptLine]:
    """The newest commands and what came of them."""
    return view_of(request).receipts(site, count)


@router.get(SITE + "/log")
async def log(
    request: Request, site: str, count: int = Query(100, ge=1, le=1000), by: Principal = Depends(Need("log:read"))
) -> list[EventLine]:
    """The newest events worth a person's eye."""
    return view_of(request).log(site, count)


@router.get(SITE + "/alarms")
async def alarms(request: Request, site: str, by: Principal = Depends(Need("alarm:read"))) -> list[AlarmLine]:
    """What needs a person, most urgent first."""
    return view_of(request).alarms(site)


@router.post(SITE + "/alarms/acknowledge", openapi_extra=ALARM_SCHEMA)
async def acknowledge_alarm(
    request: Request, site: str, by: Principal = Depends(Need("alarm:answer"))
) -> list[AlarmLine]:
    """Say that it was seen: at one place, or without `scope` wherever the rule stands at the site."""
    view, body = view_of(request), await object_of(request)
    (rule,) = texts_of(body, "rule")
    scopes = _places(view, site, rule, body, ("unacknowledged", "returned"))
    for scope in scopes:
        await view.acknowledge_alarm(site, rule, scope, by.who)
    detail = {"rule": rule, "scopes": scopes}
    await request.app.state.guard.audit.acted(by, "alarm:acknowledge", site, "done", detail)
    return view.alarms(site)


@router.post(SITE + "/alarms/shelve", openapi_extra=ALARM_SCHEMA)
async def shelve_alarm(request: Request, site: str, by: Principal = Depends(Need("alarm:answer"))) -> list[AlarmLine]:
    """Put it out of sight for some minutes, for a reason; it comes back by itself. `scope` as in acknowledge."""
    view, body = view_of(request), await object_of(request)
    rule, why = texts_of(body, "rule", "why")
    minutes = body.get("minutes")
    if isinstance(minutes, bool) or not isinstance(minutes, int) or not 1 <= minutes <= 7 * 1440:
        raise ConfigError([Fault("minutes", "is no whole number of 1 to 10080", "Give for how long")])
    until_ms = request.app.state.guard.clock.now_ms() + minutes * 60_000
    scopes = _places(view, site, rule, body, ("unacknowledged", "acknowledged"))
    for scope in scopes:
        await view.shelve_alarm(site, rule, scope, by.who, why, until_ms)
    detail = {"rule": rule, "scopes": scopes, "why": why, "minutes": minutes}
    await request.app.state.guard.audit.acted(by, "alarm:shelve", site, "done", detail)
    return view.alarms(site)


@router.post(SITE + "/alarms/unshelve", openapi_extra=ALARM_SCHEMA)
async def unshelve_alarm(request: Request, site: str, by: Principal = Depends(Need("alarm:answer"))) -> list[AlarmLine]:
    """Bring it back before its time. `scope` as in acknowledge."""
    return await _set(request, site, by, "unshelve", ("shelved",))


@router.post(SITE + "/alarms/out-of-service", openapi_extra=ALARM_SCHEMA)
async def alarm_out_of_service(
    request: Request, site: str, by: Principal = Depends(Need("alarm:answer"))
) -> list[AlarmLine]:
    """Take it out of service until further notice, for a reason (a meter in the laboratory). `scope` as in acknowledge."""
    standing = ("unacknowledged", "acknowledged", "returned", "shelved", "suppressed")
    return await _set(request, site, by, "out-of-service", standing)


@router.post(SITE + "/alarms/in-service", openapi_extra=ALARM_SCHEMA)
async def alarm_in_service(
    request: Request, site: str, by: Principal = Depends(Need("alarm:answer"))
) -> list[AlarmLine]:
    """Back in service. `scope` as in acknowledge."""
    return await _set(request, site, by, "in-service", ("out_of_service",))


async def _set(request: Request, site: str, by: Principal, what: AlarmAct, states: tuple[str, ...]) -> list[AlarmLine]:
    view, body = view_of(request), await object_of(request)
    (rule,) = texts_of(body, "rule")
    why = texts_of(body, "why")[0] if what == "out-of-service" else ""
    scopes = _places(view, site, rule, body, states)
    for scope in scopes:
        await view.set_alarm(site, rule, scope, by.who, what, why)
    detail = {"rule": rule, "scopes": scopes} | ({"why": why} if why else {})
    await request.app.state.guard.audit.acted(by, f"alarm:{what}", site, "done", detail)
    return view.alarms(site)


def _places(view: HubView, site: str, rule: str, body: dict[str, Any], states: tuple[str, ...]) -> list[str]:
    """The one place that was named, or every place of the site where the rule's alarm is in one of the states."""
    if "scope" in body:
        return texts_of(body, "scope")
    found = [line["scope"] for line in view.alarms(site) if line["rule"] == rule and line["state"] in states]
    if not found:
        raise NotThere(f"no alarm of rule {rule[:60]!r} waits at {site}")
    return found


@router.get("/ledger")
async def ledger(request: Request, by: Principal = Depends(Need("ledger:read"))) -> Ledger:
    """Balances, the head of the hash chain, findings. Of the whole hub: not for who sees some sites only."""
    if EVERY_SITE not in by.sites and not all(by.covers(info["site"]) for info in view_of(request).sites()):
        raise NotThere("the ledger is of the whole hub; your key is for some of its sites")
    return view_of(request).ledger()


@router.get(SITE + "/reports")
async def reports(request: Request, site: str, by: Principal = Depends(Need("report:read"))) -> list[ReportLine]:
    """What can be pulled."""
    return view_of(request).reports(site)


@router.get(SITE + "/reports/{report}/{form}", response_class=Response)
async def pull_report(
    request: Request, site: str, report: str, form: str, by: Principal = Depends(Need("report:pull"))
) -> Response:
    """One form (json, csv, sig) of a report. Who pulled what is in the journal before a byte leaves."""
    view = view_of(request)
    line = next((line for line in view.reports(site) if line["id"] == report), None)
    if line is None or form not in line["files"]:
        raise NotThere(f"no report {report[:60]!r} as {form[:10]!r} at {site}")
    name, content = view.report_file(report, form)
    await request.app.state.guard.audit.pulled(by, site, report, form, sha256_hex(content))
    safe = "".join(char if char.isalnum() or char in "._-" else "_" for char in name)
    digest = hashlib.sha256(content).digest()
    headers = {
        "Content-Disposition": f'attachment; filename="{safe}"',
        "Repr-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:",
    }
    return Response(content, media_type=FORMS.get(form, "application/octet-stream"), headers=headers)


def texts_of(body: dict[str, Any], *names: str) -> list[str]:
    """Fields that must be texts of one line. Raises ConfigError with all that are not."""
    bad = [
        name for name in names if not isinstance(body.get(name), str) or not body[name].strip() or len(body[name]) > 500
    ]
    if bad:
        raise ConfigError([Fault(name, "is missing or no text", "Write 1 to 500 characters") for name in bad])
    return [body[name] for name in names]


async def object_of(request: Request) -> dict[str, Any]:
    """The body as one JSON object. Raises ConfigError."""
    raw = await request.body()
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise ConfigError([Fault("body", "is no JSON", "Send one JSON object in UTF-8")]) from None
    if not isinstance(body, dict):
        raise ConfigError([Fault("body", "is no JSON object", "Send one JSON object")])
    if any(isinstance(value, float) and not math.isfinite(value) for value in body.values()):
        raise ConfigError([Fault("body", "holds NaN or Infinity", "JSON knows no such number")])
    return body
