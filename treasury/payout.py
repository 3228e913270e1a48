# SPDX-License-Identifier: Apache-2.0
"""From a pool's evidence to transfers: what it owes (rewards), what it paid (payouts), and who gets what (the waterfall).

Pure. Every id is derived from the pool's own name of the thing, so that a second run books nothing a second time. What
was received and what was given out meet in the contract's `undivided` account: its balance is the residual, and is 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any, Protocol
from uuid import UUID

import rfc8785

from kernel.clock import from_datetime, iso
from kernel.money import Unit
from treasury.account import Account, Balance, account_part
from treasury.contract import Contract, Edition, Line, Rate, Step, bases_of, divide
from treasury.transfer import Transfer, transfer_id

RECEIVED, SETTLED, REWARD = "payout.received", "payout.settled", "reward.accrued"


@dataclass(frozen=True, slots=True)
class PoolReward:
    """What a pool says was earned on one of its days."""

    pool: str
    account: str
    day: date
    amount_sat: int
    evidence: str


@dataclass(frozen=True, slots=True)
class PoolPayout:
    """A payout that the pool calls confirmed. `key` is its transaction id, or the pool's own name of it."""

    pool: str
    account: str
    key: str
    at_ms: int
    amount_sat: int
    fee_sat: int
    destination: str
    evidence: str

    @property
    def id(self) -> UUID:
        return transfer_id(self.at_ms, self.pool, self.account, self.key, RECEIVED)


@dataclass(frozen=True, slots=True)
class Told:
    """What a pool told: rewards and payouts, oldest first, and the raw bytes that say so."""

    rewards: tuple[PoolReward, ...]
    payouts: tuple[PoolPayout, ...]
    raw: tuple[bytes, ...]


class PoolFeed(Protocol):
    """A pool account, read only. Raises TransportError (nobody there) or DecodeError (not the documented shape)."""

    async def read(self, first: date, last: date) -> Told:
        """Rewards and confirmed payouts of those days (UTC)."""


def document(body: Mapping[str, Any]) -> bytes:
    """A voucher as canonical JSON (RFC 8785): what a transfer's evidence names by its SHA-256."""
    return rfc8785.dumps(dict(body))


def pool_accounts(pool: str) -> tuple[str, str]:
    """(what the pool owes us, what of it was not paid yet), both of one pool and mirror images until the next payout."""
    part = account_part(pool)
    return f"Assets:Pool:{part}", f"Liabilities:Unpaid:{part}"


def accounts(contract: Contract) -> list[Account]:
    """All accounts in satoshi that payouts under a contract post to."""
    return [*(Account(code, Unit.SAT) for code in pool_accounts(contract.pool)), *contract.accounts()]


def accrual(reward: PoolReward) -> Transfer:
    """What was earned on a day, owed by the pool from the day's end. A day of zero has no transfer: ask before."""
    owed, unpaid = pool_accounts(reward.pool)
    end = datetime(reward.day.year, reward.day.month, reward.day.day, tzinfo=UTC)
    effective_ms = from_datetime(end) + 86_400_000
    made = transfer_id(effective_ms, reward.pool, reward.account, str(reward.day), REWARD)
    note = f"{reward.account} {reward.day}"
    return Transfer(made, owed, unpaid, reward.amount_sat, Unit.SAT, REWARD, effective_ms, reward.evidence, note=note)


def receipt(contract: Contract, payout: PoolPayout) -> list[Transfer]:
    """A payout arrives: into the wallet, undivided; and the pool owes that much less, its fee included."""
    owed, unpaid = pool_accounts(payout.pool)
    settled = transfer_id(payout.at_ms, payout.pool, payout.account, payout.key, SETTLED)
    note = f"{payout.account} {payout.key}"
    proof, at_ms = payout.evidence, payout.at_ms
    return [
        Transfer(
            payout.id, contract.wallet, contract.undivided, payout.amount_sat, Unit.SAT, RECEIVED, at_ms, proof, note=note
        ),
        Transfer(
            settled, unpaid, owed, payout.amount_sat + payout.fee_sat, Unit.SAT, SETTLED, at_ms, proof, note=note
        ),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Division:
    """One payout divided: the voucher that explains it, and the lines."""

    payout: PoolPayout
    voucher: bytes
    lines: tuple[Line, ...]

    def transfers(self, contract: Contract, evidence: str) -> list[Transfer]:
        """A transfer for each line; a shortfall stays owed to the step's account and becomes a receivable."""
        made = []
        for line in self.lines:
            pairs = [("waterfall", contract.undivided, line.amount), ("shortfall", line.shortfall, line.missing)]
            for kind, debit, amount in pairs:
                if amount and debit is not None:
                    made.append(self._transfer(f"{kind}.{line.step}", debit, line.account, amount, evidence))
        return made

    def _transfer(self, kind: str, debit: str, credit: str, amount: int, evidence: str) -> Transfer:
        paid = self.payout
        made = transfer_id(paid.at_ms, paid.pool, paid.account, paid.key, kind, credit)
        return Transfer(made, debit, credit, amount, Unit.SAT, kind, paid.at_ms, evidence, note=paid.key)


def division(
    contract: Contract, edition: Edition, payout: PoolPayout, bases: Mapping[str, Fraction], facts: Mapping[str, Any]
) -> Division:
    """Divide a payout by an edition. `bases` are the numbers that rates ask for; `facts` say where those came from.

    Raises ConfigError where a base is unknown: the money then waits, undivided, and nothing is guessed.
    """
    lines = divide(edition.steps, payout.amount_sat, bases)
    body = {
        "kind": "mining-hub.division.1",
        "payout": {
            "pool": payout.pool, "account": payout.account, "key": payout.key, "at": iso(payout.at_ms),
            "amount_sat": payout.amount_sat, "fee_sat": payout.fee_sat, "evidence": payout.evidence,
        },
        "contract": {"id": contract.id, "sha256": contract.sha256, "edition": edition.number, "source": edition.source},
        "bases": {name: str(value) for name, value in sorted(bases.items())},
        "facts": dict(facts),
        "lines": [
            {"step": line.step, "account": line.account, "amount_sat": line.amount, "missing_sat": line.missing} for line in lines
        ],
    }  # fmt: skip
    return Division(payout, document(body), tuple(lines))


@dataclass(frozen=True, slots=True)
class Totals:
    """All payouts of the ledger: received = posted + residual."""

    received_sat: int
    posted_sat: int
    city_sat: int

    @property
    def residual_sat(self) -> int:
        return self.received_sat - self.posted_sat


def totals(contract: Contract, balances: Mapping[str, Balance]) -> Totals:
    """What came in, what was given on, and what of it is the city's, out of the ledger's balances."""
    undivided = balances.get(contract.undivided, Balance())
    return Totals(undivided.credits, undivided.debits, balances.get(contract.city, Balance()).credits)


def bases_needed(steps: Sequence[Step]) -> set[str]:
    """The bases that the steps of an edition ask for."""
    return {base for step in steps if isinstance(step, Rate) for base in bases_of(step)}
