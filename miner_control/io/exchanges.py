# SPDX-License-Identifier: Apache-2.0
"""Exchanges with miners over TCP: one epoll for all connections of a hub.

An exchange is one connection: connect, send, receive until the reply is whole, close. All exchanges of a loop share one
epoll of their own, whose descriptor the event loop watches: a thousand answers cost the loop one wake-up, not a
thousand. That makes a poll cheap (`benchmarks/polling.py`).
"""

import asyncio
import errno
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from kernel.address import authority
from kernel.errors import TransportError
from kernel.reading import Absence
from miner_control.dialect.reply import settled
from miner_control.fleet.driver import Parts

CONNECT_S = 2.0
TOTAL_S = 5.0
CAP_BYTES = 1 << 20
QUIET_S = 0.4
STALL_S = 60.0
"""Time without progress after which an upload is ended, so that its place is free for others."""
_TICK_S = 0.1
_CHUNK = 65_536
_PIECE = 1 << 18
_TURN = 1 << 20
_STREAM = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
_EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_READ = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR

Whole = Callable[[bytearray, bool], bool]


class Cut(TransportError):
    """An exchange that ended before its reply was whole; `sent`: whether a byte had been sent by then."""

    def __init__(self, reason: Absence, text: str, sent: bool) -> None:
        super().__init__(reason, text)
        self.sent = sent


@dataclass(slots=True)
class Line:
    """A connection that outlives its exchange, where `keeps` is set: the next exchange over this line uses it again."""

    keeps: bool = False
    sock: socket.socket | None = None

    def take(self) -> socket.socket | None:
        """The open connection, if there is one; it then belongs to the caller."""
        sock, self.sock = self.sock, None
        return sock

    def close(self) -> None:
        sock = self.take()
        if sock is not None:
            sock.close()


@dataclass(slots=True)
class _Upload:
    """A payload in parts: `rest` after the one being sent; `begun` once a byte was sent, last at `moved_s`."""

    rest: Parts
    begun: bool = False
    moved_s: float = 0.0


@dataclass(slots=True)
class _Exchange:
    """One connection in flight. Made for every poll: rarely used state is in `upload` and `line`."""

    sock: socket.socket
    payload: bytes | memoryview
    whole: Whole
    answer: "asyncio.Future[bytes]"
    connect_by_s: float
    done_by_s: float
    received_s: float = 0.0
    connected: bool = False
    sent: int = 0
    buffer: bytearray = field(default_factory=bytearray)
    upload: _Upload | None = None
    line: Line | None = None


