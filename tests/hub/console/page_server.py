# SPDX-License-Identifier: Apache-2.0
"""The page on a real loopback socket: `python -m tests.hub.console.page_server [fault ...]` prints its one-time link."""

import asyncio
import contextlib
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from hub.api.access import Access
from hub.app.web import create_app
from kernel.clock import system_clock
from tests.builders.fake_hub import FakeHub
from tests.servers import free_port, wait_port


@contextlib.contextmanager
def serving(hub: FakeHub, folder: Path) -> Iterator[tuple[str, Access]]:
    """(base URL, access) of a server in a thread, for the length of a test."""
    clock, port = system_clock(), free_port()
    access = Access(folder, clock)
    app = create_app(hub.ports(), access, clock)
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, log_level="warning", access_log=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    wait_port(port)
    try:
        yield f"http://127.0.0.1:{port}", access
    finally:
        server.should_exit = True
        thread.join(10)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        fake = FakeHub(system_clock(), faults=frozenset(sys.argv[1:]))
        with serving(fake, Path(scratch)) as (url, keys):
            print(f"{url}/enter?token={keys.link()}", flush=True)
            threading.Event().wait()
