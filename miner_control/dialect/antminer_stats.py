# SPDX-License-Identifier: Apache-2.0
"""What stock Antminer answers mean: the RPC shape (numbered keys: `chain_rate1`) and the CGI shape (lists: `chain`)."""

from collections.abc import Mapping
from typing import Any

import orjson

from kernel.errors import DecodeError
from kernel.reading import Field, Missing, Reason
from miner_control.dialect import cgminer
from miner_control.dialect.evidence import state_of
from miner_control.dialect.figures import (
    ESTIMATE,
    NOT_APPLICABLE,
    NOT_REPORTED,
    Values,
    first,
    number,
    plain,
    put,
    put_fans,
    put_max,
    put_text,
)
from miner_control.dialect.pools import cgminer_pools, put_pools
from telemetry.source import Tier

_RATES = {"GH": 1e9, "MH": 1e6, "TH": 1e12, "KH": 1e3, "PH": 1e15, "H": 1.0}
_WINDOWS = (
    (("GHS 5s", "rate_5s"), 5.0), (("GHS 1m", "rate_1m"), 60.0), (("GHS 5m", "rate_5m"), 300.0),
    (("GHS 30m", "rate_30m"), 1800.0), (("GHS av", "rate_avg"), None),
)  # fmt: skip
_WORK_MODES = {0: "normal", 1: "sleep", 2: "hem", 3: "low"}
NO_POWER = Missing(Reason.UNSUPPORTED, "this stock firmware tells no power")


def mode_of(conf: Mapping[str, Any]) -> int | None:
    """The work mode of a configuration or of `stats`, or None."""
    found = plain(first(conf, "bitmain-work-mode", "miner-mode", "work_mode", "work-mode"))
    return None if found is None else int(found)


def _mode_name(mode: int, answers: Mapping[str, Any]) -> str:
    """The envelope's name of a work mode; the S19K family calls its low mode 2, all others 3."""
    if mode == 2 and "S19K" in model_of(answers).upper().replace(" ", ""):
        return "low"
    return _WORK_MODES.get(mode, str(mode))


def model_of(answers: Mapping[str, Any]) -> str:
    """The model as the miner names it, or an empty text."""
    system = answers.get("get_system_info") or answers.get("system_info") or {}
    version = cgminer.section(answers.get("version") or {}, "VERSION")
    stats = answers.get("stats") or {}
    info = stats.get("INFO")
    for source in (system, *version, *cgminer.section(stats, "STATS"), info if isinstance(info, dict) else {}):
        found = first(source, "minertype", "Type", "type", "miner_type")
        if found:
            return str(found)
    return ""


def wants_mode(answers: Mapping[str, Any], values: Mapping[str, Field]) -> bool:
    """Whether only the configuration can tell why nothing is hashed."""
    return not values.get("hashrate_hs") and mode_of(_figures(answers.get("stats", {}))) is None


def is_new(stats: Mapping[str, Any]) -> bool:
    """Whether `stats` came in the shape of the CGI."""
    return "chain" in _figures(stats)


def _figures(stats: Mapping[str, Any]) -> dict[str, Any]:
    """The object of `stats` that holds the figures; the other one names the firmware."""
    for entry in reversed(cgminer.section(dict(stats), "STATS")):
        if "chain" in entry or "GHS 5s" in entry or "GHS av" in entry or "Elapsed" in entry or "elapsed" in entry:
            return entry
    return {}


