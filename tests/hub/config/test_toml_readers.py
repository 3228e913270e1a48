# SPDX-License-Identifier: Apache-2.0
"""Every reader of a TOML file names what cannot be read, and never fails with anything but ConfigError."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from grid.hashprice import load_subsidies
from grid.tariff import load as load_tariff
from hub.metering.utility_data import load_layout
from hub.wiring.duties import tariff_of
from hub.wiring.feeds import check_feeds
from kernel.errors import ConfigError
from kernel.toml_model import read_text
from miner_control.inventory.asset_register import load_register
from miner_control.inventory.catalogue import load_catalogue
from telemetry.alarm.rule import load_rules as load_alarms
from telemetry.device.profile import load as load_profile
from telemetry.energy.passport import load_passport
from tests.builders.config_text import GOOD
from treasury.contract import load_contract
from treasury.rules import load_rules

ROOT = Path(__file__).parents[3]

READERS: dict[str, Callable[[Path], Any]] = {
    "passport": load_passport,
    "alarms": lambda path: load_alarms([path]),
    "profile": load_profile,
    "model": lambda path: load_catalogue([path], []),
    "firmware": lambda path: load_catalogue([], [path]),
    "inventory": lambda path: load_register(path, "hub", "site"),
    "tariff": lambda path: load_tariff(read_text(path), str(path)),
    "subsidies": lambda path: load_subsidies(read_text(path), str(path)),
    "contract": load_contract,
    "jurisdiction": load_rules,
    "layout": lambda path: load_layout(path, "hub", {}),
}

SHAPES = {
    "not TOML": b"a = 1\nb = = 2\n",
    "not UTF-8": b"a = '\xff'\n",
    "numbers for tables": b"".join(
        f"{key} = 3\n".encode()
        for key in ("point", "installation", "rule", "points", "checked", "variants", "versions", "miners", "facts",
                    "component", "subsidy", "contract", "edition", "jurisdiction", "meters")
    ),
    "numbers in lists": b"".join(
        f"{key} = [3]\n".encode()
        for key in ("installation", "rule", "miners", "facts", "component", "subsidy", "edition", "venue", "variants", "versions")
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_is_none_is_a_fault_with_its_name(reader: str, shape: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(SHAPES[shape])
    if (reader, shape) == ("inventory", "not UTF-8"):
        return  # Inventories are read in the code page that they were saved in.
    with pytest.raises(ConfigError) as caught:
        READERS[reader](path)
    assert all("broken.toml" in str(fault) or "broken" in fault.place for fault in caught.value.faults)
    if shape == "not TOML":
        assert re.search("not TOML.*line 2", str(caught.value))


@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_is_absent_is_named(reader: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError if reader != "inventory" else OSError) as caught:
        READERS[reader](tmp_path / "absent.toml")
    assert "absent.toml" in str(caught.value) and "No such file" in str(caught.value)


def test_an_unreadable_tariff_and_an_unreadable_subsidy_file_are_faults_of_the_check(tmp_path: Path) -> None:
    from hub.config import load

    (tmp_path / "hub.toml").write_text(f'{GOOD}[planning]\ntariff = "mine.toml"\n')
    (tmp_path / "mine.toml").write_bytes(SHAPES["not UTF-8"])
    (tmp_path / "tariffs").mkdir()
    (tmp_path / "tariffs" / "bitcoin_subsidy.toml").write_bytes(SHAPES["not UTF-8"])
    config = load(tmp_path / "hub.toml", environment={})
    with pytest.raises(ConfigError, match="mine.toml.*not TOML"):
        tariff_of(config)
    with pytest.raises(ConfigError, match="bitcoin_subsidy.toml.*not TOML"):
        check_feeds(config, tmp_path)


def test_a_key_of_a_layout_that_is_not_known_is_compared_with_those_of_a_layout(tmp_path: Path) -> None:
    path = tmp_path / "layout.toml"
    path.write_text('delimeter = ";"\nunit = 3\n')
    with pytest.raises(ConfigError, match="Did you mean delimiter") as caught:
        load_layout(path, "hub", {})
    assert "for example unit = 'kWh'" in str(caught.value)


def test_one_module_reads_toml() -> None:
    packages = ("hub", "kernel", "telemetry", "grid", "miner_control", "scheduling", "treasury", "twin")
    users = {
        str(path.relative_to(ROOT))
        for package in packages
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"^(?:import|from) tomllib", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    # hub/config reads a value of the environment, and compares a rewritten file with the one before.
    assert users == {"kernel/toml_model.py", "hub/config/__init__.py", "hub/config/renamed.py"}
