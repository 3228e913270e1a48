# SPDX-License-Identifier: Apache-2.0
"""CSV tables of spreadsheets: any code page and delimiter, and cells that are never evaluated as formulas."""

from collections.abc import Mapping
from typing import Final

from kernel.csv_table import csv_table

DELIMITERS: Final = ",;\t|"
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def decoded(raw: bytes) -> str:
    """The text of a file: UTF-8 or UTF-16 as spreadsheets write them, else the Cyrillic code page of Windows."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", "replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1251", "replace")


def delimiter_of(text: str) -> str:
    """The delimiter of a table by its header line."""
    head = text.partition("\n")[0]
    return max(DELIMITERS, key=head.count)


def rows_of(text: str, place: str = "table") -> list[Mapping[str, str]]:
    """The rows of a table by the names of its header line; the escape of `kept` is removed. Raises ConfigError."""
    _, rows = csv_table(text, place, delimiter_of(text))
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def kept(cell: object) -> str:
    """A cell that a spreadsheet shows and does not evaluate: serial numbers and models come from devices."""
    text = str(cell)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _plain(cell: str) -> str:
    return cell[1:] if isinstance(cell, str) and cell[:1] == "'" and cell[1:].startswith(_FORMULA) else cell
