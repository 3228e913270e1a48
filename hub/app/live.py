# SPDX-License-Identifier: Apache-2.0
"""A live hub with its doors open: loops, embedded broker, API and page, from start to an orderly end."""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hub import __version__, wiring
from hub.api.access import Access, Role
from hub.api.order_messages import OrderMessages
from hub.api.ports import Ports, ports
from hub.api.shell import LOOPBACK
from hub.app.web import close_streams, create_app
from hub.config import Config
from hub.control.runtime import Hub
from hub.journal.payloads import ReportMade
from hub.reports import site_energy, treasury_statement
from hub.reports.kind import ReportSources
from hub.reports.verify import verify_report
from hub.wiring.plugins import REPORTS
from kernel.address import authority
from kernel.errors import ConfigError, Fault
from kernel.event import EventKind
from kernel.span import Span


@dataclass(slots=True)
class Running:
    """What the command line, the demo and tests hold of a running hub."""

    wired: wiring.Assembly
    ports: Ports
    messages: OrderMessages
    access: Access
    url: str
    link: str

    @property
    def hub(self) -> Hub:
        return self.wired.hub

    async def report(self, span: Span) -> tuple[str, str]:
        """Make the energy and treasury reports of a span; the first one's path, and what its signature is worth."""
        components, report_store = self.hub.components, self.wired.report_store
        hub, position = components.config.hub.name, components.recorder.position
        sources = ReportSources(hub, report_store.ledger, self.wired.book, position=position)
        made = {hub: await components.offload(report_store.make, treasury_statement.KIND, sources, span)}
        for site in components.state.sites.values():
            of_site = replace(sources, site=site)
            made[site.key] = await components.offload(report_store.make, site_energy.KIND, of_site, span)
        for scope, files in made.items():
            await components.recorder.commit(scope, EventKind.REPORT_MADE, ReportMade(id=files.id, sha256=files.sha256))
        energy = made[next(iter(components.state.sites))]
        return str(energy.json), verify_report(energy.json, REPORTS).signature

    def access_key(self, who: str, role: str) -> str:
        """A key of one day for a role; its text exists here alone."""
        return self.access.add_key(who, Role(role), ["*"], days=1.0)


@contextlib.asynccontextmanager
async def start(config: Config, folder: Path) -> AsyncIterator[Running]:
    """Bring everything up; on leaving, end in order. Raises ConfigError before anything is started."""
    data = folder / config.hub.data
    host, port = config.hub.host, config.hub.port
    address = _address(host, port)
    try:
        wired = await wiring.live(config, folder, data)
    except BaseException:
        address.close()
        raise
    url = f"http://{authority(host, port)}"
    clock = wired.hub.components.clock
    access = Access(data, clock)
    made = ports(wired.hub, wired.report_store, wired.provisions, __version__)
    messages = OrderMessages(made.order_desk, made.orders)
    app = create_app(made, access, clock, hosts=(*LOOPBACK, host))
    async with contextlib.AsyncExitStack() as stack:
        for opened in [
            *wired.opened,
            *wiring.orders_by_mqtt(
                config, folder, messages, clock, wired.hub.components.counters, wired.hub.supervisor
            ),
        ]:
            await opened.start()
            stack.push_async_callback(opened.stop)
        stopping = asyncio.Event()
        loops = asyncio.create_task(wired.hub.run())
        door = asyncio.create_task(_serve(app, address, stopping))
        link = f"{url}/enter?token={access.link()}"
        running = Running(wired, made, messages, access, url, link)

        async def end() -> None:
            await close_streams(app)
            wired.hub.stop()
            stopping.set()
            ended, _ = await asyncio.gather(loops, door, return_exceptions=True)
            if ended is None and wired.checkpoint is not None:
                # Only of a state that came to its end in order: a defect of ours may have left it half-way.
                with contextlib.suppress(OSError):
                    wired.checkpoint.last()

        stack.push_async_callback(end)
        await _listening(host, port, [loops, door])
        # What was built so far stays: the collector need not walk it at each turn (measured: 5-10 % of a poll).
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        body = asyncio.current_task()
        assert body is not None

        def fell(task: "asyncio.Task[None]") -> None:
            if not stopping.is_set() and not task.cancelled() and task.exception() is not None:
                body.cancel()

        for task in (loops, door):
            task.add_done_callback(fell)
        try:
            yield running
        except asyncio.CancelledError:
            for task in (loops, door):
                if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                    raise error from None
            raise


def _address(host: str, port: int) -> socket.socket:
    """The address of API and page, ours from now on. Raises ConfigError where somebody else has it."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        remedy = "Stop what listens there (another hub?), or give another port"
        raise ConfigError(
            [Fault("hub.port", f"{authority(host, port)} cannot be had: {error.strerror}", remedy)]
        ) from None
    return sock


async def _serve(app: Any, address: socket.socket, stopping: asyncio.Event) -> None:
    import uvicorn

    config = uvicorn.Config(
        app, log_level="warning", access_log=False, lifespan="on", server_header=False,
        timeout_graceful_shutdown=2, loop="none",
    )  # fmt: skip

    class StoppableServer(uvicorn.Server):
        """Signals are the process's own affair."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    server = StoppableServer(config)
    serving = asyncio.create_task(server.serve([address]))
    await asyncio.wait([serving, asyncio.create_task(stopping.wait())], return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await serving


async def _listening(host: str, port: int, tasks: "list[asyncio.Task[None]]") -> None:
    """Until the door answers, or something fell before it did."""
    while True:
        for task in tasks:
            if task.done():
                task.result()
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        return


async def serve_until_stopped(config: Config, folder: Path, say: Callable[[str], None]) -> None:
    """Run until SIGTERM or SIGINT, then end in order."""
    reported = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, reported.set)
    async with start(config, folder) as running:
        say(running.link)
        await reported.wait()
