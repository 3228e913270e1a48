# SPDX-License-Identifier: Apache-2.0
"""What LuxOS answers mean: cgminer sections, and its own POWER, CONFIG, TEMPS, FANS and EVENTS."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from kernel.errors import DecodeError
from kernel.reading import Field
from miner_control.dialect import cgminer
from miner_control.dialect.evidence import state_of
from miner_control.dialect.figures import (
    ESTIMATE,
    NOT_APPLICABLE,
    NOT_REPORTED,
    PSU,
    UNSUPPORTED,
    Values,
    first,
    plain,
    put,
    put_fans,
    put_mac,
    put_max,
    put_schedules,
    put_text,
    settle,
    truth,
    whole,
)
from miner_control.dialect.pools import cgminer_pools, put_pools
from telemetry.source import Tier

_WINDOWS = (
    ("GHS 5s", 5.0),
    ("GHS 1m", 60.0),
    ("GHS 5m", 300.0),
    ("GHS 15m", 900.0),
    ("GHS 30m", 1800.0),
    ("GHS av", None),
)
_SICK = re.compile(r"fail|error|fault|hot|heat|protect|dead|lost|shutdown", re.IGNORECASE)
_STARTING = re.compile(r"ramp|start|init|boot|wak|warm", re.IGNORECASE)
_SENSORS = ("TopLeft", "TopRight", "BottomLeft", "BottomRight")


def _one(answers: Mapping[str, Any], command: str, section: str) -> dict[str, Any]:
    found = cgminer.section(answers.get(command) or {}, section)
    return found[0] if found else {}


def hashes(answers: Mapping[str, Any]) -> bool:
    """Whether the summary shows a rate above zero."""
    return bool(plain(first(_one(answers, "summary", "SUMMARY"), *(key for key, _ in _WINDOWS))))


def decode(answers: Mapping[str, Any], tier: Tier) -> dict[str, Field]:
    """Values of the answers that are there. Raises DecodeError where nothing of LuxOS is in them."""
    summary, config = _one(answers, "summary", "SUMMARY"), _one(answers, "config", "CONFIG")
    power, devs = _one(answers, "power", "POWER"), cgminer.section(answers.get("devs") or {}, "DEVS")
    stats = next(
        (e for e in reversed(cgminer.section(answers.get("stats") or {}, "STATS")) if "GHS 5s" in e or "Elapsed" in e),
        {},
    )
    pool_entries = cgminer.section(answers.get("pools") or {}, "POOLS")
    if not (summary or config or power or devs or stats or pool_entries or answers.get("version")):
        refused = next((no for no in map(cgminer.refusal, filter(None, answers.values())) if no), None)
        raise DecodeError("reply", f"refused with code {refused[0]}: {refused[1]}" if refused else "nothing of LuxOS")
    values: Values = {}
    _rates(values, summary or stats, config, devs)
    put(values, "uptime_s", first(summary, "Elapsed") if summary else stats.get("Elapsed"))
    put(values, "power_w", first(power, "Watts", "Power"))
    measured = truth(power.get("PSU"))
    values["power_source"] = NOT_REPORTED if measured is None else PSU if measured else ESTIMATE
    limit = first(config, "ActualPowerTarget", "IdealPowerTarget", "PowerTarget")
    put(values, "power_limit_w", limit if plain(limit) else None)
    put(values, "hw_errors", summary.get("Hardware Errors"))
    for metric, key in (("shares_accepted", "Accepted"), ("shares_rejected", "Rejected"), ("shares_stale", "Stale")):
        if key in summary:
            put(values, metric, summary[key])
    _heat(values, answers, stats, devs, config, tier)
    _boards(values, answers, stats, devs, config, tier)
    if pool_entries or tier is not Tier.FAST:
        put_pools(values, cgminer_pools(pool_entries), as_json=tier is not Tier.FAST)
    put_text(
        values, "mode", first(config, "Profile") or next((dev["Profile"] for dev in devs if dev.get("Profile")), None)
    )
    put_schedules(values, tier, config, {"atm": config.get("IsAtmEnabled")})
    _state(values, answers, config, devs)
    if tier is Tier.DAILY:
        _identity(values, answers, config)
    return settle(values, tier)


def _rates(values: Values, rates: Mapping[str, Any], config: Mapping[str, Any], devs: list[dict[str, Any]]) -> None:
    for key, window_s in _WINDOWS:
        if rates.get(key) is not None:
            put(values, "hashrate_hs", rates[key], 1e9)
            put(values, "hashrate_window_s", window_s if window_s else rates.get("Elapsed"))
            break
    else:
        known = [rate for rate in (plain(first(dev, "MHS 5s", "MHS 1m")) for dev in devs) if rate is not None]
        put(values, "hashrate_hs", sum(known) if known else None, 1e6)
        values["hashrate_window_s"] = NOT_REPORTED
    nominal = [rate for rate in (plain(dev.get("Nominal MHS")) for dev in devs) if rate is not None]
    if nominal:
        put(values, "hashrate_nominal_hs", sum(nominal), 1e6)
    else:
        put(values, "hashrate_nominal_hs", config.get("NameplateTHS"), 1e12)


def _heat(
    values: Values,
    answers: Mapping[str, Any],
    stats: Mapping[str, Any],
    devs: list[dict[str, Any]],
    config: Mapping[str, Any],
    tier: Tier,
) -> None:
    entries = cgminer.section(answers.get("temps") or {}, "TEMPS")
    water = _water(answers)
    sensors = [entry.get(name) for entry in entries for name in _SENSORS if name in entry and name not in water]
    for metric in ("temp_inlet_c", "temp_outlet_c"):
        told = [entry.get(name) for entry in entries for name, what in water.items() if what == metric]
        if told:
            put_max(values, metric, told)
    put_max(values, "temp_board_max_c", [*sensors, *(dev.get("Temperature") for dev in devs), stats.get("temp_max")])
    # The four sensors of a board sit on the board; LuxOS repeats them as "chip" in stats: no chip is measured.
    values["temp_chip_max_c"] = UNSUPPORTED
    fans = cgminer.section(answers.get("fans") or {}, "FANS")
    if truth(config.get("ImmersionMode")) or str(config.get("Cooling", "")).lower() in ("immersion", "hydro", "liquid"):
        values["fan_min_rpm"] = values["fan_max_rpm"] = NOT_APPLICABLE
    elif fans:
        put_fans(values, (fan.get("RPM") for fan in fans))
        duty = [speed for speed in (plain(fan.get("Speed")) for fan in fans) if speed is not None]
        put(values, "fan_duty_pct", max(duty) if duty else None)
    elif stats or tier is not Tier.FAST:
        count = whole(stats.get("fan_num"), 4)
        put_fans(values, (stats[f"fan{index}"] for index in range(1, count + 1) if f"fan{index}" in stats))


def _water(answers: Mapping[str, Any]) -> dict[str, str]:
    """The sensors that METADATA calls water, by the metric that they tell: the hydro models have them among the boards'."""
    found = {}
    for entry in cgminer.section(answers.get("temps") or {}, "METADATA"):
        for name, told in entry.items():
            label = str(told.get("Label", "") if isinstance(told, Mapping) else entry.get("Label", "")).lower()
            if name != "Label" and "water" in label:
                found[name] = "temp_outlet_c" if "out" in label else "temp_inlet_c"
    return found


