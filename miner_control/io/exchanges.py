# SPDX-License-Identifier: Apache-2.0
"""Conversations with miners: one epoll carries all of a hub.

An exchange is one connection: connect, send, receive until the reply is whole, close. All exchanges of a loop share one
epoll of their own, whose descriptor the event loop watches: a thousand answers cost the loop one wake-up, not a
thousand. That is what makes a poll cheap (`benchmarks/polling.py`); nothing else here is clever.
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
"""An upload of which not a byte moved for so long is over: the place it holds is wanted by others."""
_TICK_S = 0.1
_CHUNK = 65_536
_PIECE = 1 << 18
_TURN = 1 << 20
_STREAM = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
_EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_READ = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR

Whole = Callable[[bytearray, bool], bool]


class Cut(TransportError):
    """A conversation that ended before its reply was whole; `sent` tells whether a byte had left by then."""

    def __init__(self, reason: Absence, text: str, sent: bool) -> None:
        super().__init__(reason, text)
        self.sent = sent


@dataclass(slots=True)
class Line:
    """A connection that outlives its exchange, where `keeps` is set: the next exchange over this line uses it again."""

    keeps: bool = False
    sock: socket.socket | None = None

    def take(self) -> socket.socket | None:
        """The open connection, if there is one; it is the taker's from now on."""
        sock, self.sock = self.sock, None
        return sock

    def close(self) -> None:
        sock = self.take()
        if sock is not None:
            sock.close()


@dataclass(slots=True)
class _Upload:
    """A payload in parts: `rest` still to come after the one being sent; `begun` once a byte has left, last at `moved_s`."""

    rest: Parts
    begun: bool = False
    moved_s: float = 0.0


@dataclass(slots=True)
class _Talk:
    """One connection in flight. Made for every poll: what only few need stands in `upload` and `line`."""

    sock: socket.socket
    payload: bytes | memoryview
    whole: Whole
    answer: "asyncio.Future[bytes]"
    connect_by_s: float
    done_by_s: float
    heard_s: float = 0.0
    connected: bool = False
    sent: int = 0
    buffer: bytearray = field(default_factory=bytearray)
    upload: _Upload | None = None
    line: Line | None = None


