# SPDX-License-Identifier: Apache-2.0
"""Store of energy for billing, in its own SQLite file: our figures and the utility's data, all versions.

It is small and separate from telemetry: never deleted, independent of the archive, and copied separately.
"""

import sqlite3
import threading
from pathlib import Path

import numpy as np

from kernel.errors import ConfigError, Fault
from kernel.span import Span
from telemetry.energy.utility_data import MeteredSeries

_SCHEMA = """
CREATE TABLE IF NOT EXISTS energy (
  source TEXT NOT NULL, device TEXT NOT NULL, length_ms INTEGER NOT NULL, start_ms INTEGER NOT NULL,
  version INTEGER NOT NULL, energy_uwh INTEGER NOT NULL, made_ms INTEGER NOT NULL, evidence TEXT NOT NULL,
  PRIMARY KEY (source, device, length_ms, start_ms, version)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS energy_is_kept BEFORE DELETE ON energy
BEGIN SELECT raise(ABORT, 'billed energy is never deleted'); END;
CREATE TRIGGER IF NOT EXISTS energy_is_not_changed BEFORE UPDATE ON energy
BEGIN SELECT raise(ABORT, 'billed energy is never changed: write a further version'); END;
"""


class BillingStore:
    """`telemetry.energy.utility_data.MeteredStore` on SQLite; each put is durable on return."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._guard = threading.Lock()
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            fault = Fault(str(path), f"the billing store could not be opened: {error}", "Restore it from its copy")
            raise ConfigError([fault]) from error

    def put(self, source: str, series: MeteredSeries, made_ms: int, evidence: str) -> int:
        """Store intervals that differ from their newest version; returns the number of new or changed intervals."""
        with self._guard:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                known = self._newest(source, series.device, series.length_ms, series.span, None)
                rows = []
                for start_ms, energy_uwh in zip(series.starts_ms.tolist(), series.energy_uwh.tolist(), strict=True):
                    version, held_uwh = known.get(start_ms, (0, None))
                    if held_uwh != energy_uwh:
                        rows.append(
                            (
                                source,
                                series.device,
                                series.length_ms,
                                start_ms,
                                version + 1,
                                energy_uwh,
                                made_ms,
                                evidence,
                            )
                        )
                self._connection.executemany("INSERT INTO energy VALUES (?,?,?,?,?,?,?,?)", rows)
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            return len(rows)

    def get(
        self, source: str, device: str, span: Span, as_of_ms: int | None = None, length_ms: int = 900_000
    ) -> MeteredSeries | None:
        """Newest version of each interval that starts in the span, or the newest made up to an instant; None where there is
        none.
        """
        with self._guard:
            found = self._newest(source, device, length_ms, span, as_of_ms)
        if not found:
            return None
        starts = np.array(sorted(found), dtype=np.int64)
        return MeteredSeries(
            device, starts, length_ms, np.array([found[s][1] for s in starts.tolist()], dtype=np.int64)
        )

    def newest(self, source: str, device: str, length_ms: int) -> int | None:
        """Start of the latest interval stored; None where there is none."""
        with self._guard:
            row = self._connection.execute(
                "SELECT max(start_ms) FROM energy WHERE source=? AND device=? AND length_ms=?",
                (source, device, length_ms),
            ).fetchone()
        return None if row[0] is None else int(row[0])

    def held(self) -> list[tuple[str, str, int, int, int, int]]:
        """(source, device, length ms, first start ms, last start ms, intervals) of all that is stored."""
        with self._guard:
            return self._connection.execute(
                "SELECT source, device, length_ms, min(start_ms), max(start_ms), count(DISTINCT start_ms) FROM energy"
                " GROUP BY source, device, length_ms ORDER BY source, device, length_ms"
            ).fetchall()

    def versions(
        self, source: str, device: str, start_ms: int, length_ms: int = 900_000
    ) -> list[tuple[int, int, int, str]]:
        """(version, energy in micro-Wh, made at ms, evidence) of one interval, oldest first."""
        with self._guard:
            return self._connection.execute(
                "SELECT version, energy_uwh, made_ms, evidence FROM energy WHERE source=? AND device=? AND length_ms=?"
                " AND start_ms=? ORDER BY version",
                (source, device, length_ms, start_ms),
            ).fetchall()

    def _newest(
        self, source: str, device: str, length_ms: int, span: Span, as_of_ms: int | None
    ) -> dict[int, tuple[int, int]]:
        rows = self._connection.execute(
            "SELECT start_ms, version, energy_uwh FROM energy WHERE source=? AND device=? AND length_ms=?"
            " AND start_ms>=? AND start_ms<? AND made_ms<=? ORDER BY start_ms, version",
            (source, device, length_ms, span.start_ms, span.end_ms, 2**62 if as_of_ms is None else as_of_ms),
        )
        return {start_ms: (version, energy_uwh) for start_ms, version, energy_uwh in rows}

    def close(self) -> None:
        self._connection.close()
