# SPDX-License-Identifier: Apache-2.0
from datetime import date
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from kernel.clock import Clock, ClockWatch, from_iso, iso, system_clock
from kernel.curve import Curve, known
from kernel.dated import Dated, rule_on
from kernel.errors import ConfigError
from kernel.metric import to_canonical
from kernel.reading import MISSING, Absence, Missing, Reading
from kernel.span import Span, even_slots, horizon, local_day, local_month


def test_instants_round_trip_and_naive_ones_are_refused():
    assert iso(from_iso("2026-07-01T05:00:00.123+05:00")) == "2026-07-01T00:00:00.123Z"
    with pytest.raises(ValueError, match="zone"):
        from_iso("2026-07-01T05:00:00")


def test_civil_days_have_their_true_length():
    berlin = ZoneInfo("Europe/Berlin")
    assert local_day(date(2026, 3, 29), berlin).hours == 23
    assert local_day(date(2026, 10, 25), berlin).hours == 25
    # Kazakhstan moved from UTC+6 to UTC+5 on 2024-03-01.
    assert local_day(date(2024, 2, 29), ZoneInfo("Asia/Almaty")).hours == 25
    assert local_month(2026, 12, berlin).end_ms == from_iso("2027-01-01T00:00:00+01:00")


def test_the_horizon_grows_coarser():
    slots = horizon(0, ((300, 7200), (900, 86400)))
    assert len(slots) == 24 + 88
    assert slots.span.hours == 24


def test_uneven_steps_are_refused():
    with pytest.raises(ValueError, match="whole number"):
        even_slots(Span(0, 1000), 0.3)


def test_a_clock_step_is_distinguished_from_time_passing():
    wall, mono = [0], [0.0]
    watch = ClockWatch(Clock(lambda: wall[0], lambda: mono[0]))
    wall[0], mono[0] = 5_000, 5.0
    assert watch.divergence_s() == 0
    wall[0], mono[0] = 3_605_000 + 1_000, 6.0
    assert watch.divergence_s() == pytest.approx(3600)


def test_the_system_clock_agrees_with_itself():
    clock = system_clock()
    assert clock.now_ms() > from_iso("2026-01-01T00:00:00Z")
    assert clock.monotonic_s() <= clock.monotonic_s()


def _curve(known_at_ms: int, value: float) -> Curve:
    return Curve("price", "KZT/MWh", np.array([0]), np.array([1000]), np.array([value]), known_at_ms, "test")


def test_nothing_is_known_before_its_time():
    curves = [_curve(10, 1.0), _curve(20, 2.0)]
    assert known(curves, "price", 9) is None
    assert known(curves, "price", 15).at(0) == 1.0
    assert known(curves, "price", 20).at(0) == 2.0
    assert known(curves, "hashprice", 20) is None


def test_overlapping_pieces_and_no_numbers_are_named():
    with pytest.raises(ValueError, match="piece 1 at 1970-01-01T00:00:00.500Z overlaps"):
        Curve("p", "u", np.array([0, 500]), np.array([1000, 1500]), np.array([1.0, 2.0]), 0, "t")
    with pytest.raises(ValueError, match="value was not finite at"):
        Curve("p", "u", np.array([0]), np.array([1000]), np.array([float("nan")]), 0, "t")


def test_a_rule_of_its_day_and_no_silent_default():
    rules = [
        Dated("fee", 1, date(2022, 1, 1), date(2023, 1, 1), "law", "A"),
        Dated("fee", 2, date(2024, 1, 1), None, "press", "B"),
        Dated("share", None, date(2026, 1, 1), None, "not found", "U"),
    ]
    assert rule_on(rules, "fee", date(2022, 12, 31)).value == 1
    with pytest.raises(ConfigError, match="no edition valid"):
        rule_on(rules, "fee", date(2023, 6, 1))
    with pytest.raises(ConfigError, match="unknown"):
        rule_on(rules, "share", date(2026, 2, 1))


def test_absence_is_not_zero():
    reading = Reading("h/s/d", "meter", 0, {"power_w": 0.0, "frequency_hz": MISSING[Absence.SENTINEL]})
    assert reading.number("power_w") == 0.0 and reading.number("frequency_hz") is None
    assert reading.get("voltage_l1_v") == Missing(Absence.NOT_ASKED)


def test_units_of_makers():
    assert to_canonical("kWh") == ("Wh", 1000.0, 0.0)
    unit, factor, offset = to_canonical("F")
    assert unit == "C" and 212 * factor + offset == pytest.approx(100)
    with pytest.raises(KeyError, match="furlong"):
        to_canonical("furlong")
