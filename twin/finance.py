# SPDX-License-Identifier: Apache-2.0
"""Simulated partners of the treasury on real sockets: a pool, a central bank's rates, a licensed venue.

The pool pays for the hashes really done by the twin's miners: hashes * reward / (difficulty * 2^32), with payouts at a
shortened interval. All three keep their books in memory and answer the same question in the same way; amounts are integers.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any, cast
from xml.sax.saxutils import escape

from kernel.clock import MS_PER_S, Clock, iso, to_datetime
from kernel.money import decimal_to_int, int_to_decimal
from kernel.units import HASHES_PER_DIFFICULTY, SAT_DECIMALS
from twin.exchange import Request, Response, respond
from twin.lines import listen_socket, parse_http


@dataclass(frozen=True, slots=True)
class FinanceSpec:
    """The simulated economy. Rates and prices are decimal texts, as published by their makers."""

    pool_token: str = "twin-pool-token"
    pool_fee_ppm: int = 20_000
    difficulty: int = 150_000_000_000_000
    reward_sat: int = 312_500_000
    payout_every_s: float = 20.0
    payout_fee_sat: int = 0
    wallet: str = "bc1qtwinwallet000000000000000000000000000"
    btc_usd: str = "95000.00"
    kzt_rates: Mapping[str, tuple[str, int]] = field(
        default_factory=lambda: {"USD": ("512.34", 1), "EUR": ("594.10", 1), "RUB": ("6.31", 1), "KRW": ("35.20", 100)}
    )
    venue_fee_ppm: int = 1_500
    venue: str = "Simulated Exchange Ltd."
    licence: str = "AFSA-A-LA-0000-EXAMPLE"


class Pool:
    """Pool in the documented shape of Braiins Pool: daily rewards and payouts, token in a header."""

    def __init__(self, spec: FinanceSpec, seed: int, hashes_done: Callable[[], float], clock: Clock) -> None:
        self._spec, self._seed, self._hashes, self._clock = spec, seed, hashes_done, clock
        self._start_ms, self._paid_sat, self._payouts = clock.now_ms(), 0, list[dict[str, Any]]()
        self._due_ms = self._start_ms + round(spec.payout_every_s * MS_PER_S)
        self._daily = dict[date, int]()
        self._earned_sat = 0

    def turn(self) -> None:
        """Update the pool's books to now: credit the hashes done, pay where a payout is due."""
        now_ms = self._clock.now_ms()
        gross = int(self._hashes()) * self._spec.reward_sat // (self._spec.difficulty * HASHES_PER_DIFFICULTY)
        earned = gross * (1_000_000 - self._spec.pool_fee_ppm) // 1_000_000
        if earned > self._earned_sat:
            day = to_datetime(now_ms).date()
            self._daily[day] = self._daily.get(day, 0) + earned - self._earned_sat
            self._earned_sat = earned
        if now_ms >= self._due_ms:
            self._due_ms = now_ms + round(self._spec.payout_every_s * MS_PER_S)
            amount = self._earned_sat - self._paid_sat - self._spec.payout_fee_sat
            if amount > 0:
                self._pay(now_ms, amount)

    def _pay(self, now_ms: int, amount: int) -> None:
        # Paid in whole seconds, like the pool's timestamps.
        key = f"{self._seed}/{self._start_ms}/{len(self._payouts)}"
        self._paid_sat += amount + self._spec.payout_fee_sat
        self._payouts.append(
            {
                "financial_account_name": "Bitcoin Account",
                "requested_at_ts": now_ms // MS_PER_S,
                "resolved_at_ts": now_ms // MS_PER_S,
                "status": "confirmed",
                "amount_sats": amount,
                "fee_sats": self._spec.payout_fee_sat,
                "destination": self._spec.wallet,
                "tx_id": sha256(key.encode()).hexdigest(),
                "trigger_type": "triggered",
            }
        )

    def answer(self, ask: Request) -> Response:
        if ask.headers.get("pool-auth-token") != self._spec.pool_token:
            return respond({"error": "unauthorized"}, 401)
        try:
            first = date.fromisoformat(ask.query["from"]) if "from" in ask.query else date.min
            last = date.fromisoformat(ask.query["to"]) if "to" in ask.query else date.max
        except ValueError:
            return respond({"error": "dates are YYYY-MM-DD"}, 400)
        if first > last:
            return respond({"error": "from is after to"}, 400)
        self.turn()
        if ask.path.startswith("/accounts/payouts/json/btc"):
            rows = [row for row in self._payouts if first <= _day(row["requested_at_ts"]) <= last]
            return respond({"onchain": rows, "lightning": []})
        if ask.path.startswith("/accounts/rewards/json/btc"):
            days = sorted((day for day in self._daily if first <= day <= last), reverse=True)
            return respond({"btc": {"daily_rewards": [self._reward(day) for day in days]}})
        return respond({"error": "no such page"}, 404)

    def _reward(self, day: date) -> dict[str, Any]:
        text = int_to_decimal(self._daily[day], SAT_DECIMALS)
        midnight = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
        none = int_to_decimal(0, SAT_DECIMALS)
        return {
            "date": midnight, "total_reward": text, "mining_reward": text, "bos_plus_reward": none, "referral_bonus": none,
            "referral_reward": none, "calculation_date": midnight + 86_400,
        }  # fmt: skip


