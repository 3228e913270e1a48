# SPDX-License-Identifier: Apache-2.0
"""A cold start, from order to order, in a running hub over real sockets: miners of the twin, and a plant around them of a pump
on a Tasmota relay, a heater on a Modbus coil, a temperature sensor on Modbus and one for the air of the hall over MQTT."""

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from grid.order_book import Authority
from hub.app.live import Running, start
from hub.app.replay import replay_folder
from hub.cli.app import app
from hub.config import load
from kernel.clock import iso, system_clock
from telemetry.io.mqtt import Broker, MqttLink
from tests.builders.commands_of_a_hub import commands_of
from tests.builders.mqtt import connected
from tests.hub_site import World, until, world
from tests.servers import mosquitto
from tests.wires.modbus_servers import answer_frame, raw_server

MINERS, PUMP_W, INRUSH_W_PER_S = 6, 1_500.0, 7_000.0
SITE = """
run_on_s = 200.0
sensors = [
  {{ name = "rtd", profile = "seneca_z4rtd", host = "127.0.0.1", port = {port}, unit = 1 }},
  {{ name = "hall", profile = "zigbee2mqtt_climate", topic = "zigbee2mqtt/hall" }},
]
switches = [
  {{ name = "relay", profile = "tasmota", topic = "yard" }},
  {{ name = "coil", profile = "modbus_coils", host = "127.0.0.1", port = {port}, unit = 2, parameters = {{ outputs = 1 }} }},
]
loads = [
  {{ name = "pump", kind = "pump", device = "relay", power_w = 1500, serves = {{ feeders = ["f1"] }} }},
  {{ name = "heater", kind = "heater", device = "coil", power_w = 3000, serves = {{ feeders = ["f1"] }} }},
]
[[sites.cooling_loops]]
name = "loop"
serves = {{ feeders = ["f1"] }}
supply = {{ device = "rtd", point = "temp_c" }}
ambient = {{ device = "rtd", point = "temp_2_c" }}
room = {{ device = "hall", point = "temp_c" }}
humidity = {{ device = "hall", point = "humidity_pct" }}
flow = {{ device = "relay", point = "output_1_state" }}
inlet_min_c = 20
frost_protection_c = 5
"""


class Plant:
    """What stands around the miners, and what it says on its wires. The heater warms the loop, nothing else moves by itself."""

    def __init__(self) -> None:
        self.supply_c, self.outside_c, self.hall_c, self.humidity_pct = 25.0, -15.0, 26.0, 40.0
        self.pump, self.heater = True, False
        self.said: list[tuple[str, bool]] = []

    async def modbus(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        unit, function = request[6], request[7]
        if function == 5:
            before, self.heater = self.heater, request[10] == 0xFF
            self.said += [("heater", self.heater)] * (before != self.heater)
            writer.write(request)
        elif function == 1:
            assert unit == 2
            writer.write(request[:4] + b"\0\x04" + request[6:8] + bytes((1, self.heater)))
        else:
            tenths = (self.supply_c, self.outside_c, 0.0, 0.0)
            words = {2 + at: struct.unpack(">H", struct.pack(">h", round(10 * c)))[0] for at, c in enumerate(tenths)}
            writer.write(answer_frame(request, words))

    async def relay(self, link: MqttLink) -> None:
        while True:
            message = await link.next()
            link.acknowledge(message.token)
            self.pump = message.payload == b"ON"
            self.said.append(("pump", self.pump))
            await link.publish("stat/yard/RESULT", json.dumps({"POWER": message.payload.decode()}).encode())

    async def tell(self, link: MqttLink) -> None:
        while True:
            self.supply_c += 2.0 if self.heater and self.supply_c < 40.0 else 0.0
            link.post("tele/yard/STATE", json.dumps({"POWER": "ON" if self.pump else "OFF"}).encode())
            air = {"temperature": self.hall_c, "humidity": self.humidity_pct}
            link.post("zigbee2mqtt/hall", json.dumps(air).encode())
            await asyncio.sleep(0.5)


@contextlib.asynccontextmanager
async def plant_on(broker: int) -> AsyncIterator[tuple[Plant, int]]:
    plant, link = Plant(), MqttLink(Broker("127.0.0.1", broker, client_id="plant"), ["cmnd/yard/POWER"])
    async with raw_server(plant.modbus) as (port, _):
        link.start()
        await connected(link)
        tasks = [asyncio.create_task(plant.relay(link)), asyncio.create_task(plant.tell(link))]
        try:
            yield plant, port
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await link.stop()


def configured(site: World, port: int) -> Any:
    text = site.config.read_text().replace("inrush_w_per_s = 400000.0", f"inrush_w_per_s = {INRUSH_W_PER_S}")
    text = text.replace("tick_s = 2.0", "tick_s = 0.5")
    head, loops = SITE.format(port=port).split("[[sites.cooling_loops]]")
    text = text.replace('inventory = "inventory.csv"', f'inventory = "inventory.csv"{head}', 1)
    site.config.write_text(text.replace("[[sites.feeders]]", f"[[sites.cooling_loops]]{loops}\n[[sites.feeders]]", 1))
    return load(site.config, environment={})


@pytest.mark.timeout(240)
def test_a_site_asleep_in_frost_starts_in_its_order(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path) as broker,
        world(
            tmp_path, MINERS, broker, miner_host="127.78.27.1", models={"antminer-s21": 1}, feeders=1, containers=0,
            pace=200.0,
        ) as site,
    ):  # fmt: skip
        asyncio.run(cold_start(site, broker))
        replayed = replay_folder(tmp_path)
        shown = CliRunner().invoke(app, ["miners", "auxiliaries", str(tmp_path), "--json"])
    assert replayed.difference is None and replayed.commands > 0
    loads = json.loads(shown.stdout.splitlines()[-1])["sites"]["north"]["loads"]
    assert [(one["name"], one["on"], one["serves"]) for one in loads] == [
        ("pump", False, MINERS),
        ("heater", False, MINERS),
    ]


