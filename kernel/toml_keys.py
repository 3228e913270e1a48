# SPDX-License-Identifier: Apache-2.0
"""Keys of a TOML text with paths and positions, for line numbers of faults and for renaming.

Comments and layout are not changed.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

Path = tuple[str | int, ...]
"""Keys, and indices of array elements from 0: ("sites", 0, "meters", 1, "host")."""

_BLANK: Final = re.compile(r"(?:[ \t\r\n,]|#[^\n]*)*")
_SPACE: Final = re.compile(r"[ \t]*")
_PART: Final = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' + r"'''.*?'{3,5}|" + r""""(?:[^"\\\n]|\\.)*"|'[^'\n]*'""", re.DOTALL
)
_SCALAR: Final = re.compile(r"[^,\]}#\n]*")


@dataclass(frozen=True, slots=True)
class Key:
    """One segment of a key: text[start:end]. `header`: it is part of a [table] or [[table]] line.

    `holds`: path of the table that it opens, with its index for an element of an array; None for a segment that opens none.
    """

    path: Path
    start: int
    end: int
    header: bool = False
    holds: Path | None = None


def keys_of(text: str) -> Iterator[Key]:
    """Every segment of every key, in the order of the text, which must be valid TOML."""
    reader = _Reader(text)
    counts: dict[Path, int] = {}
    table: Path = ()
    while (at := reader.skip()) < len(text):
        if text[at] != "[":
            yield from reader.pair(table)
            continue
        array = text.startswith("[[", at)
        reader.at = at + (2 if array else 1)
        segments = list(reader.dotted())
        table = ()
        for number, (name, start, end) in enumerate(segments):
            path = table = (*table, name)
            last = number == len(segments) - 1
            if array and last:
                counts[table] = counts.get(table, -1) + 1
            if table in counts:
                table = (*table, counts[table])
            yield Key(path, start, end, header=True, holds=table if last else None)
        reader.at = text.index("]", reader.at) + (2 if array else 1)


def line_of(text: str, path: Path) -> int | None:
    """Line number of a key; of the nearest table that contains it where the key is absent; None where there is none."""
    best, depth = None, 0
    for key in keys_of(text):
        if key.path == path or key.holds == path:
            return text.count("\n", 0, key.start) + 1
        if key.holds is not None and len(key.holds) > depth and key.holds == path[: len(key.holds)]:
            best, depth = key, len(key.holds)
    return None if best is None else text.count("\n", 0, best.start) + 1


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def skip(self) -> int:
        """Skip blanks, commas, line ends and comments; returns the new offset."""
        found = _BLANK.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return self.at

    def _space(self) -> None:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def dotted(self) -> Iterator[tuple[str, int, int]]:
        """(name, start, end) of the segments of a dotted key."""
        while True:
            self._space()
            found = _PART.match(self.text, self.at)
            if found is None:
                raise ValueError(f"no key at offset {self.at}")
            self.at = found.end()
            yield found[0].strip("\"'"), found.start(), found.end()
            self._space()
            if self.text[self.at : self.at + 1] != ".":
                return
            self.at += 1

    def pair(self, table: Path) -> Iterator[Key]:
        """Keys of `key = value`, including those inside the value."""
        path = table
        for name, start, end in self.dotted():
            path = (*path, name)
            yield Key(path, start, end, holds=path)
        self.at = self.text.index("=", self.at) + 1
        yield from self._value(path)

    def _value(self, path: Path) -> Iterator[Key]:
        self._space()
        first = self.text[self.at : self.at + 1]
        if first in ("[", "{"):
            close, number = "]" if first == "[" else "}", 0
            self.at += 1
            while self.text[self.skip()] != close:
                yield from self._value((*path, number)) if first == "[" else self.pair(path)
                number += 1
            self.at += 1
            return
        found = (_STRING if first in ("'", '"') else _SCALAR).match(self.text, self.at)
        self.at = found.end() if found else self.at


def shown(path: Sequence[str | int]) -> str:
    """A path as a pattern for every element of a list: `sites[].meters[].host`."""
    text = ""
    for step in path:
        text += "[]" if isinstance(step, int) else f".{step}" if text else step
    return text
