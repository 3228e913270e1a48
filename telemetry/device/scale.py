# SPDX-License-Identifier: Apache-2.0
"""Raw number to canonical value and back, and raw codes to words: what all wires share."""

import math

from kernel.reading import MISSING, Absence, Field, Missing
from telemetry.device.point import Point


def to_canonical_value(point: Point, number: float, exponent: int = 0) -> Field:
    """A raw number as a canonical value, bounded by what can be. `exponent` is a scale register's power of ten."""
    if not math.isfinite(number):
        if math.isnan(number) and point.nan_is_sentinel:
            return MISSING[Absence.SENTINEL]
        return Missing(Absence.NONSENSE, repr(number))
    value = (number * 10.0**exponent if exponent else number) * point.factor / point.inverse_factor + point.offset
    if (point.low is not None and value < point.low) or (point.high is not None and value > point.high):
        return Missing(Absence.NONSENSE, f"{number:g} {point.unit}".strip())
    return value


def to_raw_number(point: Point, value: float, exponent: int = 0) -> float:
    """The inverse of `to_canonical_value`, not yet rounded to the wire's type."""
    return (value - point.offset) * point.inverse_factor / point.factor / 10.0**exponent


def word_of(point: Point, code: float | str) -> Field:
    """The word that a raw code stands for."""
    word = point.labels.get(str(code))
    return Missing(Absence.NONSENSE, f"code {code}") if word is None else word


def code_of(point: Point, word: str) -> str:
    """The raw code of a word. Raises ValueError naming the words there are."""
    for code, label in point.labels.items():
        if label == word:
            return code
    raise ValueError(f"{point.metric} has no state {word!r}: {', '.join(point.labels.values())}")


def numeral(found: object) -> float | None:
    """A number told as text. Only plain decimal notation counts: no "nan", "inf", "1_000" or hex."""
    if not isinstance(found, str) or len(found) > 40:
        return None
    text = found.strip()
    if not text or not set(text) <= set("0123456789+-.eE"):
        return None
    try:
        return float(text)
    except ValueError:
        return None


def short(found: object) -> str:
    """A device's own words in a Missing's detail: at most 40 letters."""
    text = repr(found)
    return text if len(text) <= 40 else text[:37] + "..."
