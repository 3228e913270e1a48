# SPDX-License-Identifier: Apache-2.0
"""Recorder: durable before known, nothing lost or reordered while the journal is down, commands only after the write."""

import asyncio
from typing import Any

import pytest

from hub.journal import recorder as module
from hub.journal.issue import issue
from hub.journal.recorder import Recorder, at_once
from kernel.clock import Clock
from kernel.event import Event
from kernel.reading import Reading, ReadingBatch
from miner_control.fleet.command import Journalled, Sleep, command
from telemetry.store.journal import Record
from tests.builders.memory_journal import MemoryJournal
from tests.builders.spine import KEY, T0_MS, Spine, unit

SITE = "hub/site"


class Kept:
    """A recorder over a journal in memory; `folded` holds what was folded, with how much the journal held by then."""

    def __init__(self) -> None:
        self.journal = MemoryJournal()
        self.folded: list[tuple[Record, int]] = []
        self.recorder = self.opened()

    def opened(self) -> Recorder:
        journal: Any = self.journal
        return Recorder(journal, Clock(lambda: T0_MS, lambda: 0.0), self._fold, at_once())

    def _fold(self, record: Record) -> None:
        self.folded.append((record, self.journal.position()))

    def note(self, text: str, site: str = SITE) -> Event:
        return self.recorder.emit(site, "operator.note", {"text": text})

    def flush(self, required: bool = False) -> None:
        asyncio.run(self.recorder.flush(required=required))

    def texts(self) -> list[str]:
        return [str(one.content.body["text"]) for one, _ in self.folded if isinstance(one.content, Event)]


def power(at_ms: int, power_w: float) -> Reading:
    return Reading(f"{SITE}/meter", "meter", at_ms, {"power_w": power_w})


def test_a_record_is_folded_after_it_is_on_disk_and_in_order_of_position() -> None:
    kept = Kept()
    kept.note("a")
    kept.recorder.enqueue([power(1, 5.0)])
    kept.note("b")
    assert kept.folded == [] and kept.recorder.position == 0
    kept.flush()
    assert [one.position for one, _ in kept.folded] == [1, 2, 3] and kept.recorder.position == 3
    assert all(held >= one.position for one, held in kept.folded)
    assert isinstance(kept.folded[0][0].content, ReadingBatch), "readings go before events"
    assert [one for one, _ in kept.folded] == kept.journal.held


def test_while_the_journal_is_down_nothing_is_known_and_nothing_is_lost() -> None:
    kept = Kept()
    kept.journal.down = True
    kept.note("a")
    kept.flush()
    assert kept.folded == [] and kept.recorder.fault == "journal full: no space left on device"
    kept.note("b")
    with pytest.raises(OSError, match="no space"):
        kept.flush(required=True)
    kept.journal.down = False
    kept.note("c")
    kept.flush(required=True)
    assert kept.texts() == ["a", "b", "c"] and kept.recorder.fault is None
    kept.flush()
    assert kept.texts() == ["a", "b", "c"], "and once"


def test_readings_that_wait_keep_their_order_and_the_oldest_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING_READINGS", 3)
    kept = Kept()
    kept.journal.down = True
    kept.recorder.enqueue([power(at, float(at)) for at in (1, 2)])
    kept.flush()
    kept.recorder.enqueue([power(at, float(at)) for at in (3, 4)])
    assert kept.recorder.readings_lost == 1
    kept.journal.down = False
    kept.flush()
    (record, _) = kept.folded[0]
    assert isinstance(record.content, ReadingBatch) and record.content.at_ms.tolist() == [2, 3, 4]


def test_commit_returns_once_the_event_is_on_disk_and_folded_and_raises_otherwise() -> None:
    kept = Kept()
    asyncio.run(kept.recorder.commit(SITE, "operator.note", {"text": "a"}))
    assert kept.texts() == ["a"] and kept.journal.position() == 1
    kept.journal.down = True
    with pytest.raises(OSError, match="no space"):
        asyncio.run(kept.recorder.commit(SITE, "operator.note", {"text": "b"}))
    assert kept.texts() == ["a"]


def test_what_is_queued_while_a_write_is_under_way_is_durable_when_its_own_flush_returns() -> None:
    """Two tasks at once: the second waits for the first write and makes its own."""
    kept, writes = Kept(), []
    writing = asyncio.Event()

    async def slowly(work: Any, *arguments: Any) -> Any:
        writes.append(work)
        await writing.wait()
        return work(*arguments)

    kept.recorder._offload = module.Offload(slowly)

    async def story() -> None:
        kept.note("a")
        first = asyncio.create_task(kept.recorder.flush(required=True))
        await asyncio.sleep(0)
        second = asyncio.create_task(kept.recorder.commit(SITE, "operator.note", {"text": "b"}))
        await asyncio.sleep(0)
        assert not first.done() and not second.done() and kept.folded == [] and len(writes) == 1
        writing.set()
        await second
        assert kept.texts() == ["a", "b"]
        await first

    asyncio.run(story())
    assert kept.journal.calls == 2


def test_an_acknowledgement_waits_for_the_disk() -> None:
    kept, given = Kept(), []
    kept.journal.down = True
    kept.recorder.enqueue([power(1, 5.0)])
    kept.recorder.when_durable(lambda: given.append(kept.journal.position()))
    kept.flush()
    assert given == []
    kept.journal.down = False
    kept.flush()
    kept.flush()
    assert given == [1], "after the write, once"


def test_sequence_numbers_run_per_site_without_gaps_also_over_a_restart() -> None:
    kept = Kept()
    assert [kept.note("a").seq, kept.note("b").seq, kept.note("c", "hub/other").seq] == [1, 2, 1]
    kept.flush()
    kept.recorder = kept.opened()
    assert kept.recorder.position == 3
    assert [kept.note("d").seq, kept.note("e", "hub/other").seq] == [3, 2]


def test_an_event_of_no_known_kind_is_refused() -> None:
    with pytest.raises((KeyError, ValueError), match="is no event kind"):
        Kept().recorder.emit(SITE, "order.forgotten", {})


# ---- commands ----


def test_commands_are_handed_over_as_the_result_of_the_write() -> None:
    spine = Spine()
    asked = [command(T0_MS, unit(at), Sleep(), "test") for at in (0, 1)]
    assert asyncio.run(issue(spine.recorder, KEY, asked)) == Journalled(tuple(asked))
    assert spine.kinds() == ["command.issued"] * 2 and spine.site.issued == 2
    assert set(spine.site.unanswered) == {str(one.id) for one in asked}


def test_commands_that_could_not_be_written_are_answered_once_the_journal_takes_them() -> None:
    """No matter which part of the hub issues them: a command without a receipt would be waited for until the next start."""
    spine = Spine()
    asked = [command(T0_MS, unit(at), Sleep(), "test") for at in (0, 1)]
    spine.journal.down = True
    with pytest.raises(OSError, match="no space"):
        asyncio.run(issue(spine.recorder, KEY, asked))
    assert spine.site.issued == 0
    spine.journal.down = False
    asyncio.run(spine.recorder.flush(required=True))
    assert spine.site.issued == 2 and spine.site.unanswered == {}
    receipts = spine.bodies("command.receipt")
    assert [(one["outcome"], one["cause"]) for one in receipts] == [("unreachable", "withdrawn")] * 2
    spine.hear()
    assert bool(spine.at().fleet.can_command.all()), "the hub's own withdrawal is no failure of the miner"
