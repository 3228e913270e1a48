# SPDX-License-Identifier: Apache-2.0
"""Venue over the hub's own small HTTP interface.

A licensed venue's real API is adapted to it, or replaces this file. `GET /v1/ticker` gives the last price; `POST /v1/sales
{client_id, quantity_btc}` sells at the market and answers the same client id with the same trade. Decimals are texts.
"""

from fractions import Fraction
from typing import Any
from uuid import UUID

from kernel.clock import from_iso
from kernel.errors import DecodeError
from kernel.foreign_json import decimal_json
from kernel.money import decimal_to_int, int_to_decimal
from kernel.units import SAT_DECIMALS
from treasury.exchange import Quote, Trade
from treasury.io.web import fetch, safe_url

CENT_DECIMALS, PRICE_DECIMALS = 2, 8


class VenueHttp:
    """One account at one venue, under the name given in the contract."""

    def __init__(self, url: str, name: str, token: str | None = None) -> None:
        self._url, self._name = safe_url(url, "venue"), name
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def quote(self) -> Quote:
        raw = await fetch("venue", "GET", f"{self._url}/v1/ticker", headers=self._headers)
        answer = _json(raw)
        price = _decimal(answer, "last", PRICE_DECIMALS)
        if answer.get("pair") != "BTC/USD" or price <= 0:
            raise DecodeError("ticker", f"pair {answer.get('pair')!r} at {answer.get('last')!r} is no BTC/USD price")
        return Quote(Fraction(price, 10**PRICE_DECIMALS), _instant(answer, "at"), raw)

    async def sell(self, client_id: UUID, amount_sat: int) -> Trade:
        quantity = int_to_decimal(amount_sat, SAT_DECIMALS)
        body = {"client_id": str(client_id), "quantity_btc": quantity}
        raw = await fetch("venue", "POST", f"{self._url}/v1/sales", headers=self._headers, body=body)
        return parse_trade(raw, self._name, client_id, amount_sat)


def parse_trade(raw: bytes, venue: str, client_id: UUID, amount_sat: int) -> Trade:
    """The trade as answered, compared with the request. DecodeError where they differ."""
    answer = _json(raw)
    if answer.get("client_id") != str(client_id) or _decimal(answer, "quantity_btc", SAT_DECIMALS) != amount_sat:
        raise DecodeError("sale", "the answer is for another order")
    proceeds, fee = _decimal(answer, "proceeds_usd", CENT_DECIMALS), _decimal(answer, "fee_usd", CENT_DECIMALS)
    if not 0 <= fee < proceeds:
        raise DecodeError("sale", f"fee {fee} against proceeds {proceeds} (cents) cannot be")
    trade_id, price = answer.get("trade_id"), answer.get("price_usd")
    if not isinstance(trade_id, str) or not 0 < len(trade_id) <= 100 or not trade_id.isprintable():
        raise DecodeError("sale.trade_id", "is missing or not printable")
    _decimal(answer, "price_usd", PRICE_DECIMALS)
    at_ms = _instant(answer, "executed_at")
    return Trade(venue, trade_id, client_id, amount_sat, str(price), proceeds, fee, at_ms, raw)


def _json(raw: bytes) -> dict[str, Any]:
    found = decimal_json(raw, "venue")
    if not isinstance(found, dict):
        raise DecodeError("venue", "not a JSON object")
    return found


def _decimal(answer: dict[str, Any], key: str, scale: int) -> int:
    found = answer.get(key)
    if not isinstance(found, str):
        raise DecodeError(key, "is missing or no decimal")
    try:
        return decimal_to_int(found, scale, key)
    except ValueError as error:
        raise DecodeError(key, str(error)) from None


def _instant(answer: dict[str, Any], key: str) -> int:
    try:
        return from_iso(str(answer.get(key)))
    except ValueError as error:
        raise DecodeError(key, str(error)) from None
