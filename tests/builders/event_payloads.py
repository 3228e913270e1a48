# SPDX-License-Identifier: Apache-2.0
"""Payloads of events against the types of their rows."""

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from hub.state.event_table import EVENTS
from kernel.actor import FIELD


def faults(kind: str, body: Mapping[str, Any]) -> list[str]:
    """Fields of a body that are missing, unknown, or of another type than its row's payload has."""
    row = EVENTS[kind]
    hints = get_type_hints(row.payload)
    found = [f"{kind}: {name} is missing" for name in row.payload.__required_keys__ if name not in body]
    found += [f"{kind}: {name} is unknown" for name in body if name not in (*hints, FIELD) and not row.further]
    return found + [
        f"{kind}: {name} is {value!r}, not {hints[name]}"
        for name, value in body.items()
        if name in hints and not _is(value, hints[name])
    ]


def _is(value: Any, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(_is(value, one) for one in inner)
    if origin is list:
        return isinstance(value, list) and all(_is(one, inner[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(_is(k, inner[0]) and _is(v, inner[1]) for k, v in value.items())
    if hint in (float, int):
        return isinstance(value, (int, float) if hint is float else int) and not isinstance(value, bool)
    return value is None if hint is NoneType else isinstance(value, hint)
