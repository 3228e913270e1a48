# SPDX-License-Identifier: Apache-2.0
"""Relays as they are in the field, over a real broker and over HTTP: told as their makers say, proven by what they tell next."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from kernel.clock import system_clock
from kernel.receipt import Receipt, Refused, Unknown, Unreachable, Verified
from miner_control.control.actuator import Actuator
from miner_control.control.auxiliary_load import OUTPUT, Load, LoadKind, SwitchPort, output_metrics
from miner_control.fleet.command import SwitchLoad, command
from telemetry.collect.snapshot import Snapshot
from telemetry.collect.source import Tier
from telemetry.device.profile import load
from telemetry.io.http_source import HttpSource, HttpSwitch
from telemetry.io.mqtt import Broker, MqttFeed, MqttLink
from telemetry.io.mqtt_switch import MqttSwitch
from telemetry.wire.topic import Channel
from tests.builders.commands import carry_out, journalled
from tests.builders.mqtt import connected
from tests.servers import free_port, mosquitto

SWITCHES = Path(__file__).parents[2] / "configs" / "profiles" / "switches"
Says = list[tuple[str, str]]


def pump(index: int) -> Load:
    return Load("pump", LoadKind.PUMP, "h/s/relay", index, "f1", 2000.0, frozenset({"h/s/m1"}), OUTPUT)


# --- make-believe relays: (topics they hear, what they say to a message there) --------------------------------------------


def tasmota(topic: str, payload: bytes) -> Says:
    """As in its documentation: RESULT with the one relay that was asked for, and telemetry that tells no state."""
    word = topic.rpartition("/")[2]
    return [
        ("stat/dry-cooler/RESULT", json.dumps({word: payload.decode()})),
        ("tele/dry-cooler/SENSOR", '{"Time":"2026-11-28T02:00:00","ENERGY":{"Power":1850,"Total":12.5}}'),
    ]


def shelly(topic: str, payload: bytes) -> Says:
    asked = json.loads(payload)
    assert topic == "pro4/rpc" and asked["method"] == "Switch.Set" and asked["src"] and "id" in asked
    at, on = asked["params"]["id"], asked["params"]["on"]
    return [(f"pro4/status/switch:{at}", json.dumps({"id": at, "output": on, "apower": 1850.0 if on else 0.0}))]


def zigbee(topic: str, payload: bytes) -> Says:
    return [("zigbee2mqtt/yard/pump", json.dumps({"state": json.loads(payload)["state"], "power": 1850}))]


RELAYS: dict[str, tuple[str, list[str], int, Callable[[str, bytes], Says]]] = {
    "tasmota": ("dry-cooler", ["cmnd/dry-cooler/POWER"], 1, tasmota),
    "tasmota_relays": ("dry-cooler", ["cmnd/dry-cooler/POWER3"], 3, tasmota),
    "shelly_gen2": ("pro4", ["pro4/rpc"], 2, shelly),
    "zigbee2mqtt_switch": ("zigbee2mqtt/yard/pump", ["zigbee2mqtt/yard/pump/set"], 1, zigbee),
}


@contextlib.asynccontextmanager
async def site(
    port: int, name: str, says: Callable[[str, bytes], Says]
) -> AsyncIterator[tuple[Actuator, Snapshot, MqttLink]]:
    """A relay on the broker, and the hub's feed, snapshot and hands."""
    prefix, topics, index, _ = RELAYS[name]
    profile, snapshot, clock = load(SWITCHES / f"{name}.toml"), Snapshot(), system_clock()
    relay = MqttLink(Broker("127.0.0.1", port, client_id="relay"), topics)
    feed = MqttFeed(Broker("127.0.0.1", port), [Channel("h/s/relay", profile, prefix)], clock)

    async def answer() -> None:
        while True:
            message = await relay.next()
            relay.acknowledge(message.token)
            for topic, text in says(message.topic, message.payload):
                await relay.publish(topic, text.encode())

    async def hear() -> None:
        while True:
            readings, token = await feed.next()
            for reading in readings:
                snapshot.hear(reading)
            feed.acknowledge(token)

    relay.start()
    feed.start()
    await connected(relay)
    await connected(feed.link)
    tasks = [asyncio.create_task(answer()), asyncio.create_task(hear())]
    asked = pump(index)
    hands = SwitchPort(
        asked, MqttSwitch(profile, prefix, feed.link), lambda: snapshot.reading("h/s/relay", output_metrics(asked))
    )
    actuator = Actuator({asked.key: hands}, clock, lambda _: asked.envelope(), lambda *_: None, pace_s=(0.05, 0.2))
    try:
        yield actuator, snapshot, relay
    finally:
        await actuator.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await relay.stop()
        await feed.stop()


async def switch(actuator: Actuator, index: int, on: bool, deadline_s: float = 10.0) -> Receipt:
    asked = command(system_clock().now_ms(), pump(index).key, SwitchLoad(index, on), "test", deadline_s=deadline_s)
    return (await carry_out(actuator, journalled([asked])))[asked.id]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory):
    with mosquitto(tmp_path_factory.mktemp("broker")) as port:
        yield port


@pytest.mark.parametrize("name", sorted(RELAYS))
def test_a_relay_on_a_broker_is_verified_by_its_own_report(broker: int, name: str) -> None:
    _, _, index, says = RELAYS[name]

    async def main() -> dict[str, Any]:
        async with site(broker, name, says) as (actuator, snapshot, _):
            for on in (True, False, True):
                receipt = await switch(actuator, index, on)
                assert isinstance(receipt, Verified), receipt
            found = snapshot.reading("h/s/relay")
            assert found is not None and found.values[f"output_{index}_state"] == "on"
            return dict(found.values)

    reported = asyncio.run(main())
    power = [value for key, value in reported.items() if key.endswith("power_w") and isinstance(value, float)]
    assert 1850.0 in power, reported


