# SPDX-License-Identifier: Apache-2.0
"""Meters with their own serial protocols on a stream line: Mercury, and Energomera over IEC 61107."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from kernel.clock import Clock
from kernel.errors import TransportError
from kernel.reading import Absence, Missing, Reading
from telemetry.collect.source import Tier
from telemetry.device.codec import decode
from telemetry.device.codec_mercury import ANSWER_LENGTHS
from telemetry.device.point import Answer
from telemetry.device.profile import Profile
from telemetry.io.stream import StreamLine
from telemetry.wire import iec61107, mercury
from telemetry.wire.modbus_frame import Judgement

_CHANNEL_STAYS_OPEN_S = 200.0
# After the break command a meter ignores the next sign-on for a moment.
_AFTER_GOODBYE_S = 0.2


class MeterStream(ABC):
    """Common part of both: the answers that a tier needs, decoding, raw frames as evidence."""

    def __init__(
        self,
        device: str,
        profile: Profile,
        line: StreamLine,
        clock: Clock,
        *,
        keep: Callable[[bytes], str] | None = None,
    ) -> None:
        self._device, self._profile, self._line, self._clock, self._keep = device, profile, line, clock, keep
        self._frames: list[tuple[bytes, bytes]] = []

    @property
    def device(self) -> str:
        return self._device

    @property
    def kind(self) -> str:
        return self._profile.kind

    @property
    def lane(self) -> str:
        return self._line.name

    @property
    def tiers(self) -> frozenset[Tier]:
        return self._profile.tiers()

    async def read(self, tier: Tier) -> Reading:
        """All points of a tier. A refused answer leaves its metrics Missing; TransportError where no answer comes."""
        points = [point for point in self._profile.points if point.tier is tier]
        names = list(dict.fromkeys(point.at.name for point in points if isinstance(point.at, Answer)))
        self._frames.clear()
        async with self._line.turn:
            raw = await self._read_answers(names)
        values = decode(self._profile, raw, self._clock.now_ms(), tier)
        evidence = None
        if self._keep and self._frames:
            rows = [f"{self._profile.wire} {self._line.name}"]
            rows += [row for sent, received in self._frames for row in (f"> {sent.hex()}", f"< {received.hex()}")]
            evidence = self._keep(("\n".join(rows) + "\n").encode())
        return Reading(self._device, self.kind, self._clock.now_ms(), values, evidence)

    @abstractmethod
    async def _read_answers(self, names: Sequence[str]) -> dict[str, Any]:
        """Raw answers by name, in the form of the profile's codec."""

    async def _exchange(self, sent: bytes, judge: Callable[[bytes], Judgement]) -> bytes:
        received = await self._line.ask(sent, judge)
        self._frames.append((sent, received))
        return received


class MercurySource(MeterStream):
    """A Mercury meter at an address of its line. `password`: its six digits for reading."""

    def __init__(
        self,
        device: str,
        profile: Profile,
        line: StreamLine,
        clock: Clock,
        *,
        address: int = 0,
        password: str = "111111",
        keep: Callable[[bytes], str] | None = None,
    ) -> None:
        super().__init__(device, profile, line, clock, keep=keep)
        self._address = address
        self._password = [int(digit) for digit in password]
        self._open_until_s = 0.0

    async def _read_answers(self, names: Sequence[str]) -> dict[str, Any]:
        raw: dict[str, Any] = {}
        if self._clock.monotonic_s() >= self._open_until_s:
            await self._open()
        for name in names:
            frame = await self._read_one(name)
            status = mercury.status_of(frame)
            if status == mercury.CHANNEL_NOT_OPEN:
                await self._open()
                frame = await self._read_one(name)
                status = mercury.status_of(frame)
            if status is not None:
                raw[name] = Missing(Absence.REFUSED, f"status {status} {mercury.STATUSES.get(status, 'unknown')}")
            else:
                raw[name] = frame[1:-2]
            self._open_until_s = self._clock.monotonic_s() + _CHANNEL_STAYS_OPEN_S
        return raw

    async def _read_one(self, name: str) -> bytes:
        sent = mercury.request(self._address, bytes.fromhex(name))
        length = ANSWER_LENGTHS[name]
        return await self._exchange(sent, lambda received: mercury.judge(sent, received, length))

    async def _open(self) -> None:
        self._open_until_s = 0.0
        sent = mercury.open_channel(self._address, 1, self._password)
        frame = await self._line.ask(sent, lambda received: mercury.judge(sent, received, 1))
        status = mercury.status_of(frame)
        if status:
            text = f"channel refused: status {status} {mercury.STATUSES.get(status, 'unknown')}"
            raise TransportError(Absence.REFUSED, f"{self._line.name}: {text}")


class Iec61107Source(MeterStream):
    """An Energomera meter. `address`: where several share the line; `password`: where reading requires one."""

    def __init__(
        self,
        device: str,
        profile: Profile,
        line: StreamLine,
        clock: Clock,
        *,
        address: str = "",
        password: str | None = None,
        keep: Callable[[bytes], str] | None = None,
    ) -> None:
        super().__init__(device, profile, line, clock, keep=keep)
        self._address, self._password = address, password

    async def _read_answers(self, names: Sequence[str]) -> dict[str, Any]:
        raw: dict[str, Any] = {}
        await self._sign_on()
        try:
            for name in names:
                sent = iec61107.command("R1", f"{name}()")
                frame = await self._exchange(sent, _judge_message)
                try:
                    texts = iec61107.values(frame, name)
                except ValueError as error:
                    self._line.close()
                    raise TransportError(Absence.MALFORMED, f"{self._line.name}: {error}") from None
                raw[name] = Missing(Absence.REFUSED, texts) if isinstance(texts, str) else texts
        finally:
            await self._line.send(iec61107.goodbye())
            await asyncio.sleep(_AFTER_GOODBYE_S)
        return raw

    async def _sign_on(self) -> None:
        sent = iec61107.sign_on(self._address)
        identification = await self._line.ask(
            sent, lambda received: iec61107.judge_identification(iec61107.plain(received))
        )
        await self._line.ask(iec61107.enter_programming(chr(identification[4])), _judge_message)
        if self._password is not None:
            answer = await self._line.ask(iec61107.command("P1", f"({self._password})"), _judge_message)
            if answer != bytes([iec61107.ACK]):
                raise TransportError(Absence.REFUSED, f"{self._line.name}: the meter refused the password")


def _judge_message(received: bytes) -> Judgement:
    return iec61107.judge_message(iec61107.plain(received))
