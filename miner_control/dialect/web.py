# SPDX-License-Identifier: Apache-2.0
"""HTTP requests of dialects and their answers: a document, a refusal, or an unreadable answer."""

from collections.abc import Mapping
from typing import Any

import orjson

from kernel.errors import DecodeError, TransportError
from kernel.foreign_json import NotJson, foreign_json
from kernel.reading import Absence
from kernel.receipt import Accepted, Refused
from miner_control.dialect import cgminer
from miner_control.fleet.driver import Access, Answer, Http, Parts


def ask(access: Access, port: int, path: str, headers: Mapping[str, str] | None = None) -> Http:
    """A read request."""
    return Http("GET", path, access.ports.get("http", port), headers or {})


def tell(
    access: Access, port: int, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> Http:
    """A request that may change the device. `body`: encoded as JSON, or parts that are sent unchanged."""
    data: bytes | Parts = b"" if body is None else body if isinstance(body, tuple) else orjson.dumps(body)
    return Http(method, path, access.ports.get("http", port), headers or {}, data, writes=True)


def document(answer: Answer, what: str) -> Any:
    """The JSON of a good answer. Raises DecodeError on any other status or on a body that is not JSON."""
    if not 200 <= answer.status < 300:
        raise DecodeError(what, f"status {answer.status}")
    try:
        return foreign_json(answer.body, what)
    except NotJson:
        return cgminer.parse(answer.body)


def page(answer: Answer, what: str, locked: str = "account or password not accepted") -> Any:
    """The JSON of a poll's main page. Raises TransportError (REFUSED) where access is denied, else as `document`."""
    if answer.status in (401, 403):
        raise TransportError(Absence.REFUSED, f"{what}: {locked} (status {answer.status})")
    return document(answer, what)


def refused(answer: Answer) -> Refused:
    """A refusal with the status as code and the page's own text."""
    text = answer.body[:300].decode("utf-8", "replace").strip()
    try:
        reported = foreign_json(answer.body, "refusal")
    except DecodeError:
        reported = None
    if isinstance(reported, dict):
        text = str(
            next((reported[key] for key in ("message", "err", "error", "msg", "detail") if reported.get(key)), text)
        )
    return Refused(str(answer.status), text or "no reason given")


def accepted(answer: Answer) -> Accepted | Refused:
    """Any 2xx is acceptance, anything else a refusal."""
    if 200 <= answer.status < 300:
        return Accepted(answer.body[:100].decode("utf-8", "replace").strip())
    return refused(answer)


def nested(found: Any, *path: str) -> Any:
    """A value deep inside a document, or None where any step is missing."""
    for step in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(step)
    return found


def entries(found: Any) -> list[dict[str, Any]]:
    """The objects of a list; empty for anything else."""
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
