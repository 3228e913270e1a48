# SPDX-License-Identifier: Apache-2.0
"""Lagrangian decomposition: a plan for a whole fleet with a proven gap, without the full programme.

1. Effective steps (`shares`) and classes (`tranche`): a small linear programme prices the site.
2. Merit-order feeder prices on the dynamic programme's own paths, start prices where budgets bind; the bound (`bound`).
3. One forward pass over all groups (`commitment`), by the units' own stop losses and start gains around the programme's power.
4. With fixed counts, the best power path (`power_path`), filled with modes (`modes`), checked independently.

Steps 3 and 4 are tried with more and less freedom, then with more classes, until the proven gap is small enough. The bound
holds for any prices, and a plan that breaks a rule is not returned.
"""

from dataclasses import dataclass, replace

import numpy as np

from scheduling.plan import Plan, gap_floor
from scheduling.problem.objective import worth
from scheduling.problem.problem import Floats, Ints, Problem
from scheduling.solve.assemble import assemble
from scheduling.solve.bound import Holds, Paths, bound, holds, paths, shares_on, start_prices, switching_values
from scheduling.solve.commitment import Corridor, SwitchingValues, Target, forward
from scheduling.solve.elastic import relaxation
from scheduling.solve.mode_steps import ModeSteps, all_mode_steps
from scheduling.solve.modes import fill
from scheduling.solve.power_path import OPTIONS, PowerPath, power_path
from scheduling.solve.prices import Prices, prices_of
from scheduling.solve.program import Solution, WarmProgramme
from scheduling.solve.shares import Shares, SortedSteps, shares, sorted_steps
from scheduling.solve.tranche import Tranches, classes, pooled, programme

LP = {"solver": "simplex", "presolve": "off", "simplex_scale_strategy": 0}


@dataclass(frozen=True, slots=True)
class DecompositionSettings:
    """Settings of the decomposition.

    - `classes` of the tranche programme; `rounds` of feeder prices.
    - `gives`: allowed deviation of counts from its power for the money of one start, as a share of the site's (None: free).
    - `lean`: reduction of feeder prices for the units' own decisions (a group at the margin of a full feeder then wants to
      run, and the feeder's share limits its part).
    - `good_gap`: proven gap at which to stop at once; `enough_gap`: at which not to try more classes.
    """

    classes: tuple[int, ...] = (12, 24)
    gives: tuple[float | None, ...] = (None, 0.1)
    rounds: int = 4
    lean: float = 0.3
    good_gap: float = 8e-4
    enough_gap: float = 9e-4


@dataclass(frozen=True, slots=True)
class StaticData:
    """Price-independent data: mode steps, sorted steps, effective shares, time structure, and the coarsest step in W."""

    mode_sets: dict[int, ModeSteps]
    sorted_sets: dict[int, SortedSteps]
    above: dict[int, SortedSteps]
    parts: list[Shares]
    held: Holds
    margin_w: float


def static_data(problem: Problem) -> StaticData:
    mode_sets = all_mode_steps(problem)
    sorted_sets = {top: sorted_steps(problem, mode_steps) for top, mode_steps in mode_sets.items()}
    above = {top: steps.only(np.flatnonzero(steps.level > 0)) for top, steps in sorted_sets.items()}
    coarsest = max((float(mode_steps.watts.max(initial=0.0)) for mode_steps in mode_sets.values()), default=0.0)
    margin_w = max(coarsest, float(problem.step_w()[:, 0].max(initial=0.0)))
    return StaticData(mode_sets, sorted_sets, above, shares(problem, mode_sets, sorted_sets), holds(problem), margin_w)


@dataclass(frozen=True, slots=True)
class Proof:
    """The best bound found, with its prices and paths, and the shares of units on that priced the feeders."""

    value: float
    prices: Prices
    paths: Paths
    share: Floats


@dataclass(frozen=True, slots=True)
class Attempt:
    """Whole counts with their power path and value."""

    value: float
    counts: Ints
    path: PowerPath


