# SPDX-License-Identifier: Apache-2.0
"""Performance reference per miner (median over days) and recent behaviour, as columns of a site.

`PerformanceReferences` is the fold of `performance.updated`, one body a day: medians of the day, for units that ran steadily long
enough. The reference is the median over the days held, so one bad day changes nothing, and a lasting change becomes the
reference after half of them. `RecentBehaviour` holds what a running hub observed since: the samples of the next body, the
efficiency of the last rounds, and the time since the last accepted share. A restart loses it: at most one day of many, and a
few rounds in which efficiency and shares are not judged.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernel.clock import MS_PER_HOUR
from kernel.span import floor_ms
from kernel.units import HS_PER_THS, MS_PER_DAY
from miner_control.fleet.fleet import STATE_CODE, Bools, Commanded, Floats, Ints, Observed, Roster
from miner_control.fleet.miner import State
from miner_control.fleet.observed import UnitValues
from miner_control.health.health import PerformanceReference
from miner_control.health.health_events import PerformanceUpdated
from miner_control.learning.windows import Steadiness

FIGURES: Final = ("hashrate_hs", "j_per_th", "chip_c")
DAYS_KEPT: Final = 60
SAMPLES: Final = 24
"""At most one an hour; the newest of them make the median of a day."""
ENOUGH_SAMPLES: Final = 6
ROUNDS: Final = 9
"""A hashrate over few seconds fluctuates: recent efficiency is the median of this many rounds."""
ENOUGH_ROUNDS: Final = 5
ENOUGH_OTHERS: Final = 5
HOTTEST_FACTOR: Final = 1.12
"""Between the coolest and the hottest hour a T21 was observed to draw 7 % more; simulated miners draw up to 13 % more."""

Column = NDArray[np.float32]
"""NaN where there is no value; it never leaves this module."""


class PerformanceReferences:
    """Daily medians of each unit; `index` is the roster's, whose order never changes while the hub runs."""

    def __init__(self, index: Mapping[str, int]) -> None:
        self._index = index
        self._days: Column = np.full((DAYS_KEPT, len(FIGURES), len(index)), np.nan, dtype=np.float32)
        self._held = np.zeros(len(index), dtype=np.int64)
        self.forgotten = np.zeros(len(index), dtype=np.int64)
        """Number of resets of each unit: earlier observations belong to another machine or firmware."""
        self._changes = 0
        self._medians: tuple[int, Column] = (0, self._days[0].copy())

    def apply(self, body: Mapping[str, Any]) -> None:
        """Apply an event `performance.updated`; units that are no longer in the roster change nothing."""
        units = np.array([self._index.get(device, -1) for device in body["devices"]], dtype=np.int64)
        known = units >= 0
        values = np.array([body[name] for name in FIGURES], dtype=np.float32)[:, known]
        units = units[known]
        self._days[self._held[units] % DAYS_KEPT, :, units] = values.T
        self._held[units] += 1
        self._changes += 1

    def forget(self, device: str) -> None:
        """Reset a unit after a change of firmware: its reference is learnt anew."""
        unit = self._index.get(device)
        if unit is not None:
            self._days[:, :, unit] = np.nan
            self._held[unit] = 0
            self.forgotten[unit] += 1
            self._changes += 1

    @property
    def usual(self) -> Column:
        """Medians over the days, shape [figure, N]; NaN where none is known."""
        # Rounds read this in another thread: the result is recomputed where the days changed meanwhile.
        changes = int(self._changes)
        made_at, made = self._medians
        if made_at != changes:
            made = medians(self._days)
            self._medians = changes, made
        return made

    def of(self, unit: int) -> tuple[dict[str, float | None], int]:
        """(reference of one unit by figure, or None; number of days)."""
        values = (_number(value) for value in self.usual[:, unit].tolist())
        return dict(zip(FIGURES, values, strict=True)), min(int(self._held[unit]), DAYS_KEPT)


class Round(NamedTuple):
    """Result of one round for each unit, shape [N]: steady in its normal mode, recent efficiency, hashing time without an
    accepted share, and whether the count of accepted shares was ever observed to rise."""

    steady: Bools
    lately_j_per_th: Column
    no_share_s: Column
    shares_rose: Bools