def decode(answers: Mapping[str, Any], tier: Tier) -> dict[str, Field]:
    """Values of the answers that are there. Raises DecodeError where no figure at all could be read."""
    summaries = cgminer.section(answers.get("summary") or {}, "SUMMARY")
    summary = summaries[0] if summaries else {}
    stats = _figures(answers.get("stats") or {})
    conf = answers.get("get_miner_conf") or answers.get("miner_conf") or {}
    refused = next((no for no in map(cgminer.refusal, filter(None, answers.values())) if no), None)
    if not (summary or stats or conf or answers.get("pools") or answers.get("version") or answers.get("devs")):
        if refused:
            raise DecodeError("reply", f"refused with code {refused[0]}: {refused[1]}")
        if not any(key in answers for key in ("system_info", "get_system_info")):
            raise DecodeError("reply", f"nothing of a stock Antminer in {sorted(answers)}")
    values: Values = {}
    _rates(values, summary, stats)
    put(values, "uptime_s", first(stats, "Elapsed", "elapsed") if stats else first(summary, "Elapsed", "elapsed"))
    watts = first(stats, "watt", "power", "Power", "chain_power") or first(summary, "watt", "power", "Power")
    if watts is None:
        values["power_w"], values["power_source"] = NO_POWER, NO_POWER
    else:
        put(values, "power_w", watts)
        values["power_source"] = ESTIMATE
    put(values, "hw_errors", first(summary, "Hardware Errors", "hw_all"))
    for metric, key in (("shares_accepted", "Accepted"), ("shares_rejected", "Rejected"), ("shares_stale", "Stale")):
        if key in summary:
            put(values, metric, summary[key])
    chains = stats.get("chain")
    if isinstance(chains, list):
        boards = _listed_chains([chain for chain in chains if isinstance(chain, dict)], stats)
    else:
        boards = _numbered_chains(stats)
    _boards(values, stats, boards)
    _fans(values, stats)
    pools = cgminer_pools(cgminer.section(answers.get("pools") or {}, "POOLS"))
    put_pools(values, pools, as_json=tier is not Tier.FAST)
    mode = mode_of(stats)
    if mode is None:
        mode = mode_of(conf)
    values["mode"] = NOT_REPORTED if mode is None else _mode_name(mode, answers)
    values["state"] = state_of(
        values["hashrate_hs"], asleep=None if mode is None else mode == 1, uptime=values["uptime_s"]
    )
    if values["state"] == "asleep":
        values["hashrate_window_s"] = NOT_APPLICABLE
    _errors(values, answers, tier)
    if tier is not Tier.FAST:
        values["boards_json"] = orjson.dumps(boards).decode()
    if tier is Tier.DAILY:
        _identity(values, answers)
    return values


def _rates(values: Values, summary: Mapping[str, Any], stats: Mapping[str, Any]) -> None:
    for keys, window_s in _WINDOWS:
        for key in keys:
            for source in (stats, summary):
                raw = source.get(key)
                if raw is None or raw == "":
                    continue
                put(values, "hashrate_hs", raw, _scale(source) if key[0] == "r" else 1e9)
                put(values, "hashrate_window_s", window_s if window_s else first(source, "Elapsed", "elapsed"))
                break
            else:
                continue
            break
        else:
            continue
        break
    else:
        values["hashrate_hs"] = values["hashrate_window_s"] = NOT_REPORTED
    put(values, "hashrate_nominal_hs", first(stats, "total_rateideal", "rate_ideal"), _scale(stats))


def _scale(section: Mapping[str, Any]) -> float:
    unit = str(section.get("rate_unit", "GH")).upper().removesuffix("/S").removesuffix("S")
    return _RATES.get(unit, 1e9)


