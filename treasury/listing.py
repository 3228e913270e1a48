# SPDX-License-Identifier: Apache-2.0
"""Ledger rows for display and export, as printed by `mining-hub ledger`."""

from collections.abc import Iterator
from typing import Any

from kernel.clock import iso
from treasury.account import Account, Balance
from treasury.checks import check
from treasury.ledger import Ledger
from treasury.transfer import Entry


def balance_rows(ledger: Ledger) -> list[dict[str, Any]]:
    """Each account with both sides and its balance (positive on the debit side), by unit and name."""
    balances = ledger.balances()
    rows = [
        {
            "account": code,
            "unit": account.unit.value,
            "debits": balances.get(code, Balance()).debits,
            "credits": balances.get(code, Balance()).credits,
            "net": balances.get(code, Balance()).net,
        }
        for code, account in ledger.accounts().items()
    ]
    return sorted(rows, key=lambda row: (str(row["unit"]), str(row["account"])))


def journal_rows(ledger: Ledger, after: int = 0, until: int | None = None) -> Iterator[dict[str, Any]]:
    """Each entry of the log in order, positions (after, until]."""
    return (entry_row(entry) for entry in ledger.entries(after, until))


SHOWN = ("seq", "effective", "kind", "debit", "credit", "amount", "unit")
"""The keys of a journal row that fit a terminal."""

KEYS = (
    "seq", "recorded", "entry", "effective", "kind", "debit", "credit", "account", "keeps", "amount", "unit", "id", "evidence",
    "link", "corrects", "note", "leaf", "chain",
)  # fmt: skip


def entry_row(entry: Entry) -> dict[str, Any]:
    """One entry as JSON values, with its hashes. All rows have the same keys; None where one does not apply."""
    body = entry.body
    row: dict[str, Any] = dict.fromkeys(KEYS)
    row |= {"seq": entry.seq, "recorded": iso(entry.recorded_ms), "leaf": entry.leaf.hex(), "chain": entry.chain.hex()}
    row |= {"unit": body.unit.value, "note": body.note}
    if isinstance(body, Account):
        return row | {"entry": "account", "account": body.code, "keeps": body.keeps.value}
    return row | {
        "entry": "transfer",
        "effective": iso(body.effective_ms),
        "kind": body.kind,
        "debit": body.debit,
        "credit": body.credit,
        "amount": body.amount,
        "id": str(body.id),
        "evidence": body.evidence,
        "link": str(body.link) if body.link else None,
        "corrects": str(body.corrects) if body.corrects else None,
    }


def check_report(ledger: Ledger) -> dict[str, Any]:
    """Result of all checks: `balanced` is true where there are no findings."""
    findings, head = check(ledger), ledger.head()
    return {
        "entries": head.size,
        "head": head.chain.hex(),
        "balanced": not findings,
        "findings": [{"check": each.check, "seq": each.seq, "text": each.text} for each in findings],
    }
