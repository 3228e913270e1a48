# SPDX-License-Identifier: Apache-2.0
"""Ledger benchmark: postings against plain SQLite rows, and this disk's fdatasync: `python -m benchmarks.ledger --json`.

A full transfer: unique id, checks of accounts and limits, balances, leaf and chain, evidence, one commit a batch with
synchronous FULL. A plain row: the same columns and unique id in SQLite, nothing else. Ids are time-ordered (UUIDv7) in both.
"""

import argparse
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kernel.ids import business_id
from kernel.money import Unit
from treasury.account import Account
from treasury.checks import check
from treasury.io.ledger_sqlite import open_ledger
from treasury.ledger import Posted
from treasury.transfer import Transfer

T0_MS = 1_780_000_000_000
ACCOUNTS = 1_000
BATCHES = {1: 500, 100: 100, 8190: 12}


def rated(count: int, work: Callable[[], object]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"per_s": count / (time.perf_counter() - wall), "per_cpu_s": count / max(1e-9, time.process_time() - cpu)}


def batches(size: int, number: int) -> list[list[Transfer]]:
    code = [f"Assets:Party:N{index}" for index in range(ACCOUNTS)]
    return [
        [
            Transfer(
                business_id(T0_MS + batch, size, row), code[row % ACCOUNTS], code[(row + 1) % ACCOUNTS], 1 + row,
                Unit.SAT, "bench", T0_MS + batch, "ab" * 32,
            )
            for row in range(size)
        ]
        for batch in range(number)
    ]  # fmt: skip


def fdatasyncs(folder: Path, number: int = 300) -> float:
    with (folder / "sync").open("wb", buffering=0) as file:

        def work() -> None:
            for _ in range(number):
                file.write(b"x" * 4096)
                os.fdatasync(file.fileno())

        return rated(number, work)["per_s"]


def plain(folder: Path, made: list[list[Transfer]]) -> dict[str, float]:
    db = sqlite3.connect(folder / f"plain-{len(made[0])}.sqlite", isolation_level=None)
    db.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
        "CREATE TABLE t (seq INTEGER PRIMARY KEY, id BLOB UNIQUE, debit TEXT, credit TEXT, amount INTEGER, kind TEXT,"
        " effective_ms INTEGER, evidence BLOB) STRICT;"
    )
    rows = [
        [
            (t.id.bytes, t.debit, t.credit, t.amount, t.kind, t.effective_ms, bytes.fromhex(t.evidence or ""))
            for t in batch
        ]
        for batch in made
    ]

    def work() -> None:
        for batch in rows:
            db.execute("BEGIN")
            db.executemany(
                "INSERT INTO t (id, debit, credit, amount, kind, effective_ms, evidence) VALUES (?,?,?,?,?,?,?)", batch
            )
            db.execute("COMMIT")

    found = rated(sum(map(len, made)), work)
    db.close()
    return found


def measure(folder: Path) -> dict[str, Any]:
    ledger = open_ledger(folder / "ledger.sqlite")
    ledger.open_accounts([Account(f"Assets:Party:N{index}", Unit.SAT) for index in range(ACCOUNTS)], T0_MS)
    result: dict[str, Any] = {"fdatasync_per_s": fdatasyncs(folder), "batches": {}}
    for size, number in BATCHES.items():
        made = batches(size, number)

        def work(made: list[list[Transfer]] = made) -> None:
            for batch in made:
                assert isinstance(ledger.post(batch, T0_MS), Posted)

        full, rows = rated(size * number, work), plain(folder, made)
        result["batches"][str(size)] = {
            "full": full,
            "plain_rows": rows,
            "ratio_to_plain_rows": full["per_s"] / rows["per_s"],
        }
    head = ledger.head()
    findings: list[Any] = []
    result["check"] = {"entries": head.size, **rated(head.size, lambda: findings.extend(check(ledger)))}
    result["findings"] = len(findings)
    ledger.close()
    size = sum(path.stat().st_size for path in folder.glob("ledger.sqlite*"))
    result["bytes_per_transfer"] = size / (head.size - ACCOUNTS)
    return result


def main() -> None:
    lines = argparse.ArgumentParser(description=__doc__)
    lines.add_argument("--json", action="store_true")
    lines.add_argument("--folder", type=Path, help="where to write (a disk, not memory)")
    given = lines.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        result = measure(Path(folder))
    json.dump(result, sys.stdout, indent=None if given.json else 2)
    print()


if __name__ == "__main__":
    main()
