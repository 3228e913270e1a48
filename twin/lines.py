# SPDX-License-Identifier: Apache-2.0
"""Connections of the simulated miners: each unit listens on its own loopback address, with its own response time.

The content comes from a responder (bytes in, bytes out); delays, cut, split and missing answers are made here. A unit
without power, and one that reboots, closes its ports.
"""

import asyncio
import resource
import socket
from collections.abc import Callable
from typing import Protocol, cast, runtime_checkable
from urllib.parse import parse_qsl

import numpy as np

from kernel.clock import Clock
from kernel.errors import ConfigError, Fault
from twin import rpc
from twin.exchange import Request, Response
from twin.site import Site, Unit

HUGE = 10_000_000
LONGEST_REQUEST = 1 << 20
LONGEST_IMAGE = 1 << 28
SPARE_FILES = 512
NEAR_MS = 40


class RpcResponder(Protocol):
    def rpc(self, unit: Unit, payload: bytes, now_ms: int) -> bytes: ...


@runtime_checkable
class ImageResponder(Protocol):
    """A responder that may request a firmware image over the same connection: it answers `ready`, and sets `says_ready`."""

    def image(self, unit: Unit, data: bytes, now_ms: int) -> bytes: ...


class HttpResponder(Protocol):
    def http(self, unit: Unit, ask: Request, now_ms: int) -> Response: ...


class Delays:
    """Response times, drawn in advance in blocks: one uniform draw per answer."""

    def __init__(self, span_s: tuple[float, float], rng: np.random.Generator) -> None:
        self._span_s, self._rng = span_s, rng
        self._block: list[float] = []

    def next(self) -> float:
        if not self._block:
            self._block = self._rng.uniform(*self._span_s, 1024).tolist()
        return self._block.pop()


class LineContext:
    """Shared data of all connections of a site: the site, its clock, the delays, and the loop."""

    def __init__(self, site: Site, clock: Clock, rng: np.random.Generator) -> None:
        self.site = site
        self.clock = clock
        self.loop = asyncio.get_running_loop()
        self.delays = Delays(site.spec.latency_s, rng)
        self.slow = Delays((5.0, 8.0), rng)
        self.writes = Delays(site.spec.write_s, rng)
        self.tickers: list[Callable[[int], None]] = []

    def now(self) -> int:
        """The instant, with the machines close enough to it for a report; a command advances them to its own instant."""
        now_ms = self.clock.now_ms()
        if now_ms - self.site.machines.at_ms >= NEAR_MS:
            self.site.machines.advance(now_ms)
        return now_ms

    def delay(self, unit: Unit) -> float:
        return self.slow.next() if "slow" in unit.faults else self.delays.next()