def _numbered_chains(stats: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`chain_rate1`, `chain_acn1`, `temp_pcb1`, ...: a chain is there where it has chips."""
    boards = []
    for index in range(1, 17):
        chips = stats.get(f"chain_acn{index}")
        rate = stats.get(f"chain_rate{index}")
        if chips is None and rate is None:
            continue
        count = number(chips)
        if not (isinstance(count, float | int) and count > 0) and not plain(rate):
            continue
        map_text = str(stats.get(f"chain_acs{index}", ""))
        boards.append(
            {
                "board": index,
                "hashrate_hs": plain(rate, 1e9),
                "chips": plain(chips),
                "chips_hashing": map_text.count("o") if map_text.strip() else None,
                "frequency_hz": plain(first(stats, f"freq{index}", f"freq_avg{index}"), 1e6),
                "hw_errors": plain(stats.get(f"chain_hw{index}")),
                "temps_board_c": _dashed(first(stats, f"temp_pcb{index}", f"temp{index}")),
                "temps_chip_c": _dashed(first(stats, f"temp_chip{index}", f"temp2_{index}")),
            }
        )
    return boards


def _listed_chains(chains: list[dict[str, Any]], stats: Mapping[str, Any]) -> list[dict[str, Any]]:
    scale = _scale(stats)
    return [
        {
            "board": int(plain(chain.get("index")) or 0),
            "hashrate_hs": plain(chain.get("rate_real"), scale),
            "hashrate_nominal_hs": plain(chain.get("rate_ideal"), scale),
            "chips": plain(chain.get("asic_num")),
            "chips_hashing": str(chain["asic"]).count("o") if str(chain.get("asic", "")).strip() else None,
            "frequency_hz": plain(chain.get("freq_avg"), 1e6),
            "hw_errors": plain(chain.get("hw")),
            "temps_board_c": _dashed(first(chain, "temp_pcb", "temp_pic")),
            "temps_chip_c": _dashed(chain.get("temp_chip")),
            "serial": chain.get("sn"),
        }
        for chain in chains
    ]


def _dashed(raw: Any) -> list[float]:
    """Temperatures as `"78-50-69-70"`, a list, or one figure. Zeros (a sensor that is not there) are left out."""
    if isinstance(raw, str):
        # A minus after a dash or at the start is a sign: "-5--3-20" are three.
        parts: list[Any] = [part for part in raw.replace("--", "-\x00").split("-") if part]
        parts = [part.replace("\x00", "-") for part in parts]
    else:
        parts = raw if isinstance(raw, list) else [raw]
    figures = (number(part) for part in parts)
    return [float(figure) for figure in figures if not isinstance(figure, Missing) and figure != 0]


def _boards(values: Values, stats: Mapping[str, Any], boards: list[dict[str, Any]]) -> None:
    if not stats:
        names = (
            "temp_board_max_c",
            "temp_chip_max_c",
            "boards_hashing",
            "boards_expected",
            "chips_hashing",
            "frequency_hz",
        )
        values.update(dict.fromkeys(names, NOT_REPORTED))
        return
    put_max(values, "temp_board_max_c", (temp for board in boards for temp in board["temps_board_c"]))
    put_max(values, "temp_chip_max_c", (temp for board in boards for temp in board["temps_chip_c"]))
    values["boards_hashing"] = float(sum(1 for board in boards if board["hashrate_hs"]))
    put(values, "boards_expected", first(stats, "miner_count", "chain_num"))
    chips = [board["chips_hashing"] if board["chips_hashing"] is not None else board["chips"] for board in boards]
    known = [chip for chip in chips if chip is not None]
    put(values, "chips_hashing", sum(known) if known else None)
    put(values, "frequency_hz", first(stats, "total_freqavg", "frequency", "freq_avg"), 1e6)
    if isinstance(values["frequency_hz"], Missing):
        tuned = [board["frequency_hz"] for board in boards if board["frequency_hz"]]
        put(values, "frequency_hz", sum(tuned) / len(tuned) if tuned else None)


def _fans(values: Values, stats: Mapping[str, Any]) -> None:
    listed = stats.get("fan")
    count = plain(stats.get("fan_num"))
    if count == 0:
        values["fan_min_rpm"] = values["fan_max_rpm"] = NOT_APPLICABLE
    elif isinstance(listed, list):
        put_fans(values, listed)
    else:
        rpms = [stats.get(f"fan{index}") for index in range(1, 9)]
        told = [rpm for rpm in rpms if rpm is not None]
        # Some list eight fans and have four: the ones beyond `fan_num` that stand at zero are not there.
        put_fans(values, told[: int(count)] if count and any(map(plain, told[: int(count)])) else told)
    put(values, "fan_duty_pct", first(stats, "fan_pwm", "fan_duty"))


def _errors(values: Values, answers: Mapping[str, Any], tier: Tier) -> None:
    """The CGI summary carries a list of checks; `warning` a list of codes. RPC alone tells nothing of errors."""
    found: list[str] = []
    told = False
    for entry in cgminer.section(answers.get("summary") or {}, "SUMMARY"):
        for check in entry.get("status") or []:
            if isinstance(check, dict):
                told = True
                if str(check.get("status", "s")).lower() not in ("s", "success", "ok"):
                    found.append(f"{check.get('type', '')} {check.get('code', '')} {check.get('msg', '')}".strip())
    for entry in cgminer.section(answers.get("warning") or {}, "WARNING"):
        told = True
        found.append(" ".join(str(value) for value in entry.values() if not isinstance(value, list | dict)))
    if tier is not Tier.FAST or told:
        values["error_text"] = "; ".join(filter(None, found)) if told else NOT_REPORTED


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
    put_text(values, "mac", system.get("macaddr"))
