# SPDX-License-Identifier: Apache-2.0
"""Archive files on disk: lookup by hour, journal position covered, atomic replacement.

Where a day file exists it replaces the hour files of the day; hour files that remain next to it are not read.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from kernel.clock import MS_PER_HOUR, from_iso, iso
from kernel.span import Span, floor_ms
from telemetry.store.archive import day_file, hour_file

UNTIL = "until_position"
"""Key of a file's metadata: hour to the journal position up to which the file has all of its rows, as JSON."""


def file_of(folder: Path, layer: str, kind: str, hour_ms: int) -> Path | None:
    """File that contains an hour, or None."""
    for path in (folder / day_file(layer, kind, hour_ms), folder / hour_file(layer, kind, hour_ms)):
        if path.exists():
            return path
    return None


def files_of(folder: Path, layer: str, kind: str, span: Span) -> dict[int, Path]:
    """Hours that a span touches, with their files, by directory listing: the cost depends on the days stored, not on the span."""
    found: dict[int, Path] = {}
    first = floor_ms(span.start_ms, MS_PER_HOUR)
    days = (iso(first)[:10], iso(span.end_ms)[:10])
    for day in sorted(path for path in (folder / layer / kind).glob("????-??-??") if days[0] <= path.name <= days[1]):
        day_ms = from_iso(f"{day.name}T00:00:00Z")
        whole = day / "day.parquet"
        if whole.exists():
            hours = {day_ms + at * MS_PER_HOUR: whole for at in range(24)}
        else:
            hours = {day_ms + int(path.stem) * MS_PER_HOUR: path for path in sorted(day.glob("[0-2][0-9].parquet"))}
        found |= {hour_ms: path for hour_ms, path in hours.items() if first <= hour_ms < span.end_ms}
    return found


def untils_of(file: Any) -> dict[int, int]:
    """Per hour, the journal position up to which a Parquet file has all of its rows."""
    metadata: Mapping[bytes, bytes] = file.schema_arrow.metadata or file.metadata.metadata or {}
    raw = orjson.loads(metadata.get(UNTIL.encode(), b"{}"))
    return {int(hour_ms): int(position) for hour_ms, position in raw.items()}


def untils_text(untils: Mapping[int, int]) -> str:
    """The inverse of `untils_of`, as metadata."""
    return orjson.dumps({str(hour_ms): position for hour_ms, position in sorted(untils.items())}).decode()


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary file that becomes the target when complete and on disk; after an error the target is unchanged."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(f"{target.suffix}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
