# SPDX-License-Identifier: Apache-2.0
"""Pages name files, folders, links and commands that exist."""

import re
import tomllib
from pathlib import Path

import pytest
import typer

from hub.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    {
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
        *(ROOT / "docs").rglob("*.md"),
    }
)
TOP = (
    "hub",
    "kernel",
    "telemetry",
    "grid",
    "miner_control",
    "scheduling",
    "treasury",
    "twin",
    "configs",
    "tests",
    "docs",
    ".ci",
)
PATH = re.compile(rf"`((?:{'|'.join(map(re.escape, TOP))})/[\w./-]*\w/?)(?::[^`]*)?`")
LINK = re.compile(r"\]\(([^)#:]+)\)")


def named(page: Path, pattern: re.Pattern[str]) -> set[str]:
    return set(pattern.findall(page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_path_and_link_exists(page: Path) -> None:
    absent = {path for path in named(page, PATH) if not (ROOT / path).exists()}
    absent |= {link for link in named(page, LINK) if not (page.parent / link).exists()}
    assert not absent, f"{page.relative_to(ROOT)} names {sorted(absent)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_command_exists(page: Path) -> None:
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    asked = named(page, re.compile(r"(?:`|\$ |^)mining-hub ([a-z]+)", re.MULTILINE))
    assert asked <= set(known), f"{page.name} names {sorted(asked - set(known))}"
    targets = named(page, re.compile(r"`make ([a-z ]+)`"))
    made = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {one for text in targets for one in text.split()} <= made


def test_each_group_of_entry_points_is_described() -> None:
    from hub.wiring.plugins import TABLES

    text = (ROOT / "docs" / "contributing" / "plug-ins.md").read_text()
    assert all(f"`{table.group}`" in text for table in TABLES)
    assert "mining-hub" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def test_a_path_that_is_not_there_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("See `hub/nowhere.py: X` and [this](absent.md).")
    assert named(page, PATH) == {"hub/nowhere.py"} and named(page, LINK) == {"absent.md"}
