# SPDX-License-Identifier: Apache-2.0
"""Construction of a planning problem from fleet, curves, tariff and limits known now.

Only facts known at `now_ms` are used. Prices beyond the known curve repeat the same hours of the last known day; every such
substitute is noted in `Problem.facts`. Problem power is meter power: miners times the site's factor.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from grid.limit import STANDING, Limit
from grid.tariff import Kind, Tariff, all_in
from grid.transformer import Transformer
from kernel.clock import MS_PER_S, iso
from kernel.curve import Curve, known
from kernel.errors import ConfigError, Fault
from kernel.span import Slots, Span, floor_ms, horizon
from kernel.units import HS_PER_PHS, HS_PER_THS, S_PER_DAY, WH_PER_MWH
from miner_control.fleet.fleet import Fleet
from scheduling.problem.branches import Branches, branches_of
from scheduling.problem.contracts import Held, TakeBlock, demand_share, takes_of
from scheduling.problem.exogenous import Weather, imbalance, surroundings
from scheduling.problem.forecast import continued
from scheduling.problem.overhead import Overhead
from scheduling.problem.problem import Battery, FeederOrder, Floats, Groups, Ints, Order, Problem, Site, Take

STEPS = ((300.0, 7_200.0), (900.0, S_PER_DAY), (3_600.0, 259_200.0))

PER_HS = {"(H/s)/day": 1.0, "TH/s/day": HS_PER_THS, "TH/day": HS_PER_THS, "PH/s/day": HS_PER_PHS, "PH/day": HS_PER_PHS}
"""Hashes per second per unit of a hashprice quotation."""


@dataclass(frozen=True, slots=True)
class SiteNumbers:
    """Planning parameters of a site from its configuration.

    - `site`: scope key; `currency`: that of the tariff.
    - `market`, `hashprice`: names of curves (in `<currency>/MWh`, and `<money>/PH/day` or the like); `exchange`: curve of
      `<currency>` per `<money>` where the two differ.
    - `import_cap_w`, `feeder_cap_w[name]`: meter power. `starts_per_day`: per unit (None: unlimited).
    - `steps`: as in `kernel.span.horizon`.
    """

    site: str
    currency: str
    import_cap_w: float
    market: str = "price/day_ahead"
    hashprice: str = "hashprice"
    exchange: str | None = None
    feeder_cap_w: Mapping[str, float] = field(default_factory=dict)
    overhead: Overhead = field(default_factory=Overhead)
    ramp_w_per_s: float | None = None
    start_cost: float = 0.0
    starts_per_day: int | None = None
    heat_w: float = 0.0
    battery: Battery | None = None
    takes: tuple[Take, ...] = ()
    blocks: tuple[TakeBlock, ...] = ()
    reserve_down: Held | None = None
    reserve_up: Held | None = None
    transformer: Transformer | None = None
    assumed_ambient_c: float = 40.0
    weather: Weather = field(default_factory=Weather)
    steps: tuple[tuple[float, float], ...] = STEPS


def problem_of(
    numbers: SiteNumbers,
    fleet: Fleet,
    since_ms: Ints,
    tariff: Tariff,
    curves: Iterable[Curve],
    limits: Iterable[Limit],
    now_ms: int,
    *,
    peak_so_far_w: float = 0.0,
    meter_w: float | None = None,
    feeder_meter_w: Mapping[str, float] | None = None,
    generated_w: float = 0.0,
) -> Problem:
    """The planning problem at `now_ms`.

    - `since_ms[n]`: each unit's last change between on and off.
    - `meter_w`: the site's power at the meter now (None: the miners' settled power less forecast generation);
      `feeder_meter_w`: that of feeders by name; both only from fresh meters.
    - `generated_w`: on-site generation delivered now, proven by meters.

    Raises ConfigError that names a missing curve or one in another unit.
    """
    slots = horizon(floor_ms(now_ms, round(numbers.steps[0][0] * MS_PER_S)), numbers.steps)
    have = [curve for curve in curves if curve.known_at_ms <= now_ms]
    facts: dict[str, str] = {}
    price = _price(numbers, tariff, have, slots, now_ms, facts)
    hash_value = _hash_value(numbers, have, slots, now_ms, facts)
    traded = imbalance(have, slots, price.market, now_ms, facts, numbers.currency)
    around = surroundings(
        have, slots, now_ms, facts,
        currency=numbers.currency, transformer=numbers.transformer, assumed_ambient_c=numbers.assumed_ambient_c,
        weather=numbers.weather,
    )  # fmt: skip
    branches = branches_of(fleet.roster)
    groups, stuck_w = _groups(numbers, fleet, since_ms, slots, facts, branches)
    factor, fixed_w = numbers.overhead.site_factor, numbers.overhead.site_fixed_w
    count = len(slots)

    active = sorted((limit for limit in limits if limit.span.end_ms > now_ms), key=lambda one: (one.rule, one.power_w))
    names, share = branches.names, branches.share
    cap_of = [numbers.feeder_cap_w.get(name, np.inf) for name in fleet.roster.feeder_names]
    feeder_cap = np.array([[cap_of[at] * part] * count for at, part in zip(branches.feeder, share, strict=True)])
    feeder_cap = feeder_cap.reshape(len(names), count)
    orders, feeder_orders = list[Order](), list[FeederOrder]()
    for limit in active:
        at = _slots_in(slots, limit.span)
        if not len(at):
            continue
        if limit.scope == numbers.site:
            reason = limit.reason or limit.rule
            orders.append(
                Order(limit.rule.removeprefix("order "), int(at[0]), int(at[-1]), limit.power_w, limit.priority, reason)
            )
        else:
            for row, feeder in enumerate(branches.feeder.tolist()):
                allowed_w = np.inf
                if limit.scope == f"{numbers.site}/{fleet.roster.feeder_names[feeder]}":
                    allowed_w = limit.power_w * share[row]
                elif limit.scope == f"{numbers.site}/{names[row]}":
                    allowed_w = max(0.0, limit.power_w - branches.auxiliary_w[row] * numbers.overhead.feeder_factor)
                feeder_cap[row, at] = np.minimum(feeder_cap[row, at], allowed_w)
                if np.isfinite(allowed_w) and limit.priority not in STANDING:
                    order, scope = limit.rule.removeprefix("order "), limit.scope.removeprefix(f"{numbers.site}/")
                    feeder_orders.append(FeederOrder(order, scope, names[row], int(at[0]), int(at[-1]), limit.power_w))
    facts["limits"] = "; ".join(f"{one.rule} {one.power_w:.0f} W {one.span}" for one in active) or "none"
    stuck_by_feeder = np.bincount(branches.of_unit, weights=stuck_w, minlength=len(names))
    room = feeder_cap / numbers.overhead.feeder_factor - stuck_by_feeder[:, None]
    # A load's share is in its miners' power for the site; its feeder is unknown, so it takes no room on any feeder.
    auxiliary_w = np.zeros(len(fleet)) if numbers.overhead.auxiliary_w is None else numbers.overhead.auxiliary_w
    on, ours = fleet.wanted >= 0, fleet.can_command
    auxiliary_by_feeder = np.bincount(branches.of_unit[ours], weights=auxiliary_w[ours], minlength=len(names))

    seconds = np.diff(slots.edges_ms) / MS_PER_S
    ramp = np.full(count, np.inf) if numbers.ramp_w_per_s is None else numbers.ramp_w_per_s * seconds
    settled_w = float(fleet.settled_w.sum()) * factor + float(auxiliary_w[on].sum()) + fixed_w
    stuck_auxiliary_w = float(auxiliary_w[on & ~ours].sum())
    known_w = float(fleet.power_w.sum()) * factor + float(auxiliary_w[on].sum()) + fixed_w - generated_w
    unexplained_w = 0.0 if meter_w is None else max(0.0, meter_w - known_w)
    feeder_unexplained_w = (
        _unexplained_by_feeder_w(fleet, numbers.overhead, feeder_meter_w or {})[branches.feeder] * share
    )
    if bool(auxiliary_w.any()):
        facts["loads"] = f"{auxiliary_w.sum():.0f} W of pumps and fans, counted with the miners that they serve"
    has_demand = any(component.kind is Kind.DEMAND for component in tariff.components)
    month_share = demand_share(slots, now_ms, tariff.zone) if has_demand else 0.0
    if has_demand:
        facts["demand charge"] = (
            f"{month_share:.3f} of the month's: what the horizon is of the time that the month has left"
        )
    site = Site(
        import_cap_w=np.minimum(numbers.import_cap_w, around.cap_w),
        other_load_w=np.full(count, fixed_w + float(stuck_w.sum()) * factor + stuck_auxiliary_w),
        feeder_names=names,
        feeder_cap_w=room * factor + auxiliary_by_feeder[:, None],
        ramp_w=ramp,
        power_now_w=settled_w - min(settled_w, float(around.generation_w[0])) if meter_w is None else meter_w,
        energy_price_per_wh=price.energy if traded is None else price.energy + traded.adder_per_wh,
        peak_price_per_w=price.demand_per_w * month_share,
        peak_so_far_w=peak_so_far_w,
        coincident_price_per_w=around.coincident_per_w,
        takes=(*numbers.takes, *takes_of(numbers.blocks, slots, now_ms), *(() if traded is None else traded.takes)),
        generation_w=around.generation_w,
        heat_w=np.maximum(numbers.heat_w, around.least_w),
        derate=around.derate,
        mode_max=np.maximum(fleet.roster.mode_power_w.shape[1] - 1 - around.hot, 0).astype(np.int64),
        battery=numbers.battery,
        reserve_down=None if numbers.reserve_down is None else numbers.reserve_down.on(slots),
        reserve_up=None if numbers.reserve_up is None else numbers.reserve_up.on(slots),
        unexplained_w=unexplained_w,
        feeder_unexplained_w=feeder_unexplained_w,
    )
    return Problem(
        slots, groups, site, hash_value, tuple(orders), numbers.currency, now_ms, facts, tuple(feeder_orders)
    )


def _unexplained_by_feeder_w(fleet: Fleet, overhead: Overhead, meters_w: Mapping[str, float]) -> Floats:
    """Meter readings of feeders above their miners' power, W at the site's meter, shape [feeder of the roster]; 0 without
    a meter."""
    known_w = fleet.feeder_power_w() * overhead.feeder_factor
    shown_w = [meters_w.get(name, 0.0) for name in fleet.roster.feeder_names]
    found: Floats = np.maximum(np.array(shown_w) - known_w, 0.0) * overhead.site_factor / overhead.feeder_factor
    return found


@dataclass(frozen=True, slots=True)
class _Price:
    """`energy` all-in and `market` alone, money per Wh on slots."""

    energy: Floats
    market: Floats
    demand_per_w: float


def _price(
    numbers: SiteNumbers, tariff: Tariff, curves: list[Curve], slots: Slots, now_ms: int, facts: dict[str, str]
) -> _Price:
    if tariff.currency != numbers.currency:
        place = f"tariff {tariff.name}"
        raise ConfigError([Fault(place, f"is in {tariff.currency}", f"The site plans in {numbers.currency}")])
    market = known(curves, numbers.market, now_ms)
    if market is not None:
        if market.span.end_ms < slots.span.end_ms:
            facts["price forecast"] = f"after {iso(market.span.end_ms)} the same hours of the last known day"
        facts["price"] = f"{market.name} known {iso(market.known_at_ms)} from {market.source}"
        market = continued(market, slots.span)
    bill = all_in(tariff, slots, market)
    gaps = np.flatnonzero(bill.covered < 1 - 1e-9)
    if len(gaps):
        where = f"price {numbers.market}: {len(gaps)} slots from {iso(int(slots.starts_ms[gaps[0]]))}"
        raise ConfigError([Fault(where, "are not covered", "Give the missing hours, or wait for the next curve")])
    if bill.draft:
        facts["tariff draft"] = ", ".join(bill.draft)
    alone = np.zeros(len(slots)) if market is None else market.on_slots(slots)[0] / WH_PER_MWH
    return _Price(bill.price_per_wh, alone, bill.demand_per_w)


def _hash_value(numbers: SiteNumbers, curves: list[Curve], slots: Slots, now_ms: int, facts: dict[str, str]) -> Floats:
    curve = known(curves, numbers.hashprice, now_ms)
    place = f"curve {numbers.hashprice}"
    if curve is None:
        raise ConfigError([Fault(place, "nobody gave one yet", "Give difficulty and price, or a hashprice curve")])
    money, _, per = curve.unit.partition("/")
    if per not in PER_HS:
        known_units = ", ".join(f"<money>/{one}" for one in PER_HS)
        raise ConfigError([Fault(place, f"its unit is {curve.unit}", f"Give it in one of {known_units}")])
    facts["hashprice"] = f"known {iso(curve.known_at_ms)} from {curve.source}"
    value = held(curve, slots) / PER_HS[per] / S_PER_DAY
    if money != numbers.currency:
        rate = None if numbers.exchange is None else known(curves, numbers.exchange, now_ms)
        if rate is None:
            text = f"is in {money}, the site plans in {numbers.currency}"
            raise ConfigError([Fault(place, text, f"Give a curve of {numbers.currency} per {money} and name it")])
        facts["exchange"] = f"{rate.name} known {iso(rate.known_at_ms)} from {rate.source}"
        value = value * held(rate, slots)
    return value


def held(curve: Curve, slots: Slots) -> Floats:
    """A slowly changing curve on slots, extended by its nearest known value, shape [slot]."""
    mean, covered = curve.on_slots(slots)
    nearest = np.clip(np.searchsorted(curve.starts_ms, slots.starts_ms, side="right") - 1, 0, len(curve.values) - 1)
    return np.where(covered > 0, mean, curve.values[nearest])


def _slots_in(slots: Slots, span: Span) -> Ints:
    """Slots touched by a span: a limit that begins inside a slot binds all of it."""
    return np.flatnonzero((slots.edges_ms[1:] > span.start_ms) & (slots.edges_ms[:-1] < span.end_ms))


def _groups(
    numbers: SiteNumbers, fleet: Fleet, since_ms: Ints, slots: Slots, facts: dict[str, str], branches: Branches
) -> tuple[Groups, Floats]:
    """Groups of the units that can be commanded, and the load of all others per unit, shape [N]."""
    roster, factor = fleet.roster, numbers.overhead.site_factor
    kind, group = branches.group, branches.unit_group
    count = len(kind)
    ours = fleet.can_command
    stuck_w = np.where(ours, 0.0, fleet.settled_w)
    if not bool(ours.all()):
        facts["not planned"] = f"{int((~ours).sum())} units cannot be commanded: counted with {stuck_w.sum():.0f} W"
    units = np.bincount(group[ours], minlength=count)
    shares = numbers.overhead.auxiliary_w
    auxiliary_w = np.zeros(count) if shares is None else np.bincount(group[ours], weights=shares[ours], minlength=count)
    auxiliary_w = np.divide(auxiliary_w, units, out=np.zeros(count), where=units > 0)
    is_on = ours & (fleet.wanted >= 0)
    on_now = np.bincount(group[is_on], minlength=count)

    end_ms = slots.span.end_ms
    never = np.int64(end_ms + 1)
    free_on = since_ms + (roster.min_on_s[roster.group] * MS_PER_S).astype(np.int64)
    free_on = np.where(roster.can_sleep[roster.group], free_on, never)
    free_off = since_ms + (roster.min_off_s[roster.group] * MS_PER_S).astype(np.int64)
    free_off = np.where(fleet.may_wake | (free_off > fleet.now_ms), free_off, never)
    # The first slot has already begun: units free by now are free in it.
    free_on, free_off = (np.where(at_ms <= fleet.now_ms, slots.span.start_ms, at_ms) for at_ms in (free_on, free_off))
    locked_on = _locked(group, is_on, free_on, slots, count)
    locked_off = _locked(group, ours & (fleet.wanted < 0), free_off, slots, count)

    left = np.full(count, -1, dtype=np.int64)
    if numbers.starts_per_day is not None:
        days = max(1, round(slots.span.seconds / S_PER_DAY))
        used = np.bincount(group[ours], weights=fleet.starts_used[ours], minlength=count).astype(np.int64)
        left = np.maximum(units * numbers.starts_per_day * days - used, 0)
    normal_hs = roster.mode_hashrate_hs[kind, roster.normal[kind]] if count else np.zeros(0)
    lost_s = np.array([roster.groups[at].envelope.start_lost_s for at in kind], dtype=np.float64)
    names = max((one.envelope.modes for one in roster.groups), key=len, default=())
    groups = Groups(
        names=branches.group_names,
        units=units,
        mode_names=tuple(mode.name for mode in names),
        mode_power_w=roster.mode_power_w[kind] * factor + auxiliary_w[:, None],
        mode_hashrate_hs=roster.mode_hashrate_hs[kind],
        sleep_w=roster.sleep_w[kind] * factor,
        start_cost=np.full(count, numbers.start_cost),
        start_lost_hashes=lost_s * normal_hs,
        min_on_s=roster.min_on_s[kind],
        min_off_s=roster.min_off_s[kind],
        feeder=branches.of_group,
        on_now=on_now,
        locked_on=locked_on,
        locked_off=locked_off,
        starts_left=left,
    )
    return groups, stuck_w


def _locked(group: Ints, chosen: np.ndarray, free_ms: Ints, slots: Slots, count: int) -> Ints:
    """Units per group still bound in each slot (free later than its start), shape [group, slot]."""
    found = np.zeros((count, len(slots) + 1), dtype=np.int64)
    until = np.searchsorted(slots.starts_ms, free_ms[chosen], side="left")
    np.add.at(found, (group[chosen], until), 1)
    later = found[:, ::-1].cumsum(axis=1)[:, ::-1]
    return later[:, 1:]
