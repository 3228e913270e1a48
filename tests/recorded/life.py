# SPDX-License-Identifier: Apache-2.0
"""One life of the recorded hub: its API with the keys of several people, and access to its simulated devices.

Part of `make.py`, which ran once; see there.
"""

import asyncio
from pathlib import Path
from typing import Any

import httpx

from hub.access import Access, Role
from hub.config import Config
from hub.twin.faults import MINER_FAULTS
from hub.view import LiveView
from hub.walks import Buttons
from hub.web import create_app
from hub.wiring import Wired
from kernel.clock import iso
from tests.recorded.make import World

MINUTE = 60.0
NORTH, SOUTH = "alatau/north", "alatau/south"


def m(number: int) -> str:
    return f"miner-{number:05d}"


class Life:
    """One running hub, its API with the keys of four people, and the hands of those who touch its devices."""

    def __init__(self, world: World, made: Wired, config: Config, folder: Path) -> None:
        self.world, self.wired, self.config, self.folder = world, made, config, folder
        self.rooms, self.clock = made.hub.rooms, world.clock
        office = made.office
        self.view = LiveView(made.hub, office.lines, office.file, office.look, "0.1.0", made.provisions)
        self.access = Access(folder / "data", world.clock)
        app = create_app(self.view, self.access, world.clock)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1:8787")
        self.keys = {role: self.access.add_key(f"a-{role}", role, ["*"]) for role in Role}
        self.keys_of_other = self.access.add_key("b-operator", Role.OPERATOR, ["north"])
        self.buttons = Buttons(self.rooms.state, self.rooms.recorder, world.clock)

    async def ask(self, role: Role | str, method: str, path: str, body: Any = None, status: int = 0) -> Any:
        key = self.keys_of_other if role == "other" else self.keys.get(role, "mh_wrong_key")  # type: ignore[call-overload]
        answer = await self.client.request(
            method, f"/api/v1{path}", json=body, headers={"Authorization": f"Bearer {key}"}
        )
        wanted = (status,) if status else (200, 201)
        assert answer.status_code in wanted, (method, path, answer.status_code, answer.text)
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.content

    def faulty(self, number: int, *faults: str) -> None:
        assert set(faults) <= set(MINER_FAULTS)
        site = self.world.north.site
        site.set_faults(site.units[number - 1], set(faults), self.clock.now_ms())

    async def order(self, reference: str, power_w: float, seconds: float, **more: Any) -> Any:
        body = {"power_w": power_w, "until": iso(self.clock.now_ms() + round(seconds * 1000)), "reference": reference}
        status = more.pop("status", 0)
        return await self.ask(Role.DISPATCHER, "POST", "/sites/north/orders", {**body, **more}, status)

    async def campaign(self, name: str, intent: str, numbers: list[int], **more: Any) -> str:
        body = {"name": name, "intent": intent, "devices": [m(n) for n in numbers], "canary": 0, "gap_s": 5.0, **more}
        return str((await self.ask(Role.OPERATOR, "POST", "/sites/north/campaigns", body))["id"])

    async def act(self, campaign: str, act: str, role: Role | str = Role.OPERATOR, why: str = "recorded") -> None:
        await self.ask(role, "POST", f"/sites/north/campaigns/{campaign}/{act}", {"why": why})

    def place(self, number: int) -> Any:
        return self.world.north.site.units[number - 1].place

    async def wait(self, minutes: float) -> None:
        await asyncio.sleep(minutes * MINUTE)
