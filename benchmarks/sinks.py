# SPDX-License-Identifier: Apache-2.0
"""Forwarding benchmark: line protocol by column against influxdb-client's Points, and cost of an outage of a sink.

`python -m benchmarks.sinks --json`. Rows have 30 fields. Both methods give the same rows to the same client and the same
server (which answers 204), so that only the method differs. The outage: a real VictoriaMetrics (or InfluxDB 1) is down while
`--rows` rows are journalled, is killed with SIGKILL while they are forwarded, and comes back.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.telemetry_rows import miner_rounds
from kernel.clock import system_clock
from kernel.reading import ReadingBatch
from telemetry.io.journal_sqlite import open_journal
from telemetry.io.line_protocol import lines
from telemetry.io.marks_sqlite import SqliteMarks
from telemetry.io.sink_influx import InfluxSink, InfluxV1Sink
from telemetry.store.sink import Forwarder, SinkState
from tests.servers import free_port, wait_port

MINERS = 1_000


def taking_server() -> tuple[subprocess.Popen[bytes], int]:
    """The accepting server in a process of its own, so that its CPU is not counted."""
    port = free_port()
    argv = [sys.executable, "-m", "benchmarks.taking_server", str(port)]
    server = subprocess.Popen(argv, cwd=Path(__file__).parents[1])
    wait_port(port, timeout_s=120)
    return server, port


def points_of(batch: ReadingBatch) -> list[Any]:
    """The method of influxdb-client's documentation: one Point a row."""
    from influxdb_client.client.write.point import Point
    from influxdb_client.domain.write_precision import WritePrecision

    points = []
    for reading in batch.readings():
        point = Point(reading.kind).tag("device", reading.device).tag("site", reading.device.rpartition("/")[0])
        for name, value in reading.values.items():
            point = point.field(name, value)
        points.append(point.time(reading.at_ms, WritePrecision.MS))
    return points


def rates(rows: int, work: Any) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"rows_per_s": rows / wall, "cpu_us_per_row": cpu / rows * 1e6}


def compared(batches: list[ReadingBatch], few: int) -> dict[str, Any]:
    """Both methods, serialising and sending; and serialising alone."""
    from influxdb_client.domain.write_precision import WritePrecision

    server, port = taking_server()
    try:
        sink = InfluxSink("taking", f"http://127.0.0.1:{port}", org="hub", bucket="b", token="t")
        rows, some = sum(map(len, batches)), batches[:few]
        some_rows = sum(map(len, some))
        sink.send(batches[0])
        ours = rates(rows, lambda: [sink.send(batch) for batch in batches])
        write = sink._write.write

        def by_points() -> None:
            for batch in some:
                write("b", "hub", points_of(batch), write_precision=WritePrecision.MS)

        points = rates(some_rows, by_points)
        ours_alone = rates(rows, lambda: [lines(batch) for batch in batches])
        points_alone = rates(some_rows, lambda: [[p.to_line_protocol() for p in points_of(batch)] for batch in some])
        sink.close()
    finally:
        server.kill()
        server.wait()
    return {
        "columns": ours,
        "points": points,
        "columns_serialise": ours_alone,
        "points_serialise": points_alone,
        "ratio_to_point": points["cpu_us_per_row"] / ours["cpu_us_per_row"],
        "ratio_to_point_wall": ours["rows_per_s"] / points["rows_per_s"],
    }


def rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Victoria:
    """VictoriaMetrics: acknowledges before it is on disk."""

    name = "victoria-metrics"

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.argv = [
            "victoria-metrics", f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={folder}/vm",
            "-retentionPeriod=100y", "-search.latencyOffset=0s",
        ]  # fmt: skip
        self.sink: Any = InfluxSink("vm", self.url, org="hub", bucket="b", token="t", texts=False)

    def prepare(self) -> None:
        pass

    def instants(self) -> tuple[int, int]:
        """(points stored, distinct ones) of one field."""
        httpx.get(f"{self.url}/internal/force_flush", trust_env=False, timeout=60)
        answer = httpx.get(
            f"{self.url}/api/v1/export", params={"match[]": "miner_power_w"}, trust_env=False, timeout=120
        )
        stamps = [json.loads(line)["timestamps"] for line in answer.text.splitlines()]
        return sum(map(len, stamps)), sum(len(set(one)) for one in stamps)


