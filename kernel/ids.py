# SPDX-License-Identifier: Apache-2.0
"""Names of things. A device is `hub/site/device`, never an address. An event's id is a UUIDv7.

A business id (payout, order, command) is *derived*: the UUIDv7 layout of its effective time with its random bits taken
from SHA-256 of the business key, so that a retry after a kill meets itself, and ids still sort by time.
"""

import hashlib
import re
from typing import NamedTuple
from uuid import UUID

_PART = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class DeviceKey(NamedTuple):
    """The three parts of a device key. On the hot path the key travels as its text."""

    hub: str
    site: str
    device: str

    def __str__(self) -> str:
        return f"{self.hub}/{self.site}/{self.device}"


def device_key(hub: str, site: str, device: str) -> str:
    """The text of a device key. Raises ValueError on a part that is not lower-case letters, digits, '.', '_', '-'."""
    for name, part in (("hub", hub), ("site", site), ("device", device)):
        if not _PART.fullmatch(part):
            raise ValueError(f"{name} {part!r}: use 1 to 63 of a-z 0-9 . _ - (starting with a letter or digit)")
    return f"{hub}/{site}/{device}"


def parse_device_key(text: str) -> DeviceKey:
    """The parts of a key. Raises ValueError where the text is none."""
    parts = text.split("/")
    if len(parts) != 3 or not all(_PART.fullmatch(part) for part in parts):
        raise ValueError(f"{text!r} is no device key: write hub/site/device")
    return DeviceKey(*parts)


def _uuid7(at_ms: int, low: bytes) -> UUID:
    """RFC 9562 version 7: 48 bits of ms, 4 of version, 12 + 62 bits from `low` (10 bytes)."""
    if not 0 <= at_ms < 1 << 48:
        raise ValueError(f"instant {at_ms} ms does not fit 48 bits")
    rest = int.from_bytes(low[:10], "big")
    value = at_ms << 80 | 0x7 << 76 | (rest >> 68 & 0xFFF) << 64 | 0b10 << 62 | rest & (1 << 62) - 1
    return UUID(int=value)


def business_id(effective_ms: int, *key: str | int) -> UUID:
    """The id of a business fact: same effective time and key, same id, for ever, on any machine."""
    if not key:
        raise ValueError("a business id needs a key")
    text = "\x1f".join(str(part) for part in key)
    return _uuid7(effective_ms, hashlib.sha256(text.encode()).digest())


def sha256_hex(data: bytes) -> str:
    """The name under which evidence is kept."""
    return hashlib.sha256(data).hexdigest()
