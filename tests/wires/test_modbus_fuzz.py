# SPDX-License-Identifier: Apache-2.0
"""10,000 ill answers over real sockets: nothing falls over, no value is wrong, and each ill is named."""

import asyncio
import logging
from pathlib import Path

import numpy as np
import pytest

from kernel.clock import system_clock
from kernel.errors import TransportError
from kernel.reading import Missing
from telemetry.collect.source import Tier
from telemetry.device.profile import load
from telemetry.io.modbus import Address, ModbusLine, ModbusSource
from telemetry.wire.modbus_frame import crc16
from tests.servers import count
from tests.wires.modbus_servers import answer_frame, exception_frame, raw_server, registers_of_device

IEM3000 = load(Path(__file__).parents[2] / "configs" / "profiles" / "meters" / "schneider_iem3000.toml")
WORDS = registers_of_device(IEM3000, {"power_w": 5000.0, "voltage_l1_v": 230.0, "energy_import_wh": 123_456_789.0})[3]
TRUTH = {"power_w": 5000.0, "voltage_l1_v": 230.0, "energy_import_wh": 123_456_789.0}


@pytest.mark.parametrize("kind", ["tcp", "rtu+tcp"])
def test_malformed_answers_are_named_and_give_no_wrong_value(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(31)
    reported: dict[str, int] = {}

    def right(request: bytes) -> bytes:
        if kind == "tcp":
            return answer_frame(request, WORDS)
        start, quantity = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
        body = request[:2] + bytes([2 * quantity])
        body += b"".join(WORDS[start + at].to_bytes(2, "big") for at in range(quantity))
        return body + crc16(body)

    def refusal(request: bytes, code: int) -> bytes:
        if kind == "tcp":
            return exception_frame(request, code)
        body = bytes([request[0], request[1] | 0x80, code])
        return body + crc16(body)

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        frame = right(request)
        choice = int(rng.integers(0, 9))
        if choice == 0:
            cut = int(rng.integers(1, len(frame)))
            writer.write(frame[:cut])
            await writer.drain()
            await asyncio.sleep(0)
            writer.write(frame[cut:])
        elif choice == 1:
            writer.write(refusal(request, int(rng.integers(1, 12))))
        elif choice == 2:
            data = bytearray(frame)
            # On TCP the header alone is spoilt: a flipped data bit is TCP's own checksum's to find.
            data[int(rng.integers(0, 9 if kind == "tcp" else len(data)))] ^= int(rng.integers(1, 256))
            writer.write(bytes(data))
        elif choice == 3:
            writer.write(rng.bytes(int(rng.integers(1, 400))))
        elif choice == 4 and kind == "tcp":
            writer.write(
                answer_frame(request, dict.fromkeys(range(0x10000), 0x4444), tid=int(rng.integers(0, 0x10000)))
            )
            writer.write(frame)
        elif choice == 5:
            writer.write(frame[: int(rng.integers(0, len(frame)))])
            writer.close()
        elif choice == 6:
            writer.write(frame + rng.bytes(int(rng.integers(1, 30))))
        elif choice == 7 and rng.random() < 0.05:
            return
        else:
            writer.write(frame)

    async def scenario() -> None:
        async with raw_server(answer, rtu=kind != "tcp") as (port, counts):
            line = ModbusLine(Address(kind, "127.0.0.1", port), timeout_s=0.03)
            source = ModbusSource("h/s/m", IEM3000, line, system_clock())
            cases = count(400, 10_000)
            while counts["requests"] < cases:
                try:
                    reading = await source.read(Tier.FAST)
                except TransportError as error:
                    assert error.text
                    reported[error.reason.name] = reported.get(error.reason.name, 0) + 1
                    continue
                reported["READ"] = reported.get("READ", 0) + 1
                for metric, meant in TRUTH.items():
                    found = reading.get(metric)
                    if isinstance(found, Missing):
                        assert found.detail
                        reported[found.reason.name] = reported.get(found.reason.name, 0) + 1
                    else:
                        assert found == pytest.approx(meant), f"{metric}: {found}"
            line.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert {"READ", "MALFORMED", "TIMED_OUT", "UNREACHABLE", "REFUSED"} <= set(reported), reported
    assert not [record for record in caplog.records if record.name == "asyncio"], "no callback fell over"
