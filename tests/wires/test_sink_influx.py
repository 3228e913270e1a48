# SPDX-License-Identifier: Apache-2.0
"""Sinks against real servers: VictoriaMetrics over /api/v2/write, InfluxDB 1 over /write."""

import subprocess
import time
from pathlib import Path

import httpx
import pytest

from kernel.clock import system_clock
from kernel.reading import MISSING, Absence, Reading
from telemetry.io.journal_sqlite import open_journal
from telemetry.io.marks_sqlite import SqliteMarks
from telemetry.io.sink_influx import InfluxSink, InfluxV1Sink
from telemetry.store.sink import Forwarder, SinkDown, SinkState
from tests.builders.time_series_servers import influxd, victoria
from tests.servers import free_port, running, wait_port
from tests.telemetry.store.journal_cases import batch

DEVICES = 40


def readings(step: int, now_ms: int) -> list[Reading]:
    at_ms = now_ms - 600_000 + step * 1000
    return [
        Reading(
            f"hub/site/meter-{i}",
            "meter",
            at_ms,
            {
                "power_w": MISSING[Absence.TIMED_OUT] if i == 0 else 1000.0 + i + step / 10,
                "energy_import_wh": 5e9 + step,
                "serial": 'no "7" \\ x',
            },
        )
        for i in range(DEVICES)
    ]


def query_v1(url: str, text: str) -> list[list[object]]:
    answer = httpx.get(f"{url}/query", params={"db": "telemetry", "q": text, "epoch": "ms"}, trust_env=False).json()
    series = answer["results"][0].get("series", [])
    return [row for one in series for row in one["values"]]


def count_vm(url: str) -> int:
    """Points of one metric, as stored; VictoriaMetrics keeps what it is given twice, so distinct instants count."""
    httpx.get(f"{url}/internal/force_flush", trust_env=False, timeout=30)
    answer = httpx.get(
        f"{url}/api/v1/export", params={"match[]": "meter_energy_import_wh"}, trust_env=False, timeout=30
    )
    import json

    return sum(len(set(json.loads(line)["timestamps"])) for line in answer.text.splitlines())


