# SPDX-License-Identifier: Apache-2.0
"""Independent check of any plan: from the problem alone, with its own arithmetic, sharing no code with the planners.

It follows each group in cohorts (units by switching time; first in, first out), adds up power and money itself, and names
every broken rule: slot, amount, unit. Used in tests, benchmarks and production.
"""

import math

import numpy as np

from scheduling.plan import Plan, Urgency, Violation
from scheduling.problem.problem import Battery, Floats, Ints, Reserve

TOLERANCE_W = 0.1
TOLERANCE_REL = 1e-9


def judge(plan: Plan) -> tuple[Violation, ...]:
    """Every broken rule of the plan; empty without violations."""
    found = _shape(plan)
    if found:
        return tuple(found)
    power = _powers(plan)
    found += _counts(plan)
    found += _minimum_times(plan)
    found += _site(plan, power)
    found += _feeders(plan)
    found += _battery(plan)
    found += _reserve(plan, power)
    found += _money(plan, power)
    return tuple(found)


def _over(amount: float, limit: float) -> bool:
    return amount > limit + TOLERANCE_W + TOLERANCE_REL * abs(limit)


def _shape(plan: Plan) -> list[Violation]:
    groups, modes, slots, _ = plan.problem.shape
    wanted = {"counts": (groups, modes, slots), "starts": (groups, slots), "stops": (groups, slots)}
    wrong = [name for name, shape in wanted.items() if getattr(plan, name).shape != shape]
    if plan.power_w.shape != (slots,):
        wrong.append("power_w")
    return [Violation(f"shape of {name}", 0, 1.0, "1", "an array has the wrong shape") for name in wrong]


class _Power:
    """Power per slot added up by the check: the miners' draw above sleep, and power at the meter."""

    def __init__(self, plan: Plan) -> None:
        problem = plan.problem
        groups, site = problem.groups, problem.site
        count = len(problem.slots)
        self.miners = np.zeros(count)
        self.asleep = np.zeros(count)
        for m in range(len(groups.mode_names)):
            self.miners += groups.mode_power_w[:, m] @ plan.counts[:, m].astype(np.float64)
        self.asleep += groups.sleep_w @ (groups.units[:, None] - plan.counts.sum(axis=1)).astype(np.float64)
        nothing = np.zeros(count)
        charge = nothing if plan.charge_w is None else plan.charge_w
        discharge = nothing if plan.discharge_w is None else plan.discharge_w
        spill = nothing if plan.spill_w is None else plan.spill_w
        self.meter = self.miners + self.asleep + site.other_load_w + charge - discharge - (site.generation_w - spill)
        whole_sleep = sum(int(n) * float(w) for n, w in zip(groups.units, groups.sleep_w, strict=True))
        self.flexible = self.miners + self.asleep - whole_sleep


def _powers(plan: Plan) -> _Power:
    return _Power(plan)


def _counts(plan: Plan) -> list[Violation]:
    found: list[Violation] = []
    groups, site = plan.problem.groups, plan.problem.site
    for name, array in (("counts", plan.counts), ("starts", plan.starts), ("stops", plan.stops)):
        if not np.issubdtype(array.dtype, np.integer):
            found.append(Violation(f"{name} are whole", 0, 1.0, "1", "an array of counts is not of integers"))
        if array.size and int(array.min()) < 0:
            found.append(
                Violation(
                    f"{name} >= 0",
                    int(np.argmin(array.min(axis=tuple(range(array.ndim - 1))))),
                    float(-array.min()),
                    "units",
                )
            )
    on = plan.counts.sum(axis=1)
    for g, t in np.argwhere(on > groups.units[:, None]):
        found.append(Violation("units of a group", int(t), float(on[g, t] - groups.units[g]), "units", groups.names[g]))
    before = np.concatenate((groups.on_now[:, None], on[:, :-1]), axis=1)
    for g, t in np.argwhere(before + plan.starts - plan.stops != on):
        found.append(Violation("balance of starts and stops", int(t), 1.0, "units", groups.names[g]))
    for m in range(len(groups.mode_names)):
        used = plan.counts[:, m].sum(axis=0)
        found += [
            Violation("hot hours bar a mode", int(t), float(used[t]), "units", groups.mode_names[m])
            for t in np.flatnonzero((used > 0) & (site.mode_max < m))
        ]
    for g in np.flatnonzero(groups.starts_left >= 0):
        excess = int(plan.starts[g].sum()) - int(groups.starts_left[g])
        if excess > 0:
            found.append(Violation("start budget", 0, float(excess), "starts", groups.names[int(g)]))
    return found


