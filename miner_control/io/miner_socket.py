# SPDX-License-Identifier: Apache-2.0
"""One miner on the wire: its dialect's talk carried over `Exchanges`, on a lane that read and command share."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from kernel.clock import Clock
from kernel.errors import DecodeError, TransportError
from kernel.reading import Absence, Reading
from kernel.receipt import Accepted, Receipt, Refused, Unknown, Unreachable, Unsupported
from miner_control.dialect.reply import framed_is_whole, http_is_whole, rpc_is_whole
from miner_control.fleet.command import Intent, SetCredential
from miner_control.fleet.driver import Access, Answer, Dialect, Http, Lending, Parts, Request, Rpc
from miner_control.fleet.miner import Miner
from miner_control.io.exchanges import Cut, Exchanges, Line, Whole
from miner_control.io.miner_http import Digest, http_bytes, parse_http
from telemetry.collect.source import Tier

__all__ = ["Cut", "Exchanges", "MinerPort"]


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

    async def give_back(self) -> None:
        """Hand back what `prepare` holds of the miner. Raises TransportError or DecodeError."""
        if isinstance(self.dialect, Lending):
            if self._busy:
                await self._turn()
            self._busy = True
            try:
                await self._drive(self.dialect.give_back(self.access), _READING)
            finally:
                self._leave()

    async def carry_out(self, intent: Intent, deadline_s: float) -> Receipt:
        """Ask it. Never raises for what the device does: the receipt says."""
        if type(intent).__name__ not in self.dialect.supports():
            return Unsupported(self.why_not(intent))
        course = _Course(write_s=deadline_s)
        try:
            async with asyncio.timeout(deadline_s):
                if self._busy:
                    await self._turn()
                self._busy = True
                try:
                    talk = self.dialect.carry_out(self.access, intent, self._clock.now_ms())
                    receipt: Receipt = await self._drive(talk, course)
                    if isinstance(intent, SetCredential) and isinstance(receipt, Accepted):
                        receipt = await self._open_anew(intent, receipt)
                finally:
                    course.line.close()
                    self._leave()
            return receipt
        except TimeoutError:
            text = f"no answer within {deadline_s:g} s"
            return Unknown(text) if course.wrote else Unreachable(text)
        except TransportError as error:
            return Unknown(str(error)) if course.wrote else Unreachable(str(error))
        except DecodeError as error:
            return Unknown(str(error)) if course.wrote else Refused("unreadable", str(error))

    async def _open_anew(self, intent: SetCredential, said: Accepted) -> Receipt:
        """The password was changed: whether the new one opens the door. Where it does not, the old one is kept in hand."""
        before, digest = self.access, self._digest
        self.access, self._digest = Access(intent.account, intent.password, before.ports), None
        try:
            await self._drive(self.dialect.prepare(self.access, self._clock.now_ms()), _READING)
            if digest is not None and self._digest is None:
                raise TransportError(Absence.REFUSED, "401")
        except (TransportError, DecodeError) as error:
            self.access, self._digest = before, digest
            return Unknown(f"it said yes ({said.text}), and the new password does not open it: {error}")
        return said

    def why_not(self, intent: Intent) -> str:
        """Why this firmware cannot do it, in its dialect's own words; "" where it can."""
        name = type(intent).__name__
        if name in self.dialect.supports():
            return ""
        try:
            # Nothing is sent: a dialect refuses before its first request.
            next(self.dialect.carry_out(self.access, intent, self._clock.now_ms()))
        except StopIteration as end:
            if isinstance(end.value, Unsupported):
                return end.value.text
        return f"{self.dialect.name} has no {name}"

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
                payload, whole = request.frame, framed_is_whole
            course.line.keeps = request.keeps_line
            body = await self._exchange(request.port, payload, whole, request.writes, course)
            return Answer(body[4:] if request.length_prefixed else body)
        return await self._carry_http(request, course)

    async def _carry_http(self, request: Http, course: "_Course") -> Answer:
        before, digest = course.wrote, self._digest
        sign = digest.header(request.method, request.path) if request.digest and digest else None
        answer = await self._http(request, sign, course)
        if answer.status == 401:
            # It did nothing: asking again, signed anew, is no second write.
            course.wrote = before
            if request.digest:
                digest = Digest.from_challenge(answer.headers, self.access.account, self.access.password)
                self._digest = digest
                if digest is not None:
                    answer = await self._http(request, digest.header(request.method, request.path), course)
                    if answer.status == 401:
                        self._digest, course.wrote = None, before
        return answer

    async def _http(self, request: Http, sign: str | None, course: "_Course") -> Answer:
        payload = http_bytes(request, self.miner.host, sign)
        body = await self._exchange(request.port, payload, http_is_whole, request.writes, course)
        return parse_http(body)

    async def _exchange(
        self, port: int, payload: bytes | Parts, whole: Whole, writes: bool, course: "_Course"
    ) -> bytes:
        if not writes:
            return await self._exchanges.exchange(self.miner.host, port, payload, whole)
        try:
            body = await self._exchanges.exchange(self.miner.host, port, payload, whole, course.write_s, course.line)
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
    line: Line = field(default_factory=Line)


_READING = _Course()
"""Shared by all reads: they write nothing, so nothing of it is ever looked at."""
