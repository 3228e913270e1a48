# SPDX-License-Identifier: Apache-2.0
"""External curves from a folder of CSV files: power price, hashprice, difficulty, fees, exchange rate.

A file is one curve. Lines that begin with `#` describe it, followed by a header and rows:

    # name: price/day_ahead
    # unit: KZT/MWh            (or KZT/kWh: prices per kWh are converted to MWh when read)
    # known_at: 2026-01-04T13:00:00+05:00      (without it: when the hub first read the file)
    # zone: Asia/Almaty        (only where instants have no offset)
    start,end,value
    2026-01-05T00:00:00+05:00,2026-01-05T01:00:00+05:00,14250

Without an `end` column a row is valid until the next, the last one as long as the one before it. An empty value is a piece
that is not known. All faults of a file are reported at once with their lines; a file with a fault gives no curve.
"""

import csv
import math
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from grid.curve_feed import FoundCurve
from kernel.clock import from_datetime, from_iso
from kernel.curve import Curve
from kernel.errors import Fault
from kernel.ids import sha256_hex

MOST_BYTES = 16 * 1024 * 1024
HEAD_KEYS = ("name", "unit", "known_at", "zone", "source")


class PriceFolder:
    """A folder of curves as a feed: each version of a file is returned once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reported: dict[Path, str] = {}

    def poll(self, now_ms: int) -> list[FoundCurve]:
        """Files that are new or changed since the last poll, by name. A missing folder is a fault, reported once."""
        if not self._folder.is_dir():
            return self._once(self._folder, Fault(str(self._folder), "is no folder", "Create it, or correct its feed"))
        found = []
        for path in sorted(self._folder.glob("*.csv")):
            try:
                if path.stat().st_size > MOST_BYTES:
                    found += self._once(path, Fault(str(path), f"is over {MOST_BYTES} bytes", "Split it by month"))
                    continue
                raw = path.read_bytes()
            except OSError as error:
                found += self._once(path, Fault(str(path), f"cannot be read: {error.strerror}", "Check its rights"))
                continue
            digest = sha256_hex(raw)
            if self._reported.get(path) != digest:
                self._reported[path] = digest
                curve, faults = read(raw, str(path), now_ms)
                found.append(FoundCurve(_curve_name(raw, path), curve, tuple(faults), raw, path.name))
        return found

    def _once(self, path: Path, fault: Fault) -> list[FoundCurve]:
        if self._reported.get(path) == str(fault):
            return []
        self._reported[path] = str(fault)
        return [FoundCurve(path.stem, None, (fault,), file=path.name)]


def _curve_name(raw: bytes, path: Path) -> str:
    """Which curve a file is, or would be without its faults; the file's own name where it names none."""
    named = re.search(rb"^#\s*name:\s*(\S+)\s*$", raw, re.MULTILINE)
    return named[1].decode("utf-8", "replace") if named else path.stem


def read(raw: bytes, place: str, now_ms: int) -> tuple[Curve | None, list[Fault]]:
    """(curve, faults) of a file's bytes; one of the two is empty."""
    faults: list[Fault] = []
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return None, [Fault(place, f"byte {error.start} is not UTF-8", "Save it as UTF-8")]
    lines = text.splitlines()
    head = _head(lines, place, faults)
    rows = list(_rows(lines))
    if not rows:
        faults.append(Fault(place, "holds no rows", "Write a header line start,end,value and one row a piece"))
        return None, faults
    columns = [name.strip().lower() for name in rows[0][1]]
    if not {"start", "value"} <= set(columns) or len(set(columns)) != len(columns):
        faults.append(
            Fault(f"{place}:{rows[0][0]}", f"the header is {','.join(columns)}", "Write start,value or start,end,value")
        )
        return None, faults
    pieces = _pieces(rows[1:], columns, head.get("zone"), place, faults)
    known_at_ms = now_ms
    if "known_at" in head:
        try:
            known_at_ms = from_iso(head["known_at"])
        except ValueError as error:
            faults.append(Fault(f"{place}: known_at", str(error), "Write such as 2026-01-04T13:00:00+05:00"))
    if not pieces and not faults:
        faults.append(Fault(place, "holds no value", "Give at least one row with a value"))
    if faults:
        return None, faults
    unit, factor = _unit(head["unit"])
    starts, ends, values = zip(*pieces, strict=True)
    curve = Curve(
        name=head["name"],
        unit=unit,
        starts_ms=np.array(starts, dtype=np.int64),
        ends_ms=np.array(ends, dtype=np.int64),
        values=np.array(values, dtype=np.float64) * factor,
        known_at_ms=known_at_ms,
        source=head.get("source", Path(place).name),
        evidence=sha256_hex(raw),
    )
    return curve, []


