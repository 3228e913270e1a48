# SPDX-License-Identifier: Apache-2.0
"""The console: one page per site, drawn whole by the server and kept live by one stream of the same pieces.

Times are the site's, never the browser's. What is unknown is shown with its reason; no number without its unit and age.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.staticfiles import StaticFiles

from hub.api.access import IDLE_S, Principal
from hub.api.guard import COOKIE, GuardedRoute, Need
from hub.api.ports import Ports, ports_of
from hub.console import text
from hub.query.schema import STATE_CODES, SiteInfo, Status

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
router = APIRouter(include_in_schema=False, route_class=GuardedRoute)

Facts = Callable[[Ports, str, Status], dict[str, Any]]
"""Facts of a piece in addition to the status, read for this piece alone."""


def _nothing(_ports: Ports, _site: str, _status: Status) -> dict[str, Any]:
    return {}


def _plan(ports: Ports, site: str, status: Status) -> dict[str, Any]:
    plan = ports.plans.plan(site)
    return {"plan": plan, "plan_slots": text.plan_slots(plan, status["as_of_ms"], PLAN_SLOTS)}


def _racks(ports: Ports, site: str, _status: Status) -> dict[str, Any]:
    return {"racks": text.racks(ports.fleet.fleet(site)), "state_codes": STATE_CODES}


PLAN_SLOTS = 16

PIECES: Mapping[str, tuple[str, Facts]] = {
    "observe": ("site:read", _nothing),
    "why": ("site:read", _nothing),
    "tiles": ("site:read", _nothing),
    "limits": ("site:read", _nothing),
    "feeds": ("site:read", _nothing),
    "orders": ("order:read", lambda ports, site, _: {"orders": ports.orders.orders(site)[:20]}),
    "alarms": ("alarm:read", lambda ports, site, _: {"alarms": text.alarm_groups(ports.alarms.alarms(site), 12)}),
    "availability": ("availability:read", lambda ports, site, _: {"availability": ports.plans.availability(site)}),
    "plan": ("plan:read", _plan),
    "log": ("log:read", lambda ports, site, _: {"log": text.rolled_up(ports.alarms.log(site, 500), 30)}),
    "commands": ("fleet:read", lambda ports, site, _: {"commands": text.grouped(ports.fleet.receipts(site, 500), 14)}),
    "racks": ("fleet:read", _racks),
    "ledger": ("ledger:read", lambda ports, _site, _: {"ledger": ports.reports.look()}),
    "reports": ("report:read", lambda ports, site, _: {"reports": ports.reports.lines(site)[:20]}),
}
"""Each piece of the page (`templates/piece_*.html`): the permission that it needs, and its facts."""


def static_files() -> StaticFiles:
    """Scripts, styles and the vendored chart library, all from this package."""
    return StaticFiles(directory=HERE / "static")


class Renderer:
    """Templates, filled from a view."""

    def __init__(self) -> None:
        self._env = Environment(
            loader=PackageLoader("hub.console"),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._env.filters.update(text.FILTERS)
        self._broken: set[str] = set()

    def pieces(self, ports: Ports, site: str, status: Status) -> dict[str, tuple[str, str]]:
        """All pieces as (permission, HTML), from one status."""
        info = next(info for info in ports.sites.sites() if info["site"] == site)
        return {name: (need, self._piece(name, ports, info, status)) for name, (need, _) in PIECES.items()}

    def page(self, ports: Ports, site: str, by: Principal, sites: list[SiteInfo]) -> str:
        """The whole page for somebody: the pieces that the role may see."""
        status = ports.sites.status(site)
        info = next(info for info in ports.sites.sites() if info["site"] == site)
        may = [name for name, (need, _) in PIECES.items() if by.may(need, site)]
        shown = {name: self._piece(name, ports, info, status) for name in may}
        facts = {"site": info, "zone": info["zone"], "currency": info["currency"], "status": status}
        return self._env.get_template("page.html").render(facts | {"shown": shown, "by": by, "sites": sites})

    def _piece(self, name: str, ports: Ports, info: SiteInfo, status: Status) -> str:
        """One piece. What breaks it breaks no other: the piece says so, and the log has it once."""
        facts: dict[str, Any] = {"site": info, "zone": info["zone"], "currency": info["currency"], "status": status}
        try:
            facts |= PIECES[name][1](ports, info["site"], status)
            html = self._env.get_template(f"piece_{name}.html").render(facts)
        except Exception as error:  # whatever it is, the other pieces stay
            if name not in self._broken:
                self._broken.add(name)
                log.exception("the piece %r of the page of %s cannot be drawn", name, info["site"])
            return self._env.get_template("broken.html").render({"kind": type(error).__name__})
        self._broken.discard(name)
        return html

    def door(self, text: str) -> str:
        """The page for who is not let in."""
        return self._env.get_template("door.html").render({"text": text})


@router.get("/")
async def home(request: Request, by: Principal = Depends(Need("site:read"))) -> Response:
    """To the first site that the asker may see."""
    ports = ports_of(request)
    mine = [info["site"] for info in ports.sites.sites() if by.covers(info["site"])]
    if not mine:
        return HTMLResponse(request.app.state.streams.render.door("Your key is for no site of this hub."), 403)
    return RedirectResponse(f"/sites/{quote(mine[0])}", 303)


@router.get("/sites/{site}")
async def show(request: Request, site: str, by: Principal = Depends(Need("site:read"))) -> HTMLResponse:
    """The page of a site."""
    ports = ports_of(request)
    renderer: Renderer = request.app.state.streams.render
    mine = [info for info in ports.sites.sites() if by.covers(info["site"])]
    return HTMLResponse(renderer.page(ports, site, by, mine))


@router.get("/sites/{site}/stream")
async def stream(request: Request, site: str, by: Principal = Depends(Need("site:read"))) -> StreamingResponse:
    """What changes on the page, as server-sent events."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        request.app.state.streams.follow(site, by), media_type="text/event-stream", headers=headers
    )


@router.get("/enter")
async def enter(request: Request, token: str = "") -> Response:
    """Where the one-time link of the terminal leads: it opens a session and is used up."""
    guard = request.app.state.guard
    session = await guard.enter(request, token)
    if session is None:
        text = "This link was used already, or is too old. Ask the terminal for a new one: mining-hub link hub.toml"
        return HTMLResponse(request.app.state.streams.render.door(text), 401)
    answer = RedirectResponse("/", 303)
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, session, max_age=round(IDLE_S), httponly=True, samesite="strict", secure=secure, path="/")
    return answer
