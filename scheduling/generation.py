# SPDX-License-Identifier: Apache-2.0
"""On-site generation delivered now: proven by meters, bounded by a forecast.

The main meter shows demand less generation. Demand that miners' readings and known loads explain beyond it is generation,
up to the forecast of the instant. The readings may be wrong by a constant: the same error is in the demand that the control
step compares with its target, so that the commands change the measured power by the right amount.
"""

import numpy as np

from miner_control.fleet.fleet import STATE_CODE, Fleet
from miner_control.fleet.miner import State
from scheduling.problem.overhead import Overhead

FORECAST_MARGIN = 0.2
"""A forecast is a mean over its interval: at an instant generation may exceed it by this share."""
STEADY_SHARE = 0.01
"""Evidence that rises by less than this share of demand is noise from readings of different age: it changes nothing."""


def delivered_w(
    fleet: Fleet,
    overhead: Overhead,
    import_w: float | None,
    forecast_w: float | None,
    *,
    metered_w: float | None = None,
    before_w: float | None = None,
) -> float:
    """Generation in W proven by meters, 0 without proof.

    - `import_w`: fresh power at the main meter; `metered_w`: fresh power of generation meters; None where there is none.
    - `forecast_w`: forecast generation of this instant, None where unknown.
    - `before_w`: generation delivered one tick ago, None where that is too long ago. While miners change their power, their
      readings and the meter's differ in age: then `before_w` is kept between the least and the most of the miners' power.
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
    """Least and most demand by the miners' readings. `Fleet.power_w` counts a ramping unit at its full power."""
    ramping = (fleet.state == STATE_CODE[State.RAMPING]) | (fleet.state == STATE_CODE[State.TUNING])
    asleep_w = fleet.roster.sleep_w[fleet.roster.group]
    least_w = np.where(ramping, asleep_w, np.minimum(fleet.power_w, fleet.settled_w))
    most_w = np.maximum(fleet.power_w, fleet.settled_w)
    factor, fixed_w = overhead.site_factor, overhead.site_fixed_w
    return float(least_w.sum()) * factor + fixed_w, float(most_w.sum()) * factor + fixed_w
