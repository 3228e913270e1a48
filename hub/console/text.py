# SPDX-License-Identifier: Apache-2.0
"""Numbers and instants as text for people: units, ages, the site's own clock. The one place where units are for display."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from markupsafe import Markup

from hub.query.schema import STATE_CODES, AlarmLine, EventLine, Fleet, Measure, ReceiptLine
from kernel.clock import MS_PER_S, to_datetime
from kernel.event import EventKind
from kernel.units import HS_PER_THS, MS_PER_DAY, S_PER_DAY

NONE = "—"
THIN = "\u202f"
NUMBER = re.compile(r"(?<![\w-])\d+(?:\.\d+)?(?![\w-])")
NAMED = re.compile(r"\S*\d\S*")
ROLLED = frozenset({EventKind.SOURCE_SILENT, EventKind.SOURCE_RETURNED, EventKind.ALARM_CHANGED})
GROUP_MS = 60_000
SHORT_MS = 5 * 60_000
FAR_MS = 40 * MS_PER_DAY


def power(value_w: float | None) -> str:
    """Watts in MW, kW or W with three to four digits that mean something."""
    if value_w is None:
        return NONE
    for size, unit in ((1e9, "GW"), (1e6, "MW"), (1e3, "kW")):
        if abs(value_w) >= size:
            return f"{value_w / size:.2f}{THIN}{unit}"
    return f"{value_w:.0f}{THIN}W"


def hashrate(value_hs: float | None) -> str:
    """Hashes per second in EH/s, PH/s or TH/s."""
    if value_hs is None:
        return NONE
    for size, unit in ((1e18, "EH/s"), (1e15, "PH/s"), (1e12, "TH/s")):
        if abs(value_hs) >= size:
            return f"{value_hs / size:.2f}{THIN}{unit}"
    return f"{value_hs / HS_PER_THS:.2f}{THIN}TH/s"


def kwh(value_per_mwh: float | None) -> str:
    """A price per MWh as people say it: per kWh, without its unit."""
    return NONE if value_per_mwh is None else f"{value_per_mwh / 1e3:.2f}"


def age(seconds: float | None) -> str:
    """How old: 4 s, 12 min, 3 h, 2 d."""
    if seconds is None:
        return NONE
    for size, unit in ((S_PER_DAY, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f}{THIN}{unit}"
    return f"{max(seconds, 0):.0f}{THIN}s"


def seconds(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f}{THIN}s"


def percent(share: float | None) -> str:
    return NONE if share is None else f"{share * 100:.1f}{THIN}%"


def whole(value: float | None) -> str:
    """A count with thin spaces: 12 345."""
    return NONE if value is None else f"{value:,.0f}".replace(",", THIN)


def _local(at_ms: int, zone: str) -> datetime:
    return to_datetime(at_ms).astimezone(ZoneInfo(zone))


def clock(at_ms: int | None, zone: str) -> str:
    """14:05:09 of the site's day."""
    return NONE if at_ms is None else _local(at_ms, zone).strftime("%H:%M:%S")


def minute(at_ms: int | None, zone: str) -> str:
    """14:05 of the site's day."""
    return NONE if at_ms is None else _local(at_ms, zone).strftime("%H:%M")


def day_minute(at_ms: int | None, zone: str) -> str:
    """2026-01-05 14:05 by the site's clock."""
    return NONE if at_ms is None else _local(at_ms, zone).strftime("%Y-%m-%d %H:%M")


def offset(at_ms: int, zone: str) -> str:
    """UTC+05:00."""
    text = _local(at_ms, zone).strftime("%z")
    return f"UTC{text[:3]}:{text[3:]}"


def when(span: tuple[int, int], now_ms: int, zone: str) -> str:
    """From when until when, by the site's clock: with the day where it is not today; an open end is named as such."""
    start_ms, end_ms = span
    today = _local(now_ms, zone).date()

    def shown(at_ms: int) -> str:
        local = _local(at_ms, zone)
        return local.strftime("%H:%M") if local.date() == today else local.strftime("%d %b %H:%M")

    before, after = start_ms <= now_ms - FAR_MS, end_ms >= now_ms + FAR_MS
    if before and after:
        return "always"
    if before or after:
        return f"until {shown(end_ms)}" if before else f"from {shown(start_ms)}"
    if end_ms - start_ms < SHORT_MS:
        return f"{clock(start_ms, zone)} – {clock(end_ms, zone)}"
    same_day = _local(start_ms, zone).date() == _local(end_ms, zone).date()
    return f"{shown(start_ms)} – {minute(end_ms, zone) if same_day else shown(end_ms)}"


