# SPDX-License-Identifier: Apache-2.0
"""Bitaxe (AxeOS over HTTP, no password): one object tells all; pause and resume since ESP-Miner 2.14."""

from collections.abc import Generator, Mapping
from typing import Any

import orjson

from kernel.errors import DecodeError
from kernel.reading import Field
from kernel.receipt import Receipt, Refused, Unsupported
from miner_control.command import (
    InstallFirmware,
    Intent,
    Locate,
    Reboot,
    RollBackFirmware,
    SetPools,
    Sleep,
    Wake,
)
from miner_control.dialect import cgminer, image, web
from miner_control.dialect.evidence import LAG_S, state_of
from miner_control.dialect.figures import (
    NOT_APPLICABLE,
    NOT_REPORTED,
    PSU,
    SENTINEL,
    UNSUPPORTED,
    Values,
    first,
    plain,
    put,
    put_fans,
    put_mac,
    put_max,
    put_text,
    settle,
    truth,
)
from miner_control.dialect.pools import PoolSeen, put_pools
from miner_control.dialect.web import entries
from miner_control.driver import Access, Answer, Request
from telemetry.source import Tier

PORT = 80
_STANDBY_W = 8.0
_WINDOWS = (("hashRate", None), ("hashRate_1m", 60.0), ("hashRate_10m", 600.0), ("hashRate_1h", 3600.0))
_INFO = ("system_info", "info")
_FAMILIES = {"1": "Max", "2": "Ultra", "4": "Supra", "6": "Gamma"}
_CHIPS = {"Max": "BM1397", "Ultra": "BM1366", "Supra": "BM1368", "Gamma": "BM1370"}


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
        return _decode(info, tier)

    def read(self, access: Access, tier: Tier, now_ms: int) -> Generator[Request, Answer, Mapping[str, Field]]:
        answer = yield web.ask(access, PORT, "/api/system/info")
        return self.decode({"system_info": web.document(answer, "system_info")}, tier)

    def prepare(self, access: Access, now_ms: int) -> Generator[Request, Answer, None]:
        """Nothing is needed beforehand."""
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
                method, path, body = "PATCH", "/api/system", _pool_settings(pools)
            case InstallFirmware():
                return (yield from self._install(access, intent))
            case RollBackFirmware():
                return Unsupported("AxeOS offers no way back to the other partition")
            case _:
                return Unsupported(f"AxeOS has no {type(intent).__name__}")
        answer = yield web.tell(access, PORT, method, path, body)
        receipt = web.accepted(answer)
        if (
            isinstance(receipt, Refused)
            and receipt.code in ("404", "405")
            and isinstance(intent, Sleep | Wake | Locate)
        ):
            return Unsupported(f"this AxeOS has no {path}: pause needs 2.14 or later")
        return receipt

    def _install(self, access: Access, intent: InstallFirmware) -> Generator[Request, Answer, Receipt]:
        """The image itself is the body of `OTA`: the device writes it to its other partition, checks it and restarts.
        The pages of its web interface are an image of their own (`OTAWWW`) and stay as they are."""
        refused = image.mismatch(intent)
        if refused is not None:
            return refused
        kind = {"Content-Type": "application/octet-stream"}
        return web.accepted((yield web.tell(access, PORT, "POST", "/api/system/OTA", (intent.data,), kind)))


