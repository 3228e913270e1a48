# SPDX-License-Identifier: Apache-2.0
"""Shapes of transitions: piecewise linear f(u) for power and hashrate, and their exact integrals.

f is 0 before u = 0 and 1 from u = 1 on. STEP is a straight line, DROP stops hashing at once while power falls straight,
START is a captured trace of one cold start (600 s): chain power-up, hashless warm-up, frequency ramp, slow settling.
"""

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STEP, DROP, START = 0, 1, 2
# Knots (u, power, hashrate) of each shape. START is the captured trace of a cold start over 600 s.
_SHAPES: tuple[tuple[tuple[float, float, float], ...], ...] = (
    ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    ((0.0, 0.0, 1.0), (1.0, 1.0, 1.0)),
    (
        (0.0, 0.0, 0.0), (0.025, 0.0, 0.0), (0.075, 0.142, 0.0), (0.078, 0.179, 0.0), (0.192, 0.121, 0.0),
        (0.217, 0.303, 0.273), (0.333, 0.758, 0.727), (0.5, 0.909, 0.909), (1.0, 1.0, 1.0),
    ),
)  # fmt: skip
_STARTS = tuple([knot[0] for knot in shape] for shape in _SHAPES)
_KNOTS = max(len(shape) for shape in _SHAPES)


def _table(column: int) -> Floats:
    """[shape, knot], short shapes padded by their last knot."""
    return np.array([[knot[column] for knot in s] + [s[-1][column]] * (_KNOTS - len(s)) for s in _SHAPES])


_U, _F = _table(0), (_table(1), _table(2))
_AREA = tuple(
    np.concatenate([np.zeros((len(_SHAPES), 1)), np.cumsum(np.diff(_U) * (f[:, 1:] + f[:, :-1]) / 2, axis=1)], axis=1)
    for f in _F
)


def _cell(shape: Ints, u: Floats) -> Ints:
    """Index of the knot at or before u, for 0 <= u < 1."""
    found: Ints = (_U[shape] <= u[:, None]).sum(axis=1) - 1
    return np.minimum(found, _KNOTS - 2)


def shape_value(which: int, shape: Ints, u: Floats) -> Floats:
    """f(u): which 0 is power, 1 hashrate; 0 before the start, 1 after the end."""
    inside = np.clip(u, 0.0, 1.0)
    at = _cell(shape, inside)
    f, left = _F[which], _U[shape, at]
    width = np.maximum(_U[shape, at + 1] - left, 1e-12)
    value = f[shape, at] + (f[shape, at + 1] - f[shape, at]) * np.minimum((inside - left) / width, 1.0)
    return np.where(u < 0.0, 0.0, np.where(u >= 1.0, 1.0, value))


def shape_at(which: int, shape: int, x: float) -> float:
    """`shape_value` for one number, without numpy's cost."""
    if x >= 1.0:
        return 1.0
    if x < 0.0:
        return 0.0
    knots = _SHAPES[shape]
    at = bisect_right(_STARTS[shape], x) - 1
    if at >= len(knots) - 1:
        return 1.0
    left, right = knots[at], knots[at + 1]
    return left[which + 1] + (right[which + 1] - left[which + 1]) * (x - left[0]) / (right[0] - left[0])


def shape_area(which: int, shape: Ints, u: Floats) -> Floats:
    """The integral of f from 0 to u: 0 before the start, growing by 1 per unit after the end."""
    inside = np.clip(u, 0.0, 1.0)
    at = _cell(shape, inside)
    f, left = _F[which], _U[shape, at]
    width = np.maximum(_U[shape, at + 1] - left, 1e-12)
    part = np.minimum(inside - left, width)
    slope = (f[shape, at + 1] - f[shape, at]) / width
    area: Floats = _AREA[which][shape, at] + part * f[shape, at] + slope * part * part / 2
    return np.asarray(area + np.maximum(u - 1.0, 0.0))
