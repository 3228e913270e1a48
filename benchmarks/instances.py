# SPDX-License-Identifier: Apache-2.0
"""Simulated planning problems from a seed: the standard instance of the planning benchmark, and small random ones."""

from dataclasses import replace

import numpy as np

from kernel.span import Slots, horizon
from scheduling.offer.scenario import Market, drawn
from scheduling.problem.problem import Battery, Groups, Order, Problem, Reserve, Site, Take

EPOCH_MS = 1_767_225_600_000
MODELS = (
    # (TH/s, J/TH) in normal mode, old to new
    (95.0, 34.5), (104.0, 29.5), (110.0, 29.0), (140.0, 21.5), (151.0, 20.5),
    (200.0, 17.5), (188.0, 19.0), (234.0, 15.0), (270.0, 13.5), (112.0, 31.0),
)  # fmt: skip
MODE_POWER = np.array([0.60, 1.0, 1.18])
MODE_RATE = np.array([0.69, 1.0, 1.115])


def even(slots: int, step_s: float) -> Slots:
    return Slots(EPOCH_MS + np.arange(slots + 1, dtype=np.int64) * round(step_s * 1000))


def _groups(
    rng: np.random.Generator, count: int, units: int, feeders: int, slots: Slots, min_s: float, usd_hs_s: float
) -> Groups:
    model = rng.integers(0, len(MODELS), count)
    spread = rng.uniform(0.97, 1.03, count)
    rate = np.array([MODELS[m][0] for m in model]) * 1e12
    power = np.array([MODELS[m][0] * MODELS[m][1] for m in model]) * spread
    share = rng.uniform(0.4, 1.6, count)
    each = np.maximum(1, np.floor(units * share / share.sum())).astype(np.int64)
    each[: max(0, units - int(each.sum()))] += 1
    lost = rng.uniform(300.0, 600.0, count)
    return Groups(
        names=tuple(f"m{m} feeder {g % feeders} #{g}" for g, m in enumerate(model)),
        units=each,
        mode_names=("low", "normal", "high"),
        mode_power_w=power[:, None] * MODE_POWER[None, :],
        mode_hashrate_hs=rate[:, None] * MODE_RATE[None, :],
        sleep_w=np.zeros(count),
        start_cost=rng.uniform(0.005, 0.02, count),
        start_lost_hashes=lost * rate,
        min_on_s=np.full(count, min_s),
        min_off_s=np.full(count, min_s),
        feeder=np.arange(count, dtype=np.int64) % feeders,
        on_now=each.copy(),
        locked_on=np.zeros((count, len(slots)), dtype=np.int64),
        locked_off=np.zeros((count, len(slots)), dtype=np.int64),
        starts_left=np.full(count, -1, dtype=np.int64),
    )


def day_price(rng: np.random.Generator, slots: Slots) -> np.ndarray:
    """USD/MWh with a solar valley, an evening peak, five-minute noise and a few spikes, shape [slot]."""
    hour = (slots.starts_ms - EPOCH_MS) / 3_600_000 % 24
    base = (
        38
        + 14 * np.sin((hour - 9) / 24 * 2 * np.pi)
        + 34 * np.exp(-(((hour - 19) / 2.2) ** 2))
        - 16 * np.exp(-(((hour - 13) / 3) ** 2))
    )
    noise = np.zeros(len(slots))
    for t in range(1, len(slots)):
        noise[t] = 0.9 * noise[t - 1] + rng.normal(0, 4.0)
    spikes = np.where(rng.random(len(slots)) < 0.01, rng.uniform(50, 400, len(slots)), 0.0)
    return base + noise + spikes


