# SPDX-License-Identifier: Apache-2.0
"""Each import contract holds, and each was seen to catch a break made on purpose in a copy of the tree."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ["kernel", "telemetry", "grid", "miner_control", "scheduling", "treasury", "twin", "hub"]

BREAKS = {
    "floors": ("telemetry/broken.py", "import miner_control.fleet.miner\n"),
    "money": ("treasury/broken.py", "import telemetry.collect.source\n"),
    "io": ("hub/state/broken.py", "import telemetry.io\n"),
    "pure": ("scheduling/broken.py", "import asyncio\n"),
    "dialects": ("scheduling/broken.py", "import miner_control.dialect.antminer\n"),
    "twin": ("hub/state/broken.py", "import twin.spec\n"),
    "spine": ("hub/state/broken.py", "import hub.query.rows\n"),
    "circles": ("kernel/broken.py", "import kernel.money\n"),
}


AWAITING = {
    "telemetry.collect.collector",
    "miner_control.control.actuator",
    "miner_control.control.inrush",
    "hub.journal.recorder",
    "hub.control.runtime",
    "hub.control.supervision",
    "hub.settlement.duty",
}
"""The modules beside the `io` packages that may await."""


def test_every_thinking_module_stands_under_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    pure = next(contract for contract in contracts if contract["id"] == "pure")
    below_the_hub = {package for package in PACKAGES if package not in ("hub", "twin")}
    assert below_the_hub <= set(pure["source_modules"]), "whole packages are sources, so that a new module is one"
    excepted = {tuple(line.split(" -> ")) for line in pure["ignore_imports"]}
    in_io = {(importer, "*") for importer, _ in excepted if importer.endswith(".io.*")}
    assert excepted - in_io == {(module, "asyncio") for module in AWAITING}


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
    broken = {line for line in done.stdout.splitlines() if " BROKEN" in line}
    names = {
        "floors": "Floors", "money": "Money", "io": "Sockets", "pure": "What thinks", "dialects": "Only drivers",
        "circles": "No circles", "spine": "The spine", "twin": "The hub meets",
    }  # fmt: skip
    assert any(text.startswith(names[contract]) for text in broken), done.stdout
