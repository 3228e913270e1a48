# SPDX-License-Identifier: Apache-2.0
"""Values from VNish answers: one `summary` object holds nearly everything."""

from collections.abc import Mapping
from typing import Any

import orjson

from kernel.errors import DecodeError
from kernel.reading import Field
from kernel.units import HS_PER_GHS, HS_PER_MHS, HS_PER_THS, HZ_PER_MHZ
from miner_control.dialect.evidence import LAG_S, state_of
from miner_control.dialect.figures import (
    ESTIMATE,
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
    put_schedules,
    put_text,
    settle,
    truth,
    whole,
)
from miner_control.dialect.pools import ALIVE, DEAD, DISABLED, ReportedPool, put_pools
from miner_control.dialect.web import entries, nested
from telemetry.collect.source import Tier

ASLEEP = ("stopped", "paused", "shutting-down")
_STARTING = ("initializing", "starting", "restarting")
_LEAST_GHS = 2000.0
_UNITS = {"TH/S": HS_PER_THS, "GH/S": HS_PER_GHS, "MH/S": HS_PER_MHS}
_DOUBTFUL = ("error", "init", "unknown")
_POOL_STATES = {
    "active": ALIVE,
    "working": ALIVE,
    "alive": ALIVE,
    "offline": DEAD,
    "rejecting": DEAD,
    "disabled": DISABLED,
}


def decode(answers: Mapping[str, Any], tier: Tier) -> dict[str, Field]:
    """Values of the given answers. Raises DecodeError where they hold nothing of VNish."""
    summary, info = part(answers, "summary"), part(answers, "info")
    miner = part(summary, "miner")
    status = part(miner, "miner_status") or part(answers, "status")
    # While it starts, `miner` is null and only status and information have values.
    if not (miner or status or info or "miner" in summary):
        raise DecodeError("reply", f"nothing of VNish in {sorted(answers)}")
    values: Values = {}
    scale = _UNITS.get(str(info.get("hr_measure") or "").upper()) or _likely_unit(miner)
    _rates(values, miner, scale)
    miner_state = str(first(status, "miner_state", "state") or "").lower()
    held_s = plain(status.get("miner_state_time"))
    put(values, "uptime_s", held_s if miner_state in ("mining", "auto-tuning") else None)
    put(values, "power_w", first(miner, "power_consumption", "power_usage"))
    metered = truth(nested(miner, "psu", "psu_power_metering"))
    values["power_source"] = (
        NOT_REPORTED if not isinstance(values["power_w"], float | int) else PSU if metered else ESTIMATE
    )
    misc = part(part(part(answers, "settings"), "miner"), "misc")
    put(values, "power_limit_w", misc.get("power_limit") if truth(misc.get("power_limit_enabled")) else None)
    put(values, "hw_errors", miner.get("hw_errors"))
    chains = entries(miner.get("chains"))
    for metric, key in (("temp_board_max_c", "pcb_temp"), ("temp_chip_max_c", "chip_temp")):
        put_max(values, metric, [nested(miner, key, "max"), *(_hottest(chain, key) for chain in chains)])
    for metric, key in (("temp_inlet_c", "inlet_water_temp"), ("temp_outlet_c", "outlet_water_temp")):
        reported = [temp for temp in (plain(chain.get(key)) for chain in chains) if temp is not None]
        put(values, metric, max(reported) if reported else None)
    _fans(values, part(miner, "cooling"))
    _chains(values, chains, scale, tier)
    put_pools(values, _pools(miner), as_json=tier is not Tier.FAST)
    preset = nested(answers.get("perf_summary"), "current_preset", "name")
    put_text(values, "mode", preset or nested(answers.get("settings"), "miner", "overclock", "preset"))
    performance = answers.get("perf_summary")
    put_schedules(values, tier, performance, {"preset_switcher": nested(performance, "preset_switcher")})
    values["state"] = state_of(
        values["hashrate_hs"],
        # Only the mean since the start is reported: it is no present rate.
        window_s=LAG_S if first(miner, "hr_realtime", "instant_hashrate") is None else None,
        working=miner_state == "mining",
        asleep=miner_state in ASLEEP if miner_state else None,
        starting=miner_state in _STARTING or None,
        tuning=miner_state == "auto-tuning",
        fault=miner_state == "failure" or None,
        uptime=held_s,
    )
    if values["state"] == "asleep":
        values["hashrate_window_s"] = NOT_APPLICABLE
    _errors(values, status, chains, entries(nested(miner, "cooling", "fans")), miner_state)
    if tier is Tier.DAILY:
        _expected(values, part(answers.get("model"), "chain"), chains)
        values["make"] = "antminer"
        # `miner_type` is the model with the firmware after it: "Antminer S19k Pro (Vnish 1.3.3)".
        kind, _, edition = str(miner.get("miner_type") or "").partition(" (")
        put_text(values, "model", first(info, "miner", "model") or kind)
        name, version = info.get("fw_name"), info.get("fw_version")
        put_text(values, "firmware", f"{name} {version}" if name and version else version or edition.rstrip(")"))
        put_text(
            values,
            "serial",
            first(info, "serial")
            or nested(answers.get("chains_factory_info") or answers.get("factory_info"), "psu_serial"),
        )
        systems = (nested(reported, "system", "network_status", "mac") for reported in (info, summary))
        put_mac(values, next((mac for mac in systems if mac), None))
    return settle(values, tier)


