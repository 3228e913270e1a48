# SPDX-License-Identifier: Apache-2.0
"""What VNish answers mean: one `summary` object holds nearly everything."""

from collections.abc import Mapping
from typing import Any

import orjson

from kernel.errors import DecodeError
from kernel.reading import Field
from miner_control.dialect.evidence import LAG_S, state_of
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
from miner_control.dialect.pools import ALIVE, DEAD, DISABLED, PoolSeen, put_pools
from miner_control.dialect.web import entries, nested
from telemetry.source import Tier

_STARTING = ("initializing", "starting", "restarting")
_LEAST_GHS = 2000.0
_UNITS = {"TH/S": 1e12, "GH/S": 1e9, "MH/S": 1e6}
_POOL_STATES = {
    "active": ALIVE,
    "working": ALIVE,
    "alive": ALIVE,
    "offline": DEAD,
    "rejecting": DEAD,
    "disabled": DISABLED,
}


def decode(answers: Mapping[str, Any], tier: Tier) -> dict[str, Field]:
    """Values of the answers that are there. Raises DecodeError where nothing of VNish is in them."""
    summary = answers.get("summary") or {}
    miner = first(summary, "miner") if isinstance(summary, Mapping) else None
    info = answers.get("info") or {}
    status = nested(miner, "miner_status") or answers.get("status") or {}
    if not isinstance(miner, Mapping):
        # While it starts, `miner` is null and only the status and the information speak.
        if not (status or info or "summary" in answers):
            raise DecodeError("reply", f"nothing of VNish in {sorted(answers)}")
        miner = {}
    values: Values = {}
    scale = _UNITS.get(str(info.get("hr_measure", "")).upper())
    _rates(values, miner, scale)
    word = str(first(status, "miner_state", "state") or "").lower()
    held_s = plain(status.get("miner_state_time"))
    put(values, "uptime_s", held_s if word in ("mining", "auto-tuning") else None)
    put(values, "power_w", first(miner, "power_consumption", "power_usage"))
    metered = truth(nested(miner, "psu", "psu_power_metering"))
    values["power_source"] = (
        NOT_REPORTED if not isinstance(values["power_w"], float | int) else PSU if metered else ESTIMATE
    )
    misc = nested(answers.get("settings"), "miner", "misc") or {}
    put(values, "power_limit_w", misc.get("power_limit") if truth(misc.get("power_limit_enabled")) else None)
    put(values, "hw_errors", miner.get("hw_errors"))
    chains = entries(miner.get("chains"))
    put_max(
        values,
        "temp_board_max_c",
        [nested(miner, "pcb_temp", "max"), *(nested(chain, "pcb_temp", "max") for chain in chains)],
    )
    put_max(
        values,
        "temp_chip_max_c",
        [nested(miner, "chip_temp", "max"), *(nested(chain, "chip_temp", "max") for chain in chains)],
    )
    for metric, key in (("temp_inlet_c", "inlet_water_temp"), ("temp_outlet_c", "outlet_water_temp")):
        told = [temp for temp in (plain(chain.get(key)) for chain in chains) if temp is not None]
        put(values, metric, max(told) if told else None)
    _fans(values, nested(miner, "cooling") or {})
    _chains(values, chains, tier)
    put_pools(values, _pools(miner), as_json=tier is not Tier.FAST)
    preset = nested(answers.get("perf_summary"), "current_preset", "name")
    put_text(values, "mode", preset or nested(answers.get("settings"), "miner", "overclock", "preset"))
    performance = answers.get("perf_summary")
    put_schedules(values, tier, performance, {"preset_switcher": nested(performance, "preset_switcher")})
    values["state"] = state_of(
        values["hashrate_hs"],
        # The mean since the start is all that is told: it is no present rate.
        window_s=LAG_S if first(miner, "hr_realtime", "instant_hashrate") is None else None,
        working=word == "mining",
        asleep=word in ("stopped", "paused", "shutting-down") if word else None,
        starting=word in _STARTING or None,
        tuning=word == "auto-tuning",
        fault=word == "failure" or None,
        uptime=held_s,
    )
    if values["state"] == "asleep":
        values["hashrate_window_s"] = NOT_APPLICABLE
    _errors(values, status, chains, entries(nested(miner, "cooling", "fans")), word)
    if tier is Tier.DAILY:
        values["make"] = "antminer"
        # `miner_type` is the model with the firmware behind it: "Antminer S19k Pro (Vnish 1.3.3)".
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
        put_mac(values, nested(info, "system", "network_status", "mac"))
    return settle(values, tier)


