# SPDX-License-Identifier: Apache-2.0
"""Driver port of a miner, and the interface of a firmware dialect.

A dialect is pure: it never sees a socket. A read or a command is a generator that yields requests, receives the answers
and returns its result; a thin shell (`miner_control.io`) carries the bytes. Tests drive it with recorded answers, and a
dry run prints the requests.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

from kernel.reading import Field, Reading
from kernel.receipt import Receipt
from miner_control.fleet.command import Intent
from telemetry.collect.source import Tier

Parts = tuple[bytes, ...]
"""A payload sent in pieces, in order; a firmware image is one of the pieces and is never copied."""


@dataclass(frozen=True, slots=True)
class Rpc:
    """One request and one reply over TCP (cgminer style).

    - The reply ends at NUL, at a complete JSON document, or when the peer closes, whichever comes first.
    - `length_prefixed`: 4-byte little-endian length before the payload (Whatsminer API v3).
    - `writes` marks a request that may change the device: the shell never sends it twice.
    - `keeps_line`: the connection stays open and carries the next request of the same dialogue.
    """

    payload: bytes | Parts
    port: int
    length_prefixed: bool = False
    writes: bool = False
    keeps_line: bool = False

    @property
    def frame(self) -> bytes | Parts:
        """The payload with its length before it."""
        if isinstance(self.payload, bytes):
            return len(self.payload).to_bytes(4, "little") + self.payload
        return (sum(map(len, self.payload)).to_bytes(4, "little"), *self.payload)


@dataclass(frozen=True, slots=True)
class Http:
    """One HTTP exchange. `digest`: RFC 7616 digest authentication with the device's credential."""

    method: str
    path: str
    port: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Parts = b""
    digest: bool = False
    writes: bool = False


Request = Rpc | Http


class Answer(NamedTuple):
    """A reply: `status` is the HTTP status, 0 for RPC. A tuple for speed, since one is made at every poll."""

    body: bytes
    status: int = 0
    headers: Mapping[str, str] = MappingProxyType({})


Talk = Generator[Request, Answer, Any]


@dataclass(slots=True)
class Access:
    """What a dialect needs to reach one miner: ports, account, password, and its own memory between dialogues.

    `memory` holds tokens, nonces and quirks found (joined commands refused, key that writes the mode). It is the only
    state and belongs to the driver; losing it costs one more exchange, never correctness.
    """

    account: str
    password: str
    ports: Mapping[str, int]
    memory: dict[str, Any] = field(default_factory=dict)


class Dialect(Protocol):
    """The protocol of one firmware. One module each in `miner_control/dialect/`, registered in `hub.wiring`."""

    name: str

    def read(self, access: Access, tier: Tier, now_ms: int) -> Generator[Request, Answer, Mapping[str, Field]]:
        """Values of one poll. Raises DecodeError when nothing of the answer can be read."""

    def carry_out(self, access: Access, intent: Intent, now_ms: int) -> Generator[Request, Answer, Receipt]:
        """The wire steps of an intent; returns Accepted, Refused or Unsupported. The actuator verifies."""

    def prepare(self, access: Access, now_ms: int) -> Generator[Request, Answer, None]:
        """Obtain what the next command needs (token, nonce, session) beforehand, so that it costs one exchange."""

    def supports(self) -> frozenset[str]:
        """Names of the supported intents (class names of `miner_control.fleet.command`)."""


@runtime_checkable
class SessionDialect(Protocol):
    """A dialect whose `prepare` occupies something limited on the miner, such as its only session."""

    def release_session(self, access: Access) -> Generator[Request, Answer, None]:
        """Release it; sends nothing where nothing is occupied."""


class MinerDriver(Protocol):
    """Driver of one miner: a Source that also accepts commands."""

    @property
    def device(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def lane(self) -> str: ...

    async def read(self, tier: Tier) -> Reading: ...

    async def carry_out(self, intent: Intent, deadline_s: float) -> Receipt:
        """Carry out an intent. Faults of the device are never raised: they are in the receipt."""


@runtime_checkable
class Preparing(Protocol):
    """A driver that can obtain a token or nonce in advance. Raises TransportError or DecodeError."""

    async def prepare(self) -> None: ...


@runtime_checkable
class SessionDriver(Protocol):
    """A driver that may occupy something limited on its miner. Raises TransportError or DecodeError."""

    async def release_session(self) -> None: ...


@runtime_checkable
class GivesReasons(Protocol):
    """A driver that can give the reason why its firmware does not support an intent."""

    def unsupported_reason(self, intent: Intent) -> str: ...
