# SPDX-License-Identifier: Apache-2.0
"""Values from LuxOS answers: cgminer sections, and its own POWER, CONFIG, TEMPS, FANS and EVENTS."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from kernel.errors import DecodeError
from kernel.reading import Field
from kernel.units import HS_PER_GHS, HS_PER_MHS, HS_PER_THS, HZ_PER_MHZ
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
    put_window,
    settle,
    truth,
    whole,
)
from miner_control.dialect.pools import cgminer_pools, put_pools
from telemetry.collect.source import Tier

_WINDOWS = (("5s", 5.0), ("1m", 60.0), ("5m", 300.0), ("15m", 900.0), ("30m", 1800.0), ("av", None))
_UNITS = (("GHS", HS_PER_GHS), ("MHS", HS_PER_MHS))
_FAULTY = re.compile(r"fail|error|fault|hot|heat|protect|dead|lost|shutdown", re.IGNORECASE)
_STARTING = re.compile(r"ramp|start|init|boot|wak|warm", re.IGNORECASE)
_CURTAILED = ("sleep", "sleeping", "idle")
# Events last as long as their cause. These report a state and no fault; others that concern the whole miner keep it from
# hashing, where they are of this kind.
_NO_ERROR = ("SLEEP", "IDLE")
_STOPPING = re.compile(r"_PROTECTION$|_PANIC$|^NO_BOARDS|^DETECTION_ERROR|^INVALID_MINER|^INCOMPATIBLE")
_SETTLING = ("REBOOT_SYSINIT",)
_WATER, _CHIP, _BOARD = "water", "chip", "board"


def _one(answers: Mapping[str, Any], command: str, section: str) -> dict[str, Any]:
    found = cgminer.section(answers.get(command) or {}, section)
    return found[0] if found else {}


def hashes(answers: Mapping[str, Any]) -> bool:
    """Whether the summary shows a rate above zero."""
    reported = _rate(_one(answers, "summary", "SUMMARY"))
    return reported is not None and bool(plain(reported[0]))


def targets_power(answers: Mapping[str, Any]) -> bool | None:
    """Whether the model can hold a power in watts; None where the release does not report it."""
    return truth(_one(answers, "config", "CONFIG").get("IsPowerTargetSupported"))


def reports_curtailment(answers: Mapping[str, Any]) -> bool:
    """Whether `config` reports sleep: early releases report it by an event alone."""
    return bool(_one(answers, "config", "CONFIG").get("CurtailMode"))


def _rate(rates: Mapping[str, Any]) -> tuple[Any, float, float | None] | None:
    """The rate of the shortest window reported, its unit (H/s), and that window (s, None: since the start)."""
    for window, window_s in _WINDOWS:
        for unit, scale in _UNITS:
            if rates.get(f"{unit} {window}") is not None:
                return rates[f"{unit} {window}"], scale, window_s
    return None


def decode(answers: Mapping[str, Any], tier: Tier) -> dict[str, Field]:
    """Values of the given answers. Raises DecodeError where they hold nothing of LuxOS."""
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
    targets = () if truth(config.get("IsPowerTargetEnabled")) is False else ("ActualPowerTarget", "IdealPowerTarget")
    limits = (config.get(key) for key in (*targets, "PowerTarget", "PowerLimit"))
    put(values, "power_limit_w", next((limit for limit in limits if plain(limit)), None))
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
    reported = _rate(rates)
    if reported is not None:
        put(values, "hashrate_hs", reported[0], reported[1])
        put_window(values, reported[2], rates.get("Elapsed"))
    else:
        known = [rate for rate in (plain(first(dev, "MHS 5s", "MHS 1m")) for dev in devs) if rate is not None]
        put(values, "hashrate_hs", sum(known) if known else None, HS_PER_MHS)
        values["hashrate_window_s"] = NOT_REPORTED
    nominal = [rate for rate in (plain(dev.get("Nominal MHS")) for dev in devs) if rate is not None]
    if nominal:
        put(values, "hashrate_nominal_hs", sum(nominal), HS_PER_MHS)
    else:
        put(values, "hashrate_nominal_hs", config.get("NameplateTHS"), HS_PER_THS)


def _heat(
    values: Values,
    answers: Mapping[str, Any],
    stats: Mapping[str, Any],
    devs: list[dict[str, Any]],
    config: Mapping[str, Any],
    tier: Tier,
) -> None:
    entries = cgminer.section(answers.get("temps") or {}, "TEMPS")
    kinds = _sensors(answers, entries)
    reported: dict[str, list[Any]] = {_CHIP: [], _BOARD: [], "temp_inlet_c": [], "temp_outlet_c": []}
    for entry in entries:
        for name, kind in kinds.items():
            reported[kind].append(entry.get(name))
    for metric in ("temp_inlet_c", "temp_outlet_c"):
        if reported[metric]:
            put_max(values, metric, reported[metric])
    on_boards = [*reported[_BOARD], *(dev.get("Temperature") for dev in devs), stats.get("temp_max")]
    put_max(values, "temp_board_max_c", on_boards)
    if reported[_CHIP]:
        put_max(values, "temp_chip_max_c", reported[_CHIP])
    else:
        # The sensors of most boards are on the board; LuxOS repeats them as "chip" in stats: no chip is measured.
        values["temp_chip_max_c"] = UNSUPPORTED if entries else NOT_REPORTED
    fans = cgminer.section(answers.get("fans") or {}, "FANS")
    liquid = str(config.get("Cooling", "")).lower() in ("immersion", "hydro", "liquid")
    # A miner without fans answers `fans` without that section.
    none = not fans and bool(cgminer.section(answers.get("fans") or {}, "FANCTRL"))
    if liquid or none or truth(config.get("ImmersionMode")):
        values["fan_min_rpm"] = values["fan_max_rpm"] = NOT_APPLICABLE
    elif fans:
        put_fans(values, (fan.get("RPM") for fan in fans))
        duty = [speed for speed in (plain(fan.get("Speed")) for fan in fans) if speed is not None]
        put(values, "fan_duty_pct", max(duty) if duty else None)
    elif stats or tier is not Tier.FAST:
        count = whole(stats.get("fan_num"), 4)
        put_fans(values, (stats[f"fan{index}"] for index in range(1, count + 1) if f"fan{index}" in stats))


def _sensors(answers: Mapping[str, Any], entries: list[dict[str, Any]]) -> dict[str, str]:
    """Place of each sensor of `temps`: chip, board, or the metric of a water sensor.

    The sensors differ by model, and METADATA gives each a label; without one its own name is used.
    """
    labels = {
        name: str(reported["Label"])
        for entry in cgminer.section(answers.get("temps") or {}, "METADATA")
        for name, reported in entry.items()
        if isinstance(reported, Mapping) and reported.get("Label")
    }
    found = {}
    for name in dict.fromkeys(name for entry in entries for name in entry):
        if name not in ("ID", "TEMP"):
            label = labels.get(name, name).lower()
            if _WATER in label:
                found[name] = "temp_outlet_c" if "out" in label else "temp_inlet_c"
            else:
                found[name] = _CHIP if _CHIP in label or "die" in label.split() else _BOARD
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
        put(values, "frequency_hz", first(stats, "total_freqavg", "frequency"), HZ_PER_MHZ)
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
                "hashrate_hs": plain(first(dev, "MHS 5s", "MHS 1m"), HS_PER_MHS),
                "hashrate_nominal_hs": plain(dev.get("Nominal MHS"), HS_PER_MHS),
                "hw_errors": plain(dev.get("Hardware Errors")),
                "temps_board_c": [plain(dev["Temperature"])] if dev.get("Temperature") is not None else [],
                "state": str(dev.get("Status", "")).lower(),
                "serial": dev.get("SerialNumber"),
            }
            for dev in devs
        ]
    ).decode()


def _state(values: Values, answers: Mapping[str, Any], config: Mapping[str, Any], devs: list[dict[str, Any]]) -> None:
    curtail = str(config.get("CurtailMode") or "").strip().lower()
    events = cgminer.section(answers.get("events") or {}, "EVENTS")
    codes = [str(event.get("Code", "")).upper() for event in events]
    # `config` has priority; an event may outlast a wake for a moment.
    by_event = any(code in _NO_ERROR for code in codes) if events else None
    asleep = curtail in _CURTAILED if curtail else by_event
    system = str(config.get("SystemStatus") or "").strip()
    starting = (
        any(truth(dev.get("IsRamping")) for dev in devs)
        or curtail in ("wakeup", "waking")
        or _STARTING.search(system) is not None
        or any(code in _SETTLING for code in codes)
        or None
    )
    stopped = bool(devs) and all(truth(dev.get("IsUserShutdown")) for dev in devs)
    faulty = _FAULTY.search(system) is not None
    values["state"] = state_of(
        values["hashrate_hs"], window_s=values["hashrate_window_s"], asleep=asleep, stopped=stopped or None,
        starting=starting, fault=faulty or any(_STOPPING.search(code) for code in codes) or None,
        uptime=values["uptime_s"],
    )  # fmt: skip
    if values["state"] == "asleep":
        values["hashrate_window_s"] = NOT_APPLICABLE
    texts = [
        f"{event.get('Code') or ''} {event.get('Description') or ''}".strip()
        for event, code in zip(events, codes, strict=True)
        if code not in _NO_ERROR
    ]
    if faulty:
        texts.insert(0, f"system {system}")
    reported = "events" in answers or bool(system)
    values["error_text"] = "; ".join(texts) if reported else NOT_REPORTED


def _identity(values: Values, answers: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    version = _one(answers, "version", "VERSION")
    values["make"] = "antminer"
    put_text(values, "model", first(config, "Model") or version.get("Type"))
    put_text(values, "firmware", first(version, "LUXminer", "Miner"))
    put_text(values, "serial", config.get("SerialNumber"))
    put_mac(values, config.get("MACAddr"))
