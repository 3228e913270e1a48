# SPDX-License-Identifier: Apache-2.0
from typing import Any

import numpy as np
import pytest

from kernel.reading import Reading
from kernel.units import MS_PER_DAY
from miner_control.fleet.fleet import UNSURE, Roster, never_commanded
from miner_control.fleet.observed import UnitValues
from miner_control.health.health import PerformanceReference, degraded
from miner_control.health.performance_reference import (
    DAYS_KEPT,
    ENOUGH_SAMPLES,
    FIGURES,
    PerformanceReferences,
    RecentBehaviour,
    Round,
    medians,
    others_factor,
    performance_references,
)
from tests.miner_control.fleets import NOW_MS, envelope, roster, seen

DAWN_MS = NOW_MS - NOW_MS % MS_PER_DAY


class Fleet:
    """Three units on a clock moved by hand, all hashing in their normal mode unless told otherwise."""

    def __init__(self) -> None:
        self.who: Roster = roster([envelope()], 3)
        self.book = PerformanceReferences(self.who.index)
        self.lately = RecentBehaviour(self.who, 1800.0)
        self.now_ms = DAWN_MS
        self.shares = np.full(3, 100.0)

    def round(self, after_s: float = 600.0, *, scale: float = 1.0, mode: Any = 1, named: bool = True) -> Round:
        self.now_ms += round(after_s * 1000)
        said = seen(self.who, mode=0, scale=scale)
        said.mode[:] = mode
        said.at_ms[:] = self.now_ms
        running = np.where(said.mode >= 0, said.mode, 1)
        said.power_w[:] = self.who.mode_power_w[self.who.group, running] * scale
        said.hashrate_hs[:] = self.who.mode_hashrate_hs[self.who.group, running]
        at_ms, yes = np.full(3, self.now_ms), np.ones(3, dtype=np.bool_)
        reported = {
            "mode": UnitValues(np.zeros(3), at_ms, yes if named else ~yes),
            "temp_chip_max_c": UnitValues(np.full(3, 70.0), at_ms, np.array([True, True, False])),
            "shares_accepted": UnitValues(self.shares.copy(), at_ms, np.array([True, True, False])),
        }
        return self.lately.look(self.who, said, never_commanded(self.who), reported, self.book, self.now_ms, 600.0)

    def run(self, hours: float, **how: Any) -> Round:
        found = self.round(**how)
        for _ in range(round(hours * 6) - 1):
            self.day()
            found = self.round(**how)
        self.day()
        return found

    def day(self) -> dict[str, Any] | None:
        body = self.lately.day(self.who, self.now_ms)
        if body is not None:
            self.book.apply(body)
        return body


def test_medians_are_those_of_what_is_there():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(9, 3, 50)).astype(np.float32)
    values[rng.random(values.shape) < 0.4] = np.nan
    values[:, 0, 0] = np.nan
    found = medians(values)
    assert np.isnan(found[0, 0])
    there = ~np.isnan(values).all(axis=0)
    assert found[there] == pytest.approx(np.nanmedian(values[:, there], axis=0))


def test_a_day_is_reported_once_and_becomes_the_reference():
    fleet = Fleet()
    fleet.run(23.5)
    assert fleet.book.of(0) == (dict.fromkeys(FIGURES), 0)
    fleet.run(1.0)
    figures, days = fleet.book.of(0)
    assert days == 1 and figures == {"hashrate_hs": 1e14, "j_per_th": 30.0, "chip_c": 70.0}
    assert fleet.book.of(2)[0]["chip_c"] is None, "nobody told it"
    assert fleet.day() is None
    fleet.run(24.0)
    assert fleet.book.of(0)[1] == 2


def test_units_that_run_little_keep_their_samples_for_another_day():
    fleet = Fleet()
    fleet.run(3.0)
    fleet.run(21.5, mode=0)
    assert fleet.book.of(0)[1] == 0, "three hours are no day, and the low mode is not the normal one"
    fleet.run(4.5)
    fleet.run(20.0, mode=0)
    assert fleet.book.of(0) == ({"hashrate_hs": 1e14, "j_per_th": 30.0, "chip_c": 70.0}, 1)


def test_one_bad_day_changes_nothing_and_half_of_them_do():
    book = PerformanceReferences({"a": 0})
    for day in range(DAYS_KEPT):
        value = 30.0 if day < DAYS_KEPT - 5 else 40.0
        book.apply(
            {"devices": ["a", "gone"], "hashrate_hs": [1e14, 1.0], "j_per_th": [value, 1.0], "chip_c": [None, 1.0]}
        )
    assert book.of(0) == ({"hashrate_hs": 1e14, "j_per_th": 30.0, "chip_c": None}, DAYS_KEPT)
    for _ in range(30):
        book.apply({"devices": ["a"], "hashrate_hs": [1e14], "j_per_th": [40.0], "chip_c": [None]})
    assert book.of(0)[0]["j_per_th"] == 40.0


