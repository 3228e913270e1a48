# SPDX-License-Identifier: Apache-2.0
"""Sealing of the archive in a separate process, so that the hub's memory stays small and its loop responsive.

`python -m telemetry.io.seal JOURNAL_FOLDER ARCHIVE_FOLDER NOW_MS GRACE_S` seals hours that are due, compacts completed days,
and prints the sealed hours as a JSON list.
"""

import dataclasses
import subprocess
import sys
from pathlib import Path

import orjson

from telemetry.io.archive_days import compact, sweep
from telemetry.io.archive_parquet import ParquetArchive
from telemetry.io.journal_sqlite import SqliteJournal, read_journal
from telemetry.store.archive import Sealed

_TIME_OUT_S = 1800.0


class ApartArchive(ParquetArchive):
    """Archive that seals in another process, started only where something is due."""

    def __init__(self, folder: Path, journal: SqliteJournal) -> None:
        super().__init__(folder, journal)
        self._journal_folder = journal.path.parent

    def seal(self, now_ms: int, grace_s: float = 300.0) -> list[Sealed]:
        """Write every hour that is due. OSError where the other process fails, with the last line of its error output."""
        if not self.due(now_ms, grace_s):
            return []
        argv = [sys.executable, "-m", "telemetry.io.seal", str(self._journal_folder), str(self.folder)]
        try:
            done = subprocess.run(
                [*argv, str(now_ms), str(grace_s)], capture_output=True, timeout=_TIME_OUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise OSError(f"sealing {self.folder} took longer than {_TIME_OUT_S} s") from error
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise OSError(f"sealing {self.folder} failed: {lines[-1] if lines else done.returncode}")
        return [Sealed(**entry) for entry in orjson.loads(done.stdout)]


def main() -> None:
    journal_folder, folder, now_ms, grace_s = sys.argv[1:]
    with read_journal(Path(journal_folder)) as journal:
        done = ParquetArchive(Path(folder), journal).seal(int(now_ms), float(grace_s))
    compact(Path(folder), int(now_ms))
    sweep(Path(folder), int(now_ms))
    sys.stdout.buffer.write(orjson.dumps([dataclasses.asdict(sealed) for sealed in done]))


if __name__ == "__main__":
    main()