def standard(
    seed: int,
    *,
    groups: int = 400,
    slots: int = 288,
    step_s: float = 300.0,
    units: int = 100_000,
    min_s: float = 900.0,
    feeder_low: float | None = None,
    feeder_high: float | None = None,
    ramp_share: float = 0.12,
    hashprice: float = 42.0,
    reserve: bool = True,
    orders: bool = True,
) -> Problem:
    """The benchmark's instance: 10 models, three modes, one feeder to five groups of which 30 % are congested (or all, at
    `feeder_low`..`feeder_high` of normal power), two orders, ramp, peak charge, two-way hourly reserve, hot hours."""
    rng = np.random.default_rng(seed)
    grid = even(slots, step_s)
    feeders = max(1, groups // 5)
    usd_hs_s = hashprice / 1e15 / 86_400
    fleet = _groups(rng, groups, units, feeders, grid, min_s, usd_hs_s)
    normal_w = np.bincount(fleet.feeder, weights=fleet.units * fleet.mode_power_w[:, 1], minlength=feeders)
    if feeder_low is None:
        share = np.where(rng.random(feeders) < 0.3, rng.uniform(0.75, 1.0, feeders), 1.3)
    else:
        share = rng.uniform(feeder_low, feeder_high or feeder_low, feeders)
    total_w = float(normal_w.sum())
    hour = (grid.starts_ms - EPOCH_MS) / 3_600_000 % 24
    derate = 1 - 0.04 * np.exp(-(((hour - 15) / 3) ** 2))
    hot = (hour >= 13) & (hour < 17)
    per_hour = max(1, round(3600 / step_s))
    block = np.arange(slots, dtype=np.int64) // per_hour
    blocks = int(block[-1]) + 1
    asked: tuple[Order, ...] = ()
    if orders:
        first, second = int(slots * 0.30), int(slots * 0.74)
        asked = (
            Order("day", first, min(slots, first + per_hour) - 1, 0.75 * total_w),
            Order("evening", second, min(slots, second + per_hour * 3 // 2) - 1, 0.45 * total_w),
        )
    ramp = np.full(slots, ramp_share * total_w * 1.18)
    for order in asked:
        ramp[order.first] = max(ramp[order.first], 0.60 * total_w * 1.18)
    site = Site(
        import_cap_w=np.full(slots, 1.12 * total_w),
        other_load_w=np.zeros(slots),
        feeder_names=tuple(f"feeder {f}" for f in range(feeders)),
        feeder_cap_w=np.repeat((share * normal_w)[:, None], slots, axis=1),
        ramp_w=ramp,
        power_now_w=min(0.9 * total_w, 0.97 * float((share * normal_w).sum())),
        energy_price_per_wh=day_price(rng, grid) / 1e6,
        peak_price_per_w=6.0 / 1e3 / 30,
        peak_so_far_w=0.85 * total_w,
        coincident_price_per_w=np.zeros(slots),
        takes=(),
        generation_w=np.zeros(slots),
        heat_w=np.zeros(slots),
        derate=derate,
        mode_max=np.where(hot, 1, 2).astype(np.int64),
        reserve_down=Reserve(rng.uniform(2, 9, blocks) / 1e6, 0.35 * total_w, block) if reserve else None,
        reserve_up=Reserve(rng.uniform(1, 5, blocks) / 1e6, 0.20 * total_w, block) if reserve else None,
    )
    return Problem(grid, fleet, site, np.full(slots, usd_hs_s), asked, "USD", EPOCH_MS, {"instance": f"seed {seed}"})


def anything(seed: int, *, most_groups: int = 20, most_slots: int = 96, most_units: int = 400) -> Problem:
    """A small instance with every feature drawn at random."""
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(1, most_groups + 1))
    slots = int(rng.integers(4, most_slots + 1))
    units = groups * int(rng.integers(1, most_units + 1))
    step_s = float(rng.choice([300.0, 900.0]))
    base = standard(
        seed,
        groups=groups,
        slots=slots,
        step_s=step_s,
        units=units,
        min_s=float(rng.choice([0.0, step_s, 900.0, 3600.0])),
        ramp_share=float(rng.choice([0.15, 0.4, 1.5])),
        hashprice=float(rng.uniform(30, 60)),
        reserve=bool(rng.random() < 0.5),
        orders=bool(rng.random() < 0.5),
    )
    return with_features(base, rng)


def with_features(base: Problem, rng: np.random.Generator) -> Problem:
    """Sleep power, history, budgets, battery, solar generation, take-or-pay, coincident peak and heat, each at random."""
    fleet, site, slots = base.groups, base.site, len(base.slots)
    coin = rng.random(8) < 0.5
    total_w = float(fleet.units @ fleet.mode_power_w[:, 1])
    if coin[0]:
        fleet = replace(fleet, sleep_w=np.full(len(fleet.names), 25.0))
    if coin[1]:
        on = rng.binomial(fleet.units, 0.85).astype(np.int64)
        fade = np.maximum(0.0, 1 - np.arange(slots) / max(1.0, float(rng.integers(1, 6))))
        locked_on = np.floor(np.outer(on * rng.uniform(0, 0.4, len(on)), fade)).astype(np.int64)
        locked_off = np.floor(np.outer((fleet.units - on) * rng.uniform(0, 0.8, len(on)), fade)).astype(np.int64)
        fleet = replace(fleet, on_now=on, locked_on=locked_on, locked_off=locked_off)
        site = replace(site, power_now_w=float((on * fleet.mode_power_w[:, 1]).sum()))
    if coin[2]:
        fleet = replace(fleet, starts_left=(fleet.units * int(rng.integers(0, 3))).astype(np.int64))
    if coin[3]:
        hour = (base.slots.starts_ms - EPOCH_MS) / 3_600_000 % 24
        site = replace(site, generation_w=0.5 * total_w * np.clip(np.sin((hour - 6) / 12 * np.pi), 0, None))
    if coin[4]:
        power = 0.1 * total_w
        site = replace(site, battery=Battery(power, power, 2 * power, power, power, 0.95, 0.95, 4e-6))
    if coin[5]:
        energy = 0.9 * total_w * float(base.slots.hours.sum())
        site = replace(site, takes=(Take(0, slots - 1, energy, 30e-6),))
    if coin[6]:
        coincident = np.zeros(slots)
        coincident[rng.integers(0, slots, 3)] = 25e-6 * float(base.slots.hours[0])
        site = replace(site, coincident_price_per_w=coincident)
    if coin[7]:
        site = replace(site, heat_w=np.full(slots, 0.2 * total_w))
    return replace(base, groups=fleet, site=site)


def rolling(start_ms: int = EPOCH_MS) -> Slots:
    """The product's own grid: 5 min for 2 h, 15 min to 24 h, 60 min to 72 h."""
    return horizon(start_ms, ((300.0, 7_200.0), (900.0, 86_400.0), (3_600.0, 259_200.0)))


def at_slot(problem: Problem, on: np.ndarray, power_w: np.ndarray, slot: int, starts_per_day: int | None) -> Problem:
    """The same site `slot` slots later, in the state left by a plan: switching times of units, starts used, peak so far.

    The horizon keeps its length; prices beyond the old one repeat, ended orders are gone.
    """
    fleet, site, slots_n = problem.groups, problem.site, len(problem.slots)
    step_ms = int(problem.slots.edges_ms[1] - problem.slots.edges_ms[0])
    change = np.diff(on, axis=1, prepend=fleet.on_now[:, None])[:, :slot]
    hold = np.round(fleet.min_on_s * 1000 / step_ms).astype(np.int64)
    rest = np.round(fleet.min_off_s * 1000 / step_ms).astype(np.int64)
    locked_on, locked_off = np.zeros((len(hold), slots_n), np.int64), np.zeros((len(hold), slots_n), np.int64)
    for ago in range(1, slot + 1):
        started, stopped = np.maximum(change[:, slot - ago], 0), np.maximum(-change[:, slot - ago], 0)
        for group in np.flatnonzero((started > 0) & (hold > ago)):
            locked_on[group, : hold[group] - ago] += started[group]
        for group in np.flatnonzero((stopped > 0) & (rest > ago)):
            locked_off[group, : rest[group] - ago] += stopped[group]
    used = np.maximum(change, 0).sum(axis=1)
    left = np.full(len(hold), -1) if starts_per_day is None else np.maximum(fleet.units * starts_per_day - used, 0)
    fleet = replace(
        fleet,
        on_now=on[:, slot - 1].astype(np.int64),
        locked_on=locked_on,
        locked_off=locked_off,
        starts_left=left.astype(np.int64),
    )

    def turned(values: np.ndarray) -> np.ndarray:
        return np.roll(values, -slot, axis=-1)

    site = replace(
        site,
        import_cap_w=turned(site.import_cap_w),
        feeder_cap_w=turned(site.feeder_cap_w),
        ramp_w=turned(site.ramp_w),
        power_now_w=float(power_w[slot - 1]),
        energy_price_per_wh=turned(site.energy_price_per_wh),
        peak_so_far_w=max(site.peak_so_far_w, float(power_w[:slot].max())),
        derate=turned(site.derate),
        mode_max=turned(site.mode_max),
    )
    orders = tuple(
        Order(order.id, max(order.first - slot, 0), order.last - slot, order.power_w)
        for order in problem.orders
        if order.last >= slot
    )
    start_ms = int(problem.slots.edges_ms[slot])
    slots = Slots(problem.slots.edges_ms + (start_ms - int(problem.slots.edges_ms[0])))
    return replace(problem, slots=slots, groups=fleet, site=site, orders=orders, known_at_ms=start_ms)


def with_order(problem: Problem, order: Order) -> Problem:
    """The problem with one more order; the ramp is relaxed at its edges, as the connection contract allows for orders."""
    ramp = problem.site.ramp_w.copy()
    top = float(problem.groups.units @ problem.groups.mode_power_w.max(axis=1))
    for edge in (order.first, order.last + 1):
        if edge < len(ramp):
            ramp[edge] = max(ramp[edge], top)
    return replace(problem, orders=(*problem.orders, order), site=replace(problem.site, ramp_w=ramp))


def scenario_market(seed: int, scenarios: int = 50, slots: int = 96, weight: float = 0.5) -> Market:
    """A day ahead of an uncertain price: spiky errors around a day-ahead curve, a merit curve of 12 segments, hourly reserve."""
    rng = np.random.default_rng(seed)
    hours = np.full(slots, 24 / slots)
    ahead = 35 + 15 * np.sin(np.arange(slots) / slots * 2 * np.pi)
    errors = rng.normal(0, 9, (40, slots)).cumsum(axis=1) / 4 + np.where(rng.random((40, slots)) < 0.02, 300, 0)
    real = drawn(ahead, errors, scenarios, rng)
    worth = np.linspace(1 / 13.5, 1 / 40, 12) * 1e12
    watts = np.full(12, 100e6 / 12)
    value = 45 / 1e15 / 86_400 * hours * 3600 * rng.normal(1, 0.03, (scenarios, 1))
    block = np.arange(slots) // max(1, slots // 24)
    price = rng.uniform(1, 8, int(block[-1]) + 1) / 1e6
    return Market(hours, ahead / 1e6, real / 1e6, value, watts, worth * watts, price, block, 60e6, 100e6, weight=weight)
