# SPDX-License-Identifier: Apache-2.0
"""Data files of a site's own folder are found before the shipped ones, of every kind and by the real command line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hub.config import load
from hub.config.lookup import CONFIGS, data_files, listed, look_up
from hub.state import checkpoint
from hub.wiring import catalogue, empty_state
from hub.wiring.duties import tariff_of
from kernel.errors import ConfigError

SITE = """\
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
[[sites.meters]]
name = "main"
role = "main"
profile = "yard_meter"
host = "127.0.0.1"
"""


def command(*arguments: str) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of the real command line."""
    done = subprocess.run(
        [sys.executable, "-c", "from hub.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "hub.toml").write_text(SITE)
    return tmp_path


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def shipped(name: str) -> str:
    return (CONFIGS / name).read_text(encoding="utf-8")


def test_a_meter_profile_of_the_site_is_missed_named_with_both_places_and_found_once_it_is_there(site: Path) -> None:
    path = site / "hub.toml"
    code, _, text = command("config", "check", str(path))
    plain = "".join(text.split())
    assert code == 2 and "noprofile'yard_meter'" in plain
    for place in (site, CONFIGS):
        assert str(place / "profiles" / "meters" / "yard_meter.toml") in plain

    own = put(site, "profiles/meters/yard_meter.toml", shipped("profiles/meters/abb_b23.toml"))
    code, out, text = command("config", "check", str(path), "--json")
    assert (code, json.loads(out.splitlines()[-1])["ok"]) == (0, True), text
    (site / "feeds").mkdir()
    code, out, text = command("doctor", str(path), "--json")
    assert code == 0 and json.loads(out.splitlines()[-1])["checks"], text

    own.write_text(own.read_text().replace('unit = "W"', 'unit = "parsec"'))
    code, _, text = command("config", "check", str(path))
    assert code == 2 and "yard_meter" in text and "parsec" in text


def test_a_file_of_the_site_goes_before_the_shipped_file_of_its_name(site: Path) -> None:
    other = put(site, "profiles/meters/abb_b23.toml", shipped("profiles/meters/abb_b23.toml"))
    names = [path.name for path in listed(site, "profiles/meters")]
    assert names == sorted(set(names)) == [path.name for path in listed(None, "profiles/meters")]
    assert look_up(site, "profiles/meters/abb_b23.toml") == other.resolve()
    assert look_up(None, "profiles/meters/abb_b23.toml") != other.resolve()
    assert other in data_files(site) and other not in data_files(None)


@pytest.mark.parametrize("name", ["jurisdictions/here.toml", "contracts/here.toml", "layouts/here.toml"])
def test_what_stands_nowhere_is_named_with_both_places(site: Path, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        look_up(site, name)
    assert str(site / name) in str(caught.value) and str(CONFIGS / name) in str(caught.value)


def meters(folder: Path) -> Any:
    put(folder, "profiles/meters/yard_meter.toml", shipped("profiles/meters/abb_b23.toml"))
    return load(folder / "hub.toml", environment={})


def test_models_and_firmware_of_the_site_join_those_shipped(site: Path) -> None:
    model = shipped("profiles/miners/antminer-s21.toml").replace('model = "', 'model = "Yard ', 1)
    put(site, "profiles/miners/yard.toml", model)
    firmware = shipped("profiles/firmware/antminer.toml").replace("Sleep", "Locate", 1)
    put(site, "profiles/firmware/antminer.toml", firmware)
    own, ours = catalogue(site), catalogue()
    assert len(own.models) == len(ours.models) + 1
    assert own.firmwares.keys() == ours.firmwares.keys() and own.firmwares["antminer"] != ours.firmwares["antminer"]


def test_alarm_rules_of_the_site_join_and_replace_those_shipped(site: Path) -> None:
    rule = (
        '[[rule]]\nid = "yard-hot"\nkind = "meter"\npriority = "low"\ntext = "t"\naction = "a"\n'
        'when = { type = "stale", after_s = 5.0 }\n'
    )
    put(site, "alarms/yard.toml", rule)
    put(site, "alarms/cooling.toml", "")
    found = set(empty_state(meters(site), catalogue()).alarms.rules)
    cooling = [line for line in shipped("alarms/cooling.toml").splitlines() if line.startswith("id = ")]
    assert "yard-hot" in found and cooling
    assert not found & {line.partition('"')[2].rstrip('"') for line in cooling}


def test_a_tariff_of_the_site_goes_before_the_shipped_one(site: Path) -> None:
    text = shipped("tariffs/example_market.toml").replace('name = "', 'name = "yard ', 1)
    put(site, "tariffs/example_market.toml", text)
    put(site, "hub.toml", f'{SITE}[planning]\ntariff = "tariffs/example_market.toml"\n')
    tariff = tariff_of(meters(site))
    assert tariff is not None and tariff.name.startswith("yard ")


def test_rules_of_a_jurisdiction_are_read_from_the_site_first(site: Path) -> None:
    text = shipped("jurisdictions/kazakhstan.toml").replace('name = "', 'name = "Yard, ', 1)
    put(site, "jurisdictions/kazakhstan.toml", text)
    code, out, text = command("rules", "--folder", str(site), "--json")
    assert code == 0 and json.loads(out.splitlines()[-1])["jurisdiction"].startswith("Yard, "), text


def test_a_checkpoint_rests_on_the_files_of_the_site(site: Path) -> None:
    config = meters(site)
    before = checkpoint._print(config)
    put(site, "alarms/yard.toml", "")
    assert checkpoint._print(config) != before
    shutil.rmtree(site / "alarms")
    assert checkpoint._print(config) == before
