# SPDX-License-Identifier: Apache-2.0
"""Is this the answer to what was asked? Modbus frames judged byte by byte, before anything trusts them.

Pure: bytes in, a judgement out. A TCP answer is known by its transaction id, so that a late one is skipped and the line
goes on. An RTU answer has no id: unit, function and length must fit, and a line that timed out has to be reopened.
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
    """`frame` is the answer; `skipped` bytes of older answers stood before it."""

    frame: bytes
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Broken:
    """No answer of ours: the connection cannot be trusted any more."""

    text: str


Judgement = Incomplete | Whole | Broken

_INCOMPLETE = Incomplete()


def exception_text(code: int) -> str:
    """An exception code with its name, for people."""
    return f"exception {code} {EXCEPTIONS.get(code, 'unknown')}"


def judge(framing: Framing, sent: bytes, heard: bytes) -> Judgement:
    """What the bytes heard so far are, given the request frame that was sent."""
    return _judge_tcp(sent, heard) if framing == "tcp" else _judge_rtu(sent, heard)


def crc16(data: bytes) -> bytes:
    """CRC-16/MODBUS, low byte first as it goes over the wire (Modbus over Serial Line V1.02, 2.5.1.2)."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc.to_bytes(2, "little")


def _judge_tcp(sent: bytes, heard: bytes) -> Judgement:
    at = 0
    while True:
        if len(heard) - at < 8:
            return _INCOMPLETE if heard[at + 2 : at + 4] in (b"\0\0", b"\0", b"") else Broken("no Modbus protocol id")
        if heard[at + 2 : at + 4] != b"\0\0":
            return Broken(f"protocol id {heard[at + 2 : at + 4].hex()} is not Modbus")
        length = int.from_bytes(heard[at + 4 : at + 6], "big")
        if not 3 <= length <= 254:
            return Broken(f"length field {length} is outside 3 to 254")
        frame = heard[at : at + 6 + length]
        if frame[:2] == sent[:2]:
            fault = _pdu_fault(sent[6:], frame[6:], length)
            if fault:
                return Broken(fault)
            return Whole(frame, at) if len(frame) == 6 + length else _INCOMPLETE
        if len(frame) < 6 + length:
            return _INCOMPLETE
        at += 6 + length


def _judge_rtu(sent: bytes, heard: bytes) -> Judgement:
    if len(heard) < 3:
        return _INCOMPLETE
    length = 5 if heard[1] & 0x80 else _rtu_length(sent, heard)
    fault = _pdu_fault(sent, heard[: max(length - 2, 3)], length - 2)
    if fault:
        return Broken(fault)
    if len(heard) < length:
        return _INCOMPLETE
    if crc16(heard[: length - 2]) != heard[length - 2 : length]:
        return Broken("checksum is wrong")
    if len(heard) > length:
        return Broken(f"{len(heard) - length} bytes after the answer")
    return Whole(heard)


def _rtu_length(sent: bytes, heard: bytes) -> int:
    return 5 + heard[2] if sent[1] in (1, 2, 3, 4) else 8


def _pdu_fault(asked: bytes, reported: bytes, length: int) -> str:
    """What is wrong with unit, function and byte count so far; "" where nothing is. Both start with the unit id."""
    unit, function = asked[0], asked[1]
    if reported[0] != unit:
        return f"unit {reported[0]} answered for unit {unit}"
    if reported[1] == function | 0x80:
        return "" if length == 3 else f"an exception of {length} bytes"
    if reported[1] != function:
        return f"function {reported[1]} answered for {function}"
    if function in (1, 2, 3, 4):
        asked_count = int.from_bytes(asked[4:6], "big")
        expected = 2 * asked_count if function in (3, 4) else (asked_count + 7) // 8
        if length != expected + 3 or (len(reported) > 2 and reported[2] != expected):
            return f"{length - 3} data bytes for {expected} asked"
    elif length != 6:
        return f"an acknowledgement of {length} bytes"
    elif len(reported) >= 6 and reported[2:6] != asked[2:6]:
        return "another write was acknowledged"
    return ""
