# SPDX-License-Identifier: Apache-2.0
"""The API over a fake hub, with a key for each role."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from hub.api.access import Access, Role
from hub.api.shell import Shell
from hub.app.web import create_app
from kernel.clock import Clock, iso, system_clock
from tests.builders.fake_hub import FakeHub

BASE = "http://127.0.0.1:8787"


class Hub:
    """An application with its fake hub and keys."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self.clock = clock or system_clock()
        self.view = FakeHub(self.clock, miners=80)
        self.access = Access(folder, self.clock)
        self.shell = create_app(self.view.ports(), self.access, self.clock)
        assert isinstance(self.shell, Shell)
        assert isinstance(self.shell._app, FastAPI)
        self.app = self.shell._app

    def client(self, role: Role | None = None, sites: tuple[str, ...] = ("*",)) -> TestClient:
        headers = {} if role is None else {"Authorization": f"Bearer {self.access.add_key(f'a-{role}', role, sites)}"}
        return TestClient(self.shell, base_url=BASE, headers=headers, follow_redirects=False)

    def browser(self) -> TestClient:
        client = self.client()
        assert client.get("/enter", params={"token": self.access.link()}).status_code == 303
        client.headers["Sec-Fetch-Site"] = "same-origin"
        return client

    def audit(self, kind: str) -> list[dict[str, Any]]:
        return [dict(event.body) for event in self.view.events if event.kind == kind]


def ask(hub: Hub, **more: Any) -> dict[str, Any]:
    now_ms = hub.clock.now_ms()
    return {"power_w": 1e6, "from": iso(now_ms), "until": iso(now_ms + 600_000), "reference": "D-1"} | more
