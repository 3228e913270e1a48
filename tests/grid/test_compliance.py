# SPDX-License-Identifier: Apache-2.0
"""Orders against the meter: obeyed, breached, unproven; each by hand. And what the site can promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grid.availability import STEPS_S, Headroom, Units, available
from grid.compliance import Outcome, Samples, Terms, judge
from grid.order import read_order
from kernel.clock import from_iso

NOW_MS = from_iso("2026-01-05T10:00:00Z")
ORDER = read_order({"scope": "h/s", "power_w": 1e6, "until": "2026-01-05T10:10:00Z"}, "kegoc", "rest", NOW_MS)
TERMS = Terms(response_s=60, tolerance_pct=1, gap_s=10)
END_MS = ORDER.span.end_ms


def samples(powers: list[float], step_s: float = 5, first_ms: int = NOW_MS) -> Samples:
    at = first_ms + (1000 * step_s * np.arange(len(powers))).astype(np.int64)
    return Samples(at, np.array(powers, dtype=float))


def test_obeyed_within_its_time() -> None:
    falling = [2e6] * 8 + [1.5e6, 1.005e6] + [0.98e6] * 111
    verdict = judge(ORDER, samples(falling), TERMS, END_MS)
    assert verdict.outcome is Outcome.COMPLIED and verdict.over_s == 0 and verdict.coverage == 1
    assert verdict.obeyed_by_meter_s == 45.0, "within the tolerance of 1 %"
    assert judge(ORDER, samples(falling[:40]), TERMS, NOW_MS + 200_000).outcome is Outcome.OPEN


def test_late_is_a_breach_by_the_second_and_the_watt_hour() -> None:
    late = [2e6] * 18 + [0.98e6] * 103
    verdict = judge(ORDER, samples(late), TERMS, END_MS)
    assert verdict.outcome is Outcome.BREACHED and verdict.obeyed_by_meter_s == 90.0
    assert verdict.over_s == 30.0 and verdict.peak_over_w == pytest.approx(0.99e6)
    assert verdict.over_wh == pytest.approx(0.99e6 * 30 / 3600)
    assert judge(ORDER, samples(late), Terms(60, 1, forgiven_s=30, gap_s=10), END_MS).outcome is Outcome.COMPLIED
    early = judge(ORDER, samples(late[:15]), TERMS, NOW_MS + 70_000)
    assert early.outcome is Outcome.BREACHED, "seen as soon as it is there"


def test_without_the_meter_nothing_is_proven() -> None:
    half = samples([0.9e6] * 60)
    verdict = judge(ORDER, half, TERMS, END_MS)
    assert verdict.outcome is Outcome.OPEN and "cannot be proven" in verdict.why
    assert verdict.coverage == pytest.approx(245 / 540), "the last sample speaks for 10 s, no longer"
    none = judge(ORDER, Samples(np.array([], dtype=np.int64), np.array([])), TERMS, END_MS)
    assert none.outcome is Outcome.OPEN and none.obeyed_by_meter_s is None


def test_each_narrowing_has_its_own_response_time() -> None:
    caps = ((NOW_MS, 1.5e6), (NOW_MS + 300_000, 1e6))
    powers = [1.4e6] * 70 + [0.9e6] * 51
    assert judge(ORDER, samples(powers), TERMS, END_MS, caps).outcome is Outcome.COMPLIED
    slow = [1.4e6] * 74 + [0.9e6] * 47
    verdict = judge(ORDER, samples(slow), TERMS, END_MS, caps)
    assert verdict.outcome is Outcome.BREACHED and verdict.over_s == 10.0
    raised = ((NOW_MS, 1e6), (NOW_MS + 300_000, 2e6))
    assert judge(ORDER, samples([0.9e6] * 60 + [1.9e6] * 61), TERMS, END_MS, raised).outcome is Outcome.COMPLIED


def test_what_the_meter_shows_while_the_site_only_observes_is_not_counted() -> None:
    above = samples([2e6] * 121)
    assert judge(ORDER, above, TERMS, END_MS).outcome is Outcome.BREACHED
    never = judge(ORDER, above, TERMS, END_MS, observed_ms=NOW_MS + 500)
    assert (
        never.outcome is Outcome.NOT_COUNTED and never.judged_until_ms == NOW_MS + 500 and "only observed" in never.why
    )
    obeyed = samples([0.9e6] * 60 + [2e6] * 61)
    kept = judge(ORDER, obeyed, TERMS, END_MS, observed_ms=NOW_MS + 300_000)
    assert kept.outcome is Outcome.COMPLIED and kept.over_s == 0 and kept.judged_until_ms == NOW_MS + 300_000
    late = judge(ORDER, above, TERMS, END_MS, observed_ms=NOW_MS + 90_000)
    assert late.outcome is Outcome.BREACHED and late.over_s == 30.0, "what was commanded counts"


def test_an_order_is_judged_from_its_receipt_and_not_from_before() -> None:
    """It came 100 s after the instant that it names as its begin: what the meter showed before is nobody's breach."""
    body = {"scope": "h/s", "power_w": 1e6, "from": "2026-01-05T10:00:00Z", "until": "2026-01-05T10:10:00Z"}
    late = read_order(body, "kegoc", "rest", NOW_MS + 100_000)
    assert late.span.start_ms == NOW_MS and late.received_ms == NOW_MS + 100_000
    found = judge(late, samples([2e6] * 32 + [0.9e6] * 89), TERMS, END_MS)
    assert found.outcome is Outcome.COMPLIED and found.over_s == 0 and found.obeyed_by_meter_s == 60.0
    caps = ((NOW_MS, 1e6),)
    assert judge(late, samples([2e6] * 32 + [0.9e6] * 89), TERMS, END_MS, caps) == found
    assert judge(late, samples([2e6] * 33 + [0.9e6] * 88), TERMS, END_MS).over_s == 5.0
    early = judge(late, samples([0.9e6] * 10), TERMS, NOW_MS + 50_000)
    assert early.obeyed_by_meter_s is None and early.why == "it has not begun"