class CentralBank:
    """Daily rates as XML in the shape of the National Bank of Kazakhstan; none on Saturdays and Sundays."""

    def __init__(self, spec: FinanceSpec, clock: Clock) -> None:
        self._spec, self._clock = spec, clock

    def answer(self, ask: Request) -> Response:
        if not ask.path.endswith("/get_rates.cfm"):
            return respond({"error": "no such page"}, 404)
        try:
            day = datetime.strptime(ask.query["fdate"], "%d.%m.%Y").date()
        except (KeyError, ValueError):
            return Response(400, b"fdate is DD.MM.YYYY", "text/plain")
        published = day.weekday() < 5 and day <= to_datetime(self._clock.now_ms()).date() + timedelta(days=1)
        items = [self._item(name, *rate, day) for name, rate in self._spec.kzt_rates.items()] if published else []
        text = (
            '<?xml version="1.0" encoding="utf-8"?>\n<rates><generator>twin</generator><title>Official exchange rates</title>'
            f"<date>{day:%d.%m.%Y}</date>{''.join(items)}</rates>"
        )
        return Response(200, text.encode(), "text/xml; charset=utf-8")

    def _item(self, name: str, rate: str, quant: int, day: date) -> str:
        # A small deviation by date: the same day always has the same rate.
        step = int.from_bytes(sha256(f"{name}/{day}".encode()).digest()[:2], "big") % 201 - 100
        value = (Decimal(rate) * (10_000 + step) / 10_000).quantize(Decimal("0.01"))
        return (
            f"<item><fullname>{escape(name)}</fullname><title>{escape(name)}</title><description>{value}</description>"
            f"<quant>{quant}</quant><index></index><change>0.00</change></item>"
        )