class Exchanges:
    """All exchanges of one event loop with miners. `close()` ends those in flight."""

    def __init__(self, connect_s: float = CONNECT_S, total_s: float = TOTAL_S, cap_bytes: int = CAP_BYTES) -> None:
        self.connect_s, self.total_s, self.cap_bytes = connect_s, total_s, cap_bytes
        self._exchanges: dict[int, _Exchange] = {}
        self._epoll: select.epoll | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ticking = False
        self._chunk = memoryview(bytearray(_CHUNK))
        self._waiting: list[
            tuple[str, int, bytes | Parts, Whole, asyncio.Future[bytes], float, Line | None]
        ] = []  # fmt: skip

    def exchange(
        self,
        host: str,
        port: int,
        payload: bytes | Parts,
        whole: Whole,
        total_s: float | None = None,
        line: Line | None = None,
    ) -> "asyncio.Future[bytes]":
        """Send the payload; the future holds the reply's bytes, or Cut. Cancelling it ends the exchange.

        A payload in parts is sent piece by piece and never copied: the parts are shared by all exchanges that send them.
        """
        loop = self._loop
        if loop is None:
            loop = self._start()
        answer = loop.create_future()
        # Connecting waits for the end of this turn of the loop: decoding in a row and connecting in a row is far cheaper
        # than alternating, since the processor keeps each in its cache.
        if not self._waiting:
            loop.call_soon(self._connect_all)
        self._waiting.append((host, port, payload, whole, answer, total_s or self.total_s, line))
        return answer

    def _connect_all(self) -> None:
        loop, epoll, exchanges = self._loop, self._epoll, self._exchanges
        waiting, self._waiting = self._waiting, []
        if loop is None or epoll is None:
            return
        now_s = loop.time()
        connect_by_s = now_s + self.connect_s
        for host, port, payload, whole, answer, total_s, line in waiting:
            if answer.cancelled():
                continue
            try:
                sock = (line.take() if line is not None else None) or _connecting(host, port)
            except Cut as error:
                answer.set_exception(error)
                continue
            number = sock.fileno()
            if type(payload) is tuple:
                exchange = _Exchange(sock, payload[0], whole, answer, connect_by_s, now_s + total_s)
                exchange.upload = _Upload(payload[1:])
            else:
                exchange = _Exchange(sock, payload, whole, answer, connect_by_s, now_s + total_s)  # type: ignore[arg-type]
            if line is not None:
                exchange.line = line
            exchanges[number] = exchange
            epoll.register(number, _EVENTS)
        if not self._ticking:
            self._ticking = True
            loop.call_later(_TICK_S, self._tick)

    def close(self) -> None:
        """End what is in flight and release the descriptors."""
        waiting, self._waiting = self._waiting, []
        for *_, answer, _, _ in waiting:
            if not answer.done():
                answer.set_exception(Cut(Absence.UNREACHABLE, "the hub closes", False))
        for number in list(self._exchanges):
            self._fail(number, Absence.UNREACHABLE, "the hub closes")
        if self._epoll is not None and self._loop is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
        self._epoll = self._loop = None

    def _start(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._loop.add_reader(self._epoll.fileno(), self._ready)
        return self._loop

    def _ready(self) -> None:
        assert self._epoll is not None
        for number, mask in self._epoll.poll(0, 512):
            exchange = self._exchanges.get(number)
            if exchange is None:
                continue
            try:
                if exchange.sent < len(exchange.payload) or exchange.upload is not None:
                    self._send(number, exchange, mask)
                if mask & _READ and exchange.connected:
                    self._receive(number, exchange)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError as error:
                # A peer that closes with unread bytes resets: the bytes before may still be the whole answer.
                if exchange.buffer and exchange.whole(exchange.buffer, True):
                    self._finish(number, exchange)
                else:
                    self._fail(number, Absence.UNREACHABLE, _error_name(error.errno or 0))

    def _send(self, number: int, exchange: _Exchange, mask: int) -> None:
        if not exchange.connected:
            if mask & (select.EPOLLERR | select.EPOLLHUP):
                code = exchange.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                self._fail(number, Absence.UNREACHABLE, _error_name(code))
                return
            exchange.connected = True
        if exchange.upload is not None:
            self._send_parts(number, exchange, exchange.upload, mask)
        else:
            exchange.sent += exchange.sock.send(
                exchange.payload[exchange.sent :] if exchange.sent else exchange.payload
            )

    def _send_parts(self, number: int, exchange: _Exchange, upload: _Upload, mask: int) -> None:
        """Send a bounded part of a long payload. An answer that comes before the end is received."""
        assert self._epoll is not None and self._loop is not None
        left = _TURN
        while left > 0:
            if exchange.sent == len(exchange.payload):
                if not upload.rest:
                    return
                exchange.payload, upload.rest, exchange.sent = memoryview(upload.rest[0]), upload.rest[1:], 0
                continue
            try:
                count = exchange.sock.send(memoryview(exchange.payload)[exchange.sent : exchange.sent + _PIECE])
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                if mask & select.EPOLLIN:
                    # It answered already, and closed: its answer gives the reason.
                    upload.rest, exchange.sent = (), len(exchange.payload)
                    return
                raise
            exchange.sent += count
            left -= count
            upload.begun, upload.moved_s = True, self._loop.time()
        # Edge-triggered: room for more is signalled once, and again only after a new registration.
        self._epoll.modify(number, _EVENTS)

    def _receive(self, number: int, exchange: _Exchange) -> None:
        """Edge-triggered: receive until empty. A read shorter than the chunk has emptied the socket."""
        buffer = exchange.buffer
        while True:
            try:
                count = exchange.sock.recv_into(self._chunk)
            except BlockingIOError:
                return
            if not count:
                if buffer and exchange.whole(buffer, True):
                    self._finish(number, exchange)
                else:
                    text = f"closed after {len(buffer)} bytes" if buffer else "closed without an answer"
                    self._fail(number, Absence.UNREACHABLE, text)
                return
            buffer += self._chunk[:count]
            if len(buffer) > self.cap_bytes:
                self._fail(number, Absence.MALFORMED, f"a reply of more than {self.cap_bytes} bytes")
                return
            if exchange.whole(buffer, False):
                self._finish(number, exchange)
                return
            assert self._loop is not None
            exchange.received_s = self._loop.time()

    def _finish(self, number: int, exchange: _Exchange) -> None:
        self._exchanges.pop(number, None)
        if exchange.line is not None and exchange.line.keeps and self._epoll is not None and not exchange.answer.done():
            self._epoll.unregister(number)
            exchange.line.sock = exchange.sock
        else:
            exchange.sock.close()
        if not exchange.answer.done():
            exchange.answer.set_result(bytes(exchange.buffer))

    def _fail(self, number: int, reason: Absence, text: str) -> None:
        exchange = self._exchanges.pop(number, None)
        if exchange is not None:
            exchange.sock.close()
            if not exchange.answer.done():
                exchange.answer.set_exception(
                    Cut(reason, text, exchange.sent > 0 or (exchange.upload is not None and exchange.upload.begun))
                )

    def _tick(self) -> None:
        loop = self._loop
        if loop is None or not self._exchanges:
            self._ticking = False
            return
        now_s = loop.time()
        for number, exchange in list(self._exchanges.items()):
            if exchange.answer.cancelled():
                del self._exchanges[number]
                exchange.sock.close()
                continue
            if exchange.buffer and now_s - exchange.received_s > QUIET_S and settled(exchange.whole, exchange.buffer):
                self._finish(number, exchange)
            elif now_s > exchange.done_by_s:
                what = (
                    f"no whole answer in time ({len(exchange.buffer)} bytes came)"
                    if exchange.connected
                    else "no connection"
                )
                self._fail(number, Absence.TIMED_OUT if exchange.connected else Absence.UNREACHABLE, what)
            elif exchange.upload is not None and _stands_still(exchange, exchange.upload, now_s):
                self._fail(number, Absence.TIMED_OUT, f"nothing of the upload was taken for {STALL_S:g} s")
            elif not exchange.connected and now_s > exchange.connect_by_s:
                self._fail(number, Absence.UNREACHABLE, f"no connection within {self.connect_s:g} s")
        loop.call_later(_TICK_S, self._tick)


def _stands_still(exchange: _Exchange, upload: _Upload, now_s: float) -> bool:
    left = bool(upload.rest) or exchange.sent < len(exchange.payload)
    return upload.begun and left and now_s - upload.moved_s > STALL_S


def _connecting(host: str, port: int) -> socket.socket:
    """A socket with its connection started. Raises Cut."""
    try:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, _STREAM)
    except OSError as error:
        raise Cut(Absence.UNREACHABLE, f"{authority(host, port)}: {_error_name(error.errno or 0)}", False) from None
    try:
        code = sock.connect_ex((host, port))
    except (OSError, ValueError, OverflowError) as error:
        sock.close()
        raise Cut(Absence.UNREACHABLE, f"{authority(host, port)}: {error}", False) from None
    if code not in (0, errno.EINPROGRESS):
        sock.close()
        raise Cut(Absence.UNREACHABLE, f"{authority(host, port)}: {_error_name(code)}", False)
    return sock


def _error_name(code: int) -> str:
    return errno.errorcode.get(code, str(code)).lower()
