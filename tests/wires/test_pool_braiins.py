# SPDX-License-Identifier: Apache-2.0
"""Pool, rates and venue adapters against real HTTP sockets: documented answers, and every way of answering wrongly."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from kernel.clock import from_iso, system_clock
from kernel.errors import ConfigError, DecodeError, TransportError
from kernel.ids import business_id, sha256_hex
from kernel.reading import Absence
from tests.servers import free_port
from treasury.io.pool_braiins import BraiinsPool, parse_payouts, parse_rewards
from treasury.io.rates_nbk import NationalBank, parse_rate
from treasury.io.venue_http import VenueHttp
from treasury.settlement import rate_for

# Written by hand after the documented shape; amounts as the pool writes them, texts and whole numbers.
REWARDS = b"""{"btc": {"daily_rewards": [
 {"date": 1795219200, "total_reward": "0.00041909", "mining_reward": "0.00041909", "bos_plus_reward": "0.00000000",
  "referral_bonus": "0.00000000", "referral_reward": "0.00000000", "calculation_date": 1795305600},
 {"date": 1795132800, "total_reward": "1.10000001", "mining_reward": "1.10000001", "calculation_date": 1795219200}]}}"""
PAYOUTS = b"""{"onchain": [
 {"financial_account_name": "Bitcoin Account", "requested_at_ts": 1795305600, "resolved_at_ts": 1795309200,
  "status": "confirmed", "amount_sats": 41909, "fee_sats": 0, "destination": "bc1qexample", "tx_id": "aa11", "trigger_type": "triggered"},
 {"requested_at_ts": 1795309200, "resolved_at_ts": null, "status": "queued", "amount_sats": 5, "fee_sats": 0,
  "destination": "bc1qexample", "tx_id": null, "trigger_type": "manual"}],
 "lightning": [
 {"requested_at_ts": 1795300000, "resolved_at_ts": 1795300001, "status": "confirmed", "amount_sats": 1000, "fee_sats": 1,
  "destination": "lnbc10u", "invoice": "lnbc10u", "preimage": "beef", "trigger_type": "manual"}]}"""  # noqa: E501


@contextmanager
def answering(answer: Callable[[str, dict[str, str]], tuple[int, bytes]]) -> Iterator[str]:
    class Responder(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.path, dict(self.headers))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Responder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def pool(url: str, token: str = "secret-token", gap_s: float = 0.0) -> BraiinsPool:
    return BraiinsPool(url, "hub", token, system_clock(), gap_s=gap_s)


DAYS = (date(2026, 11, 1), date(2026, 11, 30))


def test_the_documented_answers_become_whole_satoshi_with_their_evidence():
    asked: list[tuple[str, str | None]] = []

    def answer(path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        asked.append((path, headers.get("pool-auth-token", headers.get("Pool-Auth-Token"))))
        return 200, REWARDS if "rewards" in path else PAYOUTS

    with answering(answer) as url:
        reported = asyncio.run(pool(url).read(*DAYS))
    assert [(reward.day, reward.amount_sat) for reward in reported.rewards] == [
        (date(2026, 11, 20), 110_000_001),
        (date(2026, 11, 21), 41_909),
    ]
    assert [(paid.key, paid.amount_sat, paid.fee_sat) for paid in reported.payouts] == [
        ("beef", 1000, 1),
        ("aa11", 41909, 0),
    ]
    assert reported.payouts[1].at_ms == 1795309200_000
    assert {paid.evidence for paid in reported.payouts} == {sha256_hex(PAYOUTS)}
    assert reported.raw == (REWARDS, PAYOUTS)
    assert asked == [
        ("/accounts/rewards/json/btc?from=2026-11-01&to=2026-11-30", "secret-token"),
        ("/accounts/payouts/json/btc?from=2026-11-01&to=2026-11-30", "secret-token"),
    ]


def test_the_pools_pace_is_kept():
    with answering(lambda path, _: (200, REWARDS if "rewards" in path else PAYOUTS)) as url:
        clock = system_clock()
        start_s = clock.monotonic_s()
        asyncio.run(pool(url, gap_s=0.4).read(*DAYS))
        assert clock.monotonic_s() - start_s >= 0.4


@pytest.mark.parametrize(("status", "reason"), [
    (401, Absence.REFUSED), (404, Absence.REFUSED), (302, Absence.REFUSED),
    (429, Absence.UNREACHABLE), (503, Absence.UNREACHABLE),
])  # fmt: skip
def test_a_refusal_names_the_status_and_never_the_token(status: int, reason: Absence):
    with answering(lambda *_: (status, b"no")) as url, pytest.raises(TransportError) as caught:
        asyncio.run(pool(url).read(*DAYS))
    assert caught.value.reason is reason
    assert str(status) in str(caught.value)
    assert "secret-token" not in str(caught.value)


def test_no_connection_is_unreachable():
    with pytest.raises(TransportError) as caught:
        asyncio.run(pool(f"http://127.0.0.1:{free_port()}").read(*DAYS))
    assert caught.value.reason is Absence.UNREACHABLE


@pytest.mark.parametrize(
    "url", ["http://pool.example.com", "ftp://pool", "https://me:pw@pool.example.com", "pool.example.com"]
)
def test_a_token_does_not_travel_in_the_clear(url: str):
    with pytest.raises(ConfigError) as caught:
        pool(url)
    assert "pw" not in str(caught.value)


WRONG_PAYOUTS = {
    "not JSON": b"<html>",
    "not an object": b"[]",
    "amount as a fraction": PAYOUTS.replace(b"41909", b"41909.5"),
    "amount with an exponent": PAYOUTS.replace(b"41909", b"4e4"),
    "amount below zero": PAYOUTS.replace(b"41909", b"-1"),
    "amount zero": PAYOUTS.replace(b"41909", b"0"),
    "amount beyond 2^63": PAYOUTS.replace(b"41909", b"9223372036854775808"),
    "amount missing": PAYOUTS.replace(b'"amount_sats": 41909,', b""),
    "amount null": PAYOUTS.replace(b"41909", b"null"),
    "no transaction": PAYOUTS.replace(b'"aa11"', b"null"),
    "not a number": PAYOUTS.replace(b"41909", b"NaN"),
    "rows no list": b'{"onchain": {}}',
    "the same transaction with two amounts": PAYOUTS.replace(
        b'"preimage": "beef"', b'"preimage": "aa11"'
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_PAYOUTS)
def test_a_wrong_answer_is_refused_with_its_place(case: str):
    with pytest.raises(DecodeError) as caught:
        parse_payouts(WRONG_PAYOUTS[case], "braiins", "hub")
    assert caught.value.place


def test_digits_are_not_lost_as_a_float_would_lose_them():
    raw = json.dumps({"btc": {"daily_rewards": [{"date": 1795132800, "total_reward": "X"}]}}).encode()
    (reward,) = parse_rewards(raw.replace(b'"X"', b"20999999.97690001"), "braiins", "hub")
    assert reward.amount_sat == 2_099_999_997_690_001
    with pytest.raises(DecodeError, match="decimal places"):
        parse_rewards(raw.replace(b'"X"', b"0.000000001"), "braiins", "hub")
    twice = REWARDS.replace(b'1795219200, "total', b'1795132800, "total')
    with pytest.raises(DecodeError, match="twice"):
        parse_rewards(twice, "braiins", "hub")


def rates_xml(day: str, items: str) -> bytes:
    return f'<?xml version="1.0" encoding="utf-8"?><rates><date>{day}</date>{items}</rates>'.encode()


USD = "<item><fullname>US DOLLAR</fullname><title>USD</title><description>512.34</description><quant>1</quant></item>"
KRW = "<item><fullname>WON</fullname><title>KRW</title><description>35.2</description><quant>100</quant></item>"


def test_rates_are_exact_over_their_quant_and_a_missing_day_names_the_day_used():
    asked: list[str] = []

    def answer(path: str, _: dict[str, str]) -> tuple[int, bytes]:
        asked.append(path.rsplit("=", 1)[1])
        return 200, rates_xml(asked[-1], USD + KRW if asked[-1] == "20.11.2026" else "")

    with answering(answer) as url:
        rate = asyncio.run(rate_for(NationalBank(url), "KRW", date(2026, 11, 22)))
        none = asyncio.run(rate_for(NationalBank(url), "GBP", date(2026, 11, 22)))
    assert rate is not None
    assert rate.per_one == Fraction("0.352")
    assert (rate.published, rate.asked) == (date(2026, 11, 20), date(2026, 11, 22))
    assert rate.rule == "no rate for 2026-11-22: the previous published, of 2026-11-20"
    assert asked[:3] == ["22.11.2026", "21.11.2026", "20.11.2026"]
    assert none is None


@pytest.mark.parametrize("raw", [
    b"nonsense", rates_xml("2026-11-20", USD), rates_xml("20.11.2026", USD + USD),
    rates_xml("20.11.2026", USD.replace("512.34", "0")), rates_xml("20.11.2026", USD.replace("512.34", "5e2")),
    rates_xml("20.11.2026", USD.replace("<quant>1<", "<quant>0<")),
    b'<!DOCTYPE x [<!ENTITY a "b">]>' + rates_xml("20.11.2026", USD)[38:],
])  # fmt: skip
def test_a_wrong_rate_table_is_refused(raw: bytes):
    with pytest.raises(DecodeError):
        parse_rate(raw, "USD", date(2026, 11, 20), "test")


def test_a_table_of_another_day_is_no_rate_of_this_day():
    assert parse_rate(rates_xml("19.11.2026", USD), "USD", date(2026, 11, 20), "test") is None


ORDER = business_id(from_iso("2026-11-23T08:00:00Z"), "sale")
TRADE = {
    "trade_id": "T1", "client_id": str(ORDER), "pair": "BTC/USD", "quantity_btc": "0.00041909", "price_usd": "95000.00",
    "proceeds_usd": "39.81", "fee_usd": "0.06", "executed_at": "2026-11-23T08:00:01.500Z",
}  # fmt: skip


def test_a_sale_is_read_exactly():
    with answering(lambda *_: (200, json.dumps(TRADE).encode())) as url:
        trade = asyncio.run(VenueHttp(url, "venue").sell(ORDER, 41_909))
    assert (trade.sold_sat, trade.proceeds_cent, trade.fee_cent, trade.net_cent) == (41_909, 3_981, 6, 3_975)
    assert trade.at_ms == from_iso("2026-11-23T08:00:01.5Z")


@pytest.mark.parametrize("change", [
    {"client_id": "other"}, {"quantity_btc": "0.00041908"}, {"proceeds_usd": "-1"}, {"proceeds_usd": "39.815"},
    {"fee_usd": "39.81"}, {"trade_id": ""}, {"executed_at": "yesterday"}, {"price_usd": None},
])  # fmt: skip
def test_an_answer_for_something_else_is_no_trade(change: dict[str, Any]):
    with answering(lambda *_: (200, json.dumps({**TRADE, **change}).encode())) as url, pytest.raises(DecodeError):
        asyncio.run(VenueHttp(url, "venue").sell(ORDER, 41_909))
