# SPDX-License-Identifier: Apache-2.0
"""The console: one page per site, drawn whole by the server and kept live by one stream of the same pieces.

Times are the site's, never the browser's. What is unknown is said with its reason; no number without its unit and age.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.staticfiles import StaticFiles

from hub.access import IDLE_S, Principal
from hub.api.guard import COOKIE, Need
from hub.api.view import STATE_CODES, HubView, SiteInfo, Status
from hub.console import words

HERE = Path(__file__).parent
router = APIRouter(include_in_schema=False)

PIECES: Mapping[str, str] = {
    "why": "site:read",
    "tiles": "site:read",
    "limits": "site:read",
    "feeds": "site:read",
    "orders": "order:read",
    "availability": "availability:read",
    "plan": "plan:read",
    "log": "log:read",
    "commands": "fleet:read",
    "racks": "fleet:read",
    "ledger": "ledger:read",
    "reports": "report:read",
}
"""Each piece of the page (`templates/piece_*.html`) and the permission that it needs."""

PLAN_SLOTS = 16


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
        self._env.filters |= words.FILTERS

    def pieces(self, view: HubView, site: str, status: Status) -> dict[str, tuple[str, str]]:
        """All pieces as (permission, HTML), from one status."""
        facts = self._facts(view, site, status)
        return {
            name: (permission, self._env.get_template(f"piece_{name}.html").render(facts))
            for name, permission in PIECES.items()
        }

    def page(self, view: HubView, site: str, by: Principal, sites: list[SiteInfo]) -> str:
        """The whole page for somebody: the pieces that the role may see."""
        status = view.status(site)
        facts = self._facts(view, site, status)
        shown = {
            name: self._env.get_template(f"piece_{name}.html").render(facts)
            for name, permission in PIECES.items()
            if by.may(permission, site)
        }
        return self._env.get_template("page.html").render(facts | {"shown": shown, "by": by, "sites": sites})

    def door(self, text: str) -> str:
        """The page for who is not let in."""
        return self._env.get_template("door.html").render({"text": text})

    def _facts(self, view: HubView, site: str, status: Status) -> dict[str, Any]:
        info = next(info for info in view.sites() if info["site"] == site)
        plan = view.plan(site)
        return {
            "site": info,
            "status": status,
            "zone": info["zone"],
            "currency": info["currency"],
            "orders": view.orders(site)[:20],
            "availability": view.availability(site),
            "plan": plan,
            "plan_slots": words.plan_slots(plan, status["as_of_ms"], PLAN_SLOTS),
            "log": view.log(site, 30),
            "receipts": view.receipts(site, 20),
            "racks": words.racks(view.fleet(site)),
            "ledger": view.ledger(),
            "reports": view.reports(site)[:20],
            "state_codes": STATE_CODES,
        }


@router.get("/")
async def home(request: Request, by: Principal = Depends(Need("site:read"))) -> Response:
    """To the first site that the asker may see."""
    view: HubView = request.app.state.view
    mine = [info["site"] for info in view.sites() if by.covers(info["site"])]
    if not mine:
        return HTMLResponse(request.app.state.streams.render.door("Your key is for no site of this hub."), 403)
    return RedirectResponse(f"/sites/{quote(mine[0])}", 303)


@router.get("/sites/{site}")
async def show(request: Request, site: str, by: Principal = Depends(Need("site:read"))) -> HTMLResponse:
    """The page of a site."""
    view: HubView = request.app.state.view
    renderer: Renderer = request.app.state.streams.render
    mine = [info for info in view.sites() if by.covers(info["site"])]
    return HTMLResponse(renderer.page(view, site, by, mine))


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
        text = "This link was used already, or is too old. Ask the terminal for a new one: mining-hub link"
        return HTMLResponse(request.app.state.streams.render.door(text), 401)
    answer = RedirectResponse("/", 303)
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, session, max_age=round(IDLE_S), httponly=True, samesite="strict", secure=secure, path="/")
    return answer
