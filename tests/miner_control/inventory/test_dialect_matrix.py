# SPDX-License-Identifier: Apache-2.0
"""The matrix tells what the dialects do, and the page of the manual is the one that is made from it."""

import re
from pathlib import Path

from miner_control.dialect import DIALECTS
from miner_control.inventory.dialect_matrix import dialect_matrix, matrix_page

ROOT = Path(__file__).resolve().parents[3]


def test_one_row_for_each_firmware_and_range_with_like_columns() -> None:
    rows = dialect_matrix()
    assert {row["dialect"] for row in rows} == set(DIALECTS)
    assert all(list(row) == list(rows[0]) for row in rows)


def test_no_row_promises_what_the_dialect_does_not_carry_out() -> None:
    for row in dialect_matrix():
        assert set(row["intents"]) <= DIALECTS[row["dialect"]].supports(), row["dialect"]


def test_every_intent_of_a_dialect_is_in_its_newest_row() -> None:
    newest = {row["dialect"]: row for row in dialect_matrix() if not row["versions"].startswith("before")}
    for name, dialect in DIALECTS.items():
        assert set(newest[name]["intents"]) == dialect.supports(), name


def test_the_page_of_the_manual_is_current() -> None:
    page = ROOT / "docs" / "reference" / "dialects.md"
    made = matrix_page(dialect_matrix())
    assert page.read_text() == made, (
        "run: python -m miner_control.inventory.dialect_matrix > docs/reference/dialects.md"
    )


def test_each_behaviour_of_the_manual_is_shown_by_a_test_that_exists() -> None:
    page = (ROOT / "docs" / "reference" / "behaviour.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", page)
    rows = [
        line for line in page.splitlines() if line.startswith("| ") and not line.startswith(("| behaviour", "| defect"))
    ]
    assert len(named) == len(rows) > 25
    for path, name in named:
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path} has no {name}"
