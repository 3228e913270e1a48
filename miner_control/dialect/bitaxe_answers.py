# SPDX-License-Identifier: Apache-2.0
"""Values from the answers of a Bitaxe and its relatives.

AxeOS reports all values on one level, NerdQAxe adds lists of pools and a shutdown flag, NMAxe has the same in groups.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from kernel.errors import DecodeError
from kernel.reading import Field
from kernel.units import HS_PER_GHS, HZ_PER_MHZ
from miner_control.dialect.evidence import LAG_S, state_of
from miner_control.dialect.figures import (
    NOT_APPLICABLE,
    NOT_REPORTED,
    PSU,
    SENTINEL,
    UNSUPPORTED,
    Values,
    first,
    part,
    plain,
    put,
    put_fans,
    put_mac,
    put_max,
    put_text,
    settle,
    spelt,
    truth,
)
from miner_control.dialect.pools import ALIVE, DEAD, ReportedPool, put_pools
from miner_control.dialect.web import entries, nested
from telemetry.collect.source import Tier

# A working chip draws more, the board of a paused one less.
_STANDBY_W = 8.0
_COOL_C = 40.0
_LEAST_J_PER_H = 8e-12
"""No board of this kind needs so little for a hash: the best chip of 2026 alone takes more than ten joules a terahash."""
_WINDOWS = (("hashRate", None), ("hashRate_1m", 60.0), ("hashRate_10m", 600.0), ("hashRate_1h", 3600.0))
_FAMILIES = {"1": "Max", "2": "Ultra", "4": "Supra", "6": "Gamma"}
_CHIPS = {"Max": "BM1397", "Ultra": "BM1366", "Supra": "BM1368", "Gamma": "BM1370"}
_MARKS = ("hashRate", "ASICModel", "macAddr", "MACAddr")
# Keys of NMAxe for the AxeOS names. Its rate is a mean over three minutes.
_GROUPED = {
    "hashRate": ("miner", "hashRate"), "uptimeSeconds": ("miner", "uptimeSeconds"), "sharesAccepted": ("miner", "sAccepted"),
    "sharesRejected": ("miner", "sRejected"), "power": ("power", "power"), "voltage": ("power", "vbus"),
    "temp": ("temps", "asic"), "vrTemp": ("temps", "vcore"), "asicCount": ("asic", "count"), "ASICModel": ("asic", "model"),
    "frequency": ("asic", "freqReq"), "deviceModel": ("identity", "hwModel"), "version": ("identity", "fwVersion"),
    "stratumURL": ("stratum", "url"), "stratumUser": ("stratum", "user"), "fans": ("fans",),
}  # fmt: skip
_GROUPED_WINDOW_S = 180.0
_UNCONNECTED = ("not connected", "disconnected")


def decode(answer: Mapping[str, Any], tier: Tier) -> dict[str, Field]:
    """Values of /api/system/info. Raises DecodeError where it holds nothing of a Bitaxe."""
    grouped = isinstance(answer.get("miner"), Mapping)
    info = {key: nested(answer, *path) for key, path in _GROUPED.items()} if grouped else answer
    if not any(info.get(mark) is not None for mark in _MARKS):
        raise DecodeError("system_info", "nothing of a Bitaxe")
    values: Values = {}
    for key, window_s in _WINDOWS:
        if info.get(key) is not None:
            put(values, "hashrate_hs", info[key], HS_PER_GHS)
            values["hashrate_window_s"] = window_s or (_GROUPED_WINDOW_S if grouped else NOT_REPORTED)
            break
    else:
        values["hashrate_hs"] = values["hashrate_window_s"] = NOT_REPORTED
    put(values, "hashrate_nominal_hs", info.get("expectedHashrate"), HS_PER_GHS)
    put(values, "uptime_s", info.get("uptimeSeconds"))
    put(values, "power_w", info.get("power"))
    values["power_source"] = PSU if isinstance(values["power_w"], float | int) else NOT_REPORTED
    values["power_limit_w"] = UNSUPPORTED
    listed = info.get("asicTemps")
    chips = [info.get("temp"), info.get("temp2"), *(listed if isinstance(listed, list) else [])]
    put_max(values, "temp_chip_max_c", (_sensor(raw) for raw in chips))
    if values["temp_chip_max_c"] is NOT_REPORTED and any((plain(raw) or 0.0) < 0 for raw in chips):
        values["temp_chip_max_c"] = SENTINEL
    # The regulator is the hottest measured place of the board.
    put_max(values, "temp_board_max_c", [_sensor(first(info, "vrTemp", "boardtemp1"))])
    _fans(values, info)
    put(values, "voltage_v", info.get("voltage"), 1e-3 if (plain(info.get("voltage")) or 0.0) > 100 else 1.0)
    put(values, "frequency_hz", info.get("frequency"), HZ_PER_MHZ)
    put(values, "shares_accepted", info.get("sharesAccepted"))
    put(values, "shares_rejected", info.get("sharesRejected"))
    values["shares_stale"] = UNSUPPORTED
    values["boards_expected"] = 1.0
    values["boards_hashing"] = (
        float(bool(plain(info.get("hashRate")))) if info.get("hashRate") is not None else NOT_REPORTED
    )
    _chips(values, info)
    _pools(values, info, tier)
    hot = truth(info.get("overheat_mode"))
    paused = truth(first(info, "miningPaused", "isPaused", "paused", "mining_paused"))
    failure = first(info, "power_fault", "hardware_fault", "powerFault")
    put_text(values, "mode", info.get("autotune_preset") if truth(info.get("autotune")) else None)
    # The rate is a mean over unnamed minutes: the reported state has priority over it, except for a pause that contradicts
    # its own power sensor.
    drawn = plain(info.get("power"))
    # NerdQAxe reports boards that are off, by heat, by a fault or by hand, without the cause: no proof of sleep.
    shut = truth(info.get("shutdown"))
    idle = drawn is None or drawn < _STANDBY_W * max(1.0, plain(info.get("asicCount")) or 1.0)
    # A rate that its own watts and its chip's temperature deny stands still: the figure of before something stopped. A warm
    # chip speaks for the rate, and against the sensor of power.
    rate, chip_c = values["hashrate_hs"], values["temp_chip_max_c"]
    cool = isinstance(chip_c, int | float) and chip_c < _COOL_C
    denied = cool and isinstance(rate, int | float) and drawn is not None and drawn < rate * _LEAST_J_PER_H
    reported = (paused and idle) or hot or bool(failure) or shut or denied
    values["state"] = state_of(
        values["hashrate_hs"],
        window_s=LAG_S if reported else None,
        asleep=paused,
        stopped=(shut and not hot and not failure) or None,
        fault=hot or bool(failure) or (denied and not paused) or None,
        uptime=values["uptime_s"],
    )
    if values["state"] == "asleep":
        values["hashrate_window_s"] = NOT_APPLICABLE
    texts = [
        *(["overheat mode"] if hot else []), *(["shutdown"] if shut else []), *([str(failure)] if failure else []),
    ]  # fmt: skip
    values["error_text"] = "; ".join(texts) if hot is not None or shut is not None or failure else NOT_REPORTED
    if tier is not Tier.FAST:
        count = values["chips_expected"]
        board = {"board": 0, "hashrate_hs": plain(info.get("hashRate"), HS_PER_GHS),
                 "chips": count if isinstance(count, float | int) else None}  # fmt: skip
        values["boards_json"] = orjson.dumps([board]).decode()
    if tier is Tier.DAILY:
        values["make"] = "bitaxe"
        put_text(values, "model", info.get("deviceModel") or _model(info))
        put_text(values, "firmware", first(info, "version", "axeOSVersion"))
        # A fork's own boards have one; AxeOS has no such key.
        values["serial"] = spelt(info.get("serialnumber")) or UNSUPPORTED
        put_mac(values, first(info, "macAddr", "MACAddr"))
    return settle(values, tier)


def _model(info: Mapping[str, Any]) -> str | None:
    """The trade name of a board number (ESP-Miner's own table); the chip's name is no model."""
    board = str(info.get("boardVersion") or "").strip()
    family = _FAMILIES.get(board[:1]) if len(board) == 3 and board.isdigit() else None
    return f"Bitaxe {family} {board}" if family and str(info.get("ASICModel")) == _CHIPS[family] else None


def _sensor(raw: Any) -> Any:
    """-1 marks an absent sensor."""
    return None if (plain(raw) or 0.0) < 0 else raw


def _fans(values: Values, info: Mapping[str, Any]) -> None:
    fans = entries(info.get("fans"))
    if fans:
        put_fans(values, (fan.get("rpm") for fan in fans))
        put(values, "fan_duty_pct", first(fans[0], "percent", "speed"))
        return
    rpms = [info.get("fanrpm"), first(info, "fan2rpm", "fanrpm2")]
    count = plain(info.get("fanCount"))
    if count is not None:
        rpms = rpms[: int(count)]
    elif not plain(rpms[1]):
        # Boards with one fan report a second at zero; only a count proves a second fan.
        rpms.pop()
    put_fans(values, (rpm for rpm in rpms if rpm is not None and rpm != -1))
    put(values, "fan_duty_pct", first(info, "fanspeed", "fanSpeed"))


def _chips(values: Values, info: Mapping[str, Any]) -> None:
    """Chip figures: releases since 2.11 report the rate and the error count of each chip."""
    watched = entries(part(info, "hashrateMonitor").get("asics"))
    put(values, "chips_expected", info.get("asicCount") or (float(len(watched)) if watched else None))
    rates = [rate for rate in (plain(chip.get("total")) for chip in watched) if rate is not None]
    put(values, "chips_hashing", float(sum(1 for rate in rates if rate > 0)) if rates else None)
    errors = [count for count in (plain(chip.get("errorCount")) for chip in watched) if count is not None]
    put(values, "hw_errors", sum(errors) if errors else None)


def _address(host: str, port: Any, tls: bool) -> str:
    """The host with scheme and port, unless it contains them."""
    scheme, mark, rest = host.rpartition("://")
    if port and ":" not in rest.rpartition("]")[2]:
        rest = f"{rest}:{port}"
    elif not mark:
        return rest
    return f"{scheme or ('stratum+ssl' if tls else 'stratum+tcp')}://{rest}"


def _pools(values: Values, info: Mapping[str, Any], tier: Tier) -> None:
    manager = part(info, "stratum")
    fallback = bool(truth(first(info, "isUsingFallbackStratum") or manager.get("usingFallback")))
    seen = entries(manager.get("pools"))
    # A release that lists one entry lists the pool that is used.
    places = seen if len(seen) != 1 else [{}, *seen] if fallback else seen
    connection = str(info.get("poolConnectionInfo") or "").strip().lower()
    online = truth(info.get("isStratumConnected")) if not connection else connection not in _UNCONNECTED
    pools = []
    for index, prefix in enumerate(("stratum", "fallbackStratum")):
        more = places[index] if index < len(places) else {}
        host = info.get(f"{prefix}URL") or more.get("host")
        if not host:
            continue
        reported = truth(more.get("active"))
        active = fallback == bool(index) if reported is None else reported
        connected = truth(more["connected"]) if "connected" in more else online
        # A pool in reserve is not connected on purpose: its state is unknown.
        state = None if connected is None or not active else ALIVE if connected else DEAD
        port, tls = info.get(f"{prefix}Port") or more.get("port"), bool(truth(info.get(f"{prefix}TLS")))
        shares = [first(more, name) for name in ("accepted", "rejected")]
        if active and shares == [None, None]:
            shares = [info.get("sharesAccepted"), info.get("sharesRejected")]
        user = str(first(info, f"{prefix}User") or more.get("user") or "")
        pools.append(
            ReportedPool(
                _address(str(host), port, tls), user, state, active, index, plain(shares[0]), plain(shares[1]), None
            )
        )
    if len({(pool.url, pool.user) for pool in pools}) == 1 and not all(pool.active for pool in pools):
        pools = [pool for pool in pools if pool.active] or pools  # one pool in both places
    put_pools(values, pools, as_json=tier is not Tier.FAST)