class WarmStart:
    """Warm start for the next plan after changed orders, limits or prices: programmes by number of classes and of the power
    path, loaded with their last basis, and the shares of units on."""

    def __init__(self) -> None:
        self._kept: dict[int, WarmProgramme] = {}
        self.path = WarmProgramme(OPTIONS)
        self.share: Floats | None = None

    def kept(self, count: int) -> WarmProgramme:
        return self._kept.setdefault(count, WarmProgramme(LP))


def certified(
    problem: Problem,
    *,
    settings: DecompositionSettings = DecompositionSettings(),
    why_now: str = "",
    warm_start: WarmStart | None = None,
) -> Plan | None:
    """A plan without violations, with its bound; None where no attempt gave one."""
    warm_start = WarmStart() if warm_start is None else warm_start
    base = static_data(problem)
    attempts: list[Attempt] = []
    proof: Proof | None = None
    floor = gap_floor(problem)
    for count in settings.classes:
        tranches = pooled(problem, base.parts, classes(problem, base.parts, count))
        model = programme(tranches, base.margin_w)
        found = warm_start.kept(count).solve(model.program.arrays())
        if not found.found or found.status != "Optimal":
            break
        here = prove(problem, base, prices_of(model, found, problem, tranches.of), settings.rounds, warm_start.share)
        warm_start.share = here.share
        proof = here if proof is None or here.value < proof.value else proof
        flexible = np.asarray(found.x[model.program.columns["J"]]) * model.scale_w
        target = _target(problem, base, tranches, found, model.x)
        leant = replace(here.prices, feeder=here.prices.feeder * (1 - settings.lean))
        own_values = switching_values(base.held, paths(problem, base.held, leant))
        for give in settings.gives:
            done = attempt(problem, base, here.prices, own_values, flexible, target, give, warm_start.path)
            attempts += [] if done is None else [done]
            if _gap(attempts, proof, floor) <= settings.good_gap:
                break
        if _gap(attempts, proof, floor) <= settings.enough_gap:
            break
    return _best(problem, attempts, proof, why_now)


def _best(problem: Problem, attempts: list[Attempt], proof: Proof | None, why_now: str) -> Plan | None:
    """The attempt of highest value that passes the check."""
    for done in sorted(attempts, key=lambda one: -one.value):
        assert proof is not None
        plan = assemble(
            problem,
            done.counts,
            method="tranche",
            bound=proof.value,
            price_per_wh=proof.prices.flexible / problem.slots.hours,
            charge_w=done.path.charge_w,
            discharge_w=done.path.discharge_w,
            spill_w=done.path.spill_w,
            why_now=why_now,
        )
        if not plan.violations:
            return plan
    return None


def _gap(attempts: list[Attempt], proof: Proof, floor: float) -> float:
    best = max((one.value for one in attempts), default=-np.inf)
    return (proof.value - best) / max(abs(proof.value), floor)


