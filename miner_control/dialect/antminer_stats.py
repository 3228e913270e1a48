# SPDX-License-Identifier: Apache-2.0
"""Values from stock Antminer answers: RPC shape and CGI shape of `summary`, `stats`, `pools` and others.

The fast tier is the hot path of the whole hub (thousands of miners every few seconds): it reads rate, power, state,
heat, fans and shares, and leaves boards, pools and errors to the slow tier.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from kernel.errors import DecodeError
from kernel.reading import Absence, Field, Missing
from kernel.units import HS_PER_GHS
from miner_control.dialect import antminer_chains, cgminer
from miner_control.dialect.evidence import state_of
from miner_control.dialect.figures import (
    ESTIMATE,
    NONSENSE,
    NOT_APPLICABLE,
    NOT_REPORTED,
    Values,
    first,
    plain,
    put,
    put_fans,
    put_mac,
    put_text,
    put_window,
    settle,
    whole,
)
from miner_control.dialect.pools import cgminer_pools, put_pool_state, put_pools
from miner_control.dialect.web import entries
from miner_control.fleet.miner import State
from telemetry.collect.source import Tier

_RATES = (
    ("GHS 5s", 5.0), ("rate_5s", 5.0), ("MHS 5s", 5.0), ("THS 5s", 5.0), ("KHS 5s", 5.0), ("GHS 1m", 60.0), ("rate_1m", 60.0),
    ("GHS 5m", 300.0), ("rate_5m", 300.0), ("GHS 30m", 1800.0), ("rate_30m", 1800.0), ("GHS av", None), ("rate_avg", None),
    ("MHS av", None), ("THS av", None), ("KHS av", None),
)  # fmt: skip
_UNITS = {"M": 1e6, "T": 1e12, "K": 1e3}
SLEEPS = frozenset({1, 254})
"""Work modes without hashing: 1 of firmwares from 2020 on, 254 of those before."""
_WORK_MODES = {0: "normal", 1: "sleep", 2: "hem", 3: "low", 254: "sleep"}
_LEAST_J_PER_H = 4e-12
"""No chip needs so little for a hash: lower power is that of a part of the miner, or of another moment than its rate."""
_FANLESS = ("HYD", "IMM")
_FAST_ANSWERS = 3
_WATT_KEYS = ("watt", "power", "Power", "total_power", "chain_power")
_PRESENT = frozenset(key for key, window_s in _RATES if window_s is not None and window_s <= 300.0)
_MODE_KEYS = ("bitmain-work-mode", "miner-mode", "work_mode", "work-mode")
_SUPPLY_WELL = frozenset({"ok", "okay", "normal", "good", "fine", "well", "0", "none", "success", "working", "ready"})
_SUPPLY_ITSELF = frozenset({"psu", "power", "supply", "unit", "status", "state", "is", "all"})
_NONE_OF, _TROUBLE = (
    frozenset({"no", "without", "0"}),
    frozenset({"error", "errors", "fault", "faults", "alarm", "alarms"}),
)
_FAN_KEYS = tuple(f"fan{index}" for index in range(1, 9))
_LOCKED = Missing(Absence.REFUSED, "the web pages do not accept account or password")
NO_POWER = Missing(Absence.UNSUPPORTED, "this stock firmware reports no power")


def mode_of(conf: Mapping[str, Any]) -> int | None:
    """The work mode of a configuration or of `stats`, or None."""
    for key in _MODE_KEYS:
        if key in conf:
            found = plain(conf[key])
            return None if found is None else int(found)
    return None


def _mode_name(mode: int, answers: Mapping[str, Any]) -> str:
    """The envelope's name of a work mode; the S19K family calls its low mode 2, all others 3."""
    if mode == 2 and "S19K" in model_of(answers).upper().replace(" ", ""):
        return "low"
    return _WORK_MODES.get(mode, str(mode))