def with_unit(text: str) -> Markup:
    """The unit set smaller than its number."""
    number, thin, unit = text.partition(THIN)
    return Markup('{}<span class="unit">{}</span>').format(number, thin + unit) if thin else Markup("{}").format(text)


def unknown(measure: Measure) -> str:
    """Why there is no value, or how old and from where it is."""
    parts = [measure["source"]]
    if measure["value"] is None:
        parts.append(measure["why"] or "unknown")
    elif measure["age_s"] is not None and measure["age_s"] >= 10:
        parts.append(f"{age(measure['age_s'])} old")
    elif measure["why"]:
        parts.append(measure["why"])
    return ", ".join(part for part in parts if part)


def money(balance: Mapping[str, Any]) -> str:
    """A balance in whole smallest units, as people read it: SAT as BTC is not done; tiyn as tenge is."""
    amount, unit = int(balance["net"]), str(balance["unit"])
    if unit in ("TIYN", "CENT"):
        return f"{amount / 100:,.2f}".replace(",", THIN) + THIN + {"TIYN": "KZT", "CENT": "USD"}[unit]
    return f"{amount:,}".replace(",", THIN) + THIN + {"SAT": "sat", "WH": "Wh"}.get(unit, unit)


EARNED = {
    "hash_income": "mining", "reserve_income": "reserve", "energy": "energy", "coincident_peak": "the system's peak",
    "starts": "starts", "peak": "the month's highest power", "take_or_pay": "energy not taken", "battery_wear": "battery",
}  # fmt: skip


def worth(plan: Mapping[str, Any]) -> str:
    """What a plan is worth, and what that is made of: −12 345 KZT: mining 30 000, energy −42 345."""
    parts = [f"{EARNED[name]} {whole(money)}" for name, money in plan.get("parts", {}).items() if abs(money) >= 0.5]
    total = f"{whole(plan['value'])}{THIN}{plan['currency']}"
    reported = (f"{total}: {', '.join(parts)}" if parts else total).replace("-", "−")
    stuck = str(plan.get("facts", {}).get("not planned", "")).partition(":")[0].replace(" cannot", " that cannot")
    return f"{reported}; with the power, and without the hashes, of {stuck}" if stuck else reported


def plan_slots(plan: Mapping[str, Any] | None, now_ms: int, most: int) -> list[dict[str, Any]]:
    """The slots of a plan from now on; neighbours of one power and one reason are joined, their prices as a range."""
    if plan is None:
        return []
    edges = plan["edges_ms"]
    rows: list[dict[str, Any]] = []
    for index, (power_w, reason) in enumerate(zip(plan["power_w"], plan["reasons"], strict=True)):
        if edges[index + 1] <= now_ms:
            continue
        last = rows[-1] if rows else None
        if (
            last
            and last["kind"] == NUMBER.sub("#", reason)
            and abs(last["power_w"] - power_w) < 0.01 * max(power_w, 1.0)
        ):
            last["end_ms"] = edges[index + 1]
            last["reasons"].append(reason)
            continue
        if len(rows) == most:
            break
        row = {"start_ms": edges[index], "end_ms": edges[index + 1], "power_w": power_w, "reasons": [reason]}
        rows.append(row | {"kind": NUMBER.sub("#", reason)})
    return [row | {"reason": _ranged(row["reasons"])} for row in rows]


def _ranged(reasons: list[str]) -> str:
    """Reasons that differ in their numbers only, as one: each number that differs becomes lowest–highest."""
    numbers = [[float(found) for found in NUMBER.findall(reason)] for reason in reasons]
    spans = [(min(column), max(column)) for column in zip(*numbers, strict=True)]
    filled = iter(f"{low:g}" if low == high else f"{low:.0f}–{high:.0f}" for low, high in spans)
    return NUMBER.sub(lambda _: next(filled), reasons[0]) if len(reasons) > 1 else reasons[0]


