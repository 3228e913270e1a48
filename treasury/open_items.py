# SPDX-License-Identifier: Apache-2.0
"""Open payouts: money received and not yet divided, sold or settled, with age and reason.

Undivided receipts are found in the ledger's own entries, so that they can be divided while the pool is unreachable.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from treasury.payout import RECEIVED, SETTLED, PoolPayout
from treasury.transfer import Entry, Transfer, transfer_id


class Step(StrEnum):
    """Step for which a payout waits."""

    RECEIPT = "receipt"
    DIVISION = "division"
    SALE = "sale"
    TENGE = "tenge"


@dataclass(frozen=True, slots=True)
class OpenItem:
    """One payout and its next step. `amount_sat`: amount of that step; `since_ms`: time of the payout."""

    payout: UUID
    key: str
    step: Step
    amount_sat: int
    since_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class Undivided:
    """A receipt in the ledger without a division, and the pool's fee on it."""

    receipt: Transfer
    fee_sat: int

    def payout(self, pool: str) -> PoolPayout | None:
        """The payout received; None where it came from another pool."""
        receipt = self.receipt
        for account, key in _names(receipt.note):
            if transfer_id(receipt.effective_ms, pool, account, key, RECEIVED) == receipt.id:
                at_ms, evidence = receipt.effective_ms, receipt.evidence or ""
                return PoolPayout(pool, account, key, at_ms, receipt.amount, self.fee_sat, "", evidence)
        return None


def undivided(entries: Iterable[Entry], end_ms: int | None = None) -> list[Undivided]:
    """Receipts of payouts before `end_ms` (None: all) without any line of a division, oldest first."""
    receipts, settled, divided = list[Transfer](), dict[tuple[int, str], int](), set[tuple[str, int, str]]()
    for entry in entries:
        body = entry.body
        if not isinstance(body, Transfer) or (end_ms is not None and body.effective_ms >= end_ms):
            continue
        if body.kind == RECEIVED:
            receipts.append(body)
        elif body.kind == SETTLED:
            settled[body.effective_ms, body.note] = body.amount
        elif body.kind.startswith("waterfall."):
            divided.add((body.debit, body.effective_ms, body.note))
    found = [
        Undivided(one, settled.get((one.effective_ms, one.note), one.amount) - one.amount)
        for one in receipts
        if not any((one.credit, one.effective_ms, key) in divided for _, key in _names(one.note))
    ]
    return sorted(found, key=lambda one: (one.receipt.effective_ms, str(one.receipt.id)))


def _names(note: str) -> list[tuple[str, str]]:
    """Possible (account, key) of a receipt's note: either may contain spaces."""
    parts = note.split(" ")
    return [(" ".join(parts[:cut]), " ".join(parts[cut:])) for cut in range(1, len(parts))]
