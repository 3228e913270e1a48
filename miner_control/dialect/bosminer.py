# SPDX-License-Identifier: Apache-2.0
"""Values from BOSminer's cgminer API: Braiins OS before 25.07, without gRPC.

SUMMARY and DEVS count in MH/s, TEMPS and DEVDETAILS are by board, TUNERSTATUS holds the tuner's estimate of power. A pause is
reported by the tuner's texts alone, and not by every release: without them a paused miner reads as one that stopped.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from kernel.errors import DecodeError
from kernel.reading import Field
from kernel.units import HS_PER_MHS, HZ_PER_MHZ
from miner_control.dialect import cgminer
from miner_control.dialect.evidence import state_of
from miner_control.dialect.figures import (
    ESTIMATE,
    NOT_APPLICABLE,
    NOT_REPORTED,
    SENTINEL,
    Values,
    first,
    part,
    plain,
    put,
    put_fans,
    put_max,
    put_schedules,
    put_text,
    put_window,
    settle,
    truth,
    whole,
)
from miner_control.dialect.pools import cgminer_pools, put_pools
from miner_control.dialect.web import entries
from telemetry.collect.source import Tier

SECTIONS = ("summary", "devs", "pools", "temps", "fans", "tunerstatus", "devdetails")
_WINDOWS = (("MHS 5s", 5.0), ("MHS 1m", 60.0), ("MHS 5m", 300.0), ("MHS 15m", 900.0), ("MHS av", None))
_FAULTY = re.compile(r"fail|error|invalid|broken", re.IGNORECASE)
# A frequency in MHz is below this, and one in Hz above: releases differ.
_MHZ_MOST = 1e5

Sections = Mapping[str, list[dict[str, Any]]]


def decode(answers: Mapping[str, Any], tier: Tier) -> dict[str, Field]:
    """Values of the answers that are there. Raises DecodeError where nothing of BOSminer is in them."""
    reported = {name: cgminer.section(answers.get(name) or {}, name.upper()) for name in SECTIONS}
    summary, tuner = (reported[name][0] if reported[name] else {} for name in ("summary", "tunerstatus"))
    if not any(reported.values()):
        refused = next((no for no in map(cgminer.refusal, filter(None, answers.values())) if no), None)
        raise DecodeError(
            "reply", f"refused with code {refused[0]}: {refused[1]}" if refused else "nothing of BOSminer"
        )
    values: Values = {}
    key, window_s = next(((key, window) for key, window in _WINDOWS if summary.get(key) is not None), ("", None))
    put(values, "hashrate_hs", summary.get(key), HS_PER_MHS)
    put_window(values, window_s, summary.get("Elapsed"))
    nominal = [figure for figure in (plain(dev.get("Nominal MHS")) for dev in reported["devs"]) if figure]
    put(values, "hashrate_nominal_hs", sum(nominal) if nominal else None, HS_PER_MHS)
    put(values, "uptime_s", summary.get("Elapsed"))
    _power(values, tuner)
    for metric, name in (
        ("shares_accepted", "Accepted"),
        ("shares_rejected", "Rejected"),
        ("shares_stale", "Stale"),
        ("hw_errors", "Hardware Errors"),
    ):
        put(values, metric, summary.get(name))
    put_max(values, "temp_board_max_c", (temp.get("Board") for temp in reported["temps"]))
    put_max(values, "temp_chip_max_c", (temp.get("Chip") for temp in reported["temps"]))
    put_fans(values, (fan.get("RPM") for fan in reported["fans"]))
    duty = [speed for speed in (plain(fan.get("Speed")) for fan in reported["fans"]) if speed is not None]
    put(values, "fan_duty_pct", max(duty) if duty else None)
    _boards(values, reported)
    put_pools(values, cgminer_pools(reported["pools"]), as_json=tier is not Tier.FAST)
    scaling = tuner.get("DynamicPowerScaling")
    scaled = {"enabled": True, **scaling} if isinstance(scaling, dict) else scaling
    put_schedules(values, tier, tuner, {"dps": scaled})
    values["mode"] = NOT_REPORTED
    _state(values, summary, entries(tuner.get("TunerChainStatus")), bool(tuner))
    if tier is not Tier.FAST:
        values["boards_json"] = _boards_json(reported)
    if tier is Tier.DAILY:
        version = next(iter(cgminer.section(answers.get("version") or {}, "VERSION")), {})
        models = (detail.get("Model") for detail in reported["devdetails"])
        model = next((str(name).removeprefix("Bitmain ") for name in models if name), None)
        put_text(values, "model", first(version, "Type", "Miner") or model)
        put_text(values, "firmware", first(version, "BOSminer+", "BOSminer", "BOSer"))
    return settle(values, tier)


def _power(values: Values, tuner: Mapping[str, Any]) -> None:
    put(values, "power_w", tuner.get("ApproximateMinerPowerConsumption"))
    hashing = values["hashrate_hs"]
    if values["power_w"] == 0 and isinstance(hashing, float | int) and hashing > 0:
        # A tuner that is off estimates zero.
        values["power_w"] = SENTINEL
    values["power_source"] = ESTIMATE if isinstance(values["power_w"], float | int) else NOT_REPORTED
    limits = (part(tuner, "DynamicPowerScaling").get("ScaledPowerLimit"), tuner.get("PowerLimit"))
    put(values, "power_limit_w", next((limit for limit in limits if plain(limit)), None))


def _boards(values: Values, reported: Sections) -> None:
    devs = reported["devs"]
    rates = [first(dev, "MHS 5s", "MHS 1m") for dev in devs]
    put(values, "boards_hashing", float(sum(1 for rate in rates if plain(rate))) if devs else None)
    put(values, "boards_expected", float(len(devs)) if devs else None)
    chips = [count for count in (plain(detail.get("Chips")) for detail in reported["devdetails"]) if count is not None]
    put(values, "chips_hashing", sum(chips) if chips else None)
    clocks = [_clock_hz(detail) for detail in reported["devdetails"] if _clock_hz(detail)]
    put(values, "frequency_hz", sum(clocks) / len(clocks) if clocks else None)
    volts = [volt for volt in (plain(detail.get("Voltage")) for detail in reported["devdetails"]) if volt]
    put(values, "voltage_v", sum(volts) / len(volts) if volts else None)


def _clock_hz(detail: Mapping[str, Any]) -> float:
    clock = plain(detail.get("Frequency")) or 0.0
    return clock if clock > _MHZ_MOST else clock * HZ_PER_MHZ


def _state(values: Values, summary: Mapping[str, Any], chains: list[dict[str, Any]], asked: bool) -> None:
    statuses = [str(chain.get("Status") or "").strip() for chain in chains]
    lower = [status.lower() for status in statuses]
    by_tuner = all(status == "paused" for status in lower) if lower else None
    values["state"] = state_of(
        values["hashrate_hs"],
        window_s=values["hashrate_window_s"],
        asleep=truth(first(summary, "Paused", "IsPaused")) or by_tuner,
        starting=any(status == "resuming" for status in lower) or None,
        tuning=any("tuning" in status or "testing" in status for status in lower),
        uptime=values["uptime_s"],
    )
    if values["state"] == "asleep":
        values["hashrate_window_s"] = NOT_APPLICABLE
    faults = [
        f"board {chain.get('HashchainIndex', at)} {status}"
        for at, (chain, status) in enumerate(zip(chains, statuses, strict=True))
        if _FAULTY.search(status)
    ]
    values["error_text"] = "; ".join(faults) if asked else NOT_REPORTED


def _boards_json(reported: Sections) -> str:
    heat = {str(temp.get("ID")): temp for temp in reported["temps"]}
    details = {str(detail.get("ID")): detail for detail in reported["devdetails"]}
    listed = []
    for at, dev in enumerate(reported["devs"]):
        temps, detail = heat.get(str(dev.get("ID")), {}), details.get(str(dev.get("ID")), {})
        listed.append(
            {
                "board": whole(first(dev, "ID", "ASC"), at),
                "hashrate_hs": plain(first(dev, "MHS 5s", "MHS 1m"), HS_PER_MHS),
                "hashrate_nominal_hs": plain(dev.get("Nominal MHS"), HS_PER_MHS),
                "hw_errors": plain(dev.get("Hardware Errors")),
                "chips": plain(detail.get("Chips")),
                "frequency_hz": _clock_hz(detail) or None,
                "temps_board_c": [temp for temp in [plain(temps.get("Board"))] if temp],
                "temps_chip_c": [temp for temp in [plain(temps.get("Chip"))] if temp],
                "state": str(dev.get("Status", "")).lower(),
            }
        )
    return orjson.dumps(listed).decode()
