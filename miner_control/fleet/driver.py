# SPDX-License-Identifier: Apache-2.0
"""The port of a miner, and the shape of a dialect.

A dialect is pure: it never sees a socket. A read or a command is a generator that yields requests, is sent the answers
and returns what it found; a thin shell (`miner_control.io`) carries the bytes. Recorded answers drive it in tests, and
a dry run prints the requests.
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
"""What is sent piece by piece, one after another: a firmware image stands among them as it is, and is never copied."""


@dataclass(frozen=True, slots=True)
class Rpc:
    """One connection, one message, one reply (cgminer style). `length_prefixed`: 4-byte little-endian framing (v3).

    The reply ends at NUL, at a complete JSON document, or when the peer closes, whichever comes first.
    `writes` marks a request that may change the device: it is never sent twice by the shell.
    `keeps_line`: the connection stays for the next request of this talk, which goes over it and not over a new one.
    """

    payload: bytes | Parts
    port: int
    length_prefixed: bool = False
    writes: bool = False
    keeps_line: bool = False

    @property
    def frame(self) -> bytes | Parts:
        """The payload behind its length."""
        if isinstance(self.payload, bytes):
            return len(self.payload).to_bytes(4, "little") + self.payload
        return (sum(map(len, self.payload)).to_bytes(4, "little"), *self.payload)


@dataclass(frozen=True, slots=True)
class Http:
    """One HTTP exchange. `digest` asks the shell for RFC 7616 digest with the device's credential."""

    method: str
    path: str
    port: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Parts = b""
    digest: bool = False
    writes: bool = False


Request = Rpc | Http


class Answer(NamedTuple):
    """What came back: `status` is the HTTP status, 0 for RPC. A tuple, since one is made for every poll."""

    body: bytes
    status: int = 0
    headers: Mapping[str, str] = MappingProxyType({})


Talk = Generator[Request, Answer, Any]


@dataclass(slots=True)
class Access:
    """What a dialect needs to talk to one miner: ports, account, password, and what it remembers between talks.

    `memory` holds tokens, nonces, learnt quirks (joined commands refused, write key of the mode); it is the only
    state, it is the driver's, and losing it costs a round trip, never correctness.
    """

    account: str
    password: str
    ports: Mapping[str, int]
    memory: dict[str, Any] = field(default_factory=dict)


class Dialect(Protocol):
    """What a firmware speaks. One module each in `miner_control/dialect/`, registered in `hub.wiring`."""

    name: str

    def read(self, access: Access, tier: Tier, now_ms: int) -> Generator[Request, Answer, Mapping[str, Field]]:
        """The values of one poll. Raises DecodeError when nothing of the answer can be read."""

    def carry_out(self, access: Access, intent: Intent, now_ms: int) -> Generator[Request, Answer, Receipt]:
        """The wire steps of an intent; returns Accepted, Refused or Unsupported. Verification is the actuator's."""

    def prepare(self, access: Access, now_ms: int) -> Generator[Request, Answer, None]:
        """Make what the next command needs (token, nonce, session) beforehand, so that it costs one exchange."""

    def supports(self) -> frozenset[str]:
        """The names of the intents it can carry out (class names of `miner_control.fleet.command`)."""


@runtime_checkable
class Lending(Protocol):
    """A dialect whose `prepare` takes something of the miner that others then have to wait for, such as its one session."""

    def give_back(self, access: Access) -> Generator[Request, Answer, None]:
        """Hand it back; asks nothing where nothing is held."""


class MinerDriver(Protocol):
    """One miner on the wire: a Source that can also be commanded."""

    @property
    def device(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def lane(self) -> str: ...

    async def read(self, tier: Tier) -> Reading: ...

    async def carry_out(self, intent: Intent, deadline_s: float) -> Receipt:
        """Ask it. Never raises for what the device does: the receipt says."""


@runtime_checkable
class Preparing(Protocol):
    """A driver that can make a token or nonce before it is needed. Raises TransportError or DecodeError."""

    async def prepare(self) -> None: ...


@runtime_checkable
class Borrowing(Protocol):
    """A driver that may hold something of its miner that others wait for. Raises TransportError or DecodeError."""

    async def give_back(self) -> None: ...


@runtime_checkable
class Explaining(Protocol):
    """A driver that can say why its firmware cannot do a thing."""

    def why_not(self, intent: Intent) -> str: ...
