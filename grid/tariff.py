# SPDX-License-Identifier: Apache-2.0
"""All-in price of energy from dated tariffs: time of use or market energy, network, taxes, demand charge.

A tariff is one TOML file (`configs/tariffs/`): components, each with its editions (valid from/to, source, certainty). Each
component becomes a curve over the slots requested, in the site's own zone; an unknown edition raises an error, and one that
is not firm makes the price a draft and is named. Prices are floats in the tariff's currency; billing in whole units is done
by the treasury.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from kernel.clock import MS_PER_HOUR, from_datetime, to_datetime
from kernel.curve import Curve
from kernel.dated import Dated, rule_on
from kernel.errors import ConfigError, Fault
from kernel.span import Slots, Span, local_day
from kernel.toml_model import parse_toml, tables_in
from kernel.units import W_PER_KW, WH_PER_KWH, WH_PER_MWH

Floats = NDArray[np.float64]
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Kind(StrEnum):
    """Quantity by which a component is charged."""

    PER_KWH = "per_kwh"
    """A price per kWh, the same at all hours or by windows of the site's day."""
    MARKET = "market"
    """The market's price curve, times `factor`, plus `amount` per kWh."""
    PERCENT = "percent"
    """A percentage of the sum of the components named in `of` (value-added tax)."""
    DEMAND = "demand"
    """Price per kW of the month's highest power."""


@dataclass(frozen=True, slots=True)
class Window:
    """Price on some days between two local times; `until` 24:00 is midnight at the end of the day."""

    days: frozenset[int]
    from_minute: int
    until_minute: int
    price_per_kwh: float


@dataclass(frozen=True, slots=True)
class Rate:
    """Value of one edition: `amount` in the component's unit; within a window the window's price applies instead."""

    amount: float
    windows: tuple[Window, ...] = ()
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Component:
    """One line of the bill, with dated editions; `of` names the components of which a percentage is taken."""

    key: str
    kind: Kind
    title: str
    editions: tuple[Dated[Rate], ...]
    of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tariff:
    """All lines of one contract or region, in one currency and zone."""

    name: str
    currency: str
    zone: ZoneInfo
    components: tuple[Component, ...]


@dataclass(frozen=True, slots=True)
class AllIn:
    """Price of energy per slot, shape [slot], and of the month's highest power.

    - `covered[slot]`: share of the slot for which every part is known (a market curve may end); below 1 the price must not be
      used for planning.
    - `parts_per_wh`: by component; `draft`: components that are not firm.
    """

    price_per_wh: Floats
    covered: Floats
    parts_per_wh: Mapping[str, Floats]
    demand_per_w: float
    currency: str
    draft: tuple[str, ...] = field(default=())


def all_in(tariff: Tariff, slots: Slots, market: Curve | None = None) -> AllIn:
    """All-in price on slots. `market`: in `<currency>/MWh`, required where a component is of kind market.

    ConfigError where an edition is missing, doubled or unknown, or the market's unit is another.
    """
    parts: dict[str, Floats] = {}
    covered = np.ones(len(slots))
    demand_per_w, draft = 0.0, []
    days = _local_days(slots.span, tariff.zone)
    for component in tariff.components:
        rules = {day: rule_on(component.editions, component.key, day) for day in days}
        if not all(rule.firm for rule in rules.values()):
            draft.append(component.key)
        rates = {day: rule.value for day, rule in rules.items() if rule.value is not None}
        match component.kind:
            case Kind.PER_KWH:
                parts[component.key] = _by_day(tariff, rates, slots)
            case Kind.MARKET:
                price, share = _market(tariff, component, rates, slots, market)
                parts[component.key], covered = price, np.minimum(covered, share)
            case Kind.PERCENT:
                of = sum((parts[key] for key in component.of), np.zeros(len(slots)))
                parts[component.key] = of * _amount(tariff, rates, slots) / 100
            case Kind.DEMAND:
                demand_per_w += max(rate.amount for rate in rates.values()) / W_PER_KW
    total: Floats = sum(parts.values(), np.zeros(len(slots)))
    return AllIn(total, covered, parts, demand_per_w, tariff.currency, tuple(draft))