async def cold_start(site: World, broker: int) -> None:
    async with plant_on(broker) as (plant, port), start(configured(site, port), site.folder) as hub:
        here = hub.wired.hub.components.state.sites["alatau/north"]
        by, awake_s = Authority("control-room", ("alatau/north",)), dict[str, float]()

        def truth() -> list[bool]:
            reported = site.control("/truth?all=1")
            for device, asleep in zip(reported["device"], reported["asleep"], strict=True):
                if asleep:
                    awake_s.pop(device, None)
                else:
                    awake_s.setdefault(device, asyncio.get_running_loop().time())
            return list(reported["asleep"])

        def held_for(word: str) -> bool:
            return any(word in f"{rule}: {why}" for rule, why, _ in (here.tick or {}).get("restraints", ()))

        async def all_asleep() -> str:
            body = {"scope": "alatau/north", "power_w": 2_500.0, "until": iso(system_clock().now_ms() + 3_600_000)}
            order = await hub.messages.submit_order(body, by)
            await until("all sleep", lambda: all(truth()) and counts(hub)["asleep"] == MINERS, 60)
            return str(order["id"])

        # All hash in frost; an order puts them to sleep. The pump runs on, and on: the loop would freeze.
        await until("all hash", lambda: counts(hub)["hashing"] == MINERS, 90)
        order = await all_asleep()
        await asyncio.sleep(3.0)
        assert plant.pump and plant.said == [], "three times its run-on later"

        # The loop cools below what a start needs, damp air comes in, the pump fails. Then the order lifts.
        plant.supply_c, plant.humidity_pct, plant.pump = 12.0, 85.0, False
        await asyncio.sleep(2.0)  # What is left of the miners' shortest rest at this pace.
        await hub.messages.end_order(order, by, "")
        await until("the pump is first", lambda: plant.said[:1] == [("pump", True)], 40)
        await until("then the loop is warmed", lambda: plant.heater, 40)
        assert all(truth()) and held_for("pre-warm first")

        # Warm enough, and at the dew point: nobody wakes.
        await until("it is damp", lambda: held_for("dew point"), 40)
        assert all(truth()) and plant.supply_c >= 20.0
        plant.humidity_pct = 30.0
        await until("all wake", lambda: not any(truth()), 60)
        await until("the heater goes off", lambda: not plant.heater, 40)
        steps = sorted(awake_s.values())
        assert steps[-1] - steps[0] >= 0.6 * (MINERS - 1) * 3_500.0 / INRUSH_W_PER_S, "staged under the inrush limit"
        assert plant.said == [("pump", True), ("heater", True), ("heater", False)]
        await until("all hash", lambda: counts(hub)["hashing"] == MINERS, 60)
        done = [body for body in reversed(here.receipts) if body["outcome"] == "verified"]
        at_ms = {body["device"].rpartition("/")[2]: body["at_ms"] for body in done if body.get("on")}
        woken_ms = [body["at_ms"] for body in done if body["at_ms"] > at_ms["pump"] and "on" not in body]
        assert max(at_ms.values()) < min(woken_ms) and len(woken_ms) == MINERS

        reported = await asyncio.to_thread(site.api, "GET", "/sites/north/auxiliaries")
        assert [(one["name"], one["on"], one["output"]) for one in reported["loads"]] == [
            ("pump", True, "output 1"), ("heater", False, "output 1"),
        ]  # fmt: skip
        assert reported["loops"][0]["holds"] == "" and reported["loops"][0]["ambient_c"] == -15.0

        # In mild air cooling goes last: all asleep first, then its run-on, then off.
        plant.outside_c = 15.0
        await asyncio.sleep(6.0)  # The miners' shortest time on at this pace.
        await all_asleep()
        await until("the pump is last", lambda: not plant.pump, 40)
        order_of = list(enumerate(commands_of(hub)))
        slept = max(at for at, (kind, body) in order_of if kind == "command.receipt" and body["intent"] == "Sleep")
        off = max(at for at, (kind, body) in order_of if kind == "command.issued" and body["device"].endswith("pump"))
        assert slept < off, "cooling is not shed with the miners"
        assert plant.said[3:] == [("pump", False)] and all(truth())
        await until("and is proven so", lambda: here.load_book.on("alatau/north/pump")[0] is False, 20)


def counts(hub: Running) -> Any:
    return hub.ports.sites.status("north")["counts"]
