# SPDX-License-Identifier: Apache-2.0
"""Who asks, and may they: every route declares one permission as `Need`; `create_app` refuses a route without.

A program shows its key (`Authorization: Bearer mh_...`), a browser its session cookie. With a cookie, whatever changes
something must come from our own page (Sec-Fetch-Site, else Origin).
"""

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from hub.api.access import ENTRY_HEADER, Access, Principal, Throttle, declared
from hub.api.audit import Audit
from kernel.clock import Clock
from kernel.errors import ConfigError, DecodeError, Fault, NotFound
from kernel.foreign_json import strict_json

COOKIE = "mh_session"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """The one place where a request is let in."""

    def __init__(self, access: Access, audit: Audit, clock: Clock) -> None:
        self.access, self.audit, self.clock = access, audit, clock
        self._failures = Throttle(10, 60.0, clock)
        self._denials = Throttle(30, 60.0, clock)

    async def principal(self, request: Request, permission: str) -> Principal:
        """The principal of a request. Raises 401, 403 or 429, each journalled (a flood from one address once a minute in all)."""
        address = request.client.host if request.client else "?"
        site = request.path_params.get("site")
        found = self._shown(request)
        if found is None:
            # After a valid key was looked for: who has one is not locked out by the failures of another at that address.
            if self._failures.full(address):
                raise HTTPException(429, "too many failures from this address; wait a minute", {"Retry-After": "60"})
            self._failures.count(address)
            await self._say(request, "", permission, "no valid key or session", address, site)
            raise HTTPException(
                401, "show a key or enter by the link on the hub's terminal", {"WWW-Authenticate": "Bearer"}
            )
        if found.way == "session" and request.method not in SAFE and not _own_page(request):
            await self._say(request, found.who, permission, "came from another site's page", address, site)
            raise HTTPException(403, "this did not come from the hub's own page")
        if not found.may(permission):
            await self._say(request, found.who, permission, f"role {found.role} may not", address, site)
            raise HTTPException(403, f"{found.role} may not {permission}")
        if site is not None and not found.covers(site):
            await self._say(request, found.who, permission, "another site", address, site)
            raise HTTPException(403, f"{found.who} has no say in {site}")
        return declared(found, request.headers.get(ENTRY_HEADER))

    async def enter(self, request: Request, token: str) -> str | None:
        """The session that a one-time link opens, journalled; None for a wrong one. Raises 429."""
        address = request.client.host if request.client else "?"
        session = self.access.enter(token)
        if session is None and self._failures.full(address):
            raise HTTPException(429, "too many failures from this address; wait a minute", {"Retry-After": "60"})
        by = self.access.by_session(session) if session else None
        if session is None or by is None:
            self._failures.count(address)
            await self._say(request, "", "enter", "link used, old or wrong", address, None)
            return None
        await self.audit.entered(by, address)
        return session

    def _shown(self, request: Request) -> Principal | None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if key:
            return self.access.by_key(key.strip()) if scheme.lower() == "bearer" else None
        session = request.cookies.get(COOKIE)
        return self.access.by_session(session) if session else None

    async def _say(self, request: Request, who: str, permission: str, why: str, address: str, site: str | None) -> None:
        if not self._denials.full(address):
            self._denials.count(address)
            asked = f"{request.method} {request.url.path}"[:200]
            await self.audit.denied(who, asked, permission, why, address, site)


class GuardedRoute(APIRoute):
    """A route whose permission is checked before its body is read: the body of a stranger is never parsed.

    A body is JSON whatever its Content-Type says, and one that is not gives a fault like any other.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        needs = [one.call for one in self.dependant.dependencies if isinstance(one.call, Need)]

        async def guarded(request: Request) -> Response:
            for need in needs:
                await need(request)
            return await answer(request if self.body_field is None else await _as_json(request))

        return guarded


async def _as_json(request: Request) -> Request:
    """The request with its body read and seen to be JSON. Raises ConfigError."""
    raw = await request.body()
    try:
        strict_json(raw, "body")
    except DecodeError as error:
        raise ConfigError([Fault(error.place, error.text, "Send one JSON object in UTF-8, without NaN")]) from None

    async def again() -> Message:
        return {"type": "http.request", "body": raw, "more_body": False}

    heads = [pair for pair in request.scope["headers"] if pair[0] != b"content-type"]
    return Request({**request.scope, "headers": [*heads, (b"content-type", b"application/json")]}, again)


class Need:
    """A route's permission; as a dependency it gives the Principal."""

    def __init__(self, permission: str) -> None:
        self.permission = permission

    async def __call__(self, request: Request) -> Principal:
        known: tuple[Need, Principal] | None = getattr(request.state, "let_in", None)
        if known is not None and known[0] is self:
            return known[1]
        guard: Guard = request.app.state.guard
        found = await guard.principal(request, self.permission)
        site = request.path_params.get("site")
        if site is not None:
            observing: bool | None = request.app.state.sites().get(site)
            if observing is None:
                raise NotFound(f"no site {site!r}")
            request.state.observe_only = observing  # The shell puts it into the answer's head, whatever the answer is.
        request.state.let_in = (self, found)
        return found


def _own_page(request: Request) -> bool:
    fetch_site = request.headers.get("sec-fetch-site")
    if fetch_site is not None:
        return fetch_site == "same-origin"
    origin = request.headers.get("origin", "")
    return bool(origin) and urlsplit(origin).netloc == request.headers.get("host", "")
