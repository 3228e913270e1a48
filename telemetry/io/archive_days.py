# SPDX-License-Identifier: Apache-2.0
"""Compaction of completed days: hour files are merged into one day file (365 files a year, not 8,760).

The day file is written completely first; from then on it replaces the hour files for all readers. The hour files are deleted
some time later, so that a reader that had listed them still finds them; each leaves a tombstone that names the day file. A
crash at any moment leaves hour files, the day file, or both: never a gap, and nothing is read twice.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kernel.clock import MS_PER_HOUR, from_iso
from kernel.units import MS_PER_DAY
from telemetry.io.archive_disk import UNTIL, replacing, sha256_of, untils_of, untils_text
from telemetry.io.archive_files import bury
from telemetry.io.archive_rows import merged, names_of, schema_of

AFTER_DAYS = 2.0
SWEEP_AFTER_MS = 600_000
_SLICE_ROWS = 500_000
_OPTIONS: dict[str, Any] = {"compression": "zstd", "use_dictionary": True, "write_statistics": True}


def compact(folder: Path, now_ms: int, after_days: float = AFTER_DAYS) -> list[Path]:
    """Create day files of days that ended `after_days` ago and have only hour files; returns those created."""
    made = []
    for day in _days(folder):
        target, hours = day / "day.parquet", _hours(day)
        ended_ms = from_iso(f"{day.name}T00:00:00Z") + MS_PER_DAY
        if target.exists() or len(hours) < 2 or now_ms - ended_ms < after_days * MS_PER_DAY:
            continue
        layer, kind = day.parent.parent.name, day.parent.name
        with replacing(target) as temporary:
            if layer == "raw":
                _join_raw(kind, hours, temporary)
            else:
                tables = [pq.read_table(path) for path in hours]
                table = pa.concat_tables(tables, promote_options="default")
                pq.write_table(_in_order(table), temporary, **_OPTIONS)
        made.append(target)
    return made


def sweep(folder: Path, now_ms: int) -> int:
    """Delete hour files whose day file is at least SWEEP_AFTER_MS old; each leaves a tombstone. Returns their number."""
    gone = 0
    for day in _days(folder):
        target, hours = day / "day.parquet", _hours(day)
        if not hours or not target.exists() or now_ms - round(target.stat().st_mtime * 1000) < SWEEP_AFTER_MS:
            continue
        rule = f"compacted into day.parquet {sha256_of(target)}"
        bury(folder, {str(path.relative_to(folder)): rule for path in hours}, now_ms)
        gone += len(hours)
    return gone


def with_others(held: pa.Table, fresh: pa.Table, hour_ms: int) -> pa.Table:
    """Rollup rows of a file, with those of one hour replaced."""
    starts = held["start_ms"].to_numpy()
    others = held.filter(pa.array(starts - starts % MS_PER_HOUR != hour_ms))
    return _in_order(pa.concat_tables([others, fresh], promote_options="default")) if others.num_rows else fresh


def _join_raw(kind: str, hours: list[Path], target: Path) -> None:
    """All rows of the hours, by device and time, for a part of the devices at a time, so that memory stays bounded."""
    files = [pq.ParquetFile(path) for path in hours]
    columns = {name for file in files for name in file.schema_arrow.names}
    names = sorted({name for path in hours for name in names_of(pq.read_table(path, columns=["device"]))})
    rows = sum(file.metadata.num_rows for file in files)
    schema = schema_of(kind, columns)
    untils: dict[int, int] = {}
    for file in files:
        untils |= untils_of(file)
    size = max(1, len(names) * _SLICE_ROWS // max(rows, 1))
    with pq.ParquetWriter(target, schema, **_OPTIONS) as writer:
        for first in range(0, len(names), size):
            chosen = pc.field("device").isin(names[first : first + size])
            table = merged([pq.read_table(path, filters=chosen) for path in hours], schema)
            if table.num_rows:
                writer.write_table(table)
        writer.add_key_value_metadata({UNTIL: untils_text(untils)})


def _in_order(table: pa.Table) -> pa.Table:
    return table.sort_by([("device", "ascending"), ("start_ms", "ascending")])


def _days(folder: Path) -> Iterator[Path]:
    return iter(sorted(path for path in folder.glob("*/*/????-??-??") if path.is_dir()))


def _hours(day: Path) -> list[Path]:
    return sorted(day.glob("[0-2][0-9].parquet"))
