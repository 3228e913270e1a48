# SPDX-License-Identifier: Apache-2.0
"""Money and billed energy as integers of the smallest unit; splits are exact.

Amounts of different units cannot be added: an exchange is two amounts and a recorded rate.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction


class Unit(StrEnum):
    """The smallest units in which the ledger counts."""

    SAT = "SAT"
    TIYN = "TIYN"
    WH = "WH"
    CENT = "CENT"


INT64_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True, order=True)
class Money:
    """An exact amount: `amount` counts of `unit`. Signed; within int64, as the columns of the ledger."""

    amount: int
    unit: Unit

    def __post_init__(self) -> None:
        if isinstance(self.amount, bool) or not isinstance(self.amount, int):
            raise TypeError(f"{self.amount!r} {self.unit}: an amount must be a whole number of the smallest unit")
        if abs(self.amount) > INT64_MAX:
            raise OverflowError(f"{self.amount} {self.unit} is outside the range of int64 (2^63 - 1)")

    def _same(self, other: "Money") -> None:
        if self.unit is not other.unit:
            raise ValueError(f"{self.unit} and {other.unit} cannot be added: book an exchange at a recorded rate")

    def __add__(self, other: "Money") -> "Money":
        self._same(other)
        return Money(self.amount + other.amount, self.unit)

    def __sub__(self, other: "Money") -> "Money":
        self._same(other)
        return Money(self.amount - other.amount, self.unit)

    def __neg__(self) -> "Money":
        return Money(-self.amount, self.unit)

    def __str__(self) -> str:
        return f"{self.amount} {self.unit}"


def split(total: int, weights: Sequence[int | Fraction]) -> list[int]:
    """Exact division of a whole number by weights: largest remainder (Hamilton's method), ties to the earlier weight.

    - The parts sum to the total; each is within one of its exact share; none has the opposite sign.
    - ValueError on a negative weight or a sum of zero.
    """
    exact = [Fraction(weight) for weight in weights]
    whole = sum(exact, Fraction(0))
    if any(weight < 0 for weight in exact) or whole <= 0:
        raise ValueError(f"weights {list(map(str, weights))} must be non-negative and not all zero")
    sign, magnitude = (-1, -total) if total < 0 else (1, total)
    shares = [magnitude * weight / whole for weight in exact]
    parts = [share.numerator // share.denominator for share in shares]
    rest = magnitude - sum(parts)
    for index in sorted(range(len(parts)), key=lambda i: (parts[i] - shares[i], i))[:rest]:
        parts[index] += 1
    return [sign * part for part in parts]


def decimal_to_int(text: str, scale: int, what: str = "amount") -> int:
    """A decimal text as a whole number of 10^-scale, exactly: ("0.00012345", 8) -> 12345.

    ValueError where digits would be lost, or the text is not plain decimal (exponents are refused; no float is used).
    """
    found = re.fullmatch(r"([+-]?)([0-9]+)(?:\.([0-9]*))?", text.strip())
    if not found:
        raise ValueError(f"{what} {text!r} is not a plain decimal number")
    sign, whole, fraction = (-1 if found[1] == "-" else 1), found[2], found[3] or ""
    kept, lost = fraction[:scale], fraction[scale:]
    if lost.strip("0"):
        raise ValueError(f"{what} {text!r} has more than {scale} decimal places")
    return sign * int(whole + kept.ljust(scale, "0"))


def int_to_decimal(amount: int, scale: int) -> str:
    """The inverse of `decimal_to_int`, with all decimal places."""
    digits = str(abs(amount)).rjust(scale + 1, "0")
    text = f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits
    return f"-{text}" if amount < 0 else text
