# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path

import pytest

from kernel.clock import Clock
from kernel.reading import MISSING, Absence, Reading, ReadingBatch
from telemetry.io.journal_sqlite import SqliteJournal, open_journal
from telemetry.io.line_protocol import lines
from telemetry.io.marks_sqlite import SqliteMarks
from telemetry.store.sink import Forwarder, SinkDown, SinkRefused, SinkState
from tests.telemetry.store.journal_cases import T0_MS, batch, event, miner


class Store:
    """A sink in memory that overwrites by series and instant, like the real ones; down and picky as told."""

    name = "store"

    def __init__(self) -> None:
        self.points: dict[tuple[str, int], float] = {}
        self.given = 0
        self.down = False
        self.refuses: Callable[[Reading], bool] = lambda reading: False

    def send(self, batch: ReadingBatch) -> None:
        if self.down:
            raise SinkDown("store: connection refused")
        if any(self.refuses(reading) for reading in batch.readings()):
            raise SinkRefused("400: field type conflict")
        self.given += len(batch)
        for reading in batch.readings():
            self.points[reading.device, reading.at_ms] = reading.number("power_w") or 0.0


class Hand:
    def __init__(self) -> None:
        self.now_s = 0.0

    def clock(self) -> Clock:
        return Clock(lambda: T0_MS + round(self.now_s * 1000), lambda: self.now_s)


@pytest.fixture
def journal(tmp_path: Path) -> SqliteJournal:
    return open_journal(tmp_path / "journal")


def fill(journal: SqliteJournal, first: int, last: int) -> None:
    for i in range(first, last):
        journal.append([batch("miner", [miner(0, T0_MS + i * 1000), miner(1, T0_MS + i * 1000)])], [event(i + 1)])


def level(forwarder: Forwarder) -> None:
    while forwarder.step(most_records=7) == 0.0:
        pass


def test_everything_arrives_once_and_the_mark_is_kept(tmp_path: Path, journal: SqliteJournal) -> None:
    store, hand = Store(), Hand()
    fill(journal, 0, 30)
    forwarder = Forwarder(journal, store, SqliteMarks(tmp_path / "marks"), hand.clock(), replay_s=0.0, rows_a_send=1)
    level(forwarder)
    assert len(store.points) == store.given == 60
    assert forwarder.health().state is SinkState.LEVEL and forwarder.health().sent == 60
    again = Forwarder(journal, store, SqliteMarks(tmp_path / "marks"), hand.clock(), replay_s=0.0)
    level(again)
    assert store.given == 60


def test_an_outage_is_replayed_from_what_is_safe(tmp_path: Path, journal: SqliteJournal) -> None:
    store, hand = Store(), Hand()
    forwarder = Forwarder(journal, store, SqliteMarks(tmp_path / "marks"), hand.clock(), replay_s=100.0)
    for i in range(30):
        fill(journal, i, i + 1)
        hand.now_s += 10.0
        level(forwarder)
    store.down = True
    lost = {key: store.points.pop(key) for key in list(store.points) if key[1] >= T0_MS + 25_000}
    fill(journal, 30, 40)
    pauses = [forwarder.step() for _ in range(8)]
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert forwarder.health().state is SinkState.DOWN and "refused" in forwarder.health().text
    store.down = False
    level(forwarder)
    assert lost.keys() < store.points.keys() and len(store.points) == 80
    assert store.given < 60 + 20 + 2 * 15, "replays what is not safe, not everything"


def test_a_restart_replays_what_is_not_safe(tmp_path: Path, journal: SqliteJournal) -> None:
    store, hand = Store(), Hand()
    fill(journal, 0, 10)
    level(Forwarder(journal, store, SqliteMarks(tmp_path / "marks"), hand.clock(), replay_s=600.0))
    store.points.clear()
    level(Forwarder(journal, store, SqliteMarks(tmp_path / "marks"), hand.clock(), replay_s=600.0))
    assert len(store.points) == 20


