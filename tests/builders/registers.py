# SPDX-License-Identifier: Apache-2.0
"""Modbus registers of a whole SunSpec device."""

from collections.abc import Mapping

from kernel.reading import Field
from telemetry.device.codec import encode
from telemetry.device.profile import Profile
from telemetry.wire.sunspec import END, MARK

_MODEL_LENGTH: Mapping[int, int] = {201: 105, 202: 105, 203: 105, 204: 105, 211: 124, 212: 124, 213: 124, 214: 124}
_COMMON_LENGTH = 66


def device_words(profile: Profile, values: Mapping[str, Field], serial: str, base: int = 40000) -> dict[int, int]:
    """All holding registers of a SunSpec device with the common model and the profile's meter model.

    Points the profile does not name hold their type's mark for "not implemented".
    """
    model = profile.sunspec_models[0]
    words = {base: MARK[0], base + 1: MARK[1]}
    common = base + 2
    texts = (("make", 16, profile.make), ("model", 16, f"model {model}"), ("options", 8, ""), ("version", 8, "1"))
    words |= {common: 1, common + 1: _COMMON_LENGTH}
    at = common + 2
    for _, length, text in (*texts, ("serial", 16, serial)):
        data = text.encode("ascii", "replace")[: 2 * length].ljust(2 * length, b"\0")
        words |= {at + index: int.from_bytes(data[2 * index : 2 * index + 2], "big") for index in range(length)}
        at += length
    words |= {at: profile.unit_id, at + 1: 0x8000}
    start = common + 2 + _COMMON_LENGTH
    length = _MODEL_LENGTH[model]
    if model < 210:
        # i16 marks, scale factors included; the accumulators' mark is 0.
        words |= {
            start + offset: 0x8000 if offset < 38 or offset in (54, 71, 104) else 0 for offset in range(2, length)
        }
    else:
        words |= {start + offset: 0x7FC0 if offset % 2 == 0 else 0 for offset in range(2, length)}
    words |= {start + offset: 0 for offset in (length, length + 1)}
    words |= {start: model, start + 1: length}
    for (_, _, offset), word in encode(profile, values).items():
        words[start + offset] = word
    return words | {start + 2 + length: END, start + 3 + length: 0}
