# SPDX-License-Identifier: Apache-2.0
"""Devices with JSON over HTTP (Antspace): each document of the profile is fetched at its path."""

from typing import Any

import httpx

from kernel.clock import Clock
from kernel.errors import DecodeError, TransportError
from kernel.foreign_json import foreign_json
from kernel.reading import Absence, Missing, Reading
from kernel.receipt import Accepted, Receipt, Refused, Unknown, Unreachable, Unsupported
from telemetry.collect.source import Tier
from telemetry.device.codec import decode
from telemetry.device.point import Pointer
from telemetry.device.profile import Profile
from telemetry.wire.topic import MAX_PAYLOAD

Credential = tuple[str, str]
"""Account and password."""


def digest(credential: Credential | None) -> httpx.DigestAuth | None:
    """HTTP digest authentication (RFC 7616): the password is never sent in plain text. None without a credential."""
    return None if credential is None else httpx.DigestAuth(*credential)


class HttpSource:
    """One device at a base address such as `http://10.0.0.7:8000`. One connection, kept open."""

    def __init__(
        self,
        device: str,
        profile: Profile,
        base_url: str,
        clock: Clock,
        *,
        timeout_s: float = 3.0,
        credential: Credential | None = None,
    ) -> None:
        self._device, self._profile, self._clock = device, profile, clock
        self._base_url = base_url.rstrip("/")
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout_s),
            limits=httpx.Limits(max_connections=1),
            follow_redirects=False,
            trust_env=False,
            auth=digest(credential),
        )

    @property
    def device(self) -> str:
        return self._device

    @property
    def kind(self) -> str:
        return self._profile.kind

    @property
    def lane(self) -> str:
        return self._base_url

    @property
    def tiers(self) -> frozenset[Tier]:
        return self._profile.tiers()

    async def read(self, tier: Tier) -> Reading:
        """All points of a tier. TransportError where no document could be fetched."""
        wanted = {p.at.document for p in self._profile.points if p.tier is tier and isinstance(p.at, Pointer)}
        raw: dict[str, Any] = {}
        failure: TransportError | None = None
        for document in sorted(wanted):
            try:
                raw[document] = await self._fetch(self._profile.documents[document][0])
            except TransportError as error:
                failure = error
                raw[document] = Missing(error.reason, error.text)
        if failure is not None and all(isinstance(found, Missing) for found in raw.values()):
            raise failure
        return Reading(self._device, self.kind, self._clock.now_ms(), decode(self._profile, raw, 0, tier))

    async def close(self) -> None:
        await self._client.aclose()

    async def _fetch(self, path: str) -> Any:
        try:
            async with self._client.stream("GET", self._base_url + path) as answer:
                if answer.status_code != 200:
                    raise TransportError(Absence.REFUSED, f"{path}: HTTP status {answer.status_code}")
                body = bytearray()
                async for piece in answer.aiter_bytes():
                    body += piece
                    if len(body) > MAX_PAYLOAD:
                        raise TransportError(Absence.MALFORMED, f"{path}: more than {MAX_PAYLOAD} bytes")
            return foreign_json(body, path)
        except httpx.TimeoutException:
            raise TransportError(Absence.TIMED_OUT, f"{path}: no answer in time") from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise TransportError(Absence.UNREACHABLE, f"{path}: {error or type(error).__name__}") from None
        except DecodeError as error:
            raise TransportError(Absence.MALFORMED, str(error)[:120]) from None


class HttpSwitch:
    """Outputs of a device by its profile's `[command.*]`: each is a path to fetch.

    The answer is no proof of the effect; the next reading of the output is.
    """

    def __init__(self, profile: Profile, base_url: str, credential: Credential | None = None) -> None:
        self._profile, self._base_url, self._auth = profile, base_url.rstrip("/"), digest(credential)

    async def switch(self, name: str, index: int, on: bool, *, deadline_s: float) -> Receipt:
        """Accepted after status 200; Refused after another status; Unreachable without a connection; Unknown where the answer is
        lost.
        """
        order = self._profile.orders.get(name)
        if order is None or index < 1:
            return Unsupported(f"{self._profile.model} has no {name} {index}")
        _, path = order.message("", 1, index, on)
        try:
            async with httpx.AsyncClient(timeout=deadline_s, trust_env=False, auth=self._auth) as web:
                answer = await web.get(self._base_url + path)
        except httpx.ConnectError as error:
            return Unreachable(str(error) or "no connection")
        except httpx.TransportError as error:
            return Unknown(f"{type(error).__name__} {error}".strip())
        if answer.status_code != 200:
            return Refused(str(answer.status_code), answer.text[:120])
        return Accepted(answer.text[:120])
