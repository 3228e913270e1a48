# SPDX-License-Identifier: Apache-2.0
"""Retention and export of archive files: deletion with tombstones, readings as Parquet or CSV."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from kernel.clock import to_datetime
from kernel.span import Span
from telemetry.io.archive_disk import sha256_of
from telemetry.store.archive import Archive, Step
from telemetry.store.retention import DEFAULT_DAYS, Hold, Tombstone, expired, tombstone_of, tombstones

_DELETED = "deleted.jsonl"


def keep_within(
    folder: Path,
    now_ms: int,
    holds: Sequence[Hold],
    days: Mapping[tuple[str, str], float | None] = DEFAULT_DAYS,
) -> list[Tombstone]:
    """Delete expired files. Tombstones are on disk before the first file is deleted; a crash in between leaves files, never
    gaps.
    """
    paths = [str(path.relative_to(folder)) for path in sorted(folder.glob("*/*/*/*.parquet"))]
    going = dict(expired(paths, now_ms, holds, days))
    if not going:
        return []
    return bury(folder, going, now_ms)


def bury(folder: Path, going: Mapping[str, str], now_ms: int) -> list[Tombstone]:
    """Delete files (path below the folder to rule), tombstones first."""
    paths = [str(path.relative_to(folder)) for path in sorted(folder.glob("*/*/*/*.parquet"))]
    buried = {stone.path: stone for stone in deleted(folder)}
    stones: list[Tombstone] = []
    for day in sorted({str(Path(path).parent) for path in going}):
        here = [path for path in paths if str(Path(path).parent) == day]
        hashes = {path: stone.sha256 for path, stone in buried.items() if str(Path(path).parent) == day}
        hashes |= {path: sha256_of(folder / path) for path in here}
        stones += tombstones(sorted(hashes.items()), {path: going[path] for path in here if path in going}, now_ms)
    fresh = [stone for stone in stones if buried.get(stone.path) is None or buried[stone.path].sha256 != stone.sha256]
    with (folder / _DELETED).open("ab+") as file:
        if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
            file.write(b"\n")  # a line cut off by a crash stays separate
        file.write(b"".join(orjson.dumps(stone.to_json(), option=orjson.OPT_SORT_KEYS) + b"\n" for stone in fresh))
        file.flush()
        os.fsync(file.fileno())
    for stone in stones:
        (folder / stone.path).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            (folder / stone.path).parent.rmdir()
    return stones


def deleted(folder: Path) -> Iterator[Tombstone]:
    """Tombstones of all files ever deleted here; an incomplete last line (crash while writing) is ignored."""
    path = folder / _DELETED
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(orjson.JSONDecodeError):
            yield tombstone_of(orjson.loads(line))


def export(
    archive: Archive,
    kind: str,
    span: Span,
    target: Path,
    *,
    devices: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
) -> int:
    """Readings of a span as `.parquet` or `.csv` (times as RFC 3339 UTC); returns the number of rows.

    A missing value is empty, never zero. ValueError on another file extension.
    """
    table: Any = archive.readings(kind, span, devices, metrics)
    whole = [name for name in table.column_names if name != "position" and table[name].null_count < len(table[name])]
    return _written(table.select(whole), target)


def export_rollup(
    archive: Archive, kind: str, metric: str, step: Step, span: Span, target: Path, devices: Sequence[str] | None = None
) -> int:
    """Rollup of one metric (min, max, mean, count; of a counter first, last, count), written as by `export`.

    KeyError for a metric that is not rolled up, ValueError on another file extension.
    """
    return _written(archive.rollup(kind, metric, step, span, devices), target)


def _written(table: Any, target: Path) -> int:
    import pyarrow as pa
    import pyarrow.csv as pacsv
    import pyarrow.parquet as pq

    if target.suffix not in (".parquet", ".csv"):
        raise ValueError(f"{target.name}: export writes .parquet or .csv")
    temporary = target.with_suffix(f"{target.suffix}.{os.getpid()}.part")
    try:
        if target.suffix == ".parquet":
            pq.write_table(table, temporary, compression="zstd")
        else:
            name = "at_ms" if "at_ms" in table.column_names else "start_ms"
            texts = [
                to_datetime(at_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
                for at_ms in table[name].to_pylist()
            ]
            at = table.column_names.index(name)
            table = table.set_column(at, name.removesuffix("_ms"), pa.array(texts, pa.string()))
            for index, field in enumerate(table.schema):
                if pa.types.is_dictionary(field.type):
                    table = table.set_column(index, field.name, table[field.name].cast(pa.string()))
            pacsv.write_csv(table, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return int(table.num_rows)
