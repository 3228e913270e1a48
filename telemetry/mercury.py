# SPDX-License-Identifier: Apache-2.0
"""The protocol of Incotex Mercury 203.2TD/204/208/230/231/234/236/238 meters: frames, and numbers packed in odd orders.

A frame is address, command, parameters and CRC-16/MODBUS. An answer is address, data and CRC; one data byte alone is a
status. Source: the maker's "Протокол обмена трёхфазных счётчиков Меркурий"; byte orders as in the public drivers
Shden/mercury236 (C) and ruslankerimov/mercury236-js, which agree.
"""

from collections.abc import Mapping, Sequence

from telemetry.modbus_frame import Broken, Incomplete, Judgement, Whole, crc16

STATUSES: Mapping[int, str] = {
    0: "ok", 1: "illegal command or parameter", 2: "internal error of the meter", 3: "access level too low",
    4: "clock was corrected today already", 5: "channel is not open",
}  # fmt: skip
CHANNEL_NOT_OPEN = 5

# Bytes of data that each request brings.
ANSWER_LENGTHS: Mapping[str, int] = {
    "08 16 00": 12, "08 16 08": 12, "08 16 10": 12, "08 16 11": 9, "08 16 21": 9, "08 16 30": 12, "08 16 40": 3,
    "05 00 00": 16,
}  # fmt: skip


def request(address: int, command: bytes) -> bytes:
    """A request frame."""
    body = bytes([address]) + command
    return body + crc16(body)


def open_channel(address: int, level: int, password: Sequence[int]) -> bytes:
    """Open the channel: access level 1 reads, 2 configures; the password is six digits."""
    return request(address, bytes([1, level, *password]))


def judge(sent: bytes, heard: bytes, length: int) -> Judgement:
    """What the bytes heard are, for a request whose answer holds `length` data bytes (or one status byte)."""
    if heard and heard[0] != sent[0]:
        return Broken(f"meter {heard[0]} answered for meter {sent[0]}")
    for expected in sorted({length + 3, 4}):
        if len(heard) == expected and crc16(heard[:-2]) == heard[-2:]:
            return Whole(heard)
    return Incomplete() if len(heard) < length + 3 else Broken("checksum or length is wrong")


def status_of(frame: bytes) -> int | None:
    """The status where the answer is one, else None."""
    return frame[1] & 0x0F if len(frame) == 4 else None


def unpack(kind: str, data: bytes) -> float | None:
    """One packed number; None where the meter marks it as not kept (all bits set).

    Three bytes come high, low, middle; four come second, first, fourth, third (1 is the highest). Of three-byte powers the
    top bit is the direction of active power and the next that of reactive power.
    """
    if not data.strip(b"\xff"):
        return None
    if kind == "mercury_u32":
        return float(data[1] << 24 | data[0] << 16 | data[3] << 8 | data[2])
    magnitude = float((data[0] & 0x3F) << 16 | data[2] << 8 | data[1])
    sign_bit = {"mercury_p24": 0x80, "mercury_q24": 0x40}.get(kind, 0)
    return -magnitude if data[0] & sign_bit else magnitude


def pack(kind: str, number: float | None) -> bytes:
    """The inverse of `unpack`. Raises OverflowError where the number does not fit."""
    size = 4 if kind == "mercury_u32" else 3
    if number is None:
        return b"\xff" * size
    whole = abs(round(number))
    if size == 4:
        one, two, three, four = whole.to_bytes(4, "big")
        return bytes([two, one, four, three])
    if whole >= 1 << 22:
        raise OverflowError(f"{whole} needs more than 22 bits")
    high, middle, low = whole.to_bytes(3, "big")
    sign = {"mercury_p24": 0x80, "mercury_q24": 0x40}.get(kind, 0) if number < 0 else 0
    return bytes([high | sign, low, middle])
