# SPDX-License-Identifier: Apache-2.0
"""Conversion between raw device data and canonical values by a profile, in both directions.

`decode` is used by the hub, `encode` by simulated devices and tests. Raw data by wire:
  modbus, sunspec   {(unit id or None, function, address): register or Missing}; Missing where the read was refused
  mqtt, http        {document name: parsed JSON}
  mercury           {answer name: bytes}
  iec61107          {answer name: list of texts}
  sparkplug         {metric name: number, bool or text}
Decoding never raises an exception for a device's answer: an unusable value is Missing with its reason. The round trip
`decode(encode(values)) == values` within a point's resolution is tested for every profile (`tests/laws`).
"""

import struct
from collections.abc import Mapping
from typing import Any

from kernel.reading import MISSING, Absence, Field
from telemetry.collect.source import Tier
from telemetry.device.codec_answers import answer_of, encode_answer
from telemetry.device.codec_json import encode_json, value_in_json
from telemetry.device.codec_registers import encode_registers, encoded_exponents, value_in_registers
from telemetry.device.point import Point, Pointer, Register
from telemetry.device.profile import Profile

_NOT_REPORTED = MISSING[Absence.NOT_REPORTED]


def decode(profile: Profile, raw: Mapping[Any, Any], at_ms: int, tier: Tier | None = None) -> dict[str, Field]:
    """Canonical values by metric, of one tier or of all. `at_ms` is the instant of the answer."""
    return {point.metric: _decode_point(point, raw) for point in profile.points if tier is None or point.tier is tier}


def decode_document(profile: Profile, document: str, parsed: Any) -> dict[str, Field]:
    """Values of one JSON document (a message of a device that reports in parts)."""
    raw = {document: parsed}
    return {
        point.metric: value_in_json(point, point.at, raw)
        for point in profile.points
        if isinstance(point.at, Pointer) and point.at.document == document
    }


def encode(profile: Profile, values: Mapping[str, Field]) -> dict[Any, Any]:
    """Raw data of canonical values as the device would report them: registers, documents or answers.

    A metric that is Missing or absent becomes the point's sentinel where it has one, and is left out otherwise. ValueError,
    naming the metric, where a value does not fit its wire type.
    """
    raw: dict[Any, Any] = {}
    exponents = encoded_exponents(profile.points, values)
    for point in profile.points:
        found = values.get(point.metric, _NOT_REPORTED)
        try:
            if isinstance(point.at, Register):
                encode_registers(point, point.at, found, raw, exponents)
            elif isinstance(point.at, Pointer):
                encode_json(point, point.at, found, raw)
            else:
                encode_answer(point, point.at, found, raw)
        except (struct.error, OverflowError) as error:
            raise ValueError(f"{profile.name}: {point.metric} = {found!r} does not fit {point.type}: {error}") from None
    return raw


def _decode_point(point: Point, raw: Mapping[Any, Any]) -> Field:
    at = point.at
    if isinstance(at, Register):
        return value_in_registers(point, at, raw)
    if isinstance(at, Pointer):
        return value_in_json(point, at, raw)
    return answer_of(point, at, raw)
