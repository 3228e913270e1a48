# SPDX-License-Identifier: Apache-2.0
"""ePIC UMC (HTTP on 4028): one `summary` holds all values; each write carries the password and answers `result`.

A power target goes to the tuner: in watts where it offers the algorithm for that (`Power`, by 1.38 `PowerTune`), else as the
hashrate of the greatest preset at or below that power. `Idling` is sleep only where a Stop, or an idle hour of its own, was
the reason: a miner that lost its pool idles too.
"""

from collections.abc import Generator, Mapping
from typing import Any

from kernel.errors import DecodeError, TransportError
from kernel.reading import Field
from kernel.receipt import Accepted, Receipt, Refused, Unsupported
from miner_control.dialect import cgminer, epic_answers, image, web
from miner_control.dialect.figures import plain
from miner_control.fleet.command import (
    InstallFirmware,
    Intent,
    Locate,
    PowerTarget,
    Reboot,
    RollBackFirmware,
    SetCredential,
    SetPools,
    Sleep,
    Wake,
)
from miner_control.fleet.driver import Access, Answer, Request
from telemetry.collect.source import Tier

PORT = 4028
_SLOW = ("temps", "temps/chip")
_DAILY = ("capabilities", "network")
# Capabilities needed by a command or to interpret a poll; kept small, since it is held for each of thousands of miners.
_KEPT = ("PerpetualTune", "Tune Presets", "Psu Info", "Temp Sensor Info")


class Epic:
    """ePIC's UMC control board firmware (PowerPlay)."""

    name = "epic"

    def supports(self) -> frozenset[str]:
        return frozenset(
            {"Sleep", "Wake", "PowerTarget", "Reboot", "Locate", "SetPools", "SetCredential", "InstallFirmware"}
        )

    def decode(self, answers: Mapping[str, Any], tier: Tier = Tier.DAILY) -> dict[str, Field]:
        """Values from parsed answers by path: summary, temps, chip_temps, capabilities, network."""
        return epic_answers.decode(cgminer.documents(answers, lists=("temps", "chip_temps", "temps_chip")), tier)

    def read(self, access: Access, tier: Tier, now_ms: int) -> Generator[Request, Answer, Mapping[str, Field]]:
        answers: dict[str, Any] = {"summary": web.page((yield web.ask(access, PORT, "/summary")), "summary")}
        names = {Tier.FAST: (), Tier.SLOW: _SLOW, Tier.DAILY: _SLOW + _DAILY}[tier]
        for name in names:
            try:
                page = web.document((yield web.ask(access, PORT, f"/{name}")), name)
            except (TransportError, DecodeError):
                continue
            answers[name.replace("/", "_")] = page
        found = answers.get("capabilities")
        if isinstance(found, dict):
            access.memory["capabilities"] = _kept(found)
        answers["known"] = access.memory.get("capabilities") or {}
        return self.decode(answers, tier)

    def prepare(self, access: Access, now_ms: int) -> Generator[Request, Answer, None]:
        """Read what the tuner offers; a power target then costs one exchange."""
        yield from self._capabilities(access)

    def carry_out(self, access: Access, intent: Intent, now_ms: int) -> Generator[Request, Answer, Receipt]:
        param: Any
        match intent:
            case Sleep():
                path, param = "miner", "Stop"
            case Wake():
                path, param = "miner", "Autostart"
            case PowerTarget(power_w):
                capabilities = yield from self._capabilities(access)
                algorithm = _tuning(capabilities, power_w)
                if algorithm is None:
                    return Refused("preset", f"the tuner offers nothing at or below {power_w:.0f} W")
                path, param = "perpetualtune/algo", algorithm
            case Reboot():
                path, param = "reboot", 0
            case Locate(on):
                path, param = "identify", on
            case SetPools(pools):
                configs = [{"pool": pool.url, "login": pool.user, "password": pool.password} for pool in pools]
                path, param = "coin", {"coin": "BTC", "stratum_configs": configs[:3]}
            case SetCredential(password=password):
                path, param = "password", password
            case InstallFirmware():
                return (yield from self._install(access, intent))
            case RollBackFirmware():
                return Unsupported(f"ePIC firmware {image.KEEPS_NONE}")
            case _:
                return Unsupported(f"ePIC firmware has no {type(intent).__name__}")
        body = {"param": param, "password": access.password}
        return _receipt((yield web.tell(access, PORT, "POST", f"/{path}", body)))

    def _install(self, access: Access, intent: InstallFirmware) -> Generator[Request, Answer, Receipt]:
        """`systemupdate` is a form: password, SHA-256, whether settings are kept, and the image as `update.zip`."""
        refused = image.mismatch(intent)
        if refused is not None:
            return refused
        fields = (("password", access.password), ("checksum", intent.sha256.lower()), ("keepsettings", "true"))
        headers, body = image.multipart(fields, "update.zip", "update.zip", intent, "application/zip")
        return _receipt((yield web.tell(access, PORT, "POST", "/systemupdate", body, headers)))

    def _capabilities(self, access: Access) -> Generator[Request, Answer, dict[str, Any]]:
        held = access.memory.get("capabilities")
        if isinstance(held, dict):
            return held
        found = web.document((yield web.ask(access, PORT, "/capabilities")), "capabilities")
        if not isinstance(found, dict):
            raise DecodeError("capabilities", "expected an object")
        access.memory["capabilities"] = kept = _kept(found)
        return kept


def _kept(capabilities: Mapping[str, Any]) -> dict[str, Any]:
    return {key: capabilities[key] for key in _KEPT if key in capabilities}


def _tuning(capabilities: Mapping[str, Any], power_w: float) -> dict[str, Any] | None:
    offered = [str(entry.get("algorithm")) for entry in web.entries(capabilities.get("PerpetualTune"))]
    in_watts = next((name for name in epic_answers.IN_WATTS if name in offered), None)
    if in_watts is not None:
        return {"algo": in_watts, "target": round(power_w)}
    reported = [
        (plain(entry.get("power")), plain(entry.get("hashrate")))
        for entry in web.entries(capabilities.get("Tune Presets"))
    ]
    presets = [(power, rate) for power, rate in reported if power and rate and power <= power_w]
    if not presets or not offered:
        return None
    algorithm = next((name for name in ("VoltageOptimizer", "BoardTune", "ChipTune") if name in offered), offered[0])
    return {"algo": algorithm, "target": round(max(presets)[1])}


def _receipt(answer: Answer) -> Receipt:
    """Status 200 alone is no acceptance: `result` must be true."""
    if not 200 <= answer.status < 300:
        return web.refused(answer)
    reported = web.document(answer, "result")
    if isinstance(reported, dict) and reported.get("result") is True:
        return Accepted()
    error = reported.get("error") if isinstance(reported, dict) else reported
    return Refused("result", epic_answers.error_text(error))
