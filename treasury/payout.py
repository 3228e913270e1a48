# SPDX-License-Identifier: Apache-2.0
"""Pool evidence to transfers: rewards owed by the pool, payouts received, division by the waterfall.

Every id is derived from the pool's own key, so that a second run books nothing twice. Receipts and divisions post to the
contract's `undivided` account: its balance is the residual, and is 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any, Protocol
from uuid import UUID

import rfc8785

from kernel.clock import from_datetime, iso
from kernel.money import Unit, split
from kernel.span import Span
from kernel.units import MS_PER_DAY
from treasury.account import Account, Balance, Keeps, account_part
from treasury.contract import Contract, Edition, Line, Rate, Step, bases_of, divide, payees
from treasury.transfer import Transfer, transfer_id

RECEIVED, SETTLED, REWARD = "payout.received", "payout.settled", "reward.accrued"


@dataclass(frozen=True, slots=True)
class PoolReward:
    """Earnings reported by a pool for one of its days."""

    pool: str
    account: str
    day: date
    amount_sat: int
    evidence: str


@dataclass(frozen=True, slots=True)
class PoolPayout:
    """A payout that the pool reports as confirmed. `key`: its transaction id, or the pool's own key."""

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
class PoolRecords:
    """Rewards and payouts reported by a pool, oldest first, and the raw bytes as evidence."""

    rewards: tuple[PoolReward, ...]
    payouts: tuple[PoolPayout, ...]
    raw: tuple[bytes, ...]


class PoolFeed(Protocol):
    """A pool account, read-only. Raises TransportError (no connection) or DecodeError (not the documented format)."""

    async def read(self, first: date, last: date) -> PoolRecords:
        """Rewards and confirmed payouts of those days (UTC)."""


def document(body: Mapping[str, Any]) -> bytes:
    """A voucher as canonical JSON (RFC 8785); a transfer's evidence is its SHA-256."""
    return rfc8785.dumps(dict(body))


def pool_accounts(pool: str) -> tuple[str, str]:
    """(claim on the pool, unpaid earnings) of one pool; they mirror each other until the next payout."""
    part = account_part(pool)
    return f"Assets:Pool:{part}", f"Liabilities:Unpaid:{part}"


def accounts(contract: Contract) -> list[Account]:
    """All accounts to which payouts under a contract post."""
    pool = (Account(code, Unit.SAT) for code in pool_accounts(contract.pool))
    return [*pool, *contract.accounts(), *ENERGY_ACCOUNTS]


def accrual(reward: PoolReward) -> Transfer:
    """Transfer of one day's earnings, owed by the pool from the end of the day. Days without earnings need no transfer."""
    owed, unpaid = pool_accounts(reward.pool)
    end = datetime(reward.day.year, reward.day.month, reward.day.day, tzinfo=UTC)
    effective_ms = from_datetime(end) + MS_PER_DAY
    made = transfer_id(effective_ms, reward.pool, reward.account, str(reward.day), REWARD)
    note = f"{reward.account} {reward.day}"
    return Transfer(made, owed, unpaid, reward.amount_sat, Unit.SAT, REWARD, effective_ms, reward.evidence, note=note)


def receipt(contract: Contract, payout: PoolPayout) -> list[Transfer]:
    """Transfers of a payout: into the wallet, undivided; and the pool's debt reduced by amount and fee."""
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


GRID, METERED = "Equity:Grid", "Expenses:Energy:Mining"
ENERGY_ACCOUNTS = (Account(GRID, Unit.WH, Keeps.CREDIT), Account(METERED, Unit.WH, Keeps.DEBIT))


