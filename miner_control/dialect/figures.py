# SPDX-License-Identifier: Apache-2.0
"""Figures of miners' answers as canonical metrics: a value, or Missing with its reason.

Miners write numbers as numbers, as text (`"37603.30"`), with units (`"58.94W"`), as `"inf"` or as nothing. Every dialect
puts its figures through `put`, which knows the bounds of each metric, so that nonsense never becomes an extreme.
"""

import math
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from kernel.metric import SCHEMAS, Nature
from kernel.reading import MISSING, Absence, Field, Missing
from miner_control.dialect.evidence import MEAN_SINCE_START
from telemetry.collect.source import Tier

Values = dict[str, Field]

NOT_REPORTED = MISSING[Absence.NOT_REPORTED]
UNSUPPORTED = MISSING[Absence.UNSUPPORTED]
SENTINEL = MISSING[Absence.SENTINEL]
NONSENSE = MISSING[Absence.NONSENSE]
NOT_APPLICABLE = MISSING[Absence.NOT_APPLICABLE]

# Sources of a power figure that a miner can report itself; `meter` and `nameplate` come from elsewhere.
PSU, ESTIMATE = "psu", "estimate"

_MOST = sys.float_info.max
_BOUNDS: Mapping[str, tuple[float, float]] = {
    name: (-_MOST if metric.low is None else metric.low, _MOST if metric.high is None else metric.high)
    for name, metric in SCHEMAS["miner"].items()
    if metric.nature in (Nature.GAUGE, Nature.COUNTER)
}
_CORE = frozenset(
    {"hashrate_hs", "hashrate_window_s", "power_w", "power_source", "power_limit_w", "state", "mode", "uptime_s"}
)
_OF_THE_DAY = ("make", "model", "firmware", "serial", "mac", "hashrate_nominal_hs", "boards_expected", "chips_expected")
_SLOW = tuple(name for name in SCHEMAS["miner"] if name not in _OF_THE_DAY)
_NUMBER = re.compile(
    r"\s*([-+]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,])|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?))(.*)", re.DOTALL
)
# Text after digits that makes a date, a clock, a version, a hexadecimal number or a list: no figure.
_UNPRINTED = re.compile(r"[\x00-\x20\x7f]+")
_NO_FIGURE = re.compile(r"[-:,.xX/_]\w")
_PREFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15, "e": 1e18}
_UNITS: Mapping[str, Mapping[str, float]] = {
    "hs": {f"{prefix}{unit}": scale for prefix, scale in _PREFIXES.items() for unit in ("h", "hs", "sol", "sols")},
    "hz": {f"{prefix}hz": scale for prefix, scale in _PREFIXES.items()},
    "w": {"w": 1.0, "kw": 1e3},
    "v": {"v": 1.0, "mv": 1e-3},
}
_ABSENT = frozenset({"", "-", "--", "n/a", "na", "none", "null", "unknown"})


def number(raw: Any) -> float | Missing:
    """A figure of any spelling. Text is read up to its unit: `"4052.00 RPM"` is 4052, and `"13,704.59"` is 13704.59."""
    kind = type(raw)
    if kind is float or kind is int:
        return raw if -math.inf < raw < math.inf else NONSENSE
    if kind is str:
        return _spelt(raw)[0]
    return NOT_REPORTED if raw is None else NONSENSE


def _spelt(raw: str) -> tuple[float | Missing, str]:
    """The figure of a text and its unit, in small letters without `/s`."""
    found = _NUMBER.match(raw)
    if found is None:
        return (NOT_REPORTED if raw.strip().lower() in _ABSENT else NONSENSE), ""
    figure = float(found[1].replace(",", ""))
    if not -math.inf < figure < math.inf or _NO_FIGURE.match(found[2]):
        return NONSENSE, ""
    return figure, found[2].strip().lower().removesuffix("/s")


def put(values: Values, metric: str, raw: Any, scale: float = 1.0) -> None:
    """Set a metric from a miner's figure, times `scale` to the canonical unit; out of bounds is NONSENSE.

    A unit named in the text (`"3.4 kW"`, `"95 TH/s"`) has priority over the scale.
    """
    if type(raw) is not float and type(raw) is not int:
        if type(raw) is str:
            raw, unit = _spelt(raw)
            scale = _UNITS.get(metric.rpartition("_")[2], {}).get(unit, scale) if unit else scale
        else:
            raw = number(raw)
        if isinstance(raw, Missing):
            values[metric] = raw
            return
    figure = raw * scale
    low, high = _BOUNDS[metric]
    # NaN and the infinities fail the comparison too.
    values[metric] = figure if low <= figure <= high else NONSENSE


def spelt(raw: Any) -> str:
    """A text; empty for a text that means none (`N/A`)."""
    text = raw.strip().strip("'") if isinstance(raw, str) else "" if raw is None else str(raw)
    if not text.isprintable():
        text = " ".join(_UNPRINTED.sub(" ", text).split())
    return "" if text.lower() in _ABSENT else text


def put_window(values: Values, window_s: float | None, uptime: Any) -> None:
    """Set the window of the rate: `window_s`, or, for a mean since the start (None), the age that the miner reports. A mean
    of unknown age is MEAN_SINCE_START: it says nothing of now."""
    put(values, "hashrate_window_s", window_s or uptime)
    if not window_s and isinstance(values["hashrate_window_s"], Missing):
        values["hashrate_window_s"] = MEAN_SINCE_START


