# SPDX-License-Identifier: Apache-2.0
"""Contracts on slots: what is left of a day's take-or-pay, and reserve products; both reach the plan through the facts."""

from dataclasses import replace
from datetime import date
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from grid.tariff import Component, Kind, Rate
from kernel.dated import Dated
from kernel.span import Span, even_slots, horizon, local_month
from scheduling.planner import make
from scheduling.problem.build_problem import problem_of
from scheduling.problem.contracts import Held, TakeBlock, demand_share, takes_of
from tests.builders.planning import HOUR, NOW, NUMBERS, curves, fleet, tariff

DAY = 24 * HOUR
START = NOW - NOW % DAY


def test_of_a_block_that_the_horizon_holds_whole_all_that_is_left_is_owed() -> None:
    slots = even_slots(Span(START, START + 2 * DAY), 3600.0)
    today = TakeBlock(Span(START, START + DAY), 24e6, 10e-6, used_wh=6e6)
    tomorrow = TakeBlock(Span(START + DAY, START + 2 * DAY), 24e6, 10e-6)
    first, second = takes_of([today, tomorrow], slots, START)
    assert (first.first, first.last, first.energy_wh) == (0, 23, 18e6)
    assert (second.first, second.last, second.energy_wh) == (24, 47, 24e6)
    assert takes_of([replace(today, used_wh=25e6)], slots, START) == (), "nothing is owed any more"
    assert takes_of([replace(today, span=Span(START - DAY, START))], slots, START) == ()


def test_of_a_block_that_goes_on_beyond_the_horizon_its_share_by_time_is_owed() -> None:
    slots = even_slots(Span(START, START + DAY // 2), 3600.0)
    (take,) = takes_of([TakeBlock(Span(START, START + DAY), 24e6, 10e-6)], slots, START)
    assert take.energy_wh == pytest.approx(12e6) and take.last == 11


def test_reserve_blocks_are_of_the_day_and_paid_by_their_hours() -> None:
    slots = horizon(START + 3 * HOUR, ((900.0, 8 * 3600.0),))
    held = Held(2e-6, 1e6, 4).on(slots)
    assert held.block_of[0] == 0 and held.block_of[-1] == 2
    assert held.price_per_w.tolist() == pytest.approx([2e-6, 8e-6, 6e-6])


def test_a_month_s_demand_charge_is_borne_by_the_time_that_the_month_has_left() -> None:
    """A peak that pays over the month is taken on its second day, by those whom it pays, and not for its last three."""
    zone = ZoneInfo("UTC")
    month = local_month(2026, 2, zone)
    slots = even_slots(Span(START, START + 3 * DAY), 3600.0)
    assert demand_share(slots, START, zone) == pytest.approx(3 * DAY / (month.end_ms - START))
    late_ms = month.end_ms - DAY
    assert demand_share(even_slots(Span(late_ms, late_ms + 3 * DAY), 3600.0), late_ms, zone) == 1.0
    edition = Dated("demand", Rate(20.0), date(2020, 1, 1), None, "test", "A")
    bill = tariff()
    bill = replace(bill, components=(*bill.components, Component("demand", Kind.DEMAND, "demand", (edition,))))
    on = {}
    for now_ms in (NOW, NOW + 24 * DAY):
        units, asked = fleet(20, asleep=20)
        units = replace(units, now_ms=now_ms)
        later = [
            replace(one, starts_ms=one.starts_ms + now_ms - NOW, ends_ms=one.ends_ms + now_ms - NOW) for one in curves()
        ]
        plan = make(problem_of(NUMBERS, units, asked.since_ms, bill, later, [], now_ms), why_now="test")
        on[now_ms] = int(plan.on().sum(axis=0).max())
    # Of 20 USD/kW: a new unit earns 2 and more a day on each kW, an old one at most 0.7.
    assert on == {NOW: 10, NOW + 24 * DAY: 0}


def test_both_reach_the_plan() -> None:
    units, asked = fleet(20)
    dear = curves(200.0, hours=80)
    bare = make(problem_of(NUMBERS, units, asked.since_ms, tariff(), dear, [], NOW), why_now="test")
    block = TakeBlock(Span(NOW - HOUR, NOW + 20 * HOUR), 0.5e6, 500e-6)
    bound = problem_of(replace(NUMBERS, blocks=(block,)), units, asked.since_ms, tariff(), dear, [], NOW)
    taken = make(bound, why_now="test")
    inside = slice(bound.site.takes[0].first, bound.site.takes[0].last + 1)

    def used_wh(power_w: np.ndarray) -> float:
        return float((power_w * bound.slots.hours)[inside].sum())

    assert taken.violations == () and used_wh(bare.power_w) < 0.2e6
    assert used_wh(taken.power_w) == pytest.approx(bound.site.takes[0].energy_wh, rel=0.05), "what is paid for is used"
    paid = problem_of(
        replace(NUMBERS, reserve_down=Held(1e-3, 30_000.0)), units, asked.since_ms, tariff(), dear, [], NOW
    )
    holding = make(paid, why_now="test")
    assert holding.violations == () and holding.reserve_down_w is not None
    assert float(holding.reserve_down_w.min()) == pytest.approx(30_000.0, rel=0.01), "it pays to run for what is held"
