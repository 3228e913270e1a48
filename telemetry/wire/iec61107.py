# SPDX-License-Identifier: Apache-2.0
"""IEC 61107 (62056-21) mode C as Energomera meters speak it: sign-on, programming mode, R1 reads, break.

A message is SOH command STX data ETX check, an answer STX data ETX check. These meters check with the sum of the bytes
after the first, modulo 128 (the standard's own is an exclusive or). Bytes may carry a parity bit on raw TCP gateways,
so the top bit is taken off. Source: hostcc/energomera-hass-mqtt and iec62056-21; meter answers as in its tests.
"""

import re
from collections.abc import Sequence

from telemetry.wire.modbus_frame import Broken, Incomplete, Judgement, Whole

SOH, STX, ETX, ACK, NAK = 0x01, 0x02, 0x03, 0x06, 0x15
_VALUES = re.compile(r"([A-Za-z0-9_]{1,8})\(([^()]*)\)")


def check(body: bytes) -> int:
    """The check byte over everything after SOH or STX up to and with ETX."""
    return sum(body) & 0x7F


def sign_on(address: str = "") -> bytes:
    return f"/?{address}!\r\n".encode("ascii")


def enter_programming(baud: str) -> bytes:
    """Acknowledge the meter's identification and ask for programming mode at its speed letter."""
    return bytes([ACK]) + f"0{baud}1\r\n".encode("ascii")


def command(name: str, data: str) -> bytes:
    """`command("R1", "VOLTA()")` and the like."""
    body = name.encode("ascii") + bytes([STX]) + data.encode("ascii") + bytes([ETX])
    return bytes([SOH]) + body + bytes([check(body)])


def goodbye() -> bytes:
    body = b"B0" + bytes([ETX])
    return bytes([SOH]) + body + bytes([check(body)])


def plain(heard: bytes) -> bytes:
    """Without parity bits."""
    return bytes(byte & 0x7F for byte in heard)


def judge_identification(heard: bytes) -> Judgement:
    """`/EKT5CE301v12\\r\\n`: maker, speed letter, model."""
    start = heard.find(b"/")
    if start < 0:
        return Incomplete() if len(heard) < 64 else Broken("no identification")
    end = heard.find(b"\r\n", start)
    if end < 0:
        return Incomplete() if len(heard) - start < 64 else Broken("the identification does not end")
    return Whole(heard[start : end + 2], start) if end - start >= 5 else Broken("the identification is too short")


def judge_message(heard: bytes) -> Judgement:
    """A checked message, or a single ACK or NAK."""
    if not heard:
        return Incomplete()
    if heard[0] in (ACK, NAK):
        return Whole(heard[:1])
    if heard[0] not in (SOH, STX):
        return Broken(f"byte {heard[0]:02x} begins no message")
    end = heard.find(bytes([ETX]))
    if end < 0 or len(heard) < end + 2:
        return Incomplete() if len(heard) < 4096 else Broken("the message does not end")
    if check(heard[1 : end + 1]) != heard[end + 1]:
        return Broken("checksum is wrong")
    return Whole(heard[: end + 2])


def values(frame: bytes, name: str) -> list[str] | str:
    """The values of an answer to a read of `name`, in order; a text with the meter's error where it refused.

    Raises ValueError where the answer is of another name.
    """
    text = frame[1:-2].decode("ascii", "replace")
    if frame[0] == NAK or re.match(r"\(?ERR\d+", text):
        return text.strip("()\r\n") or "NAK"
    found: list[str] = []
    for reported, inside in _VALUES.findall(text):
        if reported != name:
            raise ValueError(f"{reported} was told for {name}")
        found += inside.split(",")
    return found


def answer(name: str, reported: Sequence[str]) -> bytes:
    """An answer as a meter sends it: one line a value."""
    body = "".join(f"{name}({value})\r\n" for value in reported).encode("ascii") + bytes([ETX])
    return bytes([STX]) + body + bytes([check(body)])
