# SPDX-License-Identifier: Apache-2.0
"""Frozen strings that disks and other programs know: stores, topics, Home Assistant, Prometheus, line protocol.

Part of `frozen.py`.
"""

import inspect
import re
import sqlite3
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import orjson

from grid.io.dispatch_mqtt import topics as order_topics
from hub.config import MqttSinkPart
from hub.config.models import Mqtt
from hub.control.counters import actuator_figures, poll_figures, recorder_figures, tick_figures
from hub.query.health import HealthReads
from kernel.clock import from_iso
from kernel.metric import SCHEMAS, TEXT_METRICS
from kernel.reading import Reading, batch_of
from telemetry.collect.collector import Counts
from telemetry.collect.snapshot import Snapshot
from telemetry.io.archive_parquet import ParquetArchive
from telemetry.io.arrow import pack, unpack_record_batch
from telemetry.io.billing_sqlite import BillingStore
from telemetry.io.journal_sqlite import open_journal
from telemetry.io.line_protocol import lines
from telemetry.io.marks_sqlite import SqliteMarks
from telemetry.wire.exposition import exposition
from telemetry.wire.homeassistant import Topics, discovery_post, state_post
from telemetry.wire.sparkplug_host import NAMESPACE
from treasury.io.ledger_sqlite import open_ledger

AT_MS = from_iso("2026-02-03T04:05:06Z")
SITE, DEVICE = "alatau/north", "alatau/north/m_1.a"


def stores(place: Path) -> dict[str, Any]:
    """Tables and columns of the databases; files and columns of the archive; names of a data folder."""
    place.mkdir(parents=True, exist_ok=True)
    batches = {
        kind: batch_of(kind, list(SCHEMAS[kind]), TEXT_METRICS[kind], [_reading(kind)]) for kind in ("meter", "sensor")
    }
    with open_journal(place) as journal:
        journal.append(list(batches.values()), [])
        archive = ParquetArchive(place / "archive", journal)
        archive.seal(AT_MS + 7_200_000)
        files = sorted(
            path.relative_to(archive.folder).as_posix() for path in archive.folder.rglob("*") if path.is_file()
        )
        columns = {
            name: _columns(archive.folder / name) for name in files if name.endswith("sensor/2026-02-03/04.parquet")
        }
    open_ledger(place / "ledger.sqlite").close()
    BillingStore(place / "billing.sqlite").close()
    SqliteMarks(place / "sinks.sqlite").close()
    return {
        "files": sorted(path.name for path in place.iterdir() if path.suffix == ".sqlite"),
        "databases": {path.name: _schema(path) for path in sorted(place.glob("*.sqlite"))},
        "archive_files": files,
        "archive_columns": columns,
        "journal_batch": unpack_record_batch(pack(batches["sensor"])).schema.names,
    }


def _columns(path: Path) -> dict[str, Any]:
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    marks = [key.decode() for key in schema.metadata or {} if not key.startswith(b"ARROW")]
    marks += [key.decode() for key in pq.read_metadata(path).metadata or {} if not key.startswith(b"ARROW")]
    return {"columns": {field.name: str(field.type) for field in schema}, "marks": sorted(set(marks))}


def _schema(path: Path) -> dict[str, Any]:
    """Tables with their columns and indexes with theirs."""
    with sqlite3.connect(path) as file:
        names = file.execute(
            "SELECT type, name FROM sqlite_master WHERE type IN ('table', 'index') ORDER BY name"
        ).fetchall()
        found = {
            name: [" ".join(map(str, row[1:])) for row in file.execute(f"PRAGMA {of}_info({name})")]
            for of, name in names
        }
        marks = {name: file.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")}
    return {"tables": {name: columns for name, columns in found.items() if not name.startswith("sqlite_")}, **marks}


def _reading(kind: str, device: str = DEVICE) -> Reading:
    """A reading that tells every metric of its kind."""
    texts = TEXT_METRICS[kind]
    values = {name: "on" if name in texts else 1.0 for name in SCHEMAS[kind]}
    return Reading(device, kind, AT_MS, values)  # type: ignore[arg-type]


def mqtt() -> dict[str, Any]:
    """Topics that are ours."""
    found, sink = Mqtt(), MqttSinkPart(name="home", kind="mqtt")
    return {
        "orders_root": found.orders_topic,
        "orders": sorted(order_topics("root")),
        "order_reply": re.findall(r"/reply\b", inspect.getsource(_module(order_topics)))[:1],
        "sparkplug_state": [NAMESPACE, "STATE", found.host_id],
        "readings": state_post(_reading("meter"), Topics()).topic,
        "status": Topics().status,
        "prefix": [sink.prefix, sink.discovery],
    }


def _module(thing: Any) -> ModuleType:
    found = inspect.getmodule(thing)
    assert found is not None
    return found


def home_assistant() -> dict[str, Any]:
    """Topics, ids and templates of discovery, and the keys of a state."""
    found: dict[str, Any] = {}
    for kind in SCHEMAS:
        reading = _reading(kind)
        post = discovery_post(reading, SCHEMAS[kind], Topics(), version="1")
        body = orjson.loads(post.payload)
        parts = body.pop("cmps")
        found[kind] = {
            "topic": post.topic,
            "device": body,
            "state": sorted(orjson.loads(state_post(reading, Topics()).payload)),
            "entities": {
                name: f"{one['unique_id']} | {one['value_template']} | {one.get('unit_of_measurement', '')}"
                for name, one in parts.items()
            },
        }
    return found


def prometheus() -> dict[str, Any]:
    """Names, types and labels, of devices and of the hub itself."""
    snapshot = Snapshot(_reading(kind, f"{SITE}/{kind}") for kind in SCHEMAS)
    observed = SimpleNamespace(config=SimpleNamespace(observe_only=True))
    journal = SimpleNamespace(health=lambda: SimpleNamespace(bytes_used=1))
    recorder: Any = SimpleNamespace(journal=journal, position=1, readings_lost=1)
    actuators: Any = {SITE: SimpleNamespace(under_way=1, restarting_w=1.0)}
    counters = [
        lambda: poll_figures(Counts(ok=1, failed=1)),
        lambda: recorder_figures(recorder),
        lambda: tick_figures(1),
        lambda: actuator_figures(actuators),
    ]
    components: Any = SimpleNamespace(
        clock=SimpleNamespace(now_ms=lambda: AT_MS),
        counters=counters,
        state=SimpleNamespace(snapshot=Snapshot(), sites={SITE: observed}),
    )
    text = exposition(snapshot, AT_MS) + HealthReads(components, "test").exposition()
    kept = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    return {"series": sorted(kept), "types": sorted(line for line in text.splitlines() if line.startswith("# TYPE"))}


def sinks() -> dict[str, Any]:
    """Line protocol of each kind: measurement with its tags, and fields."""
    found: dict[str, Any] = {}
    for kind in SCHEMAS:
        (line,) = lines(batch_of(kind, list(SCHEMAS[kind]), TEXT_METRICS[kind], [_reading(kind)])).decode().splitlines()
        series, values, at = line.split(" ")
        found[kind] = {"series": series, "fields": values.split(","), "at": at}
    return found
