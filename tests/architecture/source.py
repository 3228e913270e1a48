# SPDX-License-Identifier: Apache-2.0
"""Source files of the product and of the tests, as text and as syntax trees."""

import ast
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ["kernel", "telemetry", "grid", "miner_control", "scheduling", "treasury", "twin", "hub"]
FILES: Final = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS: Final = sorted((ROOT / "tests").rglob("*.py"))
MOST_LINES: Final = 400


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
