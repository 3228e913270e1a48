# SPDX-License-Identifier: Apache-2.0
"""A whole hub told unasked, over a real Mosquitto: Sparkplug B and JSON meters in, Home Assistant and VictoriaMetrics out."""

import asyncio
from pathlib import Path

import httpx

from hub.app.live import start
from hub.config import load
from telemetry.io.mqtt import Broker, MqttLink
from tests.builders.edge_node import EdgeNode
from tests.builders.mqtt import connected
from tests.builders.mqtt_listener import Listener
from tests.builders.time_series_servers import victoria
from tests.hub_site import until
from tests.servers import free_port, mosquitto, running

SITE = """
[hub]
name = "hub"
port = {page}
[[sites]]
name = "site"
operator = "North Mining LLP"
zone = "Asia/Almaty"
import_cap_w = 4e6
[[sites.feeders]]
name = "f1"
cap_w = 2e6
[[sites.meters]]
name = "main"
role = "main"
profile = "sparkplug_meter"
sparkplug = {{ group = "plant", node = "edge1", device = "meter1" }}
[[sites.containers]]
name = "c1"
profile = "bitdeer_d40"
topic = "c1"
[mqtt]
embedded = false
port = {broker}
version = 5
[[sinks]]
name = "assistant"
kind = "mqtt"
every_s = 0.2
[[sinks]]
name = "metrics"
kind = "victoria"
url = "http://127.0.0.1:{metrics}"
every_s = 0.2
"""


def test_devices_that_report_by_themselves_are_received_stored_and_forwarded(tmp_path: Path) -> None:
    async def scenario(broker: int, metrics: int) -> None:
        text = SITE.format(page=free_port(), broker=broker, metrics=metrics)
        (tmp_path / "hub.toml").write_text(text)
        listener = Listener(broker)
        async with start(load(tmp_path / "hub.toml", environment={}), tmp_path) as hub:
            snapshot = hub.hub.components.state.snapshot
            await until("the hub on the broker", lambda: listener.seen.get("spBv1.0/STATE/mining-hub"))
            edge = EdgeNode(broker, session=1)
            await edge.start()
            container = MqttLink(Broker("127.0.0.1", broker, client_id="container"), [])
            container.start()
            await connected(container)
            try:
                main = await until("the birth", lambda: snapshot.kind("meter").index.get("hub/site/main") is not None)
                assert main
                await edge.data(2500.0)
                heard = lambda: snapshot.kind("meter").reading("hub/site/main").number("power_w")  # noqa: E731
                await until("data after the birth", lambda: heard() == 2500.0)
                edge.seq += 1
                await edge.data(9000.0)
                assert await edge.asked_for_rebirth(), "a gap is asked about"
                assert heard() == 2500.0, "and not believed"
                await edge.birth()
                await until("the rebirth", lambda: heard() == 9000.0)
                await until(
                    "republished", lambda: b"9000.0" in listener.seen.get("mining-hub/hub/site/main/meter", b"")
                )
                assert "homeassistant/device/hub_ssite_smain/config" in listener.seen
                async with httpx.AsyncClient(trust_env=False, timeout=10) as web:
                    url = f"http://127.0.0.1:{metrics}"

                    async def stored() -> bool:
                        await web.get(f"{url}/internal/force_flush")
                        answer = await web.get(f"{url}/api/v1/export", params={"match[]": "meter_power_w"})
                        return "9000" in answer.text

                    await until("stored", stored)
            finally:
                await edge.link.stop()
                await container.stop()
                listener.close()

    broker, metrics = free_port(), free_port()
    with mosquitto(tmp_path, broker), running(victoria(tmp_path, metrics), port=metrics):
        asyncio.run(scenario(broker, metrics))
