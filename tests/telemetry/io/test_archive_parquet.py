# SPDX-License-Identifier: Apache-2.0
import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from kernel.reading import MISSING, Absence, Reading
from kernel.span import Span, even_slots
from telemetry.io.archive_parquet import ParquetArchive
from telemetry.io.journal_sqlite import SqliteJournal, open_journal, read_journal
from telemetry.io.seal import ApartArchive
from telemetry.store.archive import Step
from tests.telemetry.store.journal_cases import T0_MS, batch, meter, miner

HOUR = 3_600_000
DAY = Span(T0_MS, T0_MS + 24 * HOUR)


@pytest.fixture
def journal(tmp_path: Path) -> SqliteJournal:
    return open_journal(tmp_path / "journal")


def fill(journal: SqliteJournal, start_min: int, end_min: int, miners: int = 3) -> None:
    for minute in range(start_min, end_min):
        at_ms = T0_MS + minute * 60_000
        rows = [miner(i, at_ms + i, 3000.0 + minute if i else None) for i in range(miners)]
        meters = [meter(1, at_ms, 1e9 + 20.0 * minute, 1200.0)]
        journal.append([batch("miner", rows), batch("meter", meters)], [])


def test_closed_hours_are_sealed_sorted_and_the_rest_is_read_from_the_journal(
    tmp_path: Path, journal: SqliteJournal
) -> None:
    archive = ParquetArchive(tmp_path / "archive", journal)
    fill(journal, 0, 150)
    before = archive.readings("miner", DAY)
    done = archive.seal(T0_MS + 150 * 60_000)

    assert [(sealed.kind, (sealed.hour_ms - T0_MS) // HOUR, sealed.rows) for sealed in done] == [
        ("miner", 0, 180),
        ("miner", 1, 180),
        ("meter", 0, 60),
        ("meter", 1, 60),
    ]
    table = pq.read_table(tmp_path / "archive" / done[0].path)
    devices, at_ms = table["device"].cast("string").to_pylist(), table["at_ms"].to_pylist()
    assert list(zip(devices, at_ms, strict=True)) == sorted(zip(devices, at_ms, strict=True))
    assert table["power_w"].null_count == 60
    assert set(table["power_w.code"].drop_null().to_pylist()) == {int(Absence.UNREACHABLE)}

    after = archive.readings("miner", DAY)
    assert after.num_rows == 450 and after.to_pylist() == before.to_pylist()
    assert archive.seal(T0_MS + 150 * 60_000) == []


def test_the_journal_may_be_trimmed_up_to_the_sealed_position(tmp_path: Path, journal: SqliteJournal) -> None:
    archive = ParquetArchive(tmp_path / "archive", journal)
    fill(journal, 0, 150)
    archive.seal(T0_MS + 150 * 60_000)
    assert archive.sealed_position() == 240
    before = archive.readings("meter", DAY).to_pylist()
    assert journal.trim(archive.sealed_position()) == 240
    assert archive.readings("meter", DAY).to_pylist() == before
    fill(journal, 150, 200)
    done = archive.seal(T0_MS + 200 * 60_000)
    assert [(s.kind, s.rows) for s in done] == [("miner", 180), ("meter", 60)]
    assert archive.readings("meter", DAY).num_rows == 200


def test_what_comes_late_is_merged_into_its_hour(tmp_path: Path, journal: SqliteJournal) -> None:
    archive = ParquetArchive(tmp_path / "archive", journal)
    fill(journal, 0, 70)
    archive.seal(T0_MS + 70 * 60_000)
    journal.append([batch("miner", [miner(9, T0_MS + 1234, 1.0)])], [])
    assert archive.readings("miner", Span(T0_MS, T0_MS + HOUR)).num_rows == 181
    (done,) = archive.seal(T0_MS + 71 * 60_000)
    assert done.rows == 181
    assert archive.readings("miner", Span(T0_MS, T0_MS + HOUR)).num_rows == 181


def test_a_kill_between_file_and_mark_doubles_nothing(tmp_path: Path, journal: SqliteJournal) -> None:
    archive = ParquetArchive(tmp_path / "archive", journal)
    fill(journal, 0, 70)
    archive.seal(T0_MS + 70 * 60_000)
    (tmp_path / "archive" / "sealed.json").unlink()
    assert archive.readings("miner", DAY).num_rows == 210
    assert archive.seal(T0_MS + 70 * 60_000) == []
    assert archive.readings("miner", DAY).num_rows == 210


def test_two_polls_of_one_device_at_one_instant_are_both_kept(tmp_path: Path, journal: SqliteJournal) -> None:
    archive = ParquetArchive(tmp_path / "archive", journal)
    fast = Reading("hub/site/m1", "miner", T0_MS, {"power_w": 3000.0})
    slow = Reading("hub/site/m1", "miner", T0_MS, {"fan_max_rpm": 6000.0})
    journal.append([batch("miner", [fast, slow])], [])
    archive.seal(T0_MS + 2 * HOUR)
    rows = archive.readings("miner", DAY, metrics=["power_w", "fan_max_rpm"]).to_pylist()
    assert [(row["power_w"], row["fan_max_rpm"]) for row in rows] == [(3000.0, None), (None, 6000.0)]


def test_slices_of_devices_make_the_same_file(
    tmp_path: Path, journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(journal, 0, 60, miners=7)
    whole = ParquetArchive(tmp_path / "whole", journal)
    whole.seal(T0_MS + 2 * HOUR)
    monkeypatch.setattr("telemetry.io.archive_parquet._SLICE_ROWS", 100)
    sliced = ParquetArchive(tmp_path / "sliced", journal)
    (done, *_) = sliced.seal(T0_MS + 2 * HOUR)
    assert pq.ParquetFile(tmp_path / "sliced" / done.path).metadata.num_row_groups > 1
    assert sliced.readings("miner", DAY).to_pylist() == whole.readings("miner", DAY).to_pylist()


def test_rollups_of_sealed_and_hot_hours_are_one(tmp_path: Path, journal: SqliteJournal) -> None:
    archive = ParquetArchive(tmp_path / "archive", journal)
    fill(journal, 0, 150)
    hot = {step: archive.rollup("miner", "power_w", step, DAY).to_pylist() for step in Step}
    counts = archive.rollup("meter", "energy_import_wh", Step.HOUR, DAY).to_pylist()
    archive.seal(T0_MS + 150 * 60_000)
    for step in Step:
        assert archive.rollup("miner", "power_w", step, DAY).to_pylist() == hot[step]
    assert archive.rollup("meter", "energy_import_wh", Step.HOUR, DAY).to_pylist() == counts
    assert [row["first"] for row in counts] == [1e9, 1e9 + 1200, 1e9 + 2400]
    first = hot[Step.HOUR][0]
    assert first == {
        "device": "hub/site/m00001", "start_ms": T0_MS, "min": 3000.0, "max": 3059.0, "mean": 3029.5, "count": 60
    }  # fmt: skip
    one = archive.rollup("miner", "power_w", Step.QUARTER, Span(T0_MS, T0_MS + HOUR), ["hub/site/m00002"]).to_pylist()
    assert len(one) == 4 and {row["device"] for row in one} == {"hub/site/m00002"}
    assert archive.rollup("sensor", "temp_c", Step.HOUR, DAY).num_rows == 0
    with pytest.raises(KeyError):
        archive.rollup("miner", "fan_duty_pct", Step.HOUR, DAY)


def test_energy_is_the_same_before_and_after_sealing_and_adds_up(tmp_path: Path, journal: SqliteJournal) -> None:
    archive = ParquetArchive(tmp_path / "archive", journal)
    fill(journal, 0, 181)
    slots = even_slots(Span(T0_MS, T0_MS + 3 * HOUR), 900)
    hot = archive.energy("hub/site/meter-1", slots)
    archive.seal(T0_MS + 181 * 60_000)
    sealed = archive.energy("hub/site/meter-1", slots)
    assert hot.energy_wh.tolist() == sealed.energy_wh.tolist() == [300.0] * 12
    assert sealed.coverage.tolist() == [1.0] * 12
    for hour in range(3):
        part = archive.energy("hub/site/meter-1", even_slots(Span(T0_MS + hour * HOUR, T0_MS + (hour + 1) * HOUR), 900))
        assert part.energy_uwh.tolist() == sealed.energy_uwh[4 * hour : 4 * hour + 4].tolist()


def test_a_gap_wider_than_the_range_is_bridged_from_outside_it(tmp_path: Path, journal: SqliteJournal) -> None:
    archive = ParquetArchive(tmp_path / "archive", journal)
    for hour, wh in ((0, 0.0), (20, 20_000.0)):
        journal.append([batch("meter", [meter(1, T0_MS + hour * HOUR, wh)])], [])
    archive.seal(T0_MS + 30 * HOUR)
    energy = archive.energy("hub/site/meter-1", even_slots(Span(T0_MS + 10 * HOUR, T0_MS + 11 * HOUR), 3600))
    assert energy.total_wh() == 1000.0 and energy.coverage[0] == 0.0 and energy.basis(0) == "bridged"


def test_missing_values_never_become_numbers(tmp_path: Path, journal: SqliteJournal) -> None:
    archive = ParquetArchive(tmp_path / "archive", journal)
    row = Reading("hub/site/m1", "miner", T0_MS, {"power_w": MISSING[Absence.TIMED_OUT], "state": "unreachable"})
    journal.append([batch("miner", [row])], [])
    for _ in range(2):
        (found,) = archive.readings("miner", DAY, metrics=["power_w", "hashrate_hs", "state"]).to_pylist()
        assert found["power_w"] is None and found["hashrate_hs"] is None and found["state"] == "unreachable"
        archive.seal(T0_MS + 2 * HOUR)


def test_readings_samples_and_frames_load_no_duckdb(
    tmp_path: Path, journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = ParquetArchive(tmp_path / "archive", journal)
    fill(journal, 0, 90)
    archive.seal(T0_MS + 90 * 60_000)
    monkeypatch.setitem(sys.modules, "duckdb", None)
    span = Span(T0_MS + 50 * 60_000, T0_MS + 70 * 60_000)
    table = archive.readings("miner", span, ["hub/site/m00001"], ["power_w", "state", "pool_url"])
    assert table.column_names == ["device", "at_ms", "position", "power_w", "state", "pool_url"]
    assert {str(table[name].type) for name in ("device", "state", "pool_url")} == {"string"}
    assert table["power_w"].to_pylist() == [3000.0 + minute for minute in range(50, 70)]
    assert archive.energy("hub/site/meter-1", even_slots(span, 600)).total_wh() == 400.0
    assert archive.frames("hub/site/meter-1", span) == [] and archive.first_ms("hub/site/meter-1") == T0_MS
    assert archive.readings("miner", span, []).num_rows == 0
    with pytest.raises(KeyError):
        archive.readings("miner", span, metrics=["no_such_metric"])
    with pytest.raises(ImportError):
        archive.query("SELECT 1", span)


def test_another_process_asks_while_this_one_writes(tmp_path: Path, journal: SqliteJournal) -> None:
    archive = ParquetArchive(tmp_path / "archive", journal)
    fill(journal, 0, 90)
    archive.seal(T0_MS + 90 * 60_000)
    code = (
        "import sys\nfrom pathlib import Path\nfrom kernel.span import Span\n"
        "from telemetry.io.archive_parquet import ParquetArchive\n"
        "from telemetry.io.journal_sqlite import read_journal\n"
        f"a = ParquetArchive(Path({str(tmp_path / 'archive')!r}), read_journal(Path({str(tmp_path / 'journal')!r})))\n"
        "t = a.query('SELECT count(*) AS n, sum(power_w) AS w FROM miner WHERE power_w > $low',"
        f" Span({DAY.start_ms}, {DAY.end_ms}), low=3010.0)\n"
        "print(t.to_pylist())\n"
    )
    root = Path(__file__).parents[3]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
    powers = [3000.0 + minute for minute in range(11, 90)] * 2
    assert ast.literal_eval(found.stdout) == [{"n": len(powers), "w": sum(powers)}]
    fill(journal, 90, 91)
    assert (
        ParquetArchive(tmp_path / "archive", read_journal(tmp_path / "journal")).readings("miner", DAY).num_rows == 273
    )


def test_a_file_half_written_is_never_seen(
    tmp_path: Path, journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = ParquetArchive(tmp_path / "archive", journal)
    fill(journal, 0, 60)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError):
            archive.seal(T0_MS + 2 * HOUR)
    assert list((tmp_path / "archive").rglob("*.parquet*")) == []
    assert archive.readings("miner", DAY).num_rows == 180
    assert np.all([sealed.rows > 0 for sealed in archive.seal(T0_MS + 2 * HOUR)])


def test_steps_of_the_clock_lose_and_block_nothing(tmp_path: Path, journal: SqliteJournal) -> None:
    """An hour forward, an hour back, and one reading dated years ahead: all is found, and the journal can be trimmed."""
    archive = ParquetArchive(tmp_path / "archive", journal)
    reported = []
    for minute in range(0, 300):
        wrong_ms = HOUR if 60 <= minute < 120 else -HOUR if 180 <= minute < 240 else 0
        if minute == 150:
            wrong_ms = 10 * 365 * 24 * HOUR
        at_ms = T0_MS + 2 * HOUR + minute * 60_000 + wrong_ms
        rows = [miner(1, at_ms, float(minute)), miner(2, T0_MS + 2 * HOUR + minute * 60_000, float(minute))]
        journal.append([batch("miner", rows)], [])
        reported += [float(minute)] * 2
    ever = Span(T0_MS - 24 * HOUR, T0_MS + 11 * 365 * 24 * HOUR)
    archive.seal(T0_MS + 9 * HOUR)
    assert archive.sealed_position() == 300
    journal.trim(archive.sealed_position())
    found = archive.query("SELECT power_w FROM miner", ever)["power_w"].to_pylist()
    assert sorted(found) == sorted(reported)


def test_what_may_be_trimmed_by_age(tmp_path: Path, journal: SqliteJournal) -> None:
    fill(journal, 0, 10)
    assert journal.position_before(T0_MS + 5 * 60_000) == 10
    assert journal.position_before(T0_MS) == 0
    assert journal.position_before(T0_MS + HOUR) == 20


def test_sealing_apart_makes_the_same_files_and_starts_nothing_where_nothing_is_due(
    tmp_path: Path, journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(journal, 0, 130)
    straddling = [miner(1, T0_MS + HOUR - 1), miner(1, T0_MS + 2 * HOUR + 11 * 60_000)]
    journal.append([batch("miner", straddling)], [])
    monkeypatch.chdir(Path(__file__).parents[3])
    apart = ApartArchive(tmp_path / "apart", journal)
    assert not apart.due(T0_MS + 30 * 60_000)
    assert apart.due(T0_MS + 130 * 60_000)
    done = apart.seal(T0_MS + 130 * 60_000)
    here = ParquetArchive(tmp_path / "here", journal)
    assert [(s.kind, s.hour_ms, s.rows) for s in done] == [
        (s.kind, s.hour_ms, s.rows) for s in here.seal(T0_MS + 130 * 60_000)
    ]
    assert apart.readings("miner", DAY).to_pylist() == here.readings("miner", DAY).to_pylist()
    assert not apart.due(T0_MS + 130 * 60_000), "a batch that reaches into the open hour is not due again and again"
    (tmp_path / "apart" / "sealed.json").write_text("broken")
    with pytest.raises(ValueError):
        apart.due(T0_MS + 130 * 60_000)


def test_a_failure_of_the_sealing_process_is_reported(
    tmp_path: Path, journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(journal, 0, 70)
    monkeypatch.chdir(Path(__file__).parents[3])
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "raw").write_text("a file where a folder must be")
    with pytest.raises(OSError, match="sealing .* failed: .*raw"):
        ApartArchive(tmp_path / "archive", journal).seal(T0_MS + 70 * 60_000)
