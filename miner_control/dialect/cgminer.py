# SPDX-License-Identifier: Apache-2.0
"""cgminer API with its many defects: requests as bytes, replies as dicts, refusals as (code, text).

A reply is JSON, or nearly: miners omit commas between objects, leave one too many, write raw newlines and `inf`, begin with a
comma, or stop at the end of a buffer. What can be repaired without inventing anything is repaired; the rest is a DecodeError.
Some answer in text (`STATUS=S,When=1,Code=22|SUMMARY,Elapsed=5|`), which is read into the same shape.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from kernel.errors import DecodeError
from kernel.foreign_json import NotJson, foreign_json
from miner_control.fleet.driver import Rpc

Document = dict[str, Any]

PORT = 4028

_MENDS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\}\s*\{"), "},{"),
    (re.compile(r"\]\s*\["), "],["),
    (re.compile(r",\s*([}\]])"), r"\1"),
    (re.compile(r"([\[{])\s*,"), r"\1"),
    (re.compile(r'(?<=[,{])\s*""(?=\w)'), '"'),
    (re.compile(r'("\s*:)(?=\s*[,}])'), r"\1null"),
    # Never within a text: a pool's worker may be called nan.
    (re.compile(r'("\s*:|[\[,])\s*[-+]?(?:inf(?:inity)?|nan)(?=\s*[,}\]])', re.IGNORECASE), r"\1null"),
    (re.compile(r'"\s*"(?=[^":,{}\[\]]+"\s*:)'), '","'),
)
_CONTROL = re.compile(r"[\x00-\x1f]")
_LIST_AS_DICT = re.compile(r'\[((?:\s*"[^"]*"\s*:\s*"[^"]*"\s*,?)+)\]')
_BRACKETED_OR_COMMA = re.compile(r"\[[^\[\]]*\]|,")
_PREFIX = re.compile(r"^(api_v1_|api_|web_|rpc_|cgi_bin_|cgi_)+")
_MARKS = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\Z)|[{}\[\],]', re.DOTALL)
"""A text, whole or cut off at the end, or a bracket or comma outside of texts."""
_LOST_OPENING = re.compile(r"^[\s,]+")
_DIGITS = "0123456789"
_TABLES = frozenset({"POOLS", "DEVS", "DEVDETAILS", "TEMPS", "FANS", "EVENTS", "chain", "edevs", "pools", "error-code"})
"""Tables of like rows, which are summed and counted: a table that was cut off does not give their number."""


def request(command: str, port: int, parameter: str | None = None, *, writes: bool = False) -> Rpc:
    """One command of the plain API."""
    if parameter is None and not writes:
        return _plain(command, port)
    body = {"command": command} if parameter is None else {"command": command, "parameter": parameter}
    return Rpc(orjson.dumps(body), port, writes=writes)


@lru_cache(maxsize=1024)
def _plain(command: str, port: int) -> Rpc:
    """Read requests are few and alike: made once. Those with parameters (and passwords) are never cached."""
    return Rpc(orjson.dumps({"command": command}), port)


def parse(body: bytes, *, whole: bool = False) -> Document:
    """A reply as a dict. Raises DecodeError where it cannot be read, or, for one that must be `whole` since it is written
    back, where its beginning or end is missing."""
    text = body.rstrip(b"\x00 \r\n\t")
    try:
        found = foreign_json(text, "reply")
    except NotJson:
        return _mended(text.decode("utf-8", "replace"), whole)
    if type(found) is dict:
        return found
    if type(found) is str and found.lstrip().startswith("{"):
        # A reply that was encoded twice: a JSON text which holds the object.
        return parse(found.encode(), whole=whole)
    raise DecodeError("reply", f"expected an object, got {type(found).__name__}")


def _mended(text: str, whole: bool) -> Document:
    if not text:
        raise DecodeError("reply", "empty")
    if text.lstrip().startswith("<"):
        raise DecodeError("reply", f"a web page: {' '.join(text.split())[:60]!r}")
    if "{" not in text and not text.lstrip(" ,").startswith('"'):
        return _plain_text(text)
    if whole and not text.lstrip().startswith("{"):
        raise DecodeError("reply", "its beginning is lost")
    text = _LOST_OPENING.sub("", text)
    if not text.startswith(("{", "[")):
        # The beginning is missing: text before the first object belongs to nothing.
        text = "{" + text if text.startswith('"') else text[text.index("{") :]
    text = _CONTROL.sub(" ", text)
    text = _LIST_AS_DICT.sub(_as_object, text)
    for pattern, mend in _MENDS:
        text = pattern.sub(mend, text)
    closed, still_open = _closed(text)
    for attempt, depth in ((text, 0), (closed, still_open)):
        try:
            found = foreign_json(attempt.encode("utf-8", "replace"), "reply")
        except NotJson:
            continue
        if whole and depth:
            raise DecodeError("reply", "its end is lost")
        if isinstance(found, dict):
            _forget_unfinished(found, depth)
            return found
    raise DecodeError("reply", f"not JSON, and not to be mended: {text[:60]!r}")


def _as_object(match: re.Match[str]) -> str:
    """`["110":"2024-.."]`, a list shaped like a dict, as a list of one object."""
    return "[{" + match[1].rstrip().rstrip(",") + "}]"


def _closed(text: str) -> tuple[str, int]:
    """A reply cut at the end of a buffer: shortened to its last whole value and closed, with the number of brackets added.
    Nothing is added to a value."""
    stack: list[str] = []
    safe = depth = 0
    for match in _MARKS.finditer(text):
        mark = match[0]
        if mark in "{[":
            stack.append("}" if mark == "{" else "]")
        elif mark in "}]":
            if not stack or stack[-1] != mark:
                break
            stack.pop()
            safe, depth = match.end(), len(stack)
            if not stack:
                break
        elif mark == ",":
            safe, depth = match.start(), len(stack)
    # Whatever was opened since lies above `depth`: what was closed is safe itself.
    return text[:safe] + "".join(reversed(stack[:depth])), depth


def _forget_unfinished(found: Any, depth: int) -> None:
    """Remove from a cut reply what continued behind the cut, `depth` brackets deep: rows of a table and numbered keys
    (`chain_rate1`, `chain_rate2`, ...), since a sum or a count over some of them describes no miner."""
    for _ in range(depth - 1):
        if isinstance(found, dict):
            last = next(reversed(found), None)
            if isinstance(found.get(last), list) and (
                last in _TABLES or not isinstance((found[last] or [0])[-1], dict)
            ):
                del found[last]
                return
            found = found.get(last)
        else:
            found = found[-1]
    if isinstance(found, dict) and found and depth:
        last = next(reversed(found))
        stem = last.rstrip(_DIGITS)
        for key in [key for key in found if stem != last and key.rstrip(_DIGITS) == stem]:
            del found[key]


def _plain_text(text: str) -> Document:
    """The text form: sections separated by `|`, `KEY=value` pairs by commas (commas within brackets separate nothing);
    the first key names the section."""
    found: Document = {}
    *parts, last = text.replace("\x00", "").split("|")
    # Sections end in a bar: without one, the last value may have been cut short.
    for part in (*parts, last.rpartition(",")[0]):
        pairs = [pair.partition("=") for pair in _split(part.strip()) if pair.strip()]
        if not pairs:
            continue
        section: Document = {key.strip(): value for key, mark, value in pairs if mark}
        if section:
            name = pairs[0][0].strip()
            found.setdefault({"POOL": "POOLS", "ASC": "DEVS"}.get(name, name), []).append(section)
    if not found:
        raise DecodeError("reply", f"neither JSON nor cgminer text: {text[:60]!r}")
    return found


def _split(text: str) -> list[str]:
    """The pairs of a section: commas within brackets separate nothing."""
    found, begin = [], 0
    for match in _BRACKETED_OR_COMMA.finditer(text):
        if match[0] == ",":
            found.append(text[begin : match.start()])
            begin = match.end()
    return [*found, text[begin:]]


def documents(answers: Mapping[str, Any], lists: tuple[str, ...] = ()) -> dict[str, Any]:
    """The answers that are objects, under one spelling of their names; others (null, text) are left out.

    `perf-summary`, `chains/factory-info`, `web_stats` and `stats.cgi` become `perf_summary`, `chains_factory_info`, `stats`
    and `stats`. `lists` names those that may be lists.
    """
    found: dict[str, Any] = {}
    for spelt, document in answers.items():
        name = _PREFIX.sub("", spelt.lower().replace("-", "_").replace("/", "_").removesuffix(".cgi"))
        if document and (isinstance(document, dict) or (name in lists and isinstance(document, list))):
            found.setdefault(name, document)
    return found


def section(document: Any, name: str) -> list[Document]:
    """The objects of a section; empty where the reply lacks it."""
    found = document.get(name) if isinstance(document, dict) else None
    if isinstance(found, list):
        return [entry for entry in found if isinstance(entry, dict)]
    return [found] if isinstance(found, dict) else []


def refusal(document: Any) -> tuple[str, str] | None:
    """(code, text) of a refusal (STATUS E or F), else None. A reply without any STATUS is no refusal."""
    if not isinstance(document, Mapping):
        return None
    status = document.get("STATUS")
    if isinstance(status, list):
        status = status[0] if status else None
    if isinstance(status, dict):
        document, status = status, status.get("STATUS") or status.get("status")
    if isinstance(status, str) and status.strip().upper()[:1] in ("E", "F"):
        text = document.get("Msg") or document.get("msg") or document.get("Description") or ""
        return str(document.get("Code", document.get("code", ""))), text if isinstance(text, str) else str(text)
    return None
