# SPDX-License-Identifier: Apache-2.0
"""Full linear (or integer) programme of a planning problem, for hubs up to about a thousand units.

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

The rows from `site` down to `order` are in `site_rows`. Power is scaled by `scale_w` and money by `scale_money`, so
that the solver's absolute tolerances mean the same for one miner and for a hundred thousand.
"""

from dataclasses import dataclass

import numpy as np

from grid.limit import Priority
from scheduling.problem.problem import Floats, Ints, Problem, first_locking
from scheduling.solve.program import Program
from scheduling.solve.site_rows import ElasticRule, SiteRows, scales


@dataclass(frozen=True, slots=True)
class Steps:
    """Power above sleep and hashrate per unit and mode, shape [group, mode, slot]; feeder caps may be included."""

    power_w: Floats
    hashrate_hs: Floats


@dataclass(frozen=True, slots=True)
class Model:
    """The programme with the indices of its parts."""

    problem: Problem
    program: Program
    scale_w: float
    scale_money: float
    x: Ints
    elastic_rules: tuple[ElasticRule, ...]

    def column(self, name: str) -> Ints | None:
        return self.program.columns.get(name)

    def row(self, name: str) -> Ints | None:
        return self.program.rows.get(name)


def build(problem: Problem, *, elastic: bool = False, steps: Steps | None = None, margin_w: float = 0.0) -> Model:
    """The programme of a problem. `elastic` gives each hard rule a slack, for the plan of least violation. `steps` replaces
    the modes' power and hashrate by effective ones, which include the feeder caps: feeder rows are then left out."""
    program = Program()
    scale_w, scale_money = scales(problem)
    site = SiteRows(program, problem, scale_w, scale_money, elastic=elastic, margin_w=margin_w)
    x = _Units(site, steps).x
    return Model(problem, program, scale_w, scale_money, x, tuple(site.elastic_rules))


class _Units:
    """Columns and rows of the groups of like miners, joined to the site by the row `flexible`."""

    def __init__(self, site: SiteRows, steps: Steps | None) -> None:
        self.site, self.problem, self.program = site, site.problem, site.program
        self.groups_n, self.modes_n, self.slots_n, self.feeders_n = self.problem.shape
        groups = self.problem.groups
        plain = Steps(self.problem.step_w()[:, :, None], groups.mode_hashrate_hs[:, :, None])
        self.steps = plain if steps is None else steps
        self._units()
        self._flexible()
        if steps is None:
            self._feeders()

    def _units(self) -> None:
        problem, groups, program = self.problem, self.problem.groups, self.program
        shape = (self.groups_n, self.modes_n, self.slots_n)
        power, rate = (np.broadcast_to(part, shape) for part in (self.steps.power_w, self.steps.hashrate_hs))
        distinct = np.ones(shape, dtype=bool)
        distinct[:, 1:] = (np.diff(power, axis=1) > 0) | (np.diff(rate, axis=1) != 0)
        allowed = distinct & (np.arange(self.modes_n)[None, :, None] <= problem.site.mode_max[None, None, :])
        units = groups.units[:, None, None].astype(np.float64)
        self.x = x = program.add_columns(
            "x",
            shape,
            high=np.where(allowed, units, 0.0),
            worth=self.site.money(rate * problem.slot_value()),
            whole=True,
        )
        pair = (self.groups_n, self.slots_n)
        each = units[:, :, 0]
        s = program.add_columns("s", pair, high=each, worth=-self.site.money(problem.start_money()), whole=True)
        d = program.add_columns("d", pair, high=each)

        now = np.zeros(pair)
        now[:, 0] = groups.on_now
        balance = program.add_rows("balance", pair, low=now, high=now)
        program.add_terms(balance[:, None, :], x, 1.0)
        program.add_terms(balance[:, None, 1:], x[:, :, :-1], -1.0)
        program.add_terms(balance, s, -1.0)
        program.add_terms(balance, d, 1.0)

        min_on = program.add_rows("min_on", pair, high=-groups.locked_on.astype(np.float64))
        program.add_terms(min_on[:, None, :], x, -1.0)
        self._windows(min_on, s, groups.min_on_s)
        self.site.slack("minimum on-time", Priority.OPERATOR, min_on, -1.0)
        min_off = program.add_rows("min_off", pair, high=each - groups.locked_off)
        program.add_terms(min_off[:, None, :], x, 1.0)
        self._windows(min_off, d, groups.min_off_s)
        self.site.slack("minimum off-time", Priority.OPERATOR, min_off, -1.0)

        capped = np.flatnonzero(groups.starts_left >= 0)
        if len(capped):
            left = groups.starts_left[capped].astype(np.float64)
            starts = program.add_rows("starts", (len(capped),), high=left)
            program.add_terms(starts[:, None], s[capped], 1.0)
            self.site.slack("start budget", Priority.OPERATOR, starts, -1.0)

    def _windows(self, rows: Ints, switched: Ints, hold_s: Floats) -> None:
        for hold in np.unique(hold_s):
            at = np.flatnonzero(hold_s == hold)
            first = first_locking(self.problem.slots, float(hold))
            slot = np.repeat(np.arange(self.slots_n), np.arange(self.slots_n) - first + 1)
            begin = np.concatenate(([0], np.cumsum(np.arange(self.slots_n) - first + 1)))[:-1]
            source = np.arange(len(slot)) - begin[slot] + first[slot]
            self.program.add_terms(rows[np.ix_(at, slot)], switched[np.ix_(at, source)], 1.0)

    def _flexible(self) -> None:
        slots = (self.slots_n,)
        flexible = self.program.add_rows("flexible", slots, low=0.0, high=0.0)
        self.program.add_terms(flexible, self.site.flexible, 1.0)
        self.program.add_terms(flexible[None, None, :], self.x, -self.site.power(self.steps.power_w))

    def _feeders(self) -> None:
        room = self.problem.feeder_room_w()
        shape = (self.feeders_n, self.slots_n)
        rows = self.program.add_rows("feeder", shape, high=self.site.power(room))
        step = self.site.power(self.problem.step_w())
        self.program.add_terms(rows[self.problem.groups.feeder][:, None, :], self.x, step[:, :, None])
        self.site.slack("feeder cap", Priority.FEEDER, rows, -1.0)
