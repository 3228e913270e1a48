# SPDX-License-Identifier: Apache-2.0
"""Replies that are shuffled, thinned, of other types, or cut, through the door that a poll takes: nothing but a DecodeError is
raised, and no figure is told that does not stand in the reply."""

from collections.abc import Callable, Iterator
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest

from kernel.errors import DecodeError, TransportError
from kernel.reading import Absence
from kernel.receipt import Accepted, Refused, Unknown, Unreachable, Unsupported
from miner_control.dialect import DIALECTS
from miner_control.dialect.figures import plain
from miner_control.fleet.driver import Answer, Http, Request
from telemetry.collect.source import Tier
from tests.builders.intents import INTENTS
from tests.miner_control.dialect.fixtures_families import doors
from tests.miner_control.dialect.laws import check
from tests.miner_control.dialect.play import Play
from tests.servers import count

NAMES = sorted(doors())
TIERS = list(Tier)
SCALES = (1.0, 1e-3, 1e3, 1e6, 1e9, 1e12)
# Each is a figure of the reply in other units, or a sum of those that stand under one name (boards, supplies, pools).
TAKEN = (
    "hashrate_hs", "hashrate_nominal_hs", "power_w", "power_limit_w", "uptime_s", "temp_board_max_c", "temp_chip_max_c",
    "temp_inlet_c", "temp_outlet_c", "fan_min_rpm", "fan_max_rpm", "shares_accepted", "shares_rejected", "shares_stale",
    "hw_errors",
)  # fmt: skip
COUNTED = ("boards_hashing", "boards_expected", "chips_hashing", "chips_expected")

STATUSES = (200, 200, 200, 200, 204, 400, 401, 403, 404, 500)
ODD = (
    b"", b"null", b"[]", b"{}", b"true", b"5", b'"ok"', b"<html></html>", b"{", b"\xff", b"[1, {}]", b'{"result": "true"}',
    b'{"STATUS": []}', b'{"STATUS": [{"STATUS": "S"}], "SESSION": [{"SessionID": 7}], "PROFILES": [{"Watts": "1 W"}]}',
    b'{"STATUS": {"STATUS": "E"}}', b'{"STATUS": [{"STATUS": "S", "Msg": null}], "POOLS": [{"POOL": "x"}]}',
    b'{"STATUS": [{"STATUS": "E", "Code": 14, "Msg": ["no"]}]}', b'{"token": 5}', b'{"token": "t", "timeout_s": "soon"}',
    b'{"STATUS": [{"STATUS": "S"}], "Token": [{"Token": 5}]}', b'{"presets": {"name": 1}}', b'[{"name": 2, "status": "tuned"}]',
    b'{"result": false, "error": {"a": 1}}', b'{"restart_required": true}', b'{"stratumTLS": "x", "miner_state": 5}',
)  # fmt: skip

Spoil = Callable[[Any, np.random.Generator], Any]


def thinned(found: Any, rng: np.random.Generator) -> Any:
    """Keys in another order, and some left out."""
    if isinstance(found, dict):
        keys = [key for key in found if rng.random() > 0.08]
        return {str(key): thinned(found[key], rng) for key in rng.permutation(keys)}
    return [thinned(value, rng) for value in found] if isinstance(found, list) else found


def retyped(found: Any, rng: np.random.Generator) -> Any:
    """Numbers as text and text as number, nothing in place of something, lists as objects and objects as lists."""
    chance = rng.random()
    if chance < 0.05:
        return (None, "", [], {}, "N/A", "nan", False)[int(rng.integers(7))]
    if isinstance(found, dict):
        changed = {key: retyped(value, rng) for key, value in found.items()}
        return [changed] if chance < 0.08 else changed
    if isinstance(found, list):
        changed_list = [retyped(value, rng) for value in found]
        return (changed_list[0] if changed_list else {}) if chance < 0.08 else changed_list
    if isinstance(found, float | int) and not isinstance(found, bool) and chance < 0.35:
        return f"{found}" if chance < 0.25 else f" {found} W"
    number = plain(found) if isinstance(found, str) and chance < 0.35 else None
    return found if number is None else number


class Odd(Play):
    """Replies that have nothing to do with what was asked, or that say it in another way."""

    rng: np.random.Generator

    def _answer(self, request: Request) -> Answer | Exception:
        if self.rng.random() < 0.05:
            return TransportError(Absence.TIMED_OUT, "busy")
        status = STATUSES[int(self.rng.integers(len(STATUSES)))] if isinstance(request, Http) else 0
        return Answer(ODD[int(self.rng.integers(len(ODD)))], status)


