# SPDX-License-Identifier: Apache-2.0
"""Body of the event `price.curve`: a curve as JSON values and back."""

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

import numpy as np

from kernel.curve import Curve


class PriceCurve(TypedDict):
    """Payload of `price.curve`: a curve; or a file that was refused, with the reason in `refused` and no curve."""

    name: str
    evidence: str | None
    unit: NotRequired[str]
    starts_ms: NotRequired[list[int]]
    ends_ms: NotRequired[list[int]]
    values: NotRequired[list[float]]
    known_at_ms: NotRequired[int]
    source: NotRequired[str]
    file: NotRequired[str]
    refused: NotRequired[str]


def curve_to_json(curve: Curve) -> PriceCurve:
    """A curve as an event body."""
    return {
        "name": curve.name,
        "unit": curve.unit,
        "starts_ms": [int(at) for at in curve.starts_ms],
        "ends_ms": [int(at) for at in curve.ends_ms],
        "values": [float(value) for value in curve.values],
        "known_at_ms": curve.known_at_ms,
        "source": curve.source,
        "evidence": curve.evidence,
    }


def curve_from_json(body: Mapping[str, Any]) -> Curve:
    """The inverse of `curve_to_json`."""
    return Curve(
        str(body["name"]),
        str(body["unit"]),
        np.array(body["starts_ms"], dtype=np.int64),
        np.array(body["ends_ms"], dtype=np.int64),
        np.array(body["values"], dtype=np.float64),
        int(body["known_at_ms"]),
        str(body["source"]),
        body.get("evidence"),
    )
