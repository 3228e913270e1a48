# SPDX-License-Identifier: Apache-2.0
"""Meters by the command line: papers with each figure, the utility beside ours, billed energy in versions, files for others."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hub.cli.app import app
from hub.config import load
from hub.journal.recorder import at_once
from hub.metering.billing_duty import BillingDuty
from hub.metering.energy import EnergyBook
from hub.wiring.state import passports_of
from kernel.clock import Clock, iso
from kernel.errors import ConfigError
from kernel.span import Span
from telemetry.energy.utility_data import OURS
from telemetry.io.archive_parquet import ParquetArchive
from telemetry.io.billing_sqlite import BillingStore
from telemetry.io.journal_sqlite import open_journal, read_journal
from tests.telemetry.store.journal_cases import T0_MS, batch, meter

HOUR_MS = 3_600_000
SITE = """
[hub]
name = "hub"
[[sites]]
name = "site"
operator = "North Mining LLP"
zone = "Asia/Almaty"
import_cap_w = 4e6
passports = ["main.toml"]
[[sites.feeders]]
name = "f1"
cap_w = 2e6
[[sites.meters]]
name = "meter-1"
role = "main"
profile = "schneider_iem3000"
host = "192.0.2.10"
billing = true
[[sites.meters]]
name = "meter-2"
role = "feeder"
feeder = "f1"
profile = "abb_b23"
host = "192.0.2.11"
"""
PASSPORT = """
[point]
device = "hub/site/meter-1"
zone = "Asia/Almaty"
register = "secondary"
[[installation]]
serial = "A-1"
type = "three-phase"
approval = "no. 1"
installed = 2020-01-01
act = "act no. 1"
[[verification]]
serial = "A-1"
on = 2020-01-01T00:00:00Z
expires = {expires}
certificate = "no. 11"
by = "laboratory"
[[ratio]]
from = 2020-01-01
ct = 40
act = "act no. 1"
"""
LAYOUT = """
source = "utility"
zone = "Asia/Almaty"
time_column = "time"
time_format = "%d.%m.%Y %H:%M"
value_column = "kWh"
unit = "kWh"
length_s = 900
meters = { "point 7" = "site/meter-1" }
meter_column = "point"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four sealed hours and one fresh: the main register counts 1 kWh a minute behind transformers of 40, the feeder 39."""
    (tmp_path / "hub.toml").write_text(SITE)
    (tmp_path / "main.toml").write_text(PASSPORT.format(expires=iso(T0_MS + 2 * HOUR_MS + HOUR_MS // 2)))
    with open_journal(tmp_path / "data") as journal:
        for minute in range(5 * 60 + 1):
            at_ms = T0_MS + 60_000 * minute
            journal.append([batch("meter", [meter(1, at_ms, 1000.0 * minute), meter(2, at_ms, 39_000.0 * minute)])], [])
        ParquetArchive(tmp_path / "data" / "archive", journal).seal(T0_MS + 4 * HOUR_MS + HOUR_MS // 2)
    return tmp_path


def ask(*words: object, code: int = 0) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["meters", *map(str, words), "--json"], catch_exceptions=False)
    assert done.exit_code == code, done.output
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def ends(start_h: float, end_h: float) -> list[str]:
    return ["--from", iso(T0_MS + round(start_h * HOUR_MS)), "--until", iso(T0_MS + round(end_h * HOUR_MS))]


def test_each_figure_carries_its_papers_and_says_where_they_do_not_hold(folder: Path) -> None:
    (main,) = ask("energy", folder, *ends(0, 5), "--meter", "site/meter-1")["meters"]
    assert [slot["energy_wh"] for slot in main["slots"]] == [40 * 60_000.0] * 5, "the register times its ratio"
    assert [bool(slot["unfit"]) for slot in main["slots"]] == [False, False, True, True, True]
    assert "verification of A-1 not valid" in main["slots"][2]["unfit"][0]
    assert main["papers"]["meters"][0]["serial"] == "A-1" and main["papers"]["ratios"][0]["factor"] == 40.0
    total = main["total"]
    assert (total["energy_wh"], total["told"], total["fit_for_billing"]) == (5 * 40 * 60_000, 1.0, False)
    (short,) = ask("energy", folder, *ends(0, 2), "--meter", "site/meter-1")["meters"]
    assert short["total"]["fit_for_billing"] is True
    listed = {row["meter"]: row for row in ask("list", folder)["meters"]}
    assert listed["hub/site/meter-1"]["unfit"] == ["verification of A-1 not valid"]
    assert listed["hub/site/meter-2"]["papers"] is None


def test_the_main_meter_is_held_against_its_feeders(folder: Path) -> None:
    (feeders,) = ask("losses", folder, "site", *ends(0, 5))["losses"]
    assert feeders["total_share"] == pytest.approx(0.025) and feeders["drift"] is None
    assert all(slot["loss_share"] == pytest.approx(0.025) for slot in feeders["slots"])


def test_what_is_generated_behind_the_main_meter_is_part_of_the_whole(folder: Path) -> None:
    meter_3 = '[[sites.meters]]\nname = "meter-3"\nrole = "generation"\nprofile = "abb_b23"\nhost = "192.0.2.12"\n'
    (folder / "hub.toml").write_text(SITE + meter_3)
    with open_journal(folder / "data") as journal:
        for minute in range(4 * 60, 5 * 60 + 1):
            at_ms = T0_MS + 60_000 * minute
            journal.append([batch("meter", [meter(3, at_ms, 10_000.0 * minute)])], [])
    (feeders,) = ask("losses", folder, "site", *ends(4, 5))["losses"]
    assert feeders["total_share"] == pytest.approx(1 - 39 / 50)


def utility(folder: Path, factor: float = 1.0, odd: dict[int, float] | None = None) -> Path:
    path = folder / "utility.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["point", "time", "kWh"])
        for slot in range(16):
            local = iso(T0_MS + 900_000 * slot + 5 * HOUR_MS)
            value = (odd or {}).get(slot, 600.0 * factor)
            text = f"{local[8:10]}.{local[5:7]}.{local[:4]} {local[11:16]}"
            writer.writerow(["point 7", text, f"{value:.1f}".replace(".", ",")])
    return path


def test_the_utilitys_figures_stand_against_ours_in_versions(folder: Path) -> None:
    (folder / "layout.toml").write_text(LAYOUT)
    taken = ask("import", folder, utility(folder), "--layout", folder / "layout.toml")
    assert taken["changed"] == {"hub/site/meter-1": 16}
    assert (folder / "data" / "metered" / f"{taken['sha256']}.csv").exists()
    again = ask("import", folder, utility(folder), "--layout", folder / "layout.toml")
    assert again["changed"] == {"hub/site/meter-1": 0}, "the same again changes nothing"
    found = ask("compare", folder, "utility", *ends(0, 4))
    assert found["unexplained"] == 0 and found["comparisons"][0]["differences"] == []
    ask("import", folder, utility(folder, odd={3: 500.0, 11: 700.0}), "--layout", folder / "layout.toml")
    differ = ask("compare", folder, "utility", *ends(0, 4), code=1)
    (one,) = differ["comparisons"]
    assert [row["why"] for row in one["differences"]] == ["unexplained", "verification of A-1 not valid"]
    kept = ask("versions", folder, "utility", "site/meter-1", iso(T0_MS + 3 * 900_000))
    assert [row["energy_wh"] for row in kept["versions"]] == [600_000.0, 500_000.0]
    ratio = utility(folder, factor=1.5)
    ask("import", folder, ratio, "--layout", folder / "layout.toml")
    (all_of_it,) = ask("compare", folder, "utility", *ends(0, 2))["comparisons"]
    assert "1.5 times ours" in all_of_it["general"]


def test_a_file_with_faults_is_taken_not_at_all_and_every_fault_is_reported(folder: Path) -> None:
    (folder / "layout.toml").write_text(
        LAYOUT.replace("site/meter-1", "site/meter-9").replace('"kWh"\nlength', '"kg"\nlength')
    )
    with pytest.raises(ConfigError) as layout:
        ask("import", folder, utility(folder), "--layout", folder / "layout.toml")
    assert len(layout.value.faults) == 2 and "site/meter-1" in layout.value.faults[0].remedy
    (folder / "layout.toml").write_text(LAYOUT)
    path = utility(folder)
    path.write_text(path.read_text().replace("600,0", "six", 2))
    with pytest.raises(ConfigError) as caught:
        ask("import", folder, path, "--layout", folder / "layout.toml")
    assert [fault.place for fault in caught.value.faults] == ["utility.csv line 2", "utility.csv line 3"]
    with pytest.raises(ConfigError, match="holds nothing"):
        ask("compare", folder, "utility", *ends(0, 4))


def test_billed_energy_is_written_once_a_slot_is_over_and_restated_as_a_version(folder: Path) -> None:
    config = load(folder / "hub.toml", environment={})
    now = [T0_MS + HOUR_MS + 200_000]
    clock = Clock(lambda: now[0], lambda: now[0] / 1000)
    with read_journal(folder / "data") as journal:
        book = EnergyBook(ParquetArchive(folder / "data" / "archive", journal), passports_of(config))
        store = BillingStore(folder / "data" / "billing.sqlite")
        duty = BillingDuty(book, store, ["hub/site/meter-1"], 900, 300.0, clock, at_once())
        assert duty.turn() == 3, "the fourth slot is over, but not for its grace"
        now[0] = T0_MS + 2 * HOUR_MS + 300_000
        assert (duty.turn(), duty.turn()) == (5, 0)
        series = store.get(OURS, "hub/site/meter-1", Span(T0_MS, T0_MS + 2 * HOUR_MS))
        assert series is not None and series.energy_uwh.tolist() == [600_000 * 1_000_000] * 8
    path = folder / "main.toml"
    path.write_text(path.read_text().replace("ct = 40", "ct = 60"))
    assert ask("bill", folder, *ends(0, 1))["changed"] == {"hub/site/meter-1": 4, "hub/site/meter-2": 4}
    kept = ask("versions", folder, OURS, "site/meter-1", iso(T0_MS))["versions"]
    assert [row["energy_wh"] for row in kept] == [600_000.0, 900_000.0]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_readings_go_out_sealed_and_fresh_alike(folder: Path, ending: str) -> None:
    target = folder / f"out.{ending}"
    assert ask("export", folder, target, *ends(3, 5))["rows"] == 2 * 120
    assert target.stat().st_size > 0
    steps = ask("export", folder, target, *ends(3, 5), "--metric", "power_w", "--per", "1h")
    assert steps["rows"] == 2 * 2, "two meters, one sealed hour and one fresh"
    if ending == "csv":
        head = target.read_text().splitlines()[0].replace('"', "")
        assert head.split(",") == ["device", "start", "min", "max", "mean", "count"]
    with pytest.raises(ConfigError, match="is not rolled up"):
        ask("export", folder, target, *ends(3, 5), "--metric", "serial")
    with pytest.raises(ConfigError, match="1m, 15m, 1h"):
        ask("export", folder, target, *ends(3, 5), "--metric", "power_w", "--per", "2h")


def test_a_passport_of_no_meter_and_a_device_reporting_two_ways_are_faults(folder: Path) -> None:
    path = folder / "main.toml"
    path.write_text(path.read_text().replace("hub/site/meter-1", "hub/site/meter-5"))
    with pytest.raises(ConfigError, match="no meter 'hub/site/meter-5'"):
        passports_of(load(folder / "hub.toml", environment={}))
    text = SITE.replace('host = "192.0.2.11"', 'host = "192.0.2.11"\ntopic = "m2"').replace('host = "192.0.2.10"\n', "")
    (folder / "hub.toml").write_text(
        text + '[[sinks]]\nname = "a"\nkind = "mqtt"\n[[sinks]]\nname = "a"\nkind = "mqtt"\n'
    )
    with pytest.raises(ConfigError) as caught:
        load(folder / "hub.toml", environment={})
    reported = sorted(fault.place.rpartition(", ")[2] for fault in caught.value.faults)
    assert reported == ["sinks.1.name", "sites.0.meters.0.host", "sites.0.meters.1.topic"]
