# SPDX-License-Identifier: Apache-2.0
"""Dry run: the wire steps of a command, with its reads carried out and every write withheld.

The answer to a withheld write is unknown: each gets a plain success, so steps that depend on an unusual answer are not
shown. Passwords and tokens are masked.
"""

import json
import re
from collections.abc import Generator, Mapping
from typing import Any, Final

from kernel.errors import DecodeError, TransportError
from kernel.reading import Field
from kernel.receipt import Receipt
from miner_control.fleet.command import Intent, SetCredential, SetPools
from miner_control.fleet.driver import Access, Answer, Dialect, Http, Parts, Request
from telemetry.collect.source import Tier

_TAKEN: Final = {
    "STATUS": [{"STATUS": "S", "Code": 0, "Msg": "kept back"}],
    "stats": "success",
    "code": 0,
    "msg": "ok",
    "result": True,
}
_FORM_BYTES: Final = 4096
_TAKEN_SEALED: Final = {"STATUS": "S", "When": 0, "Code": 131, "Msg": "kept back", "Description": ""}
_SECRET = re.compile(r'(?i)("?(?:password|pass|pw|token|sign|newpw|oldpw|session_?id)"?\s*[:=]\s*"?)([^",}&\s]+)')


def _taken(request: Request) -> Answer:
    """A plain success in the firmware's shape; a request that keeps its connection for more gets `ready`."""
    if isinstance(request, Http):
        return Answer(json.dumps(_TAKEN).encode(), 200)
    stream = not isinstance(request.payload, bytes)
    sealed = not request.length_prefixed if stream else b'"enc"' in request.payload
    answer = dict(_TAKEN_SEALED if sealed else _TAKEN)
    if request.keeps_line:
        answer |= {"Msg": "ready"} if sealed else {"msg": "ready"}
    return Answer(json.dumps(answer).encode(), 200)


class DryRun:
    """A dialect whose writes are withheld and recorded in `steps` (with the reads between them, in order)."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.name = dialect.name
        self.steps: list[Request] = []

    def supports(self) -> frozenset[str]:
        return self._dialect.supports()

    def read(self, access: Access, tier: Tier, now_ms: int) -> Generator[Request, Answer, Mapping[str, Field]]:
        return self._dialect.read(access, tier, now_ms)

    def prepare(self, access: Access, now_ms: int) -> Generator[Request, Answer, None]:
        return self._dialect.prepare(access, now_ms)

    def carry_out(self, access: Access, intent: Intent, now_ms: int) -> Generator[Request, Answer, Receipt]:
        talk = self._dialect.carry_out(access, intent, now_ms)
        try:
            request = next(talk)
            while True:
                self.steps.append(request)
                if request.writes:
                    request = talk.send(_taken(request))
                    continue
                try:
                    answer = yield request
                except (TransportError, DecodeError) as error:
                    request = talk.throw(error)
                else:
                    request = talk.send(answer)
        except StopIteration as end:
            receipt: Receipt = end.value
            return receipt


def secrets_of(intent: Intent) -> tuple[str, ...]:
    """The passwords that an intent carries."""
    match intent:
        case SetPools(pools):
            return tuple(pool.password for pool in pools)
        case SetCredential(password=password):
            return (password,)
        case _:
            return ()


def step_text(request: Request, access: Access, secrets: tuple[str, ...] = ()) -> str:
    """One wire step as a line for people: destination, content, and whether it would change the device. Secrets are masked,
    the device's own and `secrets` (those of the intent)."""
    kind = "WRITE" if request.writes else "read "
    if isinstance(request, Http):
        body = _masked(request.body, access, secrets)
        return f"{kind} http:{request.port} {request.method} {request.path}" + (f" {body}" if body else "")
    framing = " (framed)" if request.length_prefixed else ""
    return f"{kind} rpc:{request.port}{framing} {_masked(request.payload, access, secrets)}"


def _masked(payload: bytes | Parts, access: Access, secrets: tuple[str, ...]) -> str:
    if not isinstance(payload, bytes):
        return " ".join(filter(None, (_part(part, access, secrets) for part in payload)))
    text = payload.decode("utf-8", "replace")
    text = _SECRET.sub(r"\1***", text)
    for secret in (access.password, *secrets, *_texts(access.memory)):
        # One letter is the usual placeholder of a pool password, and no secret.
        if len(secret) > 1:
            text = text.replace(secret, "***")
    return text if len(text) <= 400 else f"{text[:400]}... ({len(text)} characters)"


def _part(part: bytes, access: Access, secrets: tuple[str, ...]) -> str:
    """A part of a form as text; the image itself, and what frames it, by its size."""
    if len(part) <= 4:
        return ""
    if len(part) > _FORM_BYTES or not part.lstrip().startswith(b"--"):
        return f"... {len(part)} bytes of firmware"
    return _masked(part, access, secrets).replace("\r\n", " ").strip()


def _texts(memory: Mapping[str, Any]) -> list[str]:
    """Session identifiers and tokens in a dialect's memory, to be masked."""
    return [
        str(value)
        for name, value in memory.items()
        if isinstance(value, str) and name in ("session", "token", "bearer", "sign", "key")
    ]
