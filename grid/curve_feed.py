# SPDX-License-Identifier: Apache-2.0
"""The port of a feed of curves: power price, hashprice, exchange rate, weather, or any other number from outside."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from kernel.curve import Curve
from kernel.errors import Fault


@dataclass(frozen=True, slots=True)
class FoundCurve:
    """One answer of a feed that is new or changed: its curve, or the faults why there is none.

    `name` is the curve that it is, or would be without its faults. `raw` are the bytes received, kept as evidence; `file`
    names where they were read, where there is a file.
    """

    name: str
    curve: Curve | None
    faults: tuple[Fault, ...] = ()
    raw: bytes = b""
    file: str | None = None


class CurveFeed(Protocol):
    """A source of curves.

    Units of the values, by the name of the curve: `price/day_ahead`, `price/real_time`: `<currency>/MWh` · `hashprice`:
    `<currency>/(H/s)/day` · `coin_price`: `<currency>/BTC` · `difficulty`: `1` · `fees_sat`: `SAT/block` · `height`: `block` ·
    `weather/ambient`: `C`. A curve says its unit and when it was known; hours that it does not cover are absent, never zero.
    """

    def poll(self, now_ms: int) -> Sequence[FoundCurve]:
        """What is new or changed since the last call; empty where nothing is. Called off the event loop, and may block.

        Raises TransportError, DecodeError, ConfigError, OSError or ValueError where the source does not answer.
        """
        ...
