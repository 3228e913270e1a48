# SPDX-License-Identifier: Apache-2.0
"""The ledger tells its rules by its answers: what it books, what it answers again, what it refuses."""

import threading
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from kernel.errors import ConfigError
from kernel.ids import business_id, sha256_hex
from kernel.money import INT64_MAX, Unit
from treasury.account import Account, Balance, Keeps
from treasury.checks import check
from treasury.io.ledger_sqlite import SqliteLedger, open_ledger, read_ledger
from treasury.ledger import Posted, Rejected
from treasury.transfer import Transfer, transfer_id

T0 = 1_780_000_000_000
PROOF = sha256_hex(b"trade")
ACCOUNTS = [
    Account("Assets:Wallet", Unit.SAT, Keeps.DEBIT),
    Account("Assets:Venue", Unit.SAT),
    Account("Assets:Bank", Unit.TIYN),
    Account("Liabilities:City", Unit.SAT, Keeps.CREDIT),
    Account("Income:Mining", Unit.SAT),
    Account("Equity:Clearing:FX:SAT", Unit.SAT),
    Account("Equity:Clearing:FX:TIYN", Unit.TIYN),
]


@pytest.fixture
def ledger(tmp_path: Path):
    opened = open_ledger(tmp_path / "ledger.sqlite")
    assert isinstance(opened.open_accounts(ACCOUNTS, T0), Posted)
    yield opened
    opened.close()


def move(amount: int, debit: str = "Assets:Wallet", credit: str = "Income:Mining", **more: object) -> Transfer:
    body = {"unit": Unit.SAT, "kind": "test", "effective_ms": T0, **more}
    return Transfer(transfer_id(T0, debit, credit, amount, str(more)), debit, credit, amount, **body)  # type: ignore[arg-type]


def test_a_batch_is_booked_and_found(ledger: SqliteLedger):
    done = ledger.post([move(100), move(7, "Assets:Venue", "Assets:Wallet")], T0 + 5)
    assert isinstance(done, Posted)
    assert [entry.seq for entry in done.entries] == [8, 9]
    assert ledger.balances()["Assets:Wallet"] == Balance(100, 7)
    assert ledger.find([move(100).id])[move(100).id] == done.entries[0]
    assert check(ledger) == []


def test_the_same_again_is_the_same_answer_after_years_and_a_restart(tmp_path: Path):
    first = open_ledger(tmp_path / "l.sqlite")
    first.open_accounts(ACCOUNTS, T0)
    answer = first.post([move(100), move(50)], T0)
    first.close()
    later = open_ledger(tmp_path / "l.sqlite")
    size = later.head().size
    assert later.post([move(100), move(50)], T0 + 10**11) == answer
    assert later.post([move(50)], T0 + 10**11) == Posted((answer.entries[1],))
    assert later.open_accounts(ACCOUNTS, T0 + 1) == later.open_accounts(ACCOUNTS, T0 + 2)
    assert later.head().size == size
    later.close()


def test_the_same_id_with_another_body_is_refused_and_nothing_else_is_booked(ledger: SqliteLedger):
    ledger.post([move(100)], T0)
    head = ledger.head()
    other = replace(move(100), amount=101)
    refused = ledger.post([move(5), other], T0)
    assert isinstance(refused, Rejected)
    assert str(other.id) in refused.faults[0].place
    assert "another body" in refused.faults[0].problem
    assert ledger.head() == head


def test_all_faults_of_a_batch_come_at_once_and_nothing_is_half_booked(ledger: SqliteLedger):
    bad = [
        move(0),
        move(-5),
        move(INT64_MAX + 1),
        move(1, "Assets:Nowhere"),
        move(1, "Assets:Bank"),
        move(1, "Assets:Wallet", "Assets:Wallet"),
        move(1, kind=""),
        move(1, evidence="abc"),
    ]
    refused = ledger.post([move(9), *bad], T0)
    assert isinstance(refused, Rejected)
    assert {fault.place for fault in refused.faults} == {f"transfer {each.id}" for each in bad}
    assert all(fault.remedy for fault in refused.faults)
    assert ledger.balances()["Assets:Wallet"] == Balance()


def test_a_limited_account_is_not_overdrawn_and_the_refusal_leaves_no_trace(ledger: SqliteLedger):
    spend = move(60, "Assets:Venue", "Assets:Wallet")
    assert isinstance(ledger.post([spend], T0), Rejected)
    assert isinstance(ledger.post([spend, move(60)], T0), Posted), "limits hold for the batch as a whole"
    assert isinstance(ledger.post([move(1, "Liabilities:City", "Assets:Venue")], T0), Rejected)


