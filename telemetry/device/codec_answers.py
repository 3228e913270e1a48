# SPDX-License-Identifier: Apache-2.0
"""Values in named answers: texts (IEC 61107), packed bytes (Mercury), or plain values by name (Sparkplug)."""

from collections.abc import Mapping
from typing import Any

from kernel.reading import MISSING, Absence, Field, Missing
from telemetry.device.codec_mercury import ANSWER_LENGTHS, pack, unpack
from telemetry.device.point import ANSWER_TYPES, Answer, Point
from telemetry.device.scale import code_of, numeral, short, text_of_code, to_canonical_value, to_raw_number

_NOT_REPORTED = MISSING[Absence.NOT_REPORTED]


def answer_of(point: Point, at: Answer, raw: Mapping[str, Any]) -> Field:
    """Value of one point from the answers received."""
    found = raw.get(at.name)
    if found is None:
        return _NOT_REPORTED
    if isinstance(found, Missing):
        return found
    if isinstance(found, bytes):
        return _packed(point, at, found)
    return _reported(point, at, found) if isinstance(found, list) else _plain(point, found)


def encode_answer(point: Point, at: Answer, found: Field, raw: dict[Any, Any]) -> None:
    """Write a value into the raw answers, where the device would report it."""
    size = ANSWER_TYPES[point.type]
    if size:
        blank = b"\xff" * ANSWER_LENGTHS.get(at.name, size * (at.index + 1))
        data = bytearray(raw.get(at.name, blank))
        number = None if isinstance(found, Missing) else to_raw_number(point, float(found))
        data[at.index * size : (at.index + 1) * size] = pack(point.type, number)
        raw[at.name] = bytes(data)
        return
    if point.type == "number" or (point.type == "text" and point.labels):
        if not isinstance(found, Missing):
            raw[at.name] = code_of(point, str(found)) if point.is_text else to_raw_number(point, float(found))
        return
    texts: list[str] = raw.setdefault(at.name, [])
    texts.extend("" for _ in range(at.index + 1 - len(texts)))
    if not isinstance(found, Missing):
        texts[at.index] = str(found) if point.is_text else format(to_raw_number(point, float(found)), ".12g")


def _plain(point: Point, found: Any) -> Field:
    if found in point.sentinels:
        return MISSING[Absence.SENTINEL]
    if point.is_text:
        text = str(found).lower() if isinstance(found, bool) else str(found)
        return text_of_code(point, text) if point.labels else text
    number = numeral(found) if point.type == "numeral" else found
    if isinstance(number, bool) or not isinstance(number, int | float):
        return Missing(Absence.MALFORMED, f"{short(found)} is no number")
    return to_canonical_value(point, number)


def _packed(point: Point, at: Answer, data: bytes) -> Field:
    size = ANSWER_TYPES[point.type]
    part = data[at.index * size : (at.index + 1) * size]
    if size == 0 or len(part) < size:
        return _NOT_REPORTED
    number = unpack(point.type, part)
    return MISSING[Absence.SENTINEL] if number is None else to_canonical_value(point, number)


def _reported(point: Point, at: Answer, texts: Any) -> Field:
    text = texts[at.index] if at.index < len(texts) else ""
    if not text:
        return _NOT_REPORTED
    if text in point.sentinels:
        return MISSING[Absence.SENTINEL]
    if point.is_text:
        return str(text)
    number = numeral(text)
    return (
        Missing(Absence.MALFORMED, f"{short(text)} is no number")
        if number is None
        else to_canonical_value(point, number)
    )
