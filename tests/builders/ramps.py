# SPDX-License-Identifier: Apache-2.0
"""Readings of a unit of known dynamics."""

import numpy as np

from miner_control.learning.dynamics import (
    FULL_SHARE,
)
from tests.miner_control.fleets import NOW_MS
from twin.machines import Machines
from twin.models import MODELS

UNITS = 5


def truth(name: str) -> tuple[float, float, float]:
    """(ramp-down, ramp-up, hashing lost) of the machines' own trajectories by the same definitions, second by second."""
    machines = Machines([MODELS[name]] * UNITS, rng=np.random.default_rng(5), now_ms=NOW_MS)
    down, up, lost = [], [], []
    for unit in range(UNITS):
        start_w = machines.one(unit)[0]
        full_hs = machines.one(unit)[1]
        machines.sleep(unit, machines.at_ms)
        sent_ms = machines.at_ms
        while machines.one(unit)[0] > 1.1 * machines.sleep_w[unit] + 0.1 * (start_w - machines.sleep_w[unit]):
            machines.advance(machines.at_ms + 1000)
        down.append((machines.at_ms - sent_ms) / 1000)
        machines.advance(machines.at_ms + 600_000)
        machines.wake(unit, machines.at_ms)
        sent_ms, hashes = machines.at_ms, machines.hashes[unit]
        while machines.one(unit)[1] < FULL_SHARE * full_hs:
            machines.advance(machines.at_ms + 1000)
        up.append((machines.at_ms - sent_ms) / 1000)
        machines.advance(sent_ms + 2_400_000)
        lost.append(2400.0 - float(machines.hashes[unit] - hashes) / full_hs)
    return float(np.median(down)), float(np.median(up)), float(np.median(lost))
