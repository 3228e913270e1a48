# SPDX-License-Identifier: Apache-2.0
"""Miners on the wire: one `Exchanges` carries every conversation of a hub, one `MinerPort` is one miner.

An exchange is one connection: connect, send, receive until the reply is whole, close. All exchanges of a loop share one
epoll of their own, whose descriptor the event loop watches: a thousand answers cost the loop one wake-up, not a
thousand. That is what makes a poll cheap (`benchmarks/polling.py`); nothing else here is clever.
"""

import asyncio
import errno
import select
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kernel.clock import Clock
from kernel.errors import DecodeError, TransportError
from kernel.reading import Reading, Reason
from kernel.receipt import Receipt, Refused, Unknown, Unreachable, Unsupported
from miner_control.command import Intent
from miner_control.dialect.reply import framed_is_whole, http_is_whole, rpc_is_whole, settled
from miner_control.driver import Access, Answer, Dialect, Http, Request, Rpc
from miner_control.io.miner_http import Digest, http_bytes, parse_http
from miner_control.miner import Miner
from telemetry.source import Tier

CONNECT_S = 2.0
TOTAL_S = 5.0
CAP_BYTES = 1 << 20
QUIET_S = 0.4
_TICK_S = 0.1
_CHUNK = 65_536
_STREAM = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
_EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_READ = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR

Whole = Callable[[bytearray, bool], bool]


class Cut(TransportError):
    """A conversation that ended before its reply was whole; `sent` tells whether a byte had left by then."""

    def __init__(self, reason: Reason, text: str, sent: bool) -> None:
        super().__init__(reason, text)
        self.sent = sent


@dataclass(slots=True)
class _Talk:
    """One connection in flight."""

    sock: socket.socket
    payload: bytes
    whole: Whole
    answer: "asyncio.Future[bytes]"
    connect_by_s: float
    done_by_s: float
    heard_s: float = 0.0
    connected: bool = False
    sent: int = 0
    buffer: bytearray = field(default_factory=bytearray)


