# SPDX-License-Identifier: Apache-2.0
"""The numbers of one decision: unit-named arrays, nothing else. Model, tranche method, greedy and checker all read this.

Shapes: G groups of like miners, M modes (padded), T slots, F feeders. Money is in the currency `currency` as floats:
planning is not bookkeeping. Power at the wall in W, power drawn from the grid positive.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kernel.span import Slots

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Groups:
    """Like miners: same model, firmware, feeder, so that only counts matter.

    `units[g]`; `mode_power_w[g, m]`, `mode_hashrate_hs[g, m]` (rising power; a mode that does not exist repeats the one
    before it); `sleep_w[g]` drawn by each unit that is off; `start_cost[g]` money per start (wear); `start_lost_s[g]`
    seconds of full-rate hashing lost per start; `min_on_slots[g]`, `min_off_slots[g]`; `feeder[g]` index into feeders.
    History at the horizon's start: `on_now[g]` units on, `starts_before[g, k]` / `stops_before[g, k]` units that were
    started / stopped k + 1 slots ago (for what is left of minimum times), `starts_used[g]` against
    `start_cap[g]` (starts per unit and day; group total; negative: no cap).
    """

    names: tuple[str, ...]
    units: Ints
    mode_names: tuple[str, ...]
    mode_power_w: Floats
    mode_hashrate_hs: Floats
    sleep_w: Floats
    start_cost: Floats
    start_lost_s: Floats
    min_on_slots: Ints
    min_off_slots: Ints
    feeder: Ints
    on_now: Ints
    starts_before: Ints
    stops_before: Ints
    starts_used: Ints
    start_cap: Ints


@dataclass(frozen=True, slots=True)
class Order:
    """A dispatcher's cap as a hard row: site power <= power_w in slots [first, last]."""

    id: str
    first: int
    last: int
    power_w: float


@dataclass(frozen=True, slots=True)
class Battery:
    """Storage behind the meter: power limits, energy, state of charge now and wanted at the end, losses, wear per Wh."""

    charge_max_w: float
    discharge_max_w: float
    energy_wh: float
    soc_now_wh: float
    soc_end_wh: float
    efficiency_charge: float
    efficiency_discharge: float
    wear_per_wh: float


@dataclass(frozen=True, slots=True)
class Reserve:
    """A reserve product per block of slots: price per W and block, offers bounded by `max_w`; `block_of[t]` its block."""

    price_per_w: Floats
    max_w: float
    block_of: Ints


@dataclass(frozen=True, slots=True)
class Site:
    """Limits and prices of one connection point.

    `import_cap_w[t]`; `other_load_w[t]` (cooling and the like, not ours to plan); `feeder_cap_w[f, t]`; `ramp_w` the most
    that site power may change from one slot to the next (None: free), `power_now_w` the power before slot 0;
    `energy_price_per_wh[t]` all-in; `fee_per_wh[t]` dated energy fee; `peak_price_per_w` for the highest site power of the
    month, of which `peak_so_far_w` is already owed; `coincident_price_per_w[t]`; take-or-pay: below `take_wh` each missing
    Wh costs `take_penalty_per_wh`; `generation_w[t]` on-site, `heat_w[t]` least power that must be drawn (heat duty);
    `derate[t]` share of hashrate left by heat; `mode_max[t]` highest mode index allowed (hot hours).
    """

    import_cap_w: Floats
    other_load_w: Floats
    feeder_names: tuple[str, ...]
    feeder_cap_w: Floats
    ramp_w: float | None
    power_now_w: float
    energy_price_per_wh: Floats
    fee_per_wh: Floats
    peak_price_per_w: float
    peak_so_far_w: float
    coincident_price_per_w: Floats
    take_wh: float
    take_penalty_per_wh: float
    generation_w: Floats
    heat_w: Floats
    derate: Floats
    mode_max: Ints
    battery: Battery | None = None
    reserve_down: Reserve | None = None
    reserve_up: Reserve | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One decision. `hash_value_per_hs_s[t]`: money earned by one H/s during one second in slot t."""

    slots: Slots
    groups: Groups
    site: Site
    hash_value_per_hs_s: Floats
    orders: tuple[Order, ...]
    currency: str
    known_at_ms: int
    facts: dict[str, str] = field(default_factory=dict)
    """Which curves, limits and orders it was made from: name to source, for the plan's explanation."""
