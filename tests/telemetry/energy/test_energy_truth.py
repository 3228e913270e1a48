# SPDX-License-Identifier: Apache-2.0
"""A month of one-second readings of meters whose truth is known: registers that floor, reset, fall silent, are replaced.

Truth is in whole watt-seconds, so that nothing is rounded but what the register itself rounds. The month is March in a zone
with summer time: one of its days has 23 hours.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from numpy.typing import NDArray

from kernel.clock import MS_PER_HOUR, MS_PER_S
from kernel.reading import Column, ReadingBatch
from kernel.span import Slots, Span, even_slots, local_day, local_month
from telemetry.energy.energy_register import Basis, Change, RegisterTerms, Samples, pieces_of
from telemetry.energy.series import energy_on_slots, on_slots
from telemetry.io.archive_parquet import ParquetArchive
from telemetry.io.journal_sqlite import open_journal
from tests.servers import count

pytestmark = pytest.mark.timeout(3600)

ZONE = ZoneInfo("Europe/Berlin")
MONTH = local_month(2026, 3, ZONE)
TERMS = RegisterTerms(most_w=3e6, gap_s=5.0, resolution_wh=10.0)


@dataclass(frozen=True)
class Truth:
    """One meter: what it said, and what flowed. Instants are whole seconds from the month's start."""

    samples: Samples
    changes: tuple[Change, ...]
    true_ws: NDArray[np.int64]  # cumulative, at each second
    odd_s: tuple[int, ...]  # resets and replacements
    counted: NDArray[np.bool_]  # seconds with a true count
    resolution_wh: float

    def true_wh(self, slots: Slots) -> NDArray[np.float64]:
        at = (slots.edges_ms - MONTH.start_ms) // MS_PER_S
        return np.diff(self.true_ws[at]) / 3600


