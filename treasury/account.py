# SPDX-License-Identifier: Apache-2.0
"""Accounts of the ledger: name of parts joined by colons, one unit, permitted side of the balance.

The five roots are those of double-entry bookkeeping, so that text ledgers accept the export unchanged. Energy is booked like
money, in watt-hours: `Equity:Grid` is credited and `Expenses:Energy:...` debited with metered energy.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from kernel.money import Unit

ROOTS = ("Assets", "Liabilities", "Equity", "Income", "Expenses")
CLEARING = "Equity:Clearing:"
"""Prefix of clearing accounts between two units; only linked exchanges may post to them."""

_PART = re.compile(r"[A-Z0-9][A-Za-z0-9-]{0,39}")


class Keeps(StrEnum):
    """Side on which a balance must remain: debit (no overdraft), credit (no overpayment), or any."""

    ANY = "any"
    DEBIT = "debit"
    CREDIT = "credit"


@dataclass(frozen=True, slots=True)
class Account:
    """One account. Once opened it never changes; opening it again with the same contents changes nothing."""

    code: str
    unit: Unit
    keeps: Keeps = Keeps.ANY
    note: str = ""


@dataclass(frozen=True, slots=True)
class Balance:
    """Sums booked on both sides of one account, in its unit; `net` is positive on the debit side."""

    debits: int = 0
    credits: int = 0

    @property
    def net(self) -> int:
        return self.debits - self.credits


def code_problem(code: str) -> str | None:
    """Fault of an account's name, or None."""
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
    """A name as one part of an account: `braiins` to `Braiins`, `north_2` to `North-2`. ValueError without letter or digit."""
    pieces = [piece for piece in re.split(r"[^A-Za-z0-9]+", name) if piece]
    part = "-".join(piece[:1].upper() + piece[1:] for piece in pieces)[:40]
    if not part:
        raise ValueError(f"{name!r} has no letter or digit to name an account by")
    return part
