# SPDX-License-Identifier: Apache-2.0
"""One profile read both ways: `decode` for the hub, `encode` for make-believe devices and tests.

Raw forms by wire:
  modbus, sunspec   {(unit id or None, function, address): word or Missing}; a Missing stands where a read was refused
  mqtt, http        {document name: parsed JSON}
  mercury           {answer name: bytes}
  iec61107          {answer name: list of texts}
  sparkplug         {metric name: number, bool or text}
Decoding never raises for what a device says: what cannot be a value is Missing with its reason. The round trip
`decode(encode(values)) == values` within a point's resolution is a law of every profile (`tests/laws`).
"""

import struct
from collections.abc import Mapping
from typing import Any

from kernel.reading import MISSING, Absence, Field
from telemetry.collect.source import Tier
from telemetry.device.codec_answers import answer_of, plant_answer
from telemetry.device.codec_json import plant_json, value_in_json
from telemetry.device.codec_registers import encoded_exponents, plant_words, value_in_words
from telemetry.device.point import Point, Pointer, Register
from telemetry.device.profile import Profile

_NOT_REPORTED = MISSING[Absence.NOT_REPORTED]


def decode(profile: Profile, raw: Mapping[Any, Any], at_ms: int, tier: Tier | None = None) -> dict[str, Field]:
    """Canonical values by metric, of one tier or of all. `at_ms` is the instant of the answer."""
    return {point.metric: _decode_point(point, raw) for point in profile.points if tier is None or point.tier is tier}


def decode_document(profile: Profile, document: str, parsed: Any) -> dict[str, Field]:
    """The values of one JSON document alone (a message of a device that tells itself in parts)."""
    raw = {document: parsed}
    return {
        point.metric: value_in_json(point, point.at, raw)
        for point in profile.points
        if isinstance(point.at, Pointer) and point.at.document == document
    }


def encode(profile: Profile, values: Mapping[str, Field]) -> dict[Any, Any]:
    """Raw form of canonical values, as the device would tell them: words, documents or answers.

    A metric that is Missing or absent becomes the point's sentinel where it has one, and is left out otherwise.
    Raises ValueError, naming the metric, where a value does not fit its wire type.
    """
    raw: dict[Any, Any] = {}
    exponents = encoded_exponents(profile.points, values)
    for point in profile.points:
        found = values.get(point.metric, _NOT_REPORTED)
        try:
            if isinstance(point.at, Register):
                plant_words(point, point.at, found, raw, exponents)
            elif isinstance(point.at, Pointer):
                plant_json(point, point.at, found, raw)
            else:
                plant_answer(point, point.at, found, raw)
        except (struct.error, OverflowError) as error:
            raise ValueError(f"{profile.name}: {point.metric} = {found!r} does not fit {point.type}: {error}") from None
    return raw


def _decode_point(point: Point, raw: Mapping[Any, Any]) -> Field:
    at = point.at
    if isinstance(at, Register):
        return value_in_words(point, at, raw)
    if isinstance(at, Pointer):
        return value_in_json(point, at, raw)
    return answer_of(point, at, raw)
