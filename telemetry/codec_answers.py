# SPDX-License-Identifier: Apache-2.0
"""Values in named answers of serial meter protocols: texts (IEC 61107) or packed bytes (Mercury)."""

from collections.abc import Mapping
from typing import Any

from kernel.reading import MISSING, Field, Missing, Reason
from telemetry.codec_scale import numeral, short, to_canonical_value, to_raw_number
from telemetry.point import Answer, Point

_NOT_REPORTED = MISSING[Reason.NOT_REPORTED]


def answer_of(point: Point, at: Answer, raw: Mapping[str, Any]) -> Field:
    """One point out of the answers that came."""
    found = raw.get(at.name)
    if found is None:
        return _NOT_REPORTED
    if isinstance(found, Missing):
        return found
    if at.index >= len(found):
        return _NOT_REPORTED
    text = found[at.index]
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


def plant_answer(point: Point, at: Answer, found: Field, raw: dict[Any, Any]) -> None:
    """Put a value where the device would show it."""
    texts: list[str] = raw.setdefault(at.name, [])
    texts.extend("" for _ in range(at.index + 1 - len(texts)))
    if not isinstance(found, Missing):
        texts[at.index] = str(found) if point.is_text else format(to_raw_number(point, float(found)), ".10g")
