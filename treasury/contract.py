# SPDX-License-Identifier: Apache-2.0
"""Contract waterfall: division of pool payouts by dated steps from `configs/contracts/*.toml`.

- An edition has ordered steps. `fixed` claims an amount, `rate` claims rate * base (energy by the meter); both get at most
  what is left, and the shortfall is a receivable. `share` divides the amount received, or the rest, among its parts, to the
  last satoshi.
- The last step divides the whole rest: nothing remains undivided.
- The edition is selected by the day that was mined.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

from kernel.clock import to_datetime
from kernel.errors import ConfigError, Fault
from kernel.ids import sha256_hex
from kernel.money import INT64_MAX, Unit, split
from kernel.span import Span, local_day
from kernel.toml_model import parse_toml, read_text
from treasury.account import Account, Keeps
from treasury.contract_file import Table


@dataclass(frozen=True, slots=True)
class Fixed:
    """Step that claims the same amount from each payout."""

    name: str
    account: str
    amount: int
    shortfall: str


@dataclass(frozen=True, slots=True)
class Rate:
    """Claim of `rate` for each whole `per` of `base` (`energy_wh`), in SAT, or in TIYN converted at the recorded price."""

    name: str
    account: str
    rate: Fraction
    per: int
    base: str
    unit: Unit
    shortfall: str


@dataclass(frozen=True, slots=True)
class Share:
    """Step that divides `of` (received, rest) among parts; parts below 1 in total leave the remainder for the next step."""

    name: str
    of: str
    parts: tuple[tuple[str, Fraction], ...]


Step = Fixed | Rate | Share


@dataclass(frozen=True, slots=True)
class Sale:
    """Share of each payout that is sold, and the venue. `rule` names the dated rule that requires it; None: no rule does.

    Below `least_sat` the venue accepts no sale: the amount stays in the wallet.
    """

    venue: str
    share: Fraction
    rule: str | None
    least_sat: int


@dataclass(frozen=True, slots=True)
class Edition:
    """The contract as valid on days `valid_from <= day < valid_to`."""

    number: int
    valid_from: date
    valid_to: date | None
    source: str
    steps: tuple[Step, ...]
    sale: Sale | None

    def holds(self, day: date) -> bool:
        return self.valid_from <= day and (self.valid_to is None or day < self.valid_to)


@dataclass(frozen=True, slots=True)
class VenueLicence:
    """A venue and its licence as confirmed by the operator, with the days of validity."""

    name: str
    authority: str
    number: str
    valid_from: date
    valid_to: date
    source: str


@dataclass(frozen=True, slots=True)
class Contract:
    """One contract: accounts of receipts (`wallet`), before division (`undivided`) and of the city; editions, venues."""

    id: str
    pool: str
    zone: str
    wallet: str
    undivided: str
    city: str
    editions: tuple[Edition, ...]
    venues: tuple[VenueLicence, ...]
    sha256: str

    def edition_on(self, day: date) -> Edition:
        """Edition valid on a day. ConfigError where there is none."""
        for edition in self.editions:
            if edition.holds(day):
                return edition
        raise ConfigError(
            [Fault(f"contract {self.id} on {day}", "no edition valid", "Add one with valid_from/valid_to around it")]
        )

    def portions(self, span: Span) -> list[tuple[Edition, Span]]:
        """Editions valid over a span of mining, each with its part of the span. ConfigError for a day without one.

        Days are civil days of the contract's zone: an edition begins at midnight there.
        """
        zone, found, start_ms = ZoneInfo(self.zone), list[tuple[Edition, Span]](), span.start_ms
        while True:
            edition = self.edition_on(to_datetime(start_ms).astimezone(zone).date())
            ends = None if edition.valid_to is None else local_day(edition.valid_to, zone).start_ms
            if ends is None or ends >= span.end_ms:
                return [*found, (edition, Span(start_ms, span.end_ms))]
            found.append((edition, Span(start_ms, ends)))
            start_ms = ends

    def accounts(self) -> list[Account]:
        """Accounts in satoshi to which its divisions post. Accounts of payees must keep to the credit side."""
        owed = {account for edition in self.editions for step in edition.steps for account in payees(step)}
        claims = {step.shortfall for e in self.editions for step in e.steps if not isinstance(step, Share)}
        return [
            Account(self.wallet, Unit.SAT),
            Account(self.undivided, Unit.SAT),
            *(Account(code, Unit.SAT, Keeps.CREDIT) for code in sorted(owed)),
            *(Account(code, Unit.SAT, Keeps.DEBIT) for code in sorted(claims - owed)),
        ]


@dataclass(frozen=True, slots=True)
class Line:
    """Amount that a waterfall step gives to an account; `missing` is the part of its claim that was not covered."""

    step: str
    account: str
    amount: int
    missing: int = 0
    shortfall: str | None = None


def payees(step: Step) -> list[str]:
    """Accounts that a step pays into."""
    return [account for account, _ in step.parts] if isinstance(step, Share) else [step.account]


def divide(steps: Sequence[Step], received: int, bases: Mapping[str, Fraction]) -> list[Line]:
    """Divide a received amount (SAT, > 0) in the order of the steps. The amounts sum exactly to the amount received.

    ConfigError where a rate's base is unknown: it is not taken as zero.
    """
    faults = [
        Fault(f"step {step.name}", f"its base {base} is unknown for this payout", "Give it, or divide later")
        for step in steps
        if isinstance(step, Rate)
        for base in bases_of(step)
        if base not in bases
    ]
    if faults:
        raise ConfigError(faults)
    lines, rest = list[Line](), received
    for step in steps:
        if isinstance(step, Share):
            whole = received if step.of == "received" else rest
            weights = [share for _, share in step.parts]
            amounts = split(whole, [*weights, 1 - sum(weights, Fraction(0))])[:-1]
            # Two steps that round up may together claim a satoshi more than there is.
            for (account, _), amount in zip(step.parts, amounts, strict=True):
                taken = min(amount, rest)
                lines.append(Line(step.name, account, taken))
                rest -= taken
            continue
        due = step.amount if isinstance(step, Fixed) else _due(step, bases)
        taken = min(due, rest)
        lines.append(Line(step.name, step.account, taken, due - taken, step.shortfall))
        rest -= taken
    return lines


def bases_of(step: Rate) -> tuple[str, ...]:
    """Figures needed for a rate: its base, and the price of a tiyn where it is in tenge."""
    return (step.base,) if step.unit is Unit.SAT else (step.base, "sat_per_tiyn")


def _due(step: Rate, bases: Mapping[str, Fraction]) -> int:
    """The claim in SAT, rounded half up once at the end."""
    due = step.rate * bases[step.base] / step.per
    if step.unit is Unit.TIYN:
        due *= bases["sat_per_tiyn"]
    return int((2 * due.numerator + due.denominator) // (2 * due.denominator))


def load_contract(path: Path) -> Contract:
    """Read a contract file. ConfigError with all of its faults."""
    return parse_contract(read_text(path, "Give the path of a contract").encode(), str(path))


def parse_contract(raw: bytes, place: str) -> Contract:
    """A contract from the bytes of its file. ConfigError with all of its faults."""
    faults: list[Fault] = []
    top = Table(parse_toml(raw, place), place, faults)
    head = top.table("contract")
    contract_id, pool, zone = head.text("id"), head.text("pool"), head.zone("zone")
    wallet, undivided, city = head.account("wallet"), head.account("undivided"), head.account("city")
    head.end()
    venues = tuple(_venue(table) for table in top.tables("venue", needed=False))
    editions = tuple(_edition(table, number, venues) for number, table in enumerate(top.tables("edition"), start=1))
    top.end()
    faults += _between(editions, place, city)
    if faults:
        raise ConfigError(faults)
    return Contract(contract_id, pool, zone, wallet, undivided, city, editions, venues, sha256_hex(raw))


def _venue(table: Table) -> VenueLicence:
    made = VenueLicence(
        table.text("name"), table.choice("authority", ("AIFC", "NBK")), table.text("number"), table.day("valid_from"),
        table.day("valid_to"), table.text("source"),
    )  # fmt: skip
    if made.valid_to <= made.valid_from:
        table.fault("valid_to", "is not after valid_from", "Give the first day on which the licence no longer holds")
    table.end()
    return made


def _edition(table: Table, number: int, venues: Sequence[VenueLicence]) -> Edition:
    valid_from, valid_to = table.day("valid_from"), table.day_or_none("valid_to")
    if valid_to is not None and valid_to <= valid_from:
        table.fault("valid_to", "is not after valid_from", "Give the first day on which it no longer holds")
    steps = tuple(step for each in table.tables("step") if (step := _step(each)) is not None)
    names = [step.name for step in steps]
    for name in sorted({name for name in names if name and names.count(name) > 1}):
        table.fault("step", f"two steps are named {name!r}", "Give each step its own name")
    claimed = False
    for step in steps:
        if claimed and isinstance(step, Share) and step.of == "received":
            table.fault(
                "step",
                f"{step.name!r} shares the amount received after other steps took from it",
                "Put it before fixed and rate",
            )
        claimed = claimed or not isinstance(step, Share) or step.of == "rest"
    last = steps[-1] if steps else None
    if steps and not (isinstance(last, Share) and last.of == "rest" and sum(share for _, share in last.parts) == 1):
        table.fault("step", "the last step leaves something undivided", "End with shares of the rest that sum to 1")
    sale = _sale(table.table("sale"), venues) if table.has("sale") else None
    made = Edition(number, valid_from, valid_to, table.text("source"), steps, sale)
    table.end()
    return made


def _sale(table: Table, venues: Sequence[VenueLicence]) -> Sale:
    sale = Sale(
        table.text("venue"), table.share("share"), table.text_or_none("rule"), table.whole("least_sat", 1, INT64_MAX)
    )
    if sale.venue and sale.venue not in {venue.name for venue in venues}:
        table.fault("venue", f"no venue {sale.venue!r} in this contract", "Add a [[venue]] with its licence")
    table.end()
    return sale


def _step(table: Table) -> Step | None:
    rule, name = table.choice("rule", ("fixed", "rate", "share")), table.text("name")
    made: Step | None = None
    if rule == "fixed":
        made = Fixed(
            name, table.account("account"), table.whole("amount_sat", 1, INT64_MAX), table.account("shortfall")
        )
    elif rule == "rate":
        unit = Unit(table.choice("unit", (Unit.SAT.value, Unit.TIYN.value)) or Unit.SAT.value)
        made = Rate(
            name, table.account("account"), table.positive("rate"), table.whole("per", 1, INT64_MAX), table.text("base"), unit,
            table.account("shortfall"),
        )  # fmt: skip
    elif rule == "share":
        of = table.choice("of", ("received", "rest"))
        parts = tuple(_part(each) for each in table.tables("part"))
        if sum(share for _, share in parts) > 1:
            table.fault(
                "part", f"shares sum to {float(sum(s for _, s in parts)):g}, more than 1", "Lower them to at most 1"
            )
        made = Share(name, of, parts)
    table.end()
    return made


def _part(table: Table) -> tuple[str, Fraction]:
    made = table.account("account"), table.share("share")
    table.end()
    return made


def _between(editions: Sequence[Edition], place: str, city: str) -> list[Fault]:
    """Faults between editions: overlaps in time, and a city that is never paid."""
    faults = []
    ordered = sorted(editions, key=lambda edition: edition.valid_from)
    for before, after in pairwise(ordered):
        if before.valid_to is None or before.valid_to > after.valid_from:
            text = f"editions {before.number} and {after.number} both hold on {after.valid_from}"
            faults.append(Fault(f"{place}, edition", text, "Let one end (valid_to) where the other begins"))
    for edition in editions:
        if city and edition.steps and city not in {account for step in edition.steps for account in payees(step)}:
            text = f"no step pays the city's account {city}"
            faults.append(Fault(f"{place}, edition.{edition.number}", text, "Add its step, or correct contract.city"))
    return faults