def _boards(
    values: Values,
    answers: Mapping[str, Any],
    stats: Mapping[str, Any],
    devs: list[dict[str, Any]],
    config: Mapping[str, Any],
    tier: Tier,
) -> None:
    if devs:
        values["boards_hashing"] = float(sum(1 for dev in devs if plain(first(dev, "MHS 5s", "MHS 1m"))))
    elif tier is not Tier.FAST:
        values["boards_hashing"] = NOT_REPORTED
    if "ASC Count" in config or tier is not Tier.FAST:
        put(values, "boards_expected", first(config, "ASC Count"))
    if stats:
        chips = [plain(stats.get(f"chain_acn{index}")) for index in range(1, 9)]
        known = [chip for chip in chips if chip]
        put(values, "chips_hashing", sum(known) if known else None)
        put(values, "frequency_hz", first(stats, "total_freqavg", "frequency"), 1e6)
    volts = [
        volt
        for name in answers
        if name.startswith("voltageget")
        for volt in (plain(entry.get("Voltage")) for entry in cgminer.section(answers[name], "VOLTAGE"))
        if volt
    ]
    if volts:
        put(values, "voltage_v", sum(volts) / len(volts))
    if tier is Tier.FAST:
        return
    values["boards_json"] = orjson.dumps(
        [
            {
                "board": whole(first(dev, "ID", "ASC"), 0),
                "hashrate_hs": plain(first(dev, "MHS 5s", "MHS 1m"), 1e6),
                "hashrate_nominal_hs": plain(dev.get("Nominal MHS"), 1e6),
                "hw_errors": plain(dev.get("Hardware Errors")),
                "temps_board_c": [plain(dev["Temperature"])] if dev.get("Temperature") is not None else [],
                "state": str(dev.get("Status", "")).lower(),
                "serial": dev.get("SerialNumber"),
            }
            for dev in devs
        ]
    ).decode()


def _state(values: Values, answers: Mapping[str, Any], config: Mapping[str, Any], devs: list[dict[str, Any]]) -> None:
    curtail = str(config.get("CurtailMode", "")).strip().lower()
    asleep = None if not curtail else curtail in ("sleep", "sleeping")
    system = str(config.get("SystemStatus", "")).strip()
    starting = (
        any(truth(dev.get("IsRamping")) for dev in devs)
        or curtail in ("wakeup", "waking")
        or _STARTING.search(system) is not None
        or None
    )
    stopped = bool(devs) and all(truth(dev.get("IsUserShutdown")) for dev in devs)
    events = cgminer.section(answers.get("events") or {}, "EVENTS")
    sick = _SICK.search(system) is not None
    values["state"] = state_of(
        values["hashrate_hs"], window_s=values["hashrate_window_s"], asleep=asleep, stopped=stopped or None,
        starting=starting, fault=sick or None,
        uptime=values["uptime_s"],
    )  # fmt: skip
    if values["state"] == "asleep":
        values["hashrate_window_s"] = NOT_APPLICABLE
    texts = [f"{event.get('Code', '')} {event.get('Description', '')}".strip() for event in events]
    if sick:
        texts.insert(0, f"system {system}")
    told = "events" in answers or bool(system)
    values["error_text"] = "; ".join(texts) if told else NOT_REPORTED


def _identity(values: Values, answers: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    version = _one(answers, "version", "VERSION")
    values["make"] = "antminer"
    put_text(values, "model", first(config, "Model") or version.get("Type"))
    put_text(values, "firmware", first(version, "LUXminer", "Miner"))
    put_text(values, "serial", config.get("SerialNumber"))
    put_mac(values, config.get("MACAddr"))
