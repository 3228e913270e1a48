# SPDX-License-Identifier: Apache-2.0
"""Ambient temperature of the simulated site."""

from dataclasses import dataclass

import numpy as np

from kernel.units import MS_PER_HOUR


@dataclass(frozen=True, slots=True)
class Weather:
    """Inlet air: a daily sine around a mean, warmest at 15:00 UTC + `shift_h`, and the spread between places."""

    mean_c: float = 18.0
    swing_c: float = 6.0
    shift_h: float = 0.0
    spread_c: float = 1.5

    def at(self, at_ms: int) -> float:
        hour = at_ms / MS_PER_HOUR + self.shift_h
        return self.mean_c + self.swing_c * float(np.sin((hour - 9.0) * np.pi / 12.0))
