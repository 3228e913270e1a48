# SPDX-License-Identifier: Apache-2.0
"""Values that no answer of a miner should hold."""

import math
from typing import Any

ODD: list[Any] = [
    None,
    "",
    0,
    -1,
    "abc",
    {},
    [],
    [1],
    {"a": 1},
    True,
    1e308,
    math.inf,
    math.nan,
    "inf",
    [[1]],
    "-5",
    "12 W",
]
