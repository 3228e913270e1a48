# SPDX-License-Identifier: Apache-2.0
"""Transfers: a whole number of one unit from one account (credited) to another (debited); never changed.

An error is corrected by another transfer that names it in `corrects`. An exchange between units is two transfers with the
same `link`, each against a clearing account of its own unit.
"""

import hashlib
import re
from dataclasses import dataclass
from uuid import UUID

from kernel.ids import business_id
from kernel.money import INT64_MAX, Unit
from treasury.account import Account

GENESIS = hashlib.sha256(b"mining-hub.ledger.1").digest()
"""Chain value before the first entry."""

_MARK = "\x1f"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Transfer:
    """`amount` > 0 of `unit` from `credit` to `debit`, effective at `effective_ms`.

    - `id`: chosen by the caller, valid for ever: the same id with the same contents is the same transfer.
    - `kind`: the business meaning (`payout.received`, `waterfall.city`, `exchange.sold`).
    - `evidence`: SHA-256 (hex) of the document on which it rests; None: none.
    """

    id: UUID
    debit: str
    credit: str
    amount: int
    unit: Unit
    kind: str
    effective_ms: int
    evidence: str | None = None
    link: UUID | None = None
    corrects: UUID | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log: an opened account or a transfer, its position, and its hashes.

    `leaf`: the RFC 9162 leaf hash of the entry's canonical bytes; `chain` = SHA-256(chain before, leaf).
    """

    seq: int
    recorded_ms: int
    body: Transfer | Account
    leaf: bytes
    chain: bytes


def transfer_id(effective_ms: int, *key: str | int) -> UUID:
    """Id of a transfer from its business key: a retry after a crash gets the same id."""
    return business_id(effective_ms, "transfer", *key)


def canonical(seq: int, recorded_ms: int, body: Transfer | Account) -> bytes:
    """Bytes for the leaf hash: fields in a fixed order between unit separators, UTF-8."""
    fields: tuple[str, ...]
    match body:
        case Transfer():
            fields = (
                "mining-hub.transfer.1", str(seq), str(recorded_ms), str(body.id), body.debit, body.credit, str(body.amount),
                body.unit.value, body.kind, str(body.effective_ms), body.evidence or "", str(body.link or ""),
                str(body.corrects or ""), body.note,
            )  # fmt: skip
        case Account():
            fields = (
                "mining-hub.account.1", str(seq), str(recorded_ms), body.code, body.unit.value, body.keeps.value, body.note,
            )  # fmt: skip
    return _MARK.join(fields).encode()


def entry_after(chain: bytes, seq: int, recorded_ms: int, body: Transfer | Account) -> Entry:
    """Entry that follows a chain value."""
    leaf = hashlib.sha256(b"\x00" + canonical(seq, recorded_ms, body)).digest()
    return Entry(seq, recorded_ms, body, leaf, hashlib.sha256(chain + leaf).digest())


def problems(transfer: Transfer) -> list[str]:
    """Faults of a transfer by itself, independent of balances."""
    found = []
    if isinstance(transfer.amount, bool) or not isinstance(transfer.amount, int):
        found.append(f"amount {transfer.amount!r} is no whole number")
    elif not 0 < transfer.amount <= INT64_MAX:
        found.append(f"amount {transfer.amount} is not between 1 and 2^63 - 1")
    if transfer.debit == transfer.credit:
        found.append(f"debit and credit are the same account {transfer.debit}")
    if not 0 <= transfer.effective_ms < 1 << 48:
        found.append(f"effective_ms {transfer.effective_ms} is no instant between 1970 and 10889")
    if not transfer.kind or not transfer.kind.isprintable() or len(transfer.kind) > 80:
        found.append(f"kind {transfer.kind!r} must be 1 to 80 printable characters")
    if not (transfer.note.isprintable() or not transfer.note) or len(transfer.note) > 500:
        found.append("note must be printable and at most 500 characters")
    if transfer.evidence is not None and not _SHA256.fullmatch(transfer.evidence):
        found.append(f"evidence {transfer.evidence!r} is no SHA-256 in lower-case hex")
    return found
