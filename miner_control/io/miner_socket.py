# SPDX-License-Identifier: Apache-2.0
"""Driver of one miner: its dialect over `Exchanges`, on a lane shared by reads and commands."""

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
from miner_control.fleet.driver import Access, Answer, Dialect, Http, Parts, Request, Rpc, SessionDialect
from miner_control.fleet.miner import Miner
from miner_control.io.exchanges import Cut, Exchanges, Line, Whole
from miner_control.io.miner_http import Digest, http_bytes, parse_http
from telemetry.collect.source import Tier

__all__ = ["Cut", "Exchanges", "MinerPort"]


class MinerPort:
    """One miner as Source and MinerDriver: its dialect's requests, carried over one lane.

    The lane is a lock: read and command of one miner never overlap, for any caller. `prepare` obtains what a command will
    need (token, digest nonce) in advance, so that a shed costs one exchange.
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
        """Obtain token or nonce in advance. Raises TransportError or DecodeError."""
        if self._busy:
            await self._turn()
        self._busy = True
        try:
            await self._drive(self.dialect.prepare(self.access, self._clock.now_ms()), _READING)
        finally:
            self._leave()

    async def release_session(self) -> None:
        """Release what `prepare` occupies on the miner. Raises TransportError or DecodeError."""
        if isinstance(self.dialect, SessionDialect):
            if self._busy:
                await self._turn()
            self._busy = True
            try:
                await self._drive(self.dialect.release_session(self.access), _READING)
            finally:
                self._leave()

    async def carry_out(self, intent: Intent, deadline_s: float) -> Receipt:
        """Carry out an intent. Faults of the device are never raised: they are in the receipt."""
        if type(intent).__name__ not in self.dialect.supports():
            return Unsupported(self.unsupported_reason(intent))
        progress = _Progress(write_s=deadline_s)
        try:
            async with asyncio.timeout(deadline_s):
                if self._busy:
                    await self._turn()
                self._busy = True
                try:
                    talk = self.dialect.carry_out(self.access, intent, self._clock.now_ms())
                    receipt: Receipt = await self._drive(talk, progress)
                    if isinstance(intent, SetCredential) and isinstance(receipt, Accepted):
                        receipt = await self._with_new_password(intent, receipt)
                finally:
                    progress.line.close()
                    self._leave()
            return receipt
        except TimeoutError:
            text = f"no answer within {deadline_s:g} s"
            return Unknown(text) if progress.wrote else Unreachable(text)
        except TransportError as error:
            return Unknown(str(error)) if progress.wrote else Unreachable(str(error))
        except DecodeError as error:
            return Unknown(str(error)) if progress.wrote else Refused("unreadable", str(error))

    async def _with_new_password(self, intent: SetCredential, accepted: Accepted) -> Receipt:
        """Check that a changed password works. Where it does not, the old one stays in use."""
        before, digest = self.access, self._digest
        self.access, self._digest = Access(intent.account, intent.password, before.ports), None
        try:
            await self._drive(self.dialect.prepare(self.access, self._clock.now_ms()), _READING)
            if digest is not None and self._digest is None:
                raise TransportError(Absence.REFUSED, "401")
        except (TransportError, DecodeError) as error:
            self.access, self._digest = before, digest
            return Unknown(f"accepted ({accepted.text}), and the new password is refused: {error}")
        return accepted

    def unsupported_reason(self, intent: Intent) -> str:
        """Reason why this firmware does not support an intent, from its dialect; "" where it does."""
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
        """Wait for the lane, in order of arrival: a plain queue, since a lock costs two coroutines a poll."""
        while self._busy:
            turn = asyncio.get_running_loop().create_future()
            self._queue.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    # The turn came at the moment this caller was cancelled: it goes to the next.
                    self._wake()
                raise

    def _leave(self) -> None:
        self._busy = False
        if self._queue:
            self._wake()

    def _wake(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def _drive(self, talk: Any, progress: "_Progress") -> Any:
        host, exchange = self.miner.host, self._exchanges.exchange
        try:
            request = next(talk)
            while True:
                try:
                    if type(request) is Rpc and not request.writes and not request.length_prefixed:
                        # The common poll: one future, no coroutine of its own.
                        answer = Answer(await exchange(host, request.port, request.payload, rpc_is_whole))
                    else:
                        answer = await self._carry(request, progress)
                except TransportError as error:
                    request = talk.throw(error)
                else:
                    request = talk.send(answer)
        except StopIteration as end:
            return end.value
        except (AttributeError, TypeError, KeyError, IndexError, ValueError, ArithmeticError) as error:
            # A shape that a dialect does not foresee: an unreadable answer, and no reason to stop polling.
            raise DecodeError(self.dialect.name, f"unforeseen shape: {type(error).__name__}: {error}") from error

    async def _carry(self, request: Request, progress: "_Progress") -> Answer:
        if isinstance(request, Rpc):
            payload, whole = request.payload, rpc_is_whole
            if request.length_prefixed:
                payload, whole = request.frame, framed_is_whole
            progress.line.keeps = request.keeps_line
            body = await self._exchange(request.port, payload, whole, request.writes, progress)
            return Answer(body[4:] if request.length_prefixed else body)
        return await self._carry_http(request, progress)

    async def _carry_http(self, request: Http, progress: "_Progress") -> Answer:
        before, digest = progress.wrote, self._digest
        sign = digest.header(request.method, request.path) if request.digest and digest else None
        answer = await self._http(request, sign, progress)
        if answer.status == 401:
            # A 401 had no effect: the request signed anew is no second write.
            progress.wrote = before
            if request.digest:
                digest = Digest.from_challenge(answer.headers, self.access.account, self.access.password)
                self._digest = digest
                if digest is not None:
                    answer = await self._http(request, digest.header(request.method, request.path), progress)
                    if answer.status == 401:
                        self._digest, progress.wrote = None, before
        return answer

    async def _http(self, request: Http, sign: str | None, progress: "_Progress") -> Answer:
        payload = http_bytes(request, self.miner.host, sign)
        body = await self._exchange(request.port, payload, http_is_whole, request.writes, progress)
        return parse_http(body)

    async def _exchange(
        self, port: int, payload: bytes | Parts, whole: Whole, writes: bool, progress: "_Progress"
    ) -> bytes:
        if not writes:
            return await self._exchanges.exchange(self.miner.host, port, payload, whole)
        try:
            body = await self._exchanges.exchange(
                self.miner.host, port, payload, whole, progress.write_s, progress.line
            )
        except Cut as error:
            progress.wrote = progress.wrote or error.sent
            raise
        except asyncio.CancelledError:
            progress.wrote = True
            raise
        progress.wrote = True
        return body


@dataclass(slots=True)
class _Progress:
    """Progress of a dialogue: once a writing request was sent, its outcome can no longer be 'no effect'."""

    write_s: float | None = None
    wrote: bool = False
    line: Line = field(default_factory=Line)


_READING = _Progress()
"""Shared by all reads: they write nothing, so its content is never used."""
