# SPDX-License-Identifier: Apache-2.0
"""State of the ledger between commits, and validation of batches; independent of the store.

A batch is validated as a whole: all its faults are found, and limits apply to the balances after it. The caller commits the
entries returned; if the commit fails it discards these books and reads them again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from kernel.errors import Fault
from kernel.money import INT64_MAX, Unit
from treasury.account import CLEARING, Account, Balance, Keeps, code_problem
from treasury.ledger import BATCH_MOST, Outcome, Posted, Rejected
from treasury.transfer import GENESIS, Entry, Transfer, entry_after, problems


@dataclass(slots=True)
class Books:
    """Accounts, both sides of each balance, and the end of the hash chain."""

    accounts: dict[str, Account] = field(default_factory=dict)
    opened: dict[str, Entry] = field(default_factory=dict)
    debits: dict[str, int] = field(default_factory=dict)
    credits: dict[str, int] = field(default_factory=dict)
    size: int = 0
    chain: bytes = GENESIS
    last_recorded_ms: int = 0

    def restore(self, entry: Entry) -> None:
        """Add an entry of the log without validation (`treasury.checks` validates logs)."""
        if isinstance(entry.body, Account):
            self._note_account(entry, entry.body)
        else:
            self.debits[entry.body.debit] += entry.body.amount
            self.credits[entry.body.credit] += entry.body.amount
        self.size, self.chain, self.last_recorded_ms = entry.seq, entry.chain, entry.recorded_ms

    def balances(self) -> dict[str, Balance]:
        return {code: Balance(self.debits[code], self.credits[code]) for code in self.accounts}

    def open(self, accounts: Sequence[Account], now_ms: int) -> tuple[Outcome, list[Entry]]:
        """Validate and add accounts; the caller commits the new entries."""
        faults, wanted = [], dict[str, Account]()
        for account in accounts:
            before = self.accounts.get(account.code) or wanted.get(account.code)
            if problem := code_problem(account.code):
                faults.append(Fault(f"account {account.code}", f"its name {problem}", "Rename it"))
            elif before is not None and before != account:
                was = f"{before.unit}, keeps {before.keeps}, note {before.note!r}"
                faults.append(Fault(f"account {account.code}", f"it is open as {was}", "Use that, or another name"))
            elif account.note and not account.note.isprintable():
                faults.append(Fault(f"account {account.code}", "its note is not printable", "Write it on one line"))
            elif before is None:
                wanted[account.code] = account
        if faults:
            return Rejected(tuple(faults)), []
        fresh = [self._add(account, now_ms) for account in wanted.values()]
        for entry, account in zip(fresh, wanted.values(), strict=True):
            self._note_account(entry, account)
        return Posted(tuple(self.opened[account.code] for account in accounts)), fresh

    def post(
        self, transfers: Sequence[Transfer], now_ms: int, known: Mapping[UUID, Entry]
    ) -> tuple[Outcome, list[Entry]]:
        """Validate and add a batch; `known` has the entries of ids that are already booked."""
        faults: list[Fault] = []
        if len(transfers) > BATCH_MOST:
            faults.append(Fault("batch", f"{len(transfers)} transfers", f"Post at most {BATCH_MOST} at a time"))
        fresh: dict[UUID, Transfer] = {}
        for transfer in transfers:
            booked = known.get(transfer.id)
            before = booked.body if booked is not None else fresh.get(transfer.id)
            if before is None:
                fresh[transfer.id] = transfer
            elif before != transfer:
                faults.append(
                    Fault(
                        f"transfer {transfer.id}",
                        "this id is booked with another body",
                        "Use a new id for a new transfer",
                    )
                )
        new = list(fresh.values())
        faults += [fault for transfer in new for fault in self._own_faults(transfer)]
        if not faults:
            faults += exchange_faults(new)
        debits, credits = self._after(new) if not faults else ({}, {})
        if not faults:
            faults += self._limit_faults(debits, credits)
        if faults:
            return Rejected(tuple(faults)), []
        self.debits.update(debits)
        self.credits.update(credits)
        entries = {transfer.id: self._add(transfer, now_ms) for transfer in new}
        answer = tuple(known.get(transfer.id) or entries[transfer.id] for transfer in transfers)
        return Posted(answer), list(entries.values())

    def _own_faults(self, transfer: Transfer) -> list[Fault]:
        place = f"transfer {transfer.id}"
        found = [Fault(place, problem, "Correct it and post again") for problem in problems(transfer)]
        for side, code in (("debit", transfer.debit), ("credit", transfer.credit)):
            account = self.accounts.get(code)
            if account is None:
                found.append(Fault(place, f"{side} account {code} is not open", "Open it first"))
            elif account.unit is not transfer.unit:
                text = f"{side} account {code} counts {account.unit}, not {transfer.unit}"
                found.append(Fault(place, text, "Book an exchange as a linked pair through clearing"))
        return found

    def _after(self, transfers: Iterable[Transfer]) -> tuple[dict[str, int], dict[str, int]]:
        debits, credits = dict[str, int](), dict[str, int]()
        for transfer in transfers:
            for side, now, code in ((debits, self.debits, transfer.debit), (credits, self.credits, transfer.credit)):
                side[code] = side.get(code, now[code]) + transfer.amount
        return debits, credits

    def _limit_faults(self, debits: Mapping[str, int], credits: Mapping[str, int]) -> list[Fault]:
        found = []
        for code in sorted({*debits, *credits}):
            debit, credit = debits.get(code, self.debits[code]), credits.get(code, self.credits[code])
            if max(debit, credit) > INT64_MAX:
                found.append(Fault(f"account {code}", "its turnover would pass 2^63 - 1", "Use a fresh account"))
            keeps, net, unit = self.accounts[code].keeps, debit - credit, self.accounts[code].unit
            if (keeps is Keeps.DEBIT and net < 0) or (keeps is Keeps.CREDIT and net > 0):
                text = f"it keeps to its {keeps} side, and this would leave it {abs(net)} {unit} beyond"
                found.append(Fault(f"account {code}", text, "Post what covers it first, or a smaller amount"))
        return found

    def _add(self, body: Transfer | Account, now_ms: int) -> Entry:
        # The recorded time never decreases, even if the clock is set back: the order of the log is the order in time.
        entry = entry_after(self.chain, self.size + 1, max(now_ms, self.last_recorded_ms), body)
        self.size, self.chain, self.last_recorded_ms = entry.seq, entry.chain, entry.recorded_ms
        return entry

    def _note_account(self, entry: Entry, account: Account) -> None:
        self.accounts[account.code] = account
        self.opened[account.code] = entry
        self.debits[account.code] = self.credits[account.code] = 0


def exchange_faults(transfers: Iterable[Transfer]) -> list[Fault]:
    """Faults of exchanges: each use of a clearing account must be one side of a complete exchange.

    A complete exchange has two units, one in and one out, and cites evidence.
    """
    found: list[Fault] = []
    groups: dict[UUID, list[Transfer]] = {}
    for transfer in transfers:
        if transfer.debit.startswith(CLEARING) or transfer.credit.startswith(CLEARING):
            if transfer.link is None:
                text = "it touches a clearing account and is not linked to its other side"
                found.append(Fault(f"transfer {transfer.id}", text, "Post both sides in one batch with one link"))
            else:
                groups.setdefault(transfer.link, []).append(transfer)
    for link, group in groups.items():
        into: dict[Unit, int] = {}
        for transfer in group:
            sign = 1 if transfer.debit.startswith(CLEARING) else -1
            into[transfer.unit] = into.get(transfer.unit, 0) + sign * transfer.amount
        signs = sorted((amount > 0) - (amount < 0) for amount in into.values())
        if signs != [-1, 1]:
            text = f"an exchange must take one unit in and give another out; this moves {dict(into)} into clearing"
            found.append(Fault(f"link {link}", text, "Post one transfer for each of the two units"))
        if any(transfer.evidence is None for transfer in group):
            found.append(
                Fault(f"link {link}", "an exchange without evidence", "Cite the trade or the rate it was made at")
            )
    return found