def _pool_settings(pools: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for pool, names in zip(pools[:2], (("stratumURL", "stratumPort", "stratumUser", "stratumPassword"),
                                       ("fallbackStratumURL", "fallbackStratumPort", "fallbackStratumUser",
                                        "fallbackStratumPassword")), strict=False):  # fmt: skip
        address = pool.url.split("://")[-1]
        host, _, port = address.rpartition(":")
        settings |= dict(
            zip(
                names,
                (host or address, int(port) if host and port.isdigit() else 3333, pool.user, pool.password),
                strict=True,
            )
        )
    return settings


def _decode(info: Mapping[str, Any], tier: Tier) -> dict[str, Field]:
    values: Values = {}
    for key, window_s in _WINDOWS:
        if info.get(key) is not None:
            put(values, "hashrate_hs", info[key], 1e9)
            values["hashrate_window_s"] = window_s if window_s else NOT_REPORTED
            break
    else:
        values["hashrate_hs"] = values["hashrate_window_s"] = NOT_REPORTED
    put(values, "hashrate_nominal_hs", info.get("expectedHashrate"), 1e9)
    put(values, "uptime_s", info.get("uptimeSeconds"))
    put(values, "power_w", info.get("power"))
    values["power_source"] = PSU if isinstance(values["power_w"], float | int) else NOT_REPORTED
    values["power_limit_w"] = UNSUPPORTED
    listed = info.get("asicTemps")
    chips = [info.get("temp"), info.get("temp2"), *(listed if isinstance(listed, list) else [])]
    put_max(values, "temp_chip_max_c", (_sensor(raw) for raw in chips))
    if values["temp_chip_max_c"] is NOT_REPORTED and any((plain(raw) or 0.0) < 0 for raw in chips):
        values["temp_chip_max_c"] = SENTINEL
    # The regulator is the hottest place of the board that is measured.
    put_max(values, "temp_board_max_c", [_sensor(first(info, "vrTemp", "boardtemp1"))])
    fans = entries(info.get("fans"))
    rpms = [fan.get("rpm") for fan in fans] or [info.get("fanrpm"), first(info, "fan2rpm", "fanrpm2")]
    count = plain(info.get("fanCount"))
    if count is not None and not fans:
        # A second fan that is not there is written as standing still.
        rpms = rpms[: int(count)]
    put_fans(values, (rpm for rpm in rpms if rpm is not None and rpm != -1))
    put(values, "fan_duty_pct", first(info, "fanspeed", "fanSpeed") if not fans else fans[0].get("percent"))
    put(values, "voltage_v", info.get("voltage"), 1e-3 if (plain(info.get("voltage")) or 0.0) > 100 else 1.0)
    put(values, "frequency_hz", info.get("frequency"), 1e6)
    put(values, "shares_accepted", info.get("sharesAccepted"))
    put(values, "shares_rejected", info.get("sharesRejected"))
    values["shares_stale"] = UNSUPPORTED
    values["boards_expected"] = 1.0
    values["boards_hashing"] = (
        float(bool(plain(info.get("hashRate")))) if info.get("hashRate") is not None else NOT_REPORTED
    )
    put(values, "chips_expected", info.get("asicCount"))
    _pools(values, info, tier)
    hot = truth(info.get("overheat_mode"))
    paused = truth(first(info, "miningPaused", "isPaused", "paused", "mining_paused"))
    failure = first(info, "power_fault", "hardware_fault", "powerFault")
    values["mode"] = NOT_REPORTED
    # The rate is a mean over minutes that the firmware does not name: what it says of itself counts for more, but for a
    # pause that its own power sensor contradicts.
    drawn = plain(info.get("power"))
    # NerdQAxe's word for boards that are off, by heat, by a fault or by hand: it does not say which, so it is no sleep.
    shut = truth(info.get("shutdown"))
    told = (paused and (drawn is None or drawn < _STANDBY_W)) or hot or bool(failure) or shut
    values["state"] = state_of(
        values["hashrate_hs"],
        window_s=LAG_S if told else None,
        asleep=paused,
        stopped=(shut and not hot and not failure) or None,
        fault=hot or bool(failure) or None,
        uptime=values["uptime_s"],
    )
    if values["state"] == "asleep":
        values["hashrate_window_s"] = NOT_APPLICABLE
    texts = [
        *(["overheat mode"] if hot else []), *(["shutdown"] if shut else []), *([str(failure)] if failure else []),
    ]  # fmt: skip
    values["error_text"] = "; ".join(texts) if hot is not None or shut is not None or failure else NOT_REPORTED
    if tier is not Tier.FAST:
        board = {"board": 0, "hashrate_hs": plain(info.get("hashRate"), 1e9), "chips": plain(info.get("asicCount"))}
        values["boards_json"] = orjson.dumps([board]).decode()
    if tier is Tier.DAILY:
        values["make"] = "bitaxe"
        put_text(values, "model", info.get("deviceModel") or _model(info))
        put_text(values, "firmware", first(info, "version", "axeOSVersion"))
        values["serial"] = UNSUPPORTED
        put_mac(values, info.get("macAddr"))
    return settle(values, tier)


def _model(info: Mapping[str, Any]) -> str | None:
    """The name under which a board of that number is sold (ESP-Miner's own table); the chip's name is no model."""
    board = str(info.get("boardVersion") or "").strip()
    family = _FAMILIES.get(board[:1]) if len(board) == 3 and board.isdigit() else None
    return f"Bitaxe {family} {board}" if family and str(info.get("ASICModel")) == _CHIPS[family] else None


def _sensor(raw: Any) -> Any:
    """-1 is the mark of a sensor that is not there."""
    return None if (plain(raw) or 0.0) < 0 else raw


def _pools(values: Values, info: Mapping[str, Any], tier: Tier) -> None:
    fallback = bool(truth(info.get("isUsingFallbackStratum")))
    accepted, rejected = plain(info.get("sharesAccepted")), plain(info.get("sharesRejected"))
    pools = []
    for index, prefix in enumerate(("stratum", "fallbackStratum")):
        host, port = info.get(f"{prefix}URL"), info.get(f"{prefix}Port")
        if not host:
            continue
        active = fallback == bool(index)
        url = f"stratum+tcp://{host}:{port}" if port and "://" not in str(host) else str(host)
        user = str(info.get(f"{prefix}User") or "")
        pools.append(
            PoolSeen(url, user, None, active, index, accepted if active else None, rejected if active else None, None)
        )
    put_pools(values, pools, as_json=tier is not Tier.FAST)
