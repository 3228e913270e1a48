# SPDX-License-Identifier: Apache-2.0
"""Values from Whatsminer v3 answers: `get.miner.status` (summary, edevs, pools) in TH/s, and `get.device.info`."""

from collections.abc import Mapping
from typing import Any

import orjson

from kernel.errors import DecodeError
from kernel.reading import Field
from kernel.units import HS_PER_THS, HZ_PER_MHZ
from miner_control.dialect.evidence import state_of, still_ramps
from miner_control.dialect.figures import (
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
    put_schedules,
    put_text,
    put_window,
    settle,
    spelt,
    total,
    truth,
    whole,
)
from miner_control.dialect.maker_errors import whatsminer_stops, whatsminer_text
from miner_control.dialect.pools import cgminer_pools, put_pools
from miner_control.dialect.whatsminer_summary import IDLE_SHARE, LIMIT_W, hashes
from telemetry.collect.source import Tier

_WINDOWS = (("hash-realtime", None), ("hash-1min", 60.0), ("hash-15min", 900.0), ("hash-average", 0.0))
_BOARD_RATES = ("hash-realtime", "hash-average")
_MODES = {0: "low", 1: "normal", 2: "high"}


def _messages(answers: Mapping[str, Any]) -> dict[str, Any]:
    """All `msg` objects as one: the parts of status and device information have different names."""
    found: dict[str, Any] = {}
    for document in answers.values():
        message = document.get("msg") if isinstance(document, dict) else None
        if isinstance(message, dict):
            found |= {key: value for key, value in message.items() if key not in found}
    return found


def _entries(reported: Mapping[str, Any], *names: str) -> list[dict[str, Any]]:
    listed = first(reported, *names)
    return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []


