# SPDX-License-Identifier: Apache-2.0
"""Inventories of other systems come in or are handed back line by line; worker names by template against what miners tell."""

import asyncio
import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hub.cli.app import app
from hub.config import load
from hub.journal.recorder import Recorder, at_once
from hub.wiring.state import catalogue, empty_state
from kernel.clock import Clock
from kernel.errors import ConfigError
from kernel.reading import Reading
from miner_control.inventory.asset_register import Fact, facts_body, load_register
from miner_control.inventory.import_inventory import imported
from telemetry.io.journal_sqlite import open_journal
from tests.telemetry.store.journal_cases import T0_MS

EXPORT = """Miner IP;Miner Type;Firmware;Worker;SN;Group;Circuit;Стойка
http://10.0.0.5/;Antminer S19j Pro 104;LuxOS 2025;Rack 1/07;X1;F1;F1;7
10.0.0.6:4028;S19j Pro;stock Antminer;;X2;F1;f2;8
10.0.0.7;Whatsminer M50S;;;X3;F2;;9
10.0.0.7;Whatsminer M50S;;;X4;F2;;10
;Whatsminer M50S;;w5;X5;F2;;11
10.0.0.9;Perpetuum Mobile 9000;Antminer;w6;X6;;;12
10.0.0.10;Antminer S21;Braiins OS;w7;X7;;;13
"""


def run(words: list[str], code: int = 0) -> Any:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == code, (done.output, done.exception)
    return json.loads(done.stdout)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1251", "utf-16"])
def test_an_export_comes_in_and_no_line_is_lost(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "export.csv").write_text(EXPORT, encoding=encoding)
    target = tmp_path / "inventory.csv"
    words = ["miners", "import", str(tmp_path / "export.csv"), "--write", str(target), "--feeder", "f9"]
    reported = run([*words, "--json"], code=1)
    assert (reported["miners"], reported["left"], reported["groups"]) == (5, 2, {"f1": 2, "f2": 1, "f9": 2})
    miners = load_register(target, "hub-1", "site-1").miners
    assert [(m.host, m.dialect, m.feeder) for m in miners] == [
        ("10.0.0.5", "luxos", "f1"), ("10.0.0.6", "antminer", "f1"), ("10.0.0.7", "whatsminer", "f2"),
        ("10.0.0.9", "antminer", "f9"), ("10.0.0.10", "braiins", "f9"),
    ]  # fmt: skip
    assert miners[0].device == "hub-1/site-1/rack-1-07" and miners[1].device == "hub-1/site-1/x2"
    said = {fault["place"]: fault["problem"] for fault in reported["faults"]}
    assert "stands already in line 4" in said["line 5"] and "no host" in said["line 6"]
    assert "Perpetuum Mobile" in said["line 7"]
    assert "also gives the feeder, different" in said["column Circuit"] and "not understood" in said["column Стойка"]
    left = list(csv.DictReader((tmp_path / "inventory.left.csv").open(encoding="utf-8")))
    assert [row["SN"] for row in left] == ["X4", "X5"] and all(row["fault"] for row in left)
    assert [row["Стойка"] for row in left] == ["10", "11"], "what is not understood stays with its line"
    again = CliRunner().invoke(app, words)
    assert isinstance(again.exception, ConfigError) and "is there already" in str(again.exception)
    mended = (tmp_path / "inventory.left.csv").read_text()
    mended = mended.replace("10.0.0.7", "10.0.0.8").replace("\n,Whats", "\n10.0.0.11,Whats")
    (tmp_path / "rest.csv").write_text(mended)
    assert run(["miners", "import", str(tmp_path / "rest.csv"), "--json"])["miners"] == 2


def test_what_is_no_table_is_reported() -> None:
    for text in ("", "hello", "a,b\n"):
        with pytest.raises(ConfigError, match="no table"):
            imported(text, "x.csv", "h", "s", lambda model: True)


SITE = """
[hub]
name = "hub"
[[sites]]
name = "site"
operator = "North Mining LLP"
zone = "Asia/Almaty"
import_cap_w = 4e6
inventory = "inventory.csv"
[[sites.feeders]]
name = "f1"
cap_w = 2e6
"""


