# SPDX-License-Identifier: Apache-2.0
"""Values from Auradine answers: GCMiner sections; the supply's figures carry units, `"58.94W"`."""

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
    PSU,
    Values,
    first,
    plain,
    put,
    put_fans,
    put_mac,
    put_max,
    put_text,
    put_window,
    settle,
    truth,
    whole,
)
from miner_control.dialect.pools import cgminer_pools, put_pools
from miner_control.dialect.web import entries
from telemetry.collect.source import Tier

_SECTIONS = {
    "summary": "SUMMARY", "psu": "PSU", "mode": "Mode", "temperature": "Temperature", "fan": "Fan", "devs": "DEVS",
    "pools": "POOLS", "asccount": "ASCCount", "led": "LED", "ipreport": "IPReport", "version": "VERSION",
    "frequency": "Frequency",
}  # fmt: skip
_WINDOWS = (("MHS 5s", 5.0), ("MHS 1m", 60.0), ("MHS 5m", 300.0), ("MHS 15m", 900.0), ("MHS av", None))
# Codes of the LED: healthy, or a fault with the maker's name for it. 101 and 102 are the user's own messages.
_LED_WELL = (2, 3, 101, 102)
_LED_FAULTS = {
    1: "no power", 4: "temperature", 5: "pool configuration", 6: "network", 7: "control board", 8: "hash rate low",
}  # fmt: skip
_LED_NORMAL = ("normal", "locate", "")


def has_section(answers: Mapping[str, Any], command: str) -> bool:
    """Whether the answer to a command holds its section: one interface refuses what the other reports."""
    document = answers.get(command)
    return isinstance(document, Mapping) and _SECTIONS[command] in document


def decode(answers: Mapping[str, Any], tier: Tier) -> dict[str, Field]:
    """Values of the given answers. Raises DecodeError where they hold nothing of an Auradine."""
    reported = {name: cgminer.section(answers.get(name) or {}, section) for name, section in _SECTIONS.items()}
    if not any(reported.values()):
        refused = next((no for no in map(cgminer.refusal, filter(None, answers.values())) if no), None)
        raise DecodeError(
            "reply", f"refused with code {refused[0]}: {refused[1]}" if refused else "nothing of an Auradine"
        )
    summary, mode = (reported[name][0] if reported[name] else {} for name in ("summary", "mode"))
    values: Values = {}
    for key, window_s in _WINDOWS:
        if summary.get(key) is not None:
            put(values, "hashrate_hs", summary[key], HS_PER_MHS)
            put_window(values, window_s, summary.get("Elapsed"))
            break
    else:
        rates = [
            rate for rate in (plain(first(dev, "MHS 5s", "MHS av")) for dev in reported["devs"]) if rate is not None
        ]
        put(values, "hashrate_hs", sum(rates) if rates else None, HS_PER_MHS)
        values["hashrate_window_s"] = NOT_REPORTED
    put(values, "hashrate_nominal_hs", None)
    put(values, "uptime_s", summary.get("Elapsed"))
    drawn = [
        watts for watts in (plain(first(supply, "PowerIn", "Pin")) for supply in reported["psu"]) if watts is not None
    ]
    # The summary of later releases reports watts too, of unknown origin.
    put(values, "power_w", sum(drawn) if drawn else summary.get("Wattage"))
    known = isinstance(values["power_w"], float | int)
    values["power_source"] = NOT_REPORTED if not known else PSU if drawn else ESTIMATE
    # In the mode custom, `Power` is the target where the tuning is by power; elsewhere it is the mode's expected draw.
    put(values, "power_limit_w", first(mode, "Power") if str(mode.get("Tune", "power")).lower() == "power" else None)
    put(values, "hw_errors", summary.get("Hardware Errors"))
    for metric, key in (("shares_accepted", "Accepted"), ("shares_rejected", "Rejected"), ("shares_stale", "Stale")):
        if key in summary:
            put(values, metric, summary[key])
    _heat(values, answers, reported)
    if reported["devs"] or reported["asccount"] or tier is not Tier.FAST:
        _boards(values, reported, tier)
    if reported["pools"] or tier is not Tier.FAST:
        put_pools(values, cgminer_pools(reported["pools"]), as_json=tier is not Tier.FAST)
    put_text(values, "mode", str(mode["Mode"]).lower() if mode.get("Mode") else None)
    led = reported["led"][0] if reported["led"] else {}
    lamp, bad = whole(led.get("Code"), -1), str(led.get("Msg") or "").strip()
    bad = bad or _LED_FAULTS.get(lamp, "")
    faulty = lamp not in _LED_WELL and bad.lower() not in _LED_NORMAL
    values["state"] = state_of(
        values["hashrate_hs"],
        window_s=values["hashrate_window_s"],
        asleep=truth(mode.get("Sleep")),
        fault=faulty or None,
        uptime=values["uptime_s"],
    )
    if values["state"] == "asleep":
        values["hashrate_window_s"] = NOT_APPLICABLE
    if led or tier is not Tier.FAST:
        values["error_text"] = f"LED {led.get('Code', '')} {bad}" if faulty else "" if led else NOT_REPORTED
    if tier is Tier.DAILY:
        report = reported["ipreport"][0] if reported["ipreport"] else {}
        version = reported["version"][0] if reported["version"] else {}
        values["make"] = "auradine"
        put_text(values, "model", report.get("model"))
        put_text(values, "firmware", first(report, "version") or first(version, "FluxOS", "GCMiner"))
        put_text(values, "serial", first(report, "ChassisSerialNo", "SerialNo"))
        put_mac(values, report.get("mac"))
    return settle(values, tier)