def _rates(values: Values, miner: Mapping[str, Any], scale: float | None) -> None:
    """`hr_*` are in the unit that `info` names (GH/s for SHA-256); the deprecated `instant_hashrate` is a thousand times coarser.

    Where no unit is told, a rate below that of any miner this firmware runs on can only be meant in TH/s.
    """
    if scale is None:
        told = plain(first(miner, "hr_nominal", "hr_stock", "hr_realtime")) or 0.0
        scale = 1e12 if 0 < told < _LEAST_GHS else 1e9
    if miner.get("hr_realtime") is not None:
        put(values, "hashrate_hs", miner["hr_realtime"], scale)
    elif miner.get("instant_hashrate") is not None:
        put(values, "hashrate_hs", miner["instant_hashrate"], scale * 1e3)
    else:
        put(values, "hashrate_hs", first(miner, "hr_average", "average_hashrate"), scale)
    # The firmware does not say over how long its "realtime" is taken.
    values["hashrate_window_s"] = UNSUPPORTED
    put(values, "hashrate_nominal_hs", first(miner, "hr_nominal", "hr_stock"), scale)


def _fans(values: Values, cooling: Mapping[str, Any]) -> None:
    mode = nested(cooling, "settings", "mode", "name")
    if str(mode).lower().startswith("immers"):
        values["fan_min_rpm"] = values["fan_max_rpm"] = values["fan_duty_pct"] = NOT_APPLICABLE
        return
    put_fans(values, (fan.get("rpm") for fan in entries(cooling.get("fans"))))
    put(values, "fan_duty_pct", cooling.get("fan_duty"))


def _chains(values: Values, chains: list[dict[str, Any]], tier: Tier) -> None:
    put(
        values,
        "boards_hashing",
        float(sum(1 for chain in chains if plain(chain.get("hashrate_rt")))) if chains else None,
    )
    put(values, "boards_expected", float(len(chains)) if chains else None)
    tuned = [freq for freq in (plain(chain.get("frequency")) for chain in chains) if freq]
    put(values, "frequency_hz", sum(tuned) / len(tuned) if tuned else None, 1e6)
    volts = [volt for volt in (plain(chain.get("voltage")) for chain in chains) if volt]
    put(values, "voltage_v", sum(volts) / len(volts) if volts else None, 1e-3)
    if tier is Tier.FAST:
        return
    values["boards_json"] = orjson.dumps(
        [
            {
                "board": whole(chain.get("id"), index),
                "hashrate_hs": plain(chain.get("hashrate_rt"), 1e9),
                "hashrate_nominal_hs": plain(chain.get("hashrate_ideal"), 1e9),
                "power_w": plain(chain.get("power_consumption")),
                "frequency_hz": plain(chain.get("frequency"), 1e6),
                "hw_errors": plain(chain.get("hw_errors")),
                "chips_by_colour": chain.get("chip_statuses"),
                "temps_board_c": [t for t in [plain(nested(chain, "pcb_temp", "max"))] if t is not None],
                "temps_chip_c": [t for t in [plain(nested(chain, "chip_temp", "max"))] if t is not None],
                "state": nested(chain, "status", "state"),
            }
            for index, chain in enumerate(chains)
        ]
    ).decode()


def _pools(miner: Mapping[str, Any]) -> list[PoolSeen]:
    """The user's pools; those of the developer's fee are none of ours."""
    found: list[PoolSeen] = []
    for pool in entries(miner.get("pools")):
        url, kind = str(pool.get("url") or ""), str(pool.get("pool_type") or "UserPool")
        if not url or kind != "UserPool" or url.lower() == "devfee" or str(pool.get("user", "")).lower() == "devfee":
            continue
        status = str(pool.get("status", "")).lower()
        found.append(
            PoolSeen(
                url, str(pool.get("user", "")), _POOL_STATES.get(status, status or None), status in ("active", "working"),
                whole(pool.get("id"), len(found)), plain(pool.get("accepted")), plain(pool.get("rejected")),
                plain(pool.get("stale")),
            )
        )  # fmt: skip
    return found


def _errors(
    values: Values, status: Mapping[str, Any], chains: list[dict[str, Any]], fans: list[dict[str, Any]], word: str
) -> None:
    texts = [
        f"fan {whole(fan.get('id'), at)} {fan['status']}"
        for at, fan in enumerate(fans, 1)
        if str(fan.get("status", "")).lower() in ("lost", "failure", "failed", "error")
    ]
    if word == "failure" or status.get("failure_code"):
        code, description = status.get("failure_code"), status.get("description")
        texts.append(" ".join(str(part) for part in (code, description) if part is not None) or "failure")
    for chain in chains:
        state = str(nested(chain, "status", "state") or "")
        if state in ("failure", "disconnected"):
            texts.append(f"board {chain.get('id')} {state} {nested(chain, 'status', 'description') or ''}".strip())
    values["error_text"] = "; ".join(texts) if word or chains else NOT_REPORTED
