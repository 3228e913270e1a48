# SPDX-License-Identifier: Apache-2.0
"""Polling benchmark: CPU cost of one poll of a miner, `python -m benchmarks.polling --json`.

A responder in a process of its own (on the other core where there are two) answers half of the addresses as a stock
Antminer, joined (`summary+stats+pools`, 3.2 kB), and half as a Whatsminer (`summary`). Measured against it, each in a process
of its own and in turns, so that a noisy machine affects all alike:

- floor: a bare epoll loop, same connects and payloads, no parsing;
- joined: our drivers at the fast tier, through decoding to the columns of a ReadingBatch;
- three: our drivers at the slow tier on firmwares that refuse joined commands (three and five connections a poll);
- asic_rs, pyasic: where they can be imported (or an interpreter that has them is named by `--python`), with six fields:
  hashrate, power, whether it mines, fans, uptime, temperature (`asic_rs_getters`: by one call a field). Each reads three
  fleets: the Antminers, the Whatsminers, and half of each (`mix`, the fleet of joined and floor). `ours` is our driver
  at the fast tier on the same addresses: these fields and, from the joined answer of an Antminer, its pools. Both sides
  are checked to have every field that the miner reports: six of a Whatsminer, five of an Antminer (a stock S19 Pro
  reports no power). Answers with gaps are counted under `wrong`, and then no ratio is given. `connections_a_poll`
  and `requests_a_poll` are counted by the responder.

`ratio_to_floor` is joined polls per CPU-second of the poller divided by the floor's; `ratio_to_asic_rs` is ours divided by
asic_rs on the mix, `ratios_to_asic_rs` the same fleet by fleet. `sweep_s` is the wall time to poll 5,000 miners whose answer
takes 100 ms, all in flight at once; `rss_mb` the poller's peak with 10,000 miners.
"""

import argparse
import asyncio
import contextlib
import gc
import importlib.util
import json
import multiprocessing
import resource
import select
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.polling_peer import FOREIGN_ANTMINERS, FOREIGN_WHATSMINERS, HOSTS, serve

ROUNDS, POLLS, IN_FLIGHT = 5, 20_000, 200
ANTMINER = b'{"command":"summary+stats+pools"}'
WHATSMINER = b'{"command":"summary"}'


FLEETS = {
    "antminer": FOREIGN_ANTMINERS,
    "whatsminer": FOREIGN_WHATSMINERS,
    "mix": tuple(host for pair in zip(FOREIGN_ANTMINERS, FOREIGN_WHATSMINERS, strict=True) for host in pair),
}
"""Fleets read by our drivers and by other libraries."""

REPORTED = {
    "antminer": ("hashrate_hs", "state", "fan_max_rpm", "uptime_s", "temp_board_max_c"),
    "whatsminer": ("hashrate_hs", "power_w", "state", "fan_max_rpm", "uptime_s", "temp_board_max_c"),
}
"""The six fields by our names, as far as the miner reports them."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The responder: its two ports, and the count of connections to its foreign ports."""

    ports: tuple[int, int]
    pipe: Any

    def count(self) -> tuple[int, int]:
        """Connections and requests at the foreign ports since the last call."""
        self.pipe.send(None)
        found: tuple[int, int] = self.pipe.recv()
        return found


