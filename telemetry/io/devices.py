# SPDX-License-Identifier: Apache-2.0
"""From a profile and an address to a source: one line for each gateway, shared by all devices behind it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from kernel.address import authority
from kernel.clock import Clock
from kernel.errors import ConfigError, Fault
from telemetry.device.profile import Profile
from telemetry.io.http_source import HttpSource
from telemetry.io.meter_stream import Iec61107Source, MercurySource
from telemetry.io.modbus import Address, ModbusLine, ModbusSource
from telemetry.io.stream import StreamLine
from telemetry.io.sunspec import SunSpecSource
from telemetry.wire.exposition import Figure

PolledSource = ModbusSource | MercurySource | Iec61107Source | HttpSource


@dataclass(frozen=True, slots=True)
class Place:
    """Where a device is reached. `framing`: tcp, rtu+tcp, or serial (then `host` is the terminal, such as /dev/ttyS0).

    `unit` is the Modbus unit id or the Mercury address; `password` the reading password of meters that want one.
    """

    host: str
    port: int = 502
    unit: int | None = None
    framing: str = "tcp"
    baudrate: int = 9600
    parity: str = "N"
    password: str | None = field(default=None, repr=False)
    account: str = ""


class Lines:
    """All lines of a hub. `source` makes a device's source on the line of its gateway, `close` lets all go."""

    def __init__(self, *, timeout_s: float = 1.0, keep_open: bool = True) -> None:
        self._timeout_s, self._keep_open = timeout_s, keep_open
        self._modbus: dict[Address, ModbusLine] = {}
        self._streams: dict[tuple[str, int], StreamLine] = {}

    def source(
        self, device: str, profile: Profile, place: Place, clock: Clock, *, keep: Callable[[bytes], str] | None = None
    ) -> PolledSource:
        """Raises ConfigError for a profile whose devices speak unasked (MQTT, Sparkplug)."""
        match profile.wire:
            case "modbus":
                return ModbusSource(device, profile, self.modbus(place), clock, unit_id=place.unit, keep=keep)
            case "sunspec":
                return SunSpecSource(device, profile, self.modbus(place), clock, unit_id=place.unit, keep=keep)
            case "mercury":
                password = place.password or "111111"
                line = self.stream(place)
                return MercurySource(
                    device, profile, line, clock, address=place.unit or 0, password=password, keep=keep
                )
            case "iec61107":
                address = "" if place.unit is None else str(place.unit)
                line = self.stream(place)
                return Iec61107Source(device, profile, line, clock, address=address, password=place.password, keep=keep)
            case "http":
                base_url = f"http://{authority(place.host, place.port)}"
                credential = None if place.password is None else (place.account, place.password)
                return HttpSource(device, profile, base_url, clock, credential=credential)
        remedy = "Give it a topic id instead of an address"
        raise ConfigError([Fault(device, f"profile {profile.name} ({profile.wire}) is not polled", remedy)])

    def modbus(self, place: Place) -> ModbusLine:
        """The Modbus line of a place (also for its switches)."""
        address = Address(place.framing, place.host, place.port, place.baudrate, place.parity)
        if address not in self._modbus:
            self._modbus[address] = ModbusLine(address, timeout_s=self._timeout_s, keep_open=self._keep_open)
        return self._modbus[address]

    def stream(self, place: Place) -> StreamLine:
        """The byte stream of a place."""
        key = (place.host, place.port)
        if key not in self._streams:
            self._streams[key] = StreamLine(*key, timeout_s=max(self._timeout_s, 2.0))
        return self._streams[key]

    def figures(self) -> list[Figure]:
        """Counters of every Modbus line."""
        return [figure for line in self._modbus.values() for figure in line.figures()]

    def close(self) -> None:
        for line in self._modbus.values():
            line.close()
        for stream in self._streams.values():
            stream.close()