def _head(lines: list[str], place: str, faults: list[Fault]) -> dict[str, str]:
    head: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.startswith("#"):
            continue
        key, colon, value = line[1:].partition(":")
        if colon and key.strip() in HEAD_KEYS:
            if key.strip() in head:
                faults.append(Fault(f"{place}:{number}", f"{key.strip()} occurs twice", "Keep one"))
            head[key.strip()] = value.strip()
    faults.extend(
        Fault(f"{place}: {key}", "is missing", f"Write a line '# {key}: ...' at the top")
        for key in ("name", "unit")
        if not head.get(key)
    )
    if "zone" in head:
        try:
            ZoneInfo(head["zone"])
        except (ZoneInfoNotFoundError, ValueError):
            faults.append(Fault(f"{place}: zone", f"{head['zone']!r} is no IANA zone", "Write such as Asia/Almaty"))
            del head["zone"]
    return head


def _rows(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of all lines except comments and empty ones."""
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            try:
                yield number, next(csv.reader([line]))
            except csv.Error:  # a cell of more than 131,072 characters
                yield number, []


def _pieces(
    rows: list[tuple[int, list[str]]], columns: list[str], zone: str | None, place: str, faults: list[Fault]
) -> list[tuple[int, int, float]]:
    """(start, end, value) in file order; overlaps, doubles and disorder are faults."""
    read_rows: list[tuple[int, int, int | None, float | None]] = []
    for number, cells in rows:
        where = f"{place}:{number}"
        if len(cells) != len(columns):
            faults.append(Fault(where, f"has {len(cells)} cells, not {len(columns)}", "Correct the row"))
            continue
        row = dict(zip(columns, (cell.strip() for cell in cells), strict=True))
        start_ms = _instant(row["start"], zone, f"{where} start", faults)
        end_ms = _instant(row["end"], zone, f"{where} end", faults) if row.get("end") else None
        value = _number(row["value"], f"{where} value", faults) if row["value"] else None
        if start_ms is not None:
            read_rows.append((number, start_ms, end_ms, value))
    pieces: list[tuple[int, int, float]] = []
    last_end_ms = None
    for index, (number, start_ms, end_ms, value) in enumerate(read_rows):
        where = f"{place}:{number}"
        if end_ms is None:
            end_ms = _next_start(read_rows, index)
        if end_ms is None:
            faults.append(Fault(where, "its end is not known", "Add an end column, or a second row"))
        elif end_ms <= start_ms:
            faults.append(
                Fault(
                    where,
                    "does not end after it starts",
                    "Sort the rows by start; an hour may occur twice in local time",
                )
            )
        elif last_end_ms is not None and start_ms < last_end_ms:
            faults.append(Fault(where, "overlaps the row before it", "Give each hour once, sorted by start"))
        elif value is not None:
            pieces.append((start_ms, end_ms, value))
        last_end_ms = end_ms if end_ms is not None else last_end_ms
    return pieces


def _next_start(rows: list[tuple[int, int, int | None, float | None]], index: int) -> int | None:
    if index + 1 < len(rows):
        return rows[index + 1][1]
    return rows[index][1] + rows[index][1] - rows[index - 1][1] if index else None


def _instant(text: str, zone: str | None, where: str, faults: list[Fault]) -> int | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        faults.append(Fault(where, f"{text[:40]!r} is no instant", "Write such as 2026-01-05T00:00:00+05:00"))
        return None
    if at.tzinfo is None and zone is None:
        faults.append(Fault(where, f"{text!r} has no offset", "Add the offset, or a line '# zone: ...'"))
        return None
    if at.tzinfo is not None:
        return from_datetime(at)
    local = at.replace(tzinfo=ZoneInfo(zone or "UTC"))
    at_ms = from_datetime(local)
    if from_datetime(local.replace(fold=1)) != at_ms:
        faults.append(Fault(where, f"{text!r} occurs twice or never in {zone}", "Add the offset to this row"))
        return None
    return at_ms


def _number(text: str, where: str, faults: list[Fault]) -> float | None:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        faults.append(
            Fault(where, f"{text[:40]!r} is no number", "Use a decimal point; leave it empty where it is not known")
        )
        return None
    return found


def _unit(text: str) -> tuple[str, float]:
    """(canonical unit, factor): prices per kWh become per MWh, hashprice per PH/s or TH/s becomes per H/s."""
    for ending, canonical, factor in (
        ("/kWh", "/MWh", 1e3),
        ("/PH/s/day", "/(H/s)/day", 1e-15),
        ("/TH/s/day", "/(H/s)/day", 1e-12),
    ):
        if text.endswith(ending):
            return text.removesuffix(ending) + canonical, factor
    return text, 1.0
