# SPDX-License-Identifier: Apache-2.0
"""Sparkplug B over a real Mosquitto: birth, data, a lost message, the rebirth that follows, the edge node's will."""

import asyncio
from pathlib import Path

import orjson

from kernel.clock import system_clock
from kernel.reading import Missing, Reading
from telemetry.device.profile import load
from telemetry.io.mqtt import Broker, MqttLink
from telemetry.io.sparkplug import SparkplugFeed
from telemetry.wire.sparkplug_host import SparkplugChannel
from tests.builders.edge_node import EdgeNode
from tests.builders.mqtt import connected
from tests.servers import mosquitto

PROFILE = load(Path(__file__).parents[2] / "configs" / "profiles" / "meters" / "sparkplug_meter.toml")


async def next_reading(feed: SparkplugFeed) -> Reading:
    async with asyncio.timeout(10):
        while True:
            readings, token = await feed.next()
            feed.acknowledge(token)
            if readings:
                return readings[-1]


def test_birth_data_loss_rebirth_and_death_over_a_broker(tmp_path: Path) -> None:
    async def scenario(port: int) -> None:
        channel = SparkplugChannel("h/s/m1", PROFILE, "plant", "edge1", "meter1")
        feed = SparkplugFeed(Broker("127.0.0.1", port, client_id="hub", version=3), "hub", [channel], system_clock())
        watcher = MqttLink(Broker("127.0.0.1", port, client_id="watcher"), ["spBv1.0/STATE/hub"])
        watcher.start()
        await connected(watcher)
        feed.start()
        await connected(feed.link)
        edge = EdgeNode(port, session=4)
        await edge.start()
        try:
            assert (await next_reading(feed)).number("power_w") == 1000.0
            await edge.data(2000.0)
            assert (await next_reading(feed)).number("power_w") == 2000.0
            edge.seq += 1
            await edge.data(3000.0)
            waiting = asyncio.create_task(next_reading(feed))
            assert await edge.asked_for_rebirth()
            await edge.birth()
            assert (await waiting).number("power_w") == 3000.0, "the birth tells what the lost message would have"
            edge.link._drop(orderly=False)
            gone = await next_reading(feed)
            assert isinstance(gone.get("power_w"), Missing)
            here = orjson.loads((await asyncio.wait_for(watcher.next(), 10)).payload)
            assert here["online"] is True
            feed.link._drop(orderly=False)
            lost = orjson.loads((await asyncio.wait_for(watcher.next(), 10)).payload)
            assert lost == {"online": False, "timestamp": here["timestamp"]}
        finally:
            for link in (edge.link, feed.link, watcher):
                await link.stop()

    with mosquitto(tmp_path) as port:
        asyncio.run(scenario(port))
