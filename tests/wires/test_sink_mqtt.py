# SPDX-License-Identifier: Apache-2.0
"""Republishing over a real Mosquitto: states and discovery retained, nothing lost over a restart of the broker."""

import time
from pathlib import Path

import pytest

from kernel.clock import system_clock
from telemetry.io.journal_sqlite import open_journal
from telemetry.io.marks_sqlite import SqliteMarks
from telemetry.io.sink_mqtt import MqttSink
from telemetry.store.sink import Forwarder, SinkDown, SinkState
from tests.builders.mqtt_listener import Listener
from tests.servers import free_port, mosquitto
from tests.telemetry.store.journal_cases import T0_MS, batch, meter, miner


def test_states_discovery_and_status_over_a_restart_of_the_broker(tmp_path: Path) -> None:
    port = free_port()
    journal = open_journal(tmp_path / "journal")
    sink = MqttSink("mqtt", "127.0.0.1", port, version="1", time_out_s=5.0)
    forwarder = Forwarder(journal, sink, SqliteMarks(tmp_path / "marks"), system_clock())
    for step in range(5):
        rows = [miner(i, T0_MS + step * 1000) for i in range(50)]
        journal.append([batch("miner", rows), batch("meter", [meter(1, T0_MS + step * 1000, 5.0)])], [])
    assert forwarder.step() > 0 and forwarder.health().state is SinkState.DOWN

    with mosquitto(tmp_path, port):
        listener = Listener(port)
        forwarder.step()
        assert forwarder.health().state is SinkState.LEVEL
        listener.wait("mining-hub/hub/site/m00049/miner", T0_MS + 4000)
        listener.wait("mining-hub/hub/site/meter-1/meter", T0_MS + 4000)
        listener.wait("mining-hub/status", "online")
        listener.wait_announced(51)
        listener.close()
    journal.append([batch("meter", [meter(1, T0_MS + 9000, 6.0)])], [])
    time.sleep(0.2)
    forwarder.step()
    assert forwarder.health().state is SinkState.DOWN
    with mosquitto(tmp_path, port):
        forwarder.step()
        assert forwarder.health().state is SinkState.LEVEL
        listener = Listener(port)
        listener.wait("mining-hub/hub/site/meter-1/meter", T0_MS + 9000)
        listener.wait_announced(51)
        sink.close()
        listener.wait("mining-hub/status", "offline")
        listener.close()


def test_late_readings_do_not_overwrite_a_newer_state(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as port:
        sink = MqttSink("mqtt", "127.0.0.1", port)
        sink.send(batch("meter", [meter(1, T0_MS + 9000, 9.0)]))
        sink.send(batch("meter", [meter(1, T0_MS + 1000, 1.0), meter(2, T0_MS, 2.0)]))
        listener = Listener(port)
        listener.wait("mining-hub/hub/site/meter-2/meter", T0_MS)
        listener.wait("mining-hub/hub/site/meter-1/meter", T0_MS + 9000)
        listener.close()
        sink.close()


def test_a_wrong_password_is_reported(tmp_path: Path) -> None:
    (tmp_path / "passwords").write_text("")
    extra = f"password_file {tmp_path / 'passwords'}"
    port = free_port()
    conf = tmp_path / "m.conf"
    conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous false\npersistence false\nuser root\n{extra}\n")
    from tests.servers import need, running

    with running([need("mosquitto"), "-c", str(conf)], port=port):
        sink = MqttSink("mqtt", "127.0.0.1", port, account="hub", password="wrong", time_out_s=3.0)
        with pytest.raises(SinkDown, match=r"refuses|lost|answer"):
            sink.send(batch("meter", [meter(1, T0_MS, 1.0)]))
        sink.close()
