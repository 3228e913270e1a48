# SPDX-License-Identifier: Apache-2.0
"""Modbus over TCP, RTU over TCP and serial RTU, with pymodbus.

- `ModbusLine` is one gateway or serial port: one connection and one request at a time, shared by all unit ids behind it and
  by collector and actuator, so that a single-slot gateway never has two requests at once. `ModbusSource` is one device.
- Every frame received is checked (`telemetry.wire.modbus_frame`) before pymodbus gets it. After a fault, or after a time-out
  where frames carry no transaction id, the connection is closed, so that a late answer is never taken for another one.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerType
from pymodbus.pdu import ModbusPDU

from kernel.clock import Clock
from kernel.errors import TransportError
from kernel.reading import Absence, Missing, Reading
from telemetry.collect.source import Tier
from telemetry.device.block import Block
from telemetry.device.codec import decode
from telemetry.device.codec_registers import RegisterKey, refused, registers_read
from telemetry.device.profile import Profile
from telemetry.wire.exposition import Figure
from telemetry.wire.modbus_frame import Broken, Framing, Incomplete, exception_text, judge

# The collector reports each loss of a device once; the library would log each time-out.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)

_NO_ANSWER_BEHIND_GATEWAY = (10, 11)
_MAX_RECEIVED = 8192
_TRY_AGAIN_AFTER_S = 0.5


@dataclass(frozen=True, slots=True)
class Address:
    """Address of a line: `tcp://host:port`, `rtu+tcp://host:port`, or `serial:/dev/ttyS0` with its serial settings."""

    kind: str
    host: str
    port: int = 502
    baudrate: int = 9600
    parity: str = "N"
    stopbits: int = 1

    @property
    def framing(self) -> Framing:
        return "tcp" if self.kind == "tcp" else "rtu"

    def __str__(self) -> str:
        return f"serial:{self.host}" if self.kind == "serial" else f"{self.kind}://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer as sent and received."""

    sent: bytes
    received: bytes