def _minimum_times(plan: Plan) -> list[Violation]:
    """Units that switch must have served their time: first in, first out, so that only cohorts of switches are counted."""
    groups, slots = plan.problem.groups, plan.problem.slots
    start_ms = np.array([int(at) for at in slots.starts_ms])
    on = plan.counts.sum(axis=1)
    before = np.concatenate((groups.on_now[:, None], on[:, :-1]), axis=1)
    still_on = _serving(plan.starts, groups.min_on_s, start_ms)
    still_off = _serving(plan.stops, groups.min_off_s, start_ms)
    free_on = before - still_on - groups.locked_on
    free_off = groups.units[:, None] - before - still_off - groups.locked_off
    found: list[Violation] = []
    for rule, switched, free in (
        ("minimum on-time", plan.stops, free_on),
        ("minimum off-time", plan.starts, free_off),
    ):
        found += [
            Violation(rule, int(t), float(switched[g, t] - free[g, t]), "units", groups.names[g])
            for g, t in np.argwhere((switched > 0) & (switched > free))
        ]
    return found


def _serving(switched: Ints, hold_s: Floats, start_ms: Ints) -> Ints:
    """Units switched before each slot whose minimum time has not ended when it begins, shape [group, slot]."""
    running = np.concatenate((np.zeros((len(switched), 1), dtype=np.int64), np.cumsum(switched, axis=1)), axis=1)
    serving = np.zeros_like(switched)
    for hold in set(hold_s.tolist()):
        rows = np.flatnonzero(hold_s == hold)
        done = np.searchsorted(start_ms + round(hold * 1000), start_ms, side="right")
        done = np.minimum(done, np.arange(len(start_ms)))
        serving[rows] = running[np.ix_(rows, np.arange(len(start_ms)))] - running[np.ix_(rows, done)]
    return serving


def _site(plan: Plan, power: _Power) -> list[Violation]:
    found: list[Violation] = []
    problem, site = plan.problem, plan.problem.site
    meters, stated, drawn = power.meter.tolist(), plan.power_w.tolist(), (power.miners + power.asleep).tolist()
    caps, heat, ramps = site.import_cap_w.tolist(), site.heat_w.tolist(), site.ramp_w.tolist()
    sun, before = site.generation_w.tolist(), site.power_now_w
    for t, meter in enumerate(meters):
        if abs(meter - stated[t]) > 1.0 + 1e-7 * abs(meter):
            found.append(Violation("power as stated", t, abs(meter - stated[t]), "W"))
        if _over(meter, caps[t]):
            found.append(Violation("import cap", t, meter - caps[t], "W", urgency=Urgency.SITE_LIMIT))
        if meter < -TOLERANCE_W - TOLERANCE_REL * sun[t]:
            found.append(Violation("no export", t, -meter, "W", urgency=Urgency.SITE_LIMIT))
        if drawn[t] < heat[t] - TOLERANCE_W - TOLERANCE_REL * heat[t]:
            found.append(Violation("heat duty", t, heat[t] - drawn[t], "W", urgency=Urgency.PROCESS))
        if math.isfinite(ramps[t]) and _over(abs(meter - before), ramps[t]):
            found.append(Violation("ramp", t, abs(meter - before) - ramps[t], "W", urgency=Urgency.PROCESS))
        before = meter
    for order in problem.orders:
        found += [
            Violation(f"order {order.id}", t, meters[t] - order.power_w, "W", order.reason, Urgency.ORDER)
            for t in range(order.first, order.last + 1)
            if _over(meters[t], order.power_w)
        ]
    return found


def _feeders(plan: Plan) -> list[Violation]:
    groups, site = plan.problem.groups, plan.problem.site
    drawn = np.zeros(site.feeder_cap_w.shape)
    for m in range(len(groups.mode_names)):
        np.add.at(drawn, groups.feeder, plan.counts[:, m] * groups.mode_power_w[:, m, None])
    np.add.at(drawn, groups.feeder, (groups.units[:, None] - plan.counts.sum(axis=1)) * groups.sleep_w[:, None])
    excess = drawn - site.feeder_cap_w
    wrong = np.argwhere(
        excess > TOLERANCE_W + TOLERANCE_REL * np.abs(np.where(np.isfinite(site.feeder_cap_w), site.feeder_cap_w, 0.0))
    )
    return [
        Violation("feeder cap", int(t), float(excess[f, t]), "W", site.feeder_names[int(f)], Urgency.FEEDER)
        for f, t in wrong
    ]


