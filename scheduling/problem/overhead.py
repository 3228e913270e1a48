# SPDX-License-Identifier: Apache-2.0
"""Overhead of a site: the power at its meters from the power of its miners."""

from dataclasses import dataclass

from miner_control.fleet.fleet import Floats


@dataclass(frozen=True, slots=True)
class Overhead:
    """Meter from miners: site meter = site_factor x miners + site_fixed_w; feeder meter = feeder_factor x its miners.

    `site_fixed_w` is what the known loads beside the miners draw now; `auxiliary_w[n]` is what each unit's running brings of
    them (`miner_control.control.auxiliary_load.shares_w`), and what a plan counts them by. None: no load is known.
    """

    site_factor: float = 1.0
    site_fixed_w: float = 0.0
    feeder_factor: float = 1.0
    auxiliary_w: Floats | None = None
