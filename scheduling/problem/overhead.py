# SPDX-License-Identifier: Apache-2.0
"""Overhead of a site: the power at its meters from the power of its miners."""

from dataclasses import dataclass

from miner_control.fleet.fleet import Floats


@dataclass(frozen=True, slots=True)
class Overhead:
    """Meter from miners: site meter = site_factor x miners + site_fixed_w; feeder meter = feeder_factor x its miners.

    `site_fixed_w`: present draw of the known auxiliary loads; `auxiliary_w[n]`: share of them that each running unit entails
    (`miner_control.control.auxiliary_load.shares_w`), used in plans. None: no known load.
    """

    site_factor: float = 1.0
    site_fixed_w: float = 0.0
    feeder_factor: float = 1.0
    auxiliary_w: Floats | None = None
