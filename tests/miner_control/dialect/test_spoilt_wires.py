# SPDX-License-Identifier: Apache-2.0
"""Whatever the wire does to an answer, it is read or it is a DecodeError, and no figure is told that is not in it.

Each shape of Antminers, Whatsminers and Avalons is asked through its dialect as a live hub asks, of answers that were cut,
had bytes changed or lost, keys left out and put into another order, or values of another type.
"""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import orjson
import pytest

from kernel.errors import DecodeError
from kernel.metric import TEXT_METRICS
from kernel.reading import Missing
from miner_control.dialect import cgminer
from telemetry.collect.source import Tier
from tests.builders import shapes_antminer, shapes_avalon, shapes_whatsminer
from tests.builders.spoilt_answers import ODD
from tests.miner_control.dialect.laws import check
from tests.miner_control.dialect.play import Play
from tests.servers import count

PLAYS = {
    name: play
    for module in (shapes_antminer, shapes_avalon, shapes_whatsminer)
    for name, (play, _) in module.SHAPES.items()
}
# Sums and counts over boards, chips and pools; what is told beside a figure and is in no answer.
RECKONED = frozenset(
    {"boards_hashing", "boards_expected", "chips_hashing", "chips_expected", "hashrate_nominal_hs", "hashrate_window_s"}
    | {"hashrate_hs", "shares_accepted", "shares_rejected", "shares_stale", "frequency_hz", "voltage_v", "power_w"}
)
SCALES = (1.0, 1e3, 1e6, 1e9, 1e12, 0.01)
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
# Of a board whose present rate is lost, the mean says whether it hashes.
MEAN_STEPS_IN = frozenset({"MHS 5s", "hash-realtime"})
Table = dict[str, bytes]


def one_of(table: Table, rng: np.random.Generator) -> tuple[str, bytes]:
    name = list(table)[int(rng.integers(len(table)))]
    return name, table[name]


def cut(table: Table, rng: np.random.Generator) -> Table:
    name, body = one_of(table, rng)
    return table | {name: body[: int(rng.integers(len(body) + 1))]}


def noisy(table: Table, rng: np.random.Generator) -> Table:
    name, body = one_of(table, rng)
    bytes_of = bytearray(body)
    for _ in range(int(rng.integers(1, 6)) if bytes_of else 0):
        bytes_of[int(rng.integers(len(bytes_of)))] = int(rng.integers(256))
    return table | {name: bytes(bytes_of)}


def gap(table: Table, rng: np.random.Generator) -> Table:
    name, body = one_of(table, rng)
    start = int(rng.integers(len(body) + 1))
    return table | {name: body[:start] + body[start + int(rng.integers(1, 40)) :]}


def retyped(table: Table, rng: np.random.Generator) -> Table:
    return {name: _retyped_body(body, rng) for name, body in table.items()}


def _retyped_body(body: bytes, rng: np.random.Generator) -> bytes:
    try:
        document = orjson.loads(body.rstrip(b"\x00"))
    except orjson.JSONDecodeError:
        return body
    return orjson.dumps(_retype(document, rng))


def _retype(found: Any, rng: np.random.Generator) -> Any:
    if rng.random() < 0.04:
        return ODD[int(rng.integers(len(ODD)))]
    if isinstance(found, dict):
        keys = [key for key in found if rng.random() > 0.04]
        return {key: _retype(found[key], rng) for key in rng.permutation(np.array(keys, dtype=object))}
    if isinstance(found, list):
        kept = [_retype(entry, rng) for entry in found]
        return {str(at): entry for at, entry in enumerate(kept)} if rng.random() < 0.03 else kept
    if isinstance(found, float | int) and not isinstance(found, bool) and rng.random() < 0.3:
        return str(found)
    return found


def figures_in(table: Table) -> list[float]:
    text = b" ".join(table.values()).decode("utf-8", "replace")
    return [abs(float(found)) for found in NUMBER.findall(text) + NUMBER.findall(text.replace(",", ""))]


