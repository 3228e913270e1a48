# SPDX-License-Identifier: Apache-2.0
"""Port of the ledger: append-only log of accounts and transfers, and the resulting balances.

- A batch is booked completely or not at all.
- A batch answered as Posted is on disk, is found again after any crash, and gets the same answer at any later time.
- A refusal leaves no trace: the same batch may succeed later, when the balance of the account suffices.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from kernel.errors import Fault
from treasury.account import Account, Balance
from treasury.transfer import Entry, Transfer

BATCH_MOST = 8190
"""Transfers in one batch; a longer one is refused."""


@dataclass(frozen=True, slots=True)
class Posted:
    """Entries of the batch, in its order; those booked before are the earlier entries."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Rejected:
    """Nothing was booked. All faults of the batch at once."""

    faults: tuple[Fault, ...]


Outcome = Posted | Rejected


@dataclass(frozen=True, slots=True)
class Head:
    """End of the log: number of entries, and the chain value that fixes all of them."""

    size: int
    chain: bytes


class Ledger(Protocol):
    """Synchronous port: the hub calls it in a thread when live, and directly in virtual time."""

    def open_accounts(self, accounts: Sequence[Account], now_ms: int) -> Outcome:
        """Add accounts; one that exists with the same contents is the same account."""

    def post(self, transfers: Sequence[Transfer], now_ms: int) -> Outcome:
        """Book a batch completely or not at all. Returns when it is on disk. Accounts must be open."""

    def find(self, ids: Sequence[UUID]) -> Mapping[UUID, Entry]:
        """Entries of those ids that are booked."""

    def accounts(self) -> Mapping[str, Account]:
        """All accounts by code, in the order of their opening."""

    def balances(self) -> Mapping[str, Balance]:
        """Both sides of each account, over all time."""

    def turnover(self, start_ms: int | None, end_ms: int | None, until: int | None = None) -> Mapping[str, Balance]:
        """Both sides of each account over effective times [start, end), of entries up to position `until`."""

    def entries(self, after: int = 0, until: int | None = None) -> Iterator[Entry]:
        """The log in order, positions (after, until]."""

    def last(self, kind: str, before_ms: int) -> Entry | None:
        """Transfer of a kind with the latest effective time before an instant; None where there is none."""

    def head(self) -> Head:
        """The end of the log."""

    def close(self) -> None:
        """Close the store and release its lock."""
