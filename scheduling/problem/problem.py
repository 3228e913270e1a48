# SPDX-License-Identifier: Apache-2.0
"""Data of one planning problem: arrays with units in their names, read by all solvers and the checker.

Shapes: G groups of like miners, M modes (padded), T slots, F feeders, B reserve blocks. Money is in the currency
`currency` as floats: planning is not bookkeeping. Power is at the wall in W, power drawn from the grid positive.

Terms: *flexible power* is the miners' draw above sleep, J[t] = sum (mode power - sleep power) x count; *base power* does not
depend on the decision (other load, sleeping units); *site power* S[t] = J + base + charge - discharge - generation used is
that at the meter, to which limits and prices apply.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from grid.limit import Priority
from kernel.clock import MS_PER_S
from kernel.span import Slots

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups of like miners: same model, firmware, feeder and history, so that only counts matter.

    - `units[g]`; `mode_power_w[g, m]`, `mode_hashrate_hs[g, m]`: rising power; a mode that does not exist repeats the one
      before it. `sleep_w[g]`: draw of each unit that is off. `feeder[g]`: index into the site's feeders.
    - A start costs `start_cost[g]` (wear) and `start_lost_hashes[g]` (hashing lost while it ramps, at its slot's hash value).
      After a start a unit stays on for `min_on_s[g]`, after a stop off for `min_off_s[g]`.
    - History: `on_now[g]` units on before slot 0; `locked_on[g, t]` of them must still be on in slot t, `locked_off[g, t]` of
      those off must still be off (both never rise with t).
    - `starts_left[g]`: start budget in the horizon (starts per unit and day, less those used; negative: no cap).
    """

    names: tuple[str, ...]
    units: Ints
    mode_names: tuple[str, ...]
    mode_power_w: Floats
    mode_hashrate_hs: Floats
    sleep_w: Floats
    start_cost: Floats
    start_lost_hashes: Floats
    min_on_s: Floats
    min_off_s: Floats
    feeder: Ints
    on_now: Ints
    locked_on: Ints
    locked_off: Ints
    starts_left: Ints


@dataclass(frozen=True, slots=True)
class Order:
    """A cap on site power as a hard row: at most `power_w` in slots first..last. `priority`: rank when not all can be kept."""

    id: str
    first: int
    last: int
    power_w: float
    priority: Priority = Priority.DISPATCHER
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FeederOrder:
    """An order on a feeder or a phase (`scope`, below the site) that limits row `name` of `Site.feeder_cap_w` from slot first
    to last, both included. The cap itself is in that row; this gives its name."""

    id: str
    scope: str
    name: str
    first: int
    last: int
    power_w: float


@dataclass(frozen=True, slots=True)
class Battery:
    """Storage behind the meter: power limits, energy, present and required final state of charge, losses, wear per Wh."""

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
    """A reserve product: `price_per_w[b]` for each W held through block b; `max_w`: highest power; `block_of[t]` (-1: none)."""

    price_per_w: Floats
    max_w: float
    block_of: Ints


@dataclass(frozen=True, slots=True)
class Take:
    """Energy paid for whether used or not: each Wh below `energy_wh` in slots first..last costs `penalty_per_wh`.

    A take-or-pay contract is one block; a day-ahead position is one block per slot, with the loss of selling the rest back as
    penalty (purchase less resale price).
    """

    first: int
    last: int
    energy_wh: float
    penalty_per_wh: float
    rule: str = "take-or-pay"


