# SPDX-License-Identifier: Apache-2.0
"""A reading that proves a command."""

from kernel.reading import Reading
from kernel.receipt import Verified
from tests.miner_control.fleets import NOW_MS

PROOF = Verified(Reading("h/s/m00000", "miner", NOW_MS + 9000, {"state": "asleep", "power_w": 20.0}), 9.0)
