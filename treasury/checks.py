# SPDX-License-Identifier: Apache-2.0
"""Integrity checks of the ledger, one function each; all of them run and report all findings.

A check reads the log and the balances and head given by the store, and relies on neither. An intact ledger gives an empty
list.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from kernel.errors import DecodeError
from kernel.money import INT64_MAX, Unit
from treasury.account import Account, Balance, Keeps, code_problem
from treasury.books import exchange_faults
from treasury.ledger import Head, Ledger
from treasury.transfer import GENESIS, Entry, Transfer, entry_after, problems


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation: the check, the position in the log (0: the whole log), and a text."""

    check: str
    seq: int
    text: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """The whole log, with the balances and the head given by the store."""

    entries: Sequence[Entry]
    balances: Mapping[str, Balance]
    head: Head
    accounts: Mapping[str, Account] = field(init=False)

    def __post_init__(self) -> None:
        found = {entry.body.code: entry.body for entry in self.entries if isinstance(entry.body, Account)}
        object.__setattr__(self, "accounts", found)

    def transfers(self) -> list[tuple[Entry, Transfer]]:
        return [(entry, entry.body) for entry in self.entries if isinstance(entry.body, Transfer)]


def positions_have_no_gap(evidence: Evidence) -> list[Finding]:
    """Entries are numbered 1, 2, 3... and their recorded time never decreases."""
    found, before_ms = [], 0
    for place, entry in enumerate(evidence.entries, start=1):
        if entry.seq != place:
            found.append(Finding("positions", entry.seq, f"is at place {place}: an entry is missing or out of order"))
            break
        if entry.recorded_ms < before_ms:
            found.append(Finding("positions", entry.seq, "recorded earlier than the entry before it"))
        before_ms = entry.recorded_ms
    return found


def chain_is_whole(evidence: Evidence) -> list[Finding]:
    """Each entry hashes to its leaf and, with the one before, to its chain value; the last one is the head."""
    found, chain = [], GENESIS
    for entry in evidence.entries:
        again = entry_after(chain, entry.seq, entry.recorded_ms, entry.body)
        if again.leaf != entry.leaf:
            found.append(Finding("chain", entry.seq, "the entry does not hash to its leaf: it was edited"))
        elif again.chain != entry.chain:
            found.append(
                Finding("chain", entry.seq, "the chain breaks here: the entry before it was changed or dropped")
            )
        chain = entry.chain
    if (len(evidence.entries), chain) != (evidence.head.size, evidence.head.chain):
        text = f"the log ends at {len(evidence.entries)}, the head gives {evidence.head.size}"
        found.append(Finding("chain", len(evidence.entries) + 1, text))
    return found


def each_unit_sums_to_zero(evidence: Evidence) -> list[Finding]:
    """Over all accounts of a unit, debits equal credits."""
    sums: dict[Unit, int] = {}
    for code, balance in evidence.balances.items():
        if code in evidence.accounts:
            unit = evidence.accounts[code].unit
            sums[unit] = sums.get(unit, 0) + balance.net
    return [Finding("sums", 0, f"{unit} is off by {net}") for unit, net in sorted(sums.items()) if net]


def balances_are_the_fold(evidence: Evidence) -> list[Finding]:
    """The balances given by the store are the sums of its log."""
    debits, credits = dict[str, int](), dict[str, int]()
    for _, transfer in evidence.transfers():
        debits[transfer.debit] = debits.get(transfer.debit, 0) + transfer.amount
        credits[transfer.credit] = credits.get(transfer.credit, 0) + transfer.amount
    found = []
    for code in sorted({*debits, *credits, *evidence.balances}):
        folded = Balance(debits.get(code, 0), credits.get(code, 0))
        stored = evidence.balances.get(code, Balance())
        if folded != stored:
            text = f"{code}: the log gives {folded.debits} / {folded.credits}, the store gives {stored.debits} / {stored.credits}"
            found.append(Finding("balances", 0, text))
    return found


