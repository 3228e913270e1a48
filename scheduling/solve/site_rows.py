# SPDX-License-Identifier: Apache-2.0
"""Rows of the connection point in a linear programme: every rule on site power, for any model of the miners.

Gives the columns J[t] (flexible power of the miners) and S[t] (site power at the meter); see `model` for the formulas.
The full model, the tranche programme and the power path share these rows, so that each rule is written once.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from grid.limit import Priority
from scheduling.problem.problem import Floats, Ints, Problem, Reserve
from scheduling.solve.program import INF, Program


@dataclass(frozen=True, slots=True)
class ElasticRule:
    """A rule that may be relaxed when not all can be kept: its priority, and its slack columns."""

    rule: str
    priority: int
    columns: Ints


def scales(problem: Problem) -> tuple[float, float]:
    """(watts per scaled unit, money per scaled unit): the site draws about 1,000 and earns about 100,000."""
    groups = problem.groups
    top_w = float(groups.units @ groups.mode_power_w.max(axis=1, initial=0.0)) + float(problem.base_w().max())
    rate = float(groups.units @ groups.mode_hashrate_hs.max(axis=1, initial=0.0))
    gross = rate * float(problem.slot_value().sum())
    return max(top_w, 1.0) / 1e3, max(gross, 1e-6) / 1e5


class SiteRows:
    """Adds the site's columns and rows to a programme. `elastic` gives each hard rule a slack; reserve is then left out.
    `margin_w` is kept clear inside ramp, heat duty and the ban on export, for a plan whose modes fill a power path only to
    within one step."""

    def __init__(
        self,
        program: Program,
        problem: Problem,
        scale_w: float,
        scale_money: float,
        *,
        elastic: bool,
        margin_w: float,
    ) -> None:
        self.program, self.problem, self.elastic = program, problem, elastic
        self.scale_w, self.scale_money, self.margin_w = scale_w, scale_money, margin_w
        self.elastic_rules: list[ElasticRule] = []
        self.slots_n = len(problem.slots)
        self._site()
        self._ramp()
        self._takes()
        if not elastic:
            self._reserve("down", problem.site.reserve_down)
            self._reserve("up", problem.site.reserve_up)

    def money(self, amount: Any) -> Any:
        return amount / self.scale_money

    def power(self, watts: Any) -> Any:
        return watts / self.scale_w

    def slack(self, rule: str, priority: int, rows: Ints, sign: float) -> None:
        """With eased rules, a column that lets the rows be broken; `sign` moves the row's sum back inside."""
        if self.elastic:
            columns = self.program.add_columns(f"broken {rule}", rows.shape)
            self.program.add_terms(rows, columns, sign)
            self.elastic_rules.append(ElasticRule(rule, priority, columns.ravel()))

    def _site(self) -> None:
        problem, site, program = self.problem, self.problem.site, self.program
        shape, hours = (self.slots_n,), self.problem.slots.hours
        asleep_w = float(problem.groups.units @ problem.groups.sleep_w)
        self.flexible = program.add_columns("J", shape)
        high = INF if self.elastic else self.power(np.maximum(problem.cap_w(), 0.0))
        stores = site.battery is not None
        least = self.power(np.minimum(self.margin_w, np.maximum(problem.cap_w(), 0.0) / 2)) if stores else 0.0
        self.site = program.add_columns(
            "S", shape, low=least, high=high, worth=-self.money(problem.money_per_w()) * self.scale_w
        )

        fixed = self.power(problem.base_w() - site.generation_w)
        meter = program.add_rows("site", shape, low=fixed, high=fixed)
        program.add_terms(meter, self.site, 1.0)
        program.add_terms(meter, self.flexible, -1.0)
        if bool(np.any(site.generation_w > 0)):
            spill = program.add_columns("spill", shape, high=self.power(site.generation_w))
            program.add_terms(meter, spill, -1.0)
        if site.battery is not None:
            self._battery(meter, hours)

        floor = np.maximum(site.heat_w - asleep_w, 0.0)
        if bool(np.any(floor > 0)):
            heat = program.add_rows("heat", shape, low=self.power(floor + (floor > 0) * self.margin_w))
            program.add_terms(heat, self.flexible, 1.0)
            self.slack("heat duty", Priority.CONTRACT, heat, 1.0)
        if site.peak_price_per_w > 0:
            price = self.money(site.peak_price_per_w) * self.scale_w
            so_far = self.power(max(site.peak_so_far_w, 0.0))
            peak = program.add_columns("peak", (1,), low=so_far, worth=-price)
            program.offset += price * so_far
            highest = program.add_rows("highest", shape, high=0.0)
            program.add_terms(highest, self.site, 1.0)
            program.add_terms(highest, peak[0], -1.0)
        if self.elastic:
            cap = program.add_rows("cap", shape, high=self.power(site.import_cap_w))
            program.add_terms(cap, self.site, 1.0)
            self.slack("import cap", Priority.SAFETY, cap, -1.0)
            for order in problem.orders:
                slots = np.arange(order.first, order.last + 1)
                row = program.add_rows(f"order {order.id}", slots.shape, high=self.power(order.power_w))
                program.add_terms(row, self.site[slots], 1.0)
                self.slack(f"order {order.id}", order.priority, row, -1.0)

    def _battery(self, meter: Ints, hours: Floats) -> None:
        battery, program, shape = self.problem.site.battery, self.program, (self.slots_n,)
        assert battery is not None
        wear = -self.money(battery.wear_per_wh * hours) * self.scale_w
        charge = program.add_columns("ch", shape, high=self.power(battery.charge_max_w), worth=wear)
        discharge = program.add_columns("dis", shape, high=self.power(battery.discharge_max_w), worth=wear)
        low = np.zeros(shape)
        low[-1] = self.power(min(battery.soc_end_wh, battery.energy_wh))
        stored = program.add_columns("soc", shape, low=low, high=self.power(battery.energy_wh))
        program.add_terms(meter, charge, -1.0)
        program.add_terms(meter, discharge, 1.0)
        now = np.zeros(shape)
        now[0] = self.power(battery.soc_now_wh)
        row = program.add_rows("stored", shape, low=now, high=now)
        program.add_terms(row, stored, 1.0)
        program.add_terms(row[1:], stored[:-1], -1.0)
        program.add_terms(row, charge, -hours * battery.efficiency_charge)
        program.add_terms(row, discharge, hours / battery.efficiency_discharge)

    def _ramp(self) -> None:
        ramp = self.problem.site.ramp_w
        limited = np.flatnonzero(np.isfinite(ramp))
        if not len(limited):
            return
        limit = self.power(np.maximum(ramp[limited] - self.margin_w, 0.5 * ramp[limited]))
        now = np.where(limited == 0, self.power(self.problem.site.power_now_w), 0.0)
        rows = self.program.add_rows("ramp", limited.shape, low=now - limit, high=now + limit)
        self.program.add_terms(rows, self.site[limited], 1.0)
        later = limited > 0
        self.program.add_terms(rows[later], self.site[limited[later] - 1], -1.0)
        self.slack("ramp up", Priority.CONTRACT, rows, -1.0)
        self.slack("ramp down", Priority.CONTRACT, rows, 1.0)

    def _takes(self) -> None:
        takes = self.problem.site.takes
        if not takes:
            return
        penalty = np.array([take.penalty_per_wh for take in takes])
        short = self.program.add_columns("short", (len(takes),), worth=-self.money(penalty) * self.scale_w)
        rows = self.program.add_rows(
            "take", (len(takes),), low=self.power(np.array([take.energy_wh for take in takes]))
        )
        self.program.add_terms(rows, short, 1.0)
        for row, take in zip(rows, takes, strict=True):
            slots = np.arange(take.first, take.last + 1)
            self.program.add_terms(row, self.site[slots], self.problem.slots.hours[slots])

    def _reserve(self, side: str, reserve: Reserve | None) -> None:
        if reserve is None:
            return
        blocks = len(reserve.price_per_w)
        price = self.money(np.maximum(reserve.price_per_w, 0.0)) * self.scale_w
        held = self.program.add_columns(f"held {side}", (blocks,), high=self.power(reserve.max_w), worth=price)
        slots = np.flatnonzero(reserve.block_of >= 0)
        high = np.zeros(len(slots)) if side == "down" else self.power(self.problem.cap_w()[slots])
        rows = self.program.add_rows(side, slots.shape, high=high)
        self.program.add_terms(rows, held[reserve.block_of[slots]], 1.0)
        if side == "down":
            self.program.add_terms(rows, self.flexible[slots], -1.0)
        else:
            self.program.add_terms(rows, self.site[slots], 1.0)
