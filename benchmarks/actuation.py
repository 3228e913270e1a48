# SPDX-License-Identifier: Apache-2.0
"""Actuation benchmark: 10,000 commanded miners of every dialect on the twin, some of them faulty.

`python -m benchmarks.actuation --json`. Half of them are put to sleep, then woken again under the inrush limit. Each receipt
is compared with the twin's true state: `false_verified` reports a sleep that did not happen; `false_unknown` slept, or was
refused or unreachable, without a receipt of that. `wire_p99_s`: from the order to the last byte of the write;
`answered_p99_s`: to the miner's answer. The twin runs as a process of its own on the other core.
"""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from kernel.clock import cpu_s, system_clock
from kernel.errors import DecodeError, TransportError
from kernel.reading import Reading
from kernel.receipt import Receipt, Refused, Unknown, Unreachable, Verified
from miner_control.control.actuator import Actuator
from miner_control.dialect import DIALECTS
from miner_control.fleet.command import Command, Intent, Journalled, Sleep, Wake, command
from miner_control.fleet.driver import Access, MinerDriver
from miner_control.fleet.envelope import Envelope
from miner_control.fleet.miner import Miner
from miner_control.inventory.catalogue import load_catalogue
from miner_control.io.exchanges import Exchanges
from miner_control.io.miner_socket import MinerPort
from telemetry.collect.source import Tier
from twin.models import MODELS
from twin.spec import TwinSpec

PROFILES = Path(__file__).resolve().parent.parent / "configs" / "profiles"
FAULTS = {"refuses_writes": 0.01, "deaf": 0.01, "dead": 0.01, "reboots_on_write": 0.01}


class TimedExchanges(Exchanges):
    """Exchanges that record, per address, when the last byte of its first write had been sent (a port gives writes a time-out
    of their own, reads none)."""

    def __init__(self) -> None:
        super().__init__()
        self.left_s: dict[str, float] = {}
        self.left_cpu_s = 0.0
        self._writing: dict[int, str] = {}

    def exchange(
        self, host: str, port: int, payload: Any, whole: Any, total_s: float | None = None, line: Any = None
    ) -> "asyncio.Future[bytes]":
        answer = super().exchange(host, port, payload, whole, total_s, line)
        if total_s is not None:
            key = id(payload)
            self._writing[key] = host
            answer.add_done_callback(lambda _: self._writing.pop(key, None))
        return answer

    def _send(self, number: int, talk: Any, mask: int) -> None:
        payload = talk.payload
        super()._send(number, talk, mask)
        host = self._writing.get(id(payload))
        if host is not None and talk.sent >= len(payload) and host not in self.left_s:
            self.left_s[host] = time.monotonic()
            self.left_cpu_s = cpu_s()


