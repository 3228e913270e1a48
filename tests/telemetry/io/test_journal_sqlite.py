# SPDX-License-Identifier: Apache-2.0
import sqlite3
from pathlib import Path

import pytest

from hub.journal.recorder import Recorder, at_once
from kernel.clock import Clock
from kernel.errors import ConfigError
from kernel.event import ALIASES, Event, EventKind
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


def test_an_append_of_meters_or_events_is_on_the_platter_when_it_returns(tmp_path: Path) -> None:
    """What the connection is at while it commits: 2 is FULL, 1 is NORMAL. The file is a write-ahead log."""
    journal = open_journal(tmp_path)
    connection = journal._writer
    assert connection is not None
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    said: list[str] = []
    connection.set_trace_callback(said.append)
    miners, meters = batch("miner", [miner(1, T0_MS)]), batch("meter", [meter(1, T0_MS, 1.0)])
    for batches, events, level in (
        ([miners], [], 1),
        ([miners], [event(1)], 2),
        ([miners], [], 1),
        ([miners, meters], [], 2),
        ([], [event(2)], 2),
    ):
        said.clear()
        journal.append(batches, events)
        assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
        begun = next(at for at, text in enumerate(said) if text.startswith("BEGIN"))
        assert all("synchronous" not in text for text in said[begun:-1]), "set before the transaction begins"
        assert any(text == "COMMIT" for text in said[begun:])
    journal.close()


def stored(folder: Path, *kinds: str) -> None:
    """Events as an older hub, or a newer one, wrote them."""
    open_journal(folder).close()
    with sqlite3.connect(folder / FILE_NAME) as file:
        rows = [(at, kind, 1, "hub/site", "hub", at, T0_MS, b"{}") for at, kind in enumerate(kinds, 1)]
        file.executemany("INSERT INTO event VALUES (?,?,?,?,?,?,?,?)", rows)


def test_a_kind_stored_under_a_former_name_is_read_and_found_as_todays(tmp_path: Path) -> None:
    stored(tmp_path, *ALIASES, "plan.made")
    kinds = [*ALIASES.values(), EventKind.PLAN_MADE]
    with open_journal(tmp_path) as journal:
        contents = [record.content for record in journal.records()]
        assert [content.kind for content in contents if isinstance(content, Event)] == kinds
        assert [event.kind for _, event in journal.events(None)] == kinds
        for at, (name, kind) in enumerate(ALIASES.items(), 1):
            assert [(p, e.kind) for p, e in journal.events([kind])] == [(at, kind)]
            assert [(p, e.kind) for p, e in journal.events([name])] == [(at, kind)], "a former name stands for its kind"
        found = journal.events([EventKind.JOB_WAVE])
        assert all(isinstance(event.kind, EventKind) for _, event in found)
        seq = len(kinds) + 1
        journal.append([], [event(seq, "job.wave")])
        assert [e.seq for _, e in journal.events([EventKind.JOB_WAVE])] == [
            list(ALIASES).index("campaign.wave") + 1,
            seq,
        ]
    with sqlite3.connect(tmp_path / FILE_NAME) as file:
        names = [row[0] for row in file.execute("SELECT kind FROM event ORDER BY position")]
    assert names == [*ALIASES, "plan.made", "job.wave"], "stored bytes are never rewritten"


def test_an_event_of_an_unknown_kind_is_read_as_it_stands(tmp_path: Path) -> None:
    stored(tmp_path, "weather.noted")
    with open_journal(tmp_path) as journal:
        assert [e.kind for _, e in journal.events(None)] == ["weather.noted"]
        assert [e.kind for _, e in journal.events(["weather.noted"])] == ["weather.noted"]
        assert list(journal.events(EventKind)) == []


@pytest.mark.parametrize(("kind", "why"), [("weather.noted", "add it to"), ("campaign.wave", "it is job.wave now")])
def test_an_event_of_no_kind_of_today_is_not_written(kind: str, why: str, tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        with pytest.raises(ValueError, match=why):
            journal.append([batch("miner", [miner(1, T0_MS)])], [event(1), event(2, kind)])
        assert journal.position() == 0, "all or nothing"
        recorder = Recorder(journal, Clock(lambda: T0_MS, lambda: 0.0), lambda record: None, at_once())
        with pytest.raises(ValueError, match=why):
            recorder.emit("hub/site", kind, {})  # type: ignore[arg-type]
        assert recorder.emit("hub/site", EventKind.OPERATOR_NOTE, {"text": "a"}).seq == 1, "no number is lost"


def test_an_event_is_neither_changed_nor_deleted_also_in_a_journal_of_before(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.append([], [event(1), event(2)])
    journal.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as file:
        file.execute("DROP TRIGGER event_stays")
        file.execute("DROP TRIGGER event_remains")
    open_journal(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as file:
        for sql in ("UPDATE event SET at_ms=at_ms+1", "DELETE FROM event WHERE position=1"):
            with pytest.raises(sqlite3.IntegrityError, match="never"):
                file.execute(sql)
    assert len(list(read_journal(tmp_path).events(None))) == 2
