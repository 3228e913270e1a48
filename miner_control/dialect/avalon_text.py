# SPDX-License-Identifier: Apache-2.0
"""Values from Avalon's bracket text, `Ver[..] SYSTEMSTATU[Work: In Work, ..] PS[0 1209 1295 253 3276 1295 3428] ...`.

`PS` is the supply: error, control board volts, hash board volts (both in hundredths), amperes, watts on the output, volts
set, watts at the inlet (seven figures; the six of older models end before the inlet). `MPO` is the power target, not the
draw. `GHSspd` is the present rate, which the A10 leaves at zero while it works; `GHSmm` is the rate by the frequencies.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from kernel.errors import DecodeError
from kernel.reading import Field
from kernel.units import HS_PER_GHS, HS_PER_MHS, HZ_PER_MHZ
from miner_control.dialect import cgminer
from miner_control.dialect.evidence import state_of
from miner_control.dialect.figures import (
    NOT_APPLICABLE,
    NOT_REPORTED,
    PSU,
    SENTINEL,
    Values,
    above_zero,
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
)
from miner_control.dialect.maker_errors import avalon_fails, avalon_supply
from miner_control.dialect.pools import cgminer_pools, put_pools
from telemetry.collect.source import Tier

_PAIR = re.compile(r"([A-Za-z][\w]*)\[([^\[\]]*)\]")
_MODULE = re.compile(r"MM ID(\d+)")
_ABSENT_C = -200.0
_FANS = ("Fan", *(f"Fan{index}" for index in range(1, 9)))
_MODES = {
    "q": {0: "eco", 1: "standard", 2: "super"},
    "small": {0: "low", 1: "medium", 2: "high"},
    "a": {0: "normal", 1: "high"},
}
_VERSION = re.compile(r"-\d{8}(_|$).*")
_OLD_VERSION = re.compile(r"(\d{3})\d{4}-")
_OFF_V = 0.1

PSU_OUTPUT = "psu_output"
"""Power behind the supply: that at the wall is higher by the supply's loss, which these models do not report."""

Pairs = dict[str, str]


def figures(answers: Mapping[str, Any]) -> list[Pairs]:
    """The bracket pairs of each module in any of the statistics."""
    for command in ("estats", "stats", "litestats"):
        found: dict[tuple[int, str], Pairs] = {}
        for at, entry in enumerate(cgminer.section(answers.get(command) or {}, "STATS")):
            for key, text in entry.items():
                module = _MODULE.match(str(key))
                if module and isinstance(text, str) and "[" in text:
                    # A module may be reported in two texts, `MM ID0` and `MM ID0:Summary`.
                    found.setdefault((at, module[1]), {}).update(_PAIR.findall(text))
        if found:
            return list(found.values())
    return []


def mode_number(mode: str, family: str) -> int | None:
    """The firmware's number of a work mode; the names differ by family."""
    named = {name: number for number, name in _MODES[family].items()}
    return int(mode) if mode.isdigit() else named.get(mode.lower())


def decode(answers: Mapping[str, Any], tier: Tier) -> dict[str, Field]:
    """Values of the given answers. Raises DecodeError where they hold nothing of an Avalon."""
    modules = figures(answers)
    summaries = cgminer.section(answers.get("summary") or {}, "SUMMARY")
    summary = summaries[0] if summaries else {}
    pool_entries = cgminer.section(answers.get("pools") or {}, "POOLS")
    version = next(iter(cgminer.section(answers.get("version") or {}, "VERSION")), {})
    devs = cgminer.section(answers.get("devs") or {}, "DEVS")
    if not (modules or summary or pool_entries or version or devs):
        refused = next((no for no in map(cgminer.refusal, filter(None, answers.values())) if no), None)
        raise DecodeError(
            "reply", f"refused with code {refused[0]}: {refused[1]}" if refused else "nothing of an Avalon"
        )
    values: Values = {}
    head = modules[0] if modules else {}
    work = head.get("SYSTEMSTATU", "").lower()
    working = None if not work else "in work" in work
    _rates(values, modules, summary or (devs[0] if devs else {}), working)
    put(values, "uptime_s", first(head, "Elapsed") or summary.get("Elapsed"))
    _power(values, modules)
    errors = first(summary, "Hardware Errors")
    put(values, "hw_errors", _total(modules, "HW") if errors is None else errors)
    for metric, key in (("shares_accepted", "Accepted"), ("shares_rejected", "Rejected"), ("shares_stale", "Stale")):
        if key in summary:
            put(values, metric, summary[key])
    _heat(values, modules)
    _boards(values, modules, tier)
    if pool_entries or tier is not Tier.FAST:
        put_pools(values, cgminer_pools(pool_entries), as_json=tier is not Tier.FAST)
    number = plain(head.get("WORKMODE"))
    values["mode"] = (
        NOT_REPORTED if number is None else _MODES[_family(head, version)].get(int(number), str(int(number)))
    )
    soft_off = plain(head.get("SoftOFF"))
    idle = "idle" in work or "work: off" in work
    values["state"] = state_of(
        values["hashrate_hs"],
        window_s=values["hashrate_window_s"],
        working=working,
        asleep=bool(soft_off) and (idle or working is None) if soft_off is not None else None,
        starting="in init" in work or "start" in work or None,
        # Idle without a command: pool lost, heat, or broken. Not sleep.
        fault="fault" in work or "error" in work or (idle and soft_off == 0) or None,
        # The A10 does not report its command: only that its boards have no power.
        stopped=(bool(modules) and soft_off is None and _unpowered(head)) or None,
        uptime=values["uptime_s"],
    )
    if values["state"] == "asleep":
        values["hashrate_window_s"] = NOT_APPLICABLE
    _errors(values, modules, tier)
    if tier is Tier.DAILY:
        values["make"] = "avalon"
        put_text(values, "model", first(version, "PROD", "MODEL") or _model(head.get("Ver", "")))
        put_text(values, "firmware", first(version, "LVERSION", "VERSION", "CGVERSION") or first(head, "LVer", "Ver"))
        # The serial number of a controller with many modules belongs to none of them.
        put_text(
            values, "serial", _named(version, "DNA") or (_named(head, "DNA", "HDNA") if len(modules) == 1 else None)
        )
        put_mac(values, first(version, "MAC"))
    return settle(values, tier)