def _likely_unit(miner: Mapping[str, Any]) -> float:
    """Unit of rates where none is reported: one below that of any miner with this firmware is in TH/s."""
    reported = next(
        (rate for rate in (plain(miner.get(key)) for key in ("hr_nominal", "hr_stock", "hr_realtime")) if rate), 0
    )
    return HS_PER_THS if 0 < reported < _LEAST_GHS else HS_PER_GHS


def _rates(values: Values, miner: Mapping[str, Any], scale: float) -> None:
    """`hr_*` are in the unit named by `info` (GH/s for SHA-256); the deprecated `instant_hashrate` is in a thousandfold unit,
    and the only one in the first releases of 1.2."""
    if miner.get("hr_realtime") is not None:
        put(values, "hashrate_hs", miner["hr_realtime"], scale)
    elif miner.get("instant_hashrate") is not None:
        put(values, "hashrate_hs", miner["instant_hashrate"], scale * 1e3)
    else:
        average = miner.get("hr_average")
        put(values, "hashrate_hs", miner.get("average_hashrate") if average is None else average,
            scale * 1e3 if average is None else scale)  # fmt: skip
    # The firmware does not report the window of its "realtime".
    values["hashrate_window_s"] = UNSUPPORTED
    nominal = [rate for rate in (plain(miner.get(key)) for key in ("hr_nominal", "hr_stock")) if rate is not None]
    if nominal and not any(nominal):
        # A miner that broke down before its boards were counted.
        values["hashrate_nominal_hs"] = SENTINEL
    else:
        put(values, "hashrate_nominal_hs", next((rate for rate in nominal if rate), None), scale)


def _fans(values: Values, cooling: Mapping[str, Any]) -> None:
    mode = nested(cooling, "settings", "mode", "name")
    if str(mode).lower().startswith("immers"):
        values["fan_min_rpm"] = values["fan_max_rpm"] = values["fan_duty_pct"] = NOT_APPLICABLE
        return
    fans = cooling.get("fans")
    # Earlier releases list bare speeds.
    put_fans(
        values, (fan.get("rpm") if isinstance(fan, dict) else fan for fan in fans) if isinstance(fans, list) else ()
    )
    put(values, "fan_duty_pct", cooling.get("fan_duty"))


def _hottest(chain: Mapping[str, Any], key: str) -> float | None:
    """The hottest sensor of a board: its range, else the highest of those without a doubtful status."""
    if chain.get(key) is not None:
        return plain(nested(chain, key, "max"))
    sensors = entries(chain.get(f"{key}_sens"))
    reported = [
        plain(sensor.get("temp")) for sensor in sensors if str(sensor.get("status", "")).lower() not in _DOUBTFUL
    ]
    return max((temp for temp in reported if temp is not None), default=None)