def test_poison_is_set_aside_alone_and_the_rest_goes_on(tmp_path: Path, journal: SqliteJournal) -> None:
    store, hand = Store(), Hand()
    marks = SqliteMarks(tmp_path / "marks")
    store.refuses = lambda reading: reading.device.endswith("m00077")
    journal.append([batch("miner", [miner(i, T0_MS) for i in range(200)])], [])
    fill(journal, 1, 3)
    forwarder = Forwarder(journal, store, marks, hand.clock())
    level(forwarder)
    assert len(store.points) == 199 + 4
    (aside,) = marks.asides("store")
    assert (aside.position, aside.kind, aside.rows, aside.text) == (1, "miner", 1, "400: field type conflict")
    assert marks.rows_of(aside)[0].devices == ["hub/site/m00077"]
    assert forwarder.health().set_aside == 1
    level(Forwarder(journal, store, marks, hand.clock()))
    assert len(marks.asides("store")) == 1, "a replay does not list it again"


def test_a_sink_that_refuses_all_does_not_cost_a_request_a_row(tmp_path: Path, journal: SqliteJournal) -> None:
    store, hand = Store(), Hand()
    marks = SqliteMarks(tmp_path / "marks")
    tries = 0

    def refuses(reading: Reading) -> bool:
        nonlocal tries
        tries += 1
        return True

    store.refuses = refuses
    journal.append([batch("miner", [miner(i, T0_MS) for i in range(1000)])], [])
    level(Forwarder(journal, store, marks, hand.clock()))
    assert tries <= 64 + 60 and sum(aside.rows for aside in marks.asides("store")) == 1000


def test_trimmed_records_are_reported_as_set_aside(tmp_path: Path, journal: SqliteJournal) -> None:
    store, hand = Store(), Hand()
    marks = SqliteMarks(tmp_path / "marks")
    fill(journal, 0, 10)
    journal.trim(10)
    level(Forwarder(journal, store, marks, hand.clock()))
    (aside,) = marks.asides("store")
    assert aside.rows == 10 and "archive" in aside.text
    assert len(store.points) == 10


def test_lines_are_the_ones_of_the_protocol() -> None:
    rows = [
        Reading("hub/site/m1", "miner", T0_MS, {"power_w": 3250.5, "state": "hashing", "error_text": 'a "b" \\ c\nd'}),
        Reading("hub/site/m2", "miner", T0_MS + 1, {"power_w": MISSING[Absence.TIMED_OUT], "state": "unreachable"}),
        Reading("hub/site/m3", "miner", T0_MS + 2, {"power_w": MISSING[Absence.TIMED_OUT]}),
        Reading("hub/other/m4", "miner", T0_MS + 3, {"hashrate_hs": 1.1e14, "uptime_s": 5.0}),
    ]
    assert lines(batch("miner", rows)).decode().splitlines() == [
        f'miner,device=hub/site/m1,site=hub/site power_w=3250.5,state="hashing",error_text="a \\"b\\" \\\\ c d" {T0_MS}',
        f'miner,device=hub/site/m2,site=hub/site state="unreachable" {T0_MS + 1}',
        f"miner,device=hub/other/m4,site=hub/other hashrate_hs=1.1e+14,uptime_s=5 {T0_MS + 3}",
    ]
    assert lines(batch("miner", rows), texts=False).decode().splitlines() == [
        f"miner,device=hub/site/m1,site=hub/site power_w=3250.5 {T0_MS}",
        f"miner,device=hub/other/m4,site=hub/other hashrate_hs=1.1e+14,uptime_s=5 {T0_MS + 3}",
    ]
    # A field that every row has stands last, so that no comma is left over.
    assert lines(batch("miner", rows[:2])).decode().splitlines() == [
        f'miner,device=hub/site/m1,site=hub/site power_w=3250.5,error_text="a \\"b\\" \\\\ c d",state="hashing" {T0_MS}',
        f'miner,device=hub/site/m2,site=hub/site state="unreachable" {T0_MS + 1}',
    ]
    assert lines(batch("miner", [rows[2]])) == b"" and lines(batch("miner", [])) == b""