@pytest.mark.parametrize("spoil", [cut, noisy, gap, retyped], ids=lambda spoil: spoil.__name__)
@pytest.mark.parametrize("tier", Tier)
def test_no_figure_that_is_not_in_the_answer(spoil: Callable[..., Table], tier: Tier) -> None:
    texts = TEXT_METRICS["miner"]
    for name, play in PLAYS.items():
        whole = {
            command: body if isinstance(body, bytes) else orjson.dumps(body) for command, body in play.table.items()
        }
        for seed in range(count(4, 200)):
            table = spoil(whole, np.random.default_rng([seed, len(name)]))
            try:
                values = Play(play.dialect, dict(table), joins=False, rpc_closed=play.rpc_closed).read(tier)
            except DecodeError:
                continue
            check(values)
            there = figures_in(table)
            for metric, value in values.items():
                if metric in texts or metric in RECKONED or isinstance(value, Missing) or value == 0:
                    continue
                assert any(
                    math.isclose(abs(float(value)), figure * scale, rel_tol=1e-9)
                    for figure in there
                    for scale in SCALES
                ), f"{name}, seed {seed}: {metric} is {value}"


@pytest.mark.parametrize("spoil", [cut, noisy, gap], ids=lambda spoil: spoil.__name__)
def test_nothing_spoilt_sleeps_that_did_not(spoil: Callable[..., Table]) -> None:
    """A miner that is broken or at work is never read as asleep because something of its answer was lost."""
    for name, play in PLAYS.items():
        whole = {
            command: body if isinstance(body, bytes) else orjson.dumps(body) for command, body in play.table.items()
        }
        if play.dialect == "whatsminer_v3" or Play(play.dialect, dict(whole), joins=False).read()["state"] == "asleep":
            # A frame of v3 that is cut is never whole, and is no answer.
            continue
        for seed in range(count(4, 200)):
            table = spoil(whole, np.random.default_rng([seed, len(name)]))
            try:
                values = Play(play.dialect, dict(table), joins=False).read(Tier.FAST)
            except DecodeError:
                continue
            assert values["state"] != "asleep", f"{name}, seed {seed}"


SPELLINGS: dict[str, Callable[[Any], Any]] = {
    "numbers as text": lambda found: str(found) if type(found) in (int, float) else found,
    "whole numbers with a point": lambda found: float(found) if type(found) is int else found,
    "yes and no as text": lambda found: str(found).lower() if type(found) is bool else found,
    "yes and no as numbers": lambda found: int(found) if type(found) is bool else found,
    "texts with blanks around": lambda found: f" {found} " if type(found) is str else found,
}


def respelt(found: Any, spell: Callable[[Any], Any]) -> Any:
    if isinstance(found, dict):
        return {key: respelt(value, spell) for key, value in found.items()}
    return [respelt(entry, spell) for entry in found] if isinstance(found, list) else spell(found)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_another_spelling_is_the_same_figure(spelling: str) -> None:
    for name, play in PLAYS.items():
        table = {
            command: cgminer.parse(reported) if reported and isinstance(reported, bytes) else reported
            for command, reported in play.table.items()
        }
        values = Play(play.dialect, respelt(table, SPELLINGS[spelling]), joins=False).read()
        for metric, meant in play.read().items():
            found = values[metric]
            if metric.endswith("_json"):
                continue
            if isinstance(meant, Missing):
                assert isinstance(found, Missing) and found.reason is meant.reason, f"{name}: {metric} is {found}"
            else:
                same = (
                    found.split() == meant.split()
                    if isinstance(found, str) and isinstance(meant, str)
                    else found == meant
                )
                assert same, f"{name}: {metric} is {found}"


def without_each_key(found: Any) -> Iterator[Any]:
    """The document without one of its keys, for each key of a plain value in it."""
    places = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    for key, value in places:
        if isinstance(value, dict | list):
            for less in without_each_key(value):
                yield ({**found, key: less} if isinstance(found, dict) else [*found[:key], less, *found[key + 1 :]])
        elif isinstance(found, dict) and key not in MEAN_STEPS_IN:
            yield {name: reported for name, reported in found.items() if name != key}


def test_totals_are_complete_or_missing() -> None:
    """What one board does not tell makes no smaller count: its chips are not dead because a key of them was lost. Nor is
    another pool worked for because the address of the one was."""
    for name, play in PLAYS.items():
        meant = play.read()
        for command, reported in play.table.items():
            for less in without_each_key(
                cgminer.parse(reported) if reported and isinstance(reported, bytes) else reported
            ):
                try:
                    values = Play(play.dialect, play.table | {command: less}, joins=False).read()
                except DecodeError:
                    continue
                for metric in ("boards_hashing", "chips_hashing", "pool_url"):
                    found = values[metric]
                    assert isinstance(found, Missing) or found == meant[metric], f"{name}: {metric} is {found}"
