# SPDX-License-Identifier: Apache-2.0
"""Report: the treasury over a period, from the ledger alone: opening, movements and closing of each account, and the head.

`undivided` names the payouts received before the end of the period that are not divided in the ledger up to the head. The
head fixes every transfer that the statement rests on: the same ledger up to that head gives the same bytes again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from hub.reports.kind import ReportKind, ReportSources, period_json
from kernel.clock import iso
from kernel.span import Span
from treasury.account import Balance
from treasury.ledger import Head, Ledger
from treasury.open_items import undivided

REPORT = "treasury-statement"
VERSION = 2
COLUMNS = ("account", "unit", "opening", "debits", "credits", "closing")


def treasury_statement(ledger: Ledger, span: Span, hub: str, head: Head | None = None) -> dict[str, Any]:
    """The report as JSON values. Amounts are whole smallest units; balances are positive on the debit side.

    `head` is where the log is read up to (its end, where none is given).
    """
    head = head or ledger.head()
    before = ledger.turnover(None, span.start_ms, head.size)
    moved = ledger.turnover(span.start_ms, span.end_ms, head.size)
    lines, units = [], dict[str, dict[str, int]]()
    for code, account in ledger.accounts().items():
        if code not in moved:
            continue
        opening, change = before.get(code, Balance()).net, moved[code]
        lines.append(
            {
                "account": code,
                "unit": account.unit.value,
                "opening": opening,
                "debits": change.debits,
                "credits": change.credits,
                "closing": opening + change.net,
            }
        )
        sums = units.setdefault(account.unit.value, {"debits": 0, "credits": 0})
        sums["debits"] += change.debits
        sums["credits"] += change.credits
    return {
        "report": REPORT,
        "version": VERSION,
        "site": "",
        "hub": hub,
        "period": period_json(span),
        "draft": False,
        "head": {"size": head.size, "chain": head.chain.hex()},
        "balanced": all(sums["debits"] == sums["credits"] for sums in units.values()),
        "units": units,
        "undivided": [
            {
                "payout": str(item.receipt.id),
                "received": iso(item.receipt.effective_ms),
                "amount_sat": item.receipt.amount,
                "note": item.receipt.note,
            }
            for item in undivided(ledger.entries(0, head.size), span.end_ms)
        ],
        "accounts": sorted(lines, key=lambda line: (str(line["unit"]), str(line["account"]))),
    }


def table(document: Mapping[str, Any]) -> tuple[Sequence[str], list[list[Any]]]:
    """The report as one table: a line for each account."""
    return COLUMNS, [[line[name] for name in COLUMNS] for line in document["accounts"]]


def build(sources: ReportSources, span: Span) -> dict[str, Any]:
    """The document of the hub's ledger up to its end."""
    return treasury_statement(sources.ledger, span, sources.hub)


KIND = ReportKind(REPORT, "hub", "The treasury over a period, from the ledger alone.", build, table)
