# SPDX-License-Identifier: Apache-2.0
"""Sparkplug B edge node."""

import asyncio

from telemetry.io.mqtt import Broker, MqttLink
from telemetry.wire.sparkplug import DOUBLE, INT64, Metric, Payload, decode_payload, encode_payload
from tests.builders.mqtt import connected


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
