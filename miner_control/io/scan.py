# SPDX-License-Identifier: Apache-2.0
"""Network scan: a sweep of connects over many addresses, and identification of those that listen.

The sweep keeps `in_flight` connects open on an epoll of its own and yields to the event loop after each batch, so that a
scan within a running hub delays nothing. Nothing is ever written to a device.
"""

import asyncio
import errno
import select
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import ip_address

from kernel.clock import Clock
from kernel.errors import DecodeError, TransportError
from miner_control.dialect.reply import framed_is_whole, http_is_whole, rpc_is_whole
from miner_control.fleet.driver import Answer, Request, Rpc
from miner_control.inventory.discover import Found, Targets
from miner_control.inventory.identified import Identity
from miner_control.inventory.identify import KNOWN_PORTS, identify
from miner_control.io.exchanges import Exchanges
from miner_control.io.miner_http import http_bytes, parse_http

_BATCH = 512
_LINGER_OFF = b"\x01\x00\x00\x00\x00\x00\x00\x00"

Progress = Callable[[int, int], None]
OnOpen = Callable[[str, list[int]], None]


class Sweep:
    """Open ports of many addresses: `on_open` is called for each host that listens, once all its ports were tried."""

    def __init__(
        self,
        hosts: Iterable[str],
        ports: Iterable[int],
        clock: Clock,
        in_flight: int,
        connect_s: float,
        on_open: OnOpen,
    ) -> None:
        self.done = 0
        self._on_open = on_open
        self._open: dict[str, list[int]] = {}
        self._left: dict[str, int] = {}
        targets = tuple(ports)
        self._each = len(targets)
        self._connects = self._pairs(hosts, targets)
        self._clock, self._in_flight, self._connect_s = clock, in_flight, connect_s
        self._flying: dict[int, tuple[socket.socket, str, int]] = {}
        self._due: deque[tuple[float, int, socket.socket]] = deque()

    @staticmethod
    def _pairs(hosts: Iterable[str], ports: tuple[int, ...]) -> Iterator[tuple[str, int]]:
        for host in hosts:
            for port in ports:
                yield host, port

    async def run(self, reported: Callable[[int], None]) -> None:
        """Try all addresses and ports; `reported` gets the number of finished connects, once a batch."""
        epoll = select.epoll()
        try:
            while self._launch(epoll) or self._flying:
                events = epoll.poll(0 if len(self._flying) < self._in_flight else 0.005, _BATCH)
                for number, _ in events:
                    self._answered(epoll, number)
                self._expire(epoll)
                reported(self.done)
                await asyncio.sleep(0 if events or len(self._flying) >= self._in_flight else 0.001)
        finally:
            for sock, _, _ in self._flying.values():
                sock.close()
            epoll.close()

    def _launch(self, epoll: select.epoll) -> bool:
        """Start up to a batch of connects; returns whether any were left."""
        now_s = self._clock.monotonic_s()
        for _ in range(min(_BATCH, self._in_flight - len(self._flying))):
            connect = next(self._connects, None)
            if connect is None:
                return False
            host, port = connect
            sock = socket.socket(
                socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK
            )
            code = sock.connect_ex((host, port))
            if code == errno.EINPROGRESS:
                number = sock.fileno()
                self._flying[number] = (sock, host, port)
                self._due.append((now_s + self._connect_s, number, sock))
                epoll.register(number, select.EPOLLOUT)
            else:
                self._close(sock, host, port, code == 0)
        return True

    def _answered(self, epoll: select.epoll, number: int) -> None:
        sock, host, port = self._flying.pop(number)
        epoll.unregister(number)
        self._close(sock, host, port, sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0)

    def _expire(self, epoll: select.epoll) -> None:
        now_s = self._clock.monotonic_s()
        while self._due and self._due[0][0] <= now_s:
            _, number, sock = self._due.popleft()
            flying = self._flying.get(number)
            if flying is not None and flying[0] is sock:
                del self._flying[number]
                epoll.unregister(number)
                self._close(sock, flying[1], flying[2], False)

    def _close(self, sock: socket.socket, host: str, port: int, listens: bool) -> None:
        if listens:
            # Reset instead of an orderly close: thousands of half-closed sockets would use up the local ports.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)
            self._open.setdefault(host, []).append(port)
        sock.close()
        self.done += 1
        left = self._left.pop(host, self._each) - 1
        if left:
            self._left[host] = left
        elif host in self._open:
            self._on_open(host, self._open.pop(host))


async def scan(
    targets: Targets,
    clock: Clock,
    *,
    ports: Mapping[int, int] | None = None,
    in_flight: int = 1024,
    connect_s: float = 1.0,
    answer_s: float = 3.0,
    talks_at_once: int = 128,
    progress: Progress = lambda done, total: None,
) -> list[Found]:
    """All listening addresses of the scanned ranges, in order, with their identity. `ports` redirects well-known ports (port
    forwarding, tests). `progress(addresses done, all)`. Faults of an address are never raised."""
    ways = {port: port for port in KNOWN_PORTS} if ports is None else dict(ports)
    total = len(targets)
    each = tuple(dict.fromkeys(ways.values()))
    exchanges = Exchanges(connect_s=connect_s, total_s=answer_s)
    limit = asyncio.Semaphore(talks_at_once)
    found: list[Found] = []

    async def ask(host: str, listening: list[int]) -> None:
        async with limit:
            known = {known: port for known, port in ways.items() if port in listening}
            found.append(await _ask(exchanges, host, known))

    try:
        async with asyncio.TaskGroup() as talks:

            def on_open(host: str, listening: list[int]) -> None:
                talks.create_task(ask(host, listening))

            sweep = Sweep(targets, each, clock, in_flight, connect_s, on_open)
            await sweep.run(lambda connects: progress(connects // len(each), total))
    finally:
        exchanges.close()
    progress(total, total)
    return sorted(found, key=lambda one: _place(one.host))


def _place(host: str) -> tuple[int, int]:
    address = ip_address(host.partition("%")[0])
    return address.version, int(address)


async def _ask(exchanges: Exchanges, host: str, ports: Mapping[int, int]) -> Found:
    listening = "port " + ", ".join(str(port) for port in sorted(set(ports.values()))) + " open"
    try:
        identity = await _drive(exchanges, host, ports)
    except TransportError as error:
        return Found(host, None, f"{listening}, {error.text}")
    if identity is None:
        return Found(host, None, f"{listening}, no answer")
    return Found(host, identity)


async def _drive(exchanges: Exchanges, host: str, ports: Mapping[int, int]) -> Identity | None:
    talk = identify(ports)
    try:
        request = next(talk)
        while True:
            try:
                answer = await _carry(exchanges, host, request)
            except (TransportError, DecodeError) as error:
                request = talk.throw(error)
            else:
                request = talk.send(answer)
    except StopIteration as end:
        found: Identity | None = end.value
        return found


async def _carry(exchanges: Exchanges, host: str, request: Request) -> Answer:
    if not isinstance(request, Rpc):
        return parse_http(await exchanges.exchange(host, request.port, http_bytes(request, host, None), http_is_whole))
    if request.length_prefixed:
        return Answer((await exchanges.exchange(host, request.port, request.frame, framed_is_whole))[4:])
    return Answer(await exchanges.exchange(host, request.port, request.payload, rpc_is_whole))
