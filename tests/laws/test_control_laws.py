# SPDX-License-Identifier: Apache-2.0
"""Laws of the control step: never above what may be drawn, only differences, the same answer twice, a fixed point."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from grid.limit import Limit, Priority
from kernel.span import Span
from miner_control.fleet.fleet import Fleet
from scheduling.control import Decision, Terms, step
from scheduling.generation import delivered_w
from scheduling.problem.corridor import Proposal, narrow
from scheduling.problem.overhead import Overhead
from tests.builders.planning import HOUR, NOW, SITE, fleet, schedule
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
    after = obeyed(seen, step(NOW, seen, schedule(wish), asked, Terms(SITE)))
    again = step(NOW, after, schedule(wish), asked, Terms(SITE))
    assert not any(point.mode < int(after.wanted[point.unit]) for point in again.set_points)


def obeyed(seen: Fleet, decision: Decision) -> Fleet:
    """The fleet once every set-point took effect."""
    wanted, settled, option = seen.wanted.copy(), seen.settled_w.copy(), seen.option_w()
    for point in decision.set_points:
        wanted[point.unit], settled[point.unit] = point.mode, option[point.unit, point.mode + 1]
    return replace(seen, wanted=wanted, mode=wanted, settled_w=settled, power_w=settled)


@settings(max_examples=count(60, 1500), deadline=None)
@given(
    wish=WATTS,
    cap_w=st.floats(0.0, 100_000.0),
    own_w=st.floats(0.0, 60_000.0),
    left=st.floats(0.0, 1.0),
    forecast=st.floats(0.0, 2.0),
    claimed=st.floats(1.0, 1.15),
    factor=st.floats(1.0, 1.2),
    asleep=st.integers(0, 10),
    silent=st.integers(0, 5),
)
def test_what_the_meter_shows_stays_below_the_cap_whatever_is_generated(
    wish: float,
    cap_w: float,
    own_w: float,
    left: float,
    forecast: float,
    claimed: float,
    factor: float,
    asleep: int,
    silent: int,
) -> None:
    """The meter judges: with generation that a forecast knows well or badly, that falls to a share of itself, and miners who
    claim more than they draw."""
    seen, _ = fleet(20, asleep=asleep, silent=silent)
    overhead, cap = (
        Overhead(factor, 500.0),
        Limit(SITE, cap_w, Span(NOW, NOW + HOUR), Priority.DISPATCHER, "rule", "law"),
    )
    before_w: float | None = None

    def metered_w(units: Fleet, delivered: float) -> float:
        return (float(units.power_w.sum()) * factor + 500.0) / claimed - delivered

    def tick(units: Fleet, delivered: float) -> Decision:
        import_w = metered_w(units, delivered)
        found = delivered_w(units, overhead, import_w, own_w * forecast, before_w=before_w)
        return step(NOW, units, schedule(wish), [cap], Terms(SITE, overhead, generation_w=found), {SITE: import_w})

    for delivered in (own_w, own_w * left):
        before = metered_w(seen, delivered)
        decision = tick(seen, delivered)
        if before > cap_w and decision.over_w == 0.0:
            assert metered_w(obeyed(seen, decision), delivered) < before, "the next tick lowers what is too much"
        for _ in range(8):
            seen, before_w = obeyed(seen, decision), decision.generation_w
            decision = tick(seen, delivered)
        assert decision.over_w > 0.0 or metered_w(seen, delivered) <= cap_w + 1e-6


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
