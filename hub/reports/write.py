# SPDX-License-Identifier: Apache-2.0
"""A report onto disk: JSON, CSV and signature under one name. What stands there is never overwritten.

The same report again is the same files. A report of the same period that says something else is a restatement: a new file
that names what it supersedes.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub.reports.kind import Table
from hub.reports.render import as_csv, as_json
from hub.reports.sign import Key, sign
from kernel.clock import to_datetime
from kernel.ids import sha256_hex


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """Where a report stands, and the SHA-256 of its JSON. `fresh` is false where it stood there already."""

    id: str
    json: Path
    csv: Path
    sig: Path
    sha256: str
    fresh: bool


def report_name(document: Mapping[str, Any]) -> str:
    """A file name that says what it is: report, site or hub, period."""
    scope = re.sub(r"[^a-z0-9-]+", "-", str(document.get("site") or document.get("hub") or "hub").lower()).strip("-")
    period = document["period"]
    days = "_".join(to_datetime(int(period[key])).strftime("%Y%m%dT%H%M%SZ") for key in ("start_ms", "end_ms"))
    return f"{document['report']}_{scope}_{days}"


def write_report(document: Mapping[str, Any], folder: Path, key: Key, table: Table) -> ReportFiles:
    """Render, sign and write. Each file appears whole; the signature comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    name, number, previous = report_name(document), 1, None
    while True:
        stem = name if number == 1 else f"{name}-r{number}"
        body = dict(document) if previous is None else {**document, "supersedes": previous}
        content = as_json(body)
        path = folder / f"{stem}.json"
        stands = path.read_bytes() if path.exists() else None
        if stands is None or stands == content:
            break
        previous, number = sha256_hex(stands), number + 1
    rows = as_csv(body, table)
    files = {f"{stem}.json": content, f"{stem}.csv": rows}
    paths = (path, folder / f"{stem}.csv", folder / f"{stem}.sig")
    fresh = not paths[2].exists()
    for each, data in zip(paths, (content, rows, sign(files, key)), strict=True):
        if not each.exists():
            _whole(each, data)
    return ReportFiles(stem, *paths, sha256_hex(content), fresh)


def _whole(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
