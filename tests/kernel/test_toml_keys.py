# SPDX-License-Identifier: Apache-2.0
"""Keys of a TOML text: every key of every shipped file at its path, and lines where texts look like tables."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from kernel.toml_keys import keys_of, line_of

ROOT = Path(__file__).parents[2]
FILES = sorted([*(ROOT / "configs").rglob("*.toml"), *(ROOT / "tests" / "recorded").rglob("*.toml")])

TEXT = '''\
a.b = 1
"c d" = "x # [not.a.table]"
text = """
[nor.this]
key = 1 # "quoted \\""" inside"""
raw = \'\'\'
[nor]
\'\'\'
list = [ { x = 1 }, # comment ]
  { y = [ { z = 2 } ], "w" = '}' } ]
[t]
when = 2026-01-01T00:00:00+05:00
[[t.rows]]
k = 1
[[t.rows]]
k = 2
  [t.rows.inner]
  k = 3
'''


def paths(value: Any, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    """Paths of all keys, from the parser of the standard library."""
    if isinstance(value, dict):
        return {(*path, key) for key in value} | {p for key, one in value.items() for p in paths(one, (*path, key))}
    if isinstance(value, list):
        return {p for number, one in enumerate(value) for p in paths(one, (*path, number))}
    return set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_key_of_a_shipped_file_is_found_at_its_path(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    keys = list(keys_of(text))
    assert {key.path for key in keys} == paths(tomllib.loads(text))
    assert all(text[key.start : key.end].strip("\"'") == key.path[-1] for key in keys)


def test_texts_and_comments_hold_no_keys() -> None:
    assert {key.path for key in keys_of(TEXT)} == paths(tomllib.loads(TEXT))


def test_lines_of_keys_and_of_the_tables_that_lack_them() -> None:
    lines = {
        ("a", "b"): 1, ("c d",): 2, ("raw",): 6, ("list", 1, "y", 0, "z"): 10, ("t", "when"): 12,
        ("t", "rows", 0, "k"): 14, ("t", "rows", 1, "k"): 16, ("t", "rows", 1, "inner", "k"): 18,
        ("t", "rows", 1, "absent"): 15, ("t", "rows", 0, "absent"): 13, ("t", "absent"): 11, ("nothing",): None,
    }  # fmt: skip
    assert {path: line_of(TEXT, path) for path in lines} == lines
