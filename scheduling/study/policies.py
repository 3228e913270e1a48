# SPDX-License-Identifier: Apache-2.0
"""Operating policies for a backtest, day by day: threshold rules and the planner, each with the facts known at the time.

A policy gives counts per group, mode and slot of one day, and the reserve it promised; the backtest keeps the accounts.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr

from kernel.span import Slots
from kernel.units import HS_PER_PHS, MS_PER_HOUR, S_PER_DAY, WH_PER_MWH
from scheduling.problem.forecast import FEW_DAYS, learnt
from scheduling.problem.problem import Floats, Groups, Ints, Order, Problem, Reserve, Site
from scheduling.solve.commitment import Corridor, SwitchingValues, forward
from scheduling.solve.lagrangian import DecompositionSettings, certified
from scheduling.solve.mode_steps import all_mode_steps
from scheduling.solve.modes import fill
from scheduling.solve.rolling_horizon import alone, rolling_switching_values
from scheduling.solve.shares import sorted_steps
from scheduling.study.history import ERROR_KEEPS, Day, History

RELUCTANCES = np.linspace(1.25, 4.0, 12)
"""A start is made only where its gain is this many times its cost: forecasts may fail, and starts wear."""

FEWER_STARTS, FOR_SHARE = 0.45, 2e-3
"""Starts should be at most this part of the plain rule's, as long as that costs no more than this share of value and leaves
no less than the rule earns."""

LEARN_DAYS = 60
"""Days of the past for the price forecast."""

PEAK_DAYS = 28
"""Days of the past for judging the value of a higher monthly peak."""

MOST_SURE = 0.9
"""Highest probability assigned to a later, higher day in the month: no weather forecast is surer."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Charges and revenues that couple the slots: money per kW of the month's peak and of the coincident peak, per MW and
    hour of reserve held (share of full power at most); hashprice per PH/s and day; slots until a price is known."""

    hashprice: float
    demand_per_kw_month: float = 0.0
    coincident_per_kw: float = 0.0
    coincident_months: tuple[int, ...] = (6, 7, 8, 9)
    reserve_per_mwh: float = 0.0
    reserve_share: float = 0.5
    load_error: float = 0.01
    lag: int = 1

    @property
    def coupled(self) -> bool:
        return self.demand_per_kw_month > 0 or self.coincident_per_kw > 0 or self.reserve_per_mwh > 0

    def value_per_hs_s(self) -> float:
        return self.hashprice / HS_PER_PHS / S_PER_DAY


@dataclass(slots=True)
class State:
    """State passed from day to day: units on, units bound by minimum times, peak of the month, highest system load so far,
    and the required ratio of a start's gain to its cost."""

    on: Ints
    recent_starts: Ints
    recent_stops: Ints
    peak_w: float = 0.0
    peak_load_mw: float = 0.0
    start_factor: float | None = None


@dataclass(frozen=True, slots=True)
class DayResult:
    """Counts [group, mode, slot of the day], reserve promised per block of an hour (W; None: the amount held), and the
    required ratio of a start's gain to its cost (None: not determined)."""

    counts: Ints
    promised_w: Floats | None
    start_factor: float | None = None


def begin(groups: Groups) -> State:
    nothing = np.zeros((len(groups.units), 0), dtype=np.int64)
    return State(groups.units.copy(), nothing, nothing)


def slots_of(history: History, first: int, last: int) -> Slots:
    """The slots first..last-1; beyond the history's end the grid continues."""
    step_ms = round(history.step_h * MS_PER_HOUR)
    begin_ms = int(history.slots.edges_ms[0]) + first * step_ms
    return Slots(begin_ms + step_ms * np.arange(last - first + 1, dtype=np.int64))