class ModbusLine:
    """One gateway or serial line. `timeout_s` per request; `keep_open` False: a single-slot gateway is disconnected after each
    turn.
    """

    def __init__(
        self, address: Address, *, timeout_s: float = 1.0, connect_timeout_s: float = 2.0, keep_open: bool = True
    ) -> None:
        self.address = address
        self.name = str(address)
        self.turn = asyncio.Lock()
        self.frames_skipped = 0
        self.frames_broken = 0
        self._timeout_s, self._connect_timeout_s, self._keep_open = timeout_s, connect_timeout_s, keep_open
        self._client: AsyncModbusTcpClient | AsyncModbusSerialClient | None = None
        self._sent = self._received = b""
        self._broken = ""
        self._try_again_s = 0.0

    async def read(self, unit_id: int, block: Block) -> tuple[list[int], Exchange]:
        """Registers (or bits as 0 and 1) of one block. The caller holds `turn`.

        Raises TransportError (no connection, late or undecodable answer) or ExceptionAnswer (the device refused).
        """
        function = block.function

        def ask(client: AsyncModbusTcpClient | AsyncModbusSerialClient) -> object:
            method = {
                1: client.read_coils, 2: client.read_discrete_inputs,
                3: client.read_holding_registers, 4: client.read_input_registers,
            }[function]  # fmt: skip
            return method(block.address, count=block.count, device_id=unit_id)

        answer = await self._ask(ask)
        found = [int(bit) for bit in answer.bits[: block.count]] if function in (1, 2) else list(answer.registers)
        return found, Exchange(self._sent, self._received)

    async def write(self, unit_id: int, function: int, address: int, values: Sequence[int]) -> Exchange:
        """Write one coil (5) or several (15), one register (6) or several (16). The caller holds `turn`. Raises as `read`."""

        def ask(client: AsyncModbusTcpClient | AsyncModbusSerialClient) -> object:
            if function == 5:
                return client.write_coil(address, bool(values[0]), device_id=unit_id)
            if function == 15:
                return client.write_coils(address, [bool(value) for value in values], device_id=unit_id)
            if function == 6:
                return client.write_register(address, values[0], device_id=unit_id)
            return client.write_registers(address, list(values), device_id=unit_id)

        await self._ask(ask)
        return Exchange(self._sent, self._received)

    @property
    def sent(self) -> bytes:
        """The request of the last exchange as sent; empty where nothing was sent."""
        return self._sent

    def release(self) -> None:
        """End of a turn: a single-slot gateway is disconnected."""
        if not self._keep_open:
            self.close()

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _ask(self, ask: Callable[[AsyncModbusTcpClient | AsyncModbusSerialClient], object]) -> ModbusPDU:
        self._sent = self._received = b""
        client = await self._connected()
        self._broken = ""
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await ask(client)  # type: ignore[misc]
        except TimeoutError:
            self._after_silence()
            if self._broken:
                raise TransportError(Absence.MALFORMED, f"{self.name}: {self._broken}") from None
            raise TransportError(Absence.TIMED_OUT, f"{self.name}: no answer in {self._timeout_s:g} s") from None
        except (ModbusException, OSError) as error:
            self.close()
            if self._broken:
                raise TransportError(Absence.MALFORMED, f"{self.name}: {self._broken}") from None
            raise TransportError(Absence.UNREACHABLE, f"{self.name}: {error}") from None
        except asyncio.CancelledError:
            self._after_silence()
            raise
        assert isinstance(answer, ModbusPDU)
        if answer.isError():
            raise ExceptionAnswer(answer.exception_code, Exchange(self._sent, self._received))
        return answer

    def _after_silence(self) -> None:
        if self.address.framing == "rtu" or self._broken:
            self.close()

    async def _connected(self) -> AsyncModbusTcpClient | AsyncModbusSerialClient:
        if self._client is not None and self._client.connected:
            return self._client
        self.close()
        # A gateway that is gone is tried once for all devices behind it, not once for each of them.
        loop = asyncio.get_running_loop()
        if loop.time() < self._try_again_s:
            raise TransportError(Absence.UNREACHABLE, f"{self.name}: no connection")
        client = self._client = self._make()
        # By default pymodbus discards everything when a late answer and the right one arrive together.
        client.ctx.max_buffer_size = _MAX_RECEIVED
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                connected = await client.connect()
        except TimeoutError:
            connected = False
        if not connected:
            self.close()
            self._try_again_s = loop.time() + _TRY_AGAIN_AFTER_S
            raise TransportError(Absence.UNREACHABLE, f"{self.name}: no connection")
        return client

    def figures(self) -> list[Figure]:
        """Counters of the line."""
        counters = (
            (
                "modbus_frames_skipped",
                float(self.frames_skipped),
                "Late answers to earlier Modbus requests, skipped.",
            ),
            (
                "modbus_frames_broken",
                float(self.frames_broken),
                "Invalid Modbus answers; the line was reopened.",
            ),
        )
        return [Figure(name, count, text, counter=True, labels={"line": self.name}) for name, count, text in counters]

    def _make(self) -> AsyncModbusTcpClient | AsyncModbusSerialClient:
        address = self.address
        if address.kind == "serial":
            return AsyncModbusSerialClient(
                address.host, framer=FramerType.RTU, baudrate=address.baudrate, parity=address.parity,
                stopbits=address.stopbits, timeout=self._timeout_s * 2, retries=0, reconnect_delay=0,
                trace_packet=self._trace, trace_connect=self._lost,
            )  # fmt: skip
        framer = FramerType.SOCKET if address.kind == "tcp" else FramerType.RTU
        return AsyncModbusTcpClient(
            address.host, port=address.port, framer=framer, timeout=max(self._timeout_s, self._connect_timeout_s) * 2,
            retries=0, reconnect_delay=0, trace_packet=self._trace, trace_connect=self._lost,
        )  # fmt: skip

    def _trace(self, sending: bool, data: bytes) -> bytes:
        """Filter of all packets: remembers the request, and passes on received bytes only as one complete matching frame."""
        if sending:
            self._sent = data
            return data
        judged = judge(self.address.framing, self._sent, data) if self._sent else Broken("an answer without a request")
        if isinstance(judged, Incomplete) or self._received:
            return b""
        if isinstance(judged, Broken):
            self.frames_broken += 1
            self._fail(judged.text)
            return b""
        self.frames_skipped += judged.skipped > 0
        self._received = judged.frame
        return judged.frame

    def _lost(self, connected: bool) -> None:
        if not connected:
            self._fail("")

    def _fail(self, text: str) -> None:
        """End the wait for an answer at once instead of at the time-out."""
        self._broken = self._broken or text
        if self._client is None:
            return
        waiting = self._client.ctx.response_future
        if not waiting.done():
            waiting.set_exception(ConnectionResetError(text or "connection lost"))


