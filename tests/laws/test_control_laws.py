# SPDX-License-Identifier: Apache-2.0
"""Laws of the control step: never above what may be drawn, only differences, the same answer twice, a fixed point."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from grid.limit import Limit, Priority
from kernel.span import Span
from scheduling.control import Overhead, Terms, step
from scheduling.narrow import Proposal, narrow
from tests.scheduling.test_control import HOUR, NOW, SITE, fleet, schedule
from tests.servers import count

WATTS = st.floats(0.0, 200_000.0)


@st.composite
def limits(draw: st.DrawFn) -> list[Limit]:
    found = []
    for index in range(draw(st.integers(0, 4))):
        scope = draw(st.sampled_from([SITE, f"{SITE}/f0", f"{SITE}/f1"]))
        begin = draw(st.integers(-2, 1)) * HOUR
        span = Span(NOW + begin, NOW + begin + draw(st.integers(1, 4)) * HOUR)
        found.append(Limit(scope, draw(WATTS), span, draw(st.sampled_from(list(Priority))), f"rule {index}", "law"))
    return found


@settings(max_examples=count(80, 2000), deadline=None)
@given(
    wish=WATTS,
    asked=limits(),
    units=st.integers(1, 40),
    asleep=st.integers(0, 10),
    silent=st.integers(0, 5),
    factor=st.floats(1.0, 1.2),
)
def test_the_step_keeps_every_limit_or_says_by_how_much_not(
    wish: float, asked: list[Limit], units: int, asleep: int, silent: int, factor: float
) -> None:
    seen, _ = fleet(units, asleep=min(asleep, units), silent=min(silent, units))
    terms = Terms(SITE, Overhead(factor, 500.0))
    decision = step(NOW, seen, schedule(wish), asked, terms)
    active = [limit for limit in asked if limit.span.holds(NOW)]
    cap = min((limit.power_w for limit in active if limit.scope == SITE), default=float("inf"))
    assert decision.over_w == max(0.0, decision.expected_w - cap)
    if decision.over_w > 0:
        # What is left over can be lowered no further: silent miners, and the rest asleep.
        lowered = {point.unit for point in decision.set_points if point.mode == -1}
        on = set(np.flatnonzero(seen.can_command & (seen.wanted >= 0)).tolist())
        assert on <= lowered
    rises = [point for point in decision.set_points if point.mode > int(seen.wanted[point.unit])]
    if rises:
        assert decision.expected_w <= min(cap, max(wish, decision.corridor.low_w)) + 1e-6
    assert decision.to_json() == step(NOW, seen, schedule(wish), asked, terms).to_json()
    assert len({point.unit for point in decision.set_points}) == len(decision.set_points)
    assert all(point.mode != int(seen.wanted[point.unit]) for point in decision.set_points)


@settings(max_examples=count(40, 1000), deadline=None)
@given(wish=WATTS, asked=limits())
def test_once_obeyed_an_order_asks_for_nothing_more_to_be_lowered(wish: float, asked: list[Limit]) -> None:
    seen, _ = fleet(20)
    first = step(NOW, seen, schedule(wish), asked, Terms(SITE))
    wanted, settled = seen.wanted.copy(), seen.settled_w.copy()
    option = seen.option_w()
    for point in first.set_points:
        wanted[point.unit], settled[point.unit] = point.mode, option[point.unit, point.mode + 1]
    obeyed = replace(seen, wanted=wanted, mode=wanted, settled_w=settled, power_w=settled)
    again = step(NOW, obeyed, schedule(wish), asked, Terms(SITE))
    assert not any(point.mode < int(wanted[point.unit]) for point in again.set_points)


@settings(max_examples=count(100, 2000), deadline=None)
@given(st.lists(st.tuples(WATTS, WATTS, st.sampled_from(list(Priority))), max_size=6))
def test_narrowing_keeps_the_most_urgent_and_names_the_broken(parts: list[tuple[float, float, Priority]]) -> None:
    proposals = [
        Proposal(min(a, b), max(a, b), priority, f"rule {index}", "law") for index, (a, b, priority) in enumerate(parts)
    ]
    found = narrow(proposals)
    assert found.low_w <= found.high_w
    for proposal in proposals:
        kept = proposal.low_w <= found.high_w and proposal.high_w >= found.low_w
        assert kept or proposal in found.broken
    if proposals:
        first = min(proposals, key=lambda p: (p.priority, p.high_w, p.rule))
        assert first.low_w <= found.low_w and found.high_w <= first.high_w
        assert first not in found.broken
