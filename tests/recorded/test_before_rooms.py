# SPDX-License-Identifier: Apache-2.0
"""A hub's folder of before the packages were rearranged is read, folded, replayed and verified as the code of then did.

The recording never changes. Where a test here fails, an older journal would be read otherwise than it was meant: put the code
right. Where only a name moved, follow it in `state_dump.py`, `look.py` or `shipped.py`. Where somebody wants another decision
than then, enter the tick and the reason.
"""

import asyncio
import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.config import Config
from hub.journal.recorder import Recorder, at_once
from hub.reports.verify import verify_report
from hub.state.checkpoint import FILE_NAME, resumed, taken, write
from hub.wiring import catalogue, empty_state
from hub.wiring.plugins import REPORTS
from kernel.clock import Clock
from kernel.event import Event, EventKind
from telemetry.io.journal_sqlite import open_journal
from telemetry.store.journal import Journal
from tests.recorded import look
from tests.recorded.pack import RECORDED, expected, unpack
from tests.recorded.shipped import migrated, shipped_as
from tests.recorded.state_dump import state_dump
from treasury import verify

SHA256 = "682d5064a7f5fd8ded434618674d3665a9e9a4d253ebe45cedfe157cb7050665"
"""Of all files of the recording."""

DECIDED_OTHERWISE = {
    825: "a unit that waits for its wake is asked for no other mode: its wake, 60 s old, was without a receipt",
    883: "the same, of one of two units",
}
"""Ticks, by their position in the journal, that are decided otherwise since, each for a reason that somebody wanted."""

FOLDED_OTHERWISE = {
    "/alarms/alarms[9]/acknowledged": "what was acknowledged stays so when its suppression ends",
    "/alarms/alarms[9]/state": "follows from it",
}
"""Places of the last state that are folded otherwise since, each for a reason that somebody wanted."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy that tests may read, under what shipped with the hub then."""
    with shipped_as(RECORDED / "configs"):
        yield migrated(unpack(tmp_path_factory.mktemp("recorded")))


@pytest.fixture(scope="module")
def then() -> dict[str, Any]:
    return expected()


@pytest.fixture(scope="module")
def hub(folder: Path) -> tuple[Config, Journal]:
    return look.opened(folder)


def test_the_recording_is_the_one_that_was_made() -> None:
    digest = hashlib.sha256()
    for path in sorted(path for path in RECORDED.rglob("*") if path.is_file() and path.suffix != ".md"):
        digest.update(f"{path.relative_to(RECORDED).as_posix()}\n".encode() + path.read_bytes())
    assert digest.hexdigest() == SHA256, "a recording that newer code has made or mended proves nothing: put it back"


def test_every_event_kind_that_was_written_stands_in_it(hub: tuple[Config, Journal], folder: Path) -> None:
    with sqlite3.connect(folder / "data" / "journal.sqlite") as file:
        stored = dict(file.execute("SELECT kind, count(*) FROM event GROUP BY kind"))
    frozen = json.loads((Path(__file__).parents[1] / "architecture" / "frozen.json").read_text())
    assert set(stored) == set(frozen["event_kinds"]["written_before_rooms"])
    for kind, count in stored.items():
        found = list(hub[1].events([kind]))
        assert len(found) == count, f"a filter for {kind} passes over events that were stored under this name"
        assert all(isinstance(event.kind, EventKind) for _, event in found), f"{kind} is read as an unknown kind"


def test_every_record_is_read(hub: tuple[Config, Journal], then: dict[str, Any]) -> None:
    found = look.records(hub[1])
    assert set(found["readings"]) == {"miner", "meter", "container", "sensor", "switch"}
    assert found == then["records"]


def _differences(now: Any, before: Any, place: str = "") -> list[str]:
    """Where two states differ, each with both values."""
    if isinstance(now, dict) and isinstance(before, dict):
        keys = sorted({*now, *before})
        return [line for key in keys for line in _differences(now.get(key), before.get(key), f"{place}/{key}")]
    if isinstance(now, list) and isinstance(before, list) and len(now) == len(before):
        pairs = enumerate(zip(now, before, strict=True))
        return [line for at, (a, b) in pairs for line in _differences(a, b, f"{place}[{at}]")]
    return [] if now == before else [f"{place}: was {before!r}, is {now!r}"]


def test_it_folds_to_the_same_state(hub: tuple[Config, Journal], then: dict[str, Any]) -> None:
    states = look.states(*hub, [state["position"] for state in then["states"]])
    assert len(states) == len(then["states"]) == 7
    for now, before in zip(states, then["states"], strict=True):
        lines = _differences(now, before)
        if before is then["states"][-1]:
            wanted = [line for line in lines if line.partition(": ")[0] in FOLDED_OTHERWISE]
            assert len(wanted) == len(FOLDED_OTHERWISE), "what is folded as it was then needs no reason"
            lines = [line for line in lines if line not in wanted]
        assert not lines, f"at position {before['position']}:\n" + "\n".join(lines[:20])


