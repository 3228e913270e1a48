# SPDX-License-Identifier: Apache-2.0
"""Hosts that are no miners, for scans: some accept and never say a word, some have a port whose queue is full."""

import asyncio
import contextlib
import socket

from twin.lines import listen_socket
from twin.spec import TwinSpec, street


class _Mute(asyncio.Protocol):
    """Takes the connection and says nothing."""


class Decoys:
    """All of a site's other hosts; `described` names each with what it is."""

    def __init__(self, spec: TwinSpec) -> None:
        self._spec = spec
        self._servers: list[asyncio.Server] = []
        self._full: list[socket.socket] = []
        self.described: list[dict[str, object]] = []

    async def open(self) -> None:
        """A full queue: a listener that accepts none, with the connections that fill it made here."""
        _, hosts = street(self._spec)
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