@contextlib.contextmanager
def responder(delay_s: float = 0.0, foreign: bool = False) -> Iterator[Peer]:
    """The peer in its own process."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(there, delay_s, foreign), daemon=True)
    process.start()
    try:
        yield Peer(here.recv(), here)
    finally:
        process.terminate()
        process.join()


def _hosts(count: int) -> list[str]:
    return [HOSTS[index // 2 % len(HOSTS)] for index in range(count)]


def floor(ports: tuple[int, int], polls: int, in_flight: int) -> dict[str, Any]:
    """Connect, send, receive to the NUL, close. No event loop, no parsing, no objects per miner."""
    epoll = select.epoll()
    hosts = _hosts(in_flight)
    live: dict[int, tuple[socket.socket, bytes, list[bytes]]] = {}
    started = done = 0
    received = 0

    def start(index: int) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        half = index % 2
        sock.connect_ex((hosts[index % in_flight], ports[half]))
        epoll.register(sock.fileno(), select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
        live[sock.fileno()] = (sock, WHATSMINER if half else ANTMINER, [])

    cpu_s, wall_s = time.process_time(), time.perf_counter()
    while started < min(in_flight, polls):
        start(started)
        started += 1
    while done < polls:
        for number, mask in epoll.poll(1.0):
            sock, payload, parts = live[number]
            if mask & select.EPOLLOUT and payload:
                sock.send(payload)
                live[number] = (sock, b"", parts)
            if mask & select.EPOLLIN:
                try:
                    chunk = sock.recv(65_536)
                except BlockingIOError:
                    continue
                parts.append(chunk)
                if chunk and chunk[-1] != 0:
                    continue
                received += len(chunk)
                sock.close()
                del live[number]
                done += 1
                if started < polls:
                    start(started)
                    started += 1
    return _figures(polls, cpu_s, wall_s)


def _drivers(ports: tuple[int, int], count: int, way: str, exchanges: Any) -> list[Any]:
    from kernel.clock import system_clock
    from miner_control.dialect import DIALECTS
    from miner_control.fleet.driver import Access
    from miner_control.fleet.miner import Miner
    from miner_control.io.miner_socket import MinerPort

    clock, drivers = system_clock(), []
    fleet = FLEETS.get(way)
    for index, host in enumerate(fleet[at % len(fleet)] for at in range(count)) if fleet else enumerate(_hosts(count)):
        whats = host in FOREIGN_WHATSMINERS if fleet else index % 2 == 1
        name = "whatsminer" if whats else "antminer"
        miner = Miner(f"hub/site/m{index}", "", name, host, (("rpc", 4028 if fleet else ports[index % 2]),), "f1")
        access = Access("root", "root", dict(miner.ports))
        # Facts that a hub finds at the first poll of each miner.
        access.memory |= {"new_api": False, "joined": way != "three"}
        drivers.append(MinerPort(miner, DIALECTS[name], access, clock, exchanges))
    return drivers


def ours(ports: tuple[int, int], polls: int, in_flight: int, way: str, miners: int | None = None) -> dict[str, Any]:
    """Our drivers; every 500 readings become a ReadingBatch, as in the collector. `miners` take turns."""
    import uvloop

    from kernel.metric import SCHEMAS, TEXT_METRICS
    from kernel.reading import Reading, batch_of
    from miner_control.io.miner_socket import Exchanges
    from telemetry.collect.source import Tier

    metrics, texts = tuple(SCHEMAS["miner"]), TEXT_METRICS["miner"]
    tier = Tier.SLOW if way == "three" else Tier.FAST
    check = way in FLEETS

    async def run() -> dict[str, Any]:
        exchanges = Exchanges(connect_s=10.0, total_s=20.0)
        drivers = _drivers(ports, miners or in_flight, way, exchanges)
        rows: list[Reading] = []
        turn, wrong = iter(range(polls)), 0

        async def worker() -> None:
            nonlocal wrong
            for index in turn:
                driver = drivers[index % len(drivers)]
                reading = await driver.read(tier)
                wrong += reading.values.get("state") != "hashing"
                if check:
                    wrong += any(reading.values.get(name) is None for name in REPORTED[driver.dialect.name])
                rows.append(reading)
                if len(rows) == 500:
                    batch_of("miner", metrics, texts, rows)
                    rows.clear()

        cpu_s, wall_s = time.process_time(), time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(in_flight)))
        figures = _figures(polls, cpu_s, wall_s)
        exchanges.close()
        return {**figures, "wrong": wrong}

    return uvloop.run(run())


def _figures(polls: int, cpu_s: float, wall_s: float) -> dict[str, Any]:
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    return {
        "polls_per_cpu_s": round(polls / cpu_s),
        "ms_cpu": round(cpu_s / polls * 1e3, 4),
        "wall_s": round(wall_s, 3),
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def measure(rounds: int, polls: int, python: str | None) -> dict[str, Any]:
    """All measurements, in turns; medians over the rounds."""
    found: dict[str, list[dict[str, Any]]] = {}
    asked: dict[str, list[tuple[int, int, int]]] = {}
    with responder(foreign=python is not None) as peer:

        def keep(name: str, made: dict[str, Any] | None, count: int) -> None:
            if made is not None:
                found.setdefault(name, []).append(made)
                if python:
                    asked.setdefault(name, []).append((*peer.count(), count))

        for _ in range(rounds):
            for way in ("floor", "joined", "three"):
                count = polls // 4 if way == "three" else polls
                found.setdefault(way, []).append(_child(way, peer.ports, count, IN_FLIGHT))
            for fleet in FLEETS if python else ():
                peer.count()
                keep(f"ours {fleet}", _child(fleet, peer.ports, polls, IN_FLIGHT), polls)
                keep(f"asic_rs {fleet}", _other(str(python), "asic_rs", polls // 10, fleet), polls // 10)
            for library in ("asic_rs_getters", "pyasic") if python else ():
                keep(f"{library} mix", _other(str(python), library, polls // 40, "mix"), polls // 40)
        rss = _child("joined", peer.ports, 20_000, 1_000, miners=10_000)
    with responder(delay_s=0.1) as peer:
        sweeps = [_child("joined", peer.ports, 5_000, 5_000) for _ in range(min(rounds, 3))]
    rate = {way: statistics.median(one["polls_per_cpu_s"] for one in runs) for way, runs in found.items()}

    wrong = {way: sum(one.get("wrong", 0) for one in runs) for way, runs in found.items()}

    def ratio(ours_: str, other: str) -> float | None:
        """None where the other was not measured, or left fields empty: less work is no comparison."""
        return round(rate[ours_] / rate[other], 2) if other in rate and not wrong[other] else None

    return {
        "polls_per_cpu_s": {way: round(value) for way, value in rate.items()},
        "ms_cpu_each": {way: round(1e3 / value, 4) for way, value in rate.items()},
        "ratio_to_floor": round(rate["joined"] / rate["floor"], 3),
        "ratio_to_asic_rs": ratio("ours mix", "asic_rs mix"),
        "ratios_to_asic_rs": {fleet: ratio(f"ours {fleet}", f"asic_rs {fleet}") for fleet in FLEETS},
        "ratio_to_asic_rs_getters": ratio("ours mix", "asic_rs_getters mix"),
        "ratio_to_pyasic": ratio("ours mix", "pyasic mix"),
        "connections_a_poll": {
            name: round(sum(c for c, _, _ in one) / sum(n for *_, n in one), 2) for name, one in asked.items()
        },
        "requests_a_poll": {
            name: round(sum(r for _, r, _ in one) / sum(n for *_, n in one), 2) for name, one in asked.items()
        },
        "rss_mb": rss["rss_mb"],
        "sweep_s": round(statistics.median(one["wall_s"] for one in sweeps), 3),
        "wrong": wrong,
        "rounds": rounds,
        "polls": polls,
    }


def _child(way: str, ports: tuple[int, int], polls: int, in_flight: int, miners: int = 0) -> dict[str, Any]:
    argv = [sys.executable, "-m", "benchmarks.polling", "--child", way, "--ports", f"{ports[0]},{ports[1]}"]
    argv += ["--polls", str(polls), "--in-flight", str(in_flight), "--miners", str(miners)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise SystemExit(f"{way} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _other(python: str, library: str, polls: int, fleet: str) -> dict[str, Any] | None:
    """Another library in its own interpreter; None where it is not installed there."""
    script = Path(__file__).with_name("polling_others.py")
    argv = [python, str(script), library, str(polls), ",".join(FLEETS[fleet])]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
    lines = done.stdout.splitlines()
    # pyasic-rs at times crashes while its interpreter ends, after the figures are printed.
    if not lines or not lines[-1].startswith("{"):
        print(f"{library}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--polls", type=int, default=POLLS)
    here = sys.executable if any(importlib.util.find_spec(name) for name in ("pyasic_rs", "pyasic")) else None
    parser.add_argument("--python", default=here, help="an interpreter with pyasic-rs and/or pyasic")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--ports", help=argparse.SUPPRESS)
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT, help=argparse.SUPPRESS)
    parser.add_argument("--miners", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if args.child:
        first, second = (int(port) for port in args.ports.split(","))
        if args.child == "floor":
            print(json.dumps(floor((first, second), args.polls, args.in_flight)))
        else:
            # As set in the running hub.
            gc.freeze()
            gc.set_threshold(20_000, 20, 50)
            print(json.dumps(ours((first, second), args.polls, args.in_flight, args.child, args.miners or None)))
        return
    result = measure(args.rounds, args.polls, args.python)
    if args.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:18} {value}")


if __name__ == "__main__":
    main()
