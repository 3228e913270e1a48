# SPDX-License-Identifier: Apache-2.0
"""The demonstration as a newcomer runs it: its own processes, real sockets, the figures of its last line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hub.cli.app import app
from tests.builders.faulty_config import TEN_FAULTS

KEYS = {
    "miners": {"configured", "hashing", "asleep", "faulty"},
    "polls": {"ok", "failed", "per_second", "cpu_ms_each"},
    "meters": {"count", "energy_wh", "coverage"},
    "energy_check": {"meter_wh", "miners_wh", "difference_pct"},
    "plan": {"status", "value", "bound", "gap", "slots", "seconds"},
    "commands": {"issued", "verified", "refused", "unreachable", "unknown"},
    "order": {"limit_w", "accepted_s", "obeyed_by_meter_s", "verdict"},
    "payout": {"received_sat", "posted_sat", "residual_sat", "city_sat"},
    "ledger": {"transfers", "balanced", "findings", "waiting", "held"},
    "report": {"path", "signature"},
    "process": {"cpu_pct", "rss_mb"},
}


def cli(*argv: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from hub.cli import main; main()", *argv],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "COLUMNS": "120"},
        **more,  # type: ignore[call-overload]
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, object]]]:
    folder = tmp_path_factory.mktemp("demo")
    done = cli("demo", "--miners", "60", "--seconds", "60", "--headless", "--json", "--folder", str(folder))
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.timeout(300)
def test_the_last_line_has_every_figure(demo: tuple[Path, dict[str, dict[str, object]]]) -> None:
    found = demo[1]
    assert set(found) == set(KEYS)
    assert all(set(found[part]) >= keys for part, keys in KEYS.items()), found


def test_the_main_job_was_done(demo: tuple[Path, dict[str, dict[str, object]]]) -> None:
    found = demo[1]
    miners, order, payout = found["miners"], found["order"], found["payout"]
    assert miners["hashing"] + miners["asleep"] + miners["faulty"] == miners["configured"] == 60
    assert miners["faulty"] > 0 and found["commands"]["issued"] > 0 and found["meters"]["energy_wh"] > 0
    assert order["verdict"] == "complied" and order["obeyed_by_meter_s"] is not None
    assert payout["received_sat"] > 0 and payout["residual_sat"] == 0
    ledger = found["ledger"]
    assert ledger["balanced"] is True and ledger["findings"] == ledger["waiting"] == ledger["held"] == []
    assert found["report"]["signature"] == "valid"
    assert abs(found["energy_check"]["difference_pct"]) < 6.0


def test_its_folder_answers_every_reading_command(demo: tuple[Path, dict[str, dict[str, object]]]) -> None:
    folder, reported = str(demo[0]), {}
    for argv in (
        ["plan", folder],
        ["miners", "list", folder],
        ["miners", "dialects"],
        ["report", "list", folder],
        ["ledger", "balances", folder],
        ["ledger", "journal", folder],
        ["ledger", "check", folder],
        ["doctor", f"{folder}/hub.toml"],
        ["config", "check", f"{folder}/hub.toml"],
        ["access", "list", f"{folder}/hub.toml"],
        ["replay", folder],
    ):
        table, answer = CliRunner().invoke(app, argv), CliRunner().invoke(app, [*argv, "--json"])
        assert table.exit_code == answer.exit_code == 0, (argv, table.output[-1500:], answer.output[-1500:])
        reported[argv[0]] = json.loads(answer.stdout.splitlines()[-1])
    assert all(reported.values()) and reported["replay"]["same"] is True


def test_a_spoilt_report_is_invalid(demo: tuple[Path, dict[str, dict[str, object]]]) -> None:
    path = Path(str(demo[1]["report"]["path"]))
    key = demo[0] / "data" / "keys" / "report.pub"
    good = cli("report", "verify", str(path), "--key", str(key), "--json")
    assert good.returncode == 0 and json.loads(good.stdout)["trusted"] is True
    path.write_bytes(path.read_bytes().replace(b'"role":"main"', b'"role":"mainX"', 1))
    assert cli("report", "verify", str(path)).returncode == 1


def test_ten_faults_ten_messages_exit_code_two_nothing_started(tmp_path: Path) -> None:
    path = tmp_path / "hub.toml"
    path.write_text(TEN_FAULTS)
    done = cli("run", str(path))
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("  ")]
    assert len(lines) >= 10 and all(str(path) in line for line in lines)
    assert not (tmp_path / "data").exists()