def _total(modules: list[Pairs], key: str) -> float | None:
    """The sum of a figure over the modules, or None where one does not report it."""
    return total(plain(module.get(key)) for module in modules)


def _named(section: Mapping[str, Any], *keys: str) -> str | None:
    """The first of several texts that names a device: neither a placeholder nor zeros, which many units share."""
    found = (spelt(section.get(key)) for key in keys)
    return next((text for text in found if text and not text.startswith("<") and text.strip("0")), None)


def _model(text: str) -> str:
    """The model before the version: `1126Pro-S-64-21072803_..`, `15-194-24102401_..`, and 741 of `7411706-..`."""
    old = _OLD_VERSION.match(text)
    return old[1] if old else _VERSION.sub("", text).removesuffix("-")


def avalon_model(answers: Mapping[str, Any]) -> str:
    """The model by the statistics; empty for statistics of another make."""
    modules = figures(answers)
    return _model(modules[0].get("Ver", "")) if modules else ""


def _supply(module: Pairs) -> list[float | None]:
    """Figures of the supply; empty where it reports nothing but zeros, as one without a line to the control board does."""
    found = [plain(part) for part in module.get("PS", "").split()]
    return found if any(found) else []


def _wall_w(module: Pairs, supply: list[float | None]) -> float | None:
    """Power at the wall: the seventh figure of the supply, the sixth on the Nano 3, whose seventh is the core voltage."""
    if _model(module.get("Ver", "")).lower() == "nano3":
        return supply[5] if len(supply) >= 6 else None
    return supply[6] if len(supply) >= 7 else plain(module.get("WALLPOWER"))


def _unpowered(module: Pairs) -> bool:
    """Whether the supply gives the boards no power: zero watts, and volts that round to zero."""
    supply = _supply(module)
    return len(supply) >= 5 and supply[4] == 0 and supply[2] is not None and supply[2] * 0.01 <= _OFF_V


def family_of(answers: Mapping[str, Any]) -> str:
    """`a`, `q` or `small` (Nano, Mini), by statistics or version: they differ in the names and numbers of their modes."""
    modules = figures(answers)
    return _family(
        modules[0] if modules else {}, next(iter(cgminer.section(answers.get("version") or {}, "VERSION")), {})
    )


def _family(head: Mapping[str, Any], version: Mapping[str, Any]) -> str:
    name = f"{head.get('Ver', '')} {version.get('PROD', '')} {version.get('MODEL', '')}".lower()
    if "nano" in name or "mini" in name:
        return "small"
    return "q" if name.startswith("q-") or "avalon q" in name else "a"


def _rates(values: Values, modules: list[Pairs], rates: Mapping[str, Any], working: bool | None) -> None:
    now = _total(modules, "GHSspd")
    if now or (now == 0 and working is False):
        put(values, "hashrate_hs", now, HS_PER_GHS)
        # "spd" is the firmware's present speed, over an unreported window.
        values["hashrate_window_s"] = NOT_REPORTED
    else:
        for key, window_s in (
            ("MHS 5s", 5.0),
            ("MHS 30s", 30.0),
            ("MHS 1m", 60.0),
            ("MHS 5m", 300.0),
            ("MHS av", None),
        ):
            if rates.get(key) is not None:
                put(values, "hashrate_hs", rates[key], HS_PER_MHS)
                put_window(values, window_s, rates.get("Elapsed"))
                break
        else:
            mean = _total(modules, "GHSavg")
            put(values, "hashrate_hs", now if mean is None else mean, HS_PER_GHS)
            put_window(values, None, None if mean is None else modules[0].get("Elapsed"))
    put(values, "hashrate_nominal_hs", _total(modules, "GHSmm") or None, HS_PER_GHS)


