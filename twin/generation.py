# SPDX-License-Identifier: Apache-2.0
"""Generation of the simulated site behind its main meter: power by a profile over time, and net inflow and outflow."""

from collections.abc import Sequence
from itertools import pairwise

from kernel.units import WS_PER_WH


class Generation:
    """Power is `profile[i][1]` W from `profile[i][0]` seconds after `began_ms` until the next entry; none before the first.

    `tripped`: none at all. The main meter's two counters are of net power: each interval between two readings counts as
    inflow or outflow, their difference is exact.
    """

    def __init__(self, profile: Sequence[tuple[float, float]], began_ms: int) -> None:
        self.tripped = False
        self.import_wh = self.export_wh = 0.0
        self._profile, self._began_ms = tuple(profile), began_ms
        self._counted_s = self._demand_wh = 0.0

    def power_w(self, at_ms: int) -> float:
        at_s = (at_ms - self._began_ms) / 1000.0
        return (
            0.0 if self.tripped else next((watts for from_s, watts in reversed(self._profile) if from_s <= at_s), 0.0)
        )

    def count(self, at_ms: int, demand_wh: float) -> None:
        """Update the counters to an instant. `demand_wh`: consumption of the site since its start."""
        at_s = (at_ms - self._began_ms) / 1000.0
        net_wh = demand_wh - self._demand_wh - self._energy_wh(self._counted_s, at_s)
        self.import_wh += max(0.0, net_wh)
        self.export_wh += max(0.0, -net_wh)
        self._counted_s, self._demand_wh = at_s, demand_wh

    def _energy_wh(self, start_s: float, end_s: float) -> float:
        if self.tripped:
            return 0.0
        pieces = pairwise([*self._profile, (float("inf"), 0.0)])
        overlap = (
            (max(0.0, min(end_s, until_s) - max(start_s, from_s)), watts) for (from_s, watts), (until_s, _) in pieces
        )
        return sum(seconds * watts for seconds, watts in overlap) / WS_PER_WH
