# SPDX-License-Identifier: Apache-2.0
"""An account of the ledger: a name of parts joined by colons, one unit, and which side its balance must keep to.

The five roots are those of double entry, so that text ledgers take our export as it is. Energy is booked like money: the
grid is `Equity:Grid`, what a meter counted goes to `Expenses:Energy:...`, in watt-hours.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from kernel.money import Unit

ROOTS = ("Assets", "Liabilities", "Equity", "Income", "Expenses")
CLEARING = "Equity:Clearing:"
"""Accounts under this name stand between two units; only linked exchanges may touch them."""

_PART = re.compile(r"[A-Z0-9][A-Za-z0-9-]{0,39}")


class Keeps(StrEnum):
    """The side on which a balance must stay: debit (it may not be overdrawn), credit (it may not be overpaid), or any."""

    ANY = "any"
    DEBIT = "debit"
    CREDIT = "credit"


@dataclass(frozen=True, slots=True)
class Account:
    """One account. Once opened it never changes; the same again is the same account."""

    code: str
    unit: Unit
    keeps: Keeps = Keeps.ANY
    note: str = ""


@dataclass(frozen=True, slots=True)
class Balance:
    """What was booked on both sides of one account, in its unit; `net` is positive on the debit side."""

    debits: int = 0
    credits: int = 0

    @property
    def net(self) -> int:
        return self.debits - self.credits


def code_problem(code: str) -> str | None:
    """What is wrong with an account's name, or None."""
    root, *rest = code.split(":")
    if root not in ROOTS:
        return f"starts with {root!r}, not with one of {', '.join(ROOTS)}"
    if not rest or len(code) > 200:
        return "needs two or more parts, and at most 200 characters"
    wrong = [part for part in rest if not _PART.fullmatch(part)]
    if wrong:
        return f"part {wrong[0]!r} must be 1 to 40 of A-Z a-z 0-9 -, starting with a capital or digit"
    return None


def account_part(name: str) -> str:
    """A name as one part of an account: `braiins` to `Braiins`, `north_2` to `North-2`."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", name) if word]
    part = "-".join(word[:1].upper() + word[1:] for word in words)[:40]
    if not part:
        raise ValueError(f"{name!r} has no letter or digit to name an account by")
    return part
