# SPDX-License-Identifier: Apache-2.0
"""Simulated meters: one Modbus TCP gateway with a unit for each meter, whose counters are the miners' energy.

Registers are encoded by the profile that the hub decodes; a read outside the profile's blocks is answered with exception 2
(illegal data address), a wrong function with 1. The gateway answers one request of a connection at a time.
"""

import asyncio
import math
import struct
from collections.abc import Mapping
from typing import Protocol, cast

import numpy as np

from kernel.clock import Clock
from kernel.metric import SCHEMAS
from kernel.reading import Field
from telemetry.device.codec import encode
from telemetry.device.profile import Profile
from twin.lines import Delays, listen_socket
from twin.site import Site

PHASE_V = 230.0
POWER_FACTOR = 0.97
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, DEVICE_FAILURE, NO_TARGET = 1, 2, 3, 4, 11
LONGEST_READ = 125
FRESH_MS = 200

Image = dict[tuple[int, int], int]


def figures(
    phases_w: tuple[float, float, float],
    energy_wh: float,
    serial: str,
    export_wh: float = 0.0,
    *,
    idle: tuple[float, float],
) -> Mapping[str, Field]:
    """All values of a meter, in canonical units, at 230/400 V: the load's own power factor, and in addition `idle` (var, and
    varh so far), which does not follow the load; power that flows out is negative."""
    power_w, (idle_var, idle_varh) = sum(phases_w), idle
    per_w = (1.0 / POWER_FACTOR**2 - 1.0) ** 0.5
    reactive = abs(power_w) * per_w + idle_var
    apparent = math.hypot(power_w, reactive)
    amperes = [math.hypot(each, abs(each) * per_w + idle_var / 3) / PHASE_V for each in phases_w]
    line_v = PHASE_V * 3**0.5
    values: dict[str, Field] = {
        "power_w": power_w, "power_l1_w": phases_w[0], "power_l2_w": phases_w[1], "power_l3_w": phases_w[2],
        "apparent_va": apparent, "reactive_var": reactive, "power_factor": power_w / apparent if apparent else 1.0,
        "voltage_l1_v": PHASE_V, "voltage_l2_v": PHASE_V,
        "voltage_l3_v": PHASE_V, "voltage_l12_v": line_v, "voltage_l23_v": line_v, "voltage_l31_v": line_v,
        "current_l1_a": amperes[0], "current_l2_a": amperes[1], "current_l3_a": amperes[2],
        "current_n_a": max(amperes) - min(amperes),
        "frequency_hz": 50.0, "energy_import_wh": energy_wh, "energy_export_wh": export_wh,
        "energy_reactive_import_varh": energy_wh * per_w + idle_varh,
        "energy_reactive_export_varh": 0.0, "thd_voltage_pct": 2.0, "thd_current_pct": 9.0, "serial": serial,
    }  # fmt: skip
    assert set(values) <= set(SCHEMAS["meter"])
    return values


class Meters:
    """The registers of all meters of a site, made again when older than `FRESH_MS`."""

    def __init__(self, site: Site, clock: Clock, main: Profile, feeder: Profile) -> None:
        self.site = site
        self.clock = clock
        self.profiles = {meter.name: main if meter.feeder is None else feeder for meter in site.meters}
        self._by_unit = {meter.unit_id: (at, meter) for at, meter in enumerate(site.meters)}
        self._blank = {name: _blank(profile) for name, profile in self.profiles.items()}
        self._images: dict[str, Image] = {}
        self._made_ms: dict[str, int] = {}

    def image(self, unit_id: int) -> Image:
        """(function, address) to register value of one unit. A frozen meter keeps its last image."""
        at, meter = self._by_unit[unit_id]
        now_ms = self.clock.now_ms()
        held = self._images.get(meter.name)
        fresh = held is not None and now_ms - self._made_ms[meter.name] < FRESH_MS
        if held is not None and (fresh or "frozen" in self.site.meter_faults[meter.name]):
            return held
        self.site.machines.advance(now_ms)
        energy = float(self.site.meter_energy_wh()[at])
        out_wh, idle = self.site.exported_wh(at), self.site.meter_idle(at)
        reported = figures(self.site.meter_phases_w(at), energy, meter.serial, out_wh, idle=idle)
        registers = encode(self.profiles[meter.name], reported)
        made = dict(self._blank[meter.name])
        made.update({(function, address): register for (_, function, address), register in registers.items()})
        self._images[meter.name], self._made_ms[meter.name] = made, now_ms
        return made

    def faults(self, unit_id: int) -> set[str]:
        found = self._by_unit.get(unit_id)
        return set() if found is None else self.site.meter_faults[found[1].name]

    def answer(self, unit_id: int, pdu: bytes) -> bytes:
        """The PDU of an answer."""
        function = pdu[0]
        if unit_id not in self._by_unit:
            return bytes((function | 0x80, NO_TARGET))
        if "exception" in self.faults(unit_id):
            return bytes((function | 0x80, DEVICE_FAILURE))
        if function not in (3, 4):
            return bytes((function | 0x80, ILLEGAL_FUNCTION))
        return read_registers(pdu, self.image(unit_id))


