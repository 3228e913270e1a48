# SPDX-License-Identifier: Apache-2.0
"""Sealing in a process of its own, so that the hub keeps its memory small and its loop quick.

`python -m telemetry.io.seal JOURNAL_FOLDER ARCHIVE_FOLDER NOW_MS GRACE_S` seals what is due, compacts days that are long over,
and prints what it sealed as a JSON list.
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
    """The archive whose `seal` looks here whether anything is due, and has it done by another process."""

    def __init__(self, folder: Path, journal: SqliteJournal) -> None:
        super().__init__(folder, journal)
        self._journal_folder = journal.path.parent

    def seal(self, now_ms: int, grace_s: float = 300.0) -> list[Sealed]:
        """Write every hour that is due. Raises OSError where the other process fails, with its last words."""
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
            words = done.stderr.decode(errors="replace").strip().splitlines()
            raise OSError(f"sealing {self.folder} failed: {words[-1] if words else done.returncode}")
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
