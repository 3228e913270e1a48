# SPDX-License-Identifier: Apache-2.0
"""Braiins Pool, read-only, in its documented format (help pages "Monitoring" of Braiins Academy).

`GET /accounts/rewards/json/btc` and `/accounts/payouts/json/btc` with `from`, `to` (YYYY-MM-DD) and the header
`Pool-Auth-Token`; about one request in five seconds. Days are UTC, amounts BTC as text or whole satoshi. JSON numbers are
read as text: no amount passes through a float. Only payouts with status confirmed are reported.
"""

import asyncio
from datetime import date
from typing import Any

from kernel.clock import MS_PER_S, Clock, to_datetime
from kernel.errors import DecodeError
from kernel.foreign_json import decimal_json
from kernel.ids import sha256_hex
from kernel.money import INT64_MAX, decimal_to_int
from kernel.units import SAT_DECIMALS
from treasury.io.web import fetch, safe_url
from treasury.payout import PoolPayout, PoolRecords, PoolReward


class BraiinsPool:
    """One account at the pool. `gap_s`: minimum time between requests."""

    def __init__(
        self, url: str, account: str, token: str, clock: Clock, *, gap_s: float = 5.0, name: str = "braiins"
    ) -> None:
        self._url, self._account, self._token, self._name = safe_url(url, "pool"), account, token, name
        self._clock, self._gap_s, self._last_s = clock, gap_s, -1e9

    async def read(self, first: date, last: date) -> PoolRecords:
        days = {"from": str(first), "to": str(last)}
        rewards = await self._get("/accounts/rewards/json/btc", days)
        payouts = await self._get("/accounts/payouts/json/btc", days)
        return PoolRecords(
            tuple(parse_rewards(rewards, self._name, self._account)),
            tuple(parse_payouts(payouts, self._name, self._account)),
            (rewards, payouts),
        )

    async def _get(self, path: str, params: dict[str, str]) -> bytes:
        wait_s = self._last_s + self._gap_s - self._clock.monotonic_s()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        self._last_s = self._clock.monotonic_s()
        return await fetch("pool", "GET", self._url + path, headers={"Pool-Auth-Token": self._token}, params=params)


def parse_rewards(raw: bytes, pool: str, account: str) -> list[PoolReward]:
    """Daily rewards, oldest first. DecodeError names the place."""
    evidence, found = sha256_hex(raw), list[PoolReward]()
    rows = _at(_json(raw), "btc", "daily_rewards")
    for number, row in enumerate(_rows(rows, "btc.daily_rewards")):
        place = f"btc.daily_rewards[{number}]"
        day = to_datetime(_whole(row, "date", place) * MS_PER_S).date()
        found.append(PoolReward(pool, account, day, _btc(row, "total_reward", place), evidence))
    doubled = {reward.day for reward in found if sum(other.day == reward.day for other in found) > 1}
    if doubled:
        raise DecodeError("btc.daily_rewards", f"the day {min(doubled)} occurs twice")
    return sorted(found, key=lambda reward: reward.day)


def parse_payouts(raw: bytes, pool: str, account: str) -> list[PoolPayout]:
    """Confirmed payouts, on-chain and Lightning, oldest first. DecodeError names the place."""
    evidence, answer, found = sha256_hex(raw), _json(raw), dict[str, PoolPayout]()
    for channel, key_name in (("onchain", "tx_id"), ("lightning", "preimage")):
        for number, row in enumerate(_rows(answer.get(channel, []), channel)):
            place = f"{channel}[{number}]"
            if row.get("status") != "confirmed":
                continue
            key = row.get(key_name)
            if not isinstance(key, str) or not key or not key.isprintable() or len(key) > 200:
                raise DecodeError(f"{place}.{key_name}", "a confirmed payout without its transaction")
            at_ms = _whole(row, "resolved_at_ts", place) * MS_PER_S
            amount, fee = _sat(row, "amount_sats", place), _sat(row, "fee_sats", place)
            if amount <= 0:
                raise DecodeError(f"{place}.amount_sats", f"{amount} is not above zero")
            made = PoolPayout(pool, account, key, at_ms, amount, fee, str(row.get("destination", "")), evidence)
            if found.setdefault(key, made) != made:
                raise DecodeError(f"{place}.{key_name}", f"{key} occurs twice with different amounts")
    return sorted(found.values(), key=lambda payout: (payout.at_ms, payout.key))


def _json(raw: bytes) -> dict[str, Any]:
    found = decimal_json(raw, "answer")
    if not isinstance(found, dict):
        raise DecodeError("answer", "not a JSON object")
    return found


def _at(found: Any, *keys: str) -> Any:
    for depth, key in enumerate(keys, start=1):
        if not isinstance(found, dict) or key not in found:
            raise DecodeError(".".join(keys[:depth]), "is missing")
        found = found[key]
    return found


def _rows(found: Any, place: str) -> list[dict[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise DecodeError(place, "is no list of objects")
    return found


def _text(row: dict[str, Any], key: str, place: str) -> str:
    found = row.get(key)
    if not isinstance(found, str):
        raise DecodeError(f"{place}.{key}", "is missing or no number")
    return found


def _whole(row: dict[str, Any], key: str, place: str) -> int:
    try:
        return _bounded(decimal_to_int(_text(row, key, place), 0, key), f"{place}.{key}")
    except ValueError as error:
        raise DecodeError(f"{place}.{key}", str(error)) from None


def _sat(row: dict[str, Any], key: str, place: str) -> int:
    return _whole(row, key, place)


def _btc(row: dict[str, Any], key: str, place: str) -> int:
    try:
        return _bounded(decimal_to_int(_text(row, key, place), SAT_DECIMALS, key), f"{place}.{key}")
    except ValueError as error:
        raise DecodeError(f"{place}.{key}", str(error)) from None


def _bounded(value: int, place: str) -> int:
    if not 0 <= value <= INT64_MAX:
        raise DecodeError(place, f"{value} is not between 0 and 2^63 - 1")
    return value