def test_another_firmware_is_learnt_anew_and_old_samples_are_not_taken_for_it():
    fleet = Fleet()
    fleet.run(24.5)
    fleet.run(20.0)
    fleet.book.forget(fleet.who.devices[0])
    assert fleet.book.of(0)[1] == 0 and fleet.book.of(1)[1] == 1
    assert np.isnan(fleet.round(scale=1.1).lately_j_per_th[0])
    fleet.run(4.0, scale=1.1)
    assert fleet.book.of(0)[1] == 0, "fewer samples than enough since"
    fleet.run(ENOUGH_SAMPLES + 18.0, scale=1.1)
    assert fleet.book.of(0)[0]["j_per_th"] == pytest.approx(33.0)


def test_what_it_needs_lately_is_of_many_rounds_in_the_normal_mode():
    fleet = Fleet()
    assert np.isnan(fleet.round().lately_j_per_th).all()
    fleet.run(2.0)
    assert fleet.round(scale=1.5).lately_j_per_th == pytest.approx(30.0), "one swing"
    assert fleet.run(1.5, scale=1.2).lately_j_per_th == pytest.approx(36.0)
    assert np.isnan(fleet.round(mode=0).lately_j_per_th).all(), "not in its normal mode now"
    assert fleet.run(2.0, mode=UNSURE, named=False, scale=1.2).steady.all(), "a firmware that names no mode"
    assert not fleet.run(2.0, mode=UNSURE).steady.any(), "a mode that the envelope does not know"


def test_time_without_shares_counts_only_hashing_between_reports():
    fleet = Fleet()
    fleet.run(1.0)
    found = fleet.round()
    assert found.no_share_s[:2].tolist() == [3600.0, 3600.0] and np.isnan(found.no_share_s[2])
    assert not found.shares_rose.any()
    fleet.shares[0] += 1
    found = fleet.round()
    assert found.no_share_s[:2].tolist() == [0.0, 4200.0] and found.shares_rose.tolist() == [True, False, False]
    fleet.shares[1] = 0.0
    found = fleet.round()
    assert found.no_share_s[1] == 0.0 and not found.shares_rose[1], "a counter that begins anew is no share"


def test_the_checks_get_none_where_nothing_is_known():
    fleet = Fleet()
    fleet.run(24.5)
    usual = performance_references(fleet.book, fleet.round(), fleet.who.group)
    assert (usual[0].hashrate_hs, usual[0].j_per_th, usual[0].lately_j_per_th) == pytest.approx((1e14, 30.0, 30.0))
    assert usual[2].chip_c is None and usual[2].no_share_s is None and usual[0].no_share_s is not None
    nothing = performance_references(PerformanceReferences(fleet.who.index), Fleet().round(), fleet.who.group)
    assert nothing[0].j_per_th is None and nothing[0].lately_j_per_th is None


def test_a_hot_week_is_nobodys_wear_and_hides_none():
    """All need more than they used to; who needs much more than those alike is worn all the same."""
    hashing = {"state": "hashing", "mode": "normal", "hashrate_hs": 100e12}

    def worn(ratio: list[float], group: list[int]) -> list[int]:
        others = others_factor(np.array(ratio, dtype=np.float32), np.array(group))
        usual = [
            PerformanceReference(100e12, 30.0, lately_j_per_th=30.0 * r, others_factor=float(o))
            for r, o in zip(ratio, others, strict=True)
        ]
        readings = [Reading(f"h/s/m{at}", "miner", 1, hashing) for at in range(len(ratio))]
        return [at for at, one in enumerate(usual) if degraded(readings[at], envelope(), one, None) is not None]

    hot = [1.10, 1.11, 1.09, 1.10, 1.10, 1.10, 1.25, 1.10, 1.09]
    assert worn(hot, [0] * 9) == [6]
    assert worn(hot[:4], [0] * 4) == [0, 1, 2, 3], "four alone prove no weather"
    assert worn([*hot, 1.0, 1.0, 1.0, 1.1, 1.0], [0] * 9 + [1] * 5) == [6, 12], "each kind by its own"
    assert worn([1.3] * 9, [0] * 9) == list(range(9)), "so much no weather explains"
    assert worn([0.95] * 8 + [1.07], [0] * 9) == [], "in the cold nobody is asked for more than it used to do"