def _power(values: Values, modules: list[Pairs]) -> None:
    drawn: list[float | None] = []
    source = PSU
    for module in modules:
        supply = _supply(module)
        watts = _wall_w(module, supply)
        if watts is None and len(supply) >= 5:
            watts, source = supply[4], PSU_OUTPUT
        drawn.append(watts)
    watts = total(drawn)
    put(values, "power_w", watts)
    values["power_source"] = NOT_REPORTED if watts is None else source
    volts = [supply[2] * 0.01 for supply in map(_supply, modules) if len(supply) >= 6 and supply[2] and supply[1]]
    if volts:
        # Nano models, whose supply is outside, leave the control board's at zero and report others in another unit.
        put(values, "voltage_v", sum(volts) / len(volts))
    put(values, "power_limit_w", _total(modules, "MPO") or None)


def _put_temp(values: Values, metric: str, raws: list[Any]) -> None:
    """The greatest temperature; -273 marks an absent sensor."""
    reported = [raw for raw in raws if raw is not None]
    there = [raw for raw in reported if (plain(raw) or 0.0) > _ABSENT_C]
    if reported and not there:
        values[metric] = SENTINEL
    else:
        put_max(values, metric, there)


def _one_of(module: Pairs, *keys: str) -> str | None:
    """The first of several sensors that is present; where none is, the report of the first."""
    reported = [module[key] for key in keys if key in module]
    return next((raw for raw in reported if (plain(raw) or 0.0) > _ABSENT_C), reported[0] if reported else None)


def _heat(values: Values, modules: list[Pairs]) -> None:
    chips = [raw for module in modules for raw in (module.get("TMax"), *module.get("MTmax", "").split()) if raw]
    _put_temp(values, "temp_chip_max_c", chips)
    _put_temp(values, "temp_board_max_c", [_one_of(module, "HBOTemp", "BTemp") for module in modules])
    _put_temp(values, "temp_inlet_c", [_one_of(module, "ITemp", "HBITemp", "Temp") for module in modules])
    _put_temp(values, "temp_outlet_c", [_one_of(module, "OTemp", "HBOTemp") for module in modules])
    fans = [module[key] for module in modules for key in _FANS if key in module]
    put_fans(values, fans)
    duty = [figure for figure in (plain(module.get("FanR")) for module in modules) if figure is not None]
    put(values, "fan_duty_pct", max(duty) if duty else None)
    put(values, "frequency_hz", (plain(modules[0].get("Freq")) or None) if modules else None, HZ_PER_MHZ)


def _boards(values: Values, modules: list[Pairs], tier: Tier) -> None:
    work = modules[0].get("SYSTEMSTATU", "") if modules else ""
    idle = "idle" in work.lower()
    boards: list[dict[str, Any]] = []
    for module in modules:
        rates, chips = module.get("MGHS", "").split(), module.get("MTmax", "").split()
        for index, rate in enumerate(rates):
            boards.append(
                {
                    "board": len(boards),
                    "hashrate_hs": None if idle else plain(rate, HS_PER_GHS),
                    "temps_chip_c": [plain(chips[index])] if index < len(chips) else [],
                }
            )
    # MGHS is a mean since the start: it gives the number of boards, and for a working miner how many of them hash.
    found = re.search(r"Hash Board:\s*(\d+)", work)
    hashing = above_zero(board["hashrate_hs"] for board in boards) if "In Work" in work else None
    put(values, "boards_hashing", 0.0 if idle or (modules and _unpowered(modules[0])) else hashing)
    put(values, "boards_expected", found[1] if found else float(len(boards)) if boards else None)
    put(values, "chips_expected", _total(modules, "TA") or None)
    if tier is not Tier.FAST:
        values["boards_json"] = orjson.dumps(boards).decode()


def _errors(values: Values, modules: list[Pairs], tier: Tier) -> None:
    if not modules:
        if tier is not Tier.FAST:
            values["error_text"] = NOT_REPORTED
        return
    texts = []
    for module in modules:
        if plain(module.get("SoftOFF")) == 0 and "in idle" in module.get("SYSTEMSTATU", "").lower():
            texts.append(module["SYSTEMSTATU"].partition(",")[0].strip())
        for key in ("ECHU", "ECMM"):
            for place, part in enumerate(module.get(key, "").split()):
                bits = plain(part)
                fails = avalon_fails(int(bits)) if bits else []
                texts += [f"{key} {place}: {', '.join(fails)}"] if fails else []
        for key in ("PCOMM_E", "FanErr"):
            reported = module.get(key, "").strip()
            if reported and any(part != "0" for part in reported.split()):
                texts.append(f"{key} {reported}")
        fault_text = next(iter(_supply(module)), None)
        if fault_text:
            texts.append(f"supply: {avalon_supply(int(fault_text))}")
    values["error_text"] = "; ".join(texts)
