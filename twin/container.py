# SPDX-License-Identifier: Apache-2.0
"""Simulated containers: pumps, coolers, PDU sockets with units behind them; published over MQTT as a Bitdeer D40.

The broker may start later than the twin or stop: the client keeps trying. Commands to a container (pumps, fans, sockets)
arrive on its own topics and change its next report.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import orjson
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from kernel.clock import Clock
from kernel.ids import device_key
from kernel.reading import Field
from kernel.units import WS_PER_WH
from telemetry.device.codec import encode
from telemetry.device.profile import Profile
from twin.site import Site, Unit

SOCKETS = 20
SOCKETS_EVERY_S = 60.0
COMMANDS = ("PumpOperate", "CoolerOperate", "PDUOperate", "RunningOperate", "TacticsSet")


class Container:
    """One container; it has the site's feeders whose number modulo the number of containers is its own."""

    def __init__(self, site: Site, number: int) -> None:
        self.site = site
        self.name = f"container-{number + 1}"
        self.topic_prefix = f"{self.name}-"
        self.device = device_key(site.spec.hub, site.spec.site, self.name)
        self._mine = (site.feeder_of % max(1, site.spec.containers)) == number
        self.units = [unit for unit, mine in zip(site.units, self._mine, strict=True) if mine]
        self.pump_on = True
        self.fan_on = True
        self.tactics: Mapping[str, Any] = {"RunTactics": [], "StopTactics": []}
        self._reported_plugs, self._sockets_json = -1, ""

    def figures(self, sockets: bool = True) -> Mapping[str, Field]:
        """Measured values now: cooling power is the spec's share of its miners' draw.

        A large container has hundreds of sockets: frequent callers leave them out.
        """
        machines = self.site.machines
        share = self.site.spec.losses.cooling_share
        drawn = float(machines.power()[self._mine].sum())
        energy = float(machines.energy_ws[self._mine].sum()) / WS_PER_WH
        air = self.site.spec.weather.at(machines.at_ms)
        warm = 12.0 if self.pump_on else 30.0
        load = drawn / max(1.0, float(machines.nominal_w[self._mine].sum()))
        reported: dict[str, Field] = {
            "power_w": drawn * share, "energy_import_wh": energy * share, "temp_ambient_c": air, "humidity_pct": 45.0,
            "temp_supply_c": air + 8.0, "temp_return_c": air + 8.0 + warm * load, "flow_lpm": 900.0 if self.pump_on else 0.0,
            "pressure_supply_bar": 1.6 if self.pump_on else 0.0, "pump_state": "on" if self.pump_on else "off",
            "fan_state": "on" if self.fan_on else "off", "fan_duty_pct": 40.0 + 50.0 * load, "error_text": "[]",
            "tactics_json": orjson.dumps(self.tactics).decode(),
        }  # fmt: skip
        if sockets:
            if self._reported_plugs != self.site.plugs:
                self._reported_plugs, self._sockets_json = self.site.plugs, orjson.dumps(self._sockets()).decode()
            reported["sockets_json"] = self._sockets_json
        return reported

    def socket(self, pdu: int, socket: int) -> Unit | None:
        """The unit behind a socket (both counted from 1), or None where there is none."""
        at = (pdu - 1) * SOCKETS + socket - 1
        return self.units[at] if 0 < socket <= SOCKETS and 0 <= at < len(self.units) else None

    def _sockets(self) -> list[dict[str, Any]]:
        """Sockets in the maker's form: PDUs and sockets counted from 0, states as texts."""
        states = ["1" if unit.plugged else "0" for unit in self.units]
        return [
            {"PDUIndex": str(number), "SocketStatus": states[at : at + SOCKETS]}
            for number, at in enumerate(range(0, len(states), SOCKETS))
        ]

    def set_pump(self, on: bool, now_ms: int) -> None:
        self.pump_on = on
        self.site.cool(self.units, on, now_ms)

    def switch(self, pdu: int, socket: int, on: bool, now_ms: int) -> bool:
        """Switch a socket; returns whether it exists. The unit behind it gains or loses power."""
        unit = self.socket(pdu, socket)
        if unit is not None:
            self.site.plug(unit, on, now_ms)
        return unit is not None

    def obey(self, command: str, body: Mapping[str, Any], now_ms: int) -> None:
        """Carry out a message on a command topic; unreadable content is ignored."""
        on = str(body.get("Operate", "")) in ("1", "on", "On", "true")
        pdu, socket = str(body.get("PDUIndex", "")), str(body.get("SocketIndex", ""))
        match command:
            case "PumpOperate":
                self.set_pump(on, now_ms)
            case "CoolerOperate":
                self.fan_on = on
            case "TacticsSet" if isinstance(body.get("Tactics"), dict):
                self.tactics = body["Tactics"]
            case "PDUOperate" if pdu.isdigit() and socket.isdigit():
                self.switch(int(pdu) + 1, int(socket) + 1, on, now_ms)


class Publisher:
    """The MQTT client of all containers; paho's own thread keeps the connection, this loop passes it messages."""

    def __init__(self, site: Site, clock: Clock, profile: Profile, containers: list[Container]) -> None:
        self.site, self.clock, self.profile, self.containers = site, clock, profile, containers
        self._loop = asyncio.get_running_loop()
        self.client = Client(CallbackAPIVersion.VERSION2, client_id=f"{site.spec.site}-containers")
        self.client.reconnect_delay_set(min_delay=1, max_delay=5)
        self.client.on_connect = self._connected
        self.client.on_message = self._received

    def _connected(self, client: Client, *_rest: object) -> None:
        for container in self.containers:
            for command in COMMANDS:
                client.subscribe(container.topic_prefix + command, qos=1)

    def _received(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        with contextlib.suppress(orjson.JSONDecodeError):
            body = orjson.loads(message.payload)
            for container in self.containers:
                if message.topic.startswith(container.topic_prefix) and isinstance(body, dict):
                    command = message.topic.removeprefix(container.topic_prefix)
                    self._loop.call_soon_threadsafe(container.obey, command, body, self.clock.now_ms())

    def documents(self, container: Container, sockets: bool = True) -> dict[str, bytes]:
        """Topic to payload of one container."""
        reported = encode(self.profile, container.figures(sockets))
        if not sockets:
            reported.pop("pdu", None)
        return {
            self.profile.documents[name][0].format(id=container.topic_prefix): orjson.dumps(document)
            for name, document in reported.items()
        }

    async def run(self) -> None:
        """Publish each period, without end; the sockets after a switching, and each minute."""
        spec = self.site.spec
        assert spec.mqtt_host is not None
        self.client.connect_async(spec.mqtt_host, spec.mqtt_port, keepalive=20)
        self.client.loop_start()
        reported_plugs, reported_s = -1, 0.0
        try:
            while True:
                if self.client.is_connected() and "container_silent" not in self.site.service_faults:
                    self.site.machines.advance(self.clock.now_ms())
                    now_s = self.clock.monotonic_s()
                    sockets = reported_plugs != self.site.plugs or now_s - reported_s >= SOCKETS_EVERY_S
                    if sockets:
                        reported_plugs, reported_s = self.site.plugs, now_s
                    for container in self.containers:
                        for topic, payload in self.documents(container, sockets).items():
                            self.client.publish(topic, payload, qos=1)
                await asyncio.sleep(spec.mqtt_period_s)
        finally:
            self.client.disconnect()
            self.client.loop_stop()
