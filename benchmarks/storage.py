# SPDX-License-Identifier: Apache-2.0
"""Storage benchmark: the journal and archive against plain SQLite rows, a DuckDB table and VictoriaMetrics.

`python -m benchmarks.storage --json`. Readings of `--miners` miners with 30 fields each (23 numbers rounded as devices
round them, 7 texts), one commit per round of polls, and 100 meters with a commit each second. The five queries are made by
another process while this one continues to write. CPU is of the writing process (of the server, for VictoriaMetrics).
"""

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.telemetry_rows import METER_FIELDS, MINER_FIELDS, Rounds, meter_rounds, miner_rounds
from kernel.metric import SCHEMAS, TEXT_METRICS
from kernel.reading import ReadingBatch, batch_of
from telemetry.io.archive_parquet import ParquetArchive
from telemetry.io.journal_sqlite import open_journal
from telemetry.io.line_protocol import lines

ROOT = Path(__file__).parents[1]
T0_MS = 1_767_225_600_000
POLL_MS = 30_000


def measured(values: int, work: Callable[[], object]) -> dict[str, float]:
    """Wall and CPU time of some work, as rates."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"values_per_s": values / wall, "cpu_us_per_value": cpu / values * 1e6}


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def journal_rows(folder: Path, rounds: Rounds) -> dict[str, float]:
    """From Python readings, one object a device, as from a collector."""
    journal = open_journal(folder)
    metrics, texts = list(SCHEMAS["miner"]), TEXT_METRICS["miner"]
    readings = [list(batch.readings()) for batch in rounds.batches[:10]]
    values = sum(len(rows) for rows in readings) * rounds.fields

    def work() -> None:
        for rows in readings:
            journal.append([batch_of("miner", metrics, texts, rows)], [])

    found = measured(values, work)
    journal.close()
    return found


def journal_columns(folder: Path, rounds: Rounds) -> dict[str, float]:
    """From columns, as from a source of many devices (an MQTT gateway, a simulation)."""
    journal = open_journal(folder)
    before = size_of(folder)
    found = measured(rounds.values, lambda: [journal.append([batch], []) for batch in rounds.batches])
    journal.close()
    return found | {"bytes_per_value": (size_of(folder) - before) / rounds.values}


def sealed(folder: Path, rounds: Rounds, kind: str) -> dict[str, float]:
    """The closed hour as Parquet with its rollups."""
    journal = open_journal(folder / "journal")
    archive = ParquetArchive(folder / "archive", journal)
    found = measured(rounds.values, lambda: archive.seal(T0_MS + 10 * 3_600_000))
    journal.close()
    return found | {
        "bytes_per_value": size_of(folder / "archive" / "raw" / kind) / rounds.values,
        "rollup_bytes_per_value": sum(size_of(folder / "archive" / step / kind) for step in ("1m", "15m", "1h"))
        / rounds.values,
    }


def sqlite_wide(folder: Path, rounds: Rounds, take: int) -> dict[str, float]:
    """Plain rows, a column a field, with the two indices that its questions need."""
    folder.mkdir(parents=True)
    database = sqlite3.connect(folder / "wide.sqlite", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    names = ", ".join(f'"{name}"' for name in rounds.names)
    database.execute(f"CREATE TABLE r (device TEXT, at_ms INTEGER, {names})")
    database.execute("CREATE INDEX by_device ON r (device, at_ms)")
    database.execute("CREATE INDEX by_time ON r (at_ms)")
    places = ",".join("?" * (2 + rounds.fields))
    tables = [rows_of(batch, rounds) for batch in rounds.batches[:take]]

    def work() -> None:
        for rows in tables:
            database.execute("BEGIN")
            database.executemany(f"INSERT INTO r VALUES ({places})", rows)
            database.execute("COMMIT")

    values = sum(map(len, tables)) * rounds.fields
    found = measured(values, work)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return found | {"bytes_per_value": size_of(folder) / values}


def rows_of(batch: ReadingBatch, rounds: Rounds) -> list[tuple[Any, ...]]:
    columns = [batch.columns[name].stored for name in rounds.names]
    return list(
        zip(
            batch.devices,
            batch.at_ms.tolist(),
            *(c if isinstance(c, list) else c.tolist() for c in columns),
            strict=True,
        )
    )


def duckdb_table(folder: Path, rounds: Rounds, take: int) -> dict[str, float]:
    """A DuckDB database file, fed with Arrow: one process alone may open it."""
    import duckdb

    from telemetry.io.arrow import to_record_batch

    folder.mkdir(parents=True)
    database = duckdb.connect(str(folder / "table.duckdb"))
    batches = rounds.batches[:take]
    import pyarrow as pa

    tables = [pa.Table.from_batches([to_record_batch(batch)]) for batch in batches]
    database.register("first", tables[0])
    database.execute("CREATE TABLE r AS SELECT * FROM first LIMIT 0")

    def work() -> None:
        for table in tables:
            database.register("one", table)
            database.execute("INSERT INTO r SELECT * FROM one")

    values = sum(map(len, batches)) * rounds.fields
    found = measured(values, work)
    database.execute("CHECKPOINT")
    database.close()
    return found | {"bytes_per_value": size_of(folder) / values}


def victoria_metrics(folder: Path, rounds: Rounds, take: int) -> dict[str, Any]:
    """Line protocol over HTTP; the server's CPU. Reported as absent where it is not installed."""
    program = shutil.which("victoria-metrics")
    if program is None:
        return {"absent": "victoria-metrics is not installed"}
    import httpx

    from tests.servers import free_port, running

    port = free_port()
    argv = [program, f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={folder}", "-retentionPeriod=100y"]
    payloads = [lines(batch, texts=False) for batch in rounds.batches[:take]]
    values = sum(len(batch) for batch in rounds.batches[:take]) * rounds.numbers
    with running(argv, port=port) as server, httpx.Client(trust_env=False, timeout=60) as client:
        before, wall = cpu_of(server.pid), time.perf_counter()
        for payload in payloads:
            client.post(
                f"http://127.0.0.1:{port}/write", params={"precision": "ms"}, content=payload
            ).raise_for_status()
        client.get(f"http://127.0.0.1:{port}/internal/force_flush")
        wall = time.perf_counter() - wall
        cpu = cpu_of(server.pid) - before
    return {
        "values_per_s": values / wall,
        "cpu_us_per_value": cpu / values * 1e6,
        "bytes_per_value": size_of(folder) / values,
    }


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def asked_while_writing(folder: Path, miners: Rounds, meters: Rounds) -> dict[str, Any]:
    """The five queries, by another process, while this one appends at ten times the live rate."""
    journal = open_journal(folder / "journal")
    reader = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.storage_questions", str(folder), str(T0_MS)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    appended, late_ms = 0, []
    template, start = miners.batches[-1], time.perf_counter()
    meter = meters.batches[-1]
    while reader.poll() is None:
        template.at_ms = template.at_ms + POLL_MS
        meter.at_ms = meter.at_ms + 1000
        before = time.perf_counter()
        journal.append([template, meter], [])
        late_ms.append((time.perf_counter() - before) * 1000)
        appended += len(template)
        time.sleep(max(0.0, POLL_MS / 10_000 - (time.perf_counter() - before)))
    assert reader.stdout is not None
    text = reader.stdout.read()
    if reader.returncode:
        raise SystemExit("the asking process failed")
    took_s = time.perf_counter() - start
    journal.close()
    found: dict[str, Any] = json.loads(text.splitlines()[-1])
    found["rows_written_meanwhile_per_s"] = appended / took_s
    found["append_ms_median_meanwhile"] = float(np.median(late_ms))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument("--miners", type=int, default=10_000)
    parser.add_argument("--polls", type=int, default=60, help="rounds of polls, each 30 s")
    parser.add_argument("--seconds", type=int, default=900, help="of 100 meters, one commit a second")
    parser.add_argument("--others", type=int, default=10, help="rounds written to the other engines")
    given = parser.parse_args()
    say = (lambda *_: None) if given.json else print

    miners = miner_rounds(given.miners, given.polls, T0_MS, POLL_MS)
    meters = meter_rounds(100, given.seconds, T0_MS)
    result: dict[str, Any] = {"miners": given.miners, "fields": len(MINER_FIELDS), "polls": given.polls}
    with tempfile.TemporaryDirectory(prefix="storage-") as name:
        folder = Path(name)
        result["python_rows"] = journal_rows(folder / "rows", miners)
        say("python rows", result["python_rows"])
        result["arrow"] = journal_columns(folder / "main" / "journal", miners)
        say("columns", result["arrow"])
        result["meters"] = journal_columns(folder / "main" / "journal", meters) | {"fields": len(METER_FIELDS)}
        say("meters, one durable commit a second", result["meters"])
        result["sealed"] = sealed(folder / "main", miners, "miner")
        say("sealed", result["sealed"])
        result["sqlite_wide"] = sqlite_wide(folder / "wide", miners, given.others)
        result["duckdb_table"] = duckdb_table(folder / "duck", miners, given.others)
        result["victoria_metrics"] = victoria_metrics(folder / "vm", miners, given.others)
        for engine in ("sqlite_wide", "duckdb_table", "victoria_metrics"):
            say(engine, result[engine])
        result["questions_ms"] = asked_while_writing(folder / "main", miners, meters)
        say("questions", result["questions_ms"])
    result["python_rows_values_per_s"] = result["python_rows"]["values_per_s"]
    result["arrow_values_per_s"] = result["arrow"]["values_per_s"]
    result["python_rows_values_per_cpu_s"] = 1e6 / result["python_rows"]["cpu_us_per_value"]
    result["arrow_values_per_cpu_s"] = 1e6 / result["arrow"]["cpu_us_per_value"]
    result["load_average"] = os.getloadavg()[0]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