def test_worker_names_against_what_miners_tell(tmp_path: Path) -> None:
    (tmp_path / "hub.toml").write_text(SITE)
    (tmp_path / "inventory.csv").write_text(
        "device,model,dialect,host,feeder,rack,position\n"
        + "".join(f"m{at},Antminer S21,antminer,10.0.0.{at},f1,r1,{at}\n" for at in (1, 2, 3))
    )
    state = empty_state(load(tmp_path / "hub.toml", environment={}), catalogue())
    recorder = Recorder(open_journal(tmp_path / "data"), Clock(lambda: T0_MS, lambda: 0.0), state.apply, at_once())
    for device, user in (("m1", "acct.r1x1"), ("m2", "thief.1")):
        reported = {"state": "hashing", "pool_url": "stratum+tcp://p:3333", "pool_user": user}
        recorder.enqueue([Reading(f"hub/site/{device}", "miner", T0_MS, reported)])
    placed = facts_body([Fact("hub/site/m3", "position", "30", T0_MS, "a person")], "anna")
    recorder.emit("hub/site", "asset.fact_recorded", placed)
    asyncio.run(recorder.flush())
    recorder.journal.close()
    words = ["miners", "workers", str(tmp_path), "--json"]
    found = run([*words, "--template", "acct.{rack}x{position}"])
    assert [(one["worker"], one["told"], one["differs"]) for one in found["workers"]] == [
        ("acct.r1x1", "acct.r1x1", False), ("acct.r1x2", "thief.1", True), ("acct.r1x30", None, False),
    ]  # fmt: skip
    assert len(run([*words, "--template", "acct.{rack}x{position}", "--differing"])["workers"]) == 1
    assert run([*words, "--template", "acct.{rack}"], code=1)["shared"] == ["acct.r1"]
    for template, problem in (("{colour}", "knows no colour"), ("{", "'{'"), ("", "is missing")):
        wrong = CliRunner().invoke(app, [*words, "--template", template])
        assert isinstance(wrong.exception, ConfigError) and problem in str(wrong.exception)
    (tmp_path / "hub.toml").write_text(SITE + '[[pools.main]]\nurl = "stratum+tcp://p:3333"\nworker = "acct.{name}"\n')
    assert run(words)["template"] == "acct.{name}"


def test_models_without_a_profile_run_and_are_listed_with_what_was_measured(tmp_path: Path) -> None:
    models = ("Antminer S99", "Antminer S99", "", "Antminer S21")
    rows = "".join(f"m{at},{model},antminer,10.0.0.{at},f1\n" for at, model in enumerate(models))
    (tmp_path / "hub.toml").write_text(SITE)
    (tmp_path / "inventory.csv").write_text(f"device,model,dialect,host,feeder\n{rows}")
    state = empty_state(load(tmp_path / "hub.toml", environment={}), catalogue())
    recorder = Recorder(open_journal(tmp_path / "data"), Clock(lambda: T0_MS, lambda: 0.0), state.apply, at_once())
    values = {"state": "hashing", "power_w": 5200.0, "hashrate_hs": 400e12}
    recorder.enqueue([Reading(f"hub/site/m{at}", "miner", T0_MS, values) for at in (0, 3)])
    asyncio.run(recorder.flush())
    recorder.journal.close()
    assert CliRunner().invoke(app, ["config", "check", str(tmp_path / "hub.toml")]).exit_code == 0
    found = run(["miners", "models", str(tmp_path), "--write", "--json"])["models"]
    assert [(one["model"], one["miners"], one["measured"], one["power_w"]) for one in found] == [
        ("Antminer S99", 2, 1, 5200.0), ("", 1, 0, None),
    ]  # fmt: skip
    (path,) = (tmp_path / "profiles" / "miners").glob("*.toml")
    path.write_text(path.read_text().replace("EDIT", "air"))
    now_known = catalogue(tmp_path).envelope("Antminer S99", "antminer")
    assert now_known.profiled and now_known.mode("normal").power_w == 5200.0
    assert [one["model"] for one in run(["miners", "models", str(tmp_path), "--json"])["models"]] == [""]
