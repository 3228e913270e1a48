# SPDX-License-Identifier: Apache-2.0
"""What holds of every decoded answer."""

import math
from typing import Any

from kernel.metric import SCHEMAS, TEXT_METRICS
from kernel.reading import Missing


def check(values: dict[str, Any]) -> None:
    """Each value in its schema: a finite number within bounds, or text; never NaN."""
    schema, texts = SCHEMAS["miner"], TEXT_METRICS["miner"]
    for name, value in values.items():
        metric = schema[name]
        if isinstance(value, Missing):
            continue
        if name in texts:
            assert isinstance(value, str), f"{name} is {value!r}"
        else:
            assert isinstance(value, float | int) and math.isfinite(value), f"{name} is {value!r}"
            assert metric.low is None or value >= metric.low
            assert metric.high is None or value <= metric.high
