# SPDX-License-Identifier: Apache-2.0
"""Simulated Bitaxe (AxeOS 2.14): no password, one page to read, pause and resume, frequency by PATCH."""

from twin.exchange import Request, Response, respond
from twin.firmware import take
from twin.look import Look
from twin.rpc import Json
from twin.site import Pool, Site, Unit

ACCOUNT = ""
_PLACES = ("stratum", "fallbackStratum")


class Bitaxe:
    """Answers for all Bitaxes of a site."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def http(self, unit: Unit, ask: Request, now_ms: int) -> Response:
        """One exchange."""
        if (ask.method, ask.path) == ("GET", "/api/system/info"):
            return respond(self._info(unit, self.site.look(unit)))
        if ask.method == "GET":
            return Response(404)
        if "write_404" in unit.faults:
            return Response(404)
        if "refuses_writes" in unit.faults:
            return respond({"error": "forbidden"}, 403)
        return self._write(unit, ask, now_ms)

    def _info(self, unit: Unit, look: Look) -> Json:
        model, machines = unit.model, self.site.machines
        mhz = model.frequency_hz / 1e6 * float(machines.want_w[unit.index] / machines.nominal_w[unit.index])
        return {
            "ASICModel": "BM1368", "asicCount": 1, "smallCoreCount": 1276, "boardVersion": "401", "version": unit.firmware,
            "hostname": unit.place.name, "macAddr": unit.place.mac, "power": round(look.power_w, 3), "voltage": 5175,
            "current": round(look.power_w / 5.175 * 1000, 1), "temp": round(look.chip_c, 2),
            "vrTemp": round(look.chip_c + 12),
            "hashRate": round(look.hashrate_hs / 1e9, 3), "expectedHashrate": round(look.nominal_hs / 1e9, 3),
            "frequency": round(mhz), "coreVoltage": 1166, "coreVoltageActual": 1172, "fanrpm": look.fan_rpm,
            "fanspeed": min(100, look.fan_rpm // 62), "autofanspeed": 1, "uptimeSeconds": look.uptime_s,
            "sharesAccepted": look.accepted, "sharesRejected": look.rejected, "bestDiff": "483k", "bestSessionDiff": "0",
            **_reported(unit.pools), "isUsingFallbackStratum": 0,
            "miningPaused": bool(machines.asleep[unit.index]), "overheat_mode": int(machines.tripped[unit.index]),
            "wifiStatus": "Connected!", "freeHeap": 8_443_612, "runningPartition": "factory", "idfVersion": "v5.4",
        }  # fmt: skip

    def _write(self, unit: Unit, ask: Request, now_ms: int) -> Response:
        site, body = self.site, ask.json()
        match ask.method, ask.path:
            case "POST", "/api/system/pause":
                site.sleep(unit, now_ms)
            case "POST", "/api/system/resume":
                site.wake(unit, now_ms)
            case "POST", "/api/system/restart":
                site.reboot(unit, now_ms, keeps_sleep=False)
            case "POST", "/api/system/OTA":
                problem = take(site, unit, ask.body, now_ms)
                if problem:
                    return Response(500, f"Validation / Activation Error: {problem}".encode(), "text/html")
                return Response(200, b"Firmware update complete, rebooting now!\n", "text/plain")
            case "POST", "/api/system/identify":
                site.locate(unit, True, now_ms)
            case "PATCH", "/api/system" if isinstance(body, dict):
                mhz = body.get("frequency")
                if isinstance(mhz, int | float) and 50 <= mhz <= 1000:
                    site.set_power(unit, unit.model.power_w * mhz * 1e6 / unit.model.frequency_hz, now_ms)
                pools = _pools(_reported(unit.pools) | body)
                if pools != unit.pools:
                    site.set_pools(unit, pools, now_ms)
            case _:
                return Response(404)
        return Response(200, b"OK", "text/plain")


def _reported(pools: list[Pool]) -> Json:
    reported: Json = {}
    for prefix, pool in zip(_PLACES, pools, strict=False):
        host, _, port = pool.url.partition("://")[2].partition(":")
        reported |= {f"{prefix}URL": host, f"{prefix}Port": int(port or 3333), f"{prefix}User": pool.user}
    return reported


def _pools(reported: Json) -> list[Pool]:
    return [
        Pool(
            f"stratum+tcp://{reported[f'{prefix}URL']}:{reported.get(f'{prefix}Port', 3333)}",
            str(reported.get(f"{prefix}User", "")),
        )
        for prefix in _PLACES
        if reported.get(f"{prefix}URL")
    ]
