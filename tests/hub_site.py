# SPDX-License-Identifier: Apache-2.0
"""A twin in its own process and the folder of a hub for it: what the hub's own tests stand on."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hub.api.access import Access, Role
from hub.app.demo import twin_process
from hub.app.demo_site import secret_file, write_site
from kernel.clock import system_clock
from tests.servers import free_port
from twin.spec import TwinSpec


@dataclass
class World:
    """A twin that serves, and the hub's folder for it."""

    folder: Path
    config: Path
    ready: dict[str, Any]
    port: int
    key: str
    spec: TwinSpec

    def control(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(
            urllib.request.Request(self.ready["control_url"] + path, data=data), timeout=20
        ) as answer:
            return json.load(answer)

    def api(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/v1{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)


POLLING = {"miner_fast_s": 2.0, "miner_slow_s": 4.0, "meter_s": 1.0, "spread_s": 2.0, "back_off_s": 4.0}
"""A site that lives faster is asked more often: nothing here waits for a slow poll or a long silence."""


@contextlib.contextmanager
def world(
    folder: Path,
    miners: int = 30,
    broker_port: int | None = None,
    polling: Mapping[str, float] | None = None,
    **spec: Any,
) -> Iterator[World]:
    """A quick make-believe site: ramps 40 times as fast as real ones, one payout each few seconds."""
    port = free_port()
    made = TwinSpec(
        hub="alatau",
        site="north",
        miners=miners,
        pace=spec.pop("pace", 40.0),
        faults=spec.pop("faults", {}),
        mqtt_host="127.0.0.1",
        mqtt_port=broker_port or free_port(),
        mqtt_period_s=1.0,
        miner_host=spec.pop("miner_host", "127.77.0.1"),
        rpc_port=0,
        http_port=0,
        control_port=0,
        password=secret_file(folder, "miners.password"),
        **spec,
    )
    with twin_process(made, folder) as ready:
        config = write_site(folder, ready, made, port, system_clock().now_ms(), quick=True)
        polls = "".join(f"{key} = {value}\n" for key, value in (POLLING | dict(polling or {})).items())
        config.write_text(f"{config.read_text()}\n[polling]\n{polls}")
        if broker_port is not None:
            config.write_text(config.read_text().replace("embedded = true", "embedded = false"))
        key = Access(folder / "data", system_clock()).add_key("test", Role.ADMIN, ["*"], 1.0)
        yield World(folder, config, ready, port, key, made)


@contextlib.contextmanager
def hub_process(site: World) -> Iterator[subprocess.Popen[bytes]]:
    """`mining-hub run`, up and answering; killed at the end if it still lives."""
    with (site.folder / "hub.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", "from hub.cli import main; main()", "run", str(site.config)],
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        end = time.monotonic() + 60
        while True:
            if process.poll() is not None:
                pytest.fail("the hub ended by itself:\n" + (site.folder / "hub.log").read_text()[-4000:])
            with contextlib.suppress(OSError, urllib.error.URLError):
                site.api("GET", "/health")
                break
            if time.monotonic() > end:
                pytest.fail("the hub does not answer:\n" + (site.folder / "hub.log").read_text()[-4000:])
            time.sleep(0.1)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()


async def until(what: str, check: Callable[[], Any], patience_s: float = 40.0) -> Any:
    """The first true answer of a check; the test fails with its last answer after the patience."""
    end, found = time.monotonic() + patience_s, None
    while time.monotonic() < end:
        found = check()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        await asyncio.sleep(0.2)
    pytest.fail(f"{what}: not within {patience_s} s; last seen {found!r}")
