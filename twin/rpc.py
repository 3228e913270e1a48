# SPDX-License-Identifier: Apache-2.0
"""What the cgminer family shares on the wire: requests, the STATUS list, joined commands, and the ways answers break."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

Json = dict[str, Any]


def status(code: int, text: str, when_s: int, maker: str, letter: str = "S") -> list[Json]:
    """The STATUS list of a cgminer answer."""
    return [{"STATUS": letter, "When": when_s, "Code": code, "Msg": text, "Description": maker}]


def refusal(code: int, text: str, when_s: int, maker: str) -> Json:
    return {"STATUS": status(code, text, when_s, maker, "E"), "id": 1}


def parse(payload: bytes) -> Json | None:
    """A request as JSON, or the old text form `command|parameter`; None where it is neither."""
    text = payload.strip(b"\0\r\n ")
    if text.startswith(b"{"):
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError:
            return None
        return found if isinstance(found, dict) else None
    words = text.decode(errors="replace").split("|", 1)
    return {"command": words[0], "parameter": words[1]} if len(words) > 1 else {"command": words[0]}


def complete(payload: bytes) -> bool:
    """Whether a request is whole: a NUL or line end closes it, or its JSON does."""
    if payload.endswith((b"\0", b"\n")):
        return True
    if not payload.lstrip().startswith(b"{"):
        return bool(payload.strip())
    if not payload.rstrip().endswith(b"}"):
        return False
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError:
        return False
    return True


def join(commands: str, one: Callable[[str], Json]) -> Json:
    """The answer to `a+b+c`: each answer as a list of one under its command's name."""
    answer: Json = {name: [one(name)] for name in commands.split("+")}
    answer["id"] = 1
    return answer


# How answers break. Each takes the bytes of a good answer and gives what such a firmware sends instead.
_BREAKS: Mapping[str, Callable[[bytes], bytes]] = {
    "missing_comma": lambda body: body.replace(b"},{", b"}{").replace(b"],", b"],", 1),
    "stray_comma": lambda body: body.replace(b"}]", b",}]"),
    "list_comma": lambda body: body.replace(b"[{", b"[,{", 2),
    "raw_newline": lambda body: body.replace(b'"Alive"', b'"Ali\nve"').replace(b'"BTM_SOC0"', b'"BTM\n_SOC0"'),
    "double_quote": lambda body: body.replace(b'"temp', b'""temp', 1).replace(b'"Temperature"', b'""Temperature"', 1),
    "leading_comma": lambda body: b"," + body,
    "truncated": lambda body: body[: max(1, len(body) * 7 // 10)],
    "garbage": lambda body: bytes((byte * 37 + 11) & 0xFF | 0x80 for byte in body[:200]),
}


def broken(body: bytes, faults: set[str]) -> bytes:
    """An answer as a faulty firmware sends it."""
    for fault in faults:
        change = _BREAKS.get(fault)
        if change:
            body = change(body)
    return body
