# SPDX-License-Identifier: Apache-2.0
"""Each import contract holds, and each was seen to catch a break made on purpose in a copy of the tree."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ["kernel", "telemetry", "grid", "miner_control", "scheduling", "treasury", "hub"]

BREAKS = {
    "floors": ("telemetry/broken.py", "import miner_control.miner\n"),
    "money": ("treasury/broken.py", "import telemetry.source\n"),
    "io": ("hub/broken.py", "import telemetry.io\n"),
    "pure": ("scheduling/broken.py", "import asyncio\n"),
    "dialects": ("scheduling/broken.py", "import miner_control.dialect.antminer\n"),
    "circles": ("kernel/broken.py", "import kernel.money\n"),
}


ASYNC_ROOMS = {"telemetry.collector", "miner_control.actuator", "miner_control.inrush"}
"""The two rooms beside the io rooms that may await."""


def test_every_thinking_room_stands_under_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    listed = set(next(contract for contract in contracts if contract["id"] == "pure")["source_modules"])
    rooms = {
        f"{package}.{path.stem}"
        for package in ("telemetry", "grid", "miner_control", "treasury")
        for path in (ROOT / package).glob("*.py")
        if path.stem != "__init__"
    }
    assert rooms - listed == ASYNC_ROOMS, "add new rooms to the contract `pure` in pyproject.toml"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    script = (
        "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command; lint_imports_command()"
    )
    return subprocess.run(
        [sys.executable, "-c", script, "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("house")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "static"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_the_contracts_hold(copy: Path):
    done = lint(copy)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("contract", BREAKS)
def test_each_contract_catches_a_break(copy: Path, contract: str):
    place, line = BREAKS[contract]
    path = copy / place
    path.write_text(line)
    other = copy / "kernel" / "money.py"
    kept = other.read_text()
    if contract == "circles":
        other.write_text(kept + "\nimport kernel.broken\n")
    try:
        done = lint(copy)
    finally:
        path.unlink()
        other.write_text(kept)
    assert done.returncode == 1, f"{contract} was not caught:\n{done.stdout}{done.stderr}"
    broken = {line.rsplit(" ", 1)[0] for line in done.stdout.splitlines() if line.endswith("BROKEN")}
    names = {
        "floors": "Floors", "money": "Money", "io": "Sockets", "pure": "What thinks", "dialects": "Only drivers",
        "circles": "No circles",
    }  # fmt: skip
    assert any(text.startswith(names[contract]) for text in broken), done.stdout
