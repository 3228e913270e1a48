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
from telemetry.wire.sparkplug import DOUBLE, INT64, Metric, Payload, decode_payload, encode_payload
from telemetry.wire.sparkplug_host import SparkplugChannel
from tests.builders.mqtt import connected
from tests.servers import mosquitto

PROFILE = load(Path(__file__).parents[2] / "configs" / "profiles" / "meters" / "sparkplug_meter.toml")


def birth_number(value: int) -> Metric:
    return Metric("bdSeq", datatype=INT64, value=value)


class EdgeNode:
    """A small edge node: its will is its death certificate; it answers a rebirth request with births."""

    def __init__(self, port: int, session: int) -> None:
        self.session, self.seq, self.power_w = session, 0, 1000.0
        gone = encode_payload(Payload((birth_number(session),)))
        will = ("spBv1.0/plant/NDEATH/edge1", gone)
        # A will of 3.1.1 goes out at once when the connection breaks.
        self.link = MqttLink(
            Broker("127.0.0.1", port, client_id=f"edge{session}", version=3, will=will), ["spBv1.0/plant/NCMD/edge1"]
        )

    async def start(self) -> None:
        self.link.start()
        await connected(self.link)
        await self.birth()

    async def say(self, verb: str, *metrics: Metric) -> None:
        topic = f"spBv1.0/plant/{verb}/edge1" + ("" if verb.startswith("N") else "/meter1")
        await self.link.publish(topic, encode_payload(Payload(metrics, 1, self.seq)))
        self.seq = (self.seq + 1) % 256

    async def birth(self) -> None:
        self.seq = 0
        await self.say("NBIRTH", birth_number(self.session))
        await self.say("DBIRTH", Metric("Power", alias=1, datatype=DOUBLE, value=self.power_w))

    async def data(self, power_w: float) -> None:
        self.power_w = power_w
        await self.say("DDATA", Metric(alias=1, datatype=DOUBLE, value=power_w))

    async def asked_for_rebirth(self) -> bool:
        message = await asyncio.wait_for(self.link.next(), 10)
        names = [metric.name for metric in decode_payload(message.payload).metrics]
        return names == ["Node Control/Rebirth"]


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
