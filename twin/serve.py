# SPDX-License-Identifier: Apache-2.0
"""Process of the twin: every device of a spec on real loopback sockets, until it is stopped.

`python -m twin.serve SPEC.json [READY.json]`. When all ports are open it writes READY.json (which names every
device, address and service) and prints one JSON line.
"""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import uvloop

from kernel.clock import Clock, system_clock
from kernel.errors import ConfigError
from telemetry.device.profile import Profile, load
from twin.container import Container, Publisher
from twin.container_modbus import ACCOUNT as CONTAINER_ACCOUNT
from twin.container_modbus import ModbusContainer
from twin.control import ready_line, serve_control
from twin.decoys import Decoys
from twin.lines import LineContext, allow_files
from twin.meters import Meters, serve_station
from twin.ports import Ports, keep_ports
from twin.responders import ACCOUNTS, responders
from twin.site import Site
from twin.spec import TwinSpec, feeder_name

PROFILES = Path(__file__).parents[1] / "configs" / "profiles"
ADVANCE_S = 0.25


def profile_of(kind: str, name: str) -> Profile:
    return load(PROFILES / kind / f"{name}.toml")


def describe(site: Site, ports: list[Ports], containers: list[Container], meter_port: int) -> dict[str, Any]:
    """Devices for `ready.json`: enough to write a hub's register."""
    spec = site.spec
    return {
        "hub": spec.hub, "site": spec.site, "seed": spec.seed, "pace": spec.pace, "pid": os.getpid(),
        "miners": [
            {
                "device": unit.place.device, "host": unit.place.host, "ports": opened.ports, "model": unit.model.label,
                "dialect": unit.model.dialect, "firmware": unit.firmware, "feeder": feeder_name(unit.place.feeder),
                "rack": unit.place.rack, "position": unit.place.position, "serial": unit.place.serial,
                "mac": unit.place.mac,
            }
            for unit, opened in zip(site.units, ports, strict=True)
        ],
        "meters": [
            {
                "device": meter.device, "host": spec.host, "port": meter_port, "unit": meter.unit_id,
                "profile": spec.main_meter_profile if meter.feeder is None else spec.feeder_meter_profile,
                "role": "main" if meter.feeder is None else "feeder",
                "feeder": None if meter.feeder is None else feeder_name(meter.feeder), "serial": meter.serial,
            }
            for meter in site.meters
        ],
        "containers": [
            {"device": container.device, "topic_prefix": container.topic_prefix, "profile": spec.container_profile}
            for container in containers
        ],
        "losses": spec.losses.model_dump() | {"feeder_factor": spec.losses.feeder_factor},
        "accounts": dict(ACCOUNTS), "password": spec.password,
        "mqtt": None if spec.mqtt_host is None else {"host": spec.mqtt_host, "port": spec.mqtt_port},
    }  # fmt: skip


