# SPDX-License-Identifier: Apache-2.0
"""The decision as mathematics: the full linear (or integer) programme, for hubs up to about a thousand units.

Columns, all >= 0 (groups g, modes m, slots t, reserve blocks b):

    x[g,m,t]  units on in a mode (whole)          s[g,t], d[g,t]  units started, stopped
    J[t]      flexible power of the miners        S[t]            site power at the meter
    peak      highest S of the month              short[k]        energy missing from take-or-pay block k
    r[b], q[b] reserve held down, up              ch, dis, soc[t] battery;  spill[t] generation not used

Maximise  sum slot_value h x - sum start_money s - sum money_per_w S - peak_price (peak - so far) - sum penalty short
          + sum reserve_price r, q - sum wear (ch + dis) hours

Rows, each a block with the name in front:

    balance[g,t]   on[t] - on[t-1] = s[t] - d[t]                    on[t] = sum_m x[g,m,t], on[-1] as it is now
    min_on[g,t]    started since first_locking(t) + locked_on <= on[t]
    min_off[g,t]   stopped since first_locking(t) + locked_off <= n - on[t]
    starts[g]      sum_t s <= starts_left
    flexible[t]    J = sum (mode power - sleep) x                   site[t]  S = J + base + ch - dis - generation + spill
    feeder[f,t]    sum of its groups' flexible power <= room        ramp[t]  |S[t] - S[t-1]| <= ramp
    highest[t]     S <= peak                                        take[k]  sum hours S + short >= energy
    down[t]        r[b] <= J                                        up[t]    q[b] + S <= cap
    stored[t]      soc[t] = soc[t-1] + hours (eta ch - dis / eta)
    heat[t]        J >= heat - sleep power
    cap[t], order[k,t]   S <= import cap, S <= order (bounds of S, rows only where rules are eased)

Power is scaled by `scale_w` and money by `scale_money`, so that the solver's absolute tolerances mean the same for one
miner and for a hundred thousand.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from grid.limit import Priority
from scheduling.problem import Floats, Ints, Problem, Reserve, first_locking
from scheduling.program import INF, Program


@dataclass(frozen=True, slots=True)
class Ease:
    """A rule that may be broken when not all can be kept: its slack columns, how urgent it is, and its unit."""

    rule: str
    priority: int
    columns: Ints


@dataclass(frozen=True, slots=True)
class Model:
    """The programme and where its parts stand."""

    problem: Problem
    program: Program
    scale_w: float
    scale_money: float
    x: Ints
    eases: tuple[Ease, ...] = field(default=())

    def column(self, name: str) -> Ints | None:
        block = self.program.columns.get(name)
        return None if block is None else block.at

    def row(self, name: str) -> Ints | None:
        block = self.program.rows.get(name)
        return None if block is None else block.at


def scales(problem: Problem) -> tuple[float, float]:
    """(watts per scaled unit, money per scaled unit): the site draws about 1,000 and earns about 100,000."""
    groups = problem.groups
    top_w = float(groups.units @ groups.mode_power_w.max(axis=1, initial=0.0)) + float(problem.base_w().max())
    rate = float(groups.units @ groups.mode_hashrate_hs.max(axis=1, initial=0.0))
    gross = rate * float(problem.slot_value().sum())
    return max(top_w, 1.0) / 1e3, max(gross, 1e-6) / 1e5


def build(problem: Problem, *, eased: bool = False) -> Model:
    """The programme of a problem. `eased` gives each hard rule a slack, for the plan of least violation."""
    return _Builder(problem, eased).build()


class _Builder:
    """One build: the pieces share the programme and the scales."""

    def __init__(self, problem: Problem, eased: bool) -> None:
        self.problem, self.eased = problem, eased
        self.scale_w, self.scale_money = scales(problem)
        self.program = Program()
        self.eases: list[Ease] = []
        self.groups_n, self.modes_n, self.slots_n, self.feeders_n = problem.shape
        self.slot_names = [str(t) for t in range(self.slots_n)]

    def build(self) -> Model:
        self._units()
        self._site()
        self._feeders()
        self._ramp()
        self._takes()
        self._reserve("down", self.problem.site.reserve_down)
        self._reserve("up", self.problem.site.reserve_up)
        return Model(self.problem, self.program, self.scale_w, self.scale_money, self.x, tuple(self.eases))

    def _money(self, amount: Any) -> Any:
        return amount / self.scale_money

    def _power(self, watts: Any) -> Any:
        return watts / self.scale_w

    def _slack(self, rule: str, priority: int, rows: Ints, sign: float) -> None:
        """Where rules are eased, a column that lets the rows be broken; `sign` moves the row's sum back inside."""
        if self.eased:
            columns = self.program.add_columns(f"broken {rule}", rows.shape)
            self.program.add_terms(rows, columns, sign)
            self.eases.append(Ease(rule, priority, columns.ravel()))

    def _units(self) -> None:
        problem, groups, program = self.problem, self.problem.groups, self.program
        shape = (self.groups_n, self.modes_n, self.slots_n)
        names = (groups.names, groups.mode_names, self.slot_names)
        distinct = np.ones((self.groups_n, self.modes_n), dtype=bool)
        distinct[:, 1:] = (np.diff(groups.mode_power_w, axis=1) > 0) | (np.diff(groups.mode_hashrate_hs, axis=1) != 0)
        allowed = distinct[:, :, None] & (
            np.arange(self.modes_n)[None, :, None] <= problem.site.mode_max[None, None, :]
        )
        units = groups.units[:, None, None].astype(np.float64)
        self.x = x = program.add_columns(
            "x",
            shape,
            high=np.where(allowed, units, 0.0),
            worth=self._money(groups.mode_hashrate_hs[:, :, None] * problem.slot_value()[None, None, :]),
            whole=True,
            labels=names,
        )
        pair = (self.groups_n, self.slots_n)
        each = units[:, :, 0]
        s = program.add_columns(
            "s", pair, high=each, worth=-self._money(problem.start_money()), whole=True, labels=names[::2]
        )
        d = program.add_columns("d", pair, high=each, labels=names[::2])

        now = np.zeros(pair)
        now[:, 0] = groups.on_now
        balance = program.add_rows("balance", pair, low=now, high=now, labels=names[::2])
        program.add_terms(balance[:, None, :], x, 1.0)
        program.add_terms(balance[:, None, 1:], x[:, :, :-1], -1.0)
        program.add_terms(balance, s, -1.0)
        program.add_terms(balance, d, 1.0)

        min_on = program.add_rows("min_on", pair, high=-groups.locked_on.astype(np.float64), labels=names[::2])
        program.add_terms(min_on[:, None, :], x, -1.0)
        self._windows(min_on, s, groups.min_on_s)
        self._slack("minimum on-time", Priority.OPERATOR, min_on, -1.0)
        min_off = program.add_rows("min_off", pair, high=each - groups.locked_off, labels=names[::2])
        program.add_terms(min_off[:, None, :], x, 1.0)
        self._windows(min_off, d, groups.min_off_s)
        self._slack("minimum off-time", Priority.OPERATOR, min_off, -1.0)

        capped = np.flatnonzero(groups.starts_left >= 0)
        if len(capped):
            left = groups.starts_left[capped].astype(np.float64)
            starts = program.add_rows("starts", (len(capped),), high=left, labels=([groups.names[g] for g in capped],))
            program.add_terms(starts[:, None], s[capped], 1.0)
            self._slack("start budget", Priority.OPERATOR, starts, -1.0)

    def _windows(self, rows: Ints, switched: Ints, hold_s: Floats) -> None:
        for hold in np.unique(hold_s):
            at = np.flatnonzero(hold_s == hold)
            first = first_locking(self.problem.slots, float(hold))
            slot = np.repeat(np.arange(self.slots_n), np.arange(self.slots_n) - first + 1)
            begin = np.concatenate(([0], np.cumsum(np.arange(self.slots_n) - first + 1)))[:-1]
            source = np.arange(len(slot)) - begin[slot] + first[slot]
            self.program.add_terms(rows[np.ix_(at, slot)], switched[np.ix_(at, source)], 1.0)

    def _site(self) -> None:
        problem, site, program, labels = self.problem, self.problem.site, self.program, (self.slot_names,)
        shape, hours = (self.slots_n,), self.problem.slots.hours
        asleep_w = float(problem.groups.units @ problem.groups.sleep_w)
        self.flexible = program.add_columns("J", shape, labels=labels)
        high = INF if self.eased else self._power(np.maximum(problem.cap_w(), 0.0))
        self.site = program.add_columns(
            "S", shape, high=high, worth=-self._money(problem.money_per_w()) * self.scale_w, labels=labels
        )
        flexible = program.add_rows("flexible", shape, low=0.0, high=0.0, labels=labels)
        program.add_terms(flexible, self.flexible, 1.0)
        step = self._power(problem.step_w())
        program.add_terms(flexible[None, None, :], self.x, -step[:, :, None])

        fixed = self._power(problem.base_w() - site.generation_w)
        meter = program.add_rows("site", shape, low=fixed, high=fixed, labels=labels)
        program.add_terms(meter, self.site, 1.0)
        program.add_terms(meter, self.flexible, -1.0)
        if bool(np.any(site.generation_w > 0)):
            spill = program.add_columns("spill", shape, high=self._power(site.generation_w), labels=labels)
            program.add_terms(meter, spill, -1.0)
        if site.battery is not None:
            self._battery(meter, hours)

        floor = np.maximum(site.heat_w - asleep_w, 0.0)
        if bool(np.any(floor > 0)):
            heat = program.add_rows("heat", shape, low=self._power(floor), labels=labels)
            program.add_terms(heat, self.flexible, 1.0)
            self._slack("heat duty", Priority.CONTRACT, heat, 1.0)
        if site.peak_price_per_w > 0:
            price = self._money(site.peak_price_per_w) * self.scale_w
            so_far = self._power(max(site.peak_so_far_w, 0.0))
            peak = program.add_columns("peak", (1,), low=so_far, worth=-price)
            program.offset += price * so_far
            highest = program.add_rows("highest", shape, high=0.0, labels=labels)
            program.add_terms(highest, self.site, 1.0)
            program.add_terms(highest, peak[0], -1.0)
        if self.eased:
            cap = program.add_rows("cap", shape, high=self._power(site.import_cap_w), labels=labels)
            program.add_terms(cap, self.site, 1.0)
            self._slack("import cap", Priority.SAFETY, cap, -1.0)
            for order in problem.orders:
                slots = np.arange(order.first, order.last + 1)
                row = program.add_rows(f"order {order.id}", slots.shape, high=self._power(order.power_w))
                program.add_terms(row, self.site[slots], 1.0)
                self._slack(f"order {order.id}", order.priority, row, -1.0)

    def _battery(self, meter: Ints, hours: Floats) -> None:
        battery, program, shape = self.problem.site.battery, self.program, (self.slots_n,)
        assert battery is not None
        wear = -self._money(battery.wear_per_wh * hours) * self.scale_w
        charge = program.add_columns("ch", shape, high=self._power(battery.charge_max_w), worth=wear)
        discharge = program.add_columns("dis", shape, high=self._power(battery.discharge_max_w), worth=wear)
        low = np.zeros(shape)
        low[-1] = self._power(min(battery.soc_end_wh, battery.energy_wh))
        stored = program.add_columns("soc", shape, low=low, high=self._power(battery.energy_wh))
        program.add_terms(meter, charge, -1.0)
        program.add_terms(meter, discharge, 1.0)
        now = np.zeros(shape)
        now[0] = self._power(battery.soc_now_wh)
        row = program.add_rows("stored", shape, low=now, high=now)
        program.add_terms(row, stored, 1.0)
        program.add_terms(row[1:], stored[:-1], -1.0)
        program.add_terms(row, charge, -hours * battery.efficiency_charge)
        program.add_terms(row, discharge, hours / battery.efficiency_discharge)

    def _feeders(self) -> None:
        room = self.problem.feeder_room_w()
        shape = (self.feeders_n, self.slots_n)
        labels = (self.problem.site.feeder_names, self.slot_names)
        rows = self.program.add_rows("feeder", shape, high=self._power(room), labels=labels)
        step = self._power(self.problem.step_w())
        self.program.add_terms(rows[self.problem.groups.feeder][:, None, :], self.x, step[:, :, None])
        self._slack("feeder cap", Priority.FEEDER, rows, -1.0)

    def _ramp(self) -> None:
        ramp = self.problem.site.ramp_w
        limited = np.flatnonzero(np.isfinite(ramp))
        if not len(limited):
            return
        limit = self._power(ramp[limited])
        now = np.where(limited == 0, self._power(self.problem.site.power_now_w), 0.0)
        rows = self.program.add_rows("ramp", limited.shape, low=now - limit, high=now + limit)
        self.program.add_terms(rows, self.site[limited], 1.0)
        later = limited > 0
        self.program.add_terms(rows[later], self.site[limited[later] - 1], -1.0)
        self._slack("ramp up", Priority.CONTRACT, rows, -1.0)
        self._slack("ramp down", Priority.CONTRACT, rows, 1.0)

    def _takes(self) -> None:
        takes = self.problem.site.takes
        if not takes:
            return
        penalty = np.array([take.penalty_per_wh for take in takes])
        short = self.program.add_columns("short", (len(takes),), worth=-self._money(penalty) * self.scale_w)
        rows = self.program.add_rows(
            "take", (len(takes),), low=self._power(np.array([take.energy_wh for take in takes]))
        )
        self.program.add_terms(rows, short, 1.0)
        for row, take in zip(rows, takes, strict=True):
            slots = np.arange(take.first, take.last + 1)
            self.program.add_terms(row, self.site[slots], self.problem.slots.hours[slots])

    def _reserve(self, side: str, reserve: Reserve | None) -> None:
        if reserve is None:
            return
        blocks = len(reserve.price_per_w)
        price = self._money(np.maximum(reserve.price_per_w, 0.0)) * self.scale_w
        held = self.program.add_columns(f"held {side}", (blocks,), high=self._power(reserve.max_w), worth=price)
        slots = np.flatnonzero(reserve.block_of >= 0)
        high = np.zeros(len(slots)) if side == "down" else self._power(self.problem.cap_w()[slots])
        if side == "up" and self.eased:
            high = np.maximum(high, 0.0)
        rows = self.program.add_rows(side, slots.shape, high=high)
        self.program.add_terms(rows, held[reserve.block_of[slots]], 1.0)
        if side == "down":
            self.program.add_terms(rows, self.flexible[slots], -1.0)
        else:
            self.program.add_terms(rows, self.site[slots], 1.0)
