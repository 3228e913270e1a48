# SPDX-License-Identifier: Apache-2.0
"""The page of all configuration keys is made from the models, and is current."""

from pathlib import Path

from hub.config.page import page

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "configuration.md"


def test_the_page_is_current() -> None:
    remedy = "run: python -m hub.config.page > docs/reference/configuration.md"
    assert PAGE.read_text(encoding="utf-8") == page(), remedy


def test_the_page_holds_every_table_with_its_keys() -> None:
    text = page()
    for part in (
        "## `sites[].cooling_loops[].supply`",
        "| `return` | table |",
        "## `feeds[]`",
        "| `sites[].lessons` |",
    ):
        assert part in text
