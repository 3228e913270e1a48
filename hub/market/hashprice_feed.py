# SPDX-License-Identifier: Apache-2.0
"""The hashprice as a feed: computed from coin price, difficulty, fees and height, where all four are known."""

from collections.abc import Callable, Sequence

from grid.curve_feed import FoundCurve
from grid.hashprice import Subsidy, hashprice_curve, reward_curve
from hub.market.price_duty import COIN, DIFFICULTY, FEES, HASHPRICE, HEIGHT
from kernel.curve import Curve


class HashpriceFeed:
    """The hashprice in `<currency>/(H/s)/day`; the currency is the coin price's.

    `latest` gives the newest curve of a name that was known at an instant, or None.
    """

    def __init__(
        self, latest: Callable[[str, int], Curve | None], subsidies: Sequence[Subsidy], block_s: float
    ) -> None:
        self._latest, self._subsidies, self._block_s = latest, subsidies, block_s
        self._known_at_ms: int | None = None

    def poll(self, now_ms: int) -> Sequence[FoundCurve]:
        """The hashprice, once for each new curve behind it. Raises ConfigError where no subsidy edition covers the height."""
        coin, difficulty, fees, height = (self._latest(name, now_ms) for name in (COIN, DIFFICULTY, FEES, HEIGHT))
        if coin is None or difficulty is None or fees is None or height is None:
            return ()
        if max(part.known_at_ms for part in (coin, difficulty, fees)) == self._known_at_ms:
            return ()
        at_ms = int(height.starts_ms[0])
        reward = reward_curve(fees, self._subsidies, int(height.values[0]), at_ms, self._block_s)
        made = hashprice_curve(coin, difficulty, reward, source="computed", currency=coin.unit.partition("/")[0])
        if made is None:
            return ()
        self._known_at_ms = made.known_at_ms
        return (FoundCurve(HASHPRICE, made),)
