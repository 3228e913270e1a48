# SPDX-License-Identifier: Apache-2.0
"""JSON from outside: linear in its input, with bounds on depth and number of elements.

Everything that was not written by this hub is read here: what a miner, a meter, a pool, a person sends. orjson refuses lone
surrogates, NaN and numbers beyond a double, in one pass in C; depth and elements are counted in C too, so that the bounds cost a
poll nothing that can be measured.
"""

import json
import re
from typing import Any, Final

import numpy as np
import orjson

from kernel.errors import DecodeError

MOST_DEPTH: Final = 64
MOST_ELEMENTS: Final = 200_000
"""Objects, lists and commas of one document."""
INT64: Final = range(-(1 << 63), 1 << 63)

_TEXTS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


class NotJson(DecodeError):
    """The bytes are no JSON at all: a caller may know a way to repair them."""


class TooMuch(DecodeError):
    """JSON beyond the bounds: nothing of it is used."""


def foreign_json(raw: bytes | bytearray, place: str, most_elements: int = MOST_ELEMENTS) -> Any:
    """The document of the bytes; of a key that stands twice the last one counts. Raises NotJson or TooMuch, both DecodeError."""
    openers = raw.count(b"{") + raw.count(b"[")
    elements = openers + raw.count(b",")
    if elements > most_elements:
        raise TooMuch(place, f"holds {elements} elements, more than {most_elements}")
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise NotJson(place, f"is no JSON: {error}"[:200]) from None
    if openers > MOST_DEPTH and _depth(bytes(raw)) > MOST_DEPTH:
        raise TooMuch(place, f"is nested more than {MOST_DEPTH} deep")
    return found


def strict_json(raw: bytes | bytearray, place: str) -> Any:
    """As `foreign_json`, for what is acted upon: a key that stands twice and a whole number beyond 64 bits are refused too."""
    foreign_json(raw, place)
    try:
        return json.loads(raw, object_pairs_hook=_once, parse_int=_whole)
    except ValueError as error:
        raise TooMuch(place, str(error)[:200]) from None


def decimal_json(raw: bytes | bytearray, place: str) -> Any:
    """As `foreign_json`, with every number as the text that stands there: money is never a double."""
    foreign_json(raw, place)
    try:
        return json.loads(raw, parse_float=str, parse_int=str, object_pairs_hook=_once)
    except ValueError as error:
        raise TooMuch(place, str(error)[:200]) from None


def _depth(raw: bytes) -> int:
    """Deepest nesting of a valid document."""
    text = np.frombuffer(_TEXTS.sub(b"", raw), dtype=np.uint8)
    steps = ((text == 0x5B) | (text == 0x7B)).astype(np.int8) - ((text == 0x5D) | (text == 0x7D)).astype(np.int8)
    return int(steps.cumsum(dtype=np.int32).max(initial=0))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:60]!r} stands twice")
    return found


def _whole(text: str) -> int:
    # Longer texts are never converted: the conversion is quadratic in the number of digits.
    if len(text) > 20 or int(text) not in INT64:
        raise ValueError(f"the number {text[:24]} does not fit into 64 bits")
    return int(text)
