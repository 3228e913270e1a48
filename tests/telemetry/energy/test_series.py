# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence

import numpy as np
import pytest

from kernel.span import Span, even_slots
from telemetry.energy.energy_register import Basis, Change, RegisterTerms, Samples
from telemetry.energy.series import energy_on_slots

T0 = 1_767_225_600_000
HOUR = 3_600_000


def made(
    at_s: Sequence[float], energy_wh: Sequence[float | None], power_w: Sequence[float | None] | None = None
) -> Samples:
    power = power_w if power_w is not None else [None] * len(at_s)
    return Samples(
        np.array([T0 + round(s * 1000) for s in at_s], dtype=np.int64),
        np.array([0.0 if v is None else v for v in energy_wh]),
        np.array([v is not None for v in energy_wh], dtype=np.bool_),
        np.array([0.0 if v is None else v for v in power]),
        np.array([v is not None for v in power], dtype=np.bool_),
    )


def hours(count: int, first: int = 0) -> Span:
    return Span(T0 + first * HOUR, T0 + (first + count) * HOUR)


def minutely(energy_wh: Sequence[float | None], power_w: Sequence[float | None] | None = None) -> Samples:
    return made([60.0 * i for i in range(len(energy_wh))], energy_wh, power_w)


def test_counter_differences_per_slot() -> None:
    samples = minutely([1000.0 + i for i in range(181)])
    energy = energy_on_slots(samples, even_slots(hours(3), 3600))
    assert energy.energy_wh.tolist() == [60.0, 60.0, 60.0]
    assert energy.coverage.tolist() == [1.0, 1.0, 1.0]
    assert energy.basis(0) == "counter" and energy.oddities == ()


def test_a_gap_is_bridged_by_the_counter_and_marked() -> None:
    at = [60.0 * i for i in range(31)] + [60.0 * i for i in range(150, 181)]
    samples = made(at, [10.0 * s / 60 for s in at], [123.0] * len(at))
    energy = energy_on_slots(samples, even_slots(hours(3), 3600))
    assert energy.total_wh() == 1800.0
    assert energy.coverage.tolist() == [0.5, 0.0, 0.5]
    assert energy.reported.tolist() == [1.0, 1.0, 1.0]
    assert energy.by_basis_uwh[Basis.INTEGRAL].sum() == 0, "never by a mean of power"
    assert energy.basis(1) == "bridged"


def test_without_a_counter_power_is_integrated_and_marked() -> None:
    samples = minutely([None] * 61, [1200.0] * 61)
    energy = energy_on_slots(samples, even_slots(hours(2), 3600))
    assert energy.energy_wh.tolist() == [1200.0, 0.0]
    assert energy.coverage.tolist() == [1.0, 0.0]
    assert energy.basis(0) == "integral" and energy.basis(1) == "missing"


def test_a_reset_loses_no_energy_where_power_was_reported() -> None:
    counts: Sequence[float | None] = [5000.0 + 20 * i for i in range(30)] + [20.0 * i for i in range(1, 32)]
    energy = energy_on_slots(minutely(counts, [1200.0] * 61), even_slots(hours(1), 3600))
    assert energy.total_wh() == 1200.0
    assert [o.what for o in energy.oddities] == ["reset"]
    assert energy.by_basis_uwh[Basis.INTEGRAL, 0] == 20_000_000


def test_a_reset_in_a_gap_leaves_the_gap_missing_not_guessed() -> None:
    at = [0.0, 60.0, 3000.0, 3060.0]
    energy = energy_on_slots(made(at, [9000.0, 9020.0, 100.0, 120.0], [1200.0] * 4), even_slots(hours(1), 3600))
    assert energy.total_wh() == 40.0
    assert energy.reported[0] == pytest.approx(120 / 3600)


def test_single_wrong_counts_are_left_out() -> None:
    counts: list[float | None] = [5000.0 + i for i in range(61)]
    counts[20], counts[40] = 0.0, 4e9
    energy = energy_on_slots(minutely(counts), even_slots(hours(1), 3600), RegisterTerms(most_w=1000.0))
    assert energy.total_wh() == 60.0 and energy.coverage[0] == 1.0
    assert [o.what for o in energy.oddities] == ["glitch", "glitch"]
    without_limit = energy_on_slots(minutely(counts), even_slots(hours(1), 3600))
    assert without_limit.total_wh() == 60.0


def test_a_roll_over_is_counted_through() -> None:
    counts: list[float | None] = [(99_990.0 + i) % 100_000 for i in range(61)]
    energy = energy_on_slots(minutely(counts), even_slots(hours(1), 3600), RegisterTerms(modulus_wh=100_000.0))
    assert energy.total_wh() == 60.0
    assert [o.what for o in energy.oddities] == ["rolled over"]


