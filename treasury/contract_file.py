# SPDX-License-Identifier: Apache-2.0
"""Reader of TOML tables by key; faults are collected with place and remedy, and reading continues.

A key at fault gets a substitute value, which is never used, because a file with faults is refused as a whole.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kernel.errors import Fault
from treasury.account import code_problem

_NEVER = date(1970, 1, 1)


class Table:
    """One table of a file, with the list to which its faults are added."""

    def __init__(self, raw: Mapping[str, Any], place: str, faults: list[Fault]) -> None:
        self._raw, self._place, self._faults, self._read = raw, place, faults, set[str]()

    def fault(self, key: str, problem: str, remedy: str) -> None:
        self._faults.append(Fault(f"{self._place}, {key}", problem, remedy))

    def has(self, key: str) -> bool:
        return key in self._raw

    def _get(self, key: str, kind: type | tuple[type, ...], what: str, remedy: str) -> Any:
        self._read.add(key)
        found = self._raw.get(key)
        if found is None:
            self.fault(key, "is missing", remedy)
        elif not isinstance(found, kind) or isinstance(found, bool):
            self.fault(key, f"{found!r} is no {what}", remedy)
            found = None
        return found

    def text(self, key: str) -> str:
        found = self._get(key, str, "text", f'Write {key} = "..."')
        if found is not None and not found.strip():
            self.fault(key, "is empty", f'Write {key} = "..."')
        return str(found or "")

    def text_or_none(self, key: str) -> str | None:
        return self.text(key) if key in self._raw else None

    def choice(self, key: str, choices: Sequence[str]) -> str:
        found = self.text(key)
        if found and found not in choices:
            self.fault(key, f"{found!r} is not known here", f"Write one of: {', '.join(choices)}")
        return found if found in choices else ""

    def account(self, key: str) -> str:
        found = self.text(key)
        if found and (problem := code_problem(found)):
            self.fault(key, f"account {found} {problem}", 'Write it like "Liabilities:City:Treasury"')
        return found

    def zone(self, key: str) -> str:
        found = self.text(key)
        try:
            ZoneInfo(found)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self.fault(key, f"{found!r} is no zone of the IANA database", 'Write zone = "Asia/Almaty"')
        return found

    def day(self, key: str) -> date:
        found = self._get(key, date, "date", f"Write {key} = 2026-01-01, without quotes")
        if isinstance(found, datetime):
            self.fault(key, f"{found} has a time of day", "Write the day alone")
            return _NEVER
        return found if isinstance(found, date) else _NEVER

    def day_or_none(self, key: str) -> date | None:
        return self.day(key) if key in self._raw else None

    def whole(self, key: str, low: int, high: int) -> int:
        found = self._get(key, int, "whole number", f"Write {key} = a number from {low} to {high}")
        if found is not None and not low <= found <= high:
            self.fault(key, f"{found} is not between {low} and {high}", "Correct it")
            return low
        return int(found) if found is not None else low

    def fraction(self, key: str) -> Fraction:
        """A decimal given as text, so that no binary rounding occurs."""
        found = self._get(key, (str, int), "decimal text", f'Write {key} = "0.15"')
        try:
            return Fraction(str(found)) if found is not None else Fraction(1)
        except (ValueError, ZeroDivisionError):
            self.fault(key, f"{found!r} is no decimal", f'Write {key} = "0.15"')
            return Fraction(1)

    def positive(self, key: str) -> Fraction:
        found = self.fraction(key)
        if found <= 0:
            self.fault(key, f"{found} is not above zero", "Correct it, or leave the step out")
        return found

    def share(self, key: str) -> Fraction:
        found = self.fraction(key)
        if not 0 < found <= 1:
            self.fault(key, f"{self._raw.get(key)!r} is not above 0 and at most 1", 'Write a share such as "0.05"')
        return found

    def table(self, key: str) -> "Table":
        found = self._get(key, Mapping, "table", f"Add a table [{key}]")
        return Table(found or {}, f"{self._place}, {key}", self._faults if found is not None else [])

    def tables(self, key: str, *, needed: bool = True) -> list["Table"]:
        self._read.add(key)
        found = self._raw.get(key)
        if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found) or not found:
            if needed or found is not None:
                self.fault(key, "there is none", f"Add at least one [[{key}]]")
            return []
        return [
            Table(each, f"{self._place}, {key}.{number}", self._faults) for number, each in enumerate(found, start=1)
        ]

    def end(self) -> None:
        """Report keys that were not read, as spelling mistakes."""
        for key in sorted(set(self._raw) - self._read):
            self.fault(key, "is not known here", "Remove it, or correct its spelling")
