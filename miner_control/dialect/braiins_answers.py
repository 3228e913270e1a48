# SPDX-License-Identifier: Apache-2.0
"""Values from the REST objects of Braiins OS. Releases before 25.07 are read by `bosminer`."""

from collections.abc import Mapping
from typing import Any

import orjson

from kernel.errors import DecodeError
from kernel.reading import Field
from kernel.units import HS_PER_GHS, HS_PER_MHS, HS_PER_THS, S_PER_DAY
from miner_control.dialect import bosminer
from miner_control.dialect.evidence import state_of
from miner_control.dialect.figures import (
    ESTIMATE,
    NOT_APPLICABLE,
    NOT_REPORTED,
    Values,
    first,
    part,
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
)
from miner_control.dialect.pools import ALIVE, DEAD, DISABLED, ReportedPool, put_pools
from miner_control.dialect.web import entries, nested
from telemetry.collect.source import Tier

_WINDOWS = (
    ("last_5s", 5.0),
    ("last_15s", 15.0),
    ("last_30s", 30.0),
    ("last_1m", 60.0),
    ("last_5m", 300.0),
    ("last_15m", 900.0),
    ("last_30m", 1800.0),
    ("last_1h", 3600.0),
    ("last_24h", S_PER_DAY),
)
_RATE_UNITS = (
    ("terahash_per_second", HS_PER_THS),
    ("gigahash_per_second", HS_PER_GHS),
    ("megahash_per_second", HS_PER_MHS),
)
_STATUS = {1: "not_started", 2: "normal", 3: "paused", 4: "suspended", 5: "restricted"}
_TUNER = {1: "disabled", 2: "stable", 3: "tuning", 4: "error", 5: "continuous", 6: "preheat"}
_REPORTED_ERRORS = 20


def decode(answers: Mapping[str, Any], tier: Tier) -> dict[str, Field]:
    """Values of the given answers. Raises DecodeError where they hold nothing of Braiins OS."""
    if any(name in answers for name in bosminer.SECTIONS if name != "pools"):
        return bosminer.decode(answers, tier)
    stats, details = part(answers, "miner_stats"), part(answers, "miner_details")
    boards = entries(nested(answers.get("miner_hw_hashboards"), "hashboards"))
    groups = _groups(answers.get("pools"))
    known = ("cooling_state", "performance_tuner_state", "configuration_miner", "network", "miner_errors")
    if not (stats or details or boards or groups or any(answers.get(name) for name in known)):
        raise DecodeError("reply", f"nothing of Braiins OS in {sorted(answers)}")
    values: Values = {}
    put_rate(values, nested(stats, "miner_stats", "real_hashrate"), nested(details, "bosminer_uptime_s"))
    nominal = nested(stats, "miner_stats", "nominal_hashrate")
    put(values, "hashrate_nominal_hs", rate(details.get("sticker_hashrate")) or rate(nominal))
    put(values, "uptime_s", first(details, "bosminer_uptime_s", "system_uptime_s", "system_uptime"))
    put(values, "power_w", nested(stats, "power_stats", "approximated_consumption", "watt"))
    values["power_source"] = ESTIMATE if isinstance(values["power_w"], float | int) else NOT_REPORTED
    mode_state = part(answers.get("performance_tuner_state"), "mode_state")
    limit = nested(mode_state, "powertargetmodestate", "current_target", "watt")
    put(
        values,
        "power_limit_w",
        first({"a": limit, "b": nested(answers.get("configuration_miner"), "tuner", "power_target", "watt")}, "a", "b"),
    )
    for metric, key in (
        ("shares_accepted", "accepted_shares"),
        ("shares_rejected", "rejected_shares"),
        ("shares_stale", "stale_shares"),
    ):
        put(values, metric, nested(stats, "pool_stats", key))
    _heat(values, part(answers, "cooling_state"), boards)
    if boards or tier is not Tier.FAST:
        _boards(values, boards, tier)
    if groups or tier is not Tier.FAST:
        put_pools(values, groups, as_json=tier is not Tier.FAST)
    tuner = named(nested(answers.get("performance_tuner_state"), "overall_tuner_state"), _TUNER, "TUNER_STATE_")
    values["mode"] = (
        "power_target" if "powertargetmodestate" in mode_state else "hashrate_target" if mode_state else NOT_REPORTED
    )
    configured = answers.get("configuration_miner")
    put_schedules(values, tier, configured, {"dps": nested(configured, "dps")})
    status = named(details.get("status"), _STATUS, "MINER_STATUS_")
    if status is None and plain(details.get("bosminer_uptime_s")) == 0:
        status = "not_started"
    _state(values, status, tuner)
    _errors(values, answers, tier)
    if tier is Tier.DAILY:
        values["make"] = str(nested(details, "miner_identity", "name") or "antminer").split(" ")[0].lower()
        put_text(
            values,
            "model",
            nested(details, "miner_identity", "miner_model") or nested(details, "miner_identity", "name"),
        )
        put_text(values, "firmware", nested(details, "bos_version", "current"))
        put_text(values, "serial", details.get("serial_number"))
        put_mac(values, details.get("mac_address") or nested(answers.get("network"), "mac_address"))
    return settle(values, tier)


