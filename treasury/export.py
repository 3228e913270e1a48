# SPDX-License-Identifier: Apache-2.0
"""Export of the ledger as a text journal for hledger, ledger-cli or Beancount, in smallest units.

Whole units because some of these programs lose a satoshi with decimals of mixed precision. Each transfer is one transaction
in its own unit, so that each program verifies the balance.
"""

from collections.abc import Iterator, Mapping

from kernel.clock import to_datetime
from treasury.account import Account
from treasury.ledger import Ledger
from treasury.transfer import Entry, Transfer

FACTS = ("seq", "id", "evidence", "note")
FORMS = ("hledger", "ledger", "beancount")


def export(ledger: Ledger, form: str, until: int | None = None) -> Iterator[str]:
    """Lines of a journal. ValueError on an unknown form."""
    if form not in FORMS:
        raise ValueError(f"no form {form!r}; known: {', '.join(FORMS)}")
    head = ledger.head()
    last = head.size if until is None else until
    yield f"; mining-hub ledger, {last} of {head.size} entries, chain {head.chain.hex()}"
    declare = {"hledger": _hledger_unit, "ledger": _ledger_unit, "beancount": _beancount_unit}[form]
    for unit in sorted({account.unit.value for account in ledger.accounts().values()}):
        yield from declare(unit)
    if form == "ledger":
        yield from (f"tag {name}" for name in FACTS)
    opened = _beancount_open if form == "beancount" else _plain_open
    moved = _beancount_transfer if form == "beancount" else _plain_transfer
    for entry in ledger.entries(until=last):
        yield ""
        yield from opened(entry.body) if isinstance(entry.body, Account) else moved(entry, entry.body)


def _hledger_unit(unit: str) -> Iterator[str]:
    yield f"commodity 1000. {unit}"


def _ledger_unit(unit: str) -> Iterator[str]:
    yield f"commodity {unit}"


def _beancount_unit(unit: str) -> Iterator[str]:
    yield f"1970-01-01 commodity {unit}"


def _plain_open(account: Account) -> Iterator[str]:
    yield f"account {account.code}"


def _beancount_open(account: Account) -> Iterator[str]:
    yield f"1970-01-01 open {account.code} {account.unit}"


def _facts(entry: Entry, transfer: Transfer) -> Mapping[str, str]:
    values = (str(entry.seq), str(transfer.id), transfer.evidence or "", transfer.note)
    return {name: value for name, value in zip(FACTS, values, strict=True) if value}


def _plain_transfer(entry: Entry, transfer: Transfer) -> Iterator[str]:
    yield f"{_day(transfer)} * {_plain(transfer.kind)}"
    for name, value in _facts(entry, transfer).items():
        yield f"    ; {name}: {_plain(value)}"
    yield f"    {transfer.debit}  {transfer.amount} {transfer.unit}"
    yield f"    {transfer.credit}  {-transfer.amount} {transfer.unit}"


def _beancount_transfer(entry: Entry, transfer: Transfer) -> Iterator[str]:
    yield f'{_day(transfer)} * "{_quoted(transfer.kind)}"'
    for name, value in _facts(entry, transfer).items():
        yield f'  {name}: "{_quoted(value)}"'
    yield f"  {transfer.debit}  {transfer.amount} {transfer.unit}"
    yield f"  {transfer.credit}  {-transfer.amount} {transfer.unit}"


def _day(transfer: Transfer) -> str:
    return to_datetime(transfer.effective_ms).strftime("%Y-%m-%d")


def _plain(text: str) -> str:
    return "".join(" " if letter in ";|\t" else letter for letter in text)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
