# SPDX-License-Identifier: Apache-2.0
"""The fast exact way: a plan for a whole fleet with a proof of how good it is, without the full programme.

1. Effective steps (`shares`) and classes (`tranche`): a small linear programme prices the site.
2. Merit-order feeder prices on the dynamic programme's own paths, start prices where budgets bind; the bound (`bound`).
3. One forward pass over all groups (`commitment`), following the units' own wishes around the programme's power.
4. With the counts fixed, the best power path (`power_path`), filled with modes (`modes`), judged by the checker.

Steps 3 and 4 are tried more and less free, then with more classes, until the proven gap is small enough. Nothing here is
trusted: the bound holds for any prices, and a plan that breaks a rule is not returned.
"""

from dataclasses import dataclass, replace

import numpy as np

from scheduling.plan import Plan, gap_floor
from scheduling.problem.objective import worth
from scheduling.problem.problem import Floats, Ints, Problem
from scheduling.solve.assemble import assemble
from scheduling.solve.bound import Holds, Paths, bound, holds, paths, shares_on, start_prices, wishes
from scheduling.solve.commitment import Corridor, Target, Wishes, forward
from scheduling.solve.elastic import relief
from scheduling.solve.ladder import Ladder, ladders
from scheduling.solve.modes import fill
from scheduling.solve.power_path import OPTIONS, PowerPath, power_path
from scheduling.solve.prices import Prices, prices_of
from scheduling.solve.program import Kept, Solution
from scheduling.solve.shares import Shares, Walk, shares, walk
from scheduling.solve.tranche import Tranches, classes, pooled, programme

LP = {"solver": "simplex", "presolve": "off", "simplex_scale_strategy": 0}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How far to go.

    `classes` of the tranche programme; `gives`: how far counts may leave its power for the money of one start, as a share
    of the site's (None: freely); `rounds` of feeder prices; `lean`, by how much feeder prices are lowered where units make
    their wishes (a group at the margin of a full feeder then wants to run, and the feeder's share says how much of it
    may); the proven gaps at which to stop at once (`good_gap`), or not to try more classes (`enough_gap`).
    """

    classes: tuple[int, ...] = (12, 24)
    gives: tuple[float | None, ...] = (None, 0.1)
    rounds: int = 4
    lean: float = 0.3
    good_gap: float = 8e-4
    enough_gap: float = 9e-4


@dataclass(frozen=True, slots=True)
class Ground:
    """What does not depend on prices: ladders, walks, effective shares, time structure, and the coarsest step in W."""

    rungs: dict[int, Ladder]
    walks: dict[int, Walk]
    above: dict[int, Walk]
    parts: list[Shares]
    held: Holds
    margin_w: float


def ground(problem: Problem) -> Ground:
    rungs = ladders(problem)
    walks = {top: walk(problem, ladder) for top, ladder in rungs.items()}
    above = {top: steps.only(np.flatnonzero(steps.rung > 0)) for top, steps in walks.items()}
    coarsest = max((float(ladder.watts.max(initial=0.0)) for ladder in rungs.values()), default=0.0)
    margin_w = max(coarsest, float(problem.step_w()[:, 0].max(initial=0.0)))
    return Ground(rungs, walks, above, shares(problem, rungs, walks), holds(problem), margin_w)


@dataclass(frozen=True, slots=True)
class Proof:
    """The best bound found, with the prices and paths that gave it, and the shares of units on that priced the feeders."""

    value: float
    prices: Prices
    paths: Paths
    share: Floats


@dataclass(frozen=True, slots=True)
class Try:
    """Whole counts with their power path, and what they are worth."""

    value: float
    counts: Ints
    path: PowerPath


class Memory:
    """What a next plan on changed orders, limits or prices goes on from: programmes by number of classes and of the
    power path, loaded with their last basis, and the shares of units on."""

    def __init__(self) -> None:
        self._kept: dict[int, Kept] = {}
        self.path = Kept(OPTIONS)
        self.share: Floats | None = None

    def kept(self, count: int) -> Kept:
        return self._kept.setdefault(count, Kept(LP))


def certified(
    problem: Problem, *, recipe: Recipe = Recipe(), why_now: str = "", memory: Memory | None = None
) -> Plan | None:
    """A plan that breaks no rule, with its bound; None where no try gave one."""
    memory = Memory() if memory is None else memory
    base = ground(problem)
    tries: list[Try] = []
    proof: Proof | None = None
    floor = gap_floor(problem)
    for count in recipe.classes:
        tranches = pooled(problem, base.parts, classes(problem, base.parts, count))
        model = programme(tranches, base.margin_w)
        found = memory.kept(count).solve(model.program.arrays())
        if not found.found or found.status != "Optimal":
            break
        here = prove(problem, base, prices_of(model, found, problem, tranches.of), recipe.rounds, memory.share)
        memory.share = here.share
        proof = here if proof is None or here.value < proof.value else proof
        flexible = np.asarray(found.x[model.program.columns["J"]]) * model.scale_w
        target = _target(problem, base, tranches, found, model.x)
        leant = replace(here.prices, feeder=here.prices.feeder * (1 - recipe.lean))
        wish = wishes(base.held, paths(problem, base.held, leant))
        for give in recipe.gives:
            done = attempt(problem, base, here.prices, wish, flexible, target, give, memory.path)
            tries += [] if done is None else [done]
            if _gap(tries, proof, floor) <= recipe.good_gap:
                break
        if _gap(tries, proof, floor) <= recipe.enough_gap:
            break
    return _best(problem, tries, proof, why_now)


def _best(problem: Problem, tries: list[Try], proof: Proof | None, why_now: str) -> Plan | None:
    """The try of most value that the checker lets pass."""
    for done in sorted(tries, key=lambda one: -one.value):
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


def _gap(tries: list[Try], proof: Proof, floor: float) -> float:
    best = max((one.value for one in tries), default=-np.inf)
    return (proof.value - best) / max(abs(proof.value), floor)


def prove(problem: Problem, base: Ground, prices: Prices, rounds: int, share: Floats | None = None) -> Proof:
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


def feeder_prices(problem: Problem, base: Ground, price: Floats, share: Floats) -> Floats:
    """The first step that does not fit on a feeder sets its price: what it would earn above the site's, shape [feeder, slot]."""
    room = problem.feeder_room_w()
    found = np.zeros(room.shape)
    units = problem.groups.units
    widest = np.bincount(problem.groups.feeder, units * problem.step_w().max(axis=1), minlength=len(room))
    tight = widest > room.min(axis=1)
    for top, steps in base.walks.items():
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


