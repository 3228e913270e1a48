# SPDX-License-Identifier: Apache-2.0
"""Each parser of foreign bytes is linear: eight times the input costs about eight times the processor, whatever the input is."""

import time
from collections.abc import Callable
from datetime import date
from typing import Any
from uuid import UUID

import pytest

from grid.io.dispatch_mqtt import MOST_BYTES, object_of
from kernel.errors import ConfigError, DecodeError, TransportError
from kernel.foreign_json import MOST_DEPTH, NotJson, TooMuch, decimal_json, foreign_json, strict_json
from kernel.toml_model import parse_toml
from miner_control.dialect import DIALECTS, cgminer
from miner_control.dialect.reply import http_is_whole, rpc_is_whole, settled
from miner_control.inventory.import_inventory import imported
from miner_control.inventory.spreadsheet import decoded, rows_of
from miner_control.io.miner_http import parse_http
from telemetry.collect.source import Tier
from telemetry.wire import iec61107, sparkplug
from treasury.contract import parse_contract
from treasury.io.pool_braiins import parse_payouts, parse_rewards
from treasury.io.rates_nbk import parse_rate
from treasury.io.venue_http import parse_trade

SMALL, TIMES = 6_000, 8
CHEAP_S = 0.03
MOST_S = 1.0
"""What costs less for the larger input is no danger, and too short to compare."""
REFUSED = (DecodeError, TransportError, ConfigError, ValueError)


