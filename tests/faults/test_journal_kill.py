# SPDX-License-Identifier: Apache-2.0
"""kill -9 of a writing process at random moments: what it acknowledged is found, once, and the file opens."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kernel.reading import ReadingBatch
from telemetry.io.journal_sqlite import open_journal
from tests.servers import count

ROOT = Path(__file__).parents[2]

WRITER = """
import os, sys
from pathlib import Path
from kernel.event import Event
from kernel.reading import Reading
from telemetry.io.journal_sqlite import open_journal
from tests.telemetry.store.journal_cases import batch

folder, log = Path(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
journal = open_journal(folder)
seq = journal.last_seq("hub/site", "w")
while True:
    seq += 1
    rows = 1 + seq * 7 % 90
    meters = batch("meter", [Reading(f"hub/site/meter-{i}", "meter", seq, {"energy_import_wh": float(seq)},
                                     journal.keep(b"frame %d %d" % (seq, i)) if i < 2 else None) for i in range(rows)])
    miners = batch("miner", [Reading(f"hub/site/m{i}", "miner", seq, {"power_w": float(seq)}) for i in range(rows)])
    events = [Event("operator.note", 1, "hub/site", "w", seq, seq, {"rows": rows})]
    position = journal.append([meters, miners] if seq % 3 else [], events)
    os.write(log, b"%d %d\\n" % (seq, position))  # acknowledged: what stands here must be found
    if seq % 50 == 0:
        journal.trim(position - 90)
"""


@pytest.mark.timeout(3600)
def test_what_was_acknowledged_is_found_after_any_kill(tmp_path: Path) -> None:
    folder, log = tmp_path / "journal", tmp_path / "acknowledged"
    chance = random.Random(20260101)
    total = 0
    for round_ in range(count(8, 200)):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), str(log)], cwd=ROOT, stderr=subprocess.PIPE
        )
        start, already = time.monotonic(), total
        while total == already and time.monotonic() - start < 30:  # the moment counts from the first acknowledgement
            time.sleep(0.005)
            total = len(log.read_bytes().splitlines()) if log.exists() else 0
            assert writer.poll() is None, writer.communicate()[1].decode()
        time.sleep(chance.uniform(0.0, 0.25))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        lines = [line.split() for line in log.read_bytes().split(b"\n")[:-1]]
        total = len(lines)
        acknowledged = {int(seq): int(position) for seq, position in lines}

        with open_journal(folder) as journal:
            found = {event.seq: position for position, event in journal.events(["operator.note"])}
            beyond = found.keys() - acknowledged.keys()
            assert acknowledged.items() <= found.items(), f"lost in round {round_}"
            assert len(beyond) <= round_ + 1, "at most the one under way at each kill stands there unacknowledged"
            assert sorted(found) == list(range(1, len(found) + 1)), "no gap and none doubled"
            assert journal.last_seq("hub/site", "w") == len(found)
            _check_batches(journal, found)


def _check_batches(journal: object, found: dict[int, int]) -> None:
    """Each append is there whole or not at all; the last 90 positions were not trimmed."""
    from telemetry.io.journal_sqlite import SqliteJournal

    assert isinstance(journal, SqliteJournal)
    newest = max(found)
    oldest = journal.health().oldest_position
    seen: dict[int, list[ReadingBatch]] = {}
    for record in journal.records(after=oldest - 1):
        if isinstance(record.content, ReadingBatch):
            seen.setdefault(int(record.content.at_ms[0]), []).append(record.content)
    for seq, position in found.items():
        if position - 2 < oldest:
            continue
        rows = 1 + seq * 7 % 90
        assert [(b.kind, len(b)) for b in seen.get(seq, [])] == ([("meter", rows), ("miner", rows)] if seq % 3 else [])
        for b in seen.get(seq, [])[:1]:
            assert all(journal.evidence(name) == b"frame %d %d" % (seq, row) for row, name in b.evidence.items())
    last = {reading.device: reading.at_ms for reading in journal.last("meter")}
    assert max(last.values()) >= newest - 1
