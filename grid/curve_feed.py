# SPDX-License-Identifier: Apache-2.0
"""Port of curve feeds: power price, hashprice, exchange rate, weather and other external series."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from kernel.curve import Curve
from kernel.errors import Fault


@dataclass(frozen=True, slots=True)
class FoundCurve:
    """One new or changed answer of a feed: its curve, or its faults.

    `name`: name of the curve, also where it has faults. `raw`: bytes received, stored as evidence. `file`: path of the file
    read; None where there is none.
    """

    name: str
    curve: Curve | None
    faults: tuple[Fault, ...] = ()
    raw: bytes = b""
    file: str | None = None


class CurveFeed(Protocol):
    """A source of curves.

    Units of the values by name of the curve: `price/day_ahead`, `price/real_time`: `<currency>/MWh` · `hashprice`:
    `<currency>/(H/s)/day` · `coin_price`: `<currency>/BTC` · `difficulty`: `1` · `fees_sat`: `SAT/block` · `height`: `block`
    · `weather/ambient`: `C`. A curve has its unit and the time when it was known; hours that it does not cover are absent,
    never zero.
    """

    def poll(self, now_ms: int) -> Sequence[FoundCurve]:
        """New or changed curves since the last call; empty where there are none. Called off the event loop, and may block.

        Raises TransportError, DecodeError, ConfigError, OSError or ValueError where the source does not answer.
        """
        ...
