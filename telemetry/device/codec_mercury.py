# SPDX-License-Identifier: Apache-2.0
"""Packed numbers of Mercury meters: three or four bytes in the manufacturer's byte order."""

from collections.abc import Mapping

# Data bytes in the answer to each request.
ANSWER_LENGTHS: Mapping[str, int] = {
    "08 16 00": 12, "08 16 08": 12, "08 16 10": 12, "08 16 11": 9, "08 16 21": 9, "08 16 30": 12, "08 16 40": 3,
    "05 00 00": 16,
}  # fmt: skip


def unpack(kind: str, data: bytes) -> float | None:
    """One packed number; None where all bits are set (the meter does not record the quantity).

    Three bytes are in the order high, low, middle; four in the order second, first, fourth, third (first: highest). In
    three-byte powers the top bit is the direction of active power and the next one that of reactive power.
    """
    if not data.strip(b"\xff"):
        return None
    if kind == "mercury_u32":
        return float(data[1] << 24 | data[0] << 16 | data[3] << 8 | data[2])
    magnitude = float((data[0] & 0x3F) << 16 | data[2] << 8 | data[1])
    sign_bit = {"mercury_p24": 0x80, "mercury_q24": 0x40}.get(kind, 0)
    return -magnitude if data[0] & sign_bit else magnitude


def pack(kind: str, number: float | None) -> bytes:
    """The inverse of `unpack`. OverflowError where the number does not fit."""
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
