# SPDX-License-Identifier: Apache-2.0
"""The ledger's port: an append-only log of accounts and transfers, each batch all or nothing, with the balances it gives.

What `post` answered as posted is on disk, is found again after any kill, and is answered the same for ever. A refusal
leaves no trace: the same batch may succeed later, when the account holds enough.
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
    """The entries of the batch, in its order. Those that were there before are the ones from then."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Rejected:
    """Nothing was booked. All faults of the batch at once."""

    faults: tuple[Fault, ...]


Outcome = Posted | Rejected


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the log: how many entries, and the chain value that fixes all of them."""

    size: int
    chain: bytes


class Ledger(Protocol):
    """Synchronous on purpose: the hub gives it a thread when live, and calls it directly in virtual time."""

    def open_accounts(self, accounts: Sequence[Account], now_ms: int) -> Outcome:
        """Add accounts; one that is there with the same body is the same account."""

    def post(self, transfers: Sequence[Transfer], now_ms: int) -> Outcome:
        """Book a batch: all of it, or nothing. Returns when it is on disk. Accounts must be open."""

    def find(self, ids: Sequence[UUID]) -> Mapping[UUID, Entry]:
        """The entries of those ids that are booked."""

    def accounts(self) -> Mapping[str, Account]:
        """All accounts by code, in the order of their opening."""

    def balances(self) -> Mapping[str, Balance]:
        """Both sides of each account, all time."""

    def turnover(self, start_ms: int | None, end_ms: int | None, until: int | None = None) -> Mapping[str, Balance]:
        """Both sides of each account over effective times [start, end), of entries up to position `until`."""

    def entries(self, after: int = 0, until: int | None = None) -> Iterator[Entry]:
        """The log in order, positions (after, until]."""

    def last(self, kind: str, before_ms: int) -> Entry | None:
        """The transfer of a kind with the latest effective time before an instant."""

    def head(self) -> Head:
        """The end of the log."""

    def close(self) -> None:
        """Let go of the store."""
