# SPDX-License-Identifier: Apache-2.0
"""Each kind of event has one row and a writer; payloads, sentences and books fit what journals hold."""

import ast
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.config import Config
from hub.query.event_text import line
from hub.state.checkpoint import FILE_NAME, resumed, taken, write
from hub.state.event_page import current
from hub.state.event_table import EVENTS, ROWS
from hub.wiring import catalogue, empty_state
from kernel.event import EventKind
from telemetry.io.journal_sqlite import open_journal
from telemetry.store.journal import Journal
from tests.builders.event_payloads import faults
from tests.recorded import look
from tests.recorded.pack import RECORDED, unpack
from tests.recorded.shipped import migrated, shipped_as

ROOT = Path(__file__).parents[3]
NEVER_WRITTEN = {EventKind.OPERATOR_NOTE}
"""Kinds that no part of the hub writes today: journals of before hold them."""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Config, Journal]]:
    """A journal of before, with events of every kind but those that are newer than it."""
    with shipped_as(RECORDED / "configs"):
        yield look.opened(migrated(unpack(tmp_path_factory.mktemp("recorded"))))


def test_each_kind_has_exactly_one_row() -> None:
    assert Counter(row.kind for row in ROWS) == Counter(EventKind)
    assert set(EVENTS) == set(EventKind)


def _written() -> set[str]:
    """Members of EventKind that the product writes: not only compared, matched or asked of a journal."""
    found: set[str] = set()
    for package in ("telemetry", "grid", "miner_control", "hub"):
        for path in (ROOT / package).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            read: set[ast.AST] = set()
            for node in ast.walk(tree):
                asked = (
                    isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "events"
                )
                if asked or isinstance(node, ast.Compare | ast.MatchValue):
                    read.update(ast.walk(node))
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node not in read:
                    found |= {node.attr} if node.value.id == "EventKind" else set()
    return found


def test_each_kind_has_a_writer() -> None:
    written = _written()
    assert {kind for kind in EventKind if kind.name not in written} == NEVER_WRITTEN


def test_no_kind_stands_as_a_text_in_the_product() -> None:
    names = set(EventKind) - {"sale.posted"}
    for package in ("kernel", "telemetry", "grid", "miner_control", "scheduling", "hub"):
        for path in (ROOT / package).rglob("*.py"):
            if path != ROOT / "kernel" / "event.py":
                texts = {
                    node.value
                    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                    if isinstance(node, ast.Constant) and isinstance(node.value, str)
                }
                assert not texts & names, f"{path}: name the kind by EventKind"


LATER = {EventKind.DATA_LOST, EventKind.TASK_FAILED, EventKind.ORDER_SET_ASIDE, EventKind.HUB_LATE}
"""Kinds that were added after the journal was recorded."""


def test_payloads_are_those_of_the_recorded_journal(recorded: tuple[Config, Journal]) -> None:
    found = Counter[str]()
    for _, event in recorded[1].events(None):
        assert not faults(event.kind, event.body)
        found[event.kind] += 1
    assert set(found) == set(EventKind) - LATER


def test_a_payload_with_a_fault_is_found() -> None:
    body = {"id": "a", "phase": "acting"}
    assert faults("order.phase", body) == []
    assert len(faults("order.phase", {**body, "power_w": "1"})) == len(faults("order.phase", {**body, "mw": 1.0})) == 1
    assert len(faults("order.phase", {"id": "a"})) == len(faults("hub.stopped", {"ticks": True})) == 1


def test_every_recorded_event_reads_as_a_sentence(recorded: tuple[Config, Journal]) -> None:
    for _, event in recorded[1].events(None):
        shown = line(event)
        assert shown["text"] and "None" not in shown["text"], f"{event.kind}: {shown['text']}"
        assert shown["level"] in ("info", "warning", "alarm")
        assert shown["kind"] == event.kind


def test_levels_follow_content_where_a_kind_has_several() -> None:
    verdict, alarm = EVENTS[EventKind.ORDER_VERDICT], EVENTS[EventKind.ALARM_CHANGED]
    assert [verdict.level_of({"outcome": outcome}) for outcome in ("breached", "complied")] == ["alarm", "info"]
    raised = {"rule": "r", "scope": "s", "what": "raised", "priority": "high"}
    assert alarm.level_of(raised) == "alarm"
    assert alarm.level_of({**raised, "priority": "low"}) == "warning"
    assert alarm.level_of({**raised, "suppressed": "asleep"}) == "info"
    assert alarm.level_of({**raised, "what": "cleared"}) == "info"


def test_an_event_of_an_unknown_kind_is_kept_and_shown(recorded: tuple[Config, Journal], tmp_path: Path) -> None:
    config = recorded[0]
    site = next(iter(empty_state(config, catalogue()).sites))
    open_journal(tmp_path).close()
    with sqlite3.connect(tmp_path / "journal.sqlite") as file:
        row = (1, "weather.noted", 1, site, "hub", 1, 5, b'{"text":"hail"}')
        file.execute("INSERT INTO event VALUES (?,?,?,?,?,?,?,?)", row)
    with open_journal(tmp_path) as journal:
        (found,) = journal.records()
        state = empty_state(config, catalogue())
        state.apply(found)
        (event,) = state.sites[site].log
        assert line(event) == {"at_ms": 5, "kind": "weather.noted", "level": "info", "text": "weather.noted"}
        kept = taken(state)
        assert kept is not None
        write(kept, config, tmp_path / FILE_NAME)
        other = config.model_copy(update={"prices": config.prices.model_copy(update={"stale_after_s": 1.0})})
        again = resumed(other, journal, tmp_path / FILE_NAME, empty_state(other, catalogue()))
        assert again.position == 1, "the checkpoint was left unread"
        assert list(again.sites[site].log) == [event], "events folded anew are those of every kind"


def test_the_page_is_current() -> None:
    reported = (ROOT / "docs" / "reference" / "events.md").read_text(encoding="utf-8")
    assert reported == current(), "run: python -m hub.state.event_page > docs/reference/events.md"
