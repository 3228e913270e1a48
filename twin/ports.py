# SPDX-License-Identifier: Apache-2.0
"""Listening ports of a unit: open while its control board is up, closed without power and in a restart."""

import asyncio
import contextlib

from kernel.errors import ConfigError
from twin.lines import Factory, listen_socket
from twin.site import Site, Unit


class Ports:
    """The listening ports of one unit; closed while it is without power or rebooting."""

    def __init__(self, unit: Unit, factories: dict[str, tuple[int, Factory]]) -> None:
        self.unit = unit
        self.ports: dict[str, int] = {}
        self._factories = factories
        self._servers: list[asyncio.Server] = []

    async def open(self) -> None:
        """Open all of them, or none: a unit with one port missing is no miner. Raises ConfigError."""
        loop = asyncio.get_running_loop()
        try:
            for name, (port, factory) in self._factories.items():
                sock = listen_socket(self.unit.place.host, self.ports.get(name, port))
                self.ports[name] = sock.getsockname()[1]
                self._servers.append(await loop.create_server(factory, sock=sock))
        except ConfigError:
            self.close()
            raise

    def close(self) -> None:
        for server in self._servers:
            server.close()
        self._servers = []

    @property
    def is_open(self) -> bool:
        return bool(self._servers)


async def keep_ports(site: Site, all_ports: list[Ports], period_s: float = 0.25) -> None:
    """Without end: ports follow the power and the reboots of their units, and the fault `refused`."""
    while True:
        up = site.reachable()
        for ports in all_ports:
            unit = ports.unit
            wanted = bool(up[unit.index]) and "refused" not in unit.faults
            if wanted and not ports.is_open:
                with contextlib.suppress(ConfigError):
                    await ports.open()
            elif not wanted and ports.is_open:
                ports.close()
        await asyncio.sleep(period_s)
