# SPDX-License-Identifier: Apache-2.0
"""Conversion factors between units, each defined only here: small units per large unit.

Divide for display, multiply on input: `power_w / W_PER_MW`, `price_per_mwh / WH_PER_MWH`.
"""

from typing import Final

MS_PER_S: Final = 1000
MS_PER_HOUR: Final = 3_600_000
MS_PER_DAY: Final = 86_400_000
S_PER_DAY: Final = 86_400.0
H_PER_DAY: Final = 24.0

W_PER_KW: Final = 1e3
W_PER_MW: Final = 1e6
WH_PER_KWH: Final = 1e3
WH_PER_MWH: Final = 1e6
UWH_PER_WH: Final = 1_000_000
WS_PER_WH: Final = 3_600.0

HZ_PER_MHZ: Final = 1e6
HS_PER_MHS: Final = 1e6
HS_PER_GHS: Final = 1e9
HS_PER_THS: Final = 1e12
HS_PER_PHS: Final = 1e15
HASHES_PER_DIFFICULTY: Final = 2**32
"""Expected hashes for one share of difficulty 1."""

SAT_PER_BTC: Final = 100_000_000
SAT_DECIMALS: Final = 8
