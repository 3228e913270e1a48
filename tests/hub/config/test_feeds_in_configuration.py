# SPDX-License-Identifier: Apache-2.0
"""`[[feeds]]` of a configuration: made by kind, every fault at once, and one line each of the doctor."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hub.cli.app import app
from hub.config import load
from hub.wiring.feeds import FEEDS, check_feeds
from kernel.errors import ConfigError
from tests.builders.config_text import GOOD


def write(folder: Path, feeds: str) -> Path:
    path = folder / "hub.toml"
    path.write_text(f"{GOOD}{feeds}")
    return path


def doctor(path: Path) -> dict[str, dict[str, Any]]:
    done = CliRunner().invoke(app, ["doctor", str(path), "--json"])
    return {check["what"]: check for check in json.loads(done.stdout.splitlines()[-1])["checks"]}


def test_every_fault_of_every_feed_is_named_at_once(tmp_path: Path) -> None:
    feeds = (
        '[[feeds]]\nkind = "csv_foldre"\nname = "a"\n'
        '[[feeds]]\nkind = "csv_folder"\nname = "b"\noptions = { paths = "x" }\n'
        '[[feeds]]\nkind = "hashprice"\nname = "c"\noptions = { subsidies = "tariffs/none.toml" }\n'
    )
    config = load(write(tmp_path, feeds), environment={})
    with pytest.raises(ConfigError) as caught:
        check_feeds(config, tmp_path)
    found = {fault.place: f"{fault.problem}. {fault.remedy}" for fault in caught.value.faults}
    assert "Write one of: csv_folder, hashprice" in found["feeds.0.kind"]
    assert "Did you mean path?" in found["feeds.1.options.paths"] and "missing" in found["feeds.1.options.path"]
    assert any(str(tmp_path / "tariffs" / "none.toml") in text for text in found.values())


def test_two_feeds_of_one_name_or_curve_are_faults_with_their_line(tmp_path: Path) -> None:
    row = '[[feeds]]\nkind = "hashprice"\nname = "x"\ncurve = "hashprice"\n'
    path = write(tmp_path, row + row)
    with pytest.raises(ConfigError) as caught:
        load(path, environment={})
    assert [(fault.place.rpartition(", ")[2], fault.problem) for fault in caught.value.faults] == [
        ("feeds.1.name", "a second feed with name 'x'"), ("feeds.1.curve", "a second feed with curve 'hashprice'"),
    ]  # fmt: skip


def test_the_doctor_asks_each_feed_once_and_names_what_it_gives(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    found = doctor(path)
    assert not found["feed files"]["ok"] and "is no folder" in found["feed files"]["text"]
    (tmp_path / "feeds").mkdir()
    for name, unit, value in (
        ("coin_price", "KZT/BTC", 5e7), ("difficulty", "1", 1e14), ("fees_sat", "SAT/block", 1e7), ("height", "block", 9e5),
    ):  # fmt: skip
        rows = f"start,end,value\n2026-01-05T00:00:00Z,2026-01-06T00:00:00Z,{value}\n"
        head = f"# name: {name}\n# unit: {unit}\n# known_at: 2026-01-04T00:00:00Z\n"
        (tmp_path / "feeds" / f"{name}.csv").write_text(head + rows)
    found = doctor(path)
    assert found["feed files"]["ok"] and found["feed files"]["text"] == "gives coin_price, difficulty, fees_sat, height"
    assert found["feed hashprice"]["text"] == "gives hashprice"


def test_the_feeds_by_default_are_rows_of_the_table(tmp_path: Path) -> None:
    config = load(write(tmp_path, ""), environment={})
    assert all(feed.kind in FEEDS for feed in config.feeds)
    check_feeds(config, tmp_path)
