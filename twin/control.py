# SPDX-License-Identifier: Apache-2.0
"""Control channel of the twin, for tests that need true values or faults. Off unless the spec names a port; loopback.

GET  /truth                    the site: power, energy, counts by state, meters
GET  /truth?device=KEY         one unit: all its true values
GET  /truth?all=1              every unit, as columns
GET  /faults                   names of the faults with their meanings
POST /press  {"device": KEY, "port": UDP}  the unit's IP-report button: one datagram from its own address
POST /fault  {"device": KEY, "faults": [...]} | {"meter": NAME, "faults": [...]} | {"service": true, "faults": [...]}
"""

import asyncio
import socket
from collections import Counter
from typing import Any, cast

import orjson

from kernel.clock import Clock
from twin.exchange import Request, Response, respond
from twin.faults import METER_FAULTS, MINER_FAULTS, SERVICE_FAULTS
from twin.lines import listen_socket, parse_http
from twin.site import Site, Unit


def unit_truth(site: Site, unit: Unit) -> dict[str, Any]:
    """All true values of one unit."""
    machines, index = site.machines, unit.index
    power_w, hashrate_hs = machines.one(index)
    return {
        "device": unit.place.device, "state": machines.state(index), "power_w": power_w, "hashrate_hs": hashrate_hs,
        "energy_wh": float(machines.energy_ws[index]) / 3600.0, "hashes": float(machines.hashes[index]),
        "asleep": bool(machines.asleep[index]), "mode": machines.modes[index], "limit_w": float(machines.limit_w[index]),
        "percent": float(machines.percent[index]), "want_w": float(machines.want_w[index]),
        "nominal_w": float(machines.nominal_w[index]), "sleep_w": float(machines.sleep_w[index]),
        "up_s": float(machines.up_ms[index]) / 1000.0, "down_s": float(machines.down_ms[index]) / 1000.0,
        "down_delay_s": float(machines.down_delay_ms[index]) / 1000.0, "chip_c": float(machines.chip_c[index]),
        "locating": bool(machines.locating[index]), "board_up": machines.board_up(index),
        "started_ms": int(machines.started_ms[index]),
        "pools": [[pool.url, pool.user] for pool in unit.pools], "faults": sorted(unit.faults),
        "plugged": unit.plugged, "firmware": unit.firmware, "writes": unit.writes,
        "answers": unit.answers, "open_most": unit.open_most,
    }  # fmt: skip


def site_truth(site: Site) -> dict[str, Any]:
    """True sums of the site."""
    machines = site.machines
    power, energy = site.meter_power_w(), site.meter_energy_wh()
    return {
        "at_ms": machines.at_ms, "pace": machines.pace, "miners": machines.n,
        "miners_power_w": float(machines.power().sum()), "miners_energy_wh": float(machines.energy_wh().sum()),
        "generation_w": site.generation.power_w(machines.at_ms),
        "hashrate_hs": float(machines.hashrate().sum()), "hashes": site.hashes_done(),
        "states": dict(Counter(machines.state(index) for index in range(machines.n))),
        "writes": sum(unit.writes for unit in site.units), "answers": sum(unit.answers for unit in site.units),
        "meters": [
            {"name": meter.name, "power_w": float(power[at]), "energy_wh": float(energy[at]), "start_wh": meter.start_wh,
             "faults": sorted(site.meter_faults[meter.name])}
            for at, meter in enumerate(site.meters)
        ],
        "faults": sorted(site.service_faults),
    }  # fmt: skip


def columns_truth(site: Site) -> dict[str, Any]:
    """Every unit, as columns in the order of the layout."""
    machines = site.machines
    return {
        "at_ms": machines.at_ms,
        "device": [unit.place.device for unit in site.units],
        "state": [machines.state(index) for index in range(machines.n)],
        "power_w": machines.power().tolist(),
        "hashrate_hs": machines.hashrate().tolist(),
        "energy_wh": machines.energy_wh().tolist(),
        "asleep": machines.asleep.tolist(),
        "writes": [unit.writes for unit in site.units],
        "faults": [sorted(unit.faults) for unit in site.units],
    }


class Control:
    """Answers of the control channel."""

    def __init__(self, site: Site, clock: Clock) -> None:
        self.site, self.clock = site, clock

    def answer(self, ask: Request) -> Response:
        site, now_ms = self.site, self.clock.now_ms()
        site.machines.advance(now_ms)
        if ask.method == "GET" and ask.path == "/truth":
            device = ask.query.get("device")
            if device is not None:
                unit = site.by_device.get(device)
                return respond(unit_truth(site, unit)) if unit else respond({"error": f"no device {device}"}, 404)
            return respond(columns_truth(site) if ask.query.get("all") else site_truth(site))
        if ask.method == "GET" and ask.path == "/faults":
            return respond({"miner": MINER_FAULTS, "meter": METER_FAULTS, "service": SERVICE_FAULTS})
        if ask.method == "POST" and ask.path == "/fault":
            return self._fault(ask.json(), now_ms)
        if ask.method == "POST" and ask.path == "/press":
            return self._press(ask.json())
        return respond({"error": "ask GET /truth, GET /faults or POST /fault"}, 404)

    def _press(self, body: Any) -> Response:
        unit = self.site.by_device.get(body.get("device", "")) if isinstance(body, dict) else None
        if unit is None or not isinstance(body.get("port"), int):
            return respond({"error": 'send {"device": KEY, "port": UDP}'}, 422)
        place = unit.place
        text = f"IP:{place.host}MAC:{place.mac}" if unit.model.make == "MicroBT" else f"{place.host},{place.mac}"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.bind((place.host, 0))
            line.sendto(text.encode(), (self.site.spec.host, body["port"]))
        return respond({"ok": True})

    def _fault(self, body: Any, now_ms: int) -> Response:
        if not isinstance(body, dict) or not isinstance(body.get("faults"), list):
            return respond({"error": 'send {"device": KEY, "faults": [...]}'}, 422)
        faults = {str(name) for name in body["faults"]}
        try:
            if "meter" in body:
                self.site.set_meter_faults(str(body["meter"]), faults)
            elif body.get("service"):
                self.site.set_service_faults(faults)
            else:
                keys = body.get("devices") or [body.get("device")]
                for key in keys:
                    if key not in self.site.by_device:
                        return respond({"error": f"no device {key}"}, 404)
                for key in keys:
                    self.site.set_faults(self.site.by_device[key], faults, now_ms)
        except ValueError as error:
            return respond({"error": str(error)}, 422)
        return respond({"ok": True})


class ControlLine(asyncio.Protocol):
    """One connection to the control channel."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._transport is not None and (found := parse_http(self._buffer)):
            ask, self._buffer = found
            keep = ask.headers.get("connection", "").lower() != "close"
            self._transport.write(self._control.answer(ask).wire(keep))
            if not keep:
                self._transport.close()
                return


async def serve_control(site: Site, clock: Clock, host: str, port: int) -> tuple[asyncio.Server, int]:
    """The channel, and its port."""
    control = Control(site, clock)
    sock = listen_socket(host, port)
    taken = int(sock.getsockname()[1])
    server = await asyncio.get_running_loop().create_server(lambda: ControlLine(control), sock=sock)
    return server, taken


def ready_line(ready: dict[str, Any]) -> bytes:
    """The line printed when the twin serves: counts and addresses, without the single devices."""
    short = {key: value for key, value in ready.items() if not isinstance(value, list)}
    return orjson.dumps(short | {"miners": len(ready["miners"]), "meters": len(ready["meters"])}) + b"\n"
