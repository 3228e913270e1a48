# SPDX-License-Identifier: Apache-2.0
"""Bitaxe (AxeOS over HTTP, no password): one object holds all values; pause and resume since ESP-Miner 2.14."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from kernel.errors import DecodeError
from kernel.reading import Field
from kernel.receipt import Accepted, Receipt, Refused, Unsupported
from miner_control.dialect import bitaxe_answers, cgminer, image, web
from miner_control.fleet.command import (
    InstallFirmware,
    Intent,
    Locate,
    Pool,
    Reboot,
    RollBackFirmware,
    SetPools,
    Sleep,
    Wake,
)
from miner_control.fleet.driver import Access, Answer, Request
from telemetry.collect.source import Tier

PORT = 80
_INFO = ("system_info", "info")
# Answers of a release that lacks a path: no page, another method, or a redirect to the front page.
_NOT_THERE = ("302", "404", "405")
_NO_LONGER = b"no longer"
_LOCKED = "it answers those of its own network alone"
_PLACES = ("stratum", "fallbackStratum")
_TLS = ("stratum+ssl", "stratum+tls")


class Bitaxe:
    """AxeOS of Bitaxe and its relatives."""

    name = "bitaxe"

    def supports(self) -> frozenset[str]:
        return frozenset({"Sleep", "Wake", "Reboot", "Locate", "SetPools", "InstallFirmware"})

    def decode(self, answers: Mapping[str, Any], tier: Tier = Tier.DAILY) -> dict[str, Field]:
        """Values from the parsed answer of /api/system/info under the name `system_info`."""
        found = cgminer.documents(answers)
        info = next((found[name] for name in _INFO if name in found), None)
        if not info:
            raise DecodeError("system_info", "nothing of a Bitaxe")
        return bitaxe_answers.decode(info, tier)

    def read(self, access: Access, tier: Tier, now_ms: int) -> Generator[Request, Answer, Mapping[str, Field]]:
        answer = yield web.ask(access, PORT, "/api/system/info")
        return self.decode({"system_info": web.page(answer, "system_info", _LOCKED)}, tier)

    def prepare(self, access: Access, now_ms: int) -> Generator[Request, Answer, None]:
        """Nothing is needed in advance."""
        yield from ()

    def carry_out(self, access: Access, intent: Intent, now_ms: int) -> Generator[Request, Answer, Receipt]:
        method, body = "POST", None
        match intent:
            case Sleep():
                path = "/api/system/pause"
            case Wake():
                path = "/api/system/resume"
            case Reboot():
                path = "/api/system/restart"
            case Locate(True):
                path = "/api/system/identify"
            case Locate(False):
                return Unsupported("the device stops blinking by itself")
            case SetPools(pools) if pools:
                return (yield from self._pools(access, pools))
            case InstallFirmware():
                return (yield from self._install(access, intent))
            case RollBackFirmware():
                return Unsupported("AxeOS offers no way back to the other partition")
            case _:
                return Unsupported(f"AxeOS has no {type(intent).__name__}")
        answer = yield web.tell(access, PORT, method, path, body)
        if isinstance(intent, Locate) and _NO_LONGER in answer.body:
            # It was blinking already, and each call toggles it.
            answer = yield web.tell(access, PORT, method, path, body)
        receipt = web.accepted(answer)
        if isinstance(receipt, Refused) and receipt.code in _NOT_THERE and isinstance(intent, Sleep | Wake | Locate):
            return Unsupported(f"this AxeOS has no {path}: pause needs 2.14 or later")
        return receipt

    def _pools(self, access: Access, pools: Sequence[Pool]) -> Generator[Request, Answer, Receipt]:
        """Saved pools are reported at once but used only after a restart, which ends a pause: the next tick sleeps it again."""
        if len(pools) > len(_PLACES):
            return Refused("pools", f"AxeOS keeps two pools, not {len(pools)}")
        info = web.document((yield web.ask(access, PORT, "/api/system/info")), "system_info")
        settings = _pool_settings(pools, info if isinstance(info, dict) else {})
        if settings is None:
            return Unsupported("this AxeOS speaks to pools without TLS only")
        receipt = web.accepted((yield web.tell(access, PORT, "PATCH", "/api/system", settings)))
        if not isinstance(receipt, Accepted):
            return receipt
        return web.accepted((yield web.tell(access, PORT, "POST", "/api/system/restart")))

    def _install(self, access: Access, intent: InstallFirmware) -> Generator[Request, Answer, Receipt]:
        """The image itself is the body of `OTA`: the device writes it to its other partition, checks it and restarts.
        The pages of its web interface are an image of their own (`OTAWWW`) and stay unchanged."""
        refused = image.mismatch(intent)
        if refused is not None:
            return refused
        kind = {"Content-Type": "application/octet-stream"}
        return web.accepted((yield web.tell(access, PORT, "POST", "/api/system/OTA", (intent.data,), kind)))


def _pool_settings(pools: Sequence[Pool], info: Mapping[str, Any]) -> dict[str, Any] | None:
    """Settings of the first pool and its fallback; None where TLS is requested of a release without it.

    A single pool takes both places: an old one in the second would stay in use. TLS is a number in some releases (the kind of
    trusted certificates) and true or false in others.
    """
    settings: dict[str, Any] = {}
    for prefix, pool in zip(_PLACES, (*pools, *pools)[:2], strict=True):
        scheme, _, address = pool.url.rpartition("://")
        host, _, port = address.rpartition(":")
        settings |= {
            f"{prefix}URL": host or address,
            f"{prefix}Port": int(port) if host and port.isdigit() else 3333,
            f"{prefix}User": pool.user,
            f"{prefix}Password": pool.password,
        }
        reported, wanted = info.get(f"{prefix}TLS"), scheme in _TLS
        if isinstance(reported, int):
            kind = type(reported)
            settings[f"{prefix}TLS"] = (reported or kind(True)) if wanted else kind(False)
        elif wanted:
            return None
    return settings