def _object(reported: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = reported.get(name)
    return found if isinstance(found, dict) else {}


def _idle(summary: Mapping[str, Any]) -> bool:
    power = plain(first(summary, "power-realtime", "power-5min"))
    return power is not None and power < IDLE_SHARE * (plain(summary.get("power-limit")) or LIMIT_W)


def doubtful(answers: Mapping[str, Any]) -> bool:
    """Whether only `get.device.info` can report the miner's state."""
    summary = _object(_messages(answers), "summary")
    return not plain(first(summary, *(key for key, _ in _WINDOWS))) or _idle(summary)


def decode(answers: Mapping[str, Any], tier: Tier) -> dict[str, Field]:
    """Values of the given answers. Raises DecodeError where they hold nothing of a v3 miner."""
    reported = _messages(answers)
    summary, miner, power = _object(reported, "summary"), _object(reported, "miner"), _object(reported, "power")
    boards, pool_entries = _entries(reported, "edevs", "devs"), _entries(reported, "pools")
    if not (summary or miner or boards or pool_entries or power or _object(reported, "system")):
        replies = [f"{document.get('code')} {document.get('msg', '')}" for document in answers.values()]
        raise DecodeError("msg", f"nothing of a Whatsminer v3: {'; '.join(replies)[:100]}")
    values: Values = {}
    _rates(values, summary, boards)
    put(values, "uptime_s", summary.get("elapsed"))
    put(values, "power_w", first(summary, "power-realtime", "power-5min", "power"))
    values["power_source"] = PSU if isinstance(values["power_w"], float | int) else NOT_REPORTED
    put(values, "power_limit_w", first(summary, "power-limit") or first(miner, "power-limit-set"))
    chip_max = [summary["chip-temp-max"]] if "chip-temp-max" in summary else []
    put_max(values, "temp_chip_max_c", [*chip_max, *(board.get("chip-temp-max") for board in boards)])
    listed = first(summary, "board-temperature", "board-tempurature")
    put_max(values, "temp_board_max_c", listed if isinstance(listed, list) else [listed])
    put(values, "temp_inlet_c", first(summary, "environment-temperature", "environment-tempurature", "env-temp"))
    put_fans(values, (summary[key] for key in ("fan-speed-in", "fan-speed-out") if summary.get(key) is not None))
    if values["fan_max_rpm"] == 0 and "1" in str(miner.get("eeprom-liquid-cooling", "")):
        values["fan_min_rpm"] = values["fan_max_rpm"] = NOT_APPLICABLE
    if power:
        put(values, "voltage_v", power.get("vout"), 0.01)
    put(values, "frequency_hz", summary.get("freq-avg"), HZ_PER_MHZ)
    if boards or tier is not Tier.FAST:
        _boards(values, boards, miner, tier)
    if pool_entries or tier is not Tier.FAST:
        put_pools(values, cgminer_pools(pool_entries), as_json=tier is not Tier.FAST)
    mode = first(power, "mode") if power else first(summary, "power-mode")
    put_text(values, "mode", _MODES.get(whole(mode, -1)) or spelt(mode).lower())
    _state(values, reported, summary, miner)
    late = _object(reported, "time-randomized")
    delays = {name: late_s for name in ("start", "stop") if (late_s := plain(late.get(name))) is not None}
    put_schedules(values, tier, delays, {"time_randomized": {"enabled": any(delays.values()), **delays}})
    if tier is Tier.DAILY:
        _identity(values, reported, miner)
    return settle(values, tier)


def _state(values: Values, reported: Mapping[str, Any], summary: Mapping[str, Any], miner: Mapping[str, Any]) -> None:
    working = truth(miner.get("working"))
    finished = truth(first(summary, "up-freq-finish", "upfreq-finish"))
    errors = _errors(first(reported, "error-code", "error_code"))
    stops = any(whatsminer_stops(code) for code, _ in errors or ())
    rate: Field = values["hashrate_hs"]
    if working is False and _idle(summary):
        # A mean over minutes outlives the service; the power confirms that it stopped.
        rate = 0.0
    values["state"] = state_of(
        rate,
        window_s=values["hashrate_window_s"],
        working=working and not _idle(summary),
        # Not working together with an error that stops it is no sleep; only a running service gives the list.
        asleep=None if working is None else not working and not stops,
        starting=still_ramps(finished is False, rate, values["uptime_s"]),
        uptime=values["uptime_s"],
        fault=bool(errors) or None,
    )
    if values["state"] == "asleep":
        values["hashrate_window_s"] = NOT_APPLICABLE
    if errors is not None:
        values["error_text"] = "; ".join(text for _, text in errors)
    elif miner and "system" in reported and "error-code" not in reported:
        # The list is absent where it is empty: complete device information without it reports that there are no errors.
        values["error_text"] = ""
    elif isinstance(reported.get("error-code"), str) and working is not False:
        put_text(values, "error_text", reported["error-code"])


def _errors(listed: Any) -> list[tuple[str, str]] | None:
    """(code, text) of each error, or None without a list: a text in its place gives the reason.

    The text is the maker's own reason, else the known one. Entries are objects, numbers or digits.
    """
    if not isinstance(listed, list):
        return None
    found: dict[str, str] = {}
    for entry in listed:
        if isinstance(entry, dict):
            code = next((str(key) for key in entry if str(key).isdigit()), "")
            reason = entry.get("reason")
            text = f"{code} {reason}".strip() if reason else whatsminer_text(code)
        else:
            code = f"{plain(entry) or 0:.0f}"
            text = whatsminer_text(code) if code != "0" else ""
        if text:
            found.setdefault(code, text)
    return list(found.items())


def _rates(values: Values, summary: Mapping[str, Any], boards: list[dict[str, Any]]) -> None:
    for key, window_s in _WINDOWS:
        if summary.get(key) is not None:
            put(values, "hashrate_hs", summary[key], HS_PER_THS)
            if window_s == 0.0:
                put_window(values, None, summary.get("elapsed"))
            else:
                put(values, "hashrate_window_s", window_s)
            break
    else:
        rates = (plain(first(board, *_BOARD_RATES)) for board in boards)
        put(values, "hashrate_hs", total(rates), HS_PER_THS)
        values["hashrate_window_s"] = NOT_REPORTED
    nominal = plain(summary.get("factory-hash"))
    if nominal is None:
        nominal = total(plain(board.get("factory-hash")) for board in boards)
    put(values, "hashrate_nominal_hs", nominal, HS_PER_THS)


def _boards(values: Values, boards: list[dict[str, Any]], miner: Mapping[str, Any], tier: Tier) -> None:
    put(values, "boards_hashing", total(hashes(first(board, *_BOARD_RATES), board.get("status")) for board in boards))
    put(
        values,
        "boards_expected",
        first(miner, "board-num") if "board-num" in miner else float(len(boards)) if boards else None,
    )
    put(values, "chips_hashing", total(plain(board.get("effective-chips")) for board in boards))
    if tier is Tier.FAST:
        return
    values["boards_json"] = orjson.dumps(
        [
            {
                "board": whole(first(board, "id", "slot"), at),
                "hashrate_hs": plain(first(board, *_BOARD_RATES), HS_PER_THS),
                "hashrate_nominal_hs": plain(board.get("factory-hash"), HS_PER_THS),
                "chips_hashing": plain(board.get("effective-chips")),
                "frequency_hz": plain(board.get("freq"), HZ_PER_MHZ),
                "temps_chip_c": [plain(board["chip-temp-max"])] if "chip-temp-max" in board else [],
                "state": spelt(board.get("status")).lower(),
                "serial": miner.get(f"pcbsn{board.get('id')}"),
            }
            for at, board in enumerate(boards)
        ]
    ).decode()


def _identity(values: Values, reported: Mapping[str, Any], miner: Mapping[str, Any]) -> None:
    values["make"] = "whatsminer"
    put_text(values, "model", first(miner, "type", "model"))
    put_text(values, "firmware", first(_object(reported, "system"), "fwversion", "fw-version"))
    put_text(values, "serial", first(miner, "miner-sn", "sn"))
    put_mac(values, _object(reported, "network").get("mac"))