def test_an_order_for_later_is_judged_from_its_begin() -> None:
    body = {"scope": "h/s", "power_w": 1e6, "from": "2026-01-05T10:05:00Z", "until": "2026-01-05T10:10:00Z"}
    ahead = read_order(body, "kegoc", "rest", NOW_MS)
    found = judge(ahead, samples([2e6] * 72 + [0.9e6] * 49), TERMS, END_MS)
    assert found.outcome is Outcome.COMPLIED and found.obeyed_by_meter_s == 60.0 and found.coverage == 1.0


@pytest.mark.parametrize(("power_w", "outcome"), [(1.01e6, Outcome.COMPLIED), (1.0101e6, Outcome.BREACHED)])
def test_the_tolerance_is_a_share_of_the_ordered_power(power_w: float, outcome: Outcome) -> None:
    assert judge(ORDER, samples([power_w] * 121), TERMS, END_MS).outcome is outcome


def test_what_is_forgiven_is_forgiven_to_the_second() -> None:
    above = [2e6] * 14 + [0.9e6] * 107
    assert judge(ORDER, samples(above), TERMS, END_MS).over_s == 10.0
    for forgiven_s, outcome in ((10.0, Outcome.COMPLIED), (9.999, Outcome.BREACHED)):
        assert judge(ORDER, samples(above), Terms(60, 1, forgiven_s, 10), END_MS).outcome is outcome


def test_overshoot_after_the_end_is_not_the_order_s() -> None:
    assert judge(ORDER, samples([0.9e6] * 120 + [2e6] * 20), TERMS, END_MS + 100_000).over_s == 0.0
    at_end = judge(ORDER, samples([0.9e6] * 121), TERMS, END_MS)
    assert at_end.judged_until_ms == END_MS == judge(ORDER, samples([0.9e6] * 200), TERMS, END_MS + 1).judged_until_ms


def test_open_until_its_end_and_unproven_below_the_coverage() -> None:
    obeyed = samples([0.9e6] * 121)
    assert judge(ORDER, obeyed, TERMS, END_MS - 1).outcome is Outcome.OPEN
    assert judge(ORDER, obeyed, TERMS, END_MS).outcome is Outcome.COMPLIED
    seen = samples([0.9e6] * 108)
    assert judge(ORDER, seen, TERMS, END_MS).coverage == pytest.approx(485 / 540)
    assert judge(ORDER, seen, TERMS, END_MS).outcome is Outcome.OPEN
    assert judge(ORDER, seen, Terms(60, 1, gap_s=11), END_MS).outcome is Outcome.COMPLIED, "486 of 540 s is enough"


@given(st.lists(st.floats(0, 3e6), min_size=1, max_size=130), st.integers(0, 700))
def test_a_verdict_is_never_better_than_the_meter(powers: list[float], now_s: int) -> None:
    found = judge(ORDER, samples(powers), TERMS, NOW_MS + 1000 * now_s)
    until_ms = min(END_MS, NOW_MS + 1000 * now_s)
    above = [p for i, p in enumerate(powers) if p > 1.01e6 and NOW_MS + 60_000 <= NOW_MS + 5000 * i < until_ms]
    if above:
        assert found.outcome is Outcome.BREACHED
    assert 0 <= found.coverage <= 1


def units(count: int, **changes: object) -> Units:
    columns: dict[str, object] = {
        "power_w": np.full(count, 3400.0),
        "low_w": np.full(count, 20.0),
        "high_w": np.full(count, 3600.0),
        "down_s": np.full(count, 20.0),
        "up_s": np.full(count, 300.0),
        "locked_down_s": np.zeros(count),
        "locked_up_s": np.zeros(count),
        "known": np.ones(count, dtype=bool),
        "commandable": np.ones(count, dtype=bool),
        "faulty": np.zeros(count, dtype=bool),
        "protected": np.zeros(count, dtype=bool),
    }
    return Units(**(columns | changes))  # type: ignore[arg-type]


def test_available_by_hand() -> None:
    known = np.array([True] * 8 + [False] * 2)
    faulty = np.array([True] + [False] * 8 + [True])
    locked = np.array([0.0] * 4 + [60.0] + [0.0] * 5)
    found = available(units(10, known=known, faulty=faulty, locked_down_s=locked), NOW_MS, notice_s=10)
    assert found.down_w == 6 * 3380 and found.locked_down_w == 3380
    assert found.up_w == 7 * 200 and found.unknown_units == 2 and found.unknown_w == 6800
    assert [(e.reason, e.units) for e in found.excluded] == [("unknown: no fresh answer", 2), ("faulty", 1)]
    assert found.down_in_w[STEPS_S.index(10.0)] == 0 and found.down_in_w[STEPS_S.index(30.0)] == 6 * 3380
    assert found.down_s == 30 and found.ramp_down_w_per_s == pytest.approx(6 * 3380 / 20)
    tight = available(units(10), NOW_MS, notice_s=10, headroom=Headroom.of_site(10, 500.0, "cap"), rate=1.0)
    assert tight.up_limited_by == ("cap",) and found.up_limited_by == ()
    assert tight.up_w == 500 and tight.up_in_w[-1] == 500 and tight.up_in_w[1] == pytest.approx(20)
    none = available(units(0), NOW_MS, notice_s=10)
    assert none.down_w == none.up_w == none.down_s == 0
