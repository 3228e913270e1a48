# SPDX-License-Identifier: Apache-2.0
"""Tables as spreadsheets keep them: whatever code page and delimiter, and no cell that a spreadsheet would calculate."""

import csv
import io
from collections.abc import Mapping
from typing import Final

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
    """The delimiter of a table by its head line."""
    head = text.partition("\n")[0]
    return max(DELIMITERS, key=head.count)


def rows_of(text: str) -> list[Mapping[str, str]]:
    """The rows of a table by the names of its head line; cells kept from calculation (`kept`) are as they were."""
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter_of(text))
    return [{name: _plain(value) for name, value in row.items()} for row in reader]


def kept(cell: object) -> str:
    """A cell that a spreadsheet shows and does not calculate: serial numbers and models are told by devices."""
    text = str(cell)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _plain(cell: str) -> str:
    return cell[1:] if isinstance(cell, str) and cell[:1] == "'" and cell[1:].startswith(_FORMULA) else cell
