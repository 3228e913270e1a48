# SPDX-License-Identifier: Apache-2.0
"""Outside numbers into the journal: files of the price folder, and the hashprice that follows from them.

A curve that cannot be believed is journalled as refused, with the reason, and the hub goes on with the last good one.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from grid.hashprice import Subsidy, hashprice_curve, reward_curve
from grid.price_plausibility import PriceRules, check
from hub.config import Prices
from hub.journal.recorder import Offload, Recorder
from hub.state.curve_body import PriceCurve, curve_to_json
from hub.state.fold import HubState
from kernel.clock import Clock
from kernel.curve import Curve, known
from kernel.errors import Fault
from kernel.event import EventKind

MARKET = "price/day_ahead"
REAL_TIME = "price/real_time"
COIN, DIFFICULTY, FEES, HEIGHT = "coin_price", "difficulty", "fees_sat", "height"
HASHPRICE = "hashprice"


class FoundFile(Protocol):
    """What a folder scan tells of one file."""

    @property
    def raw(self) -> bytes: ...

    @property
    def curve(self) -> Curve | None: ...

    @property
    def faults(self) -> tuple[Fault, ...]: ...

    @property
    def path(self) -> Any: ...

    @property
    def name(self) -> str: ...


class PriceDuty:
    """Looks at the price folder, journals what is new, derives the hashprice."""

    name = "prices"

    def __init__(
        self,
        scan: Callable[[int], Sequence[FoundFile]],
        prices: Prices,
        subsidies: Sequence[Subsidy],
        block_s: float,
        state: HubState,
        recorder: Recorder,
        clock: Clock,
        offload: Offload,
        site: str,
        every_s: float,
    ) -> None:
        self.every_s = every_s
        self._scan, self._prices, self._subsidies, self._block_s = scan, prices, subsidies, block_s
        self._state, self._recorder, self._clock, self._offload = state, recorder, clock, offload
        self._site = site

    async def do(self) -> None:
        now_ms = self._clock.now_ms()
        found = await self._offload(self._scan, now_ms)
        for file in found:
            evidence = self._recorder.journal.keep(file.raw) if file.raw else None
            faults = list(file.faults)
            if file.curve is not None:
                faults += check(file.curve, self._rules(file.curve), now_ms)
            if faults or file.curve is None:
                why = "; ".join(str(fault) for fault in faults)
                refused: PriceCurve = {"name": file.name, "file": file.path.name, "refused": why, "evidence": evidence}
                said = self._state.refused.get(file.path.name)
                if said is None or dict(said.body) != refused:
                    self._recorder.emit(self._site, EventKind.PRICE_CURVE, refused)
                continue
            held = known(self._state.all_curves(), file.curve.name, now_ms)
            again = held is not None and held.known_at_ms == file.curve.known_at_ms and held.evidence == evidence
            if again and file.path.name not in self._state.refused:
                continue
            body: PriceCurve = {**curve_to_json(file.curve), "file": file.path.name, "evidence": evidence}
            self._recorder.emit(self._site, EventKind.PRICE_CURVE, body)
        if found:
            await self._recorder.flush(required=True)
            await self._derive(now_ms)

    def _rules(self, curve: Curve) -> PriceRules:
        if curve.name == MARKET:
            prices = self._prices
            unit = f"{prices.currency}/MWh"
            return PriceRules(unit, prices.lowest_per_mwh, prices.highest_per_mwh, stale_s=prices.stale_after_s)
        return PriceRules(curve.unit, 0.0, float("inf"))

    async def _derive(self, now_ms: int) -> None:
        """The hashprice from coin price, difficulty, fees and height, where all four are known."""
        parts = [known(self._state.all_curves(), name, now_ms) for name in (COIN, DIFFICULTY, FEES, HEIGHT)]
        coin, difficulty, fees, height = parts
        if coin is None or difficulty is None or fees is None or height is None:
            return
        at_ms = int(height.starts_ms[0])
        reward = reward_curve(fees, self._subsidies, int(height.values[0]), at_ms, self._block_s)
        made = hashprice_curve(coin, difficulty, reward, source="computed", currency=coin.unit.partition("/")[0])
        if made is None:
            return
        held = known(self._state.all_curves(), HASHPRICE, now_ms)
        if held is None or held.known_at_ms != made.known_at_ms:
            await self._recorder.commit(self._site, EventKind.PRICE_CURVE, curve_to_json(made))
