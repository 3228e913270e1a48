# SPDX-License-Identifier: Apache-2.0
"""Configured devices as sources and drivers: miners, meters, containers, the broker, the drivers of a site."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from hub.config import Config, Credential, Site, secret
from hub.config.devices import Device
from hub.control.interlock import bar
from hub.state.fold import HubState
from hub.state.site import SiteState
from hub.wiring.plugins import DIALECTS
from kernel.address import authority
from kernel.clock import Clock
from kernel.errors import ConfigError, Fault
from kernel.ids import device_key
from kernel.reading import Reading
from kernel.receipt import Receipt
from kernel.units import S_PER_DAY
from miner_control.control.actuator import Actuator
from miner_control.control.auxiliary_load import Load, Switching, SwitchPort, output_metrics
from miner_control.fleet.command import Command
from miner_control.fleet.driver import Access as DeviceAccess
from miner_control.fleet.driver import MinerDriver
from miner_control.inventory.asset_register import AssetRegister
from miner_control.io.miner_socket import Exchanges, MinerPort
from telemetry.collect.source import Source, Tier
from telemetry.device.profile import Profile
from telemetry.device.profile import load as load_profile
from telemetry.io.devices import Lines, Place
from telemetry.io.http_source import HttpSwitch
from telemetry.io.modbus_switch import ModbusSwitch, microbt_login
from telemetry.io.mqtt import Broker, MqttFeed, MqttLink
from telemetry.io.mqtt_switch import MqttSwitch
from telemetry.io.sparkplug import SparkplugFeed
from telemetry.wire.sparkplug_host import SparkplugChannel
from telemetry.wire.topic import Channel


def profile_of(site: Site, kind: str, part: Device) -> Profile:
    """The profile of a configured device, with what the site fills in. Raises ConfigError with every fault of the file."""
    return load_profile(site.profile_file(kind, part), part.parameters)


def credential(config: Config, name: str, folder: Path) -> tuple[str, str]:
    held = config.credentials.get(name, Credential(account="root"))
    password = secret(held.password_env, held.password_file, folder)
    return held.account, password or ""


def miner_ports(
    config: Config, site: SiteState, register: AssetRegister, clock: Clock, exchanges: Exchanges, folder: Path
) -> dict[str, MinerPort]:
    """The miners of a site; a credential that was changed by a command goes before the inventory's."""
    ports = {}
    for miner in register.miners:
        account, password = credential(config, site.credentials.get(miner.device, miner.credential), folder)
        access = DeviceAccess(account, password, dict(miner.ports))
        dialect = DIALECTS.find(miner.dialect, f"miner {miner.device}")
        ports[miner.device] = MinerPort(miner, dialect, access, clock, exchanges)
    return ports


def place_of(config: Config, part: Device, folder: Path) -> Place:
    """Where a polled device is reached."""
    account, password = credential(config, part.credential, folder) if part.credential else ("", None)
    return Place(part.host, part.port, part.unit, part.framing, part.baudrate, part.parity, password, account)


def polled_sources(
    config: Config, site: Site, lines: Lines, keep: Callable[[bytes], str], clock: Clock, folder: Path
) -> list[Source]:
    """Meters, sensors and containers that are asked, whatever wire they speak; one line per gateway."""
    sources: list[Source] = []
    for kind, part in site.devices():
        if not part.host:
            continue
        profile = profile_of(site, kind, part)
        place = place_of(config, part, folder)
        device = device_key(config.hub.name, site.name, part.name)
        sources.append(lines.source(device, profile, place, clock, keep=keep if part.billing else None))
    return sources


def switch_ports(
    config: Config, state: HubState, site: SiteState, lines: Lines, link: MqttLink | None, clock: Clock, folder: Path
) -> dict[str, MinerDriver]:
    """Auxiliary loads by device key, each over the device that switches it.

    Raises ConfigError naming every load whose device has no such output.
    """
    parts = {
        device_key(config.hub.name, site.config.name, part.name): (kind, part) for kind, part in site.config.devices()
    }
    ports: dict[str, MinerDriver] = {}
    faults: list[Fault] = []
    for load in site.around.loads:
        kind, part = parts[load.device]
        profile = profile_of(site.config, kind, part)
        group = load.group or load.kind.value
        switching: Switching | None = None
        if part.host and group in profile.switches:
            account, password = credential(config, part.credential, folder) if part.credential else ("", "")
            login = microbt_login(account, password) if profile.make == "MicroBT" else None
            line = lines.modbus(place_of(config, part, folder))
            switching = ModbusSwitch(load.device, profile, line, clock, unit_id=part.unit, login=login)
        elif part.host and profile.wire == "http" and group in profile.orders:
            known = credential(config, part.credential, folder) if part.credential else None
            switching = HttpSwitch(profile, f"http://{authority(part.host, part.port)}", known)
        elif part.topic and link is not None and group.rstrip("0123456789") in profile.orders:
            switching = MqttSwitch(profile, part.topic, link)
        if switching is None:
            outputs = sorted({*profile.switches, *profile.orders})
            faults.append(
                Fault(
                    f"load {load.name}",
                    f"{profile.name} has no output {group!r}",
                    f"It has: {', '.join(outputs) or 'none; it cannot be switched'}",
                )
            )
            continue
        ports[load.key] = SwitchPort(load, switching, _look(state, load))
    if faults:
        raise ConfigError(faults)
    return ports


