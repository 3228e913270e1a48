# SPDX-License-Identifier: Apache-2.0
"""The shipped dashboards: each question is asked of the real store with data from our sinks, and each answers."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from kernel.clock import system_clock
from kernel.errors import TransportError
from kernel.metric import SCHEMAS
from kernel.reading import Reading
from kernel.span import Span
from telemetry.io.sink_influx import InfluxSink, InfluxV1Sink
from tests.builders.time_series_servers import influxd, victoria
from tests.oracles.influxql import InfluxQuery
from tests.servers import free_port, running
from tests.telemetry.store.journal_cases import batch

FOLDER = Path(__file__).parents[2] / "configs" / "grafana" / "dashboards"
DASHBOARDS = sorted(FOLDER.rglob("*.json"))


def targets(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for panel in json.loads(path.read_text())["panels"]:
        for target in panel["targets"]:
            yield f"{path.stem}: {panel['title']}", target


def rows(now_ms: int, steps: int = 40) -> Iterator[tuple[str, list[Reading]]]:
    """Two hours of every number of miners and meters."""
    for step in range(steps):
        at_ms = now_ms - (steps - step) * 180_000
        for kind, count in (("miner", 6), ("meter", 3)):
            found = []
            for i in range(count):
                values: dict[str, float | str] = {
                    name: 50.0 + i + (step * 10.0 if metric.nature == "counter" else np.sin(step))
                    for name, metric in SCHEMAS[kind].items()
                    if metric.nature in ("gauge", "counter")
                }
                if kind == "miner":
                    values["state"] = "hashing"
                found.append(Reading(f"hub/site{i % 2}/{kind}-{i}", kind, at_ms, values))
            yield kind, found


def test_dashboards_are_whole_and_name_only_what_exists() -> None:
    assert len(DASHBOARDS) >= 4
    uids = [json.loads(path.read_text())["uid"] for path in DASHBOARDS]
    assert len(set(uids)) == len(uids)
    known = {f"{kind}_{name}" for kind, schema in SCHEMAS.items() for name in schema}
    for path in DASHBOARDS:
        document = json.loads(path.read_text())
        ids = [panel["id"] for panel in document["panels"]]
        assert len(set(ids)) == len(ids)
        for panel in document["panels"]:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24 and panel["description"]
        for where, target in targets(path):
            if "expr" in target:
                named = set(re.findall(r"\b(?:miner|meter|container|sensor)_[a-z0-9_]+\b", target["expr"]))
                assert named and named <= known, where


def test_every_question_to_victoria_metrics_answers(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    now_ms = system_clock().now_ms()
    with running(victoria(tmp_path, port), port=port):
        sink = InfluxSink("vm", url, org="hub", bucket="b", token="t", texts=False)
        for kind, found in rows(now_ms):
            sink.send(batch(kind, found))
        sink.close()
        httpx.get(f"{url}/internal/force_flush", trust_env=False)
        asked = 0
        for path in DASHBOARDS:
            for where, target in targets(path):
                if "expr" not in target:
                    continue
                text = target["expr"].replace("$site", ".*").replace("$meter", ".*").replace("$__interval", "5m")
                span = {"start": (now_ms - 7_200_000) / 1000, "end": now_ms / 1000, "step": "300"}
                answer = httpx.get(f"{url}/api/v1/query_range", params={"query": text, **span}, trust_env=False).json()
                assert answer["status"] == "success", (where, answer)
                assert answer["data"]["result"], (where, text)
                asked += 1
        assert asked >= 20


def test_every_question_to_influxdb_answers(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    now_ms = system_clock().now_ms()
    with running(influxd(tmp_path, port), port=port):
        httpx.post(f"{url}/query", params={"q": "CREATE DATABASE telemetry"}, trust_env=False)
        sink = InfluxV1Sink("influx", url, database="telemetry")
        for kind, found in rows(now_ms):
            sink.send(batch(kind, found))
        sink.close()
        query = InfluxQuery(url, database="telemetry")
        for path in DASHBOARDS:
            for where, target in targets(path):
                if "query" not in target:
                    continue
                text = target["query"].replace("$site", ".*").replace("$__interval", "5m")
                text = text.replace("$timeFilter", f"time >= {now_ms - 7_200_000}ms AND time < {now_ms}ms")
                found = query.ask(text)
                assert found and found[0].values, (where, text)

        span = Span(now_ms - 7_200_000, now_ms)
        (one,) = query.means("meter", "power_w", span, 600.0, device="hub/site0/meter-2")
        assert one.tags["device"] == "hub/site0/meter-2" and 10 <= len(one.values) <= 13
        assert all(50.9 < value < 53.1 for value in one.values)
        assert len(query.means("meter", "power_w", span, 600.0)) == 3
        with pytest.raises(KeyError):
            query.means("meter", "serial", span, 600.0)
        with pytest.raises(TransportError, match="error parsing"):
            query.ask("SELECT nonsense from from")
        query.close()
    gone = InfluxQuery(url, database="telemetry", time_out_s=2.0)
    with pytest.raises(TransportError, match="unreachable"):
        gone.ask("SHOW DATABASES")
    gone.close()
