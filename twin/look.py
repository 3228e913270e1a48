# SPDX-License-Identifier: Apache-2.0
"""Values reported by a simulated miner."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Look:
    """All values reported by one unit at an instant, which may differ from the true ones."""

    index: int
    at_ms: int
    state: str
    power_w: float
    hashrate_hs: float
    average_hs: float
    nominal_hs: float
    inlet_c: float
    chip_c: float
    board_c: float
    fan_rpm: int
    elapsed_s: int
    uptime_s: int
    accepted: int
    rejected: int
    stale: int
    hw_errors: int
    dead_boards: int
    mode: str
    limit_w: float
    percent: float
