# SPDX-License-Identifier: Apache-2.0
import sqlite3
from pathlib import Path

import pytest

from kernel.errors import ConfigError
from kernel.ids import sha256_hex
from kernel.reading import MISSING, Absence, Reading, ReadingBatch
from telemetry.io.journal_schema import FILE_NAME
from telemetry.io.journal_sqlite import open_journal, read_journal
from telemetry.store.journal import JournalState, JournalUnwritable
from tests.telemetry.store.journal_cases import T0_MS, batch, event, meter, miner


def test_what_is_appended_is_found_again_in_order(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    miners = batch("miner", [miner(1, T0_MS), miner(2, T0_MS, None, "unreachable")])
    meters = batch("meter", [meter(1, T0_MS, 12_345_678_901.0)])

    assert journal.append([miners, meters], [event(1), event(2)]) == 4
    assert journal.append([], [event(3)]) == 5

    found = list(journal.records())
    assert [record.position for record in found] == [1, 2, 3, 4, 5]
    first, second = found[0].content, found[1].content
    assert isinstance(first, ReadingBatch) and isinstance(second, ReadingBatch)
    assert list(first.readings()) == list(miners.readings())
    assert second.reading(0).values["energy_import_wh"] == 12_345_678_901.0
    assert first.reading(1).get("power_w") == MISSING[Absence.UNREACHABLE]
    assert [record.content for record in found[2:]] == [event(1), event(2), event(3)]
    assert [record.position for record in journal.records(after=2, until=4)] == [3, 4]


def test_a_repeated_event_is_not_stored_twice_and_takes_no_position(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    assert journal.append([], [event(1), event(2)]) == 2
    assert journal.append([], [event(2), event(3)]) == 3
    assert [e.seq for _, e in journal.events(["operator.note"])] == [1, 2, 3]
    assert journal.last_seq("hub/site", "hub") == 3
    assert journal.last_seq("hub/other", "hub") == 0


def test_events_are_found_by_kind_and_position(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.append([batch("miner", [miner(1, T0_MS)])], [event(1), event(2, "plan.made"), event(3)])
    assert [(p, e.seq) for p, e in journal.events(["plan.made"])] == [(3, 2)]
    assert [(p, e.seq) for p, e in journal.events(["operator.note", "plan.made"], after=2)] == [(3, 2), (4, 3)]


def test_last_is_the_newest_by_its_own_instant(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.append([batch("miner", [miner(1, T0_MS + 2000, 2.0), miner(2, T0_MS, 9.0)])], [])
    journal.append([batch("miner", [miner(1, T0_MS + 1000, 1.0)])], [])
    journal.append([batch("miner", [miner(2, T0_MS + 1000, 8.0), miner(2, T0_MS + 3000, 7.0)])], [])
    assert [(r.device, r.values["power_w"]) for r in journal.last("miner")] == [
        ("hub/site/m00001", 2.0),
        ("hub/site/m00002", 7.0),
    ]
    journal.close()
    again = open_journal(tmp_path)
    again.append([batch("miner", [miner(1, T0_MS + 1500, 1.5)])], [])
    assert again.last("miner")[0].values["power_w"] == 2.0


def test_batches_are_found_by_time(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for minute in range(10):
        journal.append([batch("miner", [miner(1, T0_MS + minute * 60_000)])], [])
    found = list(journal.batches("miner", T0_MS + 120_000, T0_MS + 240_000))
    assert [int(b.at_ms[0]) - T0_MS for b in found] == [120_000, 180_000]
    assert list(journal.batches("meter", 0, T0_MS * 2)) == []


def test_evidence_is_kept_once_and_with_the_next_append(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    name = journal.keep(b"\x01\x03\x04")
    assert name == sha256_hex(b"\x01\x03\x04") == journal.keep(b"\x01\x03\x04")
    assert journal.evidence(name) == b"\x01\x03\x04"
    reading = Reading("hub/site/meter-1", "meter", T0_MS, {"power_w": 1.0}, name)
    journal.append([batch("meter", [reading, meter(2, T0_MS, 1.0)])], [])
    with read_journal(tmp_path) as reader:
        assert reader.evidence(name) == b"\x01\x03\x04"
        (found,) = reader.batches("meter", 0, T0_MS * 2)
        assert found.reading(0).evidence == name and found.reading(1).evidence is None
        with pytest.raises(KeyError):
            reader.evidence("00")


def test_trim_keeps_events_and_what_last_rests_on(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for minute in range(5):
        journal.append([batch("miner", [miner(1, T0_MS + minute * 60_000)])], [event(minute + 1)])
    journal.append([batch("miner", [miner(2, T0_MS)])], [])
    assert journal.trim(until=11) == 4
    assert [r.position for r in journal.records()] == [2, 4, 6, 8, 9, 10, 11]
    assert len(journal.last("miner")) == 2
    assert journal.health().oldest_position == 12
    journal.close()
    assert open_journal(tmp_path).position() == 11


def test_a_second_hub_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    with pytest.raises(ConfigError, match="another hub writes here"):
        open_journal(tmp_path)
    journal.close()
    open_journal(tmp_path).close()


def test_a_reader_sees_what_was_committed_and_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no journal"):
        read_journal(tmp_path)
    writer = open_journal(tmp_path)
    reader = read_journal(tmp_path)
    writer.append([], [event(1)])
    assert reader.position() == 1
    with pytest.raises(JournalUnwritable):
        reader.append([], [event(2)])


def test_a_newer_or_foreign_file_is_refused_with_its_place(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"this is no database at all, but long enough to look like one" * 20)
    with pytest.raises(ConfigError, match=FILE_NAME):
        open_journal(tmp_path)
    (tmp_path / FILE_NAME).unlink()
    open_journal(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as raw:
        raw.execute("PRAGMA user_version=99")
    with pytest.raises(ConfigError, match="schema version 99"):
        open_journal(tmp_path)


def test_its_bytes_are_bounded_and_the_state_shows_it(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, max_bytes=200_000)
    acknowledged = 0
    with pytest.raises(JournalUnwritable) as refused:
        for seq in range(1, 100_000):
            journal.append([], [event(seq)])
            acknowledged = seq
    assert refused.value.state is JournalState.FULL
    assert journal.health().state is JournalState.FULL and "trim" in journal.health().text
    assert journal.last_seq("hub/site", "hub") == acknowledged > 0
    assert journal.health().bytes_used < 2 * 200_000


def test_a_torn_tail_of_the_write_ahead_file_opens(tmp_path: Path) -> None:
    source = tmp_path / "one"
    journal = open_journal(source)
    for seq in range(1, 41):
        journal.append([batch("meter", [meter(1, T0_MS + seq * 1000, float(seq))])], [event(seq)])
    wal = (source / f"{FILE_NAME}-wal").read_bytes()
    main = (source / FILE_NAME).read_bytes()
    for cut in range(0, len(wal), max(1, len(wal) // 25)):
        torn = tmp_path / f"torn-{cut}"
        torn.mkdir()
        (torn / FILE_NAME).write_bytes(main)
        (torn / f"{FILE_NAME}-wal").write_bytes(wal[:cut])
        try:
            opened = open_journal(torn)
        except ConfigError:
            pytest.fail(f"a write-ahead file torn at {cut} of {len(wal)} does not open")
        seqs = [e.seq for _, e in opened.events(["operator.note"])]
        assert seqs == list(range(1, len(seqs) + 1))
        assert len(list(opened.batches("meter", 0, T0_MS * 2))) == len(seqs)
        opened.append([], [event(len(seqs) + 1)])
        opened.close()