def test_victoria_metrics_takes_what_influxdb_client_writes(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    journal = open_journal(tmp_path / "journal")
    now_ms = system_clock().now_ms()
    for step in range(10):
        journal.append([batch("meter", readings(step, now_ms))], [])
    sink = InfluxSink("vm", url, org="hub", bucket="telemetry", token="none", texts=False)
    forwarder = Forwarder(journal, sink, SqliteMarks(tmp_path / "marks"), system_clock())

    assert forwarder.step() > 0 and forwarder.health().state is SinkState.DOWN
    with running(victoria(tmp_path, port), port=port):
        assert forwarder.step() > 0
        assert forwarder.health().state is SinkState.LEVEL
        assert count_vm(url) == 10 * DEVICES
        answer = httpx.get(
            f"{url}/api/v1/query",
            params={"query": 'meter_power_w{device="hub/site/meter-7"}', "time": (now_ms - 591_000) / 1000},
            trust_env=False,
        ).json()
        (found,) = answer["data"]["result"]
        assert float(found["value"][1]) == 1007.9
        assert found["metric"]["site"] == "hub/site"
        missing = httpx.get(
            f"{url}/api/v1/series", params={"match[]": 'meter_power_w{device="hub/site/meter-0"}'}, trust_env=False
        ).json()
        assert missing["data"] == [], "a missing value is no zero"
        texts = httpx.get(f"{url}/api/v1/series", params={"match[]": "meter_serial"}, trust_env=False).json()
        assert texts["data"] == []
    sink.close()


def test_victoria_metrics_killed_after_its_acknowledgement_loses_nothing(tmp_path: Path) -> None:
    """It acknowledges before it is on disk: killed at once, the acknowledged points are gone, and are replayed."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    journal = open_journal(tmp_path / "journal")
    now_ms = system_clock().now_ms()
    sink = InfluxSink("vm", url, org="hub", bucket="telemetry", token="none", texts=False)
    forwarder = Forwarder(journal, sink, SqliteMarks(tmp_path / "marks"), system_clock())
    first = subprocess.Popen(victoria(tmp_path, port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_port(port)
        for step in range(20):
            journal.append([batch("meter", readings(step, now_ms))], [])
            forwarder.step()
        assert forwarder.health().state is SinkState.LEVEL
    finally:
        first.kill()
        first.wait()
    for step in range(20, 30):
        journal.append([batch("meter", readings(step, now_ms))], [])
    forwarder.step()
    assert forwarder.health().state is SinkState.DOWN
    with running(victoria(tmp_path, port), port=port):
        forwarder.step()
        assert count_vm(url) == 30 * DEVICES
    sink.close()


def test_influxdb_1_takes_texts_types_and_replays(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    journal = open_journal(tmp_path / "journal")
    now_ms = system_clock().now_ms()
    marks = SqliteMarks(tmp_path / "marks")
    sink = InfluxV1Sink("influx", url, database="telemetry")
    for step in range(10):
        journal.append([batch("meter", readings(step, now_ms))], [])
    with running(influxd(tmp_path, port), port=port):
        forwarder = Forwarder(journal, sink, marks, system_clock())
        forwarder.step()
        assert forwarder.health().state is SinkState.DOWN and "404" in forwarder.health().text, "no database yet"
        httpx.post(f"{url}/query", params={"q": "CREATE DATABASE telemetry"}, trust_env=False)
        assert forwarder.step() > 0 and forwarder.health().state is SinkState.LEVEL
        assert query_v1(url, "SELECT count(energy_import_wh) FROM meter")[0][1] == 10 * DEVICES
        assert query_v1(url, "SELECT count(power_w) FROM meter")[0][1] == 10 * (DEVICES - 1)
        (row,) = query_v1(
            url, "SELECT power_w, serial FROM meter WHERE device='hub/site/meter-3' ORDER BY time DESC LIMIT 1"
        )
        assert row[1:] == [1003.9, 'no "7" \\ x']

        again = Forwarder(journal, sink, marks, system_clock())
        again.step()
        assert query_v1(url, "SELECT count(energy_import_wh) FROM meter")[0][1] == 10 * DEVICES, (
            "a replay doubles nothing"
        )
    sink.close()


def test_influxdb_1_refuses_a_changed_type_and_that_is_set_aside(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    journal = open_journal(tmp_path / "journal")
    now_ms = system_clock().now_ms()
    marks = SqliteMarks(tmp_path / "marks")
    sink = InfluxV1Sink("influx", url, database="telemetry")
    with running(influxd(tmp_path, port), port=port):
        httpx.post(f"{url}/query", params={"q": "CREATE DATABASE telemetry"}, trust_env=False)
        # Somebody else wrote this field as a text: InfluxDB then drops every point that holds it as a number, with 400.
        line = f'meter,device=hub/site/meter-5,site=hub/site energy_import_wh="text" {now_ms - 595_000}'
        httpx.post(f"{url}/write", params={"db": "telemetry", "precision": "ms"}, content=line, trust_env=False)
        journal.append([batch("meter", readings(1, now_ms))], [])
        forwarder = Forwarder(journal, sink, marks, system_clock())
        forwarder.step()
        assert forwarder.health().state is SinkState.LEVEL
        found = marks.asides("influx")
        assert sum(aside.rows for aside in found) == DEVICES and all("type conflict" in aside.text for aside in found)
        rows = {device for aside in found for one in marks.rows_of(aside) for device in one.devices}
        assert len(rows) == DEVICES
    sink.close()


def test_a_wrong_token_stops_forwarding_and_is_reported(tmp_path: Path) -> None:
    """401 is set-up, not poison: nothing is set aside."""
    import http.server
    import threading

    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(401)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        now_ms = system_clock().now_ms()
        for sink in (
            InfluxSink("two", url, org="hub", bucket="b", token="wrong"),
            InfluxV1Sink("one", url, database="b"),
        ):
            with pytest.raises(SinkDown, match="token or account"):
                sink.send(batch("meter", readings(1, now_ms)))
            sink.close()
    finally:
        server.shutdown()
        server.server_close()


def test_no_connection_is_reported_as_down_quickly(tmp_path: Path) -> None:
    sink = InfluxSink("gone", f"http://127.0.0.1:{free_port()}", org="hub", bucket="b", token="t")
    start = time.monotonic()
    with pytest.raises(SinkDown):
        sink.send(batch("meter", readings(1, system_clock().now_ms())))
    assert time.monotonic() - start < 5
    sink.close()