@dataclass(frozen=True, slots=True)
class Portion:
    """Part of a payout that one edition divides: span of mining, figures used, and their origin."""

    edition: Edition
    span: Span
    bases: Mapping[str, Fraction]
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Division:
    """Division of one payout: the voucher that explains it, and the lines of each edition, in order."""

    payout: PoolPayout
    voucher: bytes
    portions: tuple[tuple[Portion, tuple[Line, ...]], ...]

    def transfers(self, contract: Contract, evidence: str) -> list[Transfer]:
        """One transfer per line; a shortfall remains owed to the step's account and becomes a receivable."""
        made = []
        for portion, lines in self.portions:
            number = portion.edition.number
            for line in lines:
                sides = [("waterfall", contract.undivided, line.amount), ("shortfall", line.shortfall, line.missing)]
                for kind, debit, amount in sides:
                    if amount and debit is not None:
                        made.append(
                            self._transfer(f"{kind}.{line.step}", number, debit, line.account, amount, evidence)
                        )
            if energy_wh := int(portion.bases.get("energy_wh", 0)):
                made.append(self._transfer("energy.metered", number, METERED, GRID, energy_wh, evidence, Unit.WH))
        return made

    def _transfer(
        self, kind: str, number: int, debit: str, credit: str, amount: int, evidence: str, unit: Unit = Unit.SAT
    ) -> Transfer:
        made = division_id(self.payout, kind, number, credit)
        return Transfer(made, debit, credit, amount, unit, kind, self.payout.at_ms, evidence, note=self.payout.key)


def division_id(payout: PoolPayout, kind: str, edition: int, account: str) -> UUID:
    """Id of one line of a payout's division."""
    return transfer_id(payout.at_ms, payout.pool, payout.account, payout.key, kind, edition, account)


def possible_ids(payout: PoolPayout, portions: Sequence[tuple[Edition, Span]]) -> list[UUID]:
    """All ids that its division may use: one of them in the ledger means that it was divided completely."""
    return [
        division_id(payout, f"waterfall.{step.name}", edition.number, account)
        for edition, _ in portions
        for step in edition.steps
        for account in payees(step)
    ]


def division(contract: Contract, payout: PoolPayout, portions: Sequence[Portion]) -> Division:
    """Divide a payout by its editions, in proportion to time. ConfigError where a base is unknown."""
    spans = [portion.span.end_ms - portion.span.start_ms for portion in portions]
    parts = split(payout.amount_sat, spans if any(spans) else [1] * len(spans))
    divided = [
        (portion, tuple(divide(portion.edition.steps, part, portion.bases)))
        for portion, part in zip(portions, parts, strict=True)
    ]
    body = {
        "kind": "mining-hub.division.1",
        "payout": {
            "pool": payout.pool, "account": payout.account, "key": payout.key, "at": iso(payout.at_ms),
            "amount_sat": payout.amount_sat, "fee_sat": payout.fee_sat, "evidence": payout.evidence,
        },
        "contract": {"id": contract.id, "sha256": contract.sha256},
        "portions": [
            {
                "edition": portion.edition.number, "source": portion.edition.source, "mined": str(portion.span),
                "bases": {name: str(value) for name, value in sorted(portion.bases.items())}, "facts": dict(portion.facts),
                "lines": [
                    {"step": line.step, "account": line.account, "amount_sat": line.amount, "missing_sat": line.missing}
                    for line in lines
                ],
            }
            for portion, lines in divided
        ],
    }  # fmt: skip
    return Division(payout, document(body), tuple(divided))


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums of all payouts in the ledger: received = posted + residual."""

    received_sat: int
    posted_sat: int
    city_sat: int

    @property
    def residual_sat(self) -> int:
        return self.received_sat - self.posted_sat


def totals(contract: Contract, balances: Mapping[str, Balance]) -> Totals:
    """Amounts received, posted and due to the city, from the ledger's balances."""
    undivided = balances.get(contract.undivided, Balance())
    return Totals(undivided.credits, undivided.debits, balances.get(contract.city, Balance()).credits)


def bases_needed(steps: Sequence[Step]) -> set[str]:
    """Bases that the steps of an edition need."""
    return {base for step in steps if isinstance(step, Rate) for base in bases_of(step)}