class Exchanges:
    """All miner conversations of one event loop. `close()` ends those in flight."""

    def __init__(self, connect_s: float = CONNECT_S, total_s: float = TOTAL_S, cap_bytes: int = CAP_BYTES) -> None:
        self.connect_s, self.total_s, self.cap_bytes = connect_s, total_s, cap_bytes
        self._talks: dict[int, _Talk] = {}
        self._epoll: select.epoll | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ticking = False
        self._chunk = memoryview(bytearray(_CHUNK))
        self._waiting: list[tuple[str, int, bytes, Whole, asyncio.Future[bytes], float]] = []

    def exchange(
        self, host: str, port: int, payload: bytes, whole: Whole, total_s: float | None = None
    ) -> "asyncio.Future[bytes]":
        """Send the payload; the future holds the reply's bytes, or Cut. Cancelling it ends the conversation."""
        loop = self._loop
        if loop is None:
            loop = self._start()
        answer = loop.create_future()
        # Connecting waits for the end of this turn of the loop: decoding one after another and connecting one after
        # another is far cheaper than taking turns, since the processor keeps each in its cache.
        if not self._waiting:
            loop.call_soon(self._connect_all)
        self._waiting.append((host, port, payload, whole, answer, total_s or self.total_s))
        return answer

    def _connect_all(self) -> None:
        loop, epoll, talks = self._loop, self._epoll, self._talks
        waiting, self._waiting = self._waiting, []
        if loop is None or epoll is None:
            return
        now_s = loop.time()
        connect_by_s = now_s + self.connect_s
        for host, port, payload, whole, answer, total_s in waiting:
            if answer.cancelled():
                continue
            try:
                sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, _STREAM)
            except OSError as error:
                answer.set_exception(Cut(Reason.UNREACHABLE, f"{host}:{port}: {_words(error.errno or 0)}", False))
                continue
            try:
                code = sock.connect_ex((host, port))
            except (OSError, ValueError, OverflowError) as error:
                sock.close()
                answer.set_exception(Cut(Reason.UNREACHABLE, f"{host}:{port}: {error}", False))
                continue
            if code not in (0, errno.EINPROGRESS):
                sock.close()
                answer.set_exception(Cut(Reason.UNREACHABLE, f"{host}:{port}: {_words(code)}", False))
                continue
            number = sock.fileno()
            talks[number] = _Talk(sock, payload, whole, answer, connect_by_s, now_s + total_s)
            epoll.register(number, _EVENTS)
        if not self._ticking:
            self._ticking = True
            loop.call_later(_TICK_S, self._tick)

    def close(self) -> None:
        """End what is in flight and give the descriptors back."""
        waiting, self._waiting = self._waiting, []
        for *_, answer, _ in waiting:
            if not answer.done():
                answer.set_exception(Cut(Reason.UNREACHABLE, "the hub closes", False))
        for number in list(self._talks):
            self._fail(number, Reason.UNREACHABLE, "the hub closes")
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
                if talk.sent < len(talk.payload):
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
                    self._fail(number, Reason.UNREACHABLE, _words(error.errno or 0))

    def _send(self, number: int, talk: _Talk, mask: int) -> None:
        if not talk.connected:
            if mask & (select.EPOLLERR | select.EPOLLHUP):
                code = talk.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                self._fail(number, Reason.UNREACHABLE, _words(code))
                return
            talk.connected = True
        talk.sent += talk.sock.send(talk.payload[talk.sent :] if talk.sent else talk.payload)

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
                    self._fail(number, Reason.UNREACHABLE, text)
                return
            buffer += self._chunk[:count]
            if len(buffer) > self.cap_bytes:
                self._fail(number, Reason.MALFORMED, f"a reply of more than {self.cap_bytes} bytes")
                return
            if talk.whole(buffer, False):
                self._finish(number, talk)
                return
            assert self._loop is not None
            talk.heard_s = self._loop.time()

    def _finish(self, number: int, talk: _Talk) -> None:
        self._talks.pop(number, None)
        talk.sock.close()
        if not talk.answer.done():
            talk.answer.set_result(bytes(talk.buffer))

    def _fail(self, number: int, reason: Reason, text: str) -> None:
        talk = self._talks.pop(number, None)
        if talk is not None:
            talk.sock.close()
            if not talk.answer.done():
                talk.answer.set_exception(Cut(reason, text, talk.sent > 0))

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
                self._fail(number, Reason.TIMED_OUT if talk.connected else Reason.UNREACHABLE, what)
            elif not talk.connected and now_s > talk.connect_by_s:
                self._fail(number, Reason.UNREACHABLE, f"no connection within {self.connect_s:g} s")
        loop.call_later(_TICK_S, self._tick)


def _words(code: int) -> str:
    return errno.errorcode.get(code, str(code)).lower()


