# SPDX-License-Identifier: Apache-2.0
"""The web application of a hub: API, page and stream around the `Ports` of a hub.

    app = create_app(ports, access, clock)
    uvicorn.run(app, host="127.0.0.1", port=8787)

Every route has exactly one permission (`Need`) or stands in `PUBLIC`; anything else does not start.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from hub.api import alarms, archive, fleet, jobs, orders, placement, plans, reports, sites
from hub.api.access import Access, Principal
from hub.api.audit import Audit
from hub.api.guard import Guard, Need
from hub.api.ports import Ports
from hub.api.shell import LOOPBACK, App, Shell
from hub.api.stream import Streams
from hub.config.request import request_faults
from hub.console import page
from hub.query.schema import Faults
from kernel.clock import Clock
from kernel.errors import BrokenInvariant, ConfigError, NotFound

PUBLIC = frozenset({"/healthz", "/enter", "/static"})


def create_app(
    ports: Ports, access: Access, clock: Clock, *, hosts: Sequence[str] = LOOPBACK, pace_s: float = 1.0
) -> App:
    """The ASGI application. `hosts`: the names it answers to; `pace_s`: how often the page's stream looks."""
    app = FastAPI(title="mining-hub", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.ports = ports
    app.state.guard = Guard(access, Audit(ports.journal.record), clock)
    app.state.holding = asyncio.Lock()
    app.state.streams = Streams(ports, page.Renderer(), pace_s)
    app.state.sites = lambda: {info["site"]: info["observe_only"] for info in ports.sites.sites()}

    @app.exception_handler(ConfigError)
    async def unreadable(_request: Request, error: ConfigError) -> JSONResponse:
        faults = [{"place": f.place, "problem": f.problem, "remedy": f.remedy} for f in error.faults]
        return JSONResponse({"faults": faults}, 422)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        """Every fault of a body or of a query at once, in the form of `unreadable`."""
        field = getattr(request.scope.get("route"), "body_field", None)
        model = field.field_info.annotation if field is not None else None
        errors = [{**one, "loc": tuple(one["loc"])[1:]} for one in error.errors()]
        return await unreadable(request, ConfigError(request_faults(errors, model)))

    @app.exception_handler(NotFound)
    async def absent(_request: Request, error: NotFound) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 404)

    @app.get("/healthz")
    async def healthz() -> PlainTextResponse:
        """Alive, for supervisors: the state of each task by its kind, nothing about the site."""
        health = ports.health.health()
        well = bool(health.get("ok"))
        tasks = [f"{str(one['name']).partition(' ')[0]} {one['state']}\n" for one in health.get("tasks", ())]
        return PlainTextResponse("".join(["ok\n" if well else "not ok\n", *tasks]), 200 if well else 503)

    @app.get("/api/v1/openapi.json", include_in_schema=False)
    async def schema(_by: Principal = Depends(Need("site:read"))) -> dict[str, Any]:
        return description(app)

    for subject in (sites, fleet, plans, alarms, orders, jobs, placement, archive, reports, page):
        app.include_router(subject.router, responses={422: {"model": Faults, "description": "every fault at once"}})
    app.mount("/static", page.static_files())
    bare = [path for _, path, permission in permissions(app) if permission is None and path not in PUBLIC]
    if bare:
        raise BrokenInvariant(f"routes without a permission: {', '.join(bare)}")
    return Shell(app, hosts)


def description(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of the API."""
    return get_openapi(title=app.title, version="1", routes=app.routes)


def permissions(app: FastAPI) -> Iterator[tuple[str, str, str | None]]:
    """(method, path, permission) of every route; None where it declares none."""
    for route in _flat(app.routes):
        path = str(getattr(route, "path", route))
        if isinstance(route, APIRoute):
            needs = [need.call for need in route.dependant.dependencies if isinstance(need.call, Need)]
            for method in sorted(route.methods or ()):
                yield method, path, needs[0].permission if len(needs) == 1 else None
        else:
            yield "GET", path, None


def _flat(found: Sequence[BaseRoute]) -> Iterator[BaseRoute]:
    """Included routers as their routes."""
    for route in found:
        router = getattr(route, "original_router", None)
        if router is not None:
            yield from _flat(router.routes)
        else:
            yield route


async def close_streams(app: App) -> None:
    """Let go of the page's streams, so that a server that stops does not wait for them."""
    inner = app._app if isinstance(app, Shell) else app
    streams = getattr(getattr(inner, "state", None), "streams", None)
    if isinstance(streams, Streams):
        streams.close()
        await asyncio.sleep(0)