class Exchanges:
    """All miner conversations of one event loop. `close()` ends those in flight."""

    def __init__(self, connect_s: float = CONNECT_S, total_s: float = TOTAL_S, cap_bytes: int = CAP_BYTES) -> None:
        self.connect_s, self.total_s, self.cap_bytes = connect_s, total_s, cap_bytes
        self._talks: dict[int, _Talk] = {}
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
        """Send the payload; the future holds the reply's bytes, or Cut. Cancelling it ends the conversation.

        A payload in parts is sent a little at a time and never copied: the parts are shared by all who send them.
        """
        loop = self._loop
        if loop is None:
            loop = self._start()
        answer = loop.create_future()
        # Connecting waits for the end of this turn of the loop: decoding one after another and connecting one after
        # another is far cheaper than taking turns, since the processor keeps each in its cache.
        if not self._waiting:
            loop.call_soon(self._connect_all)
        self._waiting.append((host, port, payload, whole, answer, total_s or self.total_s, line))
        return answer

    def _connect_all(self) -> None:
        loop, epoll, talks = self._loop, self._epoll, self._talks
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
                talk = _Talk(sock, payload[0], whole, answer, connect_by_s, now_s + total_s)
                talk.upload = _Upload(payload[1:])
            else:
                talk = _Talk(sock, payload, whole, answer, connect_by_s, now_s + total_s)  # type: ignore[arg-type]
            if line is not None:
                talk.line = line
            talks[number] = talk
            epoll.register(number, _EVENTS)
        if not self._ticking:
            self._ticking = True
            loop.call_later(_TICK_S, self._tick)

    def close(self) -> None:
        """End what is in flight and give the descriptors back."""
        waiting, self._waiting = self._waiting, []
        for *_, answer, _, _ in waiting:
            if not answer.done():
                answer.set_exception(Cut(Absence.UNREACHABLE, "the hub closes", False))
        for number in list(self._talks):
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
            talk = self._talks.get(number)
            if talk is None:
                continue
            try:
                if talk.sent < len(talk.payload) or talk.upload is not None:
                    self._send(number, talk, mask)
                if mask & _READ and talk.connected:
                    self._receive(number, talk)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError as error:
                # A peer that closes with unread bytes resets: what came before may still be the whole answer.
                if talk.buffer and talk.whole(talk.buffer, True):
                    self._finish(number, talk)
                else:
                    self._fail(number, Absence.UNREACHABLE, _words(error.errno or 0))

    def _send(self, number: int, talk: _Talk, mask: int) -> None:
        if not talk.connected:
            if mask & (select.EPOLLERR | select.EPOLLHUP):
                code = talk.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                self._fail(number, Absence.UNREACHABLE, _words(code))
                return
            talk.connected = True
        if talk.upload is not None:
            self._send_parts(number, talk, talk.upload, mask)
        else:
            talk.sent += talk.sock.send(talk.payload[talk.sent :] if talk.sent else talk.payload)

    def _send_parts(self, number: int, talk: _Talk, upload: _Upload, mask: int) -> None:
        """A turn's worth of a long payload. A peer that answers before it has heard all is listened to."""
        assert self._epoll is not None and self._loop is not None
        left = _TURN
        while left > 0:
            if talk.sent == len(talk.payload):
                if not upload.rest:
                    return
                talk.payload, upload.rest, talk.sent = memoryview(upload.rest[0]), upload.rest[1:], 0
                continue
            try:
                count = talk.sock.send(memoryview(talk.payload)[talk.sent : talk.sent + _PIECE])
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                if mask & select.EPOLLIN:
                    # It has answered already, and closed: its answer says why.
                    upload.rest, talk.sent = (), len(talk.payload)
                    return
                raise
            talk.sent += count
            left -= count
            upload.begun, upload.moved_s = True, self._loop.time()
        # Edge-triggered: that there is room for more is told once, and again only when asked for anew.
        self._epoll.modify(number, _EVENTS)

    def _receive(self, number: int, talk: _Talk) -> None:
        """Edge-triggered: take all there is. A read shorter than the chunk has emptied the socket."""
        buffer = talk.buffer
        while True:
            try:
                count = talk.sock.recv_into(self._chunk)
            except BlockingIOError:
                return
            if not count:
                if buffer and talk.whole(buffer, True):
                    self._finish(number, talk)
                else:
                    text = f"closed after {len(buffer)} bytes" if buffer else "closed without an answer"
                    self._fail(number, Absence.UNREACHABLE, text)
                return
            buffer += self._chunk[:count]
            if len(buffer) > self.cap_bytes:
                self._fail(number, Absence.MALFORMED, f"a reply of more than {self.cap_bytes} bytes")
                return
            if talk.whole(buffer, False):
                self._finish(number, talk)
                return
            assert self._loop is not None
            talk.heard_s = self._loop.time()

    def _finish(self, number: int, talk: _Talk) -> None:
        self._talks.pop(number, None)
        if talk.line is not None and talk.line.keeps and self._epoll is not None and not talk.answer.done():
            self._epoll.unregister(number)
            talk.line.sock = talk.sock
        else:
            talk.sock.close()
        if not talk.answer.done():
            talk.answer.set_result(bytes(talk.buffer))

    def _fail(self, number: int, reason: Absence, text: str) -> None:
        talk = self._talks.pop(number, None)
        if talk is not None:
            talk.sock.close()
            if not talk.answer.done():
                talk.answer.set_exception(
                    Cut(reason, text, talk.sent > 0 or (talk.upload is not None and talk.upload.begun))
                )

    def _tick(self) -> None:
        loop = self._loop
        if loop is None or not self._talks:
            self._ticking = False
            return
        now_s = loop.time()
        for number, talk in list(self._talks.items()):
            if talk.answer.cancelled():
                del self._talks[number]
                talk.sock.close()
                continue
            if talk.buffer and now_s - talk.heard_s > QUIET_S and settled(talk.whole, talk.buffer):
                self._finish(number, talk)
            elif now_s > talk.done_by_s:
                what = f"no whole answer in time ({len(talk.buffer)} bytes came)" if talk.connected else "no connection"
                self._fail(number, Absence.TIMED_OUT if talk.connected else Absence.UNREACHABLE, what)
            elif talk.upload is not None and _stands_still(talk, talk.upload, now_s):
                self._fail(number, Absence.TIMED_OUT, f"nothing of the upload was taken for {STALL_S:g} s")
            elif not talk.connected and now_s > talk.connect_by_s:
                self._fail(number, Absence.UNREACHABLE, f"no connection within {self.connect_s:g} s")
        loop.call_later(_TICK_S, self._tick)


def _stands_still(talk: _Talk, upload: _Upload, now_s: float) -> bool:
    left = bool(upload.rest) or talk.sent < len(talk.payload)
    return upload.begun and left and now_s - upload.moved_s > STALL_S


def _connecting(host: str, port: int) -> socket.socket:
    """A socket on its way to a peer. Raises Cut."""
    try:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, _STREAM)
    except OSError as error:
        raise Cut(Absence.UNREACHABLE, f"{authority(host, port)}: {_words(error.errno or 0)}", False) from None
    try:
        code = sock.connect_ex((host, port))
    except (OSError, ValueError, OverflowError) as error:
        sock.close()
        raise Cut(Absence.UNREACHABLE, f"{authority(host, port)}: {error}", False) from None
    if code not in (0, errno.EINPROGRESS):
        sock.close()
        raise Cut(Absence.UNREACHABLE, f"{authority(host, port)}: {_words(code)}", False)
    return sock


def _words(code: int) -> str:
    return errno.errorcode.get(code, str(code)).lower()