def _heat(values: Values, answers: Mapping[str, Any], reported: Mapping[str, list[dict[str, Any]]]) -> None:
    boards = [group for group in reported["temperature"] if "control" not in str(group.get("Name", "")).lower()]
    on_board = [sensor.get("Temperature") for group in boards for sensor in entries(group.get("BoardTemp"))]
    put_max(values, "temp_board_max_c", on_board or [dev.get("Temperature") for dev in reported["devs"]])
    put_max(
        values,
        "temp_chip_max_c",
        (sensor.get("Temperature") for group in boards for sensor in entries(group.get("ChipTemp"))),
    )
    if not reported["fan"] and has_section(answers, "fan"):
        # Hydro and immersion models list none.
        values["fan_min_rpm"] = values["fan_max_rpm"] = values["fan_duty_pct"] = NOT_APPLICABLE
    else:
        _fans(values, reported["fan"])
    clocks = [
        clock
        for group in reported["frequency"]
        for clock in (plain(chip.get("Frequency")) for chip in entries(group.get("ChipFrequency")))
        if clock
    ]
    put(values, "frequency_hz", sum(clocks) / len(clocks) if clocks else None, HZ_PER_MHZ)


def _fans(values: Values, fans: list[dict[str, Any]]) -> None:
    put_fans(values, (fan.get("Speed") for fan in fans))
    shares = [
        speed / most * 100
        for speed, most in ((plain(fan.get("Target")), plain(fan.get("Max"))) for fan in fans)
        if speed is not None and most
    ]
    put(values, "fan_duty_pct", max(shares) if shares else None)


def _boards(values: Values, reported: Mapping[str, list[dict[str, Any]]], tier: Tier) -> None:
    devs, count = reported["devs"], reported["asccount"][0] if reported["asccount"] else {}
    put(
        values,
        "boards_hashing",
        float(sum(1 for dev in devs if plain(first(dev, "MHS 5s", "MHS av")))) if devs else None,
    )
    put(values, "boards_expected", count.get("BoardCount") or (float(len(devs)) if devs else None))
    put(values, "chips_hashing", count.get("AsicCount"))
    if tier is Tier.FAST:
        return
    values["boards_json"] = orjson.dumps(
        [
            {
                "board": whole(first(dev, "ID", "DEV"), 0),
                "hashrate_hs": plain(first(dev, "MHS 5s", "MHS av"), HS_PER_MHS),
                "temps_board_c": [temp for temp in [plain(dev.get("Temperature"))] if temp is not None],
                "enabled": truth(dev.get("Enabled")),
                "state": str(dev.get("Status", "")).lower(),
            }
            for dev in devs
        ]
    ).decode()