def read_registers(pdu: bytes, image: Image) -> bytes:
    """The answer to a read of registers from an image, or the exception."""
    function = pdu[0]
    address, count = struct.unpack(">HH", pdu[1:5])
    if not 0 < count <= LONGEST_READ:
        return bytes((function | 0x80, ILLEGAL_VALUE))
    try:
        registers = [image[(function, address + at)] for at in range(count)]
    except KeyError:
        return bytes((function | 0x80, ILLEGAL_ADDRESS))
    return struct.pack(f">BB{count}H", function, 2 * count, *registers)


class Station(Protocol):
    """Responder of a gateway. Faults: `dead` never answers, `segments` splits."""

    def faults(self, unit_id: int) -> set[str]: ...

    def answer(self, unit_id: int, pdu: bytes) -> bytes: ...


def _blank(profile: Profile) -> Image:
    """Zero in every register read by the profile."""
    return {(block.function, block.address + at): 0 for block in profile.reads() for at in range(block.count)}


class Gateway(asyncio.Protocol):
    """One Modbus TCP connection."""

    def __init__(self, station: Station, delays: Delays) -> None:
        self._station, self._delays = station, delays
        self._buffer = b""
        self._busy = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next()

    def _next(self) -> None:
        if self._busy or self._transport is None or len(self._buffer) < 8:
            return
        transaction, protocol, length, unit_id = struct.unpack(">HHHB", self._buffer[:7])
        if protocol != 0 or not 2 <= length <= 254:
            self._transport.abort()
            return
        if len(self._buffer) < 6 + length:
            return
        pdu, self._buffer = self._buffer[7 : 6 + length], self._buffer[6 + length :]
        if len(pdu) < 5:
            pdu = pdu.ljust(5, b"\0")
        if "dead" in self._station.faults(unit_id):
            self._next()
            return
        self._busy = True
        asyncio.get_running_loop().call_later(self._delays.next(), self._answer, transaction, unit_id, pdu)

    def _answer(self, transaction: int, unit_id: int, pdu: bytes) -> None:
        self._busy = False
        if self._transport is None:
            return
        reported = self._station.answer(unit_id, pdu)
        frame = struct.pack(">HHHB", transaction, 0, len(reported) + 1, unit_id) + reported
        if "segments" in self._station.faults(unit_id):
            half = len(frame) // 2
            self._transport.write(frame[:half])
            asyncio.get_running_loop().call_later(0.03, self._rest, frame[half:])
            return
        self._transport.write(frame)
        self._next()

    def _rest(self, rest: bytes) -> None:
        if self._transport is not None:
            self._transport.write(rest)
            self._next()


async def serve_station(
    station: Station, host: str, port: int, span_s: tuple[float, float], rng: np.random.Generator
) -> tuple[asyncio.Server, int]:
    """A gateway of a station, and its port."""
    delays = Delays(span_s, rng)
    sock = listen_socket(host, port)
    taken = int(sock.getsockname()[1])
    server = await asyncio.get_running_loop().create_server(lambda: Gateway(station, delays), sock=sock)
    return server, taken