class Cut(Play):
    """A line that breaks off: of some replies only the first part arrives."""

    rng: np.random.Generator

    def _answer(self, request: Request) -> Answer | Exception:
        answer = super()._answer(request)
        if isinstance(answer, Answer) and self.rng.random() < 0.5:
            return answer._replace(body=answer.body[: int(self.rng.integers(len(answer.body) + 1))])
        return answer


def numbers(found: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a document, with the name that it stands under."""
    if isinstance(found, dict):
        for name, value in found.items():
            # What differs by its number alone is told of several of one kind: `Fans Speed 1`, `fan2rpm`.
            yield from numbers(value, str(name).strip("0123456789 "))
    elif isinstance(found, list):
        for at, value in enumerate(found):
            # Figures side by side differ in what they are, objects side by side do not.
            yield from numbers(value, f"{key}[{at}]" if at and not isinstance(value, dict) else key)
    elif not isinstance(found, bool | bytes):
        number = plain(found)
        if number is not None:
            yield key, number


def could_be(reported: dict[str, list[float]]) -> np.ndarray:
    """All that may be told: each number in any unit, and the sums of those under one name. Shape [figures], ascending."""
    found = set()
    for several in reported.values():
        few = several[:6]
        for size in range(1, len(few) + 1):
            found |= {sum(some) for some in combinations(few, size)}
        found |= set(several)
    return np.unique(np.multiply.outer(np.array([0.0, *found]), np.array(SCALES)))


def judge(play: Play, reported: Any, tier: Tier) -> None:
    try:
        values = play.read(tier)
    except DecodeError:
        return
    check(values)
    by_name: dict[str, list[float]] = {}
    for name, number in numbers(reported):
        by_name.setdefault(name, []).append(number)
    may_be = could_be(by_name)
    for metric in TAKEN:
        value = values.get(metric)
        if isinstance(value, float | int):
            near = may_be[np.clip(np.searchsorted(may_be, value) + np.array([-1, 0]), 0, len(may_be) - 1)]
            assert np.isclose(near, value, rtol=1e-9).any(), f"{metric} {value!r} stands nowhere in the reply"
    for metric in COUNTED:
        value = values.get(metric)
        assert not isinstance(value, float | int) or value == int(value) >= 0


@pytest.mark.parametrize("spoil", [thinned, retyped], ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_spoilt_replies_tell_nothing_that_they_do_not_hold(name: str, spoil: Spoil) -> None:
    for seed in range(count(25, 1500)):
        rng = np.random.default_rng([seed, NAMES.index(name)])
        play = doors()[name]
        play.table |= {asked: spoil(answer, rng) for asked, answer in play.table.items()}
        judge(play, list(play.table.values()), TIERS[seed % len(TIERS)])


@pytest.mark.parametrize("name", NAMES)
def test_cut_replies_tell_nothing_beyond_the_whole(name: str) -> None:
    """What is cut may still be read as far as it goes."""
    for seed in range(count(25, 1500)):
        door = doors()[name]
        play = Cut(door.dialect, door.table, door.joins, door.rpc_closed)
        play.rng = np.random.default_rng([seed, NAMES.index(name)])
        judge(play, list(door.table.values()), TIERS[seed % len(TIERS)])


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_whatever_is_replied_to_a_command_there_is_a_receipt(dialect: str) -> None:
    for seed, (at, intent) in product(range(count(40, 1500)), enumerate(INTENTS.values())):
        play = Odd(dialect, {})
        play.rng = np.random.default_rng([seed, at, len(dialect)])
        try:
            receipt = play.carry_out(intent)
        except (DecodeError, TransportError):
            continue  # which the driver tells as a receipt
        assert isinstance(receipt, Accepted | Refused | Unknown | Unreachable | Unsupported)
        assert isinstance(getattr(receipt, "text", ""), str) and isinstance(getattr(receipt, "code", ""), str)


@pytest.mark.parametrize("name", NAMES)
def test_whole_replies_are_read_whole(name: str) -> None:
    play = doors()[name]
    values = play.read(Tier.DAILY)
    check(values)
    assert values["state"] == "hashing" and values["hashrate_hs"] > 0 and values["power_w"] > 0