class Line(asyncio.Protocol):
    """One connection to one unit: common part of RPC and HTTP."""

    __slots__ = ("_buffer", "_context", "_image", "_transport", "_unit")

    def __init__(self, host_addresses: LineContext, unit: Unit) -> None:
        self._context, self._unit = host_addresses, unit
        self._buffer = b""
        self._image: bytearray | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        unit = self._unit
        unit.open_now += 1
        unit.open_most = max(unit.open_most, unit.open_now)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._unit.open_now -= 1

    def _image_part(self, data: bytes, flash: Callable[[bytes], None]) -> None:
        """A further part of an image: four bytes of its size, little-endian, then that many bytes."""
        image = self._image
        assert image is not None
        image += data
        size = int.from_bytes(image[:4], "little") if len(image) >= 4 else 0
        if size > LONGEST_IMAGE:
            self._cut()
        elif size and len(image) >= 4 + size:
            self._image = None
            self._context.loop.call_later(
                self._context.delay(self._unit), flash, bytes(memoryview(image)[4 : 4 + size])
            )

    def _awaits_image(self, responder: object) -> bool:
        """Whether the last answer was `ready`: the image follows on this connection."""
        if not isinstance(responder, ImageResponder) or not self._unit.memory.pop("says_ready", False):
            return False
        self._image = bytearray()
        return True

    def _cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _send(self, body: bytes, keep: bool) -> None:
        """Send an answer, with the unit's faults applied."""
        transport, faults = self._transport, self._unit.faults
        if transport is None:
            return
        self._unit.answers += 1
        if not faults:
            transport.write(body)
            if not keep:
                transport.close()
            return
        if "lost_reply" in faults:
            transport.abort()
        elif "reboot_mid_reply" in faults:
            transport.write(body[: len(body) // 2])
            site = self._context.site
            self._context.loop.call_later(0.05, self._cut)
            site.machines.reboot(self._unit.index, self._context.now())
        elif "segments" in faults:
            third = max(1, len(body) // 3)
            self._pieces([body[:third], body[third : 2 * third], body[2 * third :]], keep)
        else:
            transport.write(body)
            if not keep and "no_nul" not in faults:
                transport.close()

    def _pieces(self, pieces: list[bytes], keep: bool) -> None:
        if self._transport is None:
            return
        self._transport.write(pieces[0])
        if len(pieces) > 1:
            self._context.loop.call_later(0.03, self._pieces, pieces[1:], keep)
        elif not keep:
            self._transport.close()


class RpcLine(Line):
    """cgminer exchange: one message, one answer, close."""

    __slots__ = ("_responder",)

    def __init__(self, host_addresses: LineContext, unit: Unit, responder: RpcResponder) -> None:
        super().__init__(host_addresses, unit)
        self._responder = responder

    def data_received(self, data: bytes) -> None:
        if self._image is not None:
            return self._image_part(data, self._flash)
        self._buffer += data
        if len(self._buffer) > LONGEST_REQUEST:
            self._cut()
        elif rpc.complete(self._buffer) and "hung" not in self._unit.faults:
            payload, self._buffer = self._buffer, b""
            self._context.loop.call_later(self._context.delay(self._unit), self._answer, payload)

    def _answer(self, payload: bytes) -> None:
        unit, now_ms = self._unit, self._context.now()
        if self._transport is None and "lost_reply" not in unit.faults:
            return
        if not self._context.site.machines.board_up(unit.index):
            return self._cut()
        body = self._responder.rpc(unit, payload, now_ms)
        if unit.faults:
            if not self._context.site.machines.board_up(unit.index):
                return self._cut()
            body = rpc.broken(body, unit.faults)
            if "huge" in unit.faults:
                body = body.rstrip(b"\0}") + b',"padding":"' + b"x" * HUGE + b'"}\0'
            if "no_nul" in unit.faults:
                body = body.rstrip(b"\0")
        self._send(body, keep=self._awaits_image(self._responder))

    def _flash(self, data: bytes) -> None:
        if isinstance(self._responder, ImageResponder):
            self._send(self._responder.image(self._unit, data, self._context.now()), keep=False)


class FrameLine(Line):
    """Four bytes of length, little-endian, then JSON; the connection stays open for more."""

    __slots__ = ("_responder",)

    def __init__(self, host_addresses: LineContext, unit: Unit, responder: RpcResponder) -> None:
        super().__init__(host_addresses, unit)
        self._responder = responder

    def data_received(self, data: bytes) -> None:
        if self._image is not None:
            return self._image_part(data, self._flash)
        self._buffer += data
        while len(self._buffer) >= 4:
            length = int.from_bytes(self._buffer[:4], "little")
            if length > LONGEST_REQUEST:
                return self._cut()
            if len(self._buffer) < 4 + length:
                return
            payload, self._buffer = self._buffer[4 : 4 + length], self._buffer[4 + length :]
            if "hung" not in self._unit.faults:
                self._context.loop.call_later(self._context.delay(self._unit), self._answer, payload)

    def _answer(self, payload: bytes) -> None:
        unit, now_ms = self._unit, self._context.now()
        machines = self._context.site.machines
        if self._transport is None and "lost_reply" not in unit.faults:
            return
        if not machines.board_up(unit.index):
            return self._cut()
        body = self._responder.rpc(unit, payload, now_ms)
        length = len(body)
        if unit.faults:
            if not machines.board_up(unit.index) and "reboots_on_write" in unit.faults:
                return self._cut()
            body = rpc.broken(body, unit.faults)
            if "huge" in unit.faults:
                body = body.rstrip(b"}") + b',"padding":"' + b"x" * HUGE + b'"}'
            length = len(body) if "truncated" not in unit.faults else length
        self._awaits_image(self._responder)
        self._send(length.to_bytes(4, "little") + body, keep=True)

    def _flash(self, data: bytes) -> None:
        if isinstance(self._responder, ImageResponder):
            body = self._responder.image(self._unit, data, self._context.now())
            self._send(len(body).to_bytes(4, "little") + body, keep=True)


class HttpLine(Line):
    """HTTP/1.1 with keep-alive, one request at a time."""

    __slots__ = ("_busy", "_need", "_received", "_responder")

    def __init__(self, host_addresses: LineContext, unit: Unit, responder: HttpResponder) -> None:
        super().__init__(host_addresses, unit)
        self._responder = responder
        self._busy = False
        self._received = bytearray()
        self._need = 0

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._next()

    def _next(self) -> None:
        if self._busy or self._transport is None:
            return
        self._need = self._need or need_of(self._received)
        if self._need > LONGEST_IMAGE or (not self._need and len(self._received) > LONGEST_REQUEST):
            return self._cut()
        if not self._need or len(self._received) < self._need or "hung" in self._unit.faults:
            return
        found = parse_http(bytes(self._received))
        if found is None:
            return
        ask, rest = found
        self._received, self._need, self._busy = bytearray(rest), 0, True
        wait = self._context.delay(self._unit)
        if ask.method != "GET" and "authorization" in ask.headers:
            wait += self._context.writes.next()
        self._context.loop.call_later(wait, self._answer, ask)

    def _answer(self, ask: Request) -> None:
        unit, now_ms = self._unit, self._context.now()
        if self._transport is None and "lost_reply" not in unit.faults:
            return
        machines = self._context.site.machines
        if not machines.board_up(unit.index):
            return self._cut()
        reported = self._responder.http(unit, ask, now_ms)
        keep = ask.headers.get("connection", "").lower() != "close"
        if unit.faults:
            if not machines.board_up(unit.index) and "reboots_on_write" in unit.faults:
                return self._cut()
            body = rpc.broken(reported.body, unit.faults) if reported.status == 200 else reported.body
            if "huge" in unit.faults and reported.status == 200:
                body += b" " * HUGE
            reported = Response(reported.status, body, reported.kind, reported.headers)
        self._busy = False
        self._send(reported.wire(keep), keep)
        if keep:
            self._next()


def need_of(received: bytearray) -> int:
    """Number of bytes of the first request, by its head; 0 until that is complete."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return 0
    at = bytes(received[:end]).lower().find(b"\r\ncontent-length:")
    length = bytes(received[at + 17 : end]).split(b"\r\n", 1)[0].strip() if at >= 0 else b""
    return end + 4 + (int(length) if length.isdigit() else 0)


def parse_http(data: bytes) -> tuple[Request, bytes] | None:
    """(the first request, the bytes after it); None until it is complete."""
    head, gap, rest = data.partition(b"\r\n\r\n")
    if not gap:
        return None
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    length = headers.get("content-length", "0")
    need = int(length) if length.isdigit() else 0
    if len(rest) < need:
        return None
    path, _, query = (parts[1] if len(parts) > 1 else "/").partition("?")
    return Request(parts[0], path, dict(parse_qsl(query)), headers, rest[:need]), rest[need:]


Factory = Callable[[], asyncio.Protocol]


def listen_socket(host: str, port: int) -> socket.socket:
    """A bound, listening socket. Raises ConfigError with the remedy where the address is in use or refused."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setblocking(False)
        made.bind((host, port))
        made.listen(128)
    except OSError as error:
        made.close()
        raise ConfigError(
            [
                Fault(
                    f"twin, {host}:{port}",
                    f"cannot listen ({error.strerror})",
                    "Choose another port (0 lets the system choose)",
                )
            ]
        ) from None
    return made


def allow_files(wanted: int) -> None:
    """Raise this process's own limit of open files. Raises ConfigError where the host's hard limit is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = wanted + SPARE_FILES
    if soft >= need:
        return
    if hard != resource.RLIM_INFINITY and hard < need:
        raise ConfigError(
            [
                Fault(
                    "twin, open files",
                    f"{need} are needed and the host allows {hard}",
                    "Take fewer miners or raise `ulimit -Hn`",
                )
            ]
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard) if hard != resource.RLIM_INFINITY else (need, hard))
