# SPDX-License-Identifier: Apache-2.0
"""The main job on a simulated site, over real protocols: a twin in its own process, the hub in this one.

With `seconds` it runs a story and ends with one line of figures: the hub collects and plans, a dispatcher's order comes by
the API in the middle and is judged by the meter, payouts reach the ledger, a signed report is made and verified.
"""

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson

from hub.app.demo_site import ORDER_SHARE, secret_file, write_site
from hub.app.live import Running, start
from hub.app.run_figures import run_figures
from hub.config import Config, load
from hub.settlement.duty import open_text
from hub.settlement.round import FRESH_MS
from kernel.clock import MS_PER_S, Clock, cpu_s, iso, system_clock
from kernel.errors import ConfigError, Fault
from kernel.span import Span
from twin.spec import TwinSpec

ORDER_FROM, ORDER_FOR = 0.36, 0.30
"""Shares of the demonstration's time: when the order comes, and how long it holds."""
"""The order's power as a share of what the meter shows."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the command line asks for."""

    miners: int
    seconds: float | None
    folder: Path
    port: int
    seed: int
    pace: float
    headless: bool = False


def _die_with_parent() -> None:
    """The twin must not outlive a killed demo (Linux: PR_SET_PDEATHSIG)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


@contextlib.contextmanager
def twin_process(spec: TwinSpec, folder: Path, timeout_s: float = 60.0):  # type: ignore[no-untyped-def]
    """A twin of its own; yields what it says when it is ready. Raises ConfigError where it does not come up."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = folder / "twin.json"
    asked.write_bytes(orjson.dumps(spec.model_dump(mode="json")))
    ready = folder / "ready.json"
    ready.unlink(missing_ok=True)
    with (folder / "twin.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "twin.serve", str(asked), str(ready)],
            stdout=subprocess.PIPE,
            stderr=output,
            preexec_fn=_die_with_parent,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                log_tail = (folder / "twin.log").read_text()[-2000:]
                raise ConfigError([Fault("twin", f"did not come up: {log_tail}", "See twin.log; free its ports")])
            yield orjson.loads(ready.read_bytes())
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            if process.poll() is None:
                process.kill()


def serve_twin(spec: bytes | None, ready: Path | None, **fields: Any) -> None:
    """Serve a simulated site in this process until it is stopped: a spec as JSON, or fields other than the defaults."""
    from twin.serve import run

    run(TwinSpec(**fields) if spec is None else TwinSpec.model_validate_json(spec), ready)


async def run_demo(options: DemoOptions, say: Callable[[str], None]) -> dict[str, Any] | None:
    """The whole demonstration. Returns the figures where it was given an end."""
    raise_file_limit()
    clock = system_clock()
    folder = options.folder
    spec = TwinSpec(
        hub="alatau",
        site="north",
        miners=options.miners,
        seed=options.seed,
        pace=options.pace,
        mqtt_host="127.0.0.1",
        mqtt_port=free_port(),
        rpc_port=0,
        http_port=0,
        password=secret_file(folder, "miners.password"),
    )
    say(f"twin: {spec.miners} miners, ramps {spec.pace:g} times as fast as real ones")
    with twin_process(spec, folder) as ready:
        config_path = write_site(
            folder, ready, spec, options.port or free_port(), clock.now_ms(), options.seconds is not None
        )
        config = load(config_path, environment={})
        cpu_from_s, from_s = cpu_s(), clock.monotonic_s()
        async with start(config, folder) as running:
            if not options.headless:
                say(f"page: {running.link}")
            if options.seconds is None:
                await asyncio.Event().wait()
                return None
            from_ms = await _first_word(running)
            accepted_s = await _story(running, config, options.seconds, clock, say)
            end_ms = await close_period(running, clock, say)
            used_s = clock.monotonic_s() - from_s
            used_cpu_s = cpu_s() - cpu_from_s
            process = {"cpu_pct": round(100 * used_cpu_s / used_s, 1), "rss_mb": round(_peak_rss_mb(), 1)}
            made = run_figures(running.wired, config, Span(from_ms, end_ms), options.miners)
            if made["order"]:
                made["order"]["accepted_s"] = round(accepted_s, 4)
            polls, planner = made["polls"], next(iter(running.wired.planners.values()), None)
            polls["per_second"] = round(polls["ok"] / used_s, 1)
            polls["cpu_ms_each"] = round(1000 * used_cpu_s / max(polls["ok"], 1), 3)
            if made["plan"] and planner and planner.seconds:
                made["plan"]["seconds"] = round(planner.seconds[-1], 3)
            path, signature = await running.report(Span(from_ms, end_ms))
            return {**made, "report": {"path": path, "signature": signature}, "process": process}


async def _story(running: Running, config: Config, seconds: float, clock: Clock, say: Callable[[str], None]) -> float:
    """Wait, order, wait: by the API, as a dispatcher does. Returns the seconds from asking to the answer."""
    begun_s = clock.monotonic_s()
    await asyncio.sleep(ORDER_FROM * seconds)
    key = running.access_key("demo-dispatcher", "dispatcher")
    site = config.sites[0].name
    async with httpx.AsyncClient(base_url=running.url, headers={"Authorization": f"Bearer {key}"}, timeout=30) as api:
        found = (await api.get(f"/api/v1/sites/{site}/status")).raise_for_status().json()
        now_w = found["power"]["best"]["value"]
        if now_w is None:
            raise ConfigError([Fault("demo", "no meter has spoken yet", "Give the demonstration more seconds")])
        until_ms = clock.now_ms() + round(ORDER_FOR * seconds * 1000)
        body = {
            "scope": f"{config.hub.name}/{site}",
            "power_w": round(now_w * ORDER_SHARE),
            "until": iso(until_ms),
            "reference": f"demo-{clock.now_ms()}",
            "reason": "demonstration",
        }
        asked_s = clock.monotonic_s()
        answer = await api.post(f"/api/v1/sites/{site}/orders", json=body)
        accepted_s = clock.monotonic_s() - asked_s
        answer.raise_for_status()
        say(f"order: at most {body['power_w'] / 1e3:.0f} kW until {body['until']}: {answer.json()['phase']}")
    await asyncio.sleep(max(0.0, begun_s + seconds - clock.monotonic_s()))
    return accepted_s


async def close_period(
    running: Running, clock: Clock, say: Callable[[str], None], patience_s: float = FRESH_MS / MS_PER_S
) -> int:
    """End the period and close its books; returns its end. The hub goes on polling meanwhile: the last payout is divided once
    the meter has reported its energy. What stays open is named here and in the figures."""
    settling = running.wired.settling
    end_ms = clock.now_ms() if settling is None else await settling.close_books(patience_s)
    await running.hub.components.recorder.flush()
    waiting, held = running.wired.report_store.open_items()
    for text in [*map(open_text, waiting or []), *held]:
        say(f"open: {text}")
    return end_ms


async def _first_word(running: Running, patience_s: float = 30.0) -> int:
    """Instant of the first readings of the billing meters: energy figures begin there."""
    state = running.hub.components.state
    mains = [site.main for site in state.sites.values() if site.main]
    for _ in range(round(patience_s / 0.1)):
        heard = [last[0] for device in mains if (last := state.traces[device].last()) is not None]
        if len(heard) == len(mains):
            return max(heard)
        await asyncio.sleep(0.1)
    raise ConfigError([Fault("demo", f"no billing meter spoke within {patience_s:g} s", "See twin.log")])


def raise_file_limit() -> None:
    """As many open sockets as the system allows this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _peak_rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def _ports() -> Iterator[int]:
    """Ports below those that the system gives to outgoing connections, from a place of this process's own on."""
    first, last = 10_000, 30_000
    at = first + os.getpid() * 6151 % (last - first)
    while True:
        at = at + 1 if at < last else first
        yield at


_next_ports = _ports()


def free_port() -> int:
    """A loopback port that is free at this moment. No outgoing connection takes it meanwhile, and none is given twice."""
    for port in _next_ports:
        with contextlib.suppress(OSError), socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
            return port
    raise AssertionError("ports without end")
