# SPDX-License-Identifier: Apache-2.0
"""Sources from profiles and addresses; one line per gateway, shared by all devices behind it."""

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
    """Connection data of a device.

    - `framing`: tcp, rtu+tcp, or serial (then `host` is the terminal, such as /dev/ttyS0).
    - `unit`: Modbus unit id or Mercury address; None: the default of the profile or meter.
    - `password`: reading password of meters and devices that require one; `account`: for HTTP.
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
    """All lines of a hub, created on first use and shared."""

    def __init__(self, *, timeout_s: float = 1.0, keep_open: bool = True) -> None:
        self._timeout_s, self._keep_open = timeout_s, keep_open
        self._modbus: dict[Address, ModbusLine] = {}
        self._streams: dict[tuple[str, int], StreamLine] = {}

    def source(
        self, device: str, profile: Profile, place: Place, clock: Clock, *, keep: Callable[[bytes], str] | None = None
    ) -> PolledSource:
        """Source of a device on the line of its gateway. ConfigError for a profile whose devices report by themselves (MQTT,
        Sparkplug).
        """
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
        """Modbus line of a place (also for its switches)."""
        address = Address(place.framing, place.host, place.port, place.baudrate, place.parity)
        if address not in self._modbus:
            self._modbus[address] = ModbusLine(address, timeout_s=self._timeout_s, keep_open=self._keep_open)
        return self._modbus[address]

    def stream(self, place: Place) -> StreamLine:
        """Byte stream of a place."""
        key = (place.host, place.port)
        if key not in self._streams:
            self._streams[key] = StreamLine(*key, timeout_s=max(self._timeout_s, 2.0))
        return self._streams[key]

    def figures(self) -> list[Figure]:
        """Counters of all Modbus lines."""
        return [figure for line in self._modbus.values() for figure in line.figures()]

    def close(self) -> None:
        for line in self._modbus.values():
            line.close()
        for stream in self._streams.values():
            stream.close()
