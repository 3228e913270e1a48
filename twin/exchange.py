# SPDX-License-Identifier: Apache-2.0
"""HTTP request and response of the simulated devices, and digest authentication of a web server."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import md5
from typing import Any

import orjson

_TEXTS = {200: "OK", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
          405: "Method Not Allowed", 422: "Unprocessable Content", 500: "Internal Server Error",
          503: "Service Unavailable"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    """A request: header names in lower case; `path` without the query."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON, or None for any other body."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None


@dataclass(frozen=True, slots=True)
class Response:
    """A response."""

    status: int
    body: bytes = b""
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    def wire(self, keep: bool) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {_TEXTS.get(self.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines += [f"Content-Type: {self.kind}", f"Content-Length: {len(self.body)}"]
        lines += [f"Connection: {'keep-alive' if keep else 'close'}", "", ""]
        return "\r\n".join(lines).encode() + self.body


def respond(value: Any, status: int = 200) -> Response:
    return Response(status, orjson.dumps(value))


def _hash(text: str) -> str:
    return md5(text.encode()).hexdigest()


def _fields(header: str) -> dict[str, str]:
    """The fields of an Authorization header; quoted values may contain commas."""
    found: dict[str, str] = {}
    rest = header.partition(" ")[2]
    while rest:
        name, _, rest = rest.partition("=")
        if rest.startswith('"'):
            value, _, rest = rest[1:].partition('"')
            rest = rest.partition(",")[2]
        else:
            value, _, rest = rest.partition(",")
        found[name.strip().lower()] = value.strip()
    return found


class Digest:
    """RFC 7616 digest with MD5 and qop=auth for one device. Nonces live `life_ms`; a counter never goes back."""

    def __init__(self, realm: str, account: str, life_ms: int = 600_000) -> None:
        self.realm = realm
        self.account = account
        self.life_ms = life_ms
        self._nonces: dict[str, tuple[int, int]] = {}

    def challenge(self, now_ms: int, stale: bool = False) -> Response:
        nonce = secrets.token_hex(16)
        self._nonces = {key: kept for key, kept in self._nonces.items() if now_ms - kept[0] < self.life_ms}
        self._nonces[nonce] = (now_ms, 0)
        more = ", stale=true" if stale else ""
        header = f'Digest realm="{self.realm}", nonce="{nonce}", qop="auth"{more}'
        return Response(401, b"<h1>401 Unauthorized</h1>", "text/html", {"WWW-Authenticate": header})

    def refuse(self, ask: Request, password: str, now_ms: int) -> Response | None:
        """None for an authenticated request; else the 401 to send."""
        header = ask.headers.get("authorization", "")
        if not header.lower().startswith("digest "):
            return self.challenge(now_ms)
        given = _fields(header)
        kept = self._nonces.get(given.get("nonce", ""))
        if kept is None or now_ms - kept[0] >= self.life_ms:
            return self.challenge(now_ms, stale=True)
        secret = _hash(f"{self.account}:{self.realm}:{password}")
        target = _hash(f"{ask.method}:{given.get('uri', '')}")
        if given.get("qop"):
            middle = f"{given['nonce']}:{given.get('nc', '')}:{given.get('cnonce', '')}:{given['qop']}"
        else:
            middle = given["nonce"]
        try:
            count = int(given.get("nc", "1"), 16)
        except ValueError:
            return self.challenge(now_ms)
        proven = secrets.compare_digest(given.get("response", ""), _hash(f"{secret}:{middle}:{target}"))
        right_path = given.get("uri", "").partition("?")[0] == ask.path
        if not proven or not right_path or given.get("username") != self.account or count <= kept[1]:
            return self.challenge(now_ms)
        self._nonces[given["nonce"]] = (kept[0], count)
        return None
