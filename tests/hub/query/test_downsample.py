# SPDX-License-Identifier: Apache-2.0
"""Samples as columns of a chart: mean in a band, and no line over a silence."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hub.query.downsample import binned


def test_a_silence_is_a_row_of_nothing() -> None:
    at = np.array([*range(0, 100_000, 1000), *range(400_000, 500_000, 1000)], dtype=np.int64)
    rows, mean, low, high = binned(at, np.arange(200, dtype=float), 0, 500_000, 50)
    gap = [index for index, value in enumerate(mean) if value is None]
    assert len(gap) == 1 and 100_000 < rows[gap[0]] < 400_000 and rows == sorted(rows)
    assert low[gap[0]] is None and high[gap[0]] is None
    assert mean[0] == 4.5 and low[0] == 0.0 and high[0] == 9.0
    assert binned(at[:0], np.zeros(0), 0, 10, 5) == ([], [], [], [])


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=200, unique=True), st.integers(10, 300))
def test_columns_hold_all_samples(times: list[int], width: int) -> None:
    at = np.array(sorted(times), dtype=np.int64)
    value = at.astype(float)
    rows, mean, low, high = binned(at, value, 0, 10**6 + 1, width)
    assert rows == sorted(rows) and len(rows) == len(mean) == len(low) == len(high)
    known = [
        (lo, m, hi)
        for lo, m, hi in zip(low, mean, high, strict=True)
        if lo is not None and m is not None and hi is not None
    ]
    assert all(lo - 0.1 <= m <= hi + 0.1 for lo, m, hi in known)
    assert min(lo for lo, _, _ in known) == at[0] and max(hi for _, _, hi in known) == at[-1]
    silences = int((np.diff(at) > 20_000).sum())
    assert mean.count(None) <= silences
