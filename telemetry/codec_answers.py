# SPDX-License-Identifier: Apache-2.0
"""Values in named answers of serial meter protocols: texts (IEC 61107) or packed bytes (Mercury)."""

from collections.abc import Mapping
from typing import Any

from kernel.reading import MISSING, Field, Missing, Reason
from telemetry.codec_scale import numeral, short, to_canonical_value, to_raw_number
from telemetry.mercury import ANSWER_LENGTHS, pack, unpack
from telemetry.point import ANSWER_TYPES, Answer, Point

_NOT_REPORTED = MISSING[Reason.NOT_REPORTED]


def answer_of(point: Point, at: Answer, raw: Mapping[str, Any]) -> Field:
    """One point out of the answers that came."""
    found = raw.get(at.name)
    if found is None:
        return _NOT_REPORTED
    if isinstance(found, Missing):
        return found
    return _packed(point, at, found) if isinstance(found, bytes) else _told(point, at, found)


def plant_answer(point: Point, at: Answer, found: Field, raw: dict[Any, Any]) -> None:
    """Put a value where the device would show it."""
    size = ANSWER_TYPES[point.type]
    if size:
        blank = b"\xff" * ANSWER_LENGTHS.get(at.name, size * (at.index + 1))
        data = bytearray(raw.get(at.name, blank))
        number = None if isinstance(found, Missing) else to_raw_number(point, float(found))
        data[at.index * size : (at.index + 1) * size] = pack(point.type, number)
        raw[at.name] = bytes(data)
        return
    texts: list[str] = raw.setdefault(at.name, [])
    texts.extend("" for _ in range(at.index + 1 - len(texts)))
    if not isinstance(found, Missing):
        texts[at.index] = str(found) if point.is_text else format(to_raw_number(point, float(found)), ".12g")


def _packed(point: Point, at: Answer, data: bytes) -> Field:
    size = ANSWER_TYPES[point.type]
    part = data[at.index * size : (at.index + 1) * size]
    if size == 0 or len(part) < size:
        return _NOT_REPORTED
    number = unpack(point.type, part)
    return MISSING[Reason.SENTINEL] if number is None else to_canonical_value(point, number)


def _told(point: Point, at: Answer, texts: Any) -> Field:
    text = texts[at.index] if at.index < len(texts) else ""
    if not text:
        return _NOT_REPORTED
    if text in point.sentinels:
        return MISSING[Reason.SENTINEL]
    if point.is_text:
        return str(text)
    number = numeral(text)
    return (
        Missing(Reason.MALFORMED, f"{short(text)} is no number")
        if number is None
        else to_canonical_value(point, number)
    )