def put_text(values: Values, metric: str, raw: Any) -> None:
    """Set a text metric; an absent one is NOT_REPORTED."""
    values[metric] = spelt(raw) or NOT_REPORTED


def put_mac(values: Values, raw: Any) -> None:
    """Set the MAC address; twelve digits without colons (some firmwares) get them."""
    values["mac"] = mac_text(raw) or NOT_REPORTED


def mac_text(raw: Any) -> str:
    """A MAC address with colons; empty where absent."""
    text = spelt(raw)
    bare = text.replace("-", "").replace(":", "")
    return ":".join(bare[at : at + 2] for at in range(0, 12, 2)) if len(bare) == 12 else text


def put_max(values: Values, metric: str, raws: Iterable[Any]) -> None:
    """Set a metric to the greatest of several figures; where every one is the sensor's zero it is SENTINEL."""
    best, seen, low, high = -math.inf, NOT_REPORTED, *_BOUNDS[metric]
    for raw in raws:
        figure = number(raw)
        if isinstance(figure, Missing):
            continue
        if figure == 0:
            seen = SENTINEL
        elif not low <= figure <= high:
            seen = NONSENSE
        elif figure > best:
            best = figure
    values[metric] = float(best) if best > -math.inf else seen


def put_fans(values: Values, raws: Iterable[Any]) -> None:
    """Set slowest and fastest fan (rpm). A stopped fan is a figure, not an absence; no fan at all is NOT_REPORTED."""
    rpms = list(raws)
    for raw in rpms:
        if type(raw) is not int:
            rpms = [figure for figure in map(number, rpms) if not isinstance(figure, Missing)]
            break
    if rpms:
        put(values, "fan_min_rpm", min(rpms))
        put(values, "fan_max_rpm", max(rpms))
    else:
        values["fan_min_rpm"] = values["fan_max_rpm"] = NOT_REPORTED


def settle(values: Values, tier: Tier) -> Values:
    """Fill in Missing for metrics absent from the answers, as far as this tier can judge; returns `values`.

    A fast poll reads little: metrics that it lacks may be in another tier's answers and are left out, except those that
    control relies on. The slow tier reads all but the daily metrics, the daily tier everything.
    """
    if tier is not Tier.FAST:
        values.setdefault("schedules_json", UNSUPPORTED)
    for name in ("boards_json", "pools_json"):
        if values.get(name) == "[]":  # an empty list does not prove that there are none
            values[name] = NOT_REPORTED
    if tier is Tier.DAILY:
        for name in SCHEMAS["miner"]:
            values.setdefault(name, NOT_REPORTED)
        return values
    for name in [name for name, field in values.items() if field is NOT_REPORTED and name not in _CORE]:
        del values[name]
    if tier is Tier.SLOW:
        for name in _SLOW:
            values.setdefault(name, NOT_REPORTED)
    return values


def put_schedules(values: Values, tier: Tier, answered: Any, reported: Mapping[str, Any]) -> None:
    """Set the firmware's own schedules by its names for them, as JSON: `{}` where its settings name none, NOT_REPORTED
    where they were not `answered`. Left out in a fast poll."""
    if tier is not Tier.FAST:
        known = {name: setting for name, setting in reported.items() if setting is not None}
        values["schedules_json"] = (
            orjson.dumps(known, option=orjson.OPT_SORT_KEYS).decode() if answered else NOT_REPORTED
        )


def plain(raw: Any, scale: float = 1.0) -> float | None:
    """A figure for a board or pool entry: None where absent (JSON null)."""
    figure = number(raw)
    return None if isinstance(figure, Missing) else figure * scale


def total(parts: Iterable[float | None]) -> float | None:
    """The sum of the parts, or None without parts or with an unknown one: a partial sum is another figure."""
    known = list(parts)
    return sum(known) if known and None not in known else None  # type: ignore[arg-type]


def above_zero(rates: Iterable[float | None]) -> float | None:
    """Number of boards with a rate, or None without boards or with an unreported one."""
    return total(None if rate is None else float(rate > 0) for rate in rates)


def whole(raw: Any, otherwise: int = 0) -> int:
    """A small whole number (position of a board, rank of a pool), or `otherwise`."""
    figure = plain(raw)
    return int(figure) if figure is not None and abs(figure) < 1e6 else otherwise


def part(section: Any, key: str) -> dict[str, Any]:
    """An object within an object; empty where either is something else."""
    found = section.get(key) if isinstance(section, Mapping) else None
    return found if isinstance(found, dict) else {}


def first(section: Mapping[str, Any], *keys: str) -> Any:
    """The first value that is present among several spellings of a key, or None."""
    for key in keys:
        found = section.get(key)
        if found is not None:
            return found
    return None


def truth(raw: Any) -> bool | None:
    """True, False, or None where unclear: miners write true, "true", 1, "Y", "on", "enable"."""
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, int | float):
        return raw != 0
    if isinstance(raw, str):
        spelling = raw.strip().strip("'").lower()
        if spelling in ("true", "y", "yes", "on", "1", "enable", "enabled"):
            return True
        if spelling in ("false", "n", "no", "off", "0", "disable", "disabled"):
            return False
    return None
