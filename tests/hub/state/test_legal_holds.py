# SPDX-License-Identifier: Apache-2.0
"""What the archive lets go of and what it never does: by reports, payouts and people; over the API and the command line."""

import asyncio
import functools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from hub.api.access import Role
from hub.cli.app import app
from hub.config import Config, load
from hub.journal.recorder import Recorder, at_once
from hub.metering.energy import EnergyBook
from hub.reports import site_energy
from hub.reports.kind import ReportSources
from hub.reports.store import ReportStore
from hub.state.fold import HubState
from hub.wiring.archive import RetentionDuty, days_of, holds_of, shelves
from hub.wiring.state import catalogue, folded
from kernel.clock import Clock, iso, system_clock
from kernel.errors import ConfigError
from kernel.span import Span
from telemetry.io.archive_parquet import ParquetArchive
from telemetry.io.journal_sqlite import SqliteJournal, open_journal
from telemetry.store.retention import Hold
from tests.builders.api import Hub
from tests.builders.fake_hub import FakeHub
from tests.builders.site_files import SITE
from tests.hub.console.page_server import serving
from tests.telemetry.store.journal_cases import T0_MS, batch, meter, miner
from treasury.io.ledger_sqlite import open_ledger

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
LATER_MS = T0_MS + 100 * DAY_MS


models = functools.cache(catalogue)


class Kept:
    """A hub's folder with five sealed hours of meters and miners, a hundred days later."""

    def __init__(self, folder: Path) -> None:
        (folder / "hub.toml").write_text(SITE)
        self.folder, self.data = folder, folder / "data"
        self.clock = Clock(lambda: LATER_MS, lambda: LATER_MS / 1000)
        self.journal: SqliteJournal = open_journal(self.data)
        for hour in range(5):
            at_ms = T0_MS + hour * HOUR_MS
            steps = [meter(1, at_ms + 60_000 * minute, 1000.0 * hour + 10 * minute) for minute in range(60)]
            self.journal.append([batch("miner", [miner(1, at_ms)]), batch("meter", steps)], [])
        ParquetArchive(self.data / "archive", self.journal).seal(T0_MS + 30 * HOUR_MS)
        self.config: Config = load(folder / "hub.toml", environment={})

    def state(self) -> HubState:
        return folded(self.config, self.journal, models())

    def round(self, state: HubState, config: Config | None = None) -> None:
        recorder = Recorder(self.journal, self.clock, state.apply, at_once())
        duty = RetentionDuty(config or self.config, self.data, state, recorder, self.clock, at_once())
        asyncio.run(duty.do())

    def commit(self, state: HubState, kind: str, body: dict[str, Any]) -> None:
        recorder = Recorder(self.journal, self.clock, state.apply, at_once())
        asyncio.run(recorder.commit("hub", kind, body))

    def hours(self, kind: str) -> list[str]:
        return sorted(path.stem for path in (self.data / "archive" / "raw" / kind).rglob("*.parquet"))

    def report(self, span: Span) -> Path:
        report_store = ReportStore(open_ledger(self.data / "ledger.sqlite"), self.data, self.clock)
        book = EnergyBook(ParquetArchive(self.data / "archive", self.journal))
        site, position = self.state().sites["hub/site"], self.journal.position()
        sources = ReportSources("hub", report_store.ledger, book, site, position)
        return report_store.make(site_energy.KIND, sources, span).json


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_what_a_report_cites_stays_and_the_rest_goes_by_its_rule(kept: Kept) -> None:
    report = kept.report(Span(T0_MS + 2 * HOUR_MS, T0_MS + 3 * HOUR_MS))
    state = kept.state()
    kept.round(state)
    assert kept.hours("meter") == ["01", "02", "03"], "its hour, and those that settle its edges"
    assert kept.hours("miner") == [], "an energy report rests on no miner"
    events = [event for _, event in kept.journal.events(["hold.added", "archive.deleted"])]
    assert [event.kind for event in events] == ["hold.added", "archive.deleted", "archive.deleted"]
    assert events[0].body["id"] == report.stem and events[0].body["by"] == "hub"
    assert {event.body["rule"]: event.body["files"] for event in events[1:]} == {
        "raw of meter: 62 days": 2,
        "raw of miner: 30 days": 5,
    }
    with pytest.raises(ConfigError, match="not released"):
        state.holds.release(report.stem, "aida", "no space")
    again = kept.state()
    assert [entry.to_json() for entry in again.holds.entries()] == [e.to_json() for e in state.holds.entries()]
    report.unlink()
    kept.round(again)
    assert kept.hours("meter") == ["01", "02", "03"], "the journal remembers the hold without the file"
    assert len(list(kept.journal.events(["hold.added"]))) == 1, "once"