class Venue:
    """Licensed venue: sells bitcoin for dollars and settles in tenge. Repeated client order ids get the first answer."""

    def __init__(self, spec: FinanceSpec, clock: Clock) -> None:
        self._spec, self._clock, self._trades = spec, clock, dict[str, dict[str, Any]]()

    def answer(self, ask: Request) -> Response:
        if (ask.method, ask.path) == ("GET", "/v1/venue"):
            return respond({"name": self._spec.venue, "licence": self._spec.licence, "pairs": ["BTC/USD"]})
        if (ask.method, ask.path) == ("GET", "/v1/ticker"):
            return respond({"pair": "BTC/USD", "last": self._spec.btc_usd, "at": iso(self._clock.now_ms())})
        if (ask.method, ask.path) == ("POST", "/v1/sales"):
            return self._sell(ask.json())
        return respond({"error": "no such page"}, 404)

    def _sell(self, order: Any) -> Response:
        try:
            client_id, quantity = str(order["client_id"]), decimal_to_int(str(order["quantity_btc"]), SAT_DECIMALS)
        except (KeyError, TypeError, ValueError) as error:
            return respond({"error": str(error)}, 422)
        if client_id in self._trades:
            kept = self._trades[client_id]
            same = kept["quantity_btc"] == int_to_decimal(quantity, SAT_DECIMALS)
            return respond(kept) if same else respond({"error": "client_id is used for another order"}, 409)
        gross_cent = quantity * decimal_to_int(self._spec.btc_usd, 2) // 10**SAT_DECIMALS
        if gross_cent <= 0:
            return respond({"error": "below the smallest sale"}, 422)
        fee_cent = -(-gross_cent * self._spec.venue_fee_ppm // 1_000_000)
        self._trades[client_id] = {
            "trade_id": f"T{len(self._trades) + 1:08d}",
            "client_id": client_id,
            "pair": "BTC/USD",
            "quantity_btc": int_to_decimal(quantity, SAT_DECIMALS),
            "price_usd": self._spec.btc_usd,
            "proceeds_usd": int_to_decimal(gross_cent, 2),
            "fee_usd": int_to_decimal(fee_cent, 2),
            "executed_at": iso(self._clock.now_ms()),
            "licence": self._spec.licence,
        }
        return respond(self._trades[client_id])


class _Line(asyncio.Protocol):
    """One connection: requests and their answers in turn."""

    def __init__(self, answer: Callable[[Request], Response], dead: Callable[[], bool], lines: set["_Line"]) -> None:
        self._answer, self._dead, self._lines, self._data = answer, dead, lines, b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's, but behave alike.
        self.transport = cast(asyncio.Transport, transport)
        self._lines.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lines.discard(self)

    def data_received(self, data: bytes) -> None:
        self._data += data
        while self.transport is not None and (found := parse_http(self._data)):
            ask, self._data = found
            reported = respond({"error": "out of service"}, 503) if self._dead() else self._answered(ask)
            keep = ask.headers.get("connection", "").lower() != "close"
            self.transport.write(reported.wire(keep))
            if not keep:
                self.transport.close()

    def _answered(self, ask: Request) -> Response:
        try:
            return self._answer(ask)
        except (ValueError, KeyError, ArithmeticError, json.JSONDecodeError) as error:
            return respond({"error": str(error)}, 400)


@dataclass(slots=True)
class FinanceServers:
    """The three running servers, until `close`."""

    pool_url: str
    rates_url: str
    venue_url: str
    pool_token: str
    _servers: list[asyncio.Server]
    _lines: set[_Line]
    _turning: asyncio.Task[None]

    async def close(self) -> None:
        self._turning.cancel()
        await asyncio.gather(self._turning, return_exceptions=True)
        for server in self._servers:
            server.close()
        for line in list(self._lines):
            if line.transport is not None:
                line.transport.abort()
        for server in self._servers:
            await server.wait_closed()


async def serve_finance(
    *,
    seed: int,
    host: str,
    clock: Clock,
    hashes_done: Callable[[], float],
    pool_port: int = 0,
    rates_port: int = 0,
    venue_port: int = 0,
    faults: Callable[[], frozenset[str]] = frozenset,
    spec: FinanceSpec | None = None,
) -> FinanceServers:
    """Start the three servers. `hashes_done` counts hashes since the start; `faults` may name pool_dead, rates_dead,
    venue_dead."""
    spec = spec or FinanceSpec()
    pool, bank, venue = Pool(spec, seed, hashes_done, clock), CentralBank(spec, clock), Venue(spec, clock)
    loop, servers, urls, lines = asyncio.get_running_loop(), list[asyncio.Server](), list[str](), set[_Line]()
    parts: list[tuple[Callable[[Request], Response], str, int]] = [
        (pool.answer, "pool_dead", pool_port),
        (bank.answer, "rates_dead", rates_port),
        (venue.answer, "venue_dead", venue_port),
    ]
    for answer, fault, port in parts:
        listening = listen_socket(host, port)
        urls.append(f"http://{host}:{listening.getsockname()[1]}")
        servers.append(await loop.create_server(_lines(answer, fault, faults, lines), sock=listening))

    async def turning() -> None:
        while True:
            await asyncio.sleep(min(1.0, spec.payout_every_s / 4))
            pool.turn()

    return FinanceServers(urls[0], urls[1], urls[2], spec.pool_token, servers, lines, asyncio.create_task(turning()))


def _lines(
    answer: Callable[[Request], Response], fault: str, faults: Callable[[], frozenset[str]], lines: set[_Line]
) -> Callable[[], _Line]:
    return lambda: _Line(answer, lambda: fault in faults(), lines)


def _day(at_s: int) -> date:
    return to_datetime(at_s * MS_PER_S).date()
