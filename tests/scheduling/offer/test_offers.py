# SPDX-License-Identifier: Apache-2.0
"""What is offered can be delivered; what is asked of a plan is answered in words and money."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.instances import standard
from scheduling.offer.offers import availability, bid_curve, imbalance_risk, reserve_offers
from scheduling.planner import make
from scheduling.problem.build_problem import problem_of
from scheduling.problem.overhead import Overhead
from scheduling.problem.problem import Order, Problem
from scheduling.study.whatif import (
    Change,
    cheaper,
    full_feeders,
    hashprice,
    more_feeder,
    more_import,
    newer_miners,
    whatif,
    why_off,
    without_order,
)
from tests.builders.planning import NOW, NUMBERS, curves, fleet, tariff


@pytest.fixture(scope="module")
def problem() -> Problem:
    return standard(3, groups=10, slots=48, step_s=1800.0, units=1_000, reserve=False)


def test_power_offered_down_can_be_taken_down_and_up_stays_under_the_cap(problem: Problem) -> None:
    plan = make(problem, why_now="test")
    offer = availability(plan)
    assert bool(np.all(offer.down_w <= plan.power_w + 1e-6))
    assert bool(np.all(offer.down_modes_w <= offer.down_w + 1e-6))
    assert bool(np.all(plan.power_w + offer.up_w <= problem.cap_w() + 1e-6))
    slot = 10
    order = Order("test", slot, slot, float(plan.power_w[slot] - offer.down_w[slot]) + 1.0)
    free = replace(problem, orders=(*problem.orders, order), site=replace(problem.site, ramp_w=np.full(48, np.inf)))
    assert make(free, why_now="test").violations == ()


def test_up_leaves_room_for_what_the_meter_shows_and_nothing_explains(problem: Problem) -> None:
    plan = make(problem, why_now="test")
    free = availability(plan)
    assert free.up_w[0] > 0 and free.up_w[5] > 0
    cap = problem.cap_w()

    def offered(**changes: object) -> np.ndarray:
        site = replace(problem.site, **changes)  # type: ignore[arg-type]
        return availability(replace(plan, problem=replace(problem, site=site))).up_w

    now_w = float(cap[0]) - 1_000.0
    above = offered(power_now_w=now_w)
    assert above[0] <= 1_000.0 and np.array_equal(above[1:], free.up_w[1:]), "the meter of now is of the running slot"
    unexplained_w = float(np.max(cap - plan.power_w))
    assert not offered(unexplained_w=unexplained_w).any()
    half = offered(unexplained_w=unexplained_w / 2)
    assert bool(np.all(half <= np.maximum(cap - plan.power_w - unexplained_w / 2, 0.0) + 1e-6))
    assert not offered(feeder_unexplained_w=np.max(problem.site.feeder_cap_w, axis=1)).any()
    blind = availability(plan, "the main meter is stale")
    assert blind.up_w[0] == 0.0 and "the main meter is stale" in blind.why_not_more[0]
    assert np.array_equal(blind.up_w[1:], free.up_w[1:])


def test_what_meters_show_above_the_miners_is_known_to_the_offer() -> None:
    units, asked = fleet(20)
    known_w = float(units.power_w.sum())
    numbers = replace(NUMBERS, overhead=Overhead(1.1, 500.0, 1.0))
    of = (numbers, units, asked.since_ms, tariff(), curves(), [], NOW)
    feeder = units.roster.feeder_names[0]
    own_w = float(units.feeder_power_w()[0])
    seen = problem_of(*of, meter_w=1.1 * known_w + 500.0 + 7_000.0, feeder_meter_w={feeder: own_w + 1_000.0}).site
    assert seen.unexplained_w == pytest.approx(7_000.0)
    net = problem_of(*of, meter_w=1.1 * known_w + 500.0, generated_w=4_000.0).site
    assert net.unexplained_w == pytest.approx(4_000.0), "what generation covers at the meter is drawn all the same"
    assert seen.feeder_unexplained_w is not None and seen.feeder_unexplained_w.sum() == pytest.approx(1_100.0)
    none = problem_of(*of).site
    assert none.unexplained_w == 0.0 and none.feeder_unexplained_w is not None and not none.feeder_unexplained_w.any()
    assert problem_of(*of, meter_w=0.5 * known_w).site.unexplained_w == 0.0, "a meter below loosens nothing"


def test_units_within_minimum_times_are_not_offered() -> None:
    base = standard(3, groups=2, slots=8, units=20, reserve=False, orders=False, min_s=900.0)
    locked = np.zeros((2, 8), dtype=np.int64)
    locked[:, :2] = base.groups.units[:, None]
    bound = replace(base, groups=replace(base.groups, locked_on=locked))
    offer = availability(make(bound, why_now="test"))
    assert "minimum on-time" in offer.why_not_more[0]
    assert offer.down_w[0] == pytest.approx(offer.down_modes_w[0])
    assert offer.down_w[4] > offer.down_w[0]


def test_reserve_is_dear_where_power_is_dear(problem: Problem) -> None:
    block = np.arange(48) // 12
    price = problem.site.energy_price_per_wh.copy()
    price[block == 2] = 200e-6
    asked = replace(problem, orders=(), site=replace(problem.site, energy_price_per_wh=price))
    offers = reserve_offers(asked, 500_000.0, block)
    assert [offer.block for offer in offers] == [0, 1, 2, 3]
    prices = [offer.price_per_w for offer in offers]
    assert max(prices) == prices[2] and prices[2] > 10 * min(prices)


def test_bids_buy_no_less_at_a_lower_price(problem: Problem) -> None:
    bids = bid_curve(problem)
    assert len(bids) == 48
    for bid in bids:
        assert list(bid.prices_per_wh) == sorted(bid.prices_per_wh, reverse=True)
        assert list(bid.energy_wh) == sorted(bid.energy_wh)


def test_imbalance_risk_is_zero_at_the_planned_price(problem: Problem) -> None:
    plan = make(problem, why_now="test")
    same = np.repeat(problem.site.energy_price_per_wh[None, :], 3, axis=0)
    assert imbalance_risk(plan, same) == (0.0, 0.0)
    mean, worst = imbalance_risk(plan, same * np.array([[0.5], [1.0], [2.0]]))
    assert worst > mean


@pytest.mark.parametrize(
    "change", [cheaper(20), hashprice(10), more_feeder("feeder 0", 1e5), without_order("evening"), more_import(1e6)]
)
def test_a_better_lot_is_never_worth_less_than_its_proof_says(problem: Problem, change: Change) -> None:
    base = make(problem, why_now="test")
    answer = whatif(problem, change, base=base)
    assert answer.least is not None and answer.most is not None
    assert answer.least - 1e-9 <= answer.worth <= answer.most + 1e-9
    assert answer.most >= -1e-9
    assert answer.worth >= -2e-3 * abs(base.value)


def test_newer_miners_earn_more_and_unknown_names_are_reported(problem: Problem) -> None:
    group = problem.groups.names[0]
    power = problem.groups.mode_power_w[0]
    answer = whatif(problem, newer_miners(group, power, power / 11.0 * 1e12))
    assert answer.worth > 0 and "11.0 J/TH" in answer.text
    with pytest.raises(KeyError, match="feeder 0"):
        more_feeder("nowhere", 1.0).apply(problem)


def test_a_feeder_is_full_where_it_keeps_units_off() -> None:
    base = standard(3, groups=2, slots=8, units=20, reserve=False, orders=False)
    caps = np.full_like(base.site.feeder_cap_w, 1e9)
    site = replace(
        base.site, energy_price_per_wh=np.full(8, 1e-9), ramp_w=np.full(8, np.inf), import_cap_w=np.full(8, 1e9),
        feeder_cap_w=caps, heat_w=np.zeros(8),
    )  # fmt: skip
    free = replace(base, site=site)
    assert full_feeders(make(free, why_now="test")) == ()
    at = int(base.groups.feeder[1])
    asleep = caps[at] - free.feeder_room_w()[at]
    tight = caps.copy()
    tight[at] = asleep + 5.5 * free.step_w()[1, -1]
    plan = make(replace(free, site=replace(site, feeder_cap_w=tight)), why_now="test")
    assert full_feeders(plan) == (base.site.feeder_names[at],)


def test_why_a_group_is_off_names_the_cause(problem: Problem) -> None:
    free = replace(problem.site, energy_price_per_wh=np.full(48, 900e-6), ramp_w=np.full(48, np.inf))
    dear = replace(problem, site=free, orders=())
    plan = make(dear, why_now="test")
    assert "power costs 900.00 USD/MWh, they earn" in why_off(plan, problem.groups.names[0], 20)
    total_w = float(problem.groups.units @ problem.groups.mode_power_w[:, 1])
    cheap = replace(problem.site, energy_price_per_wh=np.full(48, 20e-6), ramp_w=np.full(48, np.inf))
    plan = make(replace(problem, site=cheap, orders=(Order("cut", 20, 23, 0.3 * total_w),)), why_now="test")
    words = [why_off(plan, name, 21) for name in problem.groups.names]
    assert any("order cut holds" in text for text in words)
    with pytest.raises(KeyError, match="no group"):
        why_off(plan, "nobody", 0)