def truth(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/truth?all=1", timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def most_open(url: str, devices: list[str]) -> int:
    """The highest number of simultaneous connections at any of these miners."""
    most = 0
    for device in devices:
        with urllib.request.urlopen(f"{url}/truth?device={device}", timeout=30) as answer:
            most = max(most, json.load(answer)["open_most"])
    return most


class Timed:
    """A port that records when the write of a command was sent (its last exchange) and answered."""

    kind = "miner"

    def __init__(self, port: MinerPort, bench: "Bench") -> None:
        self._port, self._bench = port, bench
        self.device, self.lane = port.device, port.lane

    async def read(self, tier: Tier) -> Reading:
        return await self._port.read(tier)

    async def carry_out(self, intent: Intent, deadline_s: float) -> Receipt:
        receipt = await self._port.carry_out(intent, deadline_s)
        now_s = time.monotonic()
        self._bench.answered_s.setdefault(self.device, now_s)
        if not isinstance(receipt, Unreachable):
            left_s = self._bench.exchanges.left_s.get(self._bench.hosts[self.device], now_s)
            self._bench.wire_s.setdefault(self.device, left_s)
        return receipt


class Bench:
    """Drivers, envelopes and an actuator over a ready twin."""

    def __init__(self, ready: dict[str, Any], inrush_w_per_s: float, in_flight: int) -> None:
        self.clock = system_clock()
        self.exchanges = TimedExchanges()
        catalogue = load_catalogue(
            (PROFILES / "miners").glob("*.toml"),
            (PROFILES / "firmware").glob("*.toml"),
            (PROFILES / "names").glob("*.toml"),
        )
        self.ports: dict[str, MinerPort] = {}
        self.envelopes: dict[str, Envelope] = {}
        self.hosts: dict[str, str] = {}
        for reported in ready["miners"]:
            miner = Miner(
                reported["device"],
                reported["model"],
                reported["dialect"],
                reported["host"],
                tuple(reported["ports"].items()),
                reported["feeder"],
            )
            account = ready["accounts"].get(miner.dialect, "root")
            access = Access(account, ready["password"], dict(miner.ports))
            self.ports[miner.device] = MinerPort(miner, DIALECTS[miner.dialect], access, self.clock, self.exchanges)
            self.envelopes[miner.device] = catalogue.envelope(miner.model, miner.dialect)
            self.hosts[miner.device] = miner.host
        self.receipts: dict[str, Receipt] = {}
        self.wire_s: dict[str, float] = {}
        self.answered_s: dict[str, float] = {}
        self.order_s = 0.0
        self.drivers: dict[str, MinerDriver] = {device: Timed(port, self) for device, port in self.ports.items()}
        self.actuator = Actuator(
            self.drivers, self.clock, self.envelopes.__getitem__, self._receipt,
            inrush_w_per_s=inrush_w_per_s, in_flight=in_flight,
        )  # fmt: skip

    def _receipt(self, asked: Command, receipt: Receipt, at_ms: int) -> None:
        self.receipts[asked.device] = receipt

    async def prepare(self, devices: list[str], at_once: int = 200) -> int:
        """Obtain tokens and nonces in advance; returns their number."""
        gate, made = asyncio.Semaphore(at_once), 0

        async def one(port: MinerPort) -> None:
            nonlocal made
            async with gate:
                try:
                    await port.prepare()
                    made += 1
                except (TransportError, DecodeError):
                    pass

        await asyncio.gather(*(one(self.ports[device]) for device in devices))
        return made

    async def order(
        self, intent: Sleep | Wake, devices: list[str], deadline_s: float, priority: int
    ) -> dict[str, Receipt]:
        self.receipts, self.wire_s, self.answered_s = {}, {}, {}
        self.exchanges.left_s.clear()
        now_ms = self.clock.now_ms()
        asked = [
            command(now_ms, device, intent, "benchmark", deadline_s=deadline_s, priority=priority) for device in devices
        ]
        self.order_s = time.monotonic()
        await asyncio.gather(*self.actuator.start(Journalled(tuple(asked))).values())
        return dict(self.receipts)


def percentile(times: dict[str, float], start_s: float, share: float) -> float:
    return round(float(np.percentile([at_s - start_s for at_s in times.values()], share)), 3) if times else -1.0


def judge(receipts: dict[str, Receipt], reported: dict[str, Any]) -> dict[str, Any]:
    """Receipts of a sleep order compared with the true states."""
    asleep = dict(zip(reported["device"], reported["asleep"], strict=True))
    faults = dict(zip(reported["device"], reported["faults"], strict=True))
    false_verified, false_unknown, wrong = [], [], Counter[str]()
    for device, receipt in receipts.items():
        slept, fault = asleep[device], (faults[device] or ["none"])[0]
        if isinstance(receipt, Verified) and not slept:
            false_verified.append((device, fault, str(receipt.reading.values.get("state"))))
        wanted: tuple[type, ...] = {
            "refuses_writes": (Refused,), "dead": (Unreachable,), "deaf": (Unknown,),
            "reboots_on_write": (Unknown, Unreachable),
        }.get(fault, (Verified,))  # fmt: skip
        if slept and fault != "dead":
            wanted = (Verified,)
        if not isinstance(receipt, wanted):
            false_unknown.append((device, fault, repr(receipt)[:120]))
            wrong[f"{fault}: {type(receipt).__name__}"] += 1
    return {
        "false_verified": len(false_verified),
        "false_unknown": len(false_unknown),
        "wrong": dict(wrong),
        "examples": [*false_verified[:5], *false_unknown[:5]],
    }


async def play(ready: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    bench = Bench(ready, options.inrush_w_per_s, options.in_flight)
    rng = np.random.default_rng(options.seed)
    devices = sorted(bench.drivers)
    half = [devices[int(at)] for at in rng.permutation(len(devices))[: len(devices) // 2]]
    start_s = time.monotonic()
    prepared = await bench.prepare(half)
    prepare_s = time.monotonic() - start_s

    spent_s = cpu_s()
    shed = await bench.order(Sleep(), half, options.deadline_s, 0)
    shed_cpu_s, wire_cpu_s = cpu_s() - spent_s, bench.exchanges.left_cpu_s - spent_s
    found = judge(shed, await asyncio.to_thread(truth, ready["control_url"]))
    wire = {f"wire_p{share}_s": percentile(bench.wire_s, bench.order_s, share) for share in (50, 99)}
    by_dialect = {
        name: percentile(
            {d: at_s for d, at_s in bench.wire_s.items() if bench.ports[d].miner.dialect == name}, bench.order_s, 99
        )
        for name in sorted({port.miner.dialect for port in bench.ports.values()})
    }
    answered = {f"answered_p{share}_s": percentile(bench.answered_s, bench.order_s, share) for share in (50, 99)}

    verified = [device for device, receipt in shed.items() if isinstance(receipt, Verified)]
    woken = await bench.order(Wake(), verified, options.deadline_s + 60.0, 5)
    waits = sorted((bench.wire_s[device], device) for device in bench.wire_s)
    rise_w = {d: bench.envelopes[d].mode(bench.envelopes[d].normal).power_w - bench.envelopes[d].sleep_w for d in half}
    staged = steepest_w_per_s([(at_s, rise_w[device]) for at_s, device in waits])
    await bench.actuator.close()
    bench.exchanges.close()
    return {
        "miners": len(devices),
        "dialects": sorted({reported["dialect"] for reported in ready["miners"]}),
        "commanded": len(half),
        "prepared": prepared,
        "prepare_s": round(prepare_s, 2),
        "receipts": dict(Counter(type(receipt).__name__.lower() for receipt in shed.values())),
        **found,
        **wire,
        "wire_p99_s_by_dialect": by_dialect,
        **answered,
        "wire_cpu_s": round(wire_cpu_s, 3),
        "shed_cpu_ms_each": round(1e3 * shed_cpu_s / len(half), 3),
        "restore": dict(Counter(type(receipt).__name__.lower() for receipt in woken.values())),
        "restore_not_verified": [
            (bench.ports[device].miner.dialect, repr(receipt)[:90])
            for device, receipt in woken.items()
            if not isinstance(receipt, Verified)
        ][:5],
        "restore_s": round(waits[-1][0] - waits[0][0], 1) if waits else 0.0,
        "inrush_w_per_s": options.inrush_w_per_s,
        "steepest_w_per_s": round(staged),
        "open_most_per_miner": most_open(ready["control_url"], half[:200]),
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def steepest_w_per_s(rises: list[tuple[float, float]], window_s: float = 5.0) -> float:
    """The steepest rise over any window, which the inrush limit must bound."""
    most, first, inside = 0.0, 0, 0.0
    for at_s, watts in rises:
        inside += watts
        while rises[first][0] < at_s - window_s:
            inside -= rises[first][1]
            first += 1
        most = max(most, inside)
    return most / window_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    parser.add_argument("--miners", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pace", type=float, default=6.0, help="how much faster than life the twin's machines change")
    parser.add_argument("--deadline-s", type=float, default=60.0)
    parser.add_argument("--in-flight", type=int, default=6000)
    parser.add_argument("--inrush-w-per-s", type=float, default=500_000.0)
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 65_536)), hard))
    spec = TwinSpec(
        miners=options.miners, seed=options.seed, pace=options.pace, models=dict.fromkeys(MODELS, 1.0), faults=FAULTS,
        containers=0, finance=False, control_port=0, feeders=10,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.json"
        # A plain dump leaves the password out on purpose: the default is used here.
        path.write_text(spec.model_dump_json(exclude={"password"}))
        process = subprocess.Popen(
            [sys.executable, "-m", "twin.serve", str(path), str(Path(folder) / "ready.json")],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            process.stdout.readline()
            ready = json.loads((Path(folder) / "ready.json").read_text())
            found = uvloop.run(play(ready, options))
        finally:
            process.terminate()
            process.wait(20)
    print(json.dumps(found) if options.json else "\n".join(f"{name:22} {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