def test_a_report_that_cannot_be_read_stops_every_deletion(kept: Kept) -> None:
    (kept.data / "reports").mkdir()
    (kept.data / "reports" / "torn.json").write_text('{"report": "site-en')
    (kept.data / "reports" / "odd.json").write_text('{"report": "site-energy"}')
    with pytest.raises(ConfigError) as caught:
        kept.round(kept.state())
    assert sorted(Path(fault.place).name for fault in caught.value.faults) == ["odd.json", "torn.json"]
    assert len(kept.hours("meter")) == len(kept.hours("miner")) == 5


def test_a_report_of_a_kind_not_known_holds_every_kind(kept: Kept) -> None:
    (kept.data / "reports").mkdir()
    period = {"start_ms": T0_MS, "end_ms": T0_MS + HOUR_MS}
    (kept.data / "reports" / "new.json").write_text(json.dumps({"report": "hashrate", "period": period}))
    kept.round(kept.state())
    assert kept.hours("meter") == kept.hours("miner") == ["00", "01"]


def test_settlement_holds_the_meters_readings_as_a_whole(kept: Kept, tmp_path: Path) -> None:
    text = SITE + '[money]\npool_url = "http://192.0.2.1"\ncontract = "contracts/example-hub.toml"\n'
    (kept.folder / "hub.toml").write_text(text)
    kept.round(kept.state(), load(kept.folder / "hub.toml", environment={}))
    assert len(kept.hours("meter")) == 5 and kept.hours("miner") == []