def named(raw: Any, names: Mapping[int, str], prefix: str) -> str | None:
    """A state given as a number, or as the API's own name (`MINER_STATUS_PAUSED`, `paused`)."""
    if isinstance(raw, str) and not raw.isdigit():
        return raw.removeprefix(prefix).lower()
    number = plain(raw)
    return None if number is None else names.get(int(number))


def rate(raw: Any) -> float | None:
    """A rate object (`{"gigahash_per_second": 1}`) in H/s, or None."""
    for key, scale in _RATE_UNITS:
        figure = plain(nested(raw, key), scale)
        if figure is not None:
            return figure
    return None


def put_rate(values: Values, real: Any, uptime_s: Any) -> None:
    """The real rate of the shortest window reported."""
    for key, window_s in _WINDOWS:
        figure = rate(nested(real, key))
        if figure is not None:
            put(values, "hashrate_hs", figure)
            values["hashrate_window_s"] = window_s
            return
    put(values, "hashrate_hs", rate(nested(real, "since_restart")))
    put_window(values, None, uptime_s)


def _state(values: Values, status: str | None, tuner: str | None) -> None:
    values["state"] = state_of(
        values["hashrate_hs"],
        window_s=values["hashrate_window_s"],
        working=status == "normal",
        asleep=status == "paused" if status else None,
        stopped=status == "not_started" or None,
        starting=tuner == "preheat" or None,
        tuning=tuner == "tuning",
        fault=status == "suspended" or tuner == "error" or None,
        uptime=values["uptime_s"],
    )
    if values["state"] == "asleep":
        values["hashrate_window_s"] = NOT_APPLICABLE


def _heat(values: Values, cooling: Mapping[str, Any], boards: list[dict[str, Any]]) -> None:
    put_max(values, "temp_board_max_c", (nested(board, "board_temp", "degree_c") for board in boards))
    chips = [nested(board, "highest_chip_temp", "temperature", "degree_c") for board in boards]
    highest = nested(cooling, "highest_temperature", "temperature", "degree_c")
    # Sensor location 1 is the chip, 2 the board.
    location = nested(cooling, "highest_temperature", "location")
    if location in (1, "SENSOR_LOCATION_CHIP", "chip"):
        chips.append(highest)
    elif highest is not None and not boards:
        put_max(values, "temp_board_max_c", [highest])
    put_max(values, "temp_chip_max_c", chips)
    put_max(values, "temp_outlet_c", (nested(board, "highest_outlet_temp", "degree_c") for board in boards))
    inlets = [temp for temp in (plain(nested(board, "lowest_inlet_temp", "degree_c")) for board in boards) if temp]
    put(values, "temp_inlet_c", min(inlets) if inlets else None)
    fans = entries(cooling.get("fans"))
    if cooling.get("fans") == []:
        # All fans are listed: a miner without one is cooled by liquid.
        values["fan_min_rpm"] = values["fan_max_rpm"] = values["fan_duty_pct"] = NOT_APPLICABLE
        return
    put_fans(values, (fan.get("rpm") for fan in fans))
    ratios = [ratio for ratio in (plain(fan.get("target_speed_ratio")) for fan in fans) if ratio is not None]
    put(values, "fan_duty_pct", max(ratios) * 100 if ratios else None)


