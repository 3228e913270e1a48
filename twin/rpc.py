# SPDX-License-Identifier: Apache-2.0
"""Common wire format of the cgminer family: requests, the STATUS list, joined commands, malformed answers."""

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
    """A request as JSON, or the old text form `command|parameter`; None for anything else."""
    text = payload.strip(b"\0\r\n ")
    if text.startswith(b"{"):
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError:
            return None
        return found if isinstance(found, dict) else None
    parts = text.decode(errors="replace").split("|", 1)
    return {"command": parts[0], "parameter": parts[1]} if len(parts) > 1 else {"command": parts[0]}


def complete(payload: bytes) -> bool:
    """Whether a request is complete: ended by NUL, line end, or the end of its JSON."""
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


# Malformations. Each takes the bytes of a good answer and returns those of a faulty firmware.
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