def test_a_relay_that_reports_its_meter_only_proves_nothing(broker: int) -> None:
    """It told that it is on; somebody switches it off by hand, unheard. Asked to be on, it tells its power and no state."""

    def deaf(topic: str, payload: bytes) -> Says:
        return tasmota(topic, payload)[1:]

    async def main() -> Receipt:
        async with site(broker, "tasmota", deaf) as (actuator, snapshot, relay):
            await relay.publish("tele/dry-cooler/STATE", b'{"POWER":"ON"}')
            while snapshot.reading("h/s/relay") is None:
                await asyncio.sleep(0.02)
            return await switch(actuator, 1, True, 1.0)

    receipt = asyncio.run(main())
    assert isinstance(receipt, Unknown) and "no proof" in receipt.text


def test_a_report_of_one_relay_leaves_the_others_unchanged(broker: int) -> None:
    async def main() -> dict[str, Any]:
        async with site(broker, "tasmota_relays", tasmota) as (actuator, snapshot, relay):
            await relay.publish("tele/dry-cooler/STATE", b'{"POWER1":"ON","POWER2":"OFF","POWER3":"OFF"}')
            assert isinstance(await switch(actuator, 3, True), Verified)
            await relay.publish("stat/dry-cooler/RESULT", b'{"Restart":"1 to restart"}')
            await asyncio.sleep(0.1)
            found = snapshot.reading("h/s/relay")
            assert found is not None
            return dict(found.values)

    reported = asyncio.run(main())
    assert [reported[f"output_{index}_state"] for index in (1, 2, 3)] == ["on", "off", "on"]


def test_a_shelly_over_http_is_polled_with_a_digest() -> None:
    """Its own server: outputs, a log-in that never carries the password, and one output that it does not have."""
    outputs, seen = {0: False, 1: False}, []
    ha1 = hashlib.sha256(b"admin:shellypro4:secret").hexdigest()

    def answer(line: str, headers: dict[str, str]) -> tuple[str, str, str]:
        path = line.split()[1]
        given = dict(part.strip().partition("=")[::2] for part in headers.get("authorization", "")[7:].split(","))
        given = {key: value.strip('"') for key, value in given.items()}
        ha2 = hashlib.sha256(f"GET:{path}".encode()).hexdigest()
        chain = f"{ha1}:{given.get('nonce')}:{given.get('nc')}:{given.get('cnonce')}:auth:{ha2}"
        if given.get("response") != hashlib.sha256(chain.encode()).hexdigest():
            return "401 Unauthorized", 'Digest qop="auth", realm="shellypro4", nonce="60dc", algorithm=SHA-256', ""
        seen.append(path)
        if path.startswith("/rpc/Shelly.GetStatus"):
            reported = {f"switch:{at}": {"id": at, "output": on, "apower": 900.0 * on} for at, on in outputs.items()}
            return "200 OK", "", json.dumps(reported)
        query = dict(part.split("=") for part in path.partition("?")[2].split("&"))
        at, on = int(query["id"]), query["on"] == "true"
        if at not in outputs:
            return "500 X", "", '{"code":-105,"message":"Argument \'id\', value 3 not found!"}'
        was, outputs[at] = outputs[at], on
        return "200 OK", "", json.dumps({"was_on": was})

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := (await reader.readline()).decode():
            headers: dict[str, str] = {}
            while (text := (await reader.readline()).decode().strip()) != "":
                headers[text.partition(":")[0].lower()] = text.partition(":")[2].strip()
            status, challenge, body = answer(line, headers)
            asks = f"WWW-Authenticate: {challenge}\r\n" if challenge else ""
            writer.write(f"HTTP/1.1 {status}\r\n{asks}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url, profile = (
            f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
            load(SWITCHES / "shelly_gen2_http.toml"),
        )
        snapshot, clock, asked = Snapshot(), system_clock(), pump(2)
        source = HttpSource("h/s/relay", profile, url, clock, credential=("admin", "secret"))
        hands = SwitchPort(
            asked,
            HttpSwitch(profile, url, ("admin", "secret")),
            lambda: snapshot.reading("h/s/relay", output_metrics(asked)),
        )
        actuator = Actuator({asked.key: hands}, clock, lambda _: asked.envelope(), lambda *_: None, pace_s=(0.05, 0.2))

        async def poll() -> None:
            while True:
                snapshot.hear(await source.read(Tier.FAST))
                await asyncio.sleep(0.05)

        polling = asyncio.create_task(poll())
        for on in (True, False, True):
            assert isinstance(await switch(actuator, 2, on), Verified)
        found = snapshot.reading("h/s/relay")
        assert found is not None and found.values["output_2_power_w"] == 900.0 and outputs == {0: False, 1: True}
        assert isinstance(
            await HttpSwitch(profile, url, ("admin", "secret")).switch(OUTPUT, 4, True, deadline_s=2.0), Refused
        )
        assert isinstance(await HttpSwitch(profile, url).switch(OUTPUT, 2, False, deadline_s=2.0), Refused)
        gone = HttpSwitch(profile, f"http://127.0.0.1:{free_port()}")
        assert isinstance(await gone.switch(OUTPUT, 1, True, deadline_s=2.0), Unreachable)
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
        await actuator.close()
        await source.close()
        server.close()

    asyncio.run(main())
    assert "/rpc/Switch.Set?id=1&on=true" in seen and outputs[1]
