# SPDX-License-Identifier: Apache-2.0
"""Check of Modbus frames: whether received bytes are the answer to a request.

Pure functions on bytes. A TCP answer is identified by its transaction id, so that a late answer is skipped and the connection
kept. An RTU answer has no id: unit, function and length must match, and after a time-out the line has to be reopened.
"""

from dataclasses import dataclass
from typing import Literal

Framing = Literal["tcp", "rtu"]

EXCEPTIONS = {
    1: "illegal function", 2: "illegal data address", 3: "illegal data value", 4: "device failure", 5: "acknowledge",
    6: "device busy", 7: "negative acknowledge", 8: "memory parity error", 10: "gateway path unavailable",
    11: "gateway: target did not respond",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Incomplete:
    """More bytes are needed."""


@dataclass(frozen=True, slots=True)
class Whole:
    """`frame` is the answer; `skipped` bytes of older answers came before it."""

    frame: bytes
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Broken:
    """Not the answer to the request; the connection can no longer be used."""

    text: str


Judgement = Incomplete | Whole | Broken

_INCOMPLETE = Incomplete()


def exception_text(code: int) -> str:
    """An exception code with its name."""
    return f"exception {code} {EXCEPTIONS.get(code, 'unknown')}"


def judge(framing: Framing, sent: bytes, received: bytes) -> Judgement:
    """Classify the bytes received so far, for the request frame that was sent."""
    return _judge_tcp(sent, received) if framing == "tcp" else _judge_rtu(sent, received)


def crc16(data: bytes) -> bytes:
    """CRC-16/MODBUS, low byte first as on the wire (Modbus over Serial Line V1.02, 2.5.1.2)."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc.to_bytes(2, "little")


def _judge_tcp(sent: bytes, received: bytes) -> Judgement:
    at = 0
    while True:
        if len(received) - at < 8:
            return (
                _INCOMPLETE if received[at + 2 : at + 4] in (b"\0\0", b"\0", b"") else Broken("no Modbus protocol id")
            )
        if received[at + 2 : at + 4] != b"\0\0":
            return Broken(f"protocol id {received[at + 2 : at + 4].hex()} is not Modbus")
        length = int.from_bytes(received[at + 4 : at + 6], "big")
        if not 3 <= length <= 254:
            return Broken(f"length field {length} is outside 3 to 254")
        frame = received[at : at + 6 + length]
        if frame[:2] == sent[:2]:
            fault = _pdu_fault(sent[6:], frame[6:], length)
            if fault:
                return Broken(fault)
            return Whole(frame, at) if len(frame) == 6 + length else _INCOMPLETE
        if len(frame) < 6 + length:
            return _INCOMPLETE
        at += 6 + length


def _judge_rtu(sent: bytes, received: bytes) -> Judgement:
    if len(received) < 3:
        return _INCOMPLETE
    length = 5 if received[1] & 0x80 else _rtu_length(sent, received)
    fault = _pdu_fault(sent, received[: max(length - 2, 3)], length - 2)
    if fault:
        return Broken(fault)
    if len(received) < length:
        return _INCOMPLETE
    if crc16(received[: length - 2]) != received[length - 2 : length]:
        return Broken("checksum is wrong")
    if len(received) > length:
        return Broken(f"{len(received) - length} bytes after the answer")
    return Whole(received)


def _rtu_length(sent: bytes, received: bytes) -> int:
    return 5 + received[2] if sent[1] in (1, 2, 3, 4) else 8


def _pdu_fault(request: bytes, answer: bytes, length: int) -> str:
    """Fault of unit, function and byte count received so far; "" where there is none. Both arguments start with the unit id."""
    unit, function = request[0], request[1]
    if answer[0] != unit:
        return f"unit {answer[0]} answered for unit {unit}"
    if answer[1] == function | 0x80:
        return "" if length == 3 else f"an exception of {length} bytes"
    if answer[1] != function:
        return f"function {answer[1]} answered for {function}"
    if function in (1, 2, 3, 4):
        count = int.from_bytes(request[4:6], "big")
        expected = 2 * count if function in (3, 4) else (count + 7) // 8
        if length != expected + 3 or (len(answer) > 2 and answer[2] != expected):
            return f"{length - 3} data bytes for {expected} requested"
    elif length != 6:
        return f"an acknowledgement of {length} bytes"
    elif len(answer) >= 6 and answer[2:6] != request[2:6]:
        return "another write was acknowledged"
    return ""
