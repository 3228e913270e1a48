# SPDX-License-Identifier: Apache-2.0
"""One round of the treasury: ask the pool, book what it paid, divide it, sell a share, settle it in tenge.

Any step may be the last before a kill: each id is derived from the pool's own name of the payout, and the next round finds
what is booked and goes on from there. What cannot be done now (a dead feed, an unknown base, no licence) is an open item, with
its payout, amount and reason, and tried again; what is known is booked all the same. What was received stays open by the
ledger alone, whether the pool answers or not. Raw bytes are kept and journalled before they are relied on.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from fractions import Fraction
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from hub.journal.payloads import PayoutPosted, PoolEvidence, SalePosted
from hub.journal.recorder import Offload, at_once
from hub.metering.energy import Billed, Unbilled
from hub.settlement.round_feeds import RoundFeeds
from kernel.clock import Clock, iso, to_datetime
from kernel.errors import ConfigError, Fault
from kernel.event import EventKind
from kernel.ids import sha256_hex
from kernel.span import Span
from treasury import exchange, payout, settlement
from treasury.account import Balance
from treasury.contract import Contract, Edition
from treasury.exchange import Trade, Venue
from treasury.ledger import Ledger, Outcome, Rejected
from treasury.open_items import OpenItem, Step, Undivided, undivided
from treasury.payout import PoolFeed, PoolPayout, PoolRecords, Portion
from treasury.settlement import RateFeed, RecordedRate
from treasury.transfer import Transfer

T = TypeVar("T")

FRESH_MS = 60_000
"""A payout younger than this may wait for its meter without being a fault."""

DAYS_AGAIN = 3
"""Days before the last payout that are asked again: a pool may confirm late."""


@dataclass(slots=True)
class SettlementContext:
    """What a round needs. `energy` gives billed energy of a span, or why it is unknown; `posted` holds the ids of payouts and
    sales that have their event in the journal; `since_ms` is where the first payout's mining begins.

    - `until_ms`: payouts from then on belong to the next period and are not received (None: there is no end).
    - `complete`: the pool was asked after `until_ms` and all it reported is booked; it is not asked again.
    - `open`: payouts that were received and are not wholly settled, by id; None before the first round has read the ledger.
    - `foreign`: undivided receipts of another pool, which nothing here can divide.
    """

    ledger: Ledger
    contract: Contract
    pool: PoolFeed
    rates: RateFeed | None
    venue: Venue | None
    keep: Callable[[bytes], str]
    commit: Callable[[EventKind, Mapping[str, Any]], Awaitable[object]]
    energy: Callable[[Span], Billed | Unbilled]
    clock: Clock
    since_ms: int
    posted: set[str] = field(default_factory=set)
    offload: Offload = field(default_factory=at_once)
    until_ms: int | None = None
    complete: bool = False
    open: dict[UUID, PoolPayout] | None = None
    foreign: tuple[Undivided, ...] = ()


@dataclass(frozen=True, slots=True)
class RoundResult:
    """The treasury after a round: totals of the whole ledger, and what had to wait.

    `held` are the faults that somebody should know of; `waiting` are all payouts that are not wholly settled, oldest first.
    A payout younger than FRESH_MS that waits for its meter is open, and no fault.
    """

    received_sat: int
    posted_sat: int
    residual_sat: int
    city_sat: int
    payouts: int
    sold_sat: int
    tenge_tiyn: int
    held: tuple[Fault, ...]
    waiting: tuple[OpenItem, ...] = ()

    @property
    def closed(self) -> bool:
        """Nothing is open and nothing failed."""
        return not self.held and not self.waiting


async def settle_once(desk: SettlementContext) -> RoundResult:
    """One round. Feeds that fail are among `held`; a broken ledger raises."""
    round_ = _Round(desk)
    await round_.run()
    return await round_.result()


class _Round:
    """The state of one round: what was asked once is not asked again."""

    def __init__(self, desk: SettlementContext) -> None:
        self.desk, self.waiting, self.payouts = desk, dict[UUID, OpenItem](), 0
        self._feeds = RoundFeeds(desk.rates, desk.venue, self._record)
        self.held = self._feeds.faults
        self._as_reported = True
        self._zone = ZoneInfo(desk.contract.zone)

    async def run(self) -> None:
        desk = self.desk
        await self._open()
        left = await self._left_open()
        asked_ms = desk.clock.now_ms()
        reported = None if desk.complete else await self._reported(asked_ms)
        if reported is not None:
            for paid in reported.payouts:
                if paid.at_ms >= desk.since_ms and await self._of_this_period(paid):
                    await self._payout(paid, reported.raw)
                    left.pop(paid.id, None)
                    self.payouts += 1
            desk.complete = self._as_reported and desk.until_ms is not None and asked_ms >= desk.until_ms
        for paid in list(left.values()):
            await self._finish(paid)
        for item in desk.foreign:
            one, text = item.receipt, f"another pool than {desk.contract.pool} paid it: it is divided by hand"
            self.waiting[one.id] = OpenItem(one.id, one.note, Step.DIVISION, one.amount, one.effective_ms, text)

    async def _left_open(self) -> dict[UUID, PoolPayout]:
        """What earlier rounds left open; the first round finds in the ledger what is received and not divided."""
        desk = self.desk
        if desk.open is None:
            found = await self._ledger(lambda: undivided(desk.ledger.entries()))
            known = [(item, item.payout(desk.contract.pool)) for item in found]
            desk.open = {paid.id: paid for _, paid in known if paid is not None}
            desk.foreign = tuple(item for item, paid in known if paid is None)
        return dict(desk.open)

    async def _reported(self, now_ms: int) -> PoolRecords | None:
        """The pool's answer, with rewards booked; None where it does not answer."""
        desk = self.desk
        last = await self._ledger(desk.ledger.last, payout.RECEIVED, now_ms + 1)
        start_ms = (
            max(desk.since_ms, last.body.effective_ms) if last and isinstance(last.body, Transfer) else desk.since_ms
        )
        first = to_datetime(start_ms).date() - timedelta(days=DAYS_AGAIN)
        today = to_datetime(now_ms).date()
        reported = await self._feeds.ask("pool", desk.pool.read(first, today))
        if reported is not None:
            await self._accrue(reported, today)
        return reported

    async def _of_this_period(self, paid: PoolPayout) -> bool:
        """Whether a payout comes before the end of the period; what was received is never left half-way."""
        until_ms, find = self.desk.until_ms, self.desk.ledger.find
        return until_ms is None or paid.at_ms < until_ms or paid.id in await self._ledger(find, [paid.id])

    async def _open(self) -> None:
        desk = self.desk
        venues = [venue.name for venue in desk.contract.venues]
        wanted = [
            *payout.accounts(desk.contract), *settlement.accounts(),
            *{account.code: account for name in venues for account in exchange.accounts(name)}.values(),
        ]  # fmt: skip
        outcome = await self._ledger(desk.ledger.open_accounts, wanted, desk.clock.now_ms())
        if isinstance(outcome, Rejected):
            raise ConfigError(list(outcome.faults))

    async def _accrue(self, reported: PoolRecords, today: date) -> None:
        due = [payout.accrual(reward) for reward in reported.rewards if reward.day < today and reward.amount_sat]
        booked = await self._ledger(self.desk.ledger.find, [transfer.id for transfer in due])
        fresh = []
        for transfer in due:
            before = booked.get(transfer.id)
            if before is None:
                fresh.append(transfer)
            elif isinstance(before.body, Transfer) and before.body.amount != transfer.amount:
                text = f"booked as {before.body.amount} SAT, now reported as {transfer.amount}"
                self._as_reported = False
                self.held.append(Fault(f"reward of {transfer.note}", text, "Ask the pool why, and post the correction"))
        if fresh:
            await self._evidence("rewards", reported.raw)
            self._as_reported &= await self._post(fresh)

    async def _payout(self, paid: PoolPayout, raw: Sequence[bytes]) -> None:
        desk = self.desk
        if paid.id not in await self._ledger(desk.ledger.find, [paid.id]):
            await self._evidence(str(paid.id), raw)
        # Posted in any case: the same again changes nothing, and another amount under the same name is found out here.
        if not await self._post(payout.receipt(desk.contract, paid)):
            self._as_reported = False
            self._open_step(paid, Step.RECEIPT, paid.amount_sat, self.held[-1].problem)
            return
        await self._finish(paid)

    async def _finish(self, paid: PoolPayout) -> None:
        """Divide a received payout, sell and settle its share; it is open until all of that is done."""
        desk = self.desk
        assert desk.open is not None
        desk.open[paid.id] = paid
        try:
            before = await self._ledger(desk.ledger.last, payout.RECEIVED, paid.at_ms)
            start_ms = before.body.effective_ms if before and isinstance(before.body, Transfer) else desk.since_ms
            portions = desk.contract.portions(Span(min(start_ms, paid.at_ms), paid.at_ms))
            divided = await self._divide(paid, portions)
        except ConfigError as error:
            self._open_step(paid, Step.DIVISION, paid.amount_sat, "; ".join(fault.problem for fault in error.faults))
            if desk.clock.now_ms() - paid.at_ms >= FRESH_MS:
                self.held += error.faults
            return
        if not divided:
            self._open_step(paid, Step.DIVISION, paid.amount_sat, self.held[-1].problem)
            return
        await self._say(paid)
        edition = portions[-1][0]
        if edition.sale is not None:
            await self._sell(paid, edition)
        if paid.id not in self.waiting:
            del desk.open[paid.id]

    def _open_step(self, paid: PoolPayout, step: Step, amount_sat: int, reason: str) -> None:
        self.waiting[paid.id] = OpenItem(paid.id, paid.key, step, amount_sat, paid.at_ms, reason)

    async def _divide(self, paid: PoolPayout, portions: Sequence[tuple[Edition, Span]]) -> bool:
        """True: the division is booked; False: the ledger refused it. Raises ConfigError where a base is unknown."""
        desk = self.desk
        if await self._ledger(desk.ledger.find, payout.possible_ids(paid, portions)):
            return True
        unknown = dict[str, str]()
        made = [await self._portion(paid, edition, span, unknown) for edition, span in portions]
        if unknown:
            place, remedy = f"payout {paid.id}", "It is divided once that is known"
            raise ConfigError([Fault(place, f"{base} is unknown: {why}", remedy) for base, why in unknown.items()])
        divided = payout.division(desk.contract, paid, made)
        sha256 = await self._evidence(str(paid.id), [divided.voucher])
        return await self._post(divided.transfers(desk.contract, sha256))

    async def _portion(self, paid: PoolPayout, edition: Edition, span: Span, unknown: dict[str, str]) -> Portion:
        """What an edition divides by; a base that cannot be had is named in `unknown`, with the reason."""
        needed, bases, facts = payout.bases_needed(edition.steps), dict[str, Fraction](), dict[str, Any]()
        if "energy_wh" in needed:
            billed = await self.desk.offload(self.desk.energy, span)
            if isinstance(billed, Billed):
                bases["energy_wh"] = Fraction(billed.energy_wh)
                facts["energy"] = billed.rests_on
            else:
                unknown["energy_wh"] = str(billed)
        if "sat_per_tiyn" in needed:
            day = self._local_day(paid.at_ms)
            rate, quote = await self._feeds.rate(day), await self._feeds.price()
            if rate is not None and quote is not None:
                bases["sat_per_tiyn"] = settlement.sat_per_tiyn(quote.usd_per_btc, rate)
                evidence = await self._evidence("price", [quote.raw])
                facts["price"] = {"usd_per_btc": str(quote.usd_per_btc), "at": iso(quote.at_ms), "evidence": evidence}
                facts["rate"] = rate.to_json(sha256_hex(rate.raw))
            else:
                missing = [self._feeds.why_no_rate(day)] if rate is None else []
                missing += [self._feeds.why("venue")] if quote is None else []
                unknown["sat_per_tiyn"] = "; ".join(missing)
        return Portion(edition, span, bases, facts)

    async def _say(self, paid: PoolPayout) -> None:
        if str(paid.id) in self.desk.posted:
            return
        totals = payout.totals(self.desk.contract, await self._ledger(self.desk.ledger.balances))
        body: PayoutPosted = {
            "id": str(paid.id), "pool": paid.pool, "key": paid.key, "at_ms": paid.at_ms, "received_sat": paid.amount_sat,
            "evidence": paid.evidence, "total_received_sat": totals.received_sat, "total_posted_sat": totals.posted_sat,
            "residual_sat": totals.residual_sat, "city_sat": totals.city_sat,
        }  # fmt: skip
        await self.desk.commit(EventKind.PAYOUT_POSTED, body)
        self.desk.posted.add(str(paid.id))

    async def _sell(self, paid: PoolPayout, edition: Edition) -> None:
        desk, sale = self.desk, edition.sale
        if sale is None or desk.venue is None:
            return
        amount = exchange.amount_to_sell(paid.amount_sat, sale.share)
        if amount < sale.least_sat:
            return
        order = exchange.order_id(paid.at_ms, paid.pool, paid.account, paid.key)
        tenge = exchange.order_transfer_id(order, "settlement.tenge")
        if tenge in await self._ledger(desk.ledger.find, [tenge]):
            return
        try:
            licence = exchange.licence_on(desk.contract.venues, sale.venue, self._local_day(desk.clock.now_ms()))
        except ConfigError as error:
            self.held += error.faults
            self._open_step(paid, Step.SALE, amount, error.faults[0].problem)
            return
        what = f"venue {sale.venue}"
        trade = await self._feeds.ask(what, desk.venue.sell(order, amount))
        if trade is None:
            self._open_step(paid, Step.SALE, amount, self._feeds.why(what))
            return
        body = {
            "kind": "mining-hub.sale.1", "payout": str(paid.id), "share": str(sale.share), "rule": sale.rule or "",
            "venue": {"name": licence.name, "authority": licence.authority, "licence": licence.number,
                      "valid_from": str(licence.valid_from), "valid_to": str(licence.valid_to)},
            "trade": await self._evidence(str(paid.id), [trade.raw]),
        }  # fmt: skip
        proof = await self._evidence(str(paid.id), [payout.document(body)])
        if await self._post(exchange.sale(trade, desk.contract.wallet, proof)):
            await self._settle(trade, paid)
        else:
            self._open_step(paid, Step.SALE, amount, self.held[-1].problem)

    async def _settle(self, trade: Trade, paid: PoolPayout) -> None:
        day = self._local_day(trade.at_ms)
        rate = await self._feeds.rate(day)
        if rate is None:
            self._open_step(paid, Step.TENGE, trade.sold_sat, self._feeds.why_no_rate(day))
            return
        cited = rate.to_json(sha256_hex(rate.raw))
        body = {
            "kind": "mining-hub.settlement.1",
            "payout": str(paid.id),
            "trade": sha256_hex(trade.raw),
            "rate": cited,
        }
        proof = await self._evidence(str(paid.id), [payout.document(body)])
        if not await self._post(settlement.settlement(trade, rate, proof)):
            self._open_step(paid, Step.TENGE, trade.sold_sat, self.held[-1].problem)
        elif str(trade.client_id) not in self.desk.posted:
            tiyn = settlement.tiyn_for(trade.net_cent, rate)
            sold: SalePosted = {
                "id": str(trade.client_id),
                "payout": str(paid.id),
                "sold_sat": trade.sold_sat,
                "tenge_tiyn": tiyn,
                "rate": cited,
            }
            await self.desk.commit(EventKind.SALE_POSTED, sold)
            self.desk.posted.add(str(trade.client_id))

    async def _record(self, rate: RecordedRate) -> None:
        await self.desk.commit(EventKind.RATE_RECORDED, rate.to_json(self.desk.keep(rate.raw)))

    async def _evidence(self, name: str, raw: Sequence[bytes]) -> str:
        """Keep bytes and put their names on disk before anything rests on them; the name of the last."""
        names = [self.desk.keep(each) for each in raw]
        await self.desk.commit(EventKind.POOL_EVIDENCE, PoolEvidence({"for": name, "sha256": names}))
        return names[-1]

    async def _post(self, transfers: Sequence[Transfer]) -> bool:
        if not transfers:
            return True
        wanted = await self._as_booked(transfers)
        outcome: Outcome = await self._ledger(self.desk.ledger.post, wanted, self.desk.clock.now_ms())
        if isinstance(outcome, Rejected):
            self.held += outcome.faults
            return False
        return True

    async def _as_booked(self, transfers: Sequence[Transfer]) -> list[Transfer]:
        """The transfers with the evidence that they were first booked on: later answers hold the same payout in other bytes."""
        booked = await self._ledger(self.desk.ledger.find, [transfer.id for transfer in transfers])
        made = []
        for transfer in transfers:
            body = booked[transfer.id].body if transfer.id in booked else transfer
            made.append(replace(transfer, evidence=body.evidence) if isinstance(body, Transfer) else transfer)
        return made

    async def _ledger(self, call: Callable[..., T], *arguments: Any) -> T:
        return await self.desk.offload(call, *arguments)

    def _local_day(self, at_ms: int) -> date:
        return to_datetime(at_ms).astimezone(self._zone).date()

    async def result(self) -> RoundResult:
        balances = await self._ledger(self.desk.ledger.balances)
        totals = payout.totals(self.desk.contract, balances)
        none = Balance()
        return RoundResult(
            totals.received_sat, totals.posted_sat, totals.residual_sat, totals.city_sat, self.payouts,
            balances.get(exchange.CLEARING_SAT, none).debits, balances.get(settlement.BANK, none).debits,
            tuple(self.held), tuple(sorted(self.waiting.values(), key=lambda item: (item.since_ms, str(item.payout)))),
        )  # fmt: skip


def posted_ids(bodies: Sequence[Mapping[str, Any]]) -> set[str]:
    """The ids in the bodies of payout.posted and sale.posted events: what `SettlementContext.posted` begins with."""
    return {str(body["id"]) for body in bodies if "id" in body}
