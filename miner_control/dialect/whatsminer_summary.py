# SPDX-License-Identifier: Apache-2.0
"""Values from Whatsminer v1/v2 answers: `summary`, `devs`, `pools`, `status` and the `get_*` objects."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from kernel.errors import DecodeError
from kernel.reading import Field
from kernel.units import HS_PER_GHS, HS_PER_MHS, HZ_PER_MHZ
from miner_control.dialect import cgminer
from miner_control.dialect.evidence import state_of, still_ramps
from miner_control.dialect.figures import (
    NONSENSE,
    NOT_APPLICABLE,
    NOT_REPORTED,
    PSU,
    SENTINEL,
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
    spelt,
    total,
    truth,
    whole,
)
from miner_control.dialect.maker_errors import whatsminer_text
from miner_control.dialect.pools import cgminer_pools, put_pools
from telemetry.collect.source import Tier

_WINDOWS = (
    ("MHS 5s", 5.0),
    ("MHS 1m", 60.0),
    ("HS RT", 300.0),
    ("MHS 5m", 300.0),
    ("MHS 15m", 900.0),
    ("MHS av", None),
)
_DEV_RATES = ("MHS 5s", "MHS 1m", "MHS av")
_LAGS_S = 300.0
IDLE_SHARE, LIMIT_W = 0.15, 3000.0
_LEAST_VOLT = 3.0
_CODE_KEY = re.compile(r"Error Code \d+")
_LIQUID = re.compile(r"M[3-7][3469]")


def message(answers: Mapping[str, Any], command: str) -> dict[str, Any]:
    """The `Msg` object of a non-cgminer command; empty where absent."""
    found = (answers.get(command) or {}).get("Msg")
    return found if isinstance(found, dict) else {}


def _section(answers: Mapping[str, Any], command: str, name: str) -> list[dict[str, Any]]:
    """The rows of a section, flat or within the message."""
    if command not in answers:
        return []
    return cgminer.section(answers.get(command) or {}, name) or cgminer.section(message(answers, command), name)


def _summary(answers: Mapping[str, Any]) -> dict[str, Any]:
    document = answers.get("summary")
    listed = document.get("SUMMARY") if document else None
    if isinstance(listed, list) and listed and isinstance(listed[0], dict):
        return listed[0]
    return next(iter(_section(answers, "summary", "SUMMARY")), message(answers, "summary"))


def reports_boards(answers: Mapping[str, Any]) -> bool:
    """Whether any answer lists boards."""
    return bool(_section(answers, "devs", "DEVS") or _section(answers, "edevs", "DEVS"))


def doubtful(answers: Mapping[str, Any]) -> bool:
    """Whether only `status` can report the state: no hashrate, or little power under a lagging mean rate."""
    summary = _summary(answers)
    rate = next((plain(summary[key]) for key, _ in _WINDOWS if key in summary), None)
    return not rate or _idle_power(summary)


def _idle_power(summary: Mapping[str, Any]) -> bool:
    power, limit = plain(first(summary, "Power_RT", "Power")), plain(summary.get("Power Limit"))
    return power is not None and power < IDLE_SHARE * (limit or LIMIT_W)


def without_fans(memory: dict[str, Any], values: Values) -> Values:
    """Fans of liquid-cooled models (M33, M56, M63, ...), reported as zero, become NOT_APPLICABLE once the model is known."""
    model = values.get("model")
    if isinstance(model, str):
        memory["liquid"] = bool(_LIQUID.match(model.upper().removeprefix("WHATSMINER").lstrip(" _")))
    if memory.get("liquid") and values.get("fan_max_rpm") == 0:
        values["fan_min_rpm"] = values["fan_max_rpm"] = NOT_APPLICABLE
    return values


def decode(answers: Mapping[str, Any], tier: Tier) -> dict[str, Field]:
    """Values of the given answers. Raises DecodeError where they hold nothing of a Whatsminer."""
    summary, status = _summary(answers), message(answers, "status")
    devs = _section(answers, "devs", "DEVS") or _section(answers, "edevs", "DEVS")
    pool_entries = _section(answers, "pools", "POOLS")
    if not (summary or devs or pool_entries or any(message(answers, name) for name in answers)):
        refused = next((no for no in map(cgminer.refusal, filter(None, answers.values())) if no), None)
        raise DecodeError(
            "reply", f"refused with code {refused[0]}: {refused[1]}" if refused else "nothing of a Whatsminer"
        )
    values: Values = {}
    _rates(values, summary, devs)
    put(values, "uptime_s", first(summary, "Elapsed", "Uptime"))
    put(values, "power_w", first(summary, "Power_RT", "Power"))
    values["power_source"] = PSU if "Power" in summary or "Power_RT" in summary else NOT_REPORTED
    put(values, "power_limit_w", first(summary, "Power Limit") or first(status, "power_limit_set"))
    if "Accepted" in summary:
        put(values, "shares_accepted", summary["Accepted"])
    if "Rejected" in summary:
        put(values, "shares_rejected", summary["Rejected"])
    _temperatures(values, summary, devs)
    if truth(summary.get("Liquid Cooling")):
        values["fan_min_rpm"] = values["fan_max_rpm"] = NOT_APPLICABLE
    else:
        put_fans(values, [summary[key] for key in ("Fan Speed In", "Fan Speed Out") if key in summary])
    mode = first(summary, "Power Mode") or first(status, "power_mode")
    values["mode"] = (spelt(mode).lower() if isinstance(mode, str) else "") or NOT_REPORTED
    codes = error_codes(answers)
    _state(values, summary, status, devs, codes)
    if codes is not None:
        values["error_text"] = "; ".join(whatsminer_text(code) for code in codes)
    if tier is not Tier.FAST:
        _slow(values, summary, devs, pool_entries)
    if tier is Tier.DAILY:
        _identity(values, answers, summary, status)
    return settle(values, tier)


def _state(
    values: Values,
    summary: Mapping[str, Any],
    status: Mapping[str, Any],
    devs: list[dict[str, Any]],
    codes: list[str] | None,
) -> None:
    asleep = truth(first(status, "mineroff", "btmineroff")) if status else None
    # "Upfreq Complete" is reported by each board; "Hash Stable" false means that the firmware is still ramping.
    starting = truth(summary.get("Hash Stable")) is False or any(
        truth(reported.get("Upfreq Complete")) is False for reported in (summary, *devs)
    )
    rate, window, idle = values["hashrate_hs"], values["hashrate_window_s"], _idle_power(summary)
    if asleep and idle and (not isinstance(window, float) or window >= _LAGS_S):
        # A mean over minutes outlives the reported sleep; the power confirms the sleep.
        rate = 0.0
    values["state"] = state_of(
        rate,
        window_s=window,
        working=not idle and "Power" in summary,
        asleep=asleep,
        starting=still_ramps(starting, rate, values["uptime_s"]),
        uptime=values["uptime_s"],
        fault=bool(codes) or None,
    )
    if values["state"] == "asleep":
        values["hashrate_window_s"] = NOT_APPLICABLE


def _slow(
    values: Values, summary: Mapping[str, Any], devs: list[dict[str, Any]], pool_entries: list[dict[str, Any]]
) -> None:
    factory = plain(summary.get("Factory GHS"))
    if factory:
        put(values, "hashrate_nominal_hs", factory, HS_PER_GHS)
    else:
        put(values, "hashrate_nominal_hs", summary.get("Target MHS"), HS_PER_MHS)
    put(values, "hw_errors", summary.get("Hardware Errors"))
    if "Stale" in summary:
        put(values, "shares_stale", summary["Stale"])
    put(values, "frequency_hz", first(summary, "freq_avg", "Target Freq"), HZ_PER_MHZ)
    put(values, "voltage_v", summary.get("Voltage"), 0.01)
    volts = values["voltage_v"]
    if isinstance(volts, float) and volts < _LEAST_VOLT:
        # The oldest models report a step of their converter here.
        values["voltage_v"] = NONSENSE
    if devs:
        put(values, "boards_hashing", total(hashes(first(dev, *_DEV_RATES), dev.get("Status")) for dev in devs))
        values["boards_expected"] = float(len(devs))
        put(values, "chips_hashing", total(plain(dev.get("Effective Chips")) for dev in devs))
    else:
        values["boards_hashing"] = values["boards_expected"] = values["chips_hashing"] = NOT_REPORTED
    put_pools(values, cgminer_pools(pool_entries))
    values.setdefault("error_text", NOT_REPORTED)
    values["boards_json"] = orjson.dumps(_boards(devs)).decode()


def _rates(values: Values, summary: Mapping[str, Any], devs: list[dict[str, Any]]) -> None:
    for key, window_s in _WINDOWS:
        raw = summary.get(key)
        if raw is not None:
            put(values, "hashrate_hs", raw, HS_PER_MHS)
            put_window(values, window_s, summary.get("Elapsed"))
            break
    else:
        rates = (plain(first(dev, *_DEV_RATES)) for dev in devs)
        put(values, "hashrate_hs", total(rates), HS_PER_MHS)
        values["hashrate_window_s"] = NOT_REPORTED


def _temperatures(values: Values, summary: Mapping[str, Any], devs: list[dict[str, Any]]) -> None:
    for metric, key in (("temp_board_max_c", "Temperature"), ("temp_chip_max_c", "Chip Temp Max")):
        if not devs:
            raw = summary.get(key)
            put(values, metric, raw)
            if values[metric] == 0:
                values[metric] = SENTINEL
            continue
        raws = [dev[key] for dev in devs if key in dev]
        if key in summary:
            raws.append(summary[key])
        put_max(values, metric, raws)
    put(values, "temp_inlet_c", first(summary, "Env Temp", "Envtemp"))


def hashes(rate: Any, status: Any) -> float | None:
    """1 for a hashing board, 0 for another, None for one that reports neither rate nor status."""
    known, state = plain(rate), spelt(status).lower()
    if known is None:
        return float(state == "alive") if state else None
    return float(known > 0 and state in ("", "alive"))


def _boards(devs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "board": whole(first(dev, "Slot", "ASC", "ID"), at),
            "hashrate_hs": plain(first(dev, *_DEV_RATES), HS_PER_MHS),
            "hashrate_nominal_hs": plain(dev.get("Factory GHS"), HS_PER_GHS),
            "chips_hashing": plain(dev.get("Effective Chips")),
            "frequency_hz": plain(first(dev, "Chip Frequency", "Frequency"), HZ_PER_MHZ),
            "hw_errors": plain(dev.get("Hardware Errors")),
            "temps_board_c": [plain(dev["Temperature"])] if "Temperature" in dev else [],
            "temps_chip_c": [plain(dev["Chip Temp Max"])] if "Chip Temp Max" in dev else [],
            "state": spelt(dev.get("Status")).lower(),
            "serial": dev.get("PCB SN"),
        }
        for at, dev in enumerate(devs)
    ]


def error_codes(answers: Mapping[str, Any]) -> list[str] | None:
    """Error codes in `summary` (`Error Code 0`, ...) and `get_error_code`; None where neither reports them.

    Where only their number is reported, the text states that.
    """
    summary = _summary(answers)
    count = summary.get("Error Code Count")
    listed = message(answers, "get_error_code").get("error_code") if "get_error_code" in answers else None
    if listed is None and (count is None or count == 0):
        return None if count is None else []
    found = [str(summary[key]) for key in summary if _CODE_KEY.fullmatch(key)] if count else []
    for entry in listed if isinstance(listed, list) else [listed] if listed is not None else []:
        if isinstance(entry, dict):
            found += [str(key) for key in entry if str(key).isdigit()]
        elif str(entry).strip().isdigit():
            found.append(str(entry).strip())
    many = plain(count)
    return list(dict.fromkeys(found)) or ([f"{many:g} errors, codes not reported"] if many and listed is None else [])


def _identity(
    values: Values, answers: Mapping[str, Any], summary: Mapping[str, Any], status: Mapping[str, Any]
) -> None:
    version, info = message(answers, "get_version"), message(answers, "get_miner_info")
    values["make"] = "whatsminer"
    details = cgminer.section(answers.get("devdetails") or {}, "DEVDETAILS")
    put_text(
        values,
        "model",
        first(info, "minertype", "model")
        or (details[0].get("Model") if details else None)
        or version.get("miner_type"),
    )
    firmware = (
        first(version, "fw_ver")
        or first(summary, "Firmware Version")
        or first(status, "FirmwareVersion", "Firmware Version")
    )
    put_text(values, "firmware", firmware)
    put_text(values, "serial", first(info, "miner_sn", "minersn"))
    put_mac(values, first(summary, "MAC") or info.get("mac"))
