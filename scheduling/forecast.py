# SPDX-License-Identifier: Apache-2.0
"""What will be, from what is known at an instant. The simplest honest forecasts come first: what is held against them
must beat them."""

import numpy as np

from kernel.curve import Curve
from kernel.span import Span

DAY_MS = 86_400_000


def continued(curve: Curve, span: Span) -> Curve:
    """The curve as it is, then the same times of its last known day, repeated until the span is covered.

    Where the curve is shorter than a day, its own length is repeated. Gaps inside the last day stay gaps, once a day.
    """
    end_ms = curve.span.end_ms
    if end_ms >= span.end_ms:
        return curve
    period_ms = min(DAY_MS, end_ms - curve.span.start_ms)
    inside = curve.ends_ms > end_ms - period_ms
    starts = np.maximum(curve.starts_ms[inside], end_ms - period_ms)
    ends, values = curve.ends_ms[inside], curve.values[inside]
    times = -(-(span.end_ms - end_ms) // period_ms)
    shift = np.arange(1, times + 1, dtype=np.int64)[:, None] * period_ms
    return Curve(
        curve.name,
        curve.unit,
        np.concatenate((curve.starts_ms, (starts[None, :] + shift).ravel())),
        np.concatenate((curve.ends_ms, (ends[None, :] + shift).ravel())),
        np.concatenate((curve.values, np.tile(values, times))),
        curve.known_at_ms,
        f"{curve.source}, continued by its last day",
        curve.evidence,
    )