def _expected(values: Values, board: Mapping[str, Any], chains: list[dict[str, Any]]) -> None:
    """Boards and chips of the model. Without its description, the boards that are listed."""
    count, chips = plain(board.get("num_chains")), plain(board.get("chips_per_chain"))
    put(values, "boards_expected", count or (float(len(chains)) if chains else None))
    put(values, "chips_expected", count * chips if count and chips else None)


def _chains(values: Values, chains: list[dict[str, Any]], scale: float, tier: Tier) -> None:
    put(
        values,
        "boards_hashing",
        float(sum(1 for chain in chains if plain(chain.get("hashrate_rt")))) if chains else None,
    )
    tuned = [freq for freq in (plain(chain.get("frequency")) for chain in chains) if freq]
    put(values, "frequency_hz", sum(tuned) / len(tuned) if tuned else None, HZ_PER_MHZ)
    volts = [volt for volt in (plain(chain.get("voltage")) for chain in chains) if volt]
    put(values, "voltage_v", sum(volts) / len(volts) if volts else None, 1e-3)
    if tier is Tier.FAST:
        return
    values["boards_json"] = orjson.dumps(
        [
            {
                "board": whole(chain.get("id"), index),
                "hashrate_hs": plain(chain.get("hashrate_rt"), scale),
                "hashrate_nominal_hs": plain(chain.get("hashrate_ideal"), scale),
                "power_w": plain(first(chain, "power_consumption", "power_usage")),
                "frequency_hz": plain(chain.get("frequency"), HZ_PER_MHZ),
                "hw_errors": plain(chain.get("hw_errors")),
                "chips_by_colour": chain.get("chip_statuses"),
                "temps_board_c": [t for t in [_hottest(chain, "pcb_temp")] if t is not None],
                "temps_chip_c": [t for t in [_hottest(chain, "chip_temp")] if t is not None],
                "state": nested(chain, "status", "state"),
            }
            for index, chain in enumerate(chains)
        ]
    ).decode()


def _pools(miner: Mapping[str, Any]) -> list[ReportedPool]:
    """The user's pools, without those of the developer's fee.

    `active` is the one in use and `working` another that answers; where none is active, the fee is being paid, or the miner
    just starts.
    """
    listed = [pool for pool in entries(miner.get("pools")) if _is_ours(pool)]
    states = [str(pool.get("status") or "").lower() for pool in listed]
    worked_for = "active" if "active" in states else "working"
    return [
        ReportedPool(
            str(pool["url"]), str(pool.get("user") or ""), _POOL_STATES.get(status, status or None), status == worked_for,
            whole(pool.get("id"), at), *(plain(pool.get(key)) for key in ("accepted", "rejected", "stale")),
        )
        for at, (pool, status) in enumerate(zip(listed, states, strict=True))
    ]  # fmt: skip


def _is_ours(pool: Mapping[str, Any]) -> bool:
    names = {str(pool.get(key) or "").lower() for key in ("url", "user", "pool_type")}
    return bool(pool.get("url")) and not names & {"devfee", "refund"}


def _errors(
    values: Values,
    status: Mapping[str, Any],
    chains: list[dict[str, Any]],
    fans: list[dict[str, Any]],
    miner_state: str,
) -> None:
    texts = [
        f"fan {whole(fan.get('id'), at)} {fan['status']}"
        for at, fan in enumerate(fans, 1)
        if str(fan.get("status", "")).lower() in ("lost", "failure", "failed", "error")
    ]
    if miner_state == "failure" or status.get("failure_code"):
        code, description = status.get("failure_code"), status.get("description")
        texts.append(" ".join(str(part) for part in (code, description) if part is not None) or "failure")
    for chain in chains:
        state = str(nested(chain, "status", "state") or "")
        if state in ("failure", "disconnected"):
            texts.append(f"board {chain.get('id')} {state} {nested(chain, 'status', 'description') or ''}".strip())
    values["error_text"] = "; ".join(texts) if miner_state or chains else NOT_REPORTED