def _look(state: HubState, load: Load) -> Callable[[], Reading | None]:
    """Last reported state of a load's output, as of the reading."""
    return lambda: state.snapshot.reading(load.device, output_metrics(load))


def feeds_of(
    config: Config, clock: Clock, folder: Path, on_state: Callable[[bool, str], None]
) -> list[MqttFeed | SparkplugFeed]:
    """What speaks unasked: JSON over MQTT by topic, and Sparkplug B, each on a connection of its own."""
    topics: list[Channel] = []
    nodes: list[SparkplugChannel] = []
    for site in config.sites:
        for kind, part in site.devices():
            key = device_key(config.hub.name, site.name, part.name)
            if part.topic:
                topics.append(Channel(key, profile_of(site, kind, part), part.topic))
            elif part.sparkplug is not None:
                edge, profile = part.sparkplug, profile_of(site, kind, part)
                nodes.append(SparkplugChannel(key, profile, edge.group, edge.node, edge.device))
    broker = broker_of(config, folder)
    feeds: list[MqttFeed | SparkplugFeed] = []
    if topics:
        feeds.append(MqttFeed(broker, topics, clock, on_state=on_state))
    if nodes:
        host_id = config.mqtt.host_id
        own = replace(broker, client_id=f"{broker.client_id}-{host_id}")
        feeds.append(SparkplugFeed(own, host_id, nodes, clock, on_state=on_state))
    return feeds


def broker_of(config: Config, folder: Path) -> Broker:
    """The broker that the configuration names; the embedded one speaks MQTT 3.1.1."""
    mqtt = config.mqtt
    account = password = None
    if mqtt.credential:
        account, password = credential(config, mqtt.credential, folder)
    ca, cert, key = (None if path is None else str(path) for path in (mqtt.tls_ca, mqtt.tls_cert, mqtt.tls_key))
    version = mqtt.version or (3 if mqtt.embedded else 5)
    return Broker(
        mqtt.host, mqtt.port, version=version, username=account, password=password,
        ca_file=ca, cert_file=cert, key_file=key,
    )  # fmt: skip


def periods(config: Config) -> dict[str, dict[Tier, float]]:
    """Seconds between polls by kind and tier."""
    polling = config.polling
    meter = {Tier.FAST: polling.meter_s, Tier.SLOW: max(60.0, polling.meter_s), Tier.DAILY: S_PER_DAY}
    miner = {Tier.FAST: polling.miner_fast_s, Tier.SLOW: polling.miner_slow_s, Tier.DAILY: S_PER_DAY}
    return {"miner": miner, "meter": meter, "sensor": meter, "container": meter, "switch": meter}


def actuator_of(
    site: SiteState,
    drivers: dict[str, MinerDriver],
    clock: Clock,
    state: HubState,
    on_receipt: Callable[[str, Command, Receipt], None],
    uploads: int,
) -> Actuator:
    """The actuator of one site."""

    def latest(device: str):  # type: ignore[no-untyped-def]
        with contextlib.suppress(KeyError):
            return state.snapshot.kind("miner").reading(device)
        return None

    return Actuator(
        drivers,
        clock,
        site.envelope,
        lambda made, receipt, at_ms: on_receipt(site.key, made, receipt),
        latest=latest,
        bar=lambda device: bar(state, site, device),
        inrush_w_per_s=site.config.inrush_w_per_s,
        uploads=uploads,
    )


class Connection(Protocol):
    """Something with a life around the loops: a broker, a connection to one."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Feed:
    """An MQTT feed as something opened."""

    def __init__(self, feed: MqttFeed | SparkplugFeed) -> None:
        self._feed = feed

    async def start(self) -> None:
        self._feed.start()

    async def stop(self) -> None:
        await self._feed.stop()