def limits_hold(evidence: Evidence) -> list[Finding]:
    """No account is beyond its permitted side, and no turnover exceeds 2^63 - 1."""
    found = []
    for code, balance in evidence.balances.items():
        keeps = evidence.accounts[code].keeps if code in evidence.accounts else Keeps.ANY
        if (keeps is Keeps.DEBIT and balance.net < 0) or (keeps is Keeps.CREDIT and balance.net > 0):
            found.append(Finding("limits", 0, f"{code} keeps to its {keeps} side and has a balance of {balance.net}"))
        if max(balance.debits, balance.credits) > INT64_MAX:
            found.append(Finding("limits", 0, f"{code} turned over more than 2^63 - 1"))
    return found


def ids_are_unique(evidence: Evidence) -> list[Finding]:
    """No id is booked twice."""
    found, seen = [], dict[UUID, int]()
    for entry, transfer in evidence.transfers():
        first = seen.setdefault(transfer.id, entry.seq)
        if first != entry.seq:
            found.append(Finding("ids", entry.seq, f"{transfer.id} is booked at {first} already"))
    return found


def transfers_are_well_made(evidence: Evidence) -> list[Finding]:
    """Each transfer is valid by itself, between open accounts of its own unit; each account has a valid name."""
    found, accounts = [], dict[str, Account]()
    for entry in evidence.entries:
        if isinstance(entry.body, Account):
            accounts[entry.body.code] = entry.body
            if problem := code_problem(entry.body.code):
                found.append(Finding("transfers", entry.seq, f"account {entry.body.code} {problem}"))
            continue
        found += [Finding("transfers", entry.seq, problem) for problem in problems(entry.body)]
        for code in (entry.body.debit, entry.body.credit):
            if code not in accounts:
                found.append(Finding("transfers", entry.seq, f"account {code} was not open"))
            elif accounts[code].unit is not entry.body.unit:
                found.append(
                    Finding("transfers", entry.seq, f"{code} counts {accounts[code].unit}, not {entry.body.unit}")
                )
    return found


def exchanges_are_whole(evidence: Evidence) -> list[Finding]:
    """Each exchange has both of its sides and cites its evidence."""
    faults = exchange_faults(transfer for _, transfer in evidence.transfers())
    return [Finding("exchanges", 0, f"{fault.place}: {fault.problem}") for fault in faults]


def corrections_name_what_they_correct(evidence: Evidence) -> list[Finding]:
    """A correcting transfer stands after the one that it corrects."""
    found, seen = [], set[UUID]()
    for entry, transfer in evidence.transfers():
        if transfer.corrects is not None and transfer.corrects not in seen:
            found.append(Finding("corrections", entry.seq, f"{transfer.corrects} is not booked before it"))
        seen.add(transfer.id)
    return found


CHECKS: tuple[Callable[[Evidence], list[Finding]], ...] = (
    positions_have_no_gap,
    chain_is_whole,
    each_unit_sums_to_zero,
    balances_are_the_fold,
    limits_hold,
    ids_are_unique,
    transfers_are_well_made,
    exchanges_are_whole,
    corrections_name_what_they_correct,
)


TRIES = 20
"""Attempts to read balances and head while a writer posts; after that the balances are summed from the log."""


def check(ledger: Ledger) -> list[Finding]:
    """All findings of all checks on a ledger; empty where it is intact."""
    head, balances = ledger.head(), ledger.balances()
    for _ in range(TRIES):
        if ledger.head() == head:
            break
        head, balances = ledger.head(), ledger.balances()
    else:
        balances = ledger.turnover(None, None, head.size)
    entries, unreadable = list[Entry](), list[Finding]()
    try:
        for entry in ledger.entries(until=head.size):
            entries.append(entry)
    except DecodeError as error:
        unreadable.append(Finding("readable", len(entries) + 1, str(error)))
    return unreadable + judge(Evidence(entries, balances, head))


def judge(evidence: Evidence) -> list[Finding]:
    """All findings of all checks on the evidence read."""
    return [finding for each in CHECKS for finding in each(evidence)]