def _boards(values: Values, boards: list[dict[str, Any]], tier: Tier) -> None:
    # A board that was switched off on purpose is not expected to hash.
    on = [board for board in boards if board.get("enabled") is not False]
    rates = [rate(nested(board, "stats", "real_hashrate", "last_5s")) or 0.0 for board in on]
    put(values, "boards_hashing", float(sum(1 for board_rate in rates if board_rate > 0)) if boards else None)
    put(values, "boards_expected", float(len(on)) if boards else None)
    chips = [chip for chip in (plain(board.get("chips_count")) for board in boards) if chip is not None]
    put(values, "chips_hashing", sum(chips) if chips else None)
    for metric, key, unit in (("frequency_hz", "current_frequency", "hertz"), ("voltage_v", "current_voltage", "volt")):
        reported = [figure for figure in (plain(nested(board, key, unit)) for board in boards) if figure]
        put(values, metric, sum(reported) / len(reported) if reported else None)
    if tier is Tier.FAST:
        return
    values["boards_json"] = orjson.dumps(
        [
            {
                "board": str(board.get("id", index)),
                "hashrate_hs": rate(nested(board, "stats", "real_hashrate", "last_5s")),
                "hashrate_nominal_hs": rate(nested(board, "stats", "nominal_hashrate")),
                "chips": plain(board.get("chips_count")),
                "frequency_hz": plain(nested(board, "current_frequency", "hertz")),
                "temps_board_c": [
                    temp for temp in [plain(nested(board, "board_temp", "degree_c"))] if temp is not None
                ],
                "temps_chip_c": [
                    temp
                    for temp in [plain(nested(board, "highest_chip_temp", "temperature", "degree_c"))]
                    if temp is not None
                ],
                "enabled": truth(board.get("enabled")),
                "serial": board.get("serial_number"),
            }
            for index, board in enumerate(boards)
        ]
    ).decode()


def _groups(pools: Any) -> list[ReportedPool]:
    groups = pools if isinstance(pools, list) else nested(pools, "pool_groups") or nested(pools, "groups") or []
    found: list[ReportedPool] = []
    for group in entries(groups):
        for pool in entries(group.get("pools")):
            alive, enabled = truth(pool.get("alive")), truth(pool.get("enabled"))
            state = DISABLED if enabled is False else DEAD if alive is False else ALIVE if alive else None
            stats = part(pool, "stats")
            found.append(
                ReportedPool(
                    str(pool.get("url", "")), str(pool.get("user", "")), state, bool(truth(pool.get("active"))), len(found),
                    plain(stats.get("accepted_shares")), plain(stats.get("rejected_shares")), plain(stats.get("stale_shares")),
                )
            )  # fmt: skip
    return found


def _errors(values: Values, answers: Mapping[str, Any], tier: Tier) -> None:
    """The newest distinct errors, with the maker's code and reason where present. The list is a history, not a state."""
    listed = nested(answers.get("miner_errors"), "errors")
    if listed is None:
        if tier is not Tier.FAST:
            values["error_text"] = NOT_REPORTED
        return
    texts: dict[str, None] = {}
    for error in sorted(entries(listed), key=lambda entry: str(entry.get("timestamp", "")), reverse=True):
        codes = [
            f"{code.get('code', '')} {code.get('reason', '')}".strip() for code in entries(error.get("error_codes"))
        ]
        texts.setdefault("; ".join(codes) or str(error.get("message", "")))
    values["error_text"] = "; ".join(list(texts)[:_REPORTED_ERRORS])
