# SPDX-License-Identifier: Apache-2.0
"""Values from ePIC UMC answers: `summary` with its boards, fans, supply and operating state."""

from collections.abc import Mapping
from typing import Any

import orjson

from kernel.errors import DecodeError
from kernel.reading import Field
from kernel.units import HS_PER_MHS, HS_PER_THS, HZ_PER_MHZ
from miner_control.dialect.evidence import state_of
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
    put_max,
    put_schedules,
    put_text,
    put_window,
    settle,
    truth,
    whole,
)
from miner_control.dialect.pools import ALIVE, DEAD, ReportedPool, put_pools
from miner_control.dialect.web import entries, nested
from telemetry.collect.source import Tier

_STARTING = (
    "initializing",
    "loading",
    "preinitcooldown",
    "adjustingclockvoltage",
    "rebooting",
    "softrebooting",
    "updatingfirmware",
    "testing",
)
IN_WATTS = ("PowerTune", "Power")
"""Names of the tuner's power-target algorithm, the newer first."""


def decode(answers: Mapping[str, Any], tier: Tier) -> dict[str, Field]:
    """Values of the given answers. Raises DecodeError where they hold nothing of an ePIC board."""
    summary, capabilities = part(answers, "summary"), part(answers, "capabilities")
    if not ("Session" in summary or "Status" in summary or "HBs" in summary or capabilities):
        raise DecodeError("summary", "nothing of an ePIC board")
    values: Values = {}
    known = capabilities or part(answers, "known")
    boards, session = entries(summary.get("HBs")), part(summary, "Session")
    _rates(values, boards, session)
    put(values, "hashrate_nominal_hs", capabilities.get("Default Hashrate"), HS_PER_THS)
    put(values, "uptime_s", session.get("Uptime"))
    for metric, key in (("shares_accepted", "Accepted"), ("shares_rejected", "Rejected"), ("shares_stale", "Stale")):
        put(values, metric, session.get(key))
    _power(values, summary, known)
    _heat(values, answers, summary, boards, known)
    _boards(values, summary, boards, capabilities, tier)
    _pool(values, summary, session, tier)
    algorithm = nested(summary, "PerpetualTune", "Algorithm")
    name = next(iter(algorithm), None) if isinstance(algorithm, Mapping) else algorithm
    target = nested(algorithm, name, "Target") if isinstance(name, str) else None
    unit = nested(algorithm, name, "Unit") if isinstance(name, str) else None
    put_text(values, "mode", f"{name} {target} {unit or ''}".strip() if target is not None else name)
    _state(values, summary)
    scheduler = summary.get("Scheduler")
    if isinstance(scheduler, Mapping):
        put_schedules(values, tier, True, {"schedule": {"enabled": truth(scheduler.get("Enable")), **scheduler}})
    if tier is Tier.DAILY:
        values["make"] = "antminer" if "antminer" in str(capabilities.get("Model", "")).lower() else "epic"
        put_text(values, "model", capabilities.get("Model"))
        put_text(values, "firmware", summary.get("Software"))
        serial = capabilities.get("Miner Serial Number") or nested(capabilities, "Control Board Version", "cpuSerial")
        put_text(values, "serial", serial)
        network = part(answers, "network")
        put_text(
            values, "mac", next((net["mac_address"] for net in network.values() if nested(net, "mac_address")), None)
        )
    return settle(values, tier)


def _rate(board: Mapping[str, Any]) -> float | None:
    """`Hashrate` is [MH/s, percent of ideal, error percent], or the figure alone."""
    raw = board.get("Hashrate")
    return plain(raw[0] if isinstance(raw, list) and raw else raw if not isinstance(raw, list) else None, HS_PER_MHS)


def _rates(values: Values, boards: list[dict[str, Any]], session: Mapping[str, Any]) -> None:
    reported = [rate for rate in (_rate(board) for board in boards) if rate is not None]
    if reported:
        put(values, "hashrate_hs", sum(reported))
        values["hashrate_window_s"] = NOT_REPORTED
    else:
        put(values, "hashrate_hs", session.get("Average MHs"), HS_PER_MHS)
        put_window(values, None, session.get("Uptime"))