class MinerPort:
    """One miner behind the ports Source and MinerDriver: its dialect's talk, carried byte by byte on one lane.

    The lane is a lock: read and command of one miner never overlap, whoever calls. `prepare` makes what a command will
    need (token, digest nonce) beforehand, so that a shed costs one exchange.
    """

    kind = "miner"
    __slots__ = ("_busy", "_clock", "_device", "_digest", "_exchanges", "_queue", "access", "dialect", "miner")

    def __init__(self, miner: Miner, dialect: Dialect, access: Access, clock: Clock, exchanges: Exchanges) -> None:
        self.miner, self.dialect, self.access = miner, dialect, access
        self._clock, self._exchanges = clock, exchanges
        self._device = miner.device
        self._busy = False
        self._queue: deque[asyncio.Future[None]] = deque()
        self._digest: Digest | None = None

    @property
    def device(self) -> str:
        return self._device

    @property
    def lane(self) -> str:
        return self._device

    async def read(self, tier: Tier) -> Reading:
        """One poll. Raises TransportError or DecodeError."""
        if self._busy:
            await self._turn()
        self._busy = True
        try:
            values = await self._drive(self.dialect.read(self.access, tier, self._clock.now_ms()), _READING)
        finally:
            self._leave()
        return Reading(self._device, "miner", self._clock.now_ms(), values)

    async def prepare(self) -> None:
        """Make token or nonce beforehand. Raises TransportError or DecodeError."""
        if self._busy:
            await self._turn()
        self._busy = True
        try:
            await self._drive(self.dialect.prepare(self.access, self._clock.now_ms()), _READING)
        finally:
            self._leave()

    async def carry_out(self, intent: Intent, deadline_s: float) -> Receipt:
        """Ask it. Never raises for what the device does: the receipt says."""
        if type(intent).__name__ not in self.dialect.supports():
            return Unsupported(f"{self.dialect.name} has no {type(intent).__name__}")
        course = _Course(write_s=deadline_s)
        try:
            async with asyncio.timeout(deadline_s):
                if self._busy:
                    await self._turn()
                self._busy = True
                try:
                    talk = self.dialect.carry_out(self.access, intent, self._clock.now_ms())
                    receipt: Receipt = await self._drive(talk, course)
                finally:
                    self._leave()
            return receipt
        except TimeoutError:
            text = f"no answer within {deadline_s:g} s"
            return Unknown(text) if course.wrote else Unreachable(text)
        except TransportError as error:
            return Unknown(str(error)) if course.wrote else Unreachable(str(error))
        except DecodeError as error:
            return Unknown(str(error)) if course.wrote else Refused("unreadable", str(error))

    async def _turn(self) -> None:
        """Wait for the lane, first come first served: a plain queue, since a lock costs two coroutines a poll."""
        while self._busy:
            place = asyncio.get_running_loop().create_future()
            self._queue.append(place)
            try:
                await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    # The turn came at the moment this caller gave up: it goes to the next.
                    self._wake()
                raise

    def _leave(self) -> None:
        self._busy = False
        if self._queue:
            self._wake()

    def _wake(self) -> None:
        while self._queue:
            place = self._queue.popleft()
            if not place.done():
                place.set_result(None)
                return

    async def _drive(self, talk: Any, course: "_Course") -> Any:
        host, exchange = self.miner.host, self._exchanges.exchange
        try:
            request = next(talk)
            while True:
                try:
                    if type(request) is Rpc and not request.writes and not request.length_prefixed:
                        # The poll of thousands: one future, no coroutine of its own.
                        answer = Answer(await exchange(host, request.port, request.payload, rpc_is_whole))
                    else:
                        answer = await self._carry(request, course)
                except TransportError as error:
                    request = talk.throw(error)
                else:
                    request = talk.send(answer)
        except StopIteration as end:
            return end.value
        except (AttributeError, TypeError, KeyError, IndexError, ValueError, ArithmeticError) as error:
            # A shape that a dialect did not think of: an answer that cannot be read, and no reason to stop polling.
            raise DecodeError(self.dialect.name, f"unforeseen shape: {type(error).__name__}: {error}") from error

    async def _carry(self, request: Request, course: "_Course") -> Answer:
        if isinstance(request, Rpc):
            payload, whole = request.payload, rpc_is_whole
            if request.length_prefixed:
                payload, whole = len(payload).to_bytes(4, "little") + payload, framed_is_whole
            body = await self._exchange(request.port, payload, whole, request.writes, course)
            return Answer(body[4:] if request.length_prefixed else body)
        return await self._carry_http(request, course)

    async def _carry_http(self, request: Http, course: "_Course") -> Answer:
        digest = self._digest
        sign = digest.header(request.method, request.path) if request.digest and digest else None
        answer = await self._http(request, sign, course)
        if answer.status == 401 and request.digest:
            # A 401 did nothing: asking again with the fresh nonce is not a second write.
            course.wrote = False
            self._digest = Digest.from_challenge(answer.headers, self.access.account, self.access.password)
            if self._digest is not None:
                answer = await self._http(request, self._digest.header(request.method, request.path), course)
                if answer.status == 401:
                    self._digest, course.wrote = None, False
        return answer

    async def _http(self, request: Http, sign: str | None, course: "_Course") -> Answer:
        payload = http_bytes(request, self.miner.host, sign)
        body = await self._exchange(request.port, payload, http_is_whole, request.writes, course)
        return parse_http(body)

    async def _exchange(self, port: int, payload: bytes, whole: Whole, writes: bool, course: "_Course") -> bytes:
        if not writes:
            return await self._exchanges.exchange(self.miner.host, port, payload, whole)
        try:
            body = await self._exchanges.exchange(self.miner.host, port, payload, whole, course.write_s)
        except Cut as error:
            course.wrote = course.wrote or error.sent
            raise
        except asyncio.CancelledError:
            course.wrote = True
            raise
        course.wrote = True
        return body


@dataclass(slots=True)
class _Course:
    """How far a conversation went: once a writing request has left, its outcome is no longer 'nothing happened'."""

    write_s: float | None = None
    wrote: bool = False


_READING = _Course()
"""Shared by all reads: they write nothing, so nothing of it is ever looked at."""