def of(text: str) -> Callable[[int], bytes]:
    """The text again and again, up to a size."""
    return lambda size: (text * (size // len(text) + 1))[:size].encode()


def within(begin: str, text: str, end: str) -> Callable[[int], bytes]:
    return lambda size: begin.encode() + of(text)(size) + end.encode()


SHAPES: dict[str, Callable[[int], bytes]] = {
    "brackets": of("["), "objects": of('{"a":'), "both": of('[{"a":['), "closers": of("]}"), "commas": of(","),
    "commas in a text form": within("STATUS=S|", "A=1,", "|"), "bars": of("|"), "pairs": within("X,", "A[1", "|"),
    "opened and never closed": within("STATUS,A=[", "b,", "|"), "quotes": of('"'), "escapes": within('{"a":"', "\\\\", ""),
    "an unclosed text": within('{"a":"', "b", ""), "empty texts": within("{", '"" ', "}"),
    "one number": within('{"a":', "9", "}"),
    "a fraction": within('{"a":0.', "9", "}"), "spaces": within("{", " ", "}"), "line ends": within('{"a"', "\n", "}"),
    "line ends behind a quote": within('{"a":"b"', "\n", "c"), "nan": within("[", "nan,", "1]"),
    "rows": within('{"S":[', '{"A":1}', "]}"),
    "rows without commas": within('{"S":[', '{"A":1}{"B":"c"}', ""), "keys": within("{", '"a":1,', '"b":2}'),
    "lists like objects": within('{"a":[', '"110":"b",', ""), "lists like objects, nested": of('["1":"2",'),
    "control characters": within('{"a":"', "\x01", '"}'), "tags": of("<a>"), "title": of("<title"),
    "zeros": lambda size: bytes(size),
    "high bytes": lambda size: b"\xff" * size, "headers": within("HTTP/1.1 200 OK\r\n", "A: b\r\n", "\r\nx"),
    "chunks": within("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\na\r\n", "0\r\n\r\n"),
    "values of a meter": within("\x02A", "(1)", "\x03"), "lines of CSV": within("a,b\n", "1,2\n", ""),
    "cells": within("a\n", '"', "\n"),
    "tables of TOML": of("[[a]]\n"), "keys of TOML": of("a."), "arrays of TOML": within("a=", "[", ""),
    "XML": within("<?xml version='1.0'?><a>", "<b>", ""), "entities": within("<!DOCTYPE a [<!ENTITY b 'c'>]><a>", "&b;", "</a>"),
}  # fmt: skip


def decoded_by(name: str) -> Callable[[bytes], Any]:
    """A dialect's decoder over a reply under each of the names that it may know."""

    def read(raw: bytes) -> Any:
        document = cgminer.parse(raw)
        names = ("summary", "stats", "pools", "devs", "version", "config", "temps", "miner_stats", "estats", "mode")
        return DIALECTS[name].decode(dict.fromkeys(names, document), Tier.DAILY)  # type: ignore[attr-defined]

    return read


def pieces(whole: Callable[[bytearray, bool], bool]) -> Callable[[bytes], Any]:
    """The end of a reply is looked for at each of sixty-four pieces, then in the silence after it."""

    def read(raw: bytes) -> None:
        buffer = bytearray()
        step = len(raw) // 64 + 1
        for at in range(0, len(raw), step):
            buffer += raw[at : at + step]
            whole(buffer, False)
        settled(whole, buffer)

    return read


PARSERS: dict[str, Callable[[bytes], Any]] = {
    "foreign_json": lambda raw: foreign_json(raw, "x"),
    "strict_json": lambda raw: strict_json(raw, "x"),
    "decimal_json": lambda raw: decimal_json(raw, "x"),
    "cgminer": cgminer.parse,
    "cgminer, to be written back": lambda raw: cgminer.parse(raw, whole=True),
    **{name: decoded_by(name) for name in DIALECTS},
    "end of an RPC reply": pieces(rpc_is_whole),
    "end of an HTTP reply": pieces(http_is_whole),
    "HTTP": parse_http,
    "order by MQTT": lambda raw: object_of(raw[:MOST_BYTES]),
    "Sparkplug": sparkplug.decode_payload,
    "IEC 61107": lambda raw: iec61107.values(raw, "A"),
    "TOML": lambda raw: parse_toml(raw, "x"),
    "inventory": lambda raw: rows_of(decoded(raw)),
    "export of another system": lambda raw: imported(decoded(raw), "x", "h", "s", lambda model: True),
    "contract": lambda raw: parse_contract(raw, "x"),
    "payouts": lambda raw: parse_payouts(raw, "p", "a"),
    "rewards": lambda raw: parse_rewards(raw, "p", "a"),
    "trade": lambda raw: parse_trade(raw, "v", UUID(int=1), 1),
    "rates": lambda raw: parse_rate(raw, "USD", date(2026, 1, 1), "x"),
}


def cost_s(parse: Callable[[bytes], Any], raw: bytes) -> float:
    """Processor time of a parse, the cheapest of three where one is not cheap."""
    spent: list[float] = []
    while not spent or (len(spent) < 3 and CHEAP_S < spent[-1] < 5.0):
        begin = time.process_time()
        try:
            parse(raw)
        except REFUSED:
            pass
        spent.append(time.process_time() - begin)
    return min(spent)


@pytest.mark.parametrize("parser", PARSERS)
def test_more_of_the_same_costs_no_more_than_in_proportion(parser: str) -> None:
    slow = {}
    for shape, make in SHAPES.items():
        large_s = cost_s(PARSERS[parser], make(SMALL * TIMES))
        if large_s < CHEAP_S:
            continue
        small_s = cost_s(PARSERS[parser], make(SMALL))
        if large_s > 3.0 * TIMES * max(small_s, 0.001) or large_s > MOST_S:
            slow[shape] = (round(small_s, 4), round(large_s, 4))
    assert not slow, "shape: seconds for 6 kB and for eight times as much"


def test_what_no_reader_gets_through_is_a_fault_with_its_place() -> None:
    for raw, place in (
        (b"a=" + b"[" * 5000, "x: is nested"),
        (b"b=1\n" + b"a." * 33 + b"a=1", "x line 2"),
        (b"a" * 100, "x: is not TOML"),
    ):
        with pytest.raises(ConfigError, match=place):
            parse_toml(raw, "x")
    assert parse_toml("a = [" + "1.5, " * 100 + "2]", "x")["a"][0] == 1.5
    for read in (rows_of, lambda text, place: imported(text, place, "h", "s", lambda model: True)):
        with pytest.raises(ConfigError, match="x line 3: is no CSV"):
            read('a,b\n1,2\n3,"' + "4" * 140_000, "x")


def test_the_bounds_of_foreign_json() -> None:
    deepest = b"[" * MOST_DEPTH + b"]" * MOST_DEPTH
    assert foreign_json(deepest, "x")
    for raw in (b"[" + deepest + b"]", b'[1,{"a":' * 40 + b"1" + b"}]" * 40):
        with pytest.raises(TooMuch, match="nested"):
            foreign_json(raw, "x")
    many = b'["' + b"[{" * 200 + b'"' + b",[]" * 200 + b"]"
    assert len(foreign_json(many, "x")) == 201, "brackets within a text nest nothing"
    with pytest.raises(TooMuch, match="elements"):
        foreign_json(b"[" + b"1," * 200_001 + b"1]", "x")
    for raw in (b"", b"{", b"nan", b'{"a":NaN}', b'"\\ud800"', b"1e999", b"\xff"):
        with pytest.raises(NotJson):
            foreign_json(raw, "x")


def test_what_is_acted_upon_has_no_key_twice_and_no_number_beyond_64_bits() -> None:
    assert strict_json(b'{"a":9223372036854775807,"b":-9223372036854775808,"c":1.5}', "x")["c"] == 1.5
    for raw, text in (
        (b'{"a":1,"a":2}', "stands twice"), (b'[{"b":{"a":1,"a":1}}]', "stands twice"),
        (b'{"a":9223372036854775808}', "64 bits"), (b'{"a":' + b"9" * 30 + b"}", "64 bits"),
        (b'{"a":' + b"9" * 400 + b"}", "infinity"),
    ):  # fmt: skip
        with pytest.raises(DecodeError, match=text):
            strict_json(raw, "x")
    assert decimal_json(b'{"a":0.10,"b":1}', "x") == {"a": "0.10", "b": "1"}
