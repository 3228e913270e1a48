# SPDX-License-Identifier: Apache-2.0
"""Port of the archive, its folder layout and rollups: completed hours in files, never changed in place.

    archive/
      sealed.json                        per kind, the journal position up to which all of a closed hour is in files
      raw/<kind>/<day>/<hour>.parquet    every reading of the hour, sorted by device and time
      <step>/<kind>/<day>/<hour>.parquet rollups: min, max, mean and count of gauges, first and last of counters
      <layer>/<kind>/<day>/day.parquet   a compacted day, which replaces its hour files

A reader takes `sealed.json` first, then the files, then the records of the journal after that position: so it misses nothing
while sealing runs, and a record found twice is counted once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any, Protocol

from kernel.clock import MS_PER_HOUR, to_datetime
from kernel.metric import SCHEMAS, Nature
from kernel.span import Slots, Span, floor_ms
from telemetry.energy.energy_register import Change, RegisterTerms, Samples
from telemetry.energy.series import SlotEnergy


class Step(StrEnum):
    """Lengths of rollup slots."""

    MINUTE = "1m"
    QUARTER = "15m"
    HOUR = "1h"

    @property
    def ms(self) -> int:
        return {"1m": 60_000, "15m": 900_000, "1h": MS_PER_HOUR}[self.value]


_ROLLED_OF_MINERS = ("power_w", "hashrate_hs", "temp_board_max_c", "temp_chip_max_c", "temp_inlet_c")
"""Gauges of miners that are rolled up: for 10 000 miners polled every 30 s, 1-min rollups of all would exceed the readings."""


def rolled_gauges(kind: str) -> tuple[str, ...]:
    """Gauges of a kind that are rolled up."""
    gauges = tuple(name for name, metric in SCHEMAS[kind].items() if metric.nature is Nature.GAUGE)
    return tuple(name for name in gauges if kind != "miner" or name in _ROLLED_OF_MINERS)


def rolled_counters(kind: str) -> tuple[str, ...]:
    """Counters of a kind of which the first and last count per slot are kept."""
    counters = tuple(name for name, metric in SCHEMAS[kind].items() if metric.nature is Nature.COUNTER)
    return () if kind == "miner" else counters


def hour_file(layer: str, kind: str, hour_ms: int) -> PurePosixPath:
    """Path of an hour's file below the archive's folder; `layer` is "raw" or a Step."""
    at = to_datetime(hour_ms)
    return PurePosixPath(layer, kind, at.strftime("%Y-%m-%d"), at.strftime("%H") + ".parquet")


def day_file(layer: str, kind: str, at_ms: int) -> PurePosixPath:
    """Path of a compacted day: all its hours in one file."""
    return PurePosixPath(layer, kind, to_datetime(at_ms).strftime("%Y-%m-%d"), "day.parquet")


def hours_of(span: Span) -> range:
    """Starts of the UTC hours that a span touches."""
    return range(floor_ms(span.start_ms, MS_PER_HOUR), span.end_ms, MS_PER_HOUR)


@dataclass(frozen=True, slots=True)
class Sealed:
    """One hour of one kind, as written: `rows` readings in `bytes_used` bytes, with the SHA-256 of the file."""

    kind: str
    hour_ms: int
    path: str
    rows: int
    bytes_used: int
    sha256: str


class Archive(Protocol):
    """All readings, from files of sealed hours and from the journal, as one store."""

    def seal(self, now_ms: int, grace_s: float = 300.0) -> list[Sealed]:
        """Write every hour that ended at least `grace_s` ago and is not completely in files."""

    def sealed_position(self) -> int:
        """Journal position up to which every batch is in files; the journal may be trimmed up to it."""

    def readings(
        self, kind: str, span: Span, devices: Sequence[str] | None = None, metrics: Sequence[str] | None = None
    ) -> Any:
        """Arrow table: device, at_ms, position and the metrics (null where missing), sorted by device and time."""

    def rollup(self, kind: str, metric: str, step: Step, span: Span, devices: Sequence[str] | None = None) -> Any:
        """Arrow table of a gauge: device, start_ms, min, max, mean, count; of a counter: first, last, count."""

    def samples(self, device: str, span: Span, energy: str = "energy_import_wh", power: str = "power_w") -> Samples:
        """Samples of one register in order of arrival, with those next to the span on either side."""

    def energy(
        self, device: str, slots: Slots, terms: RegisterTerms | None = None, changes: Sequence[Change] = ()
    ) -> SlotEnergy:
        """Energy per slot of one meter."""

    def frames(self, device: str, span: Span) -> list[tuple[int, str]]:
        """(instant, SHA-256) of the raw frames stored for a meter, in order of time."""

    def first_ms(self, device: str) -> int | None:
        """Instant of the first reading of a meter; None where there is none."""

    def query(self, sql: str, span: Span, **values: Any) -> Any:
        """Rows of SQL over the views `miner`, `meter`, `container`, `sensor`, `switch` of a span, as an Arrow table."""
