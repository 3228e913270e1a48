# SPDX-License-Identifier: Apache-2.0
"""Disk full, read-only, or broken under the journal: a clear state, no crash, nothing acknowledged is lost."""

import contextlib
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.errors import ConfigError
from telemetry.io.journal_schema import FILE_NAME, state_of
from telemetry.io.journal_sqlite import open_journal, read_journal
from telemetry.store.journal import JournalState, JournalUnwritable
from tests.telemetry.store.journal_cases import T0_MS, batch, event, meter, miner

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A real file system of a few megabytes."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small disk needs the right to mount: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_full_disk_is_reported_and_loses_nothing_and_the_journal_continues(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "6m") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * 2_000_000)
        journal = open_journal(disk / "journal")
        acknowledged = 0
        with pytest.raises(JournalUnwritable) as refused:
            for seq in range(1, 100_000):
                rows = [meter(i, T0_MS + seq * 1000, seq * 1.37 + i) for i in range(50)]
                journal.append([batch("meter", rows)], [event(seq)])
                acknowledged = seq
        assert refused.value.state is JournalState.FULL and "free space" in refused.value.text
        assert isinstance(refused.value, OSError)
        assert acknowledged > 5
        for _ in range(3):  # it stays so, and says so, without harm
            with pytest.raises(JournalUnwritable):
                journal.append([batch("meter", rows)], [event(acknowledged + 1)])
        assert journal.health().state is JournalState.FULL
        assert [e.seq for _, e in journal.events(["operator.note"])] == list(range(1, acknowledged + 1))
        assert journal.position() == 2 * acknowledged

        ballast.unlink()
        journal.append([], [event(acknowledged + 1)])
        assert journal.health().state is JournalState.WRITABLE
        journal.close()
        again = open_journal(disk / "journal")
        assert again.last_seq("hub/site", "hub") == acknowledged + 1
        assert len(list(again.batches("meter", 0, T0_MS * 2))) == acknowledged
        again.close()


def test_a_device_first_heard_in_an_append_that_failed_is_not_mixed_up(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "3m") as disk:
        journal = open_journal(disk / "journal")
        journal.append([batch("miner", [miner(0, T0_MS)])], [])
        ballast = disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()
        with pytest.raises(JournalUnwritable):
            for step in range(100):
                journal.append([batch("miner", [miner(100 + step * 50 + i, T0_MS) for i in range(50)])], [])
        ballast.unlink()
        journal.append([batch("miner", [miner(7, T0_MS + 1, 7.0), miner(8, T0_MS + 1, 8.0)])], [])
        last = {reading.device: reading.values["power_w"] for reading in journal.last("miner")}
        assert last["hub/site/m00000"] == 3000.0 and last["hub/site/m00007"] == 7.0 and last["hub/site/m00008"] == 8.0
        journal.close()


def test_a_read_only_disk_is_refused_for_writing_and_can_be_read(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "6m") as disk:
        journal = open_journal(disk / "journal")
        journal.append([batch("miner", [miner(1, T0_MS)])], [event(1)])
        journal.close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(ConfigError, match="writable"):
            open_journal(disk / "journal")
        reader = read_journal(disk / "journal")
        assert [record.position for record in reader.records()] == [1, 2]
        assert reader.last("miner")[0].device == "hub/site/m00001"
        with pytest.raises(JournalUnwritable):
            reader.append([], [event(2)])


def test_a_disk_that_turns_read_only_while_writing_is_reported(tmp_path: Path) -> None:
    """As a file system does that found itself broken: what SQLite then answers is mapped to a state and a remedy."""
    journal = open_journal(tmp_path)
    journal.append([], [event(1)])
    assert journal._writer is not None
    journal._writer.execute("PRAGMA query_only=1")
    with pytest.raises(JournalUnwritable) as refused:
        journal.append([], [event(2)])
    assert refused.value.state is JournalState.READ_ONLY and "make the folder writable" in refused.value.text
    journal._writer.execute("PRAGMA query_only=0")
    assert journal.append([], [event(2)]) == 2
    assert journal.health().state is JournalState.WRITABLE


def test_kinds_of_disk_error_are_distinguished(tmp_path: Path) -> None:
    assert state_of(OSError(28, "No space left on device"), tmp_path) is JournalState.FULL
    assert state_of(OSError(30, "Read-only file system"), tmp_path) is JournalState.READ_ONLY
    assert state_of(OSError(5, "Input/output error"), tmp_path) is JournalState.FAILED
    assert state_of(sqlite3.DatabaseError("malformed"), tmp_path) is JournalState.FAILED


def test_a_limit_on_the_size_of_files_is_survived(tmp_path: Path) -> None:
    """Without any right to mount: the kernel refuses to let the file grow, in a process of its own."""
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from telemetry.io.journal_sqlite import open_journal\nfrom telemetry.store.journal import JournalUnwritable\n"
        "from tests.telemetry.store.journal_cases import batch, event, meter, T0_MS\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "journal = open_journal(Path(sys.argv[1]))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))\n"
        "seq = 0\n"
        "try:\n"
        "    while seq < 20_000:\n"
        "        journal.append([batch('meter', [meter(i, T0_MS + seq, seq * 1.7) for i in range(60)])], [event(seq + 1)])\n"
        "        seq += 1\n"
        "except JournalUnwritable as error:\n"
        "    print(seq, error.state.value)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "journal.append([], [event(seq + 1)])\n"
        "print(journal.health().state.value)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert found.returncode == 0, found.stderr
    first, second = found.stdout.splitlines()
    acknowledged, state = first.split()
    assert state in ("full", "failed") and second == "writable"
    assert int(acknowledged) > 0
    with open_journal(tmp_path) as journal:
        assert [e.seq for _, e in journal.events(["operator.note"])] == list(range(1, int(acknowledged) + 2))
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_a_main_file_cut_short_is_refused_with_its_place(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for seq in range(1, 200):
        journal.append([batch("meter", [meter(i, T0_MS, float(seq)) for i in range(40)])], [event(seq)])
    journal.close()
    whole = (tmp_path / FILE_NAME).read_bytes()
    for part in (10, 100, 4096, len(whole) // 2 + 17):
        (tmp_path / FILE_NAME).write_bytes(whole[:part])
        for name in ("-wal", "-shm"):
            (tmp_path / f"{FILE_NAME}{name}").unlink(missing_ok=True)
        with pytest.raises(ConfigError, match=FILE_NAME):
            open_journal(tmp_path)