def model_of(answers: Mapping[str, Any]) -> str:
    """The model as reported by the miner, or an empty text."""
    stats = answers.get("stats") or {}
    listed = stats.get("STATS")
    if len(answers) <= _FAST_ANSWERS and type(listed) is list and type(listed[0] if listed else None) is dict:
        reported = listed[0].get("Type")
        if reported:
            # The fast poll reads nothing that would name it better.
            return str(reported)
    system = answers.get("get_system_info") or answers.get("system_info") or {}
    version = cgminer.section(answers.get("version") or {}, "VERSION")
    info = stats.get("INFO")
    for source in (system, *version, *cgminer.section(stats, "STATS"), info if isinstance(info, dict) else {}):
        found = first(source, "minertype", "Type", "type", "miner_type")
        if found:
            return str(found)
    return ""


def wants_mode(answers: Mapping[str, Any], values: Mapping[str, Field]) -> bool:
    """Whether only the configuration can explain a zero hashrate."""
    return not values.get("hashrate_hs") and mode_of(_figures(answers)) is None


def readable(answers: Mapping[str, Any]) -> bool:
    """Whether the answers hold any figure: a refusal holds none."""
    return bool(_figures(answers) or _summary(answers))


def put_locked(values: Values, answers: Mapping[str, Any]) -> None:
    """The web pages reject the password: values that only they report are REFUSED, and a miner without hashrate is UNKNOWN,
    since sleep and fault look alike."""
    if values["state"] == State.FAULT and wants_mode(answers, values):
        values["state"] = State.UNKNOWN.value
    for metric in ("mode", "serial", "mac", "error_text"):
        if metric in values and values[metric] is NOT_REPORTED:
            values[metric] = _LOCKED


def with_checks(answers: dict[str, Any], page: Mapping[str, Any]) -> bool:
    """Copy the checks of the CGI's summary into the one read over RPC; returns whether there are any."""
    checks = _summary(page).get("status")
    if isinstance(checks, list):
        answers["summary"] = {"SUMMARY": [{**_summary(answers), "status": checks}]}
    return isinstance(checks, list)


def is_new(stats: Mapping[str, Any]) -> bool:
    """Whether `stats` came in the shape of the CGI."""
    return "chain" in _figures({"stats": stats})


