# SPDX-License-Identifier: Apache-2.0
"""Power path within a ramp: the nearest to a desired path inside a corridor."""

import numpy as np

from scheduling.problem.problem import Floats


def ramped(desired_w: Floats, low_w: Floats, high_w: Floats, ramp_w: Floats, now_w: float) -> Floats:
    """The path nearest to the desired one slot by slot, within [low, high] and changing by at most `ramp_w[t]` from slot t-1
    to t.

    A backward pass narrows each slot to values that can reach the next one, a forward pass then takes the desired value where
    allowed. Where the corridor cannot be kept, the ramp is broken first, so that caps hold: the checker reports it.
    """
    count = len(desired_w)
    low, high = low_w.copy(), np.maximum(high_w, low_w)
    for t in range(count - 2, -1, -1):
        step = ramp_w[t + 1]
        low[t] = min(max(low[t], low[t + 1] - step), high[t])
        high[t] = max(min(high[t], high[t + 1] + step), low[t])
    path, before = np.empty(count), now_w
    for t in range(count):
        least, most = max(low[t], before - ramp_w[t]), min(high[t], before + ramp_w[t])
        if least > most:
            least, most = low[t], high[t]
        path[t] = before = min(max(desired_w[t], least), most)
    return path
