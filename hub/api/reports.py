# SPDX-License-Identifier: Apache-2.0
"""Routes of reports, the ledger, health and metrics of the whole hub."""

import base64
import hashlib
from typing import Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from hub.api.access import EVERY_SITE, Principal
from hub.api.body import SITE
from hub.api.guard import GuardedRoute, Need
from hub.api.ports import Ports, ports_of
from hub.query.schema import Ledger, ReportLine
from kernel.errors import NotFound
from kernel.ids import sha256_hex
from telemetry.wire.exposition import CONTENT_TYPE

router = APIRouter(prefix="/api/v1", route_class=GuardedRoute)
FORMS: Final = {"json": "application/json", "csv": "text/csv; charset=utf-8", "sig": "application/octet-stream"}


def _of_the_whole(ports: Ports, by: Principal, what: str) -> None:
    """Raises NotFound where a key covers some sites only: these answers are of the whole hub."""
    if EVERY_SITE not in by.sites and not all(by.covers(info["site"]) for info in ports.sites.sites()):
        raise NotFound(f"{what} of the whole hub; your key is for some of its sites")


@router.get("/health")
async def health(request: Request, by: Principal = Depends(Need("site:read"))) -> dict[str, Any]:
    """Health of the hub itself."""
    return ports_of(request).health.health()


@router.get("/metrics", response_class=Response)
async def metrics(request: Request, by: Principal = Depends(Need("fleet:read"))) -> Response:
    """Newest values of every device and the hub's own figures, in the text format of Prometheus."""
    ports = ports_of(request)
    _of_the_whole(ports, by, "metrics are")
    return Response(ports.health.exposition(), media_type=CONTENT_TYPE)


@router.get("/ledger")
async def ledger(request: Request, by: Principal = Depends(Need("ledger:read"))) -> Ledger:
    """Balances, head of the hash chain, findings of the checks."""
    ports = ports_of(request)
    _of_the_whole(ports, by, "the ledger is")
    return ports.reports.look()


@router.get(SITE + "/reports")
async def reports(request: Request, site: str, by: Principal = Depends(Need("report:read"))) -> list[ReportLine]:
    """Reports of the site and of the whole hub, newest first."""
    return ports_of(request).reports.lines(site)


@router.get(SITE + "/reports/{report}/{form}", response_class=Response)
async def pull_report(
    request: Request, site: str, report: str, form: str, by: Principal = Depends(Need("report:pull"))
) -> Response:
    """One form (json, csv, sig) of a report. The pull is journalled before a byte leaves."""
    store = ports_of(request).reports
    line = next((line for line in store.lines(site) if line["id"] == report), None)
    if line is None or form not in line["files"]:
        raise NotFound(f"no report {report[:60]!r} as {form[:10]!r} at {site}")
    name, content = store.file(report, form)
    await request.app.state.guard.audit.pulled(by, site, report, form, sha256_hex(content))
    safe = "".join(char if char.isalnum() or char in "._-" else "_" for char in name)
    digest = hashlib.sha256(content).digest()
    headers = {
        "Content-Disposition": f'attachment; filename="{safe}"',
        "Repr-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:",
    }
    return Response(content, media_type=FORMS.get(form, "application/octet-stream"), headers=headers)
