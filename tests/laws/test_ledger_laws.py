# SPDX-License-Identifier: Apache-2.0
"""What holds for the ledger whatever is asked of it: any interleaving, any restart, against a model of ten lines."""

import sqlite3
import tempfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kernel.clock import from_iso
from kernel.errors import ConfigError
from kernel.ids import business_id
from kernel.money import Unit
from tests.servers import count
from treasury.account import Account, Balance, Keeps
from treasury.checks import check
from treasury.contract import Fixed, Rate, Share, Step, divide
from treasury.io.ledger_sqlite import SqliteLedger, open_ledger, read_ledger
from treasury.ledger import Posted, Rejected
from treasury.transfer import Transfer

T0 = from_iso("2026-11-23T00:00:00Z")
ACCOUNTS = [
    Account("Assets:A", Unit.SAT, note="the first"),
    Account("Assets:Limited", Unit.SAT, Keeps.DEBIT),
    Account("Liabilities:Owed", Unit.SAT, Keeps.CREDIT),
    Account("Income:I", Unit.SAT),
    Account("Assets:T", Unit.TIYN),
    Account("Income:T", Unit.TIYN),
]
CODES = [account.code for account in ACCOUNTS] + ["Assets:Absent"]

TRANSFERS = st.builds(
    lambda key, debit, credit, amount, unit: Transfer(
        business_id(T0, "law", key), debit, credit, amount, unit, "law", T0 + key
    ),
    st.integers(0, 30),
    st.sampled_from(CODES),
    st.sampled_from(CODES),
    st.integers(-1, 50),
    st.sampled_from([Unit.SAT, Unit.SAT, Unit.SAT, Unit.TIYN]),
)


class Model:
    """The ledger in a few lines: a dict of transfers, folded."""

    def __init__(self) -> None:
        self.booked: dict[UUID, Transfer] = {}

    def net(self, code: str, extra: list[Transfer]) -> int:
        every = [*self.booked.values(), *extra]
        return sum(t.amount * ((t.debit == code) - (t.credit == code)) for t in every)

    def accepts(self, batch: list[Transfer]) -> bool:
        new: dict[UUID, Transfer] = {}
        for transfer in batch:
            before = self.booked.get(transfer.id) or new.get(transfer.id)
            if before is not None and before != transfer:
                return False
            if before is None:
                new[transfer.id] = transfer
        units = {account.code: account.unit for account in ACCOUNTS}
        fresh = list(new.values())
        if any(
            t.amount <= 0 or t.debit == t.credit or {units.get(t.debit), units.get(t.credit)} != {t.unit} for t in fresh
        ):
            return False
        return self.net("Assets:Limited", fresh) >= 0 and self.net("Liabilities:Owed", fresh) <= 0

    def take(self, batch: list[Transfer]) -> None:
        self.booked.update({transfer.id: transfer for transfer in batch})


