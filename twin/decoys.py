# SPDX-License-Identifier: Apache-2.0
"""Hosts other than miners, for scans: some accept and never answer, some have a port whose queue is full."""

import asyncio
import contextlib
import socket

from twin.lines import listen_socket
from twin.spec import TwinSpec, host_addresses


class _Mute(asyncio.Protocol):
    """Accepts the connection and never answers."""


class Decoys:
    """All other hosts of a site; `described` names each with its kind."""

    def __init__(self, spec: TwinSpec) -> None:
        self._spec = spec
        self._servers: list[asyncio.Server] = []
        self._full: list[socket.socket] = []
        self.described: list[dict[str, object]] = []

    async def open(self) -> None:
        """Open them. A full queue is a listener that accepts none, with the connections that fill it made here."""
        _, hosts = host_addresses(self._spec)
        loop = asyncio.get_running_loop()
        for at, host in enumerate(hosts):
            sock = listen_socket(host, self._spec.rpc_port)
            port = int(sock.getsockname()[1])
            if at < self._spec.silent_hosts:
                self._servers.append(await loop.create_server(_Mute, sock=sock))
                self.described.append({"host": host, "port": port, "kind": "silent"})
                continue
            sock.listen(0)
            self._full.append(sock)
            filler = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect((host, port))
            self._full.append(filler)
            self.described.append({"host": host, "port": port, "kind": "half_open"})

    def close(self) -> None:
        for server in self._servers:
            server.close()
        for sock in self._full:
            sock.close()
