# SPDX-License-Identifier: Apache-2.0
"""Body of the event `price.curve`: a curve as JSON values and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kernel.curve import Curve


def curve_to_json(curve: Curve) -> dict[str, Any]:
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