class Influx1:
    """InfluxDB 1: overwrites by series and instant."""

    name = "influxdb"

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        conf = folder / "influxdb.conf"
        conf.write_text(
            f'reporting-disabled = true\nbind-address = "127.0.0.1:{free_port()}"\n[meta]\ndir = "{folder}/meta"\n'
            f'[data]\ndir = "{folder}/data"\nwal-dir = "{folder}/wal"\nindex-version = "tsi1"\n'
            f'[http]\nbind-address = "127.0.0.1:{port}"\nlog-enabled = false\n[monitor]\nstore-enabled = false\n'
        )
        self.argv = ["influxd", "-config", str(conf)]
        self.sink: Any = InfluxV1Sink("influx", self.url, database="b", time_out_s=120)

    def prepare(self) -> None:
        httpx.post(f"{self.url}/query", params={"q": "CREATE DATABASE b"}, trust_env=False, timeout=60)

    def instants(self) -> tuple[int, int]:
        answer = httpx.get(
            f"{self.url}/query",
            params={"db": "b", "q": "SELECT count(power_w) FROM miner"},
            trust_env=False,
            timeout=120,
        ).json()
        count = int(answer["results"][0]["series"][0]["values"][0][1])
        return count, count


def started(server: Any, port: int) -> subprocess.Popen[bytes]:
    program = subprocess.Popen(server.argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_port(port, timeout_s=120)
        server.prepare()
    except BaseException:
        program.kill()
        program.wait()
        raise
    return program


def outage(folder: Path, rows: int, make: type[Victoria] | type[Influx1]) -> dict[str, Any]:
    """Down while rows are written, killed while it catches up, complete in the end."""
    folder.mkdir()
    port = free_port()
    server = make(folder, port)
    journal = open_journal(folder / "journal")
    start_ms = system_clock().now_ms() - 3_600_000
    rounds = miner_rounds(MINERS, rows // MINERS, start_ms, 1000).batches
    forwarder = Forwarder(journal, server.sink, SqliteMarks(folder / "marks.sqlite"), system_clock())
    journal.append([rounds[0]], [])
    forwarder.step()
    before_mb = rss_mb()
    for batch in rounds[1:]:
        journal.append([batch], [])
        if len(journal._pending) == 0 and forwarder.health().behind % 20 == 0:
            forwarder.step()
    while_down_mb = rss_mb()
    was_down = forwarder.health().state is SinkState.DOWN

    program = started(server, port)
    try:
        forwarder.step(most_records=len(rounds) // 2)
        program.kill()
        program.wait()
        forwarder.step(most_records=10)
        was_killed = forwarder.health().state is SinkState.DOWN
        program = started(server, port)
        begun = time.perf_counter()
        while forwarder.step() == 0.0:
            pass
        caught_up_s = time.perf_counter() - begun
        # The last rows were acknowledged a moment ago; after a second kill those not on disk are sent again.
        program.kill()
        program.wait()
        program = started(server, port)
        again = Forwarder(journal, server.sink, SqliteMarks(folder / "marks.sqlite"), system_clock())
        while again.step() == 0.0:
            pass
        stored, distinct = server.instants()
    finally:
        program.kill()
        program.wait()
    written = sum(map(len, rounds))
    return {
        "rows": written,
        "was_down": was_down,
        "was_killed": was_killed,
        "lost": written - distinct,
        "doubled": max(distinct - written, 0),
        "stored_twice_before_deduplication": stored - distinct,
        "rss_mb_before": round(before_mb, 1),
        "rss_mb_while_down": round(while_down_mb, 1),
        "rss_mb_after": round(rss_mb(), 1),
        "catch_up_rows_per_s": written / caught_up_s,
        "level": again.health().state is SinkState.LEVEL,
        "set_aside": again.health().set_aside,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the outage")
    given = parser.parse_args()
    batches = miner_rounds(5_000, 10, system_clock().now_ms(), 30_000).batches
    result: dict[str, Any] = {"fields": 30} | compared(batches, few=2)
    with tempfile.TemporaryDirectory(prefix="sinks-") as name:
        for make in (Victoria, Influx1):
            program = "influxd" if make is Influx1 else "victoria-metrics"
            if shutil.which(program):
                result[f"outage_{make.name}"] = outage(Path(name) / make.name, given.rows, make)
            else:
                result[f"outage_{make.name}"] = {"absent": f"{program} is not installed"}
    ran = [found for key, found in result.items() if key.startswith("outage_") and "lost" in found]
    result["lost"] = sum(found["lost"] for found in ran) if ran else None
    result["doubled"] = sum(found["doubled"] for found in ran) if ran else None
    result["load_average"] = os.getloadavg()[0]
    if not given.json:
        for key, found in result.items():
            print(f"{key}: {found}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
