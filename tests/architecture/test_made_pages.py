# SPDX-License-Identifier: Apache-2.0
"""Pages made by a script are up to date: the picture of packages and the index of decisions."""

import copy
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.architecture import decisions, house_picture

PROJECT = tomllib.loads((house_picture.ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_picture_is_of_todays_contracts() -> None:
    remedy = "run: python -m tests.architecture.house_picture"
    assert house_picture.PICTURE.read_text(encoding="utf-8") == house_picture.present(), remedy


def test_the_picture_shows_every_package_and_every_layer_of_the_hub() -> None:
    drawn = {text.text for text in ElementTree.fromstring(house_picture.present()).iter() if text.tag.endswith("text")}
    folders = {path.parent.name for path in (house_picture.ROOT / "hub").glob("*/__init__.py")}
    assert folders | {*PROJECT["tool"]["importlinter"]["root_packages"]} <= drawn


def test_another_contract_is_another_picture() -> None:
    changed = copy.deepcopy(PROJECT)
    spine = next(one for one in changed["tool"]["importlinter"]["contracts"] if one["id"] == "spine")
    spine["layers"] = list(reversed(spine["layers"]))
    assert house_picture.picture(house_picture.contracts(changed)) != house_picture.present()


def test_the_index_of_decisions_is_complete() -> None:
    remedy = "run: python -m tests.architecture.decisions"
    assert decisions.INDEX.read_text(encoding="utf-8") == decisions.index(), remedy
    assert all(f"({path.name})" in decisions.index() for path in decisions.pages())


def test_a_decision_without_title_or_with_a_number_twice_is_found(tmp_path: Path) -> None:
    (tmp_path / "0001-first.md").write_text("# First\n\nText.\n")
    assert "| 0001 | [First](0001-first.md) |" in decisions.index(tmp_path)
    (tmp_path / "0001-again.md").write_text("# Again\n")
    with pytest.raises(ValueError, match="0001"):
        decisions.index(tmp_path)
    (tmp_path / "0001-again.md").write_text("no title\n")
    with pytest.raises(ValueError, match="0001-again"):
        decisions.index(tmp_path)
