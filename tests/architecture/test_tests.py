# SPDX-License-Identifier: Apache-2.0
"""Rules for the tests: no test takes anything from another test, the spine has near tests."""

import ast
from pathlib import Path

import pytest

from tests.architecture.mutations import MUTATIONS, NEAR
from tests.architecture.source import ROOT, TESTS, tree


def taken_from_tests(module: ast.Module) -> list[str]:
    """Test modules that a module takes something from, by whatever form of import; also in a script that it holds as text."""
    found: list[str] = []
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{one.name}" for one in node.names)]
            found += [
                name for name in names if name.rpartition(".")[2].startswith("test_") and name.startswith("tests.")
            ]
        elif isinstance(node, ast.Import):
            found += [one.name for one in node.names if one.name.startswith("tests.") and ".test_" in one.name]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += [line for line in node.value.splitlines() if line.startswith("from tests.") and ".test_" in line]
    return found


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_test_takes_anything_from_another_test(path: Path) -> None:
    assert taken_from_tests(tree(path)) == [], "what tests share stands in tests/builders"


def test_the_rule_sees_each_form_of_import() -> None:
    other = "tests.grid.test_tariff"
    forms = (
        f"from {other} import rate",
        f"from {other.rpartition('.')[0]} import test_tariff",
        f"import {other} as another",
        f'SCRIPT = """\nfrom {other} import rate\n"""',
    )
    assert [len(taken_from_tests(ast.parse(form))) for form in forms] == [1] * 4
    assert taken_from_tests(ast.parse("from tests.builders.spine import Spine\nfrom grid import test_drive")) == []


def test_each_part_of_the_spine_has_near_tests_and_changes_that_they_have_to_notice() -> None:
    assert {one.file for one in MUTATIONS} >= {
        "hub/control/tick.py", "hub/control/runtime.py", "hub/control/supervision.py", "hub/control/order_desk.py",
        "hub/journal/recorder.py", "hub/journal/issue.py", "hub/state/fold.py", "hub/state/situation.py",
        "miner_control/control/guard.py",
        "grid/compliance.py", "grid/order_book.py", "telemetry/io/journal_sqlite.py",
    }  # fmt: skip
    assert all((ROOT / path).is_file() for paths in NEAR.values() for path in paths)
    lost = [f"{one.file}: {one.means}" for one in MUTATIONS if (ROOT / one.file).read_text("utf-8").count(one.old) != 1]
    assert not lost, "the text of these changes stands no longer there once:\n" + "\n".join(lost)