class ExceptionAnswer(Exception):
    """A Modbus exception answered by the device; its text becomes the detail of Missing values."""

    def __init__(self, code: int, exchange: Exchange) -> None:
        self.code = code
        self.exchange = exchange
        super().__init__(exception_text(code))


class ModbusSource:
    """One Modbus device on a line: a `telemetry.collect.source.Source`.

    `keep` stores raw frames of a billing meter and returns their SHA-256 (the journal's `keep`).
    """

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
        self._device, self._profile, self._line, self._clock = device, profile, line, clock
        self._unit_id = profile.unit_id if unit_id is None else unit_id
        self._keep = keep
        self._base = 0
        self._reads: Mapping[Tier, tuple[Block, ...]] = {tier: profile.reads(tier) for tier in Tier}

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
        """Tiers that have points."""
        return self._profile.tiers()

    async def read(self, tier: Tier) -> Reading:
        """All points of a tier. TransportError where the device gives no answer at all.

        A refused block leaves its metrics Missing with the exception code.
        """
        registers: dict[RegisterKey, int | Missing] = {}
        exchanges: list[Exchange] = []
        async with self._line.turn:
            try:
                await self._read_blocks(self._reads[tier], registers, exchanges)
            finally:
                self._line.release()
        values = decode(self._profile, registers, self._clock.now_ms(), tier)
        evidence = self._keep(evidence_text(self._line.name, exchanges)) if self._keep and exchanges else None
        return Reading(self._device, self.kind, self._clock.now_ms(), values, evidence)

    async def _read_blocks(
        self, reads: Sequence[Block], registers: dict[RegisterKey, int | Missing], exchanges: list[Exchange]
    ) -> None:
        silent: dict[int, TransportError] = {}
        answered = False
        for block in reads:
            unit_id = self._unit_id if block.unit_id is None else block.unit_id
            failure = silent.get(unit_id)
            if failure is None:
                try:
                    at_base = replace(block, address=block.address + self._base) if self._base else block
                    found, exchange = await self._line.read(unit_id, at_base)
                except ExceptionAnswer as error:
                    exchanges.append(error.exchange)
                    if error.code not in _NO_ANSWER_BEHIND_GATEWAY:
                        answered = True
                        why = Missing(Absence.REFUSED, str(error))
                        registers |= refused(block.unit_id, block.function, block.address, block.count, why)
                        continue
                    failure = silent[unit_id] = TransportError(Absence.UNREACHABLE, f"{self._line.name}: {error}")
                except TransportError as error:
                    failure = silent[unit_id] = error
                else:
                    answered = True
                    exchanges.append(exchange)
                    registers |= registers_read(block.unit_id, block.function, block.address, found)
                    continue
            # A unit that gave no answer gets no further request in this poll; its registers are Missing with the reason.
            why = Missing(failure.reason, failure.text)
            registers |= refused(block.unit_id, block.function, block.address, block.count, why)
        if silent and not answered:
            raise next(iter(silent.values()))


def evidence_text(line: str, exchanges: Sequence[Exchange]) -> bytes:
    """Raw frames as a text that is readable without a tool: one line per frame in hex, '>' sent and '<' received."""
    rows = [f"modbus {line}"]
    for exchange in exchanges:
        rows += [f"> {exchange.sent.hex()}", f"< {exchange.received.hex()}"]
    return ("\n".join(rows) + "\n").encode()
