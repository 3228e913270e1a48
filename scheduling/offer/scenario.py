# SPDX-License-Identifier: Apache-2.0
"""Two-stage stochastic programme: day-ahead position and reserve for the mean and the tail of many scenarios.

First stage (one for all scenarios): energy bought day ahead D[t], reserve held r[b]. Second stage, once scenario s is known:
power P[s,t] on the fleet's merit curve, at least the reserve held, the difference to D settled at the real-time price.

    Q[s] = sum_t ( value[s,t] H(P) - real[s,t] (P - D) hours - ahead[t] D hours ) + sum_b price[b] r[b]
    maximise (1 - weight) mean(Q) + weight CVaR(Q),   CVaR = max over eta of eta - mean((eta - Q)+) / tail

The best P for a given reserve is in closed form (where the marginal hash is worth the real-time price, not below r), so that
Q is concave in r and linear in D, with known slopes: cutting planes reach the optimum of the one large programme in a few
rounds (the tests formulate it in full and compare).
"""

from dataclasses import dataclass

import numpy as np

from scheduling.problem.problem import Floats, Ints
from scheduling.solve.program import INF, Program, load, solve


@dataclass(frozen=True, slots=True)
class Market:
    """Inputs of the decision.

    - `hours[t]`; prices in money per Wh: `ahead[t]`, `real[s, t]`; `value[s, t]`: money per H/s held through a slot.
    - Merit curve in segments of falling efficiency: `watts[k]`, `hashes[k]` (H/s).
    - Reserve: `price[b]` per W, `block_of[t]`, at most `reserve_max_w`. Position: at most `position_max_w`.
    - `tail` (0.05: the worst 5 %), `weight` of the tail.
    """

    hours: Floats
    ahead: Floats
    real: Floats
    value: Floats
    watts: Floats
    hashes: Floats
    price: Floats
    block_of: Ints
    reserve_max_w: float
    position_max_w: float
    tail: float = 0.05
    weight: float = 0.5


@dataclass(frozen=True, slots=True)
class Decision:
    """`position_w[t]` and `reserve_w[b]` now, `power_w[s, t]` once a scenario is known; the objective, its two parts, and
    the number of cutting-plane rounds."""

    position_w: Floats
    reserve_w: Floats
    power_w: Floats
    objective: float
    mean: float
    cvar: float
    rounds: int


