# SPDX-License-Identifier: Apache-2.0
"""Laws of the journal: what goes in comes out, and no order of appends, reopenings and trims makes it say otherwise."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kernel.event import Event
from kernel.metric import SCHEMAS, TEXT_METRICS
from kernel.reading import MISSING, Absence, Field, Reading, ReadingBatch
from telemetry.io.arrow import pack, unpack
from telemetry.io.journal_sqlite import SqliteJournal, open_journal, read_journal
from tests.servers import count
from tests.telemetry.store.journal_cases import T0_MS, batch

MISSES = st.sampled_from([MISSING[reason] for reason in Absence if reason not in (Absence.PRESENT, Absence.NOT_ASKED)])
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**40), 2**40).map(float)
TEXTS = st.text(max_size=12)


@st.composite
def reading(draw: st.DrawFn, kind: str = "miner") -> Reading:
    names = draw(st.lists(st.sampled_from(list(SCHEMAS[kind])), max_size=8, unique=True))
    values: dict[str, Field] = {
        name: draw((TEXTS if name in TEXT_METRICS[kind] else NUMBERS) | MISSES) for name in names
    }
    device = f"hub/site/d{draw(st.integers(0, 5))}"
    evidence = draw(st.none() | st.just("ab" * 32))
    return Reading(device, kind, T0_MS + draw(st.integers(-5000, 5000)), values, evidence)


@given(st.lists(reading(), min_size=1, max_size=12))
@settings(max_examples=count(60, 1000), deadline=None)
def test_a_batch_comes_out_of_its_blob_as_it_went_in(rows: list[Reading]) -> None:
    before = batch("miner", rows)
    after = unpack("miner", pack(before))
    assert list(after.readings()) == list(before.readings())
    some = list(range(0, len(rows), 2))
    assert list(unpack("miner", pack(before), some).readings()) == [before.reading(row) for row in some]


class JournalAgainstModel(RuleBasedStateMachine):
    """The journal beside a plain list of what was appended."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="journal-law-"))
        self.journal: SqliteJournal = open_journal(self.folder)
        self.reported: list[list[Reading] | Event] = []
        self.newest: dict[str, tuple[int, Reading]] = {}
        self.trimmed = 0
        self.seq = 0

    @rule(rows=st.lists(reading(), max_size=4), events=st.integers(0, 2), again=st.booleans())
    def append(self, rows: list[Reading], events: int, again: bool) -> None:
        fresh = []
        for _ in range(events):
            self.seq += 1
            fresh.append(Event("operator.note", 1, "hub/site", "w", self.seq, T0_MS, {"n": self.seq}))
        known = [content for content in self.reported if isinstance(content, Event)]
        sent = [*known[-1:], *fresh] if again else fresh
        batches = [batch("miner", rows)] if rows else []
        self.journal.append(batches, sent)
        if rows:
            self.reported.append(list(batches[0].readings()))
            for row in batches[0].readings():
                if row.at_ms >= self.newest.get(row.device, (-1, row))[0]:
                    self.newest[row.device] = row.at_ms, row
        self.reported += fresh

    @rule()
    def reopen(self) -> None:
        self.journal.close()
        self.journal = open_journal(self.folder)

    @precondition(lambda self: bool(self.reported))
    @rule(share=st.floats(0, 1))
    def trim(self, share: float) -> None:
        until = int(len(self.reported) * share)
        self.journal.trim(until)
        self.trimmed = max(self.trimmed, until)

    @invariant()
    def says_what_it_was_told(self) -> None:
        with read_journal(self.folder) as reader:
            for journal in (self.journal, reader):
                assert journal.position() == len(self.reported)
                assert journal.last_seq("hub/site", "w") == self.seq
                found = {record.position: record.content for record in journal.records()}
                for position, content in enumerate(self.reported, 1):
                    if isinstance(content, Event):
                        assert found[position] == content
                    elif position > self.trimmed:
                        kept = found[position]
                        assert isinstance(kept, ReadingBatch) and list(kept.readings()) == content
                last = {row.device: row for row in journal.last("miner")}
                assert last == {device: row for device, (_, row) in self.newest.items()}

    def teardown(self) -> None:
        self.journal.close()
        shutil.rmtree(self.folder)


JournalAgainstModel.TestCase.settings = settings(max_examples=count(10, 200), stateful_step_count=15, deadline=None)
TestJournal = JournalAgainstModel.TestCase
