# SPDX-License-Identifier: Apache-2.0
"""SunSpec meters on a Modbus line: model discovery by scanning, then polling as for any device."""

from collections.abc import Callable, Sequence

from kernel.clock import Clock
from kernel.errors import DecodeError, TransportError
from kernel.reading import Missing
from telemetry.device.block import Block
from telemetry.device.codec_registers import RegisterKey
from telemetry.device.profile import Profile
from telemetry.io.modbus import ExceptionAnswer, Exchange, ModbusLine, ModbusSource
from telemetry.wire.sunspec import BASES, END, MARK, MOST_MODELS, next_model


class SunSpecSource(ModbusSource):
    """One SunSpec device. The address of its model is remembered until a read fails, then it is searched again."""

    def __init__(
        self,
        device: str,
        profile: Profile,
        line: ModbusLine,
        clock: Clock,
        *,
        unit_id: int | None = None,
        keep: Callable[[bytes], str] | None = None,
    ) -> None:
        super().__init__(device, profile, line, clock, unit_id=unit_id, keep=keep)
        self._models = profile.sunspec_models
        self._found = False

    async def _read_blocks(
        self, reads: Sequence[Block], registers: dict[RegisterKey, int | Missing], exchanges: list[Exchange]
    ) -> None:
        if not self._found:
            self._base = await self._find()
            self._found = True
        try:
            await super()._read_blocks(reads, registers, exchanges)
        except TransportError:
            self._found = False
            raise
        if any(isinstance(value, Missing) for value in registers.values()):
            self._found = False

    async def _find(self) -> int:
        """Address of the model's ID register. DecodeError where the device has no such model."""
        for base in BASES:
            if await self._pair(base) != MARK:
                continue
            found_models: list[int] = []
            at: int | None = base + 2
            for _ in range(MOST_MODELS):
                header = None if at is None else await self._pair(at)
                if at is None or header is None or header[0] == END:
                    break
                if header[0] in self._models:
                    return at
                found_models.append(header[0])
                at = next_model(at, header)
            wanted = ", ".join(map(str, self._models))
            raise DecodeError(f"{self.device}: SunSpec at {base}", f"has models {found_models}, not {wanted}")
        raise DecodeError(f"{self.device}: SunSpec", f"the marker 'SunS' was at none of {BASES}")

    async def _pair(self, address: int) -> tuple[int, int] | None:
        try:
            found, _ = await self._line.read(self._unit_id, Block(None, 3, address, 2))
        except ExceptionAnswer:
            return None
        return found[0], found[1]
