# SPDX-License-Identifier: Apache-2.0
"""From samples to what a chart of some pixels can show: no row that the eye could not tell from its neighbour."""

import numpy as np
from numpy.typing import NDArray


def binned(
    at_ms: NDArray[np.int64], value: NDArray[np.float64], start_ms: int, end_ms: int, width: int
) -> tuple[list[int], list[float | None], list[float | None], list[float | None]]:
    """(middle of each column with samples, mean, lowest, highest): at most `width` columns over [start, end)."""
    if not len(at_ms) or end_ms <= start_ms:
        return [], [], [], []
    column = ((at_ms - start_ms) * width // (end_ms - start_ms)).astype(np.int64)
    first = np.concatenate(([0], np.flatnonzero(np.diff(column)) + 1))
    count = np.diff(np.concatenate((first, [len(column)])))
    mean = np.add.reduceat(value, first) / count
    step_ms = (end_ms - start_ms) / width
    middle = start_ms + (column[first] + 0.5) * step_ms
    low, high = np.minimum.reduceat(value, first), np.maximum.reduceat(value, first)
    return [int(at) for at in middle], _plain(mean), _plain(low), _plain(high)


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    return [round(float(value), 1) for value in values]


def steps(
    starts_ms: NDArray[np.int64], ends_ms: NDArray[np.int64], values: NDArray[np.float64], start_ms: int, end_ms: int
) -> tuple[list[int], list[float | None]]:
    """Pieces as steps that hold until the next row; a gap, and the end, is a row of None."""
    at: list[int] = []
    held: list[float | None] = []
    for begin, end, value in zip(starts_ms.tolist(), ends_ms.tolist(), values.tolist(), strict=True):
        if end <= start_ms or begin >= end_ms:
            continue
        if at and held[-1] is None and at[-1] == begin:
            held[-1] = value
        else:
            at.append(max(begin, start_ms))
            held.append(value)
        at.append(min(end, end_ms))
        held.append(None)
    return at, held