def grouped(receipts: Sequence[ReceiptLine], most: int) -> list[dict[str, Any]]:
    """Commands of one kind, reason and outcome that follow one another, as one row with how many miners and how long."""
    rows: list[dict[str, Any]] = []
    held: dict[tuple[str, ...], dict[str, Any]] = {}
    for line in receipts:
        kind = (line["intent"], line["reason"], line["outcome"], line["text"])
        row = held.get(kind)
        if row is None or row["at_ms"] - line["at_ms"] > GROUP_MS:
            if len(rows) == most:
                break
            row = held[kind] = {**line, "count": 0, "devices": [], "took": []}
            rows.append(row)
        row["count"] += 1
        row["devices"].append(line["device"].rpartition("/")[2])
        row["took"] += [] if line["took_s"] is None else [line["took_s"]]
    return rows


def alarm_groups(alarms: Sequence[AlarmLine], most: int) -> dict[str, Any]:
    """The alarms that need somebody, one row a rule and state with its places; how many rules more; how many are put away."""
    loud = [line for line in alarms if line["state"] in ("unacknowledged", "acknowledged", "returned")]
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for line in loud:
        row = rows.setdefault((line["rule"], line["state"]), {**line, "scopes": []})
        row["scopes"].append(line["scope"].rpartition("/")[2])
        row["raised_ms"] = min(row["raised_ms"], line["raised_ms"])
    shown = list(rows.values())
    return {"rows": shown[:most], "more": max(0, len(shown) - most), "away": len(alarms) - len(loud)}


def rolled_up(log: Sequence[EventLine], most: int) -> list[dict[str, Any]]:
    """The log with lines of one kind that differ in a name or number only rolled into one, with their count."""
    rows: list[dict[str, Any]] = []
    held: dict[tuple[str, str], dict[str, Any]] = {}
    for line in log:
        kind = (line["kind"], NAMED.sub("#", line["text"]))
        row = held.get(kind)
        if line["kind"] in ROLLED and row is not None and row["at_ms"] - line["at_ms"] <= GROUP_MS:
            row["count"] += 1
            continue
        if len(rows) == most:
            break
        row = held[kind] = {**line, "count": 1}
        rows.append(row)
    return rows


def took(row: Mapping[str, Any]) -> str:
    """How long a group of commands took: 1.4–2.7 s."""
    if not row["took"]:
        return ""
    low, high = min(row["took"]), max(row["took"])
    return f"{low:.1f}–{high:.1f}{THIN}s" if high - low >= 0.1 else f"{low:.1f}{THIN}s"


def racks(fleet: Fleet) -> list[dict[str, Any]]:
    """The heat map as a table: per rack the miners in each state, and the hottest."""
    found: dict[str, dict[str, Any]] = {}
    for rack, state, temp in zip(fleet["racks"], fleet["state"], fleet["temp_c"], strict=True):
        row = found.setdefault(rack, {"rack": rack, "total": 0, "states": {}, "temp_max_c": None})
        name = STATE_CODES[state]
        row["total"] += 1
        row["states"][name] = row["states"].get(name, 0) + 1
        if temp is not None:
            row["temp_max_c"] = temp if row["temp_max_c"] is None else max(row["temp_max_c"], temp)
    return list(found.values())


def lasting(start_ms: int, end_ms: int) -> str:
    return age((end_ms - start_ms) / MS_PER_S)


FILTERS: dict[str, Callable[..., Any]] = {
    "power": power,
    "hashrate": hashrate,
    "kwh": kwh,
    "age": age,
    "seconds": seconds,
    "percent": percent,
    "whole": whole,
    "clock": clock,
    "minute": minute,
    "day_minute": day_minute,
    "offset": offset,
    "when": when,
    "with_unit": with_unit,
    "unknown": unknown,
    "money": money,
    "worth": worth,
    "took": took,
    "lasting": lambda span: lasting(span[0], span[1]),
}