def _power(values: Values, summary: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    supply = part(summary, "Power Supply Stats")
    put(values, "power_w", supply.get("Input Power"))
    hashing = values["hashrate_hs"]
    if values["power_w"] == 0 and isinstance(hashing, float | int) and hashing > 0:
        # A hashing board draws power: this supply has no meter and leaves its fields at zero.
        values["power_w"] = SENTINEL
    metered = truth(nested(known, "Psu Info", "True Power"))
    if metered is None:
        # Releases before 1.30 do not report it. A supply that meters its input has its voltage and current.
        metered = bool(plain(supply.get("Input Voltage"))) and bool(plain(supply.get("Input Current")))
    reported = isinstance(values["power_w"], float | int)
    values["power_source"] = NOT_REPORTED if not reported else PSU if metered else ESTIMATE
    limits = (nested(summary, "PerpetualTune", "Algorithm", name, "Target") for name in IN_WATTS)
    put(values, "power_limit_w", next((limit for limit in limits if limit is not None), None))
    volts = plain(first(supply, "Output Voltage"))
    put(values, "voltage_v", volts if volts else None)


def _heat(
    values: Values,
    answers: Mapping[str, Any],
    summary: Mapping[str, Any],
    boards: list[dict[str, Any]],
    known: Mapping[str, Any],
) -> None:
    sensors = [board.get("Temperature") for board in boards] + _data(answers.get("temps"))
    of_chips = _data(answers.get("chip_temps") or answers.get("temps_chip"))
    if str(nested(known, "Temp Sensor Info", "Type")).lower() == "chip":
        # These boards measure their chips only.
        put_max(values, "temp_chip_max_c", [*sensors, *of_chips])
        values["temp_board_max_c"] = UNSUPPORTED
    else:
        put_max(values, "temp_board_max_c", sensors)
        put_max(values, "temp_chip_max_c", of_chips)
    rpm = part(summary, "Fans Rpm")
    put_fans(values, (figure for figure in rpm.values() if figure is not None))
    put(values, "fan_duty_pct", nested(summary, "Fans", "Fans Speed"))
    clocks = [clock for clock in (plain(board.get("Core Clock Avg")) for board in boards) if clock]
    put(values, "frequency_hz", sum(clocks) / len(clocks) if clocks else None, HZ_PER_MHZ)


def _data(groups: Any) -> list[Any]:
    """The figures of `[{"Index", "Data": [..]}]`; truth values are left out."""
    found: list[Any] = []
    for group in entries(groups):
        data = group.get("Data")
        found += data if isinstance(data, list) else [data]
    return [figure for figure in found if not isinstance(figure, bool)]


def _boards(
    values: Values,
    summary: Mapping[str, Any],
    boards: list[dict[str, Any]],
    capabilities: Mapping[str, Any],
    tier: Tier,
) -> None:
    places = entries(summary.get("HBStatus"))
    hashing = [board for board in boards if _rate(board)]
    reported = boards or places or "HBs" in summary
    put(values, "boards_hashing", float(len(hashing)) if reported else None)
    put(values, "boards_expected", capabilities.get("Max HBs") or (float(len(places)) if places else None))
    per_board = plain(nested(capabilities, "Performance Estimator", "Chip Count"))
    expected = plain(values["boards_expected"]) if not isinstance(values["boards_expected"], str) else None
    put(values, "chips_expected", per_board * expected if per_board and expected else None)
    if tier is Tier.FAST:
        return
    enabled = {str(place.get("Index")): truth(place.get("Enabled")) for place in places}
    serials = capabilities.get("Board Serial Numbers")
    values["boards_json"] = orjson.dumps(
        [
            {
                "board": whole(board.get("Index"), 0),
                "hashrate_hs": _rate(board),
                "frequency_hz": plain(board.get("Core Clock Avg"), HZ_PER_MHZ),
                "temps_board_c": [temp for temp in [plain(board.get("Temperature"))] if temp],
                "enabled": enabled.get(str(board.get("Index"))),
                "serial": serials[index] if isinstance(serials, list) and index < len(serials) else None,
            }
            for index, board in enumerate(boards)
        ]
    ).decode()


def _pool(values: Values, summary: Mapping[str, Any], session: Mapping[str, Any], tier: Tier) -> None:
    stratum = part(summary, "Stratum")
    current, connected = str(stratum.get("Current Pool") or ""), truth(stratum.get("IsPoolConnected"))
    state = None if connected is None else ALIVE if connected else DEAD
    user = str(stratum.get("Current User") or "")
    places = [
        (str(one.get("pool") or ""), str(one.get("login") or "")) for one in entries(summary.get("StratumConfigs"))
    ]
    places = [place for place in places if place[0]]
    # The pool in use is reported without its scheme, and is not always the first.
    fitting = [at for at, (url, _) in enumerate(places) if current and url.endswith(current)]
    used = next((at for at in fitting if places[at][1] == user), fitting[0] if fitting else None)
    if current and used is None:
        places, used = [(current, user), *places], 0
    pools = [ReportedPool(url, login, None, False, at, None, None, None) for at, (url, login) in enumerate(places)]
    if used is not None:
        shares = (plain(session.get("Accepted")), plain(session.get("Rejected")))
        pools[used] = ReportedPool(places[used][0], user or places[used][1], state, True, used, *shares, None)
    put_pools(values, pools, as_json=tier is not Tier.FAST)


def _state(values: Values, summary: Mapping[str, Any]) -> None:
    operating = str(nested(summary, "Status", "Operating State") or "").replace(" ", "").lower()
    last = str(nested(summary, "Status", "Last Command") or "").lower()
    error = nested(summary, "Status", "Last Error")
    idle = operating in ("idling", "idle", "stopped", "stopping")
    # A board that idles because its pool is gone was not put to sleep; one that received Stop was.
    orphan = (
        truth(summary.get("IdleOnConnectionLost")) and truth(nested(summary, "Stratum", "IsPoolConnected")) is False
    )
    # Since 1.38 the firmware has idle hours of its own.
    reported = "stop" in last or bool(nested(summary, "Scheduler", "CurrentIdlePeriod"))
    values["state"] = state_of(
        values["hashrate_hs"],
        window_s=values["hashrate_window_s"],
        working=operating == "mining",
        asleep=(idle and not error and (reported or not orphan)) if operating else None,
        stopped=(idle and not error) or None,
        starting=operating in _STARTING or None,
        fault=bool(error) or None,
        uptime=values["uptime_s"],
    )
    if values["state"] == "asleep":
        values["hashrate_window_s"] = NOT_APPLICABLE
    others = (summary.get(f"Last {name} Error") for name in ("License", "Devfee"))
    texts = [error_text(reported_error) for reported_error in (error, *others) if reported_error]
    values["error_text"] = "; ".join(texts) if "Status" in summary else NOT_REPORTED


def error_text(error: Any) -> str:
    """The text of an error: a name, or an object of name and detail."""
    if isinstance(error, Mapping):
        return "; ".join(f"{name} {detail}" for name, detail in error.items())
    return str(error)
