# SPDX-License-Identifier: Apache-2.0
"""The two-stage decision of `scheduling.offer.scenario` as one linear programme, written out: what the fast way must agree
with."""

import numpy as np

from scheduling.offer.scenario import Decision, Market
from scheduling.problem.problem import Floats
from scheduling.solve.program import INF, Program, load, solve


def one_programme(market: Market) -> Decision:
    """The same decision as one linear programme over every scenario, slot and segment."""
    scenarios, slots_n = market.real.shape
    unit_w = float(market.watts.sum())
    scale = max(1e-12, float(np.abs(market.value * market.hashes.sum()).sum(axis=1).mean()) / 1e3)
    program = Program()
    position = program.add_columns("D", (slots_n,), high=market.position_max_w / unit_w)
    reserve = program.add_columns("r", (len(market.price),), high=market.reserve_max_w / unit_w)
    earned = program.add_columns("Q", (scenarios,), low=-INF, worth=(1 - market.weight) / scenarios)
    eta = program.add_columns("eta", (1,), low=-INF, worth=market.weight)
    short = program.add_columns("short", (scenarios,), worth=-market.weight / scenarios / market.tail)
    shape = (scenarios, slots_n, len(market.watts))
    run = program.add_columns("run", shape, high=np.broadcast_to(market.watts / unit_w, shape))
    tails = program.add_rows("tail", (scenarios,), high=0.0)
    program.add_terms(tails, eta[0], 1.0)
    program.add_terms(tails, earned, -1.0)
    program.add_terms(tails, short, -1.0)
    price = market.real * market.hours
    hashes_per_w = np.divide(market.hashes, market.watts, out=np.zeros_like(market.hashes), where=market.watts > 0)
    money = program.add_rows("money", (scenarios,), high=0.0)
    program.add_terms(money, earned, 1.0)
    gain = (hashes_per_w[None, None, :] * market.value[:, :, None] - price[:, :, None]) * unit_w / scale
    program.add_terms(money[:, None, None], run, -gain)
    program.add_terms(money[:, None], position[None, :], -market.hours * (market.real - market.ahead) * unit_w / scale)
    program.add_terms(money[:, None], reserve[None, :], -market.price * unit_w / scale)
    least = program.add_rows("held", (scenarios, slots_n), high=0.0)
    program.add_terms(least[:, :, None], run, -1.0)
    program.add_terms(least, reserve[market.block_of][None, :], 1.0)
    solution = solve(load(program.arrays(), relaxed=True), has_whole=False)
    total = solution.x[earned] * scale
    power = solution.x[run].sum(axis=2) * unit_w
    mean, cvar = float(total.mean()), _worst_mean(total, market.tail)
    return Decision(
        solution.x[position] * unit_w, solution.x[reserve] * unit_w, power, solution.objective * scale, mean, cvar, 0
    )


def _worst_mean(total: Floats, tail: float) -> float:
    """Mean of the worst `tail` share, the scenario at its edge counted in part."""
    left, found = tail * len(total), 0.0
    for value in sorted(total.tolist()):
        found += value * min(left, 1.0)
        left -= min(left, 1.0)
    return found / (tail * len(total))
