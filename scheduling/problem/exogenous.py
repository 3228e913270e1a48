# SPDX-License-Identifier: Apache-2.0
"""Optional curves in addition to the price: weather, coincident peak, generation, day-ahead position.

The curve known at an instant is mapped to slots; beyond its end the same hours of its last known day are used, and
`build_problem` notes that. A curve in another unit raises ConfigError.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from grid.transformer import Transformer, cap_w
from kernel.clock import iso
from kernel.curve import Curve, known
from kernel.errors import ConfigError, Fault
from kernel.span import Slots
from kernel.units import W_PER_MW, WH_PER_MWH
from scheduling.problem.forecast import continued
from scheduling.problem.problem import Floats, Take

AMBIENT, COINCIDENT, GENERATION = "weather/ambient", "price/coincident", "generation"
POSITION, BUY, SELL = "position/day_ahead", "price/imbalance_buy", "price/imbalance_sell"


@dataclass(frozen=True, slots=True)
class Weather:
    """Effect of heat and cold on a site: above `hot_c` the highest mode is barred, above `derate_from_c` hashing falls by
    `derate_per_k` of itself for each K, below `cold_c` the miners must draw at least `cold_min_w` (loops in frost)."""

    hot_c: float = float("inf")
    derate_from_c: float = float("inf")
    derate_per_k: float = 0.0
    cold_c: float = float("-inf")
    cold_min_w: float = 0.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Values of the curves per slot: the transformer's cap, derating by heat, whether the highest mode is barred, least power
    in cold, coincident-peak price per W, on-site generation in W."""

    cap_w: Floats
    derate: Floats
    hot: np.ndarray
    least_w: Floats
    coincident_per_w: Floats
    generation_w: Floats


def surroundings(
    curves: Sequence[Curve],
    slots: Slots,
    now_ms: int,
    facts: dict[str, str],
    *,
    currency: str,
    transformer: Transformer | None = None,
    assumed_ambient_c: float = 40.0,
    weather: Weather | None = None,
) -> Surroundings:
    """All curves on slots. Without a weather curve a transformer is taken at `assumed_ambient_c`, and weather has no other
    effect."""
    count, weather = len(slots), weather or Weather()
    ambient_c = on_slots(curves, AMBIENT, "C", slots, now_ms, facts)
    cap = np.full(count, np.inf)
    if transformer is not None:
        if ambient_c is None:
            facts["transformer"] = f"no weather curve: taken at {assumed_ambient_c:g} C"
        cap = cap_w(transformer, np.full(count, assumed_ambient_c) if ambient_c is None else ambient_c)
    air = np.full(count, np.nan) if ambient_c is None else ambient_c
    over_k = np.nan_to_num(np.maximum(air - weather.derate_from_c, 0.0), nan=0.0)
    coincident = on_slots(curves, COINCIDENT, f"{currency}/MW", slots, now_ms, facts, repeat=False)
    generation = on_slots(curves, GENERATION, "MW", slots, now_ms, facts)
    return Surroundings(
        cap_w=cap,
        derate=np.clip(1.0 - weather.derate_per_k * over_k, 0.0, 1.0),
        hot=air > weather.hot_c,
        least_w=np.where(air < weather.cold_c, weather.cold_min_w, 0.0),
        coincident_per_w=np.zeros(count) if coincident is None else coincident / W_PER_MW,
        generation_w=np.zeros(count) if generation is None else generation * W_PER_MW,
    )


@dataclass(frozen=True, slots=True)
class Imbalance:
    """Effect of a day-ahead position on the energy price: `adder_per_wh[slot]` on top of the market price, and `takes`, one
    for each slot of the position, so that unused energy is sold back at the lower price."""

    adder_per_wh: Floats
    takes: tuple[Take, ...]


def imbalance(
    curves: Sequence[Curve], slots: Slots, market_per_wh: Floats, now_ms: int, facts: dict[str, str], currency: str
) -> Imbalance | None:
    """Two-sided: energy above the position is bought at the imbalance price for shortage, energy below it is sold at the one
    for surplus. With position q, prices b >= s and energy e:

        cost = b (e - q)+ - s (q - e)+  =  b e + (b - s) (q - e)+ - b q,

    so each slot of the position is a take of q with penalty b - s, its energy at price b; the last term is a constant. Where
    s exceeds b (a market that pays for any deviation) the penalty is zero, which `facts` notes. None without a position.
    """
    unit = f"{currency}/MWh"
    position = _on_slots(curves, POSITION, "MW", slots, now_ms, facts, repeat=False)
    if position is None:
        return None
    bought, sold = (on_slots(curves, name, unit, slots, now_ms, facts) for name in (BUY, SELL))
    buy = market_per_wh if bought is None else bought / WH_PER_MWH
    sell = market_per_wh if sold is None else sold / WH_PER_MWH
    watts, covered = position
    inside = covered > 1 - 1e-9
    if bool(np.any(sell[inside] > buy[inside])):
        facts["imbalance"] = "surplus pays more than shortage costs in some slots: taken as one price there"
    penalty = np.maximum(buy - sell, 0.0)
    energy_wh = watts * W_PER_MW * slots.hours
    takes = tuple(
        Take(slot, slot, float(energy_wh[slot]), float(penalty[slot]), "day-ahead position")
        for slot in np.flatnonzero(inside & (penalty > 0) & (energy_wh > 0)).tolist()
    )
    return Imbalance(np.where(inside, buy - market_per_wh, 0.0), takes)


def on_slots(
    curves: Sequence[Curve],
    name: str,
    unit: str,
    slots: Slots,
    now_ms: int,
    facts: dict[str, str],
    *,
    repeat: bool = True,
) -> Floats | None:
    """The newest known curve of a name on slots; None where there is none. `repeat`: beyond its end its last day is repeated,
    else zero is used (a price or a position that was not published is none)."""
    found = _on_slots(curves, name, unit, slots, now_ms, facts, repeat)
    if found is None:
        return None
    values, covered = found
    if not repeat:
        return np.where(covered > 0, values * covered, 0.0)
    if not bool((covered > 0).any()):
        return None
    nearest = np.flatnonzero(covered > 0)
    fill = nearest[np.clip(np.searchsorted(nearest, np.arange(len(slots))), 0, len(nearest) - 1)]
    return np.where(covered > 0, values, values[fill])


def _on_slots(
    curves: Sequence[Curve], name: str, unit: str, slots: Slots, now_ms: int, facts: dict[str, str], repeat: bool
) -> tuple[Floats, Floats] | None:
    curve = known(curves, name, now_ms)
    if curve is None:
        return None
    if curve.unit != unit:
        raise ConfigError([Fault(f"curve {name}", f"its unit is {curve.unit}", f"Give it in {unit}")])
    facts[name] = f"known {iso(curve.known_at_ms)} from {curve.source}"
    if repeat and curve.span.end_ms < slots.span.end_ms:
        facts[f"{name} forecast"] = f"after {iso(curve.span.end_ms)} the same hours of the last known day"
        curve = continued(curve, slots.span)
    return curve.on_slots(slots)
