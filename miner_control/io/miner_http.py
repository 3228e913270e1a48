# SPDX-License-Identifier: Apache-2.0
"""HTTP client encoding for miners' web servers: one request per connection; digest by RFC 7616 and RFC 2617."""

import hashlib
import re
import secrets
from collections.abc import Mapping

from kernel.errors import DecodeError
from miner_control.fleet.driver import Answer, Http, Parts

_PAIR = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}


def http_bytes(request: Http, host: str, authorization: str | None = None) -> bytes | Parts:
    """A request in wire form; in parts where its body is, so that an image is not copied."""
    name = f"[{host}]" if ":" in host else host
    lines = [
        f"{request.method} {request.path} HTTP/1.1",
        f"Host: {name}" if request.port == 80 else f"Host: {name}:{request.port}",
        "Connection: close",
        "Accept: */*",
    ]
    lines += [f"{key}: {value}" for key, value in request.headers.items()]
    if authorization is not None:
        lines.append(f"Authorization: {authorization}")
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        body = request.body
        lines.append(f"Content-Length: {len(body) if isinstance(body, bytes) else sum(map(len, body))}")
        if request.body and not any(key.lower() == "content-type" for key in request.headers):
            lines.append("Content-Type: application/json")
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return head + request.body if isinstance(request.body, bytes) else (head, *request.body)


def parse_http(data: bytes) -> Answer:
    """Status, headers (names in lower case) and body. Raises DecodeError on data that is not HTTP."""
    head, mark, body = data.partition(b"\r\n\r\n")
    status_line, _, rest = head.partition(b"\r\n")
    parts = status_line.split(b" ", 2)
    if not mark or len(parts) < 2 or not parts[0].startswith(b"HTTP/") or not parts[1].isdigit():
        raise DecodeError("status line", f"no HTTP: {data[:40]!r}")
    headers: dict[str, str] = {}
    for line in rest.decode("latin-1").split("\r\n"):
        key, colon, value = line.partition(":")
        if colon:
            name = key.strip().lower()
            # Several challenges are several headers: they are joined, so that the digest one is found.
            headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = _unchunk(body)
    elif headers.get("content-length", "").isdigit():
        body = body[: int(headers["content-length"])]
    return Answer(body, int(parts[1]), headers)


def _unchunk(body: bytes) -> bytes:
    pieces, at = [], 0
    while at < len(body):
        line_end = body.find(b"\r\n", at)
        try:
            size = int(body[at:line_end].split(b";")[0], 16)
        except ValueError:
            raise DecodeError("chunk", f"no chunk size: {body[at : at + 20]!r}") from None
        if size == 0:
            break
        pieces.append(body[line_end + 2 : line_end + 2 + size])
        at = line_end + 2 + size + 2
    return b"".join(pieces)


class Digest:
    """A digest nonce with its counter. It is used again, with a rising count, until the miner reports it as stale."""

    __slots__ = ("_account", "_algorithm", "_count", "_nonce", "_opaque", "_password", "_qop", "_realm")

    def __init__(self, account: str, password: str, challenge: Mapping[str, str]) -> None:
        self._account, self._password = account, password
        self._realm, self._nonce = challenge.get("realm", ""), challenge["nonce"]
        self._opaque = challenge.get("opaque")
        self._algorithm = challenge.get("algorithm", "MD5")
        offered = [part.strip() for part in challenge.get("qop", "").split(",")]
        self._qop = "auth" if "auth" in offered else None
        self._count = 0

    @classmethod
    def from_challenge(cls, headers: Mapping[str, str], account: str, password: str) -> "Digest | None":
        """From the WWW-Authenticate of a 401; None where no known digest is offered."""
        text = headers.get("www-authenticate", "")
        at = text.lower().find("digest ")
        if at < 0:
            return None
        challenge = {
            match[1].lower(): match[2] if match[2] is not None else match[3] for match in _PAIR.finditer(text[at:])
        }
        known = challenge.get("algorithm", "MD5").upper().removesuffix("-SESS") in _HASHES
        return cls(account, password, challenge) if known and challenge.get("nonce") else None

    def header(self, method: str, path: str) -> str:
        """The Authorization header of one request."""
        make = _HASHES[self._algorithm.upper().removesuffix("-SESS")]

        def name(text: str) -> str:
            return hashlib.new(make, text.encode(), usedforsecurity=False).hexdigest()

        self._count += 1
        count, cnonce = f"{self._count:08x}", secrets.token_hex(8)
        secret = name(f"{self._account}:{self._realm}:{self._password}")
        if self._algorithm.upper().endswith("-SESS"):
            secret = name(f"{secret}:{self._nonce}:{cnonce}")
        target = name(f"{method}:{path}")
        middle = f"{self._nonce}:{count}:{cnonce}:{self._qop}" if self._qop else self._nonce
        fields = [
            f'username="{self._account}"',
            f'realm="{self._realm}"',
            f'nonce="{self._nonce}"',
            f'uri="{path}"',
            f'response="{name(f"{secret}:{middle}:{target}")}"',
            f"algorithm={self._algorithm}",
        ]
        if self._qop:
            fields += [f"qop={self._qop}", f"nc={count}", f'cnonce="{cnonce}"']
        if self._opaque is not None:
            fields.append(f'opaque="{self._opaque}"')
        return "Digest " + ", ".join(fields)
