# SPDX-License-Identifier: Apache-2.0
"""Identifiers: device keys, UUIDv7 business ids derived from content, SHA-256 of evidence.

- A device key is `hub/site/device`, never a network address.
- A business id (payout, order, command) is *derived*: UUIDv7 layout of its effective time, with the random bits taken from
  SHA-256 of the business key. A retry after a crash therefore gets the same id, and ids sort by time.
"""

import hashlib
import re
from typing import NamedTuple
from uuid import UUID

_PART = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class DeviceKey(NamedTuple):
    """The three parts of a device key. In frequent calls the key is passed as text."""

    hub: str
    site: str
    device: str

    def __str__(self) -> str:
        return f"{self.hub}/{self.site}/{self.device}"


def device_key(hub: str, site: str, device: str) -> str:
    """The text of a device key. ValueError where a part is not of lower-case letters, digits, '.', '_', '-'."""
    for name, part in (("hub", hub), ("site", site), ("device", device)):
        if not _PART.fullmatch(part):
            raise ValueError(f"{name} {part!r}: use 1 to 63 of a-z 0-9 . _ - (starting with a letter or digit)")
    return f"{hub}/{site}/{device}"


def parse_device_key(text: str) -> DeviceKey:
    """The parts of a device key. ValueError where the text is none."""
    parts = text.split("/")
    if len(parts) != 3 or not all(_PART.fullmatch(part) for part in parts):
        raise ValueError(f"{text!r} is no device key: write hub/site/device")
    return DeviceKey(*parts)


def _uuid7(at_ms: int, low: bytes) -> UUID:
    """UUID of RFC 9562, version 7: 48 bits of ms, 4 of version, 12 + 62 bits from `low` (10 bytes)."""
    if not 0 <= at_ms < 1 << 48:
        raise ValueError(f"instant {at_ms} ms does not fit 48 bits")
    rest = int.from_bytes(low[:10], "big")
    value = at_ms << 80 | 0x7 << 76 | (rest >> 68 & 0xFFF) << 64 | 0b10 << 62 | rest & (1 << 62) - 1
    return UUID(int=value)


def business_id(effective_ms: int, *key: str | int) -> UUID:
    """Identifier of a business fact: the same effective time and key give the same id on any machine, at any later time."""
    if not key:
        raise ValueError("a business id needs a key")
    text = "\x1f".join(str(part) for part in key)
    return _uuid7(effective_ms, hashlib.sha256(text.encode()).digest())


def sha256_hex(data: bytes) -> str:
    """SHA-256 in hex: the key under which evidence is stored."""
    return hashlib.sha256(data).hexdigest()
