# SPDX-License-Identifier: Apache-2.0
"""Rules of a jurisdiction and batches that a sink set aside, by the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hub.cli.app import app
from kernel.errors import ConfigError
from kernel.reading import Reading
from telemetry.io.marks_sqlite import SqliteMarks
from telemetry.store.sink import Aside
from tests.telemetry.store.journal_cases import T0_MS, batch

SITE = """
[hub]
name = "hub"
[[sites]]
name = "site"
operator = "North Mining LLP"
zone = "Asia/Almaty"
import_cap_w = 4e6
[[sites.feeders]]
name = "f1"
cap_w = 2e6
[[sinks]]
name = "metrics"
kind = "victoria"
url = "http://127.0.0.1:1"
"""


def answer(*words: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*words, "--json"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_rules_in_force_name_what_is_unknown_and_what_is_only_for_drafts() -> None:
    found = answer("rules", "--day", "2026-11-23")
    rules = {row["rule"]: row for row in found["rules"]}
    assert rules["kz.mandatory_sale.share"]["value"] == "0.75" and rules["kz.mandatory_sale.share"]["draft"]
    assert "kz.mandatory_sale.share" in found["draft"] and "kz.mandatory_sale.venues" in found["unknown"]
    assert rules["kz.mandatory_sale.venues"]["value"] is None and all(row["source"] for row in found["rules"])
    (rate,) = answer("rules", "kz.mining_fee.rate", "--day", "2022-05-01")["rules"]
    assert (rate["value"], rate["unit"], rate["draft"]) == ("1", "KZT/kWh", False)
    with pytest.raises(ConfigError, match="its value is unknown"):
        answer("rules", "kz.mandatory_sale.venues", "--day", "2026-11-23")


def test_the_doctor_names_what_a_sink_set_aside(tmp_path: Path) -> None:
    (tmp_path / "hub.toml").write_text(SITE)
    (tmp_path / "data").mkdir()
    sinks = [check for check in answer("doctor", str(tmp_path / "hub.toml"))["checks"] if "sink" in check["what"]]
    assert sinks == []
    marks = SqliteMarks(tmp_path / "data" / "sinks.sqlite")
    rows = batch("meter", [Reading("hub/site/main", "meter", T0_MS, {"power_w": 1.0})])
    marks.put_aside(Aside("metrics", 7, "meter", 1, "field type conflict", T0_MS), rows)
    marks.close()
    (sink,) = [check for check in answer("doctor", str(tmp_path / "hub.toml"))["checks"] if "sink" in check["what"]]
    assert not sink["ok"] and "1 rows of hub/site/main" in sink["text"] and "field type conflict" in sink["text"]
