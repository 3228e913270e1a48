# SPDX-License-Identifier: Apache-2.0
"""Decisions under uncertainty: cutting planes end at the optimum of the one large programme; risk costs mean."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.instances import scenario_market as market
from scheduling.offer.scenario import decide
from tests.oracles.one_programme import one_programme


@pytest.mark.parametrize(("seed", "scenarios", "slots"), [(0, 50, 96), (1, 20, 24), (2, 5, 48), (3, 50, 96)])
def test_cutting_planes_reach_the_optimum_of_the_one_programme(seed: int, scenarios: int, slots: int) -> None:
    made = market(seed, scenarios, slots)
    fast, whole = decide(made), one_programme(made)
    assert fast.objective == pytest.approx(whole.objective, rel=1e-8)
    assert fast.rounds <= 30
    assert bool(np.all(fast.power_w >= fast.reserve_w[made.block_of][None, :] - 1e-3))


def test_caring_for_the_tail_lifts_it_and_costs_mean() -> None:
    calm, bold = decide(market(4, weight=0.9)), decide(market(4, weight=0.0))
    assert calm.cvar >= bold.cvar - 1e-6 * abs(bold.cvar)
    assert calm.mean <= bold.mean + 1e-6 * abs(bold.mean)


def test_one_scenario_is_plain_planning() -> None:
    made = market(5, scenarios=1)
    assert decide(made).mean == pytest.approx(decide(made).cvar)
    assert decide(replace(made, price=np.zeros(len(made.price)))).reserve_w.sum() == pytest.approx(0.0, abs=1.0)
