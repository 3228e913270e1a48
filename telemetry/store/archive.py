# SPDX-License-Identifier: Apache-2.0
"""The archive's port, its folder and its rollups: hours that are over, in files that are never changed in place.

    archive/
      sealed.json                        per kind, the journal position up to which all of a closed hour is in files
      raw/<kind>/<day>/<hour>.parquet    every reading of the hour, sorted by device and time
      <step>/<kind>/<day>/<hour>.parquet rollups: min, max, mean and count of gauges, first and last of counters

      <layer>/<kind>/<day>/day.parquet     a compacted day: where it stands, it is the day

A reader takes `sealed.json` first, then the files, then what the journal holds after that position: so it misses nothing
while sealing goes on, and what it meets twice it counts once.
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
"""Ten thousand miners asked each 30 s: one-minute rollups of all their gauges would be larger than the readings."""


def rolled_gauges(kind: str) -> tuple[str, ...]:
    """The gauges of a kind that are rolled up."""
    gauges = tuple(name for name, metric in SCHEMAS[kind].items() if metric.nature is Nature.GAUGE)
    return tuple(name for name in gauges if kind != "miner" or name in _ROLLED_OF_MINERS)


def rolled_counters(kind: str) -> tuple[str, ...]:
    """The counters of a kind whose first and last count of a slot are kept."""
    counters = tuple(name for name, metric in SCHEMAS[kind].items() if metric.nature is Nature.COUNTER)
    return () if kind == "miner" else counters


def hour_file(layer: str, kind: str, hour_ms: int) -> PurePosixPath:
    """Where an hour stands below the archive's folder; `layer` is "raw" or a Step."""
    at = to_datetime(hour_ms)
    return PurePosixPath(layer, kind, at.strftime("%Y-%m-%d"), at.strftime("%H") + ".parquet")


def day_file(layer: str, kind: str, at_ms: int) -> PurePosixPath:
    """Where a compacted day stands: all its hours in one file."""
    return PurePosixPath(layer, kind, to_datetime(at_ms).strftime("%Y-%m-%d"), "day.parquet")


def hours_of(span: Span) -> range:
    """The starts of the UTC hours that a span touches."""
    return range(floor_ms(span.start_ms, MS_PER_HOUR), span.end_ms, MS_PER_HOUR)


@dataclass(frozen=True, slots=True)
class Sealed:
    """One hour of one kind, written: `rows` readings in `bytes_used` bytes, known by its SHA-256."""

    kind: str
    hour_ms: int
    path: str
    rows: int
    bytes_used: int
    sha256: str


class Archive(Protocol):
    """All readings, of sealed hours and of the journal's hot part, as one."""

    def seal(self, now_ms: int, grace_s: float = 300.0) -> list[Sealed]:
        """Write every hour that ended `grace_s` ago and is not, or not wholly, in files yet."""

    def sealed_position(self) -> int:
        """The journal position up to which every batch is in files: the journal may let go of it."""

    def readings(
        self, kind: str, span: Span, devices: Sequence[str] | None = None, metrics: Sequence[str] | None = None
    ) -> Any:
        """An Arrow table: device, at_ms and the metrics (null where missing), sorted by device and time."""

    def rollup(self, kind: str, metric: str, step: Step, span: Span, devices: Sequence[str] | None = None) -> Any:
        """An Arrow table of a gauge: device, start_ms, min, max, mean, count; of a counter: first, last, count."""

    def samples(self, device: str, span: Span, energy: str = "energy_import_wh", power: str = "power_w") -> Samples:
        """The samples of one register in their order of arrival, with those next to the span on either side."""

    def energy(
        self, device: str, slots: Slots, terms: RegisterTerms | None = None, changes: Sequence[Change] = ()
    ) -> SlotEnergy:
        """Energy per slot of one meter."""

    def frames(self, device: str, span: Span) -> list[tuple[int, str]]:
        """(instant, SHA-256) of the raw frames kept of a meter, in order of time."""

    def first_ms(self, device: str) -> int | None:
        """The instant of the first reading that is held of a meter; None where there is none."""

    def query(self, sql: str, span: Span, **values: Any) -> Any:
        """The rows of SQL over the views `miner`, `meter`, `container`, `sensor` of a span, as an Arrow table."""