def test_turnover_does_not_pass_int64(ledger: SqliteLedger):
    assert isinstance(ledger.post([move(INT64_MAX, "Assets:Venue")], T0), Posted)
    refused = ledger.post([move(1, "Assets:Venue", effective_ms=T0 + 1)], T0)
    assert isinstance(refused, Rejected)
    assert "2^63" in refused.faults[0].problem


def exchange(sat: int, tiyn: int, link: UUID | None, evidence: str | None = PROOF) -> list[Transfer]:
    return [
        move(sat, "Equity:Clearing:FX:SAT", "Assets:Venue", link=link, evidence=evidence),
        move(tiyn, "Assets:Bank", "Equity:Clearing:FX:TIYN", unit=Unit.TIYN, link=link, evidence=evidence),
    ]


def test_an_exchange_is_a_linked_pair_with_evidence_or_nothing(ledger: SqliteLedger):
    link = business_id(T0, "exchange")
    whole = exchange(10, 5_000, link)
    for broken in (whole[:1], whole[1:], exchange(10, 5_000, None), exchange(10, 5_000, link, None)):
        assert isinstance(ledger.post(broken, T0), Rejected)
    into_both = [whole[0], move(5, "Equity:Clearing:FX:TIYN", "Assets:Bank", unit=Unit.TIYN, link=link, evidence=PROOF)]
    assert isinstance(ledger.post(into_both, T0), Rejected)
    assert isinstance(ledger.post(whole, T0), Posted)
    assert check(ledger) == []


def test_no_transfer_goes_across_units(ledger: SqliteLedger):
    refused = ledger.post([move(5, "Assets:Bank", "Assets:Venue")], T0)
    assert isinstance(refused, Rejected)
    assert "linked pair" in refused.faults[0].remedy


def test_an_account_is_not_opened_anew_with_another_body(ledger: SqliteLedger):
    refused = ledger.open_accounts([Account("Assets:Bank", Unit.SAT), Account("assets:x", Unit.SAT)], T0)
    assert isinstance(refused, Rejected)
    assert len(refused.faults) == 2


def test_turnover_of_a_period_counts_effective_time(ledger: SqliteLedger):
    ledger.post([move(5, effective_ms=T0), move(7, effective_ms=T0 + 1000)], T0 + 9)
    assert ledger.turnover(None, T0 + 1000)["Assets:Wallet"] == Balance(5, 0)
    assert ledger.turnover(T0 + 1000, None)["Assets:Wallet"] == Balance(7, 0)
    assert ledger.last("test", T0 + 1000).body.amount == 5  # type: ignore[union-attr]


def test_one_writer_and_any_reader(ledger: SqliteLedger, tmp_path: Path):
    with pytest.raises(ConfigError, match="another process writes"):
        open_ledger(tmp_path / "ledger.sqlite")
    ledger.post([move(3)], T0)
    reader = read_ledger(tmp_path / "ledger.sqlite")
    assert reader.balances()["Assets:Wallet"] == Balance(3, 0)
    assert reader.head() == ledger.head()
    with pytest.raises(ConfigError, match="reading only"):
        reader.post([move(4)], T0)
    reader.close()
    with pytest.raises(ConfigError, match="no ledger"):
        read_ledger(tmp_path / "none.sqlite")


def test_many_threads_commit_together_and_each_gets_its_own_answer(ledger: SqliteLedger):
    outcomes: dict[int, object] = {}

    def post(number: int) -> None:
        outcomes[number] = ledger.post([move(number + 1), move(1, "Assets:Nowhere")][: 1 + number % 2], T0)

    threads = [threading.Thread(target=post, args=(n,)) for n in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert all(isinstance(outcomes[n], Rejected if n % 2 else Posted) for n in range(60))
    assert ledger.balances()["Assets:Wallet"].debits == sum(n + 1 for n in range(0, 60, 2))
    assert check(ledger) == []


def test_the_store_itself_refuses_to_change_a_booked_line(ledger: SqliteLedger):
    ledger.post([move(3)], T0)
    for statement in (
        "UPDATE transfer SET amount = 4",
        "DELETE FROM transfer",
        "UPDATE account SET note = 'x'",
        "DELETE FROM account",
    ):
        with pytest.raises(Exception, match="never"):
            ledger._db.execute(statement)