def test_a_replaced_meter_is_counted_by_its_act() -> None:
    counts: Sequence[float | None] = [7000.0 + i for i in range(30)] + [500.0 + i - 29 for i in range(30, 61)]
    act = Change(T0 + 29 * 60_000 + 30_000, final_wh=7029.5, initial_wh=500.5)
    energy = energy_on_slots(minutely(counts), even_slots(hours(1), 3600), changes=[act])
    assert energy.total_wh() == 60.0 and [o.what for o in energy.oddities] == ["replaced"]
    unknown = energy_on_slots(minutely(counts), even_slots(hours(1), 3600), RegisterTerms(most_w=1e4))
    assert unknown.total_wh() == 59.0 and unknown.reported[0] < 1.0


def test_a_jump_that_nothing_explains_is_no_consumption() -> None:
    counts: Sequence[float | None] = [7000.0 + i for i in range(30)] + [900_000.0 + i for i in range(31)]
    energy = energy_on_slots(minutely(counts, [60.0] * 61), even_slots(hours(1), 3600), RegisterTerms(most_w=1000.0))
    assert energy.total_wh() == 60.0
    assert [o.what for o in energy.oddities] == ["jumped"]


def test_a_multiplier_holds_from_its_day() -> None:
    counts: list[float | None] = [float(i) for i in range(121)]
    change = Change(T0 + HOUR, factor=40.0)
    energy = energy_on_slots(
        minutely(counts), even_slots(hours(2), 3600), RegisterTerms(factor=20.0, most_w=1e6), [change]
    )
    assert energy.energy_wh.tolist() == [1200.0, 2400.0]


def test_late_history_is_sorted_in() -> None:
    order = [*range(0, 20), *range(40, 61), *range(20, 40)]
    samples = made([60.0 * i for i in order], [10.0 * i for i in order])
    energy = energy_on_slots(samples, even_slots(hours(1), 3600))
    assert energy.total_wh() == 600.0 and energy.coverage[0] == 1.0 and energy.oddities == ()


def test_a_clock_set_back_loses_no_energy() -> None:
    true_s = np.arange(0, 4 * 3600 + 1, 60)
    reported_s = np.where(true_s > 2 * 3600, true_s - 3600, true_s)
    samples = made(reported_s.tolist(), (true_s / 60.0).tolist())
    energy = energy_on_slots(samples, even_slots(hours(3), 3600), RegisterTerms(most_w=100.0))
    assert energy.total_wh() == 240.0
    assert [o.what for o in energy.oddities] == ["clock"]


def test_a_clock_set_forward_loses_no_energy() -> None:
    true_s = np.arange(0, 3 * 3600 + 1, 60)
    reported_s = np.where(true_s > 3600, true_s + 3600, true_s)
    energy = energy_on_slots(made(reported_s.tolist(), (true_s / 60.0).tolist()), even_slots(hours(4), 3600))
    assert energy.total_wh() == 180.0
    assert energy.coverage[1] < 0.05


def test_a_slot_without_samples_is_missing() -> None:
    energy = energy_on_slots(made([], []), even_slots(hours(2), 3600))
    assert energy.energy_wh.tolist() == [0.0, 0.0] and energy.reported.tolist() == [0.0, 0.0]
    one = energy_on_slots(made([10.0], [5.0]), even_slots(hours(1), 3600))
    assert one.reported[0] == 0.0 and one.basis(0) == "missing"


def test_four_quadrants_are_four_registers() -> None:
    """Import and export each by their counter; where that fails, each by its own half of the power."""
    minutes = range(121)
    power: list[float | None] = [1200.0 if i < 60 else -600.0 for i in minutes]
    bought = [float(20 * min(i, 60)) for i in minutes]
    sold = [float(10 * max(i - 60, 0)) for i in minutes]
    at = [60.0 * i for i in minutes]
    slots = even_slots(hours(2), 3600)
    assert energy_on_slots(made(at, bought, power), slots).energy_wh.tolist() == [1200.0, 0.0]
    exports = RegisterTerms(exports=True)
    assert energy_on_slots(made(at, sold, power), slots, exports).energy_wh.tolist() == [0.0, 600.0]
    none: list[float | None] = [None] * 121
    by_power = energy_on_slots(made(at, none, power), slots, exports)
    assert by_power.basis(1) == "integral" and by_power.energy_wh[1] == pytest.approx(600.0, abs=6.0)
