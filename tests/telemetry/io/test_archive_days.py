# SPDX-License-Identifier: Apache-2.0
"""Compacted days: the same answers before and after, late readings, a kill at any point, readers beside it."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kernel.span import Span, even_slots
from telemetry.io.archive_days import SWEEP_AFTER_MS, compact, sweep
from telemetry.io.archive_files import deleted
from telemetry.io.archive_parquet import ParquetArchive
from telemetry.io.journal_sqlite import SqliteJournal, open_journal, read_journal
from telemetry.io.seal import ApartArchive
from telemetry.store.archive import Step
from telemetry.store.retention import proves
from tests.telemetry.store.journal_cases import T0_MS, batch, meter, miner

HOUR = 3_600_000
DAY = Span(T0_MS, T0_MS + 24 * HOUR)
LATER_MS = T0_MS + 72 * HOUR + HOUR // 2
METER = "hub/site/meter-1"


def fill(journal: SqliteJournal, hours: range) -> None:
    for hour in hours:
        for minute in range(0, 60, 5):
            at_ms = T0_MS + hour * HOUR + minute * 60_000
            rows = [miner(i, at_ms + i, 3000.0 + minute if i else None) for i in range(3)]
            journal.append([batch("miner", rows), batch("meter", [meter(1, at_ms, 1e9 + at_ms / 1e5)])], [])


@pytest.fixture
def journal(tmp_path: Path) -> SqliteJournal:
    return open_journal(tmp_path / "journal")


def answers(archive: ParquetArchive) -> dict[str, object]:
    """Everything that is asked of an archive."""
    slots = even_slots(DAY, 3600.0)
    return {
        "miner": archive.readings("miner", DAY).to_pylist(),
        "part": archive.readings(
            "miner", Span(T0_MS + 90 * 60_000, T0_MS + 200 * 60_000), ["hub/site/m00001"]
        ).to_pylist(),
        "gauge": archive.rollup("miner", "power_w", Step.QUARTER, DAY).to_pylist(),
        "counter": archive.rollup("meter", "energy_import_wh", Step.HOUR, DAY, [METER]).to_pylist(),
        "energy": archive.energy(METER, slots).energy_uwh.tolist(),
    }


def later(folder: Path) -> int:
    """An instant at which the day files have stood for long enough."""
    newest = max(path.stat().st_mtime for path in folder.rglob("day.parquet"))
    return round(newest * 1000) + SWEEP_AFTER_MS + 1


def test_a_compacted_day_answers_as_its_hours_did(tmp_path: Path, journal: SqliteJournal) -> None:
    fill(journal, range(24))
    archive = ParquetArchive(tmp_path / "archive", journal)
    archive.seal(T0_MS + 25 * HOUR)
    before = answers(archive)
    assert compact(archive.folder, T0_MS + 47 * HOUR) == [], "not before its time"
    made = compact(archive.folder, LATER_MS)
    assert {path.parent.parent.parent.name for path in made} == {"raw", "1m", "15m", "1h"} and len(made) == 8
    assert answers(archive) == before, "both stand: the day file is the day"
    assert sweep(archive.folder, round(made[-1].stat().st_mtime * 1000)) == 0, "a reader may still hold the list"
    assert sweep(archive.folder, later(archive.folder)) == 8 * 24
    assert answers(archive) == before
    assert sorted(path.name for path in archive.folder.rglob("*.parquet")) == ["day.parquet"] * 8
    stones = list(deleted(archive.folder))
    assert len(stones) == 192 and all(map(proves, stones)) and "compacted into day.parquet" in stones[0].rule
    assert compact(archive.folder, LATER_MS) == [] and archive.seal(LATER_MS) == []


def test_what_comes_late_for_a_compacted_day_joins_it(tmp_path: Path, journal: SqliteJournal) -> None:
    fill(journal, range(12))
    archive = ParquetArchive(tmp_path / "archive", journal)
    archive.seal(T0_MS + 25 * HOUR)
    compact(archive.folder, LATER_MS)
    sweep(archive.folder, later(archive.folder))
    late = T0_MS + 3 * HOUR + 61_000
    journal.append([batch("miner", [miner(7, late, 9000.0)])], [])
    fill(journal, range(14, 15))
    hot = answers(archive)
    archive.seal(LATER_MS)
    assert answers(archive) == hot, "sealed into the day file as it was read from the journal"
    rows = archive.readings("miner", DAY, ["hub/site/m00007"]).to_pylist()
    assert [row["at_ms"] for row in rows] == [late]
    assert not list(archive.folder.rglob("03.parquet")), "no hour file beside a day file"


@pytest.mark.parametrize("torn", ["before the sweep", "in the middle of it", "a part file"])
def test_a_kill_leaves_nothing_lost_and_nothing_twice(tmp_path: Path, journal: SqliteJournal, torn: str) -> None:
    fill(journal, range(24))
    archive = ParquetArchive(tmp_path / "archive", journal)
    archive.seal(T0_MS + 25 * HOUR)
    before = answers(archive)
    if torn == "a part file":
        (archive.folder / "raw" / "miner" / "2026-01-01" / "day.parquet.99.part").write_bytes(b"PAR1 torn")
    else:
        compact(archive.folder, LATER_MS)
    if torn == "in the middle of it":
        for path in sorted(archive.folder.rglob("0?.parquet"))[::3]:
            path.unlink()
    assert answers(archive) == before
    compact(archive.folder, LATER_MS)
    sweep(archive.folder, later(archive.folder))
    assert answers(archive) == before


def test_readers_never_notice(tmp_path: Path, journal: SqliteJournal) -> None:
    fill(journal, range(24))
    archive = ParquetArchive(tmp_path / "archive", journal)
    archive.seal(T0_MS + 25 * HOUR)
    want = archive.readings("meter", DAY).num_rows
    stop, seen, errors = threading.Event(), list[int](), list[Exception]()

    def read() -> None:
        with read_journal(tmp_path / "journal") as own:
            reader = ParquetArchive(tmp_path / "archive", own)
            while not stop.is_set():
                try:
                    seen.append(reader.readings("meter", DAY).num_rows)
                except Exception as error:
                    errors.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    while not seen:
        pass
    compact(archive.folder, LATER_MS)
    first = len(seen)
    while len(seen) < first + 2 and not errors:
        pass
    sweep(archive.folder, later(archive.folder))
    last = len(seen)
    while len(seen) < last + 2 and not errors:
        pass
    stop.set()
    thread.join()
    assert not errors and set(seen) == {want}


def test_sealing_apart_compacts_what_is_long_over(tmp_path: Path, journal: SqliteJournal) -> None:
    fill(journal, range(24))
    archive = ApartArchive(tmp_path / "archive", journal)
    assert archive.seal(LATER_MS)
    assert len(list(archive.folder.rglob("day.parquet"))) == 8


def test_a_real_kill_in_the_middle_of_compaction(tmp_path: Path, journal: SqliteJournal) -> None:
    fill(journal, range(24))
    archive = ParquetArchive(tmp_path / "archive", journal)
    archive.seal(T0_MS + 25 * HOUR)
    before = answers(archive)
    code = (
        "import sys, os, threading; from pathlib import Path; import telemetry.io.archive_days as days;"
        "threading.Timer(float(sys.argv[2]), lambda: os.kill(os.getpid(), 9)).start();"
        f"days.compact(Path(sys.argv[1]), {LATER_MS})"
    )
    for delay_s in (0.02, 0.05, 0.1):
        subprocess.run(
            [sys.executable, "-c", code, str(archive.folder), str(delay_s)], env=dict(os.environ), check=False
        )
        assert answers(archive) == before
    compact(archive.folder, LATER_MS)
    assert answers(archive) == before