def _local_days(span: Span, zone: ZoneInfo) -> list[date]:
    first, last = (to_datetime(at_ms).astimezone(zone).date() for at_ms in (span.start_ms, span.end_ms - 1))
    return [first + timedelta(days=index) for index in range((last - first).days + 1)]


def _on_slots(pieces: list[tuple[int, int, float]], slots: Slots) -> Floats:
    starts, ends, values = (np.array(column) for column in zip(*pieces, strict=True))
    curve = Curve("tariff", "", starts.astype(np.int64), ends.astype(np.int64), values.astype(np.float64), 0, "tariff")
    return curve.on_slots(slots)[0]


def _amount(tariff: Tariff, rates: Mapping[date, Rate], slots: Slots) -> Floats:
    """Plain amount of each day on slots."""
    spans = {day: local_day(day, tariff.zone) for day in rates}
    return _on_slots([(spans[day].start_ms, spans[day].end_ms, rate.amount) for day, rate in rates.items()], slots)


def _by_day(tariff: Tariff, rates: Mapping[date, Rate], slots: Slots) -> Floats:
    """Windows and base price of each local day as pieces of UTC time, per Wh on slots."""
    pieces = []
    for day, rate in rates.items():
        span = local_day(day, tariff.zone)
        today = [window for window in rate.windows if day.weekday() in window.days]
        minutes = {minute for window in today for minute in (window.from_minute, window.until_minute)}
        edges = sorted({span.start_ms, span.end_ms} | {_at(day, minute, tariff.zone) for minute in minutes})
        if span.hours != 24:  # a window may begin in an hour that is skipped or repeated
            edges = sorted({*edges, *range(span.start_ms, span.end_ms, MS_PER_HOUR // 4)})
        for start_ms, end_ms in pairwise(edges):
            clock = to_datetime(start_ms).astimezone(tariff.zone)
            minute = clock.hour * 60 + clock.minute
            price = next((w.price_per_kwh for w in today if w.from_minute <= minute < w.until_minute), rate.amount)
            pieces.append((start_ms, end_ms, price / WH_PER_KWH))
    return _on_slots(pieces, slots)


def _at(day: date, minute: int, zone: ZoneInfo) -> int:
    following, rest = divmod(minute, 24 * 60)
    clock = time(rest // 60, rest % 60)
    return from_datetime(datetime.combine(day + timedelta(days=following), clock, tzinfo=zone))


def _market(
    tariff: Tariff, component: Component, rates: Mapping[date, Rate], slots: Slots, market: Curve | None
) -> tuple[Floats, Floats]:
    unit = f"{tariff.currency}/MWh"
    if market is None or market.unit != unit:
        found = "there is none" if market is None else f"its unit is {market.unit}"
        raise ConfigError([Fault(f"tariff {tariff.name}: {component.key}", found, f"Give a price curve in {unit}")])
    mean, covered = market.on_slots(slots)
    factors = {day: Rate(rate.factor) for day, rate in rates.items()}
    adder = _amount(tariff, rates, slots) / WH_PER_KWH
    return mean / WH_PER_MWH * _amount(tariff, factors, slots) + adder, covered


# ---- file ----


def load(text: str, place: str) -> Tariff:
    """A tariff from its TOML. ConfigError with every fault, each with its place."""
    body = parse_toml(text, place)
    faults: list[Fault] = []
    head = {}
    for key in ("name", "currency", "zone"):
        head[key] = body.get(key)
        if not isinstance(head[key], str) or not head[key]:
            faults.append(Fault(f"{place}: {key}", "is missing", "Give it as a text"))
    try:
        zone = ZoneInfo(str(head["zone"]))
    except (ZoneInfoNotFoundError, ValueError):
        faults.append(Fault(f"{place}: zone", f"{head['zone']!r} is no IANA zone", "Write such as Asia/Almaty"))
        zone = ZoneInfo("UTC")
    rows = body.get("component")
    if not isinstance(rows, list) or not rows:
        faults.append(Fault(place, "holds no [[component]]", "Give at least one line of the bill"))
        rows = []
    components = [
        made for index, row in enumerate(rows) if (made := _component(row, f"{place}: component[{index}]", faults))
    ]
    seen: set[str] = set()
    for component in components:
        faults.extend(
            Fault(f"{place}: {component.key}", f"of names {name!r}, which is not a component before it", "Reorder")
            for name in component.of
            if name not in seen
        )
        if component.key in seen:
            faults.append(Fault(f"{place}: {component.key}", "occurs twice", "Use one component with several editions"))
        seen.add(component.key)
    if faults:
        raise ConfigError(faults)
    return Tariff(str(head["name"]), str(head["currency"]), zone, tuple(components))


def _component(row: Any, place: str, faults: list[Fault]) -> Component | None:
    before = len(faults)
    if not isinstance(row, dict) or not isinstance(row.get("key"), str):
        faults.append(Fault(place, "has no key", "Name the line of the bill"))
        return None
    place = f"{place} {row['key']}"
    if row.get("kind") not in list(Kind):
        faults.append(Fault(place, f"kind {row.get('kind')!r} is unknown", f"Use one of {', '.join(Kind)}"))
        return None
    editions = row.get("edition")
    if not isinstance(editions, list) or not editions:
        faults.append(Fault(place, "has no [[component.edition]]", "Give at least one, with valid_from and source"))
        return None
    made = [
        _edition(row["key"], edition, f"{place} edition[{index}]", faults) for index, edition in enumerate(editions)
    ]
    if len(faults) > before:
        return None
    of = tuple(row.get("of", ()))
    return Component(row["key"], Kind(row["kind"]), str(row.get("title", row["key"])), tuple(e for e in made if e), of)


def _edition(key: str, row: Mapping[str, Any], place: str, faults: list[Fault]) -> Dated[Rate] | None:
    before = len(faults)
    valid_from, valid_to = row.get("valid_from"), row.get("valid_to")
    if not isinstance(valid_from, date) or isinstance(valid_from, datetime):
        faults.append(Fault(place, "valid_from is no date", "Write such as valid_from = 2026-01-01"))
    if valid_to is not None and (not isinstance(valid_to, date) or isinstance(valid_to, datetime)):
        faults.append(
            Fault(place, "valid_to is no date", "Write a date, the first day it no longer holds; or leave it out")
        )
    if not row.get("source"):
        faults.append(Fault(place, "has no source", "Give the source of the number"))
    sure = row.get("sure", "U")
    if sure not in ("A", "B", "C", "D", "U"):
        faults.append(Fault(place, f"sure {sure!r} is unknown", "Use A, B, C, D or U"))
    amount = row.get("amount")
    if amount is not None and (isinstance(amount, bool) or not isinstance(amount, int | float)):
        faults.append(Fault(place, f"amount {amount!r} is no number", "Enter a number, or leave it out with sure = U"))
    windows = tuple(
        window
        for index, one in enumerate(tables_in(row, "window", place, faults))
        if (window := _window(one, f"{place} window[{index}]", faults))
    )
    if len(faults) > before or not isinstance(valid_from, date):
        return None
    rate = None if amount is None else Rate(float(amount), windows, float(row.get("factor", 1.0)))
    return Dated(key, rate, valid_from, valid_to, str(row["source"]), sure, row.get("confirmed_by"))


def _window(row: Any, place: str, faults: list[Fault]) -> Window | None:
    try:
        days = _days(str(row.get("days", "mon-sun")))
        begin, end = (_minute(str(row[key])) for key in ("from", "until"))
        price = float(row["amount"])
        if end <= begin:
            raise ValueError("until is not after from; split it at midnight")
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        faults.append(Fault(place, what, 'Write days = "mon-fri", from = "07:00", until = "23:00", amount = 21.5'))
        return None
    return Window(frozenset(days), begin, end, price)


def _days(text: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise ValueError(f"days {text!r}: use mon tue wed thu fri sat sun, such as mon-fri,sun")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        found |= {day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)}
    return found


def _minute(text: str) -> int:
    hour, _, minute = text.partition(":")
    found = int(hour) * 60 + int(minute)
    if not 0 <= found <= 24 * 60 or len(minute) != 2:
        raise ValueError(f"{text!r} is no time of day")
    return found