def _figures(answers: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object of `stats` that holds the figures; the other one names the firmware."""
    stats = answers.get("stats")
    listed = stats.get("STATS") if stats else None
    if isinstance(listed, list):
        for keys in (_RATE_KEYS, _FIGURE_KEYS):
            for entry in reversed(listed):
                if type(entry) is dict and not keys.isdisjoint(entry):
                    return entry
    return listed if isinstance(listed, dict) else {}


_RATE_KEYS = frozenset({"chain", *(key for key, _ in _RATES)})
_FIGURE_KEYS = frozenset({"Elapsed", "elapsed", "chain_acn1", "chain_rate1", "fan_num", "miner_count"})


def _summary(answers: Mapping[str, Any]) -> Mapping[str, Any]:
    document = answers.get("summary")
    listed = document.get("SUMMARY") if document else None
    if isinstance(listed, list):
        return listed[0] if listed and isinstance(listed[0], dict) else {}
    return listed if isinstance(listed, dict) else {}


def decode(answers: Mapping[str, Any], tier: Tier) -> dict[str, Field]:
    """Values of the given answers. Raises DecodeError where no figure at all could be read."""
    summary, stats = _summary(answers), _figures(answers)
    conf = answers.get("get_miner_conf") or answers.get("miner_conf") or {}
    if not (summary or stats or conf):
        _refuse(answers)
    values: Values = {}
    model = model_of(answers)
    _rates(values, summary, stats, model)
    put(values, "uptime_s", first(stats or summary, "Elapsed", "elapsed"))
    _power(values, summary, stats)
    if "Accepted" in summary:
        put(values, "shares_accepted", summary["Accepted"])
    if "Rejected" in summary:
        put(values, "shares_rejected", summary["Rejected"])
    if stats:
        antminer_chains.put_heat(values, stats, model)
        _fans(values, stats, model)
    mode = mode_of(stats)
    if mode is None and conf:
        mode = mode_of(conf)
    values["mode"] = NOT_REPORTED if mode is None else _mode_name(mode, answers)
    asleep = None if mode is None else mode in SLEEPS
    values["state"] = state = state_of(
        values["hashrate_hs"],
        window_s=values["hashrate_window_s"],
        asleep=asleep,
        fault=bool(_checks(summary)) if "status" in summary else None,
        uptime=values["uptime_s"],
    )
    if state == "asleep":
        values["hashrate_window_s"] = NOT_APPLICABLE
    pools = answers.get("pools")
    if tier is Tier.FAST:
        if pools:
            put_pool_state(values, pools.get("POOLS"))
        return values
    _slow(values, answers, summary, stats, model)
    if tier is Tier.DAILY:
        _identity(values, answers)
    return settle(values, tier)


def _refuse(answers: Mapping[str, Any]) -> None:
    """Raises DecodeError where none of the answers is of a stock Antminer; those that only name it may pass."""
    refused = next((no for no in map(cgminer.refusal, filter(None, answers.values())) if no), None)
    if refused:
        raise DecodeError("reply", f"refused with code {refused[0]}: {refused[1]}")
    named = ("pools", "version", "devs", "system_info", "get_system_info")
    if not any(answers.get(name) for name in named):
        raise DecodeError("reply", f"nothing of a stock Antminer in {sorted(answers)}")


def _rates(values: Values, summary: Mapping[str, Any], stats: Mapping[str, Any], model: str) -> None:
    for key, window_s in _RATES:
        source = stats if key in stats else summary
        raw = source.get(key)
        if raw is not None and raw != "":
            put(values, "hashrate_hs", raw, _unit(key, source, model))
            put_window(values, window_s, first(source, "Elapsed", "elapsed"))
            break
    else:
        values["hashrate_hs"] = values["hashrate_window_s"] = NOT_REPORTED
    if key not in _PRESENT:
        # Only a mean is reported: the boards' present rate is better.
        now_hs = antminer_chains.rate_hs(stats, model)
        if now_hs is not None:
            put(values, "hashrate_hs", now_hs)
            values["hashrate_window_s"] = NOT_REPORTED


def _unit(key: str, source: Mapping[str, Any], model: str) -> float:
    """H/s of one unit of the figure under `key`."""
    if key[0] == "G":
        return antminer_chains.ghs(model, source[key], source.get("GHS av"))
    return antminer_chains.scale(source) if key[0] == "r" else _UNITS[key[0]]


def _power(values: Values, summary: Mapping[str, Any], stats: Mapping[str, Any]) -> None:
    reported = next((source[key] for source in (stats, summary) for key in _WATT_KEYS if key in source), None)
    reported = antminer_chains.watts(stats) if reported is None else reported
    if reported is None:
        values["power_w"] = values["power_source"] = NO_POWER
        return
    put(values, "power_w", reported)
    power, rate = values["power_w"], values["hashrate_hs"]
    # Zero watts with an unknown rate are not plausible either.
    if isinstance(power, float | int) and power < _LEAST_J_PER_H * (rate if isinstance(rate, float | int) else 1.0):
        values["power_w"] = power = Missing(Absence.NONSENSE, f"{reported} W cannot make the rate")
    values["power_source"] = power if isinstance(power, Missing) else ESTIMATE


@lru_cache(maxsize=256)
def _is_fanless(model: str) -> bool:
    return any(mark in model.upper() for mark in _FANLESS)


def _fans(values: Values, stats: Mapping[str, Any], model: str) -> None:
    listed = stats.get("fan")
    count = stats.get("fan_num")
    if type(count) is not int:
        count = whole(count, -1)
    fanless = _is_fanless(model)
    if count == 0:
        # None while it works means that there are none; while it starts, that they are not counted yet.
        if fanless or values["hashrate_hs"]:
            values["fan_min_rpm"] = values["fan_max_rpm"] = NOT_APPLICABLE
        return
    raws = listed if isinstance(listed, list) else [stats[key] for key in _FAN_KEYS if key in stats]
    reported = [raw if type(raw) is int else plain(raw) for raw in raws]
    # Some list eight fans and have four, or two at any of the places: the zeros beyond `fan_num` are no fans.
    turning = [rpm for rpm in reported if rpm]
    if fanless and not turning:
        # Cooled by a liquid; its firmware lists fans nevertheless.
        values["fan_min_rpm"] = values["fan_max_rpm"] = NOT_APPLICABLE
        return
    counted = reported[:count] if count > 0 else reported
    put_fans(values, turning if len(turning) == count else counted if any(counted) else reported)
    if "fan_pwm" in stats:
        put(values, "fan_duty_pct", stats["fan_pwm"])


def _nominal(values: Values, stats: Mapping[str, Any], model: str) -> None:
    """The ideal rate. Firmwares for other algorithms write it in the unit they name, in GH/s, or in that of the model: the
    first unit that fits the present rate is used, and NONSENSE where none fits."""
    raw, rate = first(stats, "total_rateideal", "rate_ideal"), values["hashrate_hs"]
    if plain(raw) == 0:
        # The value before the boards are counted.
        raw = None
    for unit in (antminer_chains.scale(stats), HS_PER_GHS, antminer_chains.ghs(model, raw)):
        put(values, "hashrate_nominal_hs", raw, unit)
        ideal = values["hashrate_nominal_hs"]
        if not rate or not ideal or 1 / 300 < float(ideal) / float(rate) < 300:  # type: ignore[arg-type]
            return
    values["hashrate_nominal_hs"] = NONSENSE


def _slow(
    values: Values, answers: Mapping[str, Any], summary: Mapping[str, Any], stats: Mapping[str, Any], model: str
) -> None:
    _nominal(values, stats, model)
    errors = first(summary, "Hardware Errors", "hw_all")
    put(values, "hw_errors", first(stats, "no_matching_work") if errors is None else errors)
    if "Stale" in summary:
        put(values, "shares_stale", summary["Stale"])
    for metric in ("temp_board_max_c", "temp_chip_max_c", "fan_min_rpm", "fan_max_rpm"):
        values.setdefault(metric, NOT_REPORTED)
    put(values, "boards_hashing", antminer_chains.hashing(stats))
    found = antminer_chains.boards(stats, model)
    antminer_chains.put_boards(values, stats, found)
    values["boards_json"] = orjson.dumps(found).decode()
    put_pools(values, cgminer_pools(cgminer.section(answers.get("pools") or {}, "POOLS")))
    _errors(values, answers)


def _checks(summary: Mapping[str, Any]) -> list[str]:
    """Failed checks of the CGI summary, in the miner's own wording; the network check is no fault of the boards."""
    return [
        f"{check.get('type', '')} {check.get('code', '')} {check.get('msg', '')}".strip()
        for check in entries(summary.get("status"))
        # A check that does not apply (fans of a hydro model) has an empty status.
        if str(check.get("status") or "s").lower() not in ("s", "success", "ok") and check.get("type") != "network"
    ]


def _is_well(text: str) -> bool:
    """Whether a report of the supply says in any wording that it is well: `PSU OK`, `Power supply: normal`, `no error`."""
    parts = set(re.findall(r"[a-z0-9]+", text.lower())) - _SUPPLY_ITSELF
    return parts <= _SUPPLY_WELL or (bool(parts & _NONE_OF) and parts <= _NONE_OF | _TROUBLE)


def _errors(values: Values, answers: Mapping[str, Any]) -> None:
    """The CGI summary has a list of checks; `warning` a list of codes. RPC alone reports no errors."""
    summary = _summary(answers)
    found, reported = _checks(summary), isinstance(summary.get("status"), list)
    for entry in cgminer.section(answers.get("warning") or {}, "WARNING"):
        reported = True
        found.append(" ".join(str(value) for value in entry.values() if not isinstance(value, list | dict)))
    supply = str(_figures(answers).get("psu_status") or "").strip()
    if supply:
        # Relatives of the stock firmware report the supply together with the figures.
        reported = True
        found += [] if _is_well(supply) else [supply]
    values["error_text"] = "; ".join(filter(None, found)) if reported else NOT_REPORTED


def _identity(values: Values, answers: Mapping[str, Any]) -> None:
    stats = answers.get("stats") or {}
    info = stats.get("INFO")
    sources = [
        *cgminer.section(answers.get("version") or {}, "VERSION"),
        *cgminer.section(stats, "STATS"),
        info if isinstance(info, dict) else {},
    ]
    system = answers.get("get_system_info") or answers.get("system_info") or {}
    compiled = next((source["CompileTime"] for source in sources if source.get("CompileTime")), None)
    values["make"] = "antminer"
    put_text(values, "model", model_of(answers))
    put_text(values, "firmware", first(system, "system_filesystem_version", "fw_version") or compiled)
    put_text(values, "serial", first(system, "serinum", "sn"))
    put_mac(values, system.get("macaddr"))