@lru_cache(maxsize=1)
def meter(seed: int, span: Span = MONTH) -> Truth:
    chance = np.random.default_rng(seed)
    seconds = int(span.seconds)
    steps = np.arange(seconds + 1)
    level_w = chance.integers(50_000, 2_000_000)
    per_minute = np.clip(chance.normal(level_w, level_w / 20, seconds // 60 + 2), 0, 2.9e6).astype(np.int64)
    off = chance.integers(0, seconds // 60, 3)
    for start in off:
        per_minute[start : start + 90] = 0  # curtailed
    power_w = per_minute[steps // 60]
    true_ws = np.concatenate(([0], np.cumsum(power_w[:-1])))

    resolution_wh = float(chance.choice([1.0, 10.0, 100.0]))
    resets = np.sort(chance.integers(3600, seconds - 3600, 3))
    replaced = int(chance.integers(5 * 3600, seconds - 5 * 3600))
    while np.any(np.abs(resets - replaced) < 4000) or np.any(np.diff(resets) < 4000):
        resets = np.sort(chance.integers(3600, seconds - 3600, 3))
    first_wh = int(chance.integers(0, 4_000_000_000))
    base_ws = np.full(seconds + 1, first_wh * 3600, dtype=np.int64)
    changes = []
    for at in resets:
        base_ws[at:] = -true_ws[at]
    new_wh = int(chance.integers(0, 5000))
    final_wh = (true_ws[replaced] + base_ws[replaced]) / 3600
    later = np.arange(seconds + 1) >= replaced
    next_reset = resets[resets > replaced]
    later[next_reset[0] if len(next_reset) else seconds + 1 :] = False
    base_ws[later] = new_wh * 3600 - true_ws[replaced]
    counts = np.floor((true_ws + base_ws) / 3600 / resolution_wh) * resolution_wh
    act_ms = span.start_ms + replaced * 1000
    floored = np.floor(np.array([final_wh, float(new_wh)]) / resolution_wh) * resolution_wh
    changes.append(Change(act_ms, final_wh=float(floored[0]), initial_wh=float(floored[1])))

    heard = np.ones(seconds + 1, dtype=np.bool_)
    for start in chance.integers(7200, seconds - 30_000, 6):
        length = int(chance.choice([30, 400, 5000, 20_000]))
        near = np.concatenate((resets, [replaced]))
        if np.all((near < start - 10) | (near > start + length + 10)):
            heard[start : start + length] = False
    quiet_off = chance.random(seconds + 1) < 0.0005  # single answers lost
    odd = np.concatenate((resets, resets - 1, [replaced, replaced - 1, replaced + 1]))
    quiet_off[odd] = False
    heard &= ~quiet_off
    heard[0] = heard[-1] = True

    wrong = chance.random(seconds + 1) < 0.00002
    wrong[np.concatenate([odd + k for k in range(-4, 5)])] = False
    wrong[[0, -1]] = False
    reported = np.where(wrong, chance.choice([0.0, 4.2e9 * 10], seconds + 1), counts)
    no_count = chance.random(seconds + 1) < 0.001  # the register's own "no value"
    no_count[odd] = False
    no_count[[0, -1]] = False
    chosen = np.flatnonzero(heard)
    at_ms = span.start_ms + chosen * 1000
    samples = Samples(
        at_ms.astype(np.int64),
        reported[chosen],
        ~no_count[chosen],
        power_w[chosen].astype(np.float64),
        np.ones(len(chosen), dtype=np.bool_),
    )
    return Truth(
        samples, tuple(changes), true_ws, (*resets.tolist(), replaced), heard & ~wrong & ~no_count, resolution_wh
    )


def hours_of_month() -> Slots:
    return even_slots(MONTH, 3600)


def odd_in(truth: Truth, slots: Slots) -> NDArray[np.int64]:
    at_ms = MONTH.start_ms + np.array(truth.odd_s) * 1000
    return np.histogram(at_ms, bins=slots.edges_ms)[0]


def test_the_month_has_743_hours_and_one_short_day() -> None:
    assert len(hours_of_month()) == 743
    from datetime import date

    assert local_day(date(2026, 3, 29), ZONE).hours == 23.0


def test_energy_of_each_hour_is_exact_to_the_register() -> None:
    slots = hours_of_month()
    for seed in range(count(1, 100)):
        truth = meter(seed)
        energy = energy_on_slots(truth.samples, slots, TERMS, truth.changes)
        true_wh = truth.true_wh(slots)
        resolution = truth.resolution_wh

        bridged = energy.by_basis_uwh[Basis.BRIDGED] > 0
        error = np.abs(energy.energy_wh - true_wh)
        # A register tells whole counts: an edge is known to one count, and each reset or replacement is one edge more.
        # Where no count fell on an edge, it lies on a line between those a few seconds around it.
        at_edge = truth.counted[(slots.edges_ms - MONTH.start_ms) // MS_PER_S]
        line_wh = np.where(at_edge[:-1] & at_edge[1:], 0.0, 2.9e6 * 5 / 3600 / 2)
        # The second of a reset is the integral of two powers: exact to half their step.
        odd = np.array(truth.odd_s)
        step_wh = np.abs(np.diff(truth.true_ws, n=2)[odd - 1]) / 3600 / 2
        integral_wh = np.histogram(MONTH.start_ms + odd * 1000, bins=slots.edges_ms, weights=step_wh)[0]
        allowed = resolution * (1 + 2 * odd_in(truth, slots)) + line_wh + integral_wh
        assert at_edge.mean() > 0.9
        assert (error[~bridged] <= allowed[~bridged] + 1e-6).all(), (seed, np.argmax(error - allowed))

        whole = abs(energy.total_wh() - truth.true_ws[-1] / 3600)
        assert whole <= resolution * (1 + 2 * len(truth.odd_s)) + step_wh.sum(), seed
        assert energy.by_basis_uwh[Basis.INTEGRAL].sum() / 1e6 <= 3 * 2.9e6 / 3600, "only the seconds of the resets"
        kinds = [oddity.what for oddity in energy.oddities]
        assert kinds.count("reset") == 3 and kinds.count("replaced") == 1 and "jumped" not in kinds, (seed, kinds)


def test_what_a_gap_holds_is_known_as_a_sum() -> None:
    """Hours within a gap are bridged: their sum is exact to the register, and said to be bridged."""
    slots = hours_of_month()
    for seed in range(count(1, 100)):
        truth = meter(seed)
        pieces = pieces_of(truth.samples, TERMS, truth.changes)
        bridged = on_slots(pieces, slots).by_basis_uwh[Basis.BRIDGED] > 0
        edges = np.flatnonzero(np.diff(np.concatenate(([0], bridged.astype(int), [0]))))
        for first, last in edges.reshape(-1, 2):
            span = Slots(np.array([slots.edges_ms[first], slots.edges_ms[last]], dtype=np.int64))
            reported = on_slots(pieces, span).total_wh()
            allowed = truth.resolution_wh * (1 + 2 * odd_in(truth, span)[0]) + 2 * 2.9e6 * 3 / 3600
            assert abs(reported - truth.true_wh(span)[0]) <= allowed, (seed, first)


def test_coverage_is_the_share_of_time_with_samples() -> None:
    slots = hours_of_month()
    for seed in range(count(1, 100)):
        truth = meter(seed)
        energy = energy_on_slots(truth.samples, slots, TERMS, truth.changes)
        counted = np.flatnonzero(truth.counted)
        lengths = np.diff(counted)
        near = np.repeat(lengths <= TERMS.gap_s, lengths)
        expected = near[: len(slots) * 3600].reshape(len(slots), 3600).mean(axis=1)
        clean = odd_in(truth, slots) == 0
        assert np.abs(energy.coverage - expected)[clean].max() < 0.003, seed
        assert (energy.reported[clean] > 0.9999).all()


def test_any_range_of_days_adds_up_to_the_same_sums() -> None:
    """Also one that misses the first of the month, asked from the samples of that range and a little around it."""
    from datetime import date

    truth = meter(0)
    pieces = pieces_of(truth.samples, TERMS, truth.changes)
    whole = on_slots(pieces, hours_of_month())
    by_hour = dict(zip(whole.slots.starts_ms.tolist(), whole.energy_uwh.tolist(), strict=True))
    for first, last in ((2, 9), (11, 12), (28, 30), (17, 31)):
        span = Span(local_day(date(2026, 3, first), ZONE).start_ms, local_day(date(2026, 3, last), ZONE).end_ms)
        near = (truth.samples.at_ms >= span.start_ms - 30_000_000) & (truth.samples.at_ms <= span.end_ms + 30_000_000)
        part = energy_on_slots(truth.samples.taken(np.flatnonzero(near)), even_slots(span, 3600), TERMS, truth.changes)
        assert part.energy_uwh.tolist() == [by_hour[start] for start in part.slots.starts_ms.tolist()]
        days = [local_day(date(2026, 3, day), ZONE) for day in range(first, last + 1)]
        edges = Slots(np.array([days[0].start_ms, *(day.end_ms for day in days)], dtype=np.int64))
        by_day = on_slots(pieces, edges)
        assert int(by_day.energy_uwh.sum()) == int(part.energy_uwh.sum())


def test_the_same_through_journal_and_archive(tmp_path: Path) -> None:
    """Six hours of two meters, journalled by the minute, sealed, and asked back: the same figures."""
    journal = open_journal(tmp_path / "journal")
    archive = ParquetArchive(tmp_path / "archive", journal)
    hours = Span(MONTH.start_ms, MONTH.start_ms + 6 * MS_PER_HOUR)
    truths = {f"hub/site/meter-{seed}": meter(seed, Span(MONTH.start_ms, hours.end_ms + 40_000_000)) for seed in (1, 2)}
    for start_ms in range(hours.start_ms, hours.end_ms + 60_000, 60_000):
        batches = []
        for device, truth in truths.items():
            s = truth.samples
            rows = np.flatnonzero((s.at_ms >= start_ms) & (s.at_ms < start_ms + 60_000))
            if len(rows):
                codes = np.where(s.energy_ok[rows], 0, 4).astype(np.uint8)
                columns = {
                    "power_w": Column(s.power_w[rows], np.zeros(len(rows), dtype=np.uint8)),
                    "energy_import_wh": Column(s.energy_wh[rows], codes),
                }
                batches.append(ReadingBatch("meter", [device] * len(rows), s.at_ms[rows], columns))
        if batches:
            journal.append(batches, [])
    archive.seal(hours.start_ms + 4 * MS_PER_HOUR)
    slots = even_slots(hours, 900)
    for device, truth in truths.items():
        near = np.flatnonzero(truth.samples.at_ms < hours.end_ms + 60_000)
        expected = energy_on_slots(truth.samples.taken(near), slots, TERMS, truth.changes)
        found = archive.energy(device, slots, TERMS, truth.changes)
        assert found.energy_uwh.tolist() == expected.energy_uwh.tolist()
        assert found.coverage.tolist() == expected.coverage.tolist()