def day_problem(
    history: History,
    groups: Groups,
    terms: Terms,
    state: State,
    slots: Slots,
    price: Floats,
    *,
    orders: tuple[Order, ...] = (),
    peak_price_per_kw: float = 0.0,
    coincident: Floats | None = None,
) -> Problem:
    """A problem over some slots at given prices (money per MWh), from a given state."""
    count = len(slots)
    top_w = float(groups.units @ groups.mode_power_w.max(axis=1))
    per_hour = max(1, round(1 / history.step_h))
    step_s = history.step_h * 3600
    groups = replace(
        groups,
        on_now=state.on,
        locked_on=_bound(state.recent_starts, groups.min_on_s, step_s, count),
        locked_off=_bound(state.recent_stops, groups.min_off_s, step_s, count),
    )
    reserve = None
    if terms.reserve_per_mwh > 0:
        block = np.arange(count, dtype=np.int64) // per_hour
        hours = np.bincount(block) * history.step_h
        price_per_w = np.asarray(terms.reserve_per_mwh / WH_PER_MWH * hours, dtype=np.float64)
        reserve = Reserve(price_per_w, terms.reserve_share * top_w, block)
    site = Site(
        import_cap_w=np.full(count, 2 * top_w),
        other_load_w=np.zeros(count),
        feeder_names=("all",),
        feeder_cap_w=np.full((1, count), 2 * top_w),
        ramp_w=np.full(count, np.inf),
        power_now_w=0.0,
        energy_price_per_wh=price / WH_PER_MWH,
        peak_price_per_w=peak_price_per_kw / 1e3,
        peak_so_far_w=state.peak_w,
        coincident_price_per_w=np.zeros(count) if coincident is None else coincident / 1e3,
        takes=(),
        generation_w=np.zeros(count),
        heat_w=np.zeros(count),
        derate=np.ones(count),
        mode_max=np.full(count, groups.mode_power_w.shape[1] - 1, dtype=np.int64),
        reserve_down=reserve,
    )
    value = np.full(count, terms.value_per_hs_s())
    return Problem(slots, groups, site, value, orders, "USD", int(slots.edges_ms[0]))


def _bound(recent: Ints, hold_s: Floats, step_s: float, count: int) -> Ints:
    """Units switched in the last slots that are still bound in each of the next, shape [group, slot]."""
    found = np.zeros((len(hold_s), count), dtype=np.int64)
    hold = np.ceil(hold_s / step_s - 1e-9).astype(np.int64)
    for ago in range(1, recent.shape[1] + 1):
        switched = recent[:, -ago]
        for group in np.flatnonzero((switched > 0) & (hold > ago)):
            found[group, : hold[group] - ago] += switched[group]
    return found


def caps_w(history: History, day: Day, top_w: float) -> Floats:
    """Power allowed by the dispatcher's orders in each slot of a day (inf: free)."""
    cap = np.full(day.last - day.first, np.inf)
    for call in history.calls:
        first, last = max(call.first - day.first, 0), min(call.last, day.last) - day.first
        if first < last:
            cap[first:last] = np.minimum(cap[first:last], call.share * top_w)
    return cap


def threshold(history: History, groups: Groups, terms: Terms, state: State, day: Day) -> DayResult:
    """Threshold policy: units and mode steps run where they pay at the last known price. Orders are kept; no look-ahead."""
    now = np.arange(day.first, day.last)
    price = history.real[np.maximum(now - terms.lag, 0)]
    problem = day_problem(history, groups, terms, state, slots_of(history, day.first, day.last), price)
    margin = _best_margin(problem)
    return _carry_out(problem, SwitchingValues(margin, margin), price, caps_w(history, day, _top_w(groups)))


def planner(history: History, groups: Groups, terms: Terms, state: State, day: Day) -> DayResult:
    """Planner policy: a morning plan on forecasts, whose shadow prices guide each slot's decision at the newest price."""
    known = history.known(terms.lag)
    per_day = known.day
    count = day.last - day.first
    now = np.arange(day.first, day.last)
    ahead = learnt(known, now, per_day, day.first, LEARN_DAYS * per_day)
    if terms.lag == 0:
        ahead[:, 0] = history.real[now]
    adder, cap, promised = _morning(history, groups, terms, state, day)
    far = np.zeros(count + per_day)
    far[: len(adder)] = adder[: count + per_day]
    ahead += far[np.arange(count)[:, None] + np.arange(per_day)[None, :]]
    coincident = terms.coincident_per_kw * 1e3 / history.step_h * coincident_chance(history, terms, state, day)
    for seen in range(count):
        steps = min(count - seen, per_day)
        ahead[seen, :steps] += coincident[seen, seen : seen + steps]
    problem = day_problem(history, groups, terms, state, slots_of(history, day.first, day.last), ahead[:, 0])
    times = state.start_factor
    if times is None or day.days_left % 7 == 0:
        times = reluctance(history, groups, terms, state, day)
    start_money = (float(RELUCTANCES[0]) if times is None else times) * problem.start_money()[:, 0]
    own_values = rolling_switching_values(groups, ahead / WH_PER_MWH, problem.slot_value(), history.step_h, start_money)
    cap = np.minimum(cap, caps_w(history, day, _top_w(groups)))
    return replace(_carry_out(problem, own_values, ahead[:, 0], cap), promised_w=promised, start_factor=times)


