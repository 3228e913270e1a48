# SPDX-License-Identifier: Apache-2.0
"""Conversion of raw numbers to canonical values and of raw codes to texts, for all wires."""

import math

from kernel.reading import MISSING, Absence, Field, Missing
from telemetry.device.point import Point


def to_canonical_value(point: Point, number: float, exponent: int = 0) -> Field:
    """A raw number as a canonical value; NONSENSE outside the possible range. `exponent`: power of ten of a scale register."""
    if not math.isfinite(number):
        if math.isnan(number) and point.nan_is_sentinel:
            return MISSING[Absence.SENTINEL]
        return Missing(Absence.NONSENSE, repr(number))
    value = (number * 10.0**exponent if exponent else number) * point.factor / point.inverse_factor + point.offset
    if (point.low is not None and value < point.low) or (point.high is not None and value > point.high):
        return Missing(Absence.NONSENSE, f"{number:g} {point.unit}".strip())
    return value


def to_raw_number(point: Point, value: float, exponent: int = 0) -> float:
    """The inverse of `to_canonical_value`, not yet rounded to the wire type."""
    return (value - point.offset) * point.inverse_factor / point.factor / 10.0**exponent


def text_of_code(point: Point, code: float | str) -> Field:
    """The state text of a raw code; NONSENSE for an unknown code."""
    text = point.labels.get(str(code))
    return Missing(Absence.NONSENSE, f"code {code}") if text is None else text


def code_of(point: Point, text: str) -> str:
    """The raw code of a state text. ValueError lists the known texts."""
    for code, label in point.labels.items():
        if label == text:
            return code
    raise ValueError(f"{point.metric} has no state {text!r}: {', '.join(point.labels.values())}")


def numeral(found: object) -> float | None:
    """A number reported as text, or None. Only plain decimal notation is accepted: no "nan", "inf", "1_000" or hex."""
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
    """A device's own text for the detail of a Missing: at most 40 characters."""
    text = repr(found)
    return text if len(text) <= 40 else text[:37] + "..."