class RecentBehaviour:
    """Observations since the start of the hub. `settled_s`: hashing time in one mode after which a unit is steady."""

    def __init__(self, roster: Roster, settled_s: float) -> None:
        size = len(roster)
        self._settled_s = settled_s
        self._steadiness = Steadiness.of(roster)
        self._forgotten = np.zeros(size, dtype=np.int64)
        self._samples: Column = np.full((SAMPLES, len(FIGURES), size), np.nan, dtype=np.float32)
        self._sampled = np.zeros(size, dtype=np.int64)
        self._hour_ms = np.full(size, -1, dtype=np.int64)
        self._day_ms: int | None = None
        self._rounds: Column = np.full((ROUNDS, size), np.nan, dtype=np.float32)
        self._turns = np.zeros(size, dtype=np.int64)
        self._shares, self._shares_ms = np.zeros(size), np.zeros(size, dtype=np.int64)
        self._stands_ms, self._idle_ms = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
        self._rose = np.zeros(size, dtype=np.bool_)

    def look(
        self,
        roster: Roster,
        observed: Observed,
        commanded: Commanded,
        reported: Mapping[str, UnitValues],
        book: PerformanceReferences,
        now_ms: int,
        fresh_s: float,
    ) -> Round:
        """Add one round. `reported` are the columns `mode`, `temp_chip_max_c` and `shares_accepted` of the snapshot."""
        anew = book.forgotten != self._forgotten
        self._sampled[anew] = self._turns[anew] = 0
        self._forgotten = book.forgotten.copy()
        normal = roster.normal[roster.group]
        # A firmware without mode names runs in the mode last commanded; one that reports another mode runs in that.
        unnamed = np.where(commanded.on_mode >= 0, commanded.on_mode, normal)
        mode = np.where(reported["mode"].has, observed.mode, unnamed).astype(np.int8)
        steady = self._steadiness.look(replace(observed, mode=mode), commanded, now_ms, fresh_s, self._settled_s)
        steady = steady & (mode == normal) & observed.has_hashrate & (observed.hashrate_hs > 0.0)
        j_per_th = np.full(len(roster), np.nan)
        both = np.flatnonzero(steady & observed.has_power)
        j_per_th[both] = observed.power_w[both] / (observed.hashrate_hs[both] / HS_PER_THS)
        chip = reported["temp_chip_max_c"]
        self._take(steady, observed.hashrate_hs, j_per_th, np.where(chip.has, chip.values, np.nan), now_ms)
        self._rounds[self._turns[both] % ROUNDS, both] = j_per_th[both]
        self._turns[both] += 1
        held = np.arange(ROUNDS)[:, None] < np.minimum(self._turns, ROUNDS)
        sure = steady & (self._turns >= ENOUGH_ROUNDS)
        lately = np.where(sure, medians(np.where(held, self._rounds, np.float32(np.nan))), np.float32(np.nan))
        no_share_s = self._shares_stand(observed, commanded, reported["shares_accepted"], now_ms, fresh_s)
        return Round(steady, lately, no_share_s, self._rose.copy())

    def _take(self, steady: Bools, rate: Floats, j_per_th: Floats, chip: Floats, now_ms: int) -> None:
        """Keep one sample an hour of each steady unit."""
        hour_ms = floor_ms(now_ms, MS_PER_HOUR)
        units = np.flatnonzero(steady & (self._hour_ms != hour_ms))
        sample = np.stack([rate[units], j_per_th[units], chip[units]], axis=1)
        self._samples[self._sampled[units] % SAMPLES, :, units] = sample.astype(np.float32)
        self._sampled[units] += 1
        self._hour_ms[units] = hour_ms

    def _shares_stand(
        self, observed: Observed, commanded: Commanded, shares: UnitValues, now_ms: int, fresh_s: float
    ) -> Column:
        """Hashing time of each unit during which its count of accepted shares stood still, by its reports of that count."""
        newer = shares.has & (shares.at_ms > self._shares_ms)
        changed = newer & ((self._shares_ms == 0) | (shares.values != self._shares))
        self._rose |= changed & (self._shares_ms > 0) & (shares.values > self._shares)
        self._stands_ms = np.where(changed, shares.at_ms, self._stands_ms)
        self._shares = np.where(newer, shares.values, self._shares)
        self._shares_ms = np.where(newer, shares.at_ms, self._shares_ms)
        fresh = (observed.at_ms > 0) & (now_ms - observed.at_ms <= fresh_s * 1000)
        self._idle_ms = np.where(fresh & (observed.state == STATE_CODE[State.HASHING]), self._idle_ms, now_ms)
        since_ms = np.maximum(np.maximum(self._stands_ms, self._idle_ms), commanded.since_ms)
        stood_s = np.maximum(0, self._shares_ms - since_ms) / 1000.0
        return np.where(shares.has & (self._shares_ms > 0), stood_s, np.nan).astype(np.float32)

    def day(self, roster: Roster, now_ms: int) -> PerformanceUpdated | None:
        """The body of `performance.updated` when a UTC day is over: medians of the units with enough samples, which start anew.

        Units that ran too little keep their samples for another day. None where no unit has enough.
        """
        before_ms, self._day_ms = self._day_ms, floor_ms(now_ms, MS_PER_DAY)
        if before_ms is None or before_ms == self._day_ms:
            return None
        units = np.flatnonzero(self._sampled >= ENOUGH_SAMPLES)
        if not len(units):
            return None
        held = np.arange(SAMPLES)[:, None, None] < np.minimum(self._sampled[units], SAMPLES)
        found = medians(np.where(held, self._samples[:, :, units], np.float32(np.nan)))
        self._sampled[units] = 0
        columns = {name: [_number(value) for value in found[at].tolist()] for at, name in enumerate(FIGURES)}
        return {
            "day_ms": before_ms, "devices": [roster.devices[unit] for unit in units.tolist()],
            "hashrate_hs": columns["hashrate_hs"], "j_per_th": columns["j_per_th"], "chip_c": columns["chip_c"],
        }  # fmt: skip