@dataclass(frozen=True, slots=True)
class Site:
    """Limits and prices of one connection point.

    - `import_cap_w[t]`; `other_load_w[t]`: load outside the plan; `feeder_cap_w[f, t]`: miners' power including sleepers.
    - `ramp_w[t]`: largest change of site power from slot t-1 to t (inf: free); `power_now_w`: site power before slot 0.
    - `energy_price_per_wh[t]`: all-in, with the dated energy fee; `coincident_price_per_w[t]`; `takes`.
    - `peak_price_per_w`: price of the month's highest site power, of which `peak_so_far_w` is already owed.
    - `generation_w[t]`: on site, free, may be spilled.
    - `heat_w[t]`: least power of the miners (heat duty, hydro loops in frost).
    - `derate[t]`: share of hashrate left in heat; `mode_max[t]`: highest mode index allowed (hot hours).
    - `unexplained_w`, `feeder_unexplained_w[f]`: fresh meter readings above all known load. They do not enter the plan, and
      offers leave room for them.
    """

    import_cap_w: Floats
    other_load_w: Floats
    feeder_names: tuple[str, ...]
    feeder_cap_w: Floats
    ramp_w: Floats
    power_now_w: float
    energy_price_per_wh: Floats
    peak_price_per_w: float
    peak_so_far_w: float
    coincident_price_per_w: Floats
    takes: tuple[Take, ...]
    generation_w: Floats
    heat_w: Floats
    derate: Floats
    mode_max: Ints
    battery: Battery | None = None
    reserve_down: Reserve | None = None
    reserve_up: Reserve | None = None
    unexplained_w: float = 0.0
    feeder_unexplained_w: Floats | None = None


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
    """Sources of the problem (curves, limits, orders), name to source, for the plan's explanation."""
    feeder_orders: tuple[FeederOrder, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(groups, modes, slots, feeders)."""
        return (*self.groups.mode_power_w.shape, len(self.slots), len(self.site.feeder_names))

    def slot_value(self) -> Floats:
        """Money per H/s held through a slot: hash value x seconds x derating, shape [slot]."""
        seconds = np.diff(self.slots.edges_ms) / MS_PER_S
        return self.hash_value_per_hs_s * seconds * self.site.derate

    def start_money(self) -> Floats:
        """Money lost by one start, wear and hashing, shape [group, slot]."""
        worth = self.hash_value_per_hs_s * self.site.derate
        return self.groups.start_cost[:, None] + self.groups.start_lost_hashes[:, None] * worth[None, :]

    def base_w(self) -> Floats:
        """Power that does not depend on the decision, before generation, shape [slot]."""
        return self.site.other_load_w + float(self.groups.units @ self.groups.sleep_w)

    def step_w(self) -> Floats:
        """Power of a mode above sleep, shape [group, mode]."""
        return self.groups.mode_power_w - self.groups.sleep_w[:, None]

    def feeder_room_w(self) -> Floats:
        """Feeder caps less the sleep power of all units on them: room for flexible power, shape [feeder, slot]."""
        asleep = np.bincount(
            self.groups.feeder,
            weights=self.groups.units * self.groups.sleep_w,
            minlength=len(self.site.feeder_names),
        )
        return self.site.feeder_cap_w - asleep[:, None]

    def cap_w(self) -> Floats:
        """Site power allowed: import cap and orders together, shape [slot]."""
        cap = self.site.import_cap_w.copy()
        for order in self.orders:
            cap[order.first : order.last + 1] = np.minimum(cap[order.first : order.last + 1], order.power_w)
        return cap

    def money_per_w(self) -> Floats:
        """Cost of one W of site power through a slot: energy and coincident peak, shape [slot]."""
        return self.site.energy_price_per_wh * self.slots.hours + self.site.coincident_price_per_w


def first_locking(slots: Slots, hold_s: float) -> Ints:
    """For each slot the first slot whose switching still binds it: least s with start[s] + hold > start[t], shape [slot]."""
    starts = slots.starts_ms
    return np.minimum(
        np.searchsorted(starts, starts - round(hold_s * MS_PER_S), side="right"), np.arange(len(slots))
    ).astype(np.int64)


def first_free(slots: Slots, hold_s: float) -> Ints:
    """For each slot the first slot at which a unit switched in it may switch back, T where beyond the horizon, shape [slot]."""
    starts = slots.starts_ms
    found = np.searchsorted(starts, starts + round(hold_s * MS_PER_S), side="left")
    return np.maximum(found, np.arange(len(slots)) + 1).astype(np.int64)