def test_what_was_paid_keeps_its_readings_after_settlement_is_no_longer_configured(kept: Kept) -> None:
    state = kept.state()
    kept.commit(state, "payout.posted", {"id": "p1", "at_ms": T0_MS + 2 * HOUR_MS + HOUR_MS // 2})
    assert kept.config.money.pool_url is None
    kept.round(kept.state())
    assert kept.hours("meter") == ["00", "01", "02", "03"], "and the hour that settles the edge"
    assert kept.hours("miner") == []


def test_a_persons_hold_stands_until_it_is_released(kept: Kept) -> None:
    state = kept.state()
    held = Hold(Span(T0_MS, T0_MS + HOUR_MS), "case 12", "a dispute", frozenset({"miner"}))
    kept.commit(state, "hold.added", state.holds.add(held, "aida"))
    kept.round(state)
    assert kept.hours("miner") == ["00"]
    shown = shelves(kept.data / "archive", days_of(kept.config), holds_of(kept.config, kept.state()))
    (raw,) = [shelf for shelf in shown if (shelf.layer, shelf.kind) == ("raw", "miner")]
    assert raw.held_by == {"case 12": 1} and raw.days == 30.0
    kept.commit(state, "hold.released", state.holds.release("hold-1", "dana", "settled out of court"))
    kept.round(state)
    assert kept.hours("miner") == []
    with pytest.raises(ConfigError, match="released by dana"):
        state.holds.release("hold-1", "dana", "again")


def test_retention_is_configured_by_kind_and_every_fault_has_its_place(tmp_path: Path) -> None:
    (tmp_path / "hub.toml").write_text(SITE.replace("meter = 62, miner = 30", 'meter = "forever", miner = 7.5'))
    days = days_of(load(tmp_path / "hub.toml", environment={}))
    assert days["raw", "meter"] is None and days["raw", "miner"] == 7.5 and days["raw", "sensor"] == 400.0
    wrong = 'mether = 62, miner = "always", sensor = 0.5'
    (tmp_path / "hub.toml").write_text(SITE.replace("meter = 62, miner = 30", wrong))
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "hub.toml", environment={})
    places = {fault.place.rpartition(", ")[2]: fault.remedy for fault in caught.value.faults}
    assert set(places) == {"retention.raw.mether", "retention.raw.miner", "retention.raw.sensor"}
    assert "meter" in places["retention.raw.mether"]


def test_holds_over_the_api_by_role_by_name_with_every_fault(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    regulator, admin = hub.client(Role.REGULATOR), hub.client(Role.ADMIN)
    asked = {"from": iso(T0_MS), "until": iso(T0_MS + DAY_MS), "why": "audit of January", "cited_by": "letter 7"}
    made = regulator.post("/api/v1/archive/holds", json=asked | {"kinds": ["meter"]})
    assert made.status_code == 201 and made.json()["id"] == "hold-1" and made.json()["by"] == "a-regulator"
    assert regulator.post("/api/v1/archive/holds/hold-1/release", json={"why": "x"}).status_code == 403
    assert hub.client(Role.DISPATCHER).get("/api/v1/archive/holds").status_code == 403
    assert hub.client(Role.ADMIN, ("alma",)).get("/api/v1/archive/holds").status_code == 404, "of some sites only"

    faults = regulator.post("/api/v1/archive/holds", json={"until": "soon", "kinds": ["mines"]})
    assert faults.status_code == 422
    assert [fault["place"] for fault in faults.json()["faults"]] == ["from", "until", "why", "kinds.0"]
    backwards = regulator.post("/api/v1/archive/holds", json=asked | {"until": iso(T0_MS - 1000)})
    assert backwards.json()["faults"][0]["place"] == "until"

    assert admin.post("/api/v1/archive/holds/hold-1/release", json={}).status_code == 422
    done = admin.post("/api/v1/archive/holds/hold-1/release", json={"why": "the audit is over"}).json()
    assert done["released_by"] == "a-admin" and done["released_why"] == "the audit is over"
    assert admin.post("/api/v1/archive/holds/hold-1/release", json={"why": "again"}).status_code == 422
    assert admin.post("/api/v1/archive/holds/hold-9/release", json={"why": "x"}).status_code == 404
    assert [body["by"] for body in hub.audit("hold.added")] == ["a-regulator"]
    assert [body["by"] for body in hub.audit("hold.released")] == ["a-admin"]
    assert admin.post("/api/v1/archive/holds", json=asked).json()["id"] == "hold-2"


def test_a_hold_is_set_and_released_from_the_command_line_of_a_serving_hub(tmp_path: Path) -> None:
    run, view = CliRunner(), FakeHub(system_clock(), miners=10)
    with serving(view, tmp_path) as (url, access):
        keys = {role: access.add_key(f"a-{role}", role, ["*"]) for role in (Role.TREASURY, Role.ADMIN)}

        def call(role: Role, *words: str) -> Result:
            return run.invoke(app, ["archive", *words, "--url", url, "--key", keys[role], "--json"])

        span = ("--from", "2026-01-01T00:00:00+05:00", "--until", "2026-02-01T00:00:00+05:00")
        made = json.loads(call(Role.TREASURY, "hold", *span, "--why", "audit", "--kind", "meter").stdout)
        assert (made["id"], made["by"], made["kinds"]) == ("hold-1", "a-treasury", ["meter"])
        refused = call(Role.TREASURY, "release", "hold-1", "--why", "x").exception
        assert isinstance(refused, ConfigError) and "may not" in str(refused)
        done = json.loads(call(Role.ADMIN, "release", "hold-1", "--why", "over").stdout)
        assert done["released_by"] == "a-admin" and view.holds.standing() == []
        wrong = call(Role.ADMIN, "hold", *span, "--why", " ", "--kind", "mines").exception
        assert isinstance(wrong, ConfigError) and [fault.place for fault in wrong.faults] == ["why", "kinds.0"]
        absent = call(Role.ADMIN, "release", "hold-7", "--why", "x").exception
        assert isinstance(absent, ConfigError) and "hold-7" in str(absent)


def test_the_command_line_tells_what_is_held_what_went_and_whether_a_copy_is_known(kept: Kept, tmp_path: Path) -> None:
    run = CliRunner()
    report = kept.report(Span(T0_MS, T0_MS + HOUR_MS))
    copy = tmp_path / "copy.parquet"
    (second,) = (kept.data / "archive" / "raw" / "meter").rglob("03.parquet")
    shutil.copy(second, copy)
    kept.round(kept.state())
    folder = str(kept.folder)

    shown = json.loads(run.invoke(app, ["archive", "show", folder, "--json"]).stdout)
    (raw,) = [shelf for shelf in shown["shelves"] if (shelf["layer"], shelf["kind"]) == ("raw", "meter")]
    assert raw["files"] == 2 and raw["held_by"] == {f"report {report.stem}": 2} and raw["kept_days"] == 62.0
    assert [hold["id"] for hold in shown["holds"]] == [report.stem]

    went = run.invoke(app, ["archive", "deleted", folder, "--json"])
    stones = json.loads(went.stdout)["deleted"]
    assert went.exit_code == 0 and len(stones) == 8 and all(stone["proven"] for stone in stones)
    assert all(len(stone["sha256"]) == 64 and stone["rule"] and stone["merkle_path"] for stone in stones)

    known = run.invoke(app, ["archive", "check", folder, str(copy), "--json"])
    assert known.exit_code == 0 and json.loads(known.stdout)["tombstone"]["path"] == "raw/meter/2026-01-01/03.parquet"
    copy.write_bytes(copy.read_bytes() + b"x")
    assert run.invoke(app, ["archive", "check", folder, str(copy)]).exit_code == 1

    ledger = kept.data / "archive" / "deleted.jsonl"
    ledger.write_text(ledger.read_text().replace(stones[0]["sha256"], "0" * 64))
    forged = run.invoke(app, ["archive", "deleted", folder])
    assert forged.exit_code == 1 and "no" in forged.stdout