def _battery(plan: Plan) -> list[Violation]:
    battery: Battery | None = plan.problem.site.battery
    used = [array for array in (plan.charge_w, plan.discharge_w) if array is not None]
    if battery is None:
        return [Violation("no battery here", 0, 1.0, "1") for array in used if bool(np.any(array != 0))]
    found: list[Violation] = []
    hours = [
        (b - a) / 3_600_000
        for a, b in zip(plan.problem.slots.edges_ms[:-1], plan.problem.slots.edges_ms[1:], strict=True)
    ]
    stored, slack = battery.soc_now_wh, TOLERANCE_W + 1e-7 * battery.energy_wh
    for t, hour in enumerate(hours):
        charge = 0.0 if plan.charge_w is None else float(plan.charge_w[t])
        discharge = 0.0 if plan.discharge_w is None else float(plan.discharge_w[t])
        if (
            min(charge, discharge) < -TOLERANCE_W
            or _over(charge, battery.charge_max_w)
            or _over(discharge, battery.discharge_max_w)
        ):
            found.append(Violation("battery power", t, max(charge, discharge), "W"))
        stored += hour * (charge * battery.efficiency_charge - discharge / battery.efficiency_discharge)
        if stored < -slack or stored > battery.energy_wh + slack:
            found.append(Violation("battery energy", t, max(-stored, stored - battery.energy_wh), "Wh"))
    if stored < min(battery.soc_end_wh, battery.energy_wh) - slack:
        found.append(Violation("battery energy at the end", len(hours) - 1, battery.soc_end_wh - stored, "Wh"))
    return found


def _reserve(plan: Plan, power: _Power) -> list[Violation]:
    found: list[Violation] = []
    site = plan.problem.site
    cap = np.array(site.import_cap_w)
    for order in plan.problem.orders:
        for t in range(order.first, order.last + 1):
            cap[t] = min(cap[t], order.power_w)
    sides: tuple[tuple[str, Reserve | None, Floats | None, Floats], ...] = (
        ("reserve down", site.reserve_down, plan.reserve_down_w, power.flexible),
        ("reserve up", site.reserve_up, plan.reserve_up_w, cap - power.meter),
    )
    for rule, product, held, room in sides:
        if product is None or held is None:
            continue
        for t, block in enumerate(product.block_of):
            if block >= 0 and held[block] > 0 and _over(float(held[block]), float(room[t])):
                found.append(Violation(f"{rule} can be delivered", t, float(held[block] - room[t]), "W"))
        for block, amount in enumerate(held):
            if amount < -TOLERANCE_W or _over(float(amount), product.max_w):
                found.append(Violation(f"{rule} within its offer", block, float(amount), "W"))
    return found


def _money(plan: Plan, power: _Power) -> list[Violation]:
    """The stated value, recomputed term by term."""
    problem, groups, site = plan.problem, plan.problem.groups, plan.problem.site
    total = gross = 0.0
    edges = problem.slots.edges_ms
    rates = sum(
        (groups.mode_hashrate_hs[:, m] @ plan.counts[:, m].astype(np.float64) for m in range(len(groups.mode_names))),
        np.zeros(len(edges) - 1),
    )
    worn_started = groups.start_cost @ plan.starts.astype(np.float64)
    lost_started = groups.start_lost_hashes @ plan.starts.astype(np.float64)
    for t in range(len(edges) - 1):
        seconds = (int(edges[t + 1]) - int(edges[t])) / 1000
        worth = float(problem.hash_value_per_hs_s[t]) * float(site.derate[t])
        earned = float(rates[t]) * worth
        energy_wh = float(power.meter[t]) * seconds / 3600
        spent = energy_wh * float(site.energy_price_per_wh[t])
        spent += float(power.meter[t]) * float(site.coincident_price_per_w[t])
        switched = float(worn_started[t]) + float(lost_started[t]) * worth
        worn = 0.0
        if site.battery is not None:
            moved = sum(float(a[t]) for a in (plan.charge_w, plan.discharge_w) if a is not None)
            worn = moved * seconds / 3600 * site.battery.wear_per_wh
        total += earned * seconds - spent - switched - worn
        gross += abs(earned * seconds) + abs(spent)
    total -= site.peak_price_per_w * max(0.0, float(np.max(power.meter, initial=0.0)) - site.peak_so_far_w)
    for take in site.takes:
        energy_wh = sum(
            power.meter[t] * (int(edges[t + 1]) - int(edges[t])) / 3_600_000 for t in range(take.first, take.last + 1)
        )
        total -= take.penalty_per_wh * max(0.0, take.energy_wh - energy_wh)
    for product, held in ((site.reserve_down, plan.reserve_down_w), (site.reserve_up, plan.reserve_up_w)):
        if product is not None and held is not None:
            total += float(product.price_per_w @ held)
    difference = abs(total - plan.value)
    if difference > 1e-6 * max(gross, 1e-9):
        return [Violation("value as stated", 0, difference, problem.currency)]
    return []