def performance_references(book: PerformanceReferences, observed: Round, group: Ints) -> list[PerformanceReference]:
    """References for the health checks, one per unit. `group[N]`: units of one group are alike."""
    usual = book.usual
    columns = [_optional(column) for column in (*usual, observed.no_share_s, observed.lately_j_per_th)]
    others = others_factor(observed.lately_j_per_th / usual[FIGURES.index("j_per_th")], group)
    return [
        PerformanceReference(*row) for row in zip(*columns, observed.shares_rose.tolist(), others.tolist(), strict=True)
    ]


def others_factor(ratio: Column, group: Ints) -> Column:
    """Present over usual J/TH of like units, at least 1, shape [N]: a hot week is no sign of wear.

    `ratio[N]`: the same for each unit, NaN where unknown. The result is the median of the unit's group; of all units where
    fewer than `ENOUGH_OTHERS` of the group are known; 1 where fewer are known at all. It is capped at `HOTTEST_FACTOR`,
    since no weather explains more.
    """
    found: Column = np.ones(len(ratio), dtype=np.float32)
    known = ~np.isnan(ratio)
    if int(known.sum()) < ENOUGH_OTHERS:
        return found
    found[:] = np.median(ratio[known])
    for one in np.unique(group[known]).tolist():
        alike = ratio[known & (group == one)]
        if len(alike) >= ENOUGH_OTHERS:
            found[group == one] = np.median(alike)
    return np.asarray(np.clip(found, 1.0, HOTTEST_FACTOR), dtype=np.float32)


def _optional(column: Column) -> list[float | None]:
    return [None if gap else value for value, gap in zip(column.tolist(), np.isnan(column).tolist(), strict=True)]


def medians(values: Column) -> Column:
    """Medians along the first axis without NaN; NaN where there is no value."""
    ordered = np.sort(values, axis=0)
    count = np.sum(~np.isnan(values), axis=0, keepdims=True)
    low, high = np.maximum(0, (count - 1) // 2), np.minimum(count // 2, len(values) - 1)
    picked = np.take_along_axis(ordered, low, axis=0) + np.take_along_axis(ordered, high, axis=0)
    found: Column = np.asarray(picked[0] / np.float32(2.0), dtype=np.float32)
    return found


def _number(value: float) -> float | None:
    """None for NaN; else five digits, so that a day of ten thousand miners stays small."""
    return None if value != value else float(f"{value:.5g}")
