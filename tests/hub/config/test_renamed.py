# SPDX-License-Identifier: Apache-2.0
"""Former keys of a configuration are refused with their new name, and rewritten with comments and layout kept."""

import json
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hub.config import Config, load
from hub.config.lookup import CONFIGS
from hub.config.renamed import HUB, migrated, refused
from hub.wiring import catalogue, empty_state
from kernel.errors import ConfigError
from tests.builders.config_text import GOOD

FORMER = """\
# a hub of before
[hub]   # the hub itself
name = "hub"

[[sites]]
name = "site"
operator = "North [Mining] LLP # 1"
zone = "Asia/Almaty"
import_cap_w = 4e6
pace   =   2.0        # twice
not_ours = [
  "hoster",           # pace = 9
]
weather.cold_least_w = 1_000.0
ladder = { reboots_a_day = 7, cycles_at_once = 1 }
[[sites.feeders]]
name = "f1"
cap_w = 2e6
[[sites.loops]]
name = "one"
low_c = 10.0
serves = { feeders = ["f1"] }
supply = { device = "rtd", point = "temp_c" }
[[sites.loops]]
name = "two"
"high_c" = 50.0
serves = { feeders = ["f1"] }
[prices]
# where they are
folder = 'feeds of "today"'     # CSV files
currency = "KZT"
"""


def command(*arguments: str) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of the real command line."""
    program = [sys.executable, "-c", "from hub.cli import main; main()", *arguments]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


def test_each_former_key_is_refused_with_line_name_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "hub.toml"
    path.write_text(FORMER)
    with pytest.raises(ConfigError) as caught:
        load(path, environment={})
    found = {fault.place.partition(", ")[2]: fault for fault in caught.value.faults}
    lines = {place: int(fault.place.partition(", ")[0].rpartition(":")[2]) for place, fault in found.items()}
    assert lines == {
        "sites.0.pace": 10, "sites.0.not_ours": 11, "sites.0.weather.cold_least_w": 14, "sites.0.ladder": 15,
        "sites.0.ladder.reboots_a_day": 15, "sites.0.ladder.cycles_at_once": 15, "sites.0.loops": 19,
        "sites.0.loops.0.low_c": 21, "sites.0.loops.1.high_c": 26, "prices.folder": 30,
    }  # fmt: skip
    assert "simulated_speed_factor" in found["sites.0.pace"].problem
    assert all(f"mining-hub config migrate {path} --write" in fault.remedy for fault in found.values())


def test_a_file_is_rewritten_once_with_comments_and_layout(tmp_path: Path) -> None:
    path = tmp_path / "hub.toml"
    path.write_bytes(FORMER.replace("\n", "\r\n").encode())
    path.chmod(0o640)
    before = path.read_bytes()

    code, out, _ = command("config", "migrate", str(path))
    assert (
        code == 0
        and "-pace   =   2.0        # twice" in out
        and "+simulated_speed_factor   =   2.0        # twice" in out
    )
    assert path.read_bytes() == before and not (tmp_path / "hub.toml.bak").exists(), "a dry run writes nothing"

    code, out, text = command("config", "migrate", str(path), "--write", "--json")
    assert code == 0 and json.loads(out.splitlines()[-1])["written"], text
    assert (tmp_path / "hub.toml.bak").read_bytes() == before and stat.S_IMODE(path.stat().st_mode) == 0o640
    after = path.read_bytes().decode()
    assert after.count("\r\n") == after.count("\n")
    for line in (
        "# a hub of before", "simulated_speed_factor   =   2.0        # twice", '  "hoster",           # pace = 9',
        "wake_recovery = { reboots_per_day = 7, power_cycles_at_once = 1 }", "weather.cold_min_w = 1_000.0",
        "inlet_min_c = 10.0", "inlet_max_c = 50.0", "# where they are",
        "options = { path = 'feeds of \"today\"' } # CSV files",
    ):  # fmt: skip
        assert f"{line}\r\n" in after, line
    config = load(path, environment={})
    assert config.sites[0].simulated_speed_factor == 2.0 and config.sites[0].wake_recovery.reboots_per_day == 7
    assert [feed.kind for feed in config.feeds] == ["csv_folder", "hashprice"]

    code, out, _ = command("config", "migrate", str(path), "--write", "--json")
    assert code == 0 and json.loads(out.splitlines()[-1]) == {"file": str(path), "changed": [], "written": False}
    assert path.read_bytes().decode() == after and (tmp_path / "hub.toml.bak").read_bytes() == before


def test_two_names_of_one_key_are_left_to_the_operator(tmp_path: Path) -> None:
    both = FORMER.replace("pace   =", "simulated_speed_factor = 3.0\npace   =")
    with pytest.raises(ConfigError, match="stands next to simulated_speed_factor"):
        migrated(both, "hub.toml")


def test_a_folder_that_stands_elsewhere_is_left_to_the_operator() -> None:
    inline = FORMER.partition("[prices]")[0].replace("[hub]", 'prices = { folder = "feeds" }\n[hub]')
    with pytest.raises(ConfigError, match="does not stand on a line of its own"):
        migrated(inline, "hub.toml")


def test_every_row_of_the_table_names_a_key_of_today_and_keeps_its_table() -> None:
    for old, new in HUB.items():
        parent, _, _ = old.rpartition(".")
        assert new.rpartition(".")[0] == HUB.get(parent.removesuffix("[]"), parent.removesuffix("[]")) + (
            "[]" if parent.endswith("[]") else ""
        )
        model: object = Config
        for step in new.replace("[]", "").split("."):
            fields = model.model_fields  # type: ignore[attr-defined]
            assert step in fields, new
            inner = fields[step].annotation
            parts = [inner, *getattr(inner, "__args__", ())]
            model = next((part for part in parts if hasattr(part, "model_fields")), None)


def test_what_ships_holds_no_former_key() -> None:
    for path in sorted(CONFIGS.rglob("*.toml")):
        text = path.read_text(encoding="utf-8")
        assert refused(tomllib.loads(text), path.name) == [] and migrated(text, path.name).changed == (), path


@pytest.mark.parametrize(
    ("kind", "name", "former", "now"),
    [
        ("profiles/firmware", "antminer.toml", "ladder", "recovery_steps"),
        ("alarms", "miners.toml", "least", "min_devices"),
    ],
)
def test_a_former_key_in_a_file_of_the_site_is_refused_and_renamed(
    kind: str, name: str, former: str, now: str, tmp_path: Path
) -> None:
    shipped = (CONFIGS / kind / name).read_text(encoding="utf-8")
    own = tmp_path / kind / name
    own.parent.mkdir(parents=True)
    own.write_text(re.sub(rf"\b{now} =", f"{former} =", shipped))
    (tmp_path / "hub.toml").write_text(GOOD)
    with pytest.raises(ConfigError) as caught:
        empty_state(load(tmp_path / "hub.toml", environment={}), catalogue(tmp_path))
    assert all(f"is named {now} now" in fault.problem for fault in caught.value.faults)
    assert all(fault.place.startswith(f"{own}:") for fault in caught.value.faults) and caught.value.faults

    assert command("config", "migrate", str(own), "--write")[0] == 0
    assert own.read_text() == shipped
    empty_state(load(tmp_path / "hub.toml", environment={}), catalogue(tmp_path))
