# SPDX-License-Identifier: Apache-2.0
"""A person who proposes and decides jobs on a running hub."""

from typing import Any

import httpx

from hub.app.live import Running
from hub.config import load
from tests.hub_site import World, until

POOLS = """
[[pools.main]]
url = "stratum+tcp://eu.pool.example:3333"
worker = "hub.{rack}x{position}"

[[pools.main]]
url = "stratum+tcp://us.pool.example:3333"
worker = "hub.{rack}x{position}"

[[pools.before]]
url = "stratum+tcp://pool.invalid:3333"
worker = "hub1.{name}"

[credentials.newer]
account = "root"
password_file = "secrets/newer.password"

"""


class Person:
    """Somebody with a key of his own."""

    def __init__(self, hub: Running, who: str) -> None:
        self._url = f"{hub.url}/api/v1/sites/north"
        self._headers = {"Authorization": f"Bearer {hub.access_key(who, 'operator')}"}

    async def ask(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        async with httpx.AsyncClient(trust_env=False, timeout=20) as web:
            answer = await web.request(method, f"{self._url}{path}", json=body, headers=self._headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def state(self, job: str) -> Any:
        return next(one for one in await self.ask("GET", "/jobs") if one["id"] == job)


def prepared(site: World) -> Any:
    site.config.write_text(site.config.read_text() + POOLS)
    secret = site.folder / "secrets" / "newer.password"
    secret.touch(mode=0o600)
    secret.write_text("a newer secret")
    return load(site.config, environment={})


async def hashing(hub: Running, count: int) -> None:
    await until("miners hash", lambda: hub.ports.sites.status("north")["counts"]["hashing"] >= count, 60)
    table = hub.wired.hub.components.state.snapshot.kind("miner")

    def reported() -> bool:
        readings = [table.reading(device) for device in table.index]
        return sum(isinstance(reading.get("pool_url"), str) for reading in readings) >= count

    await until("pools told", reported)