def decide(market: Market, *, most_rounds: int = 60, tolerance: float = 1e-10) -> Decision:
    """The optimum by cutting planes."""
    scenarios, slots_n = market.real.shape
    blocks = len(market.price)
    unit_w = float(market.watts.sum())
    energy = market.hours * (market.real - market.ahead) * unit_w
    scale = max(1e-12, float(np.abs(market.value * market.hashes.sum()).sum(axis=1).mean()) / 1e3)
    program = Program()
    position = program.add_columns("D", (slots_n,), high=market.position_max_w / unit_w)
    reserve = program.add_columns("r", (blocks,), high=market.reserve_max_w / unit_w)
    earned = program.add_columns("Q", (scenarios,), low=-INF, worth=(1 - market.weight) / scenarios)
    eta = program.add_columns("eta", (1,), low=-INF, worth=market.weight)
    short = program.add_columns("short", (scenarios,), worth=-market.weight / scenarios / market.tail)
    tails = program.add_rows("tail", (scenarios,), high=0.0)
    program.add_terms(tails, eta[0], 1.0)
    program.add_terms(tails, earned, -1.0)
    program.add_terms(tails, short, -1.0)

    free = _free_power(market)
    held = np.zeros(blocks)
    bought = np.zeros(slots_n)
    best, rounds = -np.inf, 0
    found_held, found_bought = held, bought
    for rounds in range(1, most_rounds + 1):
        money, slope = _recourse(market, free, held * unit_w)
        level = money / scale
        steep = (slope * unit_w + market.price[None, :] * unit_w) / scale
        rows = program.add_rows(
            f"cut {rounds}", (scenarios,), high=level + (market.price @ held) * unit_w / scale - steep @ held
        )
        program.add_terms(rows, earned, 1.0)
        program.add_terms(rows[:, None], position[None, :], -energy / scale)
        program.add_terms(rows[:, None], reserve[None, :], -steep)
        here = level + (market.price @ held) * unit_w / scale + energy @ bought / scale
        worth = _objective(here, market)
        if worth > best:
            best, found_held, found_bought = worth, held, bought
        solution = solve(load(program.arrays(), relaxed=True, options={"presolve": "off"}), has_whole=False)
        if not solution.found:
            raise ValueError("the scenario programme is unbounded: bound the day-ahead position")
        held, bought = solution.x[reserve], solution.x[position]
        money, _ = _recourse(market, free, held * unit_w)
        exact = _objective(money / scale + (market.price @ held) * unit_w / scale + energy @ bought / scale, market)
        if exact > best:
            best, found_held, found_bought = exact, held, bought
        if solution.objective - best <= tolerance * max(1.0, abs(best)):
            break
    power = np.maximum(free, (found_held * unit_w)[market.block_of][None, :])
    money, _ = _recourse(market, free, found_held * unit_w)
    total = money + (market.price @ found_held) * unit_w + energy @ found_bought
    mean, cvar = float(total.mean()), _cvar(total, market.tail)
    objective = (1 - market.weight) * mean + market.weight * cvar
    return Decision(found_bought * unit_w, found_held * unit_w, power, objective, mean, cvar, rounds)


def _objective(total: Floats, market: Market) -> float:
    return float((1 - market.weight) * total.mean() + market.weight * _cvar(total, market.tail))


def _cvar(total: Floats, tail: float) -> float:
    """Mean of the worst `tail` share, with the scenario at its edge counted in part."""
    ordered = np.sort(total)
    share = np.clip(tail * len(ordered) - np.arange(len(ordered)), 0.0, 1.0)
    return float(ordered @ share / share.sum())


def _worth(market: Market) -> Floats:
    """Hashes per watt of each segment; 0 where it has no watts."""
    return np.divide(market.hashes, market.watts, out=np.zeros_like(market.hashes), where=market.watts > 0)


def _free_power(market: Market) -> Floats:
    """Power at which the next segment is worth less than the real-time price, shape [scenario, slot]."""
    steps = np.concatenate(([0.0], np.cumsum(market.watts)))
    price = market.real * market.hours
    taken = (_worth(market)[None, None, :] * market.value[:, :, None] > price[:, :, None]).sum(axis=2)
    found: Floats = steps[taken]
    return found


def _recourse(market: Market, free: Floats, reserve_w: Floats) -> tuple[Floats, Floats]:
    """(money of each scenario from running, without purchase ahead; its slope in each block's reserve)."""
    least = reserve_w[market.block_of][None, :]
    power = np.maximum(free, least)
    steps = np.concatenate(([0.0], np.cumsum(market.watts)))
    rates = np.concatenate(([0.0], np.cumsum(market.hashes)))
    price = market.real * market.hours
    money = (market.value * np.interp(power, steps, rates) - price * power).sum(axis=1)
    segment = np.clip(np.searchsorted(steps, least[0], side="right") - 1, 0, len(market.watts) - 1)
    marginal = market.value * _worth(market)[segment][None, :] - price
    slope = np.where(least >= free, np.minimum(marginal, 0.0), 0.0)
    blocks = np.zeros((len(money), len(reserve_w)))
    np.add.at(blocks.T, market.block_of, slope.T)
    return money, blocks


def drawn(forecast: Floats, errors: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Scenarios around a forecast[t]: whole days of past forecast errors[day, t], sampled with replacement, so that
    correlation in time is kept; shape [count, t]."""
    days = rng.integers(0, len(errors), count)
    return forecast[None, :] + errors[days]
