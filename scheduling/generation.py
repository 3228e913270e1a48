# SPDX-License-Identifier: Apache-2.0
"""Generation on site that is delivered now: meters are the evidence, a forecast only bounds it.

The main meter shows demand less generation. What the miners' figures and the known loads explain beyond it is generation, as
far as the forecast of the instant says that it can be. The figures may be wrong by a constant: the same error stands in the
demand that the control step compares with its target, so what is commanded changes the measured power by the right amount.
"""

import numpy as np

from miner_control.fleet.fleet import STATE_CODE, Fleet
from miner_control.fleet.miner import State
from scheduling.problem.overhead import Overhead

FORECAST_MARGIN = 0.2
"""A forecast is a mean over its piece: at an instant generation may exceed it by this share."""
STEADY_SHARE = 0.01
"""Evidence that rises by less than this share of demand is noise of readings of different age: it changes nothing."""


def delivered_w(
    fleet: Fleet,
    overhead: Overhead,
    import_w: float | None,
    forecast_w: float | None,
    *,
    metered_w: float | None = None,
    before_w: float | None = None,
) -> float:
    """Generation in W that meters prove, 0 where none do.

    `import_w`: fresh power at the main meter, `metered_w`: fresh power of generation meters, None where there is none;
    `forecast_w`: generation by the forecast of this instant, None where none is known; `before_w`: what was delivered one
    tick ago, None where that is too long ago. While miners change their power their readings and the meter's differ in age:
    then `before_w` holds as far as it lies between the least and the most that the miners may draw.
    """
    if metered_w is None and (import_w is None or forecast_w is None):
        return 0.0
    bound_w = np.inf if forecast_w is None else forecast_w * (1.0 + FORECAST_MARGIN)
    if metered_w is None:
        assert import_w is not None
        least_w, most_w = _demand_w(fleet, overhead)
        metered_w = least_w - import_w
        if before_w is not None:
            metered_w = max(before_w, metered_w - STEADY_SHARE * most_w)
        metered_w = min(metered_w, most_w - import_w)
    return float(max(0.0, min(metered_w, bound_w)))


def _demand_w(fleet: Fleet, overhead: Overhead) -> tuple[float, float]:
    """Least and most demand that the miners' figures allow. `Fleet.power_w` counts a unit that ramps up at its full power."""
    ramping = (fleet.state == STATE_CODE[State.RAMPING]) | (fleet.state == STATE_CODE[State.TUNING])
    asleep_w = fleet.roster.sleep_w[fleet.roster.group]
    least_w = np.where(ramping, asleep_w, np.minimum(fleet.power_w, fleet.settled_w))
    most_w = np.maximum(fleet.power_w, fleet.settled_w)
    factor, fixed_w = overhead.site_factor, overhead.site_fixed_w
    return float(least_w.sum()) * factor + fixed_w, float(most_w.sum()) * factor + fixed_w