def prove(problem: Problem, base: StaticData, prices: Prices, rounds: int, share: Floats | None = None) -> Proof:
    """Feeder prices by merit order on the units' own paths, averaged over rounds; the least bound is kept. Shares of units
    on from an earlier plan of the same shape save half of the rounds."""
    shape = (len(problem.slots), len(problem.groups.units))
    known = share is not None and share.shape == shape
    now = share if share is not None and known else np.ones(shape)
    turns = max(1, rounds // 2) if known else rounds
    best: Proof | None = None
    for turn in range(turns):
        priced = replace(prices, feeder=feeder_prices(problem, base, prices.flexible, now))
        priced = start_prices(problem, base.held, priced)
        found = paths(problem, base.held, priced)
        value = bound(problem, priced, found)
        if best is None or value < best.value:
            best = Proof(value, priced, found, now)
        if turn + 1 < turns:
            path = shares_on(problem, base.held, found)
            now = path if turn == 0 and not known else (now + path) / 2
    assert best is not None
    return best


def feeder_prices(problem: Problem, base: StaticData, price: Floats, share: Floats) -> Floats:
    """Price of each feeder: the earnings of its first step that does not fit, above the site's price, shape [feeder, slot]."""
    room = problem.feeder_room_w()
    found = np.zeros(room.shape)
    units = problem.groups.units
    widest = np.bincount(problem.groups.feeder, units * problem.step_w().max(axis=1), minlength=len(room))
    tight = widest > room.min(axis=1)
    for top, steps in base.sorted_sets.items():
        at = np.flatnonzero(problem.site.mode_max == top)
        cut = np.flatnonzero(tight[steps.feeder])
        if not len(at) or not len(cut):
            continue
        part = steps.only(cut)
        on = share[at].T[part.group] * units[part.group][:, None]
        before, wide = part.before(on)
        out = before + wide > room[part.feeder][:, at] + 1e-9
        worth = np.where(out, part.worth[:, None], 0.0)
        first = np.unique(part.first)
        margin = np.maximum.reduceat(worth, first, axis=0)
        earned = margin * problem.slot_value()[None, at] - price[None, at]
        found[np.ix_(part.feeder[first], at)] = np.where(margin > 0, np.maximum(earned, 0.0), 0.0)
    return found


def _target(problem: Problem, base: StaticData, tranches: Tranches, found: Solution, x: Ints) -> tuple[Floats, Floats]:
    """(weight per unit and group in W, power of units on in the programme per slot)."""
    main = max(base.parts, key=lambda part: len(part.slots))
    weight = np.maximum(main.power_w[:, min(1, main.power_w.shape[1] - 1)], 1e-3)
    pool = tranches.problem.groups.units
    on = found.x[x].sum(axis=1) / np.maximum(pool, 1)[:, None]
    heavy = np.bincount(tranches.of, weights=problem.groups.units * weight, minlength=len(pool))
    return weight, heavy @ on


def attempt(
    problem: Problem,
    base: StaticData,
    prices: Prices,
    own_values: SwitchingValues,
    flexible_w: Floats,
    wanted: tuple[Floats, Floats],
    give_share: float | None,
    kept: WarmProgramme,
) -> Attempt | None:
    """One attempt at whole units: counts, power path, modes. None where the site's rows cannot be kept with these counts."""
    weight, wanted_w = wanted
    low = problem.step_w()[:, 0]
    top = np.empty((len(weight), len(flexible_w)))
    most_on = np.empty(top.shape, dtype=np.int64)
    for part in base.parts:
        top[:, part.slots] = part.power_w[:, -1:]
        fitting = problem.groups.units * part.power_w[:, 0] / np.maximum(low, 1e-9)
        most_on[:, part.slots] = np.rint(fitting).astype(np.int64)[:, None]
    slack = base.margin_w / 4
    corridor = Corridor(np.maximum(flexible_w - slack, 0.0), flexible_w + slack)
    target = None
    if give_share is not None:
        typical = float(np.sort(problem.start_money().mean(axis=1) / weight)[len(weight) // 2])
        give_w = give_share * float(wanted_w.max(initial=0.0)) / max(typical, 1e-12)
        target = Target(weight, wanted_w, give_w)
    on = forward(problem, own_values, corridor, top_w=top, most_on=most_on, target=target)
    path = power_path(problem, on, prices.flexible, base.mode_sets, base.above, base.margin_w, kept)
    if path is None:
        return None
    counts = fill(problem, on, path.flexible_w + 1e-6, base.mode_sets)
    earned = worth(problem, counts, charge_w=path.charge_w, discharge_w=path.discharge_w, spill_w=path.spill_w)
    return Attempt(earned.value, counts, path)


def least_breaking(problem: Problem, *, why_now: str = "") -> Plan | None:
    """For contradicting rules: the plan of the minimally relaxed problem, checked against the original one."""
    base = static_data(problem)
    tranches = pooled(problem, base.parts, classes(problem, base.parts, 12))
    elastic = relaxation(problem, tranches, base.margin_w)
    if elastic is None:
        return None
    plan = certified(elastic.problem)
    if plan is None:
        return None
    why = "not all rules can be kept; gave way: " + ", ".join(elastic.names)
    judged = assemble(
        problem,
        plan.counts,
        method="tranche",
        status="least_violation",
        charge_w=plan.charge_w,
        discharge_w=plan.discharge_w,
        spill_w=plan.spill_w,
        why_now=why_now,
    )
    reported = tuple(replace(one, why=one.why or why) for one in judged.violations)
    return replace(judged, violations=reported)