def _target(problem: Problem, base: Ground, tranches: Tranches, found: Solution, x: Ints) -> tuple[Floats, Floats]:
    """(weight per unit and group in W, power of units on that the programme wants per slot)."""
    main = max(base.parts, key=lambda part: len(part.slots))
    weight = np.maximum(main.power_w[:, min(1, main.power_w.shape[1] - 1)], 1e-3)
    pool = tranches.problem.groups.units
    on = found.x[x].sum(axis=1) / np.maximum(pool, 1)[:, None]
    heavy = np.bincount(tranches.of, weights=problem.groups.units * weight, minlength=len(pool))
    return weight, heavy @ on


def attempt(
    problem: Problem,
    base: Ground,
    prices: Prices,
    wish: Wishes,
    flexible_w: Floats,
    wanted: tuple[Floats, Floats],
    give_share: float | None,
    kept: Kept,
) -> Try | None:
    """One try at whole units: counts, power path, modes. None where the site's rows cannot be kept with the counts found."""
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
    on = forward(problem, wish, corridor, top_w=top, most_on=most_on, target=target)
    path = power_path(problem, on, prices.flexible, base.rungs, base.above, base.margin_w, kept)
    if path is None:
        return None
    counts = fill(problem, on, path.flexible_w + 1e-6, base.rungs)
    earned = worth(problem, counts, charge_w=path.charge_w, discharge_w=path.discharge_w, spill_w=path.spill_w)
    return Try(earned.value, counts, path)


def least_breaking(problem: Problem, *, why_now: str = "") -> Plan | None:
    """For contradicting rules: the plan of the problem relieved as little as possible, judged against the one asked."""
    base = ground(problem)
    tranches = pooled(problem, base.parts, classes(problem, base.parts, 12))
    eased = relief(problem, tranches, base.margin_w)
    if eased is None:
        return None
    plan = certified(eased.problem)
    if plan is None:
        return None
    why = "not all rules can be kept; gave way: " + ", ".join(eased.words)
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
