# SPDX-License-Identifier: Apache-2.0
"""IEC 61107 (62056-21) mode C as used by Energomera meters: sign-on, programming mode, R1 reads, break.

A message is SOH command STX data ETX check, an answer STX data ETX check. These meters use the sum of the bytes after the
first, modulo 128, as the check byte (the standard has an exclusive or). Bytes may carry a parity bit behind raw TCP gateways,
so the top bit is removed. Source: hostcc/energomera-hass-mqtt and iec62056-21; meter answers as in its tests.
"""

import re
from collections.abc import Sequence

from telemetry.wire.modbus_frame import Broken, Incomplete, Judgement, Whole

SOH, STX, ETX, ACK, NAK = 0x01, 0x02, 0x03, 0x06, 0x15
_VALUES = re.compile(r"([A-Za-z0-9_]{1,8})\(([^()]*)\)")


def check(body: bytes) -> int:
    """Check byte over everything after SOH or STX up to and including ETX."""
    return sum(body) & 0x7F


def sign_on(address: str = "") -> bytes:
    return f"/?{address}!\r\n".encode("ascii")


def enter_programming(baud: str) -> bytes:
    """Acknowledge the meter's identification and request programming mode at its speed letter."""
    return bytes([ACK]) + f"0{baud}1\r\n".encode("ascii")


def command(name: str, data: str) -> bytes:
    """`command("R1", "VOLTA()")` and the like."""
    body = name.encode("ascii") + bytes([STX]) + data.encode("ascii") + bytes([ETX])
    return bytes([SOH]) + body + bytes([check(body)])


def goodbye() -> bytes:
    body = b"B0" + bytes([ETX])
    return bytes([SOH]) + body + bytes([check(body)])


def plain(received: bytes) -> bytes:
    """Bytes without parity bits."""
    return bytes(byte & 0x7F for byte in received)


def judge_identification(received: bytes) -> Judgement:
    r"""Identification `/EKT5CE301v12\r\n`: manufacturer, speed letter, model."""
    start = received.find(b"/")
    if start < 0:
        return Incomplete() if len(received) < 64 else Broken("no identification")
    end = received.find(b"\r\n", start)
    if end < 0:
        return Incomplete() if len(received) - start < 64 else Broken("the identification does not end")
    return Whole(received[start : end + 2], start) if end - start >= 5 else Broken("the identification is too short")


def judge_message(received: bytes) -> Judgement:
    """A message with a correct check byte, or a single ACK or NAK."""
    if not received:
        return Incomplete()
    if received[0] in (ACK, NAK):
        return Whole(received[:1])
    if received[0] not in (SOH, STX):
        return Broken(f"byte {received[0]:02x} begins no message")
    end = received.find(bytes([ETX]))
    if end < 0 or len(received) < end + 2:
        return Incomplete() if len(received) < 4096 else Broken("the message does not end")
    if check(received[1 : end + 1]) != received[end + 1]:
        return Broken("checksum is wrong")
    return Whole(received[: end + 2])


def values(frame: bytes, name: str) -> list[str] | str:
    """Values of an answer to a read of `name`, in order; a str with the meter's error where it refused.

    ValueError where the answer has another name.
    """
    text = frame[1:-2].decode("ascii", "replace")
    if frame[0] == NAK or re.match(r"\(?ERR\d+", text):
        return text.strip("()\r\n") or "NAK"
    found: list[str] = []
    for answered, inside in _VALUES.findall(text):
        if answered != name:
            raise ValueError(f"{answered} was answered for {name}")
        found += inside.split(",")
    return found


def answer(name: str, reported: Sequence[str]) -> bytes:
    """Answer as sent by a meter: one line per value."""
    body = "".join(f"{name}({value})\r\n" for value in reported).encode("ascii") + bytes([ETX])
    return bytes([STX]) + body + bytes([check(body)])
