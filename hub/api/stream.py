# SPDX-License-Identifier: Apache-2.0
"""One server-sent-event stream per open page; what it carries is made once for all of them.

Each look at the hub gives parts: pieces of the page as HTML, the fleet's states as bytes, the chart's newest point. A part has a
version; a client is sent what is newer than what it has. A slow client skips versions and misses nothing that holds.
The stream rests while nobody looks.
"""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from hub.api.access import Principal
from hub.api.ports import Ports
from hub.query.schema import Fleet, Status

log = logging.getLogger(__name__)

PING_S = 15.0
RETRY_MS = 2000
TEMP_UNKNOWN = 255


class Render(Protocol):
    """Gives the page's pieces as HTML: name to text, with the permission that each needs."""

    def pieces(self, ports: Ports, site: str, status: Status) -> Mapping[str, tuple[str, str]]: ...


@dataclass(slots=True)
class Part:
    """One thing that clients hold: its version, who may have it, and its event ready to send."""

    version: int
    permission: str
    event: bytes


@dataclass(slots=True)
class Channel:
    """The parts of one site, and those who wait for the next look."""

    parts: dict[str, Part] = field(default_factory=dict)
    looked: asyncio.Event = field(default_factory=asyncio.Event)
    clients: int = 0
    task: asyncio.Task[None] | None = None


class Streams:
    """All streams of a hub."""

    def __init__(self, ports: Ports, render: Render, pace_s: float) -> None:
        self._ports, self.render, self._pace_s = ports, render, pace_s
        self._channels: dict[str, Channel] = {}
        self._version = 0
        self._closed = False

    def close(self) -> None:
        """End all of them."""
        self._closed = True
        for channel in self._channels.values():
            channel.looked.set()

    async def follow(self, site: str, by: Principal) -> AsyncIterator[bytes]:
        """The events for one client, until it goes."""
        channel = self._channels.setdefault(site, Channel())
        channel.clients += 1
        if channel.task is None:
            self._look(site, channel)
            channel.task = asyncio.create_task(self._keep_looking(site, channel), name=f"stream {site}")
        has: dict[str, int] = {}
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            while not self._closed:
                news = [
                    part.event
                    for name, part in list(channel.parts.items())
                    if has.get(name) != part.version and by.may(part.permission, site)
                ]
                has = {name: part.version for name, part in channel.parts.items()}
                if news:
                    yield b"".join(news)
                looked = channel.looked
                try:
                    async with asyncio.timeout(PING_S):
                        await looked.wait()
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            channel.clients -= 1

    async def _keep_looking(self, site: str, channel: Channel) -> None:
        while channel.clients:
            await asyncio.sleep(self._pace_s)
            if self._closed:
                break
            self._look(site, channel)
            looked, channel.looked = channel.looked, asyncio.Event()
            looked.set()
        channel.task = None

    def _look(self, site: str, channel: Channel) -> None:
        """One look at the hub: all parts from one status. A fault in one look is shown on the page and in the log."""
        try:
            status = self._ports.sites.status(site)
            for name, (permission, html) in self.render.pieces(self._ports, site, status).items():
                self._put(channel, f"piece {name}", permission, "piece", {"name": name, "html": html})
            self._put(channel, "heat", "fleet:read", "heat", heat(self._ports.fleet.fleet(site)))
            self._put(channel, "now", "site:read", "now", _now(status, self._ports.plans.plan(site)))
        except Exception as error:  # the page must say that it is blind, whatever made it so
            text = f"{type(error).__name__}: the hub could not be read"
            log.exception("the page of %s could not be made", site)
            self._put(channel, "fault", "site:read", "fault", {"text": text})

    def _put(self, channel: Channel, name: str, permission: str, kind: str, body: Mapping[str, Any]) -> None:
        """A new version where the part is another than before."""
        event = f"event: {kind}\ndata: {json.dumps(body, ensure_ascii=False)}\n\n".encode()
        known = channel.parts.get(name)
        if known is None or known.event != event:
            self._version += 1
            channel.parts[name] = Part(self._version, permission, event)


def heat(fleet: Fleet) -> dict[str, Any]:
    """States and temperatures as one byte a miner each, base64; 255 is an unknown temperature, in whole degrees C + 60."""
    temps = bytes(TEMP_UNKNOWN if temp is None else max(0, min(254, round(temp) + 60)) for temp in fleet["temp_c"])
    return {
        "layout": fleet["layout"],
        "states": base64.b64encode(bytes(fleet["state"])).decode(),
        "temps": base64.b64encode(temps).decode(),
    }


def _now(status: Status, plan: Mapping[str, Any] | None) -> dict[str, Any]:
    """The chart's newest point, and what makes the whole chart worth asking again."""
    return {
        "as_of_ms": status["as_of_ms"],
        "position": status["position"],
        "observe_only": status["observe_only"],
        "power_w": status["power"]["main"]["value"],
        "cap_w": status["cap_w"],
        "mark": f"{plan['id'] if plan else ''} {status['cap_w']}",
    }
