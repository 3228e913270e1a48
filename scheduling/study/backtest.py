# SPDX-License-Identifier: Apache-2.0
"""Backtest of policies on a price history, each with the facts known at the time, against perfect foresight.

Two studies. `energy`: only the energy price counts, known as its slot begins. `coupled`: demand charge, coincident peak,
reserve and orders couple the slots, and a price is known only when its slot is over. Foresight is the certified *upper
bound* of the best plan of each month with everything known, so that a weak optimum never makes regret look smaller.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from kernel.clock import to_datetime
from kernel.curve import Curve
from kernel.errors import ConfigError, Fault
from kernel.units import H_PER_DAY, HS_PER_PHS, HS_PER_THS, WH_PER_MWH
from scheduling.problem.forecast import skill
from scheduling.problem.objective import switches
from scheduling.problem.problem import Floats, Groups, Order
from scheduling.solve.lagrangian import DecompositionSettings, certified
from scheduling.study.history import Day, History, history_of
from scheduling.study.policies import DayResult, State, Terms, begin, day_problem, planner, slots_of, threshold

Policy = Callable[[History, Groups, Terms, State, Day], DayResult]


@dataclass(frozen=True, slots=True)
class Settings:
    """The simulated site for the history: 30 groups, about 102 MW in normal mode, 30 min minimum times, eight minutes of
    hashing lost at each start; its charges in money of the price curve. `auction`: the series was published the day before,
    so that the price of a slot is known as it begins."""

    zone: str = "America/Chicago"
    hashprice: float = 45.0
    demand_per_kw_month: float = 6.0
    coincident_per_kw: float = 15.0
    reserve_per_mwh: float = 4.0
    calls_per_month: int = 3
    load_error: float = 0.01
    lag: int = 1
    auction: bool = False
    seed: int = 7
    normal_w: float = 102e6
    studies: tuple[str, ...] = ("energy", "coupled")


@dataclass(slots=True)
class Account:
    """One month of one policy: money by kind, and starts per unit and day."""

    hash_income: float = 0.0
    reserve_income: float = 0.0
    energy_cost: float = 0.0
    start_cost: float = 0.0
    demand_cost: float = 0.0
    coincident_cost: float = 0.0
    started_units: int = 0
    days: int = 0
    power_w: list[Floats] = field(default_factory=list)

    @property
    def value(self) -> float:
        costs = self.energy_cost + self.start_cost + self.demand_cost + self.coincident_cost
        return self.hash_income + self.reserve_income - costs


def example_groups(normal_w: float, count: int = 30) -> Groups:
    """Like groups from 13.5 to 34.5 J/TH, equal in power, three modes each (W x0.60, 1, 1.18; TH/s x0.69, 1, 1.115)."""
    efficiency = np.linspace(13.5, 34.5, count)
    power = np.full(count, 3_400.0)
    rate = power / efficiency * HS_PER_THS
    units = np.full(count, max(1, round(normal_w / count / 3_400.0)), dtype=np.int64)
    none = np.zeros((count, 1), dtype=np.int64)
    return Groups(
        names=tuple(f"{joule:.1f} J/TH" for joule in efficiency),
        units=units,
        mode_names=("low", "normal", "high"),
        mode_power_w=power[:, None] * np.array([0.60, 1.0, 1.18]),
        mode_hashrate_hs=rate[:, None] * np.array([0.69, 1.0, 1.115]),
        sleep_w=np.zeros(count),
        start_cost=np.full(count, 0.01),
        start_lost_hashes=480.0 * rate,
        min_on_s=np.full(count, 1800.0),
        min_off_s=np.full(count, 1800.0),
        feeder=np.zeros(count, dtype=np.int64),
        on_now=units.copy(),
        locked_on=none,
        locked_off=none,
        starts_left=np.full(count, -1, dtype=np.int64),
    )


def run(
    real_time: Curve,
    day_ahead: Curve | None = None,
    demand: Curve | None = None,
    *,
    settings: Settings = Settings(),
    months: int | None = None,
) -> dict[str, Any]:
    """The report as JSON values: per study and policy value, regret in percent and starts per unit and day, per month too.

    `months` keeps the first whole months only. Raises ConfigError on an unusable series.
    """
    history = history_of(
        real_time,
        day_ahead,
        demand,
        ZoneInfo(settings.zone),
        seed=settings.seed,
        calls_per_month=settings.calls_per_month,
        load_error=settings.load_error,
        months=months,
        auction=settings.auction,
    )
    groups = example_groups(settings.normal_w)
    _refuse_other_money(history, groups, settings.hashprice, real_time)
    lag = 0 if settings.auction else settings.lag
    report: dict[str, Any] = {
        "from": to_datetime(int(history.slots.edges_ms[0])).isoformat(),
        "to": to_datetime(int(history.slots.edges_ms[-1])).isoformat(),
        "zone": settings.zone,
        "unit": real_time.unit,
        "source": real_time.source,
        "slots": len(history.slots),
        "known": "the day before" if settings.auction else f"{settings.lag} slot after its own began",
        "day_ahead": "the series itself" if settings.auction else _origin(day_ahead, "guessed from the days before"),
        "demand": _origin(demand, f"simulated, seed {settings.seed}"),
        "hashprice_per_phs_day": settings.hashprice,
        "negative_price_slots": int((history.real < 0).sum()),
        "highest_price": float(history.real.max()),
        "odd_days": sum(1 for day in history.days if day.last - day.first != round(24 / history.step_h)),
        "forecast_error_per_mwh": _skill(history, lag),
    }
    if "energy" in settings.studies:
        report["energy"] = study(history, groups, Terms(settings.hashprice, lag=0), on_off=True)
    if "coupled" in settings.studies:
        terms = Terms(
            settings.hashprice,
            settings.demand_per_kw_month,
            settings.coincident_per_kw,
            reserve_per_mwh=settings.reserve_per_mwh,
            load_error=settings.load_error,
            lag=lag,
        )
        report["coupled"] = study(history, groups, terms, on_off=False)
    return report


def _origin(curve: Curve | None, otherwise: str) -> str:
    return otherwise if curve is None else curve.source


def _refuse_other_money(history: History, groups: Groups, hashprice: float, curve: Curve) -> None:
    """Raises ConfigError for a hashprice that seems to be in other money than the prices: one at which the best miner never
    pays, or at which the worst always pays many times over."""
    best = (
        float((groups.mode_hashrate_hs / groups.mode_power_w).max()) * hashprice / HS_PER_PHS / H_PER_DAY * WH_PER_MWH
    )
    usual, high = (float(part) for part in np.quantile(np.abs(history.real), (0.5, 0.95)))
    if usual > 4 * best or high < best / 2000:
        text = f"{hashprice:g} per PH/s and day pays {best:,.0f} per MWh; prices are about {usual:,.0f} {curve.unit}"
        remedy = f"Give --hashprice, charges and prices in one money, that of {curve.unit}"
        raise ConfigError([Fault(curve.source, text, remedy)])


def study(history: History, groups: Groups, terms: Terms, *, on_off: bool) -> dict[str, Any]:
    """All policies under the same terms. Orders are part of the coupled study only."""
    seen = history if terms.coupled else replace(history, calls=())
    normal = replace(
        groups,
        mode_power_w=np.repeat(groups.mode_power_w[:, 1:2], 3, axis=1),
        mode_hashrate_hs=np.repeat(groups.mode_hashrate_hs[:, 1:2], 3, axis=1),
    )
    best = foresight(seen, groups, terms)
    runs: dict[str, tuple[Policy, Groups]] = {"threshold_with_modes": (threshold, groups), "planner": (planner, groups)}
    if on_off:
        runs["threshold_on_off"] = (threshold, normal)
    total = sum(best.values())
    found: dict[str, Any] = {}
    for name, (policy, fleet) in runs.items():
        accounts = simulate(seen, fleet, terms, policy)
        value = sum(account.value for account in accounts.values())
        units, days = int(fleet.units.sum()), sum(account.days for account in accounts.values())
        found[name] = {
            "value": value,
            "regret_pct": 100 * (total - value) / abs(total),
            "starts_per_unit_day": sum(a.started_units for a in accounts.values()) / units / max(days, 1),
            "parts": _parts(list(accounts.values())),
            "months": {
                month: {
                    "regret_pct": 100 * (best[month] - account.value) / abs(best[month]),
                    "starts_per_unit_day": account.started_units / units / max(account.days, 1),
                }
                for month, account in accounts.items()
            },
        }
    return {"foresight": {"value": total, "months": best}, "policies": found}


def simulate(history: History, groups: Groups, terms: Terms, policy: Policy) -> dict[str, Account]:
    """Run a policy through every day; the account of each month."""
    state = begin(groups)
    accounts: dict[str, Account] = {}
    for day in history.days:
        if day.month not in accounts:
            accounts[day.month] = Account()
            state.peak_w, state.peak_load_mw = 0.0, 0.0
        account = accounts[day.month]
        result = policy(history, groups, terms, state, day)
        _book(history, groups, terms, state, day, result, account)
    for month, (first, last) in history.months().items():
        account = accounts[month]
        power = np.concatenate(account.power_w)
        account.demand_cost = terms.demand_per_kw_month * float(power.max()) / 1e3
        peak = _coincident_slot(history, terms, month, first, last)
        account.coincident_cost = 0.0 if peak is None else terms.coincident_per_kw * float(power[peak - first]) / 1e3
    return accounts


def _book(
    history: History, groups: Groups, terms: Terms, state: State, day: Day, result: DayResult, account: Account
) -> None:
    """Post one day at the actual prices, and update the state for the next."""
    counts, step_h = result.counts.astype(np.float64), history.step_h
    power = np.einsum("gm,gmt->t", groups.mode_power_w, counts)
    rate = np.einsum("gm,gmt->t", groups.mode_hashrate_hs, counts)
    on = result.counts.sum(axis=1)
    starts, stops = switches(state.on, on)
    value = terms.value_per_hs_s()
    account.hash_income += float(rate.sum()) * value * step_h * 3600
    account.energy_cost += float(power @ history.real[day.first : day.last]) * step_h / WH_PER_MWH
    account.start_cost += float((starts.sum(axis=1) * (groups.start_cost + groups.start_lost_hashes * value)).sum())
    account.started_units += int(starts.sum())
    account.days += 1
    account.power_w.append(power)
    if terms.reserve_per_mwh > 0:
        per_hour = max(1, round(1 / step_h))
        most = terms.reserve_share * float(groups.units @ groups.mode_power_w.max(axis=1))
        for block, first in enumerate(range(0, len(power), per_hour)):
            held = power[first : first + per_hour]
            promised = float(held[0]) if result.promised_w is None else float(result.promised_w[block])
            account.reserve_income += (
                terms.reserve_per_mwh / WH_PER_MWH * min(promised, float(held.min()), most) * len(held) * step_h
            )
    keep = 1 + int(max(groups.min_on_s.max(), groups.min_off_s.max()) // (step_h * 3600))
    state.on, state.recent_starts, state.recent_stops = on[:, -1].astype(np.int64), starts[:, -keep:], stops[:, -keep:]
    state.start_factor = result.start_factor
    state.peak_w = max(state.peak_w, float(power.max()))
    state.peak_load_mw = max(state.peak_load_mw, float(history.load[day.first : day.last].max()))


def foresight(history: History, groups: Groups, terms: Terms) -> dict[str, float]:
    """Upper bound of each month's best value with everything known, from any initial state of the units: free of history,
    which can only raise it."""
    found: dict[str, float] = {}
    for month, (first, last) in history.months().items():
        count = last - first
        coincident = np.zeros(count)
        peak = _coincident_slot(history, terms, month, first, last)
        if peak is not None:
            coincident[peak - first] = terms.coincident_per_kw
        top_w = float(groups.units @ groups.mode_power_w.max(axis=1))
        orders = tuple(
            Order(f"call {index}", max(call.first, first) - first, min(call.last, last) - 1 - first, call.share * top_w)
            for index, call in enumerate(history.calls)
            if call.first < last and call.last > first
        )
        problem = day_problem(
            history,
            groups,
            terms,
            begin(groups),
            slots_of(history, first, last),
            history.real[first:last],
            orders=orders,
            peak_price_per_kw=terms.demand_per_kw_month,
            coincident=coincident,
        )
        plan = certified(problem, settings=DecompositionSettings(classes=(6,), gives=(None,), rounds=1))
        if plan is None or plan.bound is None:
            raise ValueError(f"no certified plan for {month}")
        found[month] = plan.bound
    return found


def _coincident_slot(history: History, terms: Terms, month: str, first: int, last: int) -> int | None:
    if terms.coincident_per_kw <= 0 or int(month[5:]) not in terms.coincident_months:
        return None
    return first + int(np.argmax(history.load[first:last]))


def _parts(accounts: list[Account]) -> dict[str, float]:
    names = ("hash_income", "reserve_income", "energy_cost", "start_cost", "demand_cost", "coincident_cost")
    return {name: float(sum(getattr(account, name) for account in accounts)) for name in names}


def _skill(history: History, lag: int) -> dict[str, dict[str, float]]:
    """Error of each forecast by lead, on the second half of the history."""
    known = history.known(lag)
    count = len(history.real)
    leads = (0, 3, 15, 47)
    if count < 120 * known.day:
        return {}
    found = skill(known, count // 2, count, leads, every=16)
    return {
        name: {f"{lead + 1} slots": float(e) for lead, e in zip(leads, errors, strict=True)}
        for name, errors in found.items()
    }