class LedgerMachine(RuleBasedStateMachine):
    """Posts, replays, restarts, readers beside it: the store must do what the model does."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "ledger.sqlite"
        self.ledger = open_ledger(self.path)
        self.ledger.open_accounts(ACCOUNTS, T0)
        self.model, self.answers, self.now_ms = Model(), list[tuple[list[Transfer], Posted]](), T0

    @rule(batch=st.lists(TRANSFERS, min_size=1, max_size=5), step=st.integers(-5, 5))
    def post(self, batch: list[Transfer], step: int) -> None:
        self.now_ms += step
        before = self.ledger.head()
        outcome = self.ledger.post(batch, self.now_ms)
        if self.model.accepts(batch):
            assert isinstance(outcome, Posted)
            self.model.take(batch)
            self.answers.append((batch, outcome))
        else:
            assert isinstance(outcome, Rejected)
            assert outcome.faults
            assert self.ledger.head() == before, "nothing of a refused batch is booked"

    @rule(which=st.integers(0, 10**6))
    def replay(self, which: int) -> None:
        if self.answers:
            batch, answer = self.answers[which % len(self.answers)]
            assert self.ledger.post(batch, self.now_ms + 10**9) == answer

    @rule()
    def restart(self) -> None:
        self.ledger.close()
        self.ledger = open_ledger(self.path)

    @rule()
    def read_beside(self) -> None:
        reader = read_ledger(self.path)
        assert reader.head() == self.ledger.head()
        assert reader.balances() == self.ledger.balances()
        reader.close()

    @invariant()
    def balances_are_the_models(self) -> None:
        for code, balance in self.ledger.balances().items():
            assert balance.net == self.model.net(code, [])

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            assert check(self.ledger) == []
            self.ledger.close()
            self.folder.cleanup()


LedgerMachine.TestCase.settings = settings(
    max_examples=count(25, 500), stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLedgerMachine = LedgerMachine.TestCase


def filled(path: Path) -> SqliteLedger:
    ledger = open_ledger(path)
    ledger.open_accounts(ACCOUNTS, T0)
    for key in range(12):
        made = Transfer(
            business_id(T0, "fill", key), "Assets:A", "Income:I", key + 1, Unit.SAT, "fill", T0 + key, note="n"
        )
        evidence = replace(made, evidence="ab" * 32, corrects=business_id(T0, "fill", key - 1) if key else None)
        assert isinstance(ledger.post([evidence], T0 + key), Posted)
    return ledger


COLUMNS = {
    "transfer": ["recorded_ms", "id", "debit", "credit", "amount", "kind", "effective_ms", "evidence", "corrects", "note",
                 "leaf", "chain"],
    "account": ["recorded_ms", "code", "unit", "keeps", "note", "leaf", "chain"],
    "balance": ["debits", "credits"],
}  # fmt: skip


def flipped(value: bytes | int, bit: int) -> bytes | int:
    if isinstance(value, int):
        return value ^ 1 << bit % 40
    place = bit // 8 % len(value)
    return value[:place] + bytes([value[place] ^ 1 << bit % 8]) + value[place + 1 :]


@pytest.mark.parametrize(("table", "column"), [(table, column) for table in COLUMNS for column in COLUMNS[table]])
def test_any_one_bit_of_any_stored_column_is_found_and_located(tmp_path: Path, table: str, column: str):
    """An intruder with the file itself, past all triggers and checks: one bit flipped in one row."""
    filled(tmp_path / "l.sqlite").close()
    key = "account" if table == "balance" else "seq"
    rng = np.random.default_rng(len(table + column))
    db = sqlite3.connect(tmp_path / "l.sqlite", isolation_level=None)
    db.executescript(
        "DROP TRIGGER transfer_stays; DROP TRIGGER account_stays; PRAGMA foreign_keys = OFF;"
        "PRAGMA ignore_check_constraints = ON;"
    )
    kind = db.execute(f"SELECT typeof({column}) FROM {table} WHERE {column} IS NOT NULL").fetchone()[0]
    read = f"CAST({column} AS BLOB)" if kind == "text" else column
    rows = db.execute(
        f"SELECT {key}, {read} FROM {table} WHERE {column} IS NOT NULL AND {column} <> '' ORDER BY {key}"
    ).fetchall()
    for _ in range(count(12, 400)):
        row, value = rows[rng.integers(len(rows))]
        harmed = flipped(value, int(rng.integers(8 * 64)))
        write = "CAST(? AS TEXT)" if kind == "text" else "?"
        db.execute(f"UPDATE OR IGNORE {table} SET {column} = {write} WHERE {key} = ?", [harmed, row])
        reader = read_ledger(tmp_path / "l.sqlite")
        findings = check(reader)
        reader.close()
        changed = db.execute(f"SELECT {read} FROM {table} WHERE {key} = ?", [row]).fetchone()[0] != value
        assert bool(findings) == changed, f"{value!r} to {harmed!r}"
        if changed and table != "balance":
            assert any(finding.seq in (row, row + 1) for finding in findings), f"{row} not located: {findings}"
        db.execute(f"UPDATE {table} SET {column} = {write} WHERE {key} = ?", [value, row])
    db.close()


def test_a_dropped_and_a_reordered_line_are_found(tmp_path: Path):
    swap = [f"UPDATE transfer SET seq = {new} WHERE seq = {old}" for old, new in ((9, -1), (10, 9), (-1, 10))]
    last = "DELETE FROM transfer WHERE seq = (SELECT max(seq) FROM transfer)"
    for number, harm in enumerate(("DELETE FROM transfer WHERE seq = 10", last, "; ".join(swap))):
        path = tmp_path / f"l{number}.sqlite"
        filled(path).close()
        db = sqlite3.connect(path)
        db.executescript(f"DROP TRIGGER transfer_stays; DROP TRIGGER transfer_remains; {harm};")
        db.commit()
        db.close()
        reader = read_ledger(path)
        assert check(reader), harm
        reader.close()


SHARES = st.lists(st.integers(1, 10_000), min_size=1, max_size=40)


@settings(max_examples=count(300, 20_000), deadline=None)
@given(
    received=st.integers(1, 2_100_000_000_000_000),
    first=st.integers(1, 9_999),
    fixed=st.integers(1, 10**12),
    energy_wh=st.integers(0, 10**12),
    shares=SHARES,
)
def test_a_waterfall_gives_out_what_came_in(received: int, first: int, fixed: int, energy_wh: int, shares: list[int]):
    whole = sum(shares)
    steps: list[Step] = [
        Share("city", "received", (("Liabilities:City", Fraction(first, 10_000)),)),
        Fixed("fee", "Liabilities:Fee", fixed, "Assets:Receivable"),
        Rate("power", "Liabilities:Power", Fraction(3, 7), 1000, "energy_wh", Unit.SAT, "Assets:Receivable"),
        Share("rest", "rest", tuple((f"Liabilities:P{n}", Fraction(share, whole)) for n, share in enumerate(shares))),
    ]
    lines = divide(steps, received, {"energy_wh": Fraction(energy_wh)})
    assert sum(line.amount for line in lines) == received
    assert all(line.amount >= 0 and line.missing >= 0 for line in lines)
    due = {"fee": fixed, "power": round(Fraction(3 * energy_wh, 7000) + Fraction(1, 10**9))}
    for line in lines:
        if line.step == "fee":
            assert line.amount + line.missing == fixed
        if line.step == "power":
            assert abs(line.amount + line.missing - due["power"]) <= 1
        if line.step == "city":
            assert abs(line.amount - Fraction(received * first, 10_000)) < 1
    parties = [line.amount for line in lines if line.step == "rest"]
    rest = sum(parties)
    assert all(abs(amount - Fraction(rest * share, whole)) < 1 for amount, share in zip(parties, shares, strict=True))


def test_an_unknown_base_is_never_zero():
    steps: list[Step] = [Rate("power", "Liabilities:Power", Fraction(1), 1, "energy_wh", Unit.SAT, "Assets:Receivable")]
    with pytest.raises(ConfigError, match="energy_wh is unknown"):
        divide(steps, 5, {})


def test_the_balance_of_an_unused_account_is_zero_on_both_sides(tmp_path: Path):
    ledger = filled(tmp_path / "l.sqlite")
    assert ledger.balances()["Assets:T"] == Balance(0, 0)
    ledger.close()