def test_every_tick_is_decided_the_same(hub: tuple[Config, Journal], then: dict[str, Any]) -> None:
    assert then["replay"] == {"ticks": 325, "commands": 140, "difference": None}
    found = look.replayed(*hub, lambda position: position not in DECIDED_OTHERWISE)
    assert found["difference"] is None, found["difference"]
    assert found["ticks"] == 325 - len(DECIDED_OTHERWISE) and found["commands"] > 100


@pytest.mark.parametrize("position", DECIDED_OTHERWISE)
def test_a_tick_that_is_decided_otherwise_has_its_reason(hub: tuple[Config, Journal], position: int) -> None:
    found = look.replayed(*hub, lambda at: at == position)
    assert found["difference"] is not None, "what is decided as it was then needs no reason"
    assert f"journal position {position} differs in changes" in found["difference"]


def test_a_checkpoint_of_it_folds_to_the_same_state(
    hub: tuple[Config, Journal], then: dict[str, Any], tmp_path: Path
) -> None:
    config, journal = hub
    wanted = [state["position"] for state in then["states"]][2::4]
    (whole,) = look.states(config, journal, [journal.position()])
    state = empty_state(config, catalogue())
    for record in journal.records():
        state.apply(record)
        if record.position not in wanted:
            continue
        found = taken(state)
        assert found is not None
        write(found, config, tmp_path / FILE_NAME)
        again = resumed(config, journal, tmp_path / FILE_NAME, empty_state(config, catalogue()))
        assert again.position == record.position, "the checkpoint was left unread"
        for later in journal.records(after=again.position):
            again.apply(later)
        assert not _differences(json.loads(json.dumps(state_dump(again))), whole)


def test_the_ledger_and_what_is_made_of_it_are_the_same(folder: Path, then: dict[str, Any]) -> None:
    found = look.ledger(folder / "data")
    assert found["check"]["balanced"] and found["check"]["entries"] > 100
    assert found == then["ledger"]


def test_the_verifier_that_stands_alone_finds_ledger_and_reports_valid(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "ledger.json"
    rows.write_text(json.dumps(look.ledger(folder / "data")["rows"]))
    (statement,) = (folder / "data" / "reports").glob("treasury-statement_*.json")
    (energy,) = (folder / "data" / "reports").glob("site-energy_*.json")
    key = folder / "data" / "keys" / "report.pub"
    assert verify.main(["journal", str(rows), "--statement", str(statement)]) == 0, capsys.readouterr().out
    for report in (statement, energy):
        assert verify.main(["report", str(report), "--key", str(key)]) == 0, capsys.readouterr().out
        verdict = verify_report(report, REPORTS, key)
        assert (verdict.signature, verdict.trusted) == ("valid", True), verdict.reason


def test_a_report_of_the_same_span_says_the_same(hub: tuple[Config, Journal], folder: Path) -> None:
    for name, made in look.reports(folder, *hub).items():
        stands = json.loads((folder / "data" / "reports" / name).read_bytes())
        assert not _differences(made, stands), name


def test_the_archive_and_billed_energy_are_read(
    hub: tuple[Config, Journal], folder: Path, then: dict[str, Any]
) -> None:
    assert not _differences(look.archive(folder, *hub), then["archive"])
    assert look.billing(folder / "data") == then["billing"] != []
    assert all(proven for proven in look.deletions(folder)) and len(look.deletions(folder)) == 4


def test_a_hub_of_today_writes_on(hub: tuple[Config, Journal], folder: Path, tmp_path: Path) -> None:
    config, before = hub
    shutil.copytree(folder / "data", tmp_path / "data")
    state = empty_state(config, catalogue())
    for record in before.records():
        state.apply(record)
    (last,) = before.records(after=before.position() - 1)
    assert isinstance(last.content, Event)
    with open_journal(tmp_path / "data") as journal:
        clock = Clock(lambda: last.content.at_ms + 1_000, lambda: 0.0)
        recorder = Recorder(journal, clock, state.apply, at_once())
        assert journal.append([], [last.content]) == before.position(), "an event that is there is not doubled"
        asyncio.run(recorder.commit(last.content.site, "operator.note", {"text": "after the change"}))
        assert journal.last_seq(last.content.site, "hub") == before.last_seq(last.content.site, "hub") + 1
        assert [event.body["text"] for _, event in journal.events(["operator.note"])][-1] == "after the change"
    assert state.position == before.position() + 1
    assert state.newest is not None and state.newest[1].kind == "operator.note"