def _morning(
    history: History, groups: Groups, terms: Terms, state: State, day: Day
) -> tuple[Floats, Floats, Floats | None]:
    """(cost of a MWh in addition to energy and coincident peak per slot, power cap per slot, reserve promised per block)."""
    count, per_day = day.last - day.first, round(24 / history.step_h)
    free = np.full(count, np.inf)
    if not terms.coupled:
        return np.zeros(count), free, None
    horizon = count + per_day // 2
    top = peak_worth_having(history, groups, terms, state, day)
    price = learnt(history.known(terms.lag), np.array([day.first]), horizon, day.first, LEARN_DAYS * per_day)[0]
    share = min(1.0, horizon / per_day / max(day.days_left, 1))
    chance = np.zeros(horizon)
    chance[:count] = coincident_chance(history, terms, state, day)[0]
    problem = day_problem(
        history,
        groups,
        terms,
        state,
        slots_of(history, day.first, day.first + horizon),
        price,
        peak_price_per_kw=terms.demand_per_kw_month * share if top is None else 0.0,
        coincident=terms.coincident_per_kw * chance,
    )
    if top is not None:
        cap = np.minimum(problem.site.import_cap_w, max(top, state.peak_w))
        problem = replace(problem, site=replace(problem.site, import_cap_w=cap))
    plan = certified(problem, settings=DecompositionSettings(enough_gap=5e-3, good_gap=5e-3))
    if plan is None:
        return np.zeros(count), free, None
    adder = (plan.site_price_per_wh - problem.site.energy_price_per_wh) * WH_PER_MWH
    # Where nothing runs at a spike the shadow price falls far below it: at most the reserve's own price is deducted.
    adder = np.clip(adder, -terms.reserve_per_mwh, 0.0)
    if terms.demand_per_kw_month > 0:
        free = np.full(count, max(float(plan.power_w.max()) if top is None else top, state.peak_w))
    promised = plan.reserve_down_w
    if promised is None:
        return adder, free, None
    per_hour = max(1, round(1 / history.step_h))
    return adder, free, promised[: -(-count // per_hour)]


def reluctance(history: History, groups: Groups, terms: Terms, state: State, day: Day) -> float | None:
    """Required ratio of a start's gain to its cost, by the last four weeks with each group on its own: the least of
    `RELUCTANCES` that makes few enough starts, within the allowed loss (`FOR_SHARE`). None with too short a history."""
    per_day = round(24 / history.step_h)
    until = day.first - terms.lag + 1
    first = max(0, until - PEAK_DAYS * per_day)
    if until - first < FEW_DAYS * per_day:
        return None
    price = history.real[first:until]
    problem = day_problem(history, groups, terms, state, slots_of(history, first, until), price)
    margin = _best_margin(problem)
    pays = margin > 0
    begun, cost = (pays[:, 1:] & ~pays[:, :-1]).sum(axis=1), problem.start_money()[:, 0]
    rule = float(groups.units @ (np.where(pays, margin, 0.0).sum(axis=1) - begun * cost))
    tried = np.concatenate(([1.0], RELUCTANCES))
    starts, earned = alone(groups, margin, cost, tried, history.step_h)
    cheap = earned[1:] >= max(rule, earned[0] - FOR_SHARE * abs(earned[0]))
    within = int(np.flatnonzero(cheap)[-1]) if cheap.any() else 0
    few = np.flatnonzero(starts[1:] <= FEWER_STARTS * float(groups.units @ begun))
    return float(RELUCTANCES[min(within, int(few[0]) if len(few) else within)])


def peak_worth_having(history: History, groups: Groups, terms: Terms, state: State, day: Day) -> float | None:
    """The monthly peak that pays for itself, W: the steps of the fleet's merit order whose margin, in days like the last four
    weeks and for the rest of the month, exceeds the demand charge. None without a charge, or with too short a history."""
    per_day = round(24 / history.step_h)
    until = day.first - terms.lag + 1
    past = history.real[max(0, until - PEAK_DAYS * per_day) : max(until, 0)] / WH_PER_MWH
    if terms.demand_per_kw_month <= 0 or len(past) < FEW_DAYS * per_day:
        return None
    problem = day_problem(
        history, groups, terms, state, slots_of(history, day.first, day.first + 1), past[:1] * WH_PER_MWH
    )
    (mode_steps,) = all_mode_steps(problem).values()
    steps = sorted_steps(problem, mode_steps)
    width = steps.watts * groups.units[steps.group]
    earns = steps.worth * terms.value_per_hs_s() * 3600
    held = np.cumsum(width) <= terms.reserve_share * _top_w(groups)
    earns = earns + np.where(held, terms.reserve_per_mwh / WH_PER_MWH, 0.0)
    margin = np.maximum(earns[:, None] - past[None, :], 0.0).mean(axis=1) * 24 * day.days_left
    return float(width[margin > terms.demand_per_kw_month / 1e3].sum())


def coincident_chance(history: History, terms: Terms, state: State, day: Day) -> Floats:
    """Probability that a slot is the month's coincident peak, from each slot of the day: shape [from slot, slot].

    Based on the load forecast, the load up to the slot before (its error decays slowly), the month's highest so far, how
    often the last 30 days reached as high, and the same month a year ago where the history has it. Zero out of season.
    """
    count = day.last - day.first
    if terms.coincident_per_kw <= 0 or int(day.month[5:]) not in terms.coincident_months:
        return np.zeros((count, count))
    forecast, load = history.demand[day.first : day.last], history.load[day.first : day.last]
    before = max(day.first - 1, 0)
    error = np.concatenate(([history.load[before] / history.demand[before]], load[:-1] / forecast[:-1])) - 1
    wait = np.arange(count)[None, :] - np.arange(count)[:, None] + 1
    ahead = wait > 0
    keeps = np.where(ahead, ERROR_KEEPS ** np.maximum(wait, 0), 0.0)
    expected = np.where(ahead, forecast[None, :] * (1 + error[:, None] * keeps), 0.0)
    spread = forecast[None, :] * np.maximum(terms.load_error * np.sqrt(1 - keeps**2), 2e-4)
    so_far = np.maximum(state.peak_load_mw, np.concatenate(([0.0], np.maximum.accumulate(load)[:-1])))
    high = expected.max(axis=1)
    weight = np.where(ahead, np.exp(-(((high[:, None] - expected) / spread) ** 2) / 2), 0.0)
    beats = _above((expected - so_far[:, None]) / spread)
    chance = beats * weight / np.maximum(weight.sum(axis=1), 1e-12)[:, None]
    found: Floats = chance * (1 - _later(history, terms, day, float(high[0])))
    return found


def _later(history: History, terms: Terms, day: Day, high: float) -> float:
    """Probability that a later day of the month exceeds `high`."""
    per_day = round(24 / history.step_h)
    spread = max(terms.load_error, 1e-3) * high
    past = history.demand[max(0, day.first - 30 * per_day) : day.first]
    days = past[: len(past) // per_day * per_day].reshape(-1, per_day).max(axis=1)
    reach = float(np.mean(_above((days - high) / spread))) if len(days) else 0.0
    year, month = day.month.split("-")
    ago = history.months().get(f"{int(year) - 1}-{month}")
    if ago is not None:
        highest = float(history.load[ago[0] : ago[1]].max())
        reach = max(reach, float(_above(np.array((highest - high) / (3 * spread)))) / 30)
    later = 1 - (1 - min(reach, 0.9)) ** (day.days_left - 1)
    return float(min(later, MOST_SURE))


def _above(z: Floats) -> Floats:
    """Probability that a normal variable is below z."""
    found: Floats = ndtr(np.asarray(z, dtype=np.float64))
    return found


def _best_margin(problem: Problem) -> Floats:
    step, rate = problem.step_w(), problem.groups.mode_hashrate_hs
    price, value = problem.money_per_w(), problem.slot_value()
    margins = rate[:, :, None] * value - step[:, :, None] * price
    found: Floats = margins.max(axis=1)
    return found


def _top_w(groups: Groups) -> float:
    return float(groups.units @ groups.mode_power_w.max(axis=1))


def _carry_out(problem: Problem, own_values: SwitchingValues, price: Floats, cap_w: Floats) -> DayResult:
    """Counts by the units' own decisions under the cap, each slot's mode steps taken where they pay at `price`."""
    mode_sets = all_mode_steps(problem)
    (mode_steps,) = mode_sets.values()
    most = np.minimum(cap_w, 1e18)
    top = np.repeat(mode_steps.top_w[:, None], len(cap_w), axis=1)
    on = forward(problem, own_values, Corridor(most, np.zeros(len(most))), top_w=top)
    pays = mode_steps.worth[:, :, None] * problem.slot_value() > price * problem.slots.hours / WH_PER_MWH
    target = on.T @ mode_steps.base_w + np.einsum("gt,gk,gkt->t", on, mode_steps.watts, pays)
    return DayResult(fill(problem, on, np.minimum(target, most) + 1e-6, mode_sets), None)
