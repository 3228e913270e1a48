# SPDX-License-Identifier: Apache-2.0
"""What one poll of a miner costs: `python -m benchmarks.polling --json`.

A responder in a process of its own (on the other core where there are two) answers half of the addresses as a stock
Antminer, joined (`summary+stats+pools`, 3.2 kB), and half as a Whatsminer (`summary`). Against it run, each in a process of
its own and in turns, so that a noisy machine hurts all alike:

- floor: a bare epoll loop, same connects and payloads, nothing parsed;
- joined: our drivers at the fast tier, through decoding to the columns of a ReadingBatch;
- three: our drivers at the slow tier on firmwares that refuse joined commands (three and five connections a poll);
- asic_rs, pyasic: where an interpreter that has them is named by `--python`, asked for six fields of our fast tier of
  Whatsminers (asic_rs_getters: by one call a field); `same` is our driver on just these.

`ratio_to_floor` is joined polls per CPU-second of the poller divided by the floor's; `ratio_to_asic_rs` is `same` divided by
asic_rs. `sweep_s` is the wall time to poll 5,000 miners whose answer takes 100 ms, all in flight at once; `rss_mb` the
poller's peak with 10,000 miners.
"""

import argparse
import asyncio
import contextlib
import gc
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
from pathlib import Path
from typing import Any

from benchmarks.polling_peer import FOREIGN, HOSTS, serve

ROUNDS, POLLS, IN_FLIGHT = 5, 20_000, 200
ANTMINER = b'{"command":"summary+stats+pools"}'
WHATSMINER = b'{"command":"summary"}'


@contextlib.contextmanager
def responder(delay_s: float = 0.0, foreign: bool = False) -> Iterator[tuple[int, int]]:
    """The peer in its own process; gives the two ports."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(there, delay_s, foreign), daemon=True)
    process.start()
    antminer, whatsminer = here.recv()
    try:
        yield antminer, whatsminer
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
    from miner_control.driver import Access
    from miner_control.io.miner_socket import MinerPort
    from miner_control.miner import Miner

    clock, drivers = system_clock(), []
    for index, host in enumerate(_hosts(count)):
        whats = index % 2 == 1 or way == "same"
        name = "whatsminer" if whats else "antminer"
        place = FOREIGN[index % len(FOREIGN)] if way == "same" else host
        port = 4028 if way == "same" else ports[index % 2]
        miner = Miner(f"hub/site/m{index}", "", name, place, (("rpc", port),), "f1")
        access = Access("root", "root", dict(miner.ports))
        # What a hub learns at the first poll of each miner.
        access.memory |= {"new_api": False, "joined": way != "three"}
        drivers.append(MinerPort(miner, DIALECTS[name], access, clock, exchanges))
    return drivers


def ours(ports: tuple[int, int], polls: int, in_flight: int, way: str, miners: int | None = None) -> dict[str, Any]:
    """Our drivers; every 500 readings become a ReadingBatch, as the collector does it. `miners` take turns."""
    import uvloop

    from kernel.metric import SCHEMAS, TEXT_METRICS
    from kernel.reading import Reading, batch_of
    from miner_control.io.miner_socket import Exchanges
    from telemetry.source import Tier

    metrics, texts = tuple(SCHEMAS["miner"]), TEXT_METRICS["miner"]
    tier = Tier.SLOW if way == "three" else Tier.FAST

    async def run() -> dict[str, Any]:
        exchanges = Exchanges(connect_s=10.0, total_s=20.0)
        drivers = _drivers(ports, miners or in_flight, way, exchanges)
        rows: list[Reading] = []
        turn, wrong = iter(range(polls)), 0

        async def worker() -> None:
            nonlocal wrong
            for index in turn:
                reading = await drivers[index % len(drivers)].read(tier)
                wrong += reading.values.get("state") != "hashing"
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
    """All of it, in turns; medians over the rounds."""
    found: dict[str, list[dict[str, Any]]] = {}
    with responder(foreign=python is not None) as ports:
        for _ in range(rounds):
            for way in ("floor", "joined", "three", *(("same",) if python else ())):
                count = polls // 4 if way == "three" else polls
                found.setdefault(way, []).append(_child(way, ports, count, IN_FLIGHT))
            for library in ("asic_rs", "asic_rs_getters", "pyasic") if python else ():
                other = _other(str(python), library, polls // 20)
                if other is not None:
                    found.setdefault(library, []).append(other)
        rss = _child("joined", ports, 20_000, 1_000, miners=10_000)
    with responder(delay_s=0.1) as ports:
        sweeps = [_child("joined", ports, 5_000, 5_000) for _ in range(min(rounds, 3))]
    rate = {way: statistics.median(one["polls_per_cpu_s"] for one in runs) for way, runs in found.items()}
    result: dict[str, Any] = {
        "polls_per_cpu_s": {way: round(value) for way, value in rate.items()},
        "ms_cpu_each": {way: round(1e3 / value, 4) for way, value in rate.items()},
        "ratio_to_floor": round(rate["joined"] / rate["floor"], 3),
        "ratio_to_asic_rs": round(rate["same"] / rate["asic_rs"], 2) if "asic_rs" in rate else None,
        "ratio_to_asic_rs_getters": (
            round(rate["same"] / rate["asic_rs_getters"], 2) if "asic_rs_getters" in rate else None
        ),
        "ratio_to_pyasic": round(rate["same"] / rate["pyasic"], 2) if "pyasic" in rate else None,
        "rss_mb": rss["rss_mb"],
        "sweep_s": round(statistics.median(one["wall_s"] for one in sweeps), 3),
        "wrong": sum(one.get("wrong", 0) for runs in found.values() for one in runs),
        "rounds": rounds,
        "polls": polls,
    }
    return result


def _child(way: str, ports: tuple[int, int], polls: int, in_flight: int, miners: int = 0) -> dict[str, Any]:
    argv = [sys.executable, "-m", "benchmarks.polling", "--child", way, "--ports", f"{ports[0]},{ports[1]}"]
    argv += ["--polls", str(polls), "--in-flight", str(in_flight), "--miners", str(miners)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise SystemExit(f"{way} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _other(python: str, library: str, polls: int) -> dict[str, Any] | None:
    """Another library in its own interpreter; None where it is not installed there."""
    script = Path(__file__).with_name("polling_others.py")
    argv = [python, str(script), library, str(polls), ",".join(FOREIGN)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
    lines = done.stdout.splitlines()
    # pyasic-rs at times dies while its interpreter ends, after the figures are out.
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
    parser.add_argument("--python", help="an interpreter with pyasic-rs and/or pyasic")
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
            # As the running hub sets it.
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
