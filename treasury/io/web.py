# SPDX-License-Identifier: Apache-2.0
"""HTTP exchange with external services of the treasury, bounded in time and size.

No redirects; TLS is required except on loopback.
"""

import ssl
from collections.abc import Mapping
from functools import cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from kernel.errors import ConfigError, Fault, TransportError
from kernel.reading import Absence

TIMEOUT_S = 20.0
MOST_BYTES = 16 << 20


def safe_url(url: str, what: str) -> str:
    """URL without a trailing slash. ConfigError where secrets would be sent unencrypted."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise ConfigError([Fault(what, "its address is no plain http(s) URL", "Write https://host, without account")])
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ConfigError([Fault(what, f"http to {parts.hostname} is sent unencrypted", "Write https://")])
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@cache
def _trust() -> ssl.SSLContext:
    # Loading the system's certificates takes longer than most exchanges, so it is done once.
    return ssl.create_default_context()


async def fetch(
    what: str,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
    body: Any = None,
) -> bytes:
    """Bytes of a 2xx answer. TransportError otherwise; its text contains no header and no query."""
    import httpx

    answer = b""
    try:
        async with (
            httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, verify=_trust()) as client,
            client.stream(method, url, headers=dict(headers or {}), params=dict(params or {}), json=body) as reply,
        ):
            async for part in reply.aiter_bytes():
                answer += part
                if len(answer) > MOST_BYTES:
                    raise TransportError(Absence.MALFORMED, f"{what}: more than {MOST_BYTES} bytes")
            status = reply.status_code
    except httpx.TimeoutException:
        raise TransportError(Absence.TIMED_OUT, f"{what}: no answer within {TIMEOUT_S:g} s") from None
    except httpx.HTTPError as error:
        raise TransportError(Absence.UNREACHABLE, f"{what}: {type(error).__name__}") from None
    if status in (429, 503):
        raise TransportError(Absence.UNREACHABLE, f"{what}: out of service or too often asked (HTTP {status})")
    if not 200 <= status < 300:
        text = answer[:200].decode("utf-8", "replace").replace("\n", " ")
        raise TransportError(Absence.REFUSED, f"{what}: HTTP {status} {text}")
    return answer