async def serve(spec: TwinSpec, ready_path: Path | None = None, clock: Clock | None = None) -> None:
    """Serve until SIGTERM or SIGINT (or cancelled). Raises ConfigError where a port or the file limit is refused."""
    clock = clock or system_clock()
    site = Site(spec, clock.now_ms())
    rng = np.random.default_rng([spec.seed, 4])
    host_addresses = LineContext(site, clock, rng)
    kinds = responders(host_addresses)
    factories = [kinds[unit.model.dialect](unit) for unit in site.units]
    listeners = sum(map(len, factories)) + spec.silent_hosts + 2 * spec.half_open_hosts
    allow_files(2 * listeners if spec.miners < 2000 else listeners + 4000)
    ports = [Ports(unit, made) for unit, made in zip(site.units, factories, strict=True)]
    async with contextlib.AsyncExitStack() as stack:
        for opened in ports:
            await opened.open()
            stack.callback(opened.close)
        decoys = Decoys(spec)
        await decoys.open()
        stack.callback(decoys.close)
        meters = Meters(
            site, clock, profile_of("meters", spec.main_meter_profile), profile_of("meters", spec.feeder_meter_profile)
        )
        gateway, meter_port = await serve_station(meters, spec.host, spec.meter_port, spec.meter_latency_s, rng)
        stack.callback(gateway.close)
        containers = [Container(site, number) for number in range(spec.containers)]
        profile = profile_of("containers", spec.container_profile)
        ready = describe(site, ports, containers, meter_port)
        if profile.wire == "modbus":
            for container, reported in zip(containers, ready["containers"], strict=True):
                station = ModbusContainer(container, profile, clock, rng)
                server, port = await serve_station(station, spec.host, 0, spec.meter_latency_s, rng)
                stack.callback(server.close)
                reported |= {"host": spec.host, "port": port, "account": CONTAINER_ACCOUNT}
        if decoys.described:
            ready["decoys"] = decoys.described
        if spec.finance:
            ready |= await _finance(site, clock, stack)
        if spec.control_port is not None:
            channel, control_port = await serve_control(site, clock, spec.host, spec.control_port)
            stack.callback(channel.close)
            ready["control_url"] = f"http://{spec.host}:{control_port}"

        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        loops = [asyncio.create_task(_advance(host_addresses)), asyncio.create_task(keep_ports(site, ports))]
        if spec.mqtt_host is not None and containers and profile.wire == "mqtt":
            publisher = Publisher(site, clock, profile, containers)
            loops.append(asyncio.create_task(publisher.run()))
        _announce(ready, ready_path)
        waiter = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([*loops, waiter], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {waiter}:
                task.result()
        finally:
            for task in (*loops, waiter):
                task.cancel()
            await asyncio.gather(*loops, waiter, return_exceptions=True)


async def _finance(site: Site, clock: Clock, stack: contextlib.AsyncExitStack) -> dict[str, Any]:
    from twin.finance import FinanceSpec, serve_finance

    spec = site.spec

    def hashes_done() -> float:
        site.machines.advance(clock.now_ms())
        return site.hashes_done()

    servers = await serve_finance(
        seed=spec.seed, host=spec.host, clock=clock, hashes_done=hashes_done, pool_port=spec.pool_port,
        rates_port=spec.rates_port, venue_port=spec.venue_port, faults=lambda: frozenset(site.service_faults),
        spec=FinanceSpec(payout_every_s=spec.payout_every_s),
    )  # fmt: skip
    stack.push_async_callback(servers.close)
    return {
        "pool_url": servers.pool_url, "rates_url": servers.rates_url, "venue_url": servers.venue_url,
        "pool_token": servers.pool_token,
    }  # fmt: skip


async def _advance(host_addresses: LineContext) -> None:
    """Keep the machines close to now, so that a request never has to simulate a long interval."""
    while True:
        now_ms = host_addresses.now()
        host_addresses.site.tick(now_ms)
        for tick in host_addresses.tickers:
            tick(now_ms)
        await asyncio.sleep(ADVANCE_S)


def _announce(ready: dict[str, Any], ready_path: Path | None) -> None:
    if ready_path is not None:
        part = ready_path.with_suffix(".part")
        part.write_bytes(orjson.dumps(ready))
        part.replace(ready_path)
    sys.stdout.buffer.write(ready_line(ready))
    sys.stdout.buffer.flush()


def run(spec: TwinSpec, ready_path: Path | None = None) -> None:
    """Serve in this process until it is stopped."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(spec, ready_path))


def main(argv: list[str]) -> int:
    """`SPEC.json [READY.json]`; `-` reads the spec from standard input."""
    if not 1 <= len(argv) <= 2:
        sys.stderr.write("usage: python -m twin.serve SPEC.json|- [READY.json]\n")
        return 2
    text = sys.stdin.read() if argv[0] == "-" else Path(argv[0]).read_text(encoding="utf-8")
    try:
        run(TwinSpec.model_validate_json(text), Path(argv[1]) if len(argv) > 1 else None)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
