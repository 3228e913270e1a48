# SPDX-License-Identifier: Apache-2.0
"""Around every answer: known hosts only (a browser may be lured to loopback), bounded bodies, strict headers.

An answer about one site, list or object, names in its head whether the site only observes (`hub.config.observe_only.HEADER`).
"""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from hub.config.observe_only import FIELD, HEADER

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

MOST_BYTES = 64 * 1024
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        b"font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)


class Shell:
    """Wraps the application. `hosts` are the names it answers to, without port."""

    def __init__(self, app: App, hosts: Sequence[str] = LOOPBACK) -> None:
        self._app, self._hosts = app, frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"])
        if _name(given.get(b"host", b"")) not in self._hosts:
            await _plain(send, 421, "this hub does not answer to that host name; see hub.host in its configuration")
            return
        length = given.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > MOST_BYTES:
            await _plain(send, 413, f"at most {MOST_BYTES} bytes")
            return

        heard = 0
        known: dict[str, Any] = scope.setdefault("state", {})

        async def bounded() -> Message:
            nonlocal heard
            message = await receive()
            heard += len(message.get("body", b""))
            if heard > MOST_BYTES:
                return {"type": "http.disconnect"}
            return message

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                names = {name.lower() for name, _ in headers}
                headers += [pair for pair in HEADERS if pair[0] not in names]
                if b"cache-control" not in names:
                    headers.append((b"cache-control", b"no-store"))
                if FIELD in known:
                    headers.append((HEADER.lower().encode(), b"true" if known[FIELD] else b"false"))
                message["headers"] = headers
            await send(message)

        await self._app(scope, bounded, sealed)


def _name(host: bytes) -> str:
    text = host.decode("latin-1").lower()
    return text[: text.index("]") + 1] if text.startswith("[") and "]" in text else text.partition(":")[0]


async def _plain(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
