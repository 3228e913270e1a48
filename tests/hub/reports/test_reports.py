# SPDX-License-Identifier: Apache-2.0
"""Reports: figures that sum, the same bytes twice and anywhere, signatures that catch any change."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hub.reports import treasury_statement as statement_kind
from hub.reports.render import as_csv, as_json
from hub.reports.sign import Key, report_key
from hub.reports.site_energy import site_energy, table
from hub.reports.treasury_statement import treasury_statement
from hub.reports.verify import verify_report
from hub.reports.write import ReportFiles, write_report
from hub.state.meter import MeterRef
from hub.wiring.plugins import REPORTS
from kernel.clock import MS_PER_HOUR
from kernel.errors import ConfigError
from kernel.ids import sha256_hex
from kernel.money import Unit
from kernel.span import Span
from tests.builders.reports import METER, SPAN, START_MS, batches, energy_report, figures
from treasury.account import Account
from treasury.io.ledger_sqlite import open_ledger
from treasury.transfer import Transfer, transfer_id


def test_hours_are_whole_watt_hours_and_sum_to_the_meter(tmp_path: Path):
    report = site_energy(figures(batches(), MeterRef(METER, "main")), SPAN, "hub-1/site-1", 42)
    (meter,) = report["meters"]
    assert [hour["start"][11:16] for hour in meter["hours"]] == ["08:20", "09:00", "10:00", "11:00"]
    assert sum(hour["energy_wh"] for hour in meter["hours"]) == meter["total_wh"] == report["main_total_wh"]
    assert meter["total_wh"] == pytest.approx(3_000_000, abs=2)
    assert {hour["basis"] for hour in meter["hours"]} == {"counter"}
    assert all(hour["coverage"] == hour["told"] == 1 for hour in meter["hours"])
    assert report["incomplete"] == []
    assert meter["hours"][1]["frames"] == 360


def test_a_silent_meter_gives_no_zero_and_the_report_says_so():
    report = site_energy(
        figures(batches(silent_from_s=3600), MeterRef(METER, "main"), MeterRef("hub-1/site-1/x", "feeder")),
        SPAN,
        "hub-1/site-1",
        42,
    )
    hours = report["meters"][0]["hours"]
    assert hours[1]["told"] < 1
    assert (hours[3]["energy_wh"], hours[3]["basis"], hours[3]["frames_sha256"]) == (None, "missing", None)
    assert report["incomplete"] == [METER, "hub-1/site-1/x"]
    assert b"missing" in as_csv(report, table)


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return report_key(tmp_path / "keys")


@pytest.fixture
def written(tmp_path: Path, key: Key) -> ReportFiles:
    return write_report(energy_report(), tmp_path / "reports", key, table)


def test_a_report_verifies_by_any_of_its_files_and_with_the_key_brought(tmp_path: Path, written: ReportFiles, key: Key):
    for path in (written.json, written.csv, written.sig):
        verdict = verify_report(path, REPORTS, tmp_path / "keys" / "report.pub")
        assert (verdict.signature, verdict.trusted, verdict.key_id) == ("valid", True, key.id), verdict.reason
    assert not verify_report(written.json, REPORTS).trusted


def test_the_key_is_the_hubs_alone_and_stays(tmp_path: Path, key: Key):
    path = tmp_path / "keys" / "report.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert report_key(tmp_path / "keys").id == key.id
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="others on this machine can read"):
        report_key(tmp_path / "keys")
    with pytest.raises(ConfigError, match="no Ed25519 public key"):
        verify_report(path, REPORTS, tmp_path / "none.pub")


def test_any_changed_byte_of_any_file_is_found(written: ReportFiles):
    for path in (written.json, written.csv, written.sig):
        whole = path.read_bytes()
        for place in range(0, len(whole), max(1, len(whole) // 97)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            verdict = verify_report(written.json, REPORTS)
            assert verdict.signature == "invalid", f"{path.name} byte {place}: {verdict.reason}"
        path.write_bytes(whole)
    assert verify_report(written.json, REPORTS).signature == "valid"


def test_dropped_swapped_and_resigned_reports_are_found(tmp_path: Path, written: ReportFiles):
    other = report_key(tmp_path / "other")
    forged = write_report({**energy_report(), "main_total_wh": 1}, tmp_path / "forged", other, table)
    assert verify_report(forged.json, REPORTS).signature == "valid"
    verdict = verify_report(forged.json, REPORTS, tmp_path / "keys" / "report.pub")
    assert verdict.signature == "invalid"
    assert "another key" in verdict.reason
    written.csv.unlink()
    assert "missing" in verify_report(written.json, REPORTS).reason
    written.sig.unlink()
    assert "no signature" in verify_report(written.json, REPORTS).reason


def test_a_csv_that_is_not_the_jsons_is_found_even_when_signed(tmp_path: Path, key: Key, written: ReportFiles):
    from hub.reports.sign import sign

    written.csv.write_bytes(written.csv.read_bytes().replace(b"main", b"sub"))
    files = {path.name: path.read_bytes() for path in (written.json, written.csv)}
    written.sig.write_bytes(sign(files, key))
    assert "CSV is not what the JSON says" in verify_report(written.json, REPORTS).reason


def test_the_same_report_again_is_the_same_files_and_another_one_is_a_restatement(
    tmp_path: Path, key: Key, written: ReportFiles
):
    again = write_report(energy_report(), tmp_path / "reports", key, table)
    assert again.id == written.id
    assert not again.fresh
    later = write_report({**energy_report(), "journal_position": 43}, tmp_path / "reports", key, table)
    assert later.id == written.id + "-r2"
    assert json.loads(later.json.read_bytes())["supersedes"] == written.sha256
    assert verify_report(later.sig, REPORTS).signature == "valid"
    assert verify_report(written.sig, REPORTS).signature == "valid"


def test_a_formula_does_not_reach_the_spreadsheet():
    report = site_energy(figures([], MeterRef("=cmd|calc", "main"), MeterRef("@x", "sub")), SPAN, "hub-1/site-1", 0)
    rows = list(csv.reader(io.StringIO(as_csv(report, table).decode())))
    assert {row[0] for row in rows[1:]} == {"'=cmd|calc", "'@x"}


SCRIPT = """
import sys; sys.path.insert(0, {root!r})
from tests.builders.reports import energy_report
from hub.reports.render import as_json, as_csv
from hub.reports.site_energy import table
import hashlib; print(hashlib.sha256(as_json(energy_report()) + as_csv(energy_report(), table)).hexdigest())
"""


@pytest.mark.parametrize(
    ("zone", "locale", "seed"), [("Asia/Almaty", "C", "1"), ("America/New_York", "kk_KZ.UTF-8", "77")]
)
def test_the_bytes_do_not_know_where_they_are_made(zone: str, locale: str, seed: str):
    root = str(Path(__file__).resolve().parents[3])
    environment = {**os.environ, "TZ": zone, "LC_ALL": locale, "PYTHONHASHSEED": seed}
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(root=root)], env=environment, capture_output=True, text=True,
                          timeout=60, check=True, cwd=root)  # fmt: skip
    assert done.stdout.strip() == sha256_hex(as_json(energy_report()) + as_csv(energy_report(), table))


def test_a_statement_opens_where_the_last_one_closed(tmp_path: Path, key: Key):
    ledger = open_ledger(tmp_path / "ledger.sqlite")
    ledger.open_accounts([Account("Assets:Wallet", Unit.SAT), Account("Income:Mining", Unit.SAT)], START_MS)
    for hour in range(3):
        at_ms = START_MS + hour * MS_PER_HOUR
        made = Transfer(transfer_id(at_ms, "x"), "Assets:Wallet", "Income:Mining", 10**hour, Unit.SAT, "test", at_ms)
        ledger.post([made], at_ms)
    first = treasury_statement(ledger, Span(START_MS, START_MS + MS_PER_HOUR), "hub-1")
    second = treasury_statement(ledger, Span(START_MS + MS_PER_HOUR, SPAN.end_ms), "hub-1")
    wallet = [line for report in (first, second) for line in report["accounts"] if line["account"] == "Assets:Wallet"]
    assert [(line["opening"], line["closing"]) for line in wallet] == [(0, 1), (1, 111)]
    assert second["balanced"]
    assert second["head"] == {"size": 5, "chain": ledger.head().chain.hex()}
    kept = as_json(second)
    head = ledger.head()
    ledger.post(
        [Transfer(transfer_id(1, "y"), "Assets:Wallet", "Income:Mining", 5, Unit.SAT, "late", START_MS)], SPAN.end_ms
    )
    assert as_json(treasury_statement(ledger, Span(START_MS + MS_PER_HOUR, SPAN.end_ms), "hub-1", head)) == kept
    written = write_report(second, tmp_path / "reports", key, statement_kind.KIND.table)
    assert verify_report(written.sig, REPORTS).signature == "valid"
    ledger.close()
