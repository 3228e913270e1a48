# SPDX-License-Identifier: Apache-2.0
"""A small site as the planner and the control step take it, everything written out."""

from dataclasses import replace
from datetime import date
from zoneinfo import ZoneInfo

import numpy as np

from grid.limit import Limit, Priority
from grid.tariff import Component, Kind, Rate, Tariff
from kernel.curve import Curve
from kernel.dated import Dated
from kernel.span import Span
from miner_control.fleet.envelope import Envelope, Mode
from miner_control.fleet.fleet import (
    STATE_CODE,
    Commanded,
    Fleet,
    Observed,
    fleet_of,
    never_commanded,
    never_observed,
    roster_of,
)
from miner_control.fleet.miner import Miner
from scheduling.plan import Schedule
from scheduling.problem.build_problem import SiteNumbers

NOW = 1_770_000_000_000


HOUR = 3_600_000


SITE = "hub/site"


COMMANDS = frozenset({"SetMode", "Sleep", "Wake"})


def envelope(model: str, watts: float, ths: float) -> Envelope:
    modes = (
        Mode("low", watts * 0.6, ths * 0.69e12),
        Mode("normal", watts, ths * 1e12),
        Mode("high", watts * 1.18, ths * 1.115e12),
    )
    return Envelope(model, "stock", modes, "normal", 25.0, 300.0, 10.0, 200.0, 900.0, 900.0, commands=COMMANDS)


def fleet(units: int = 20, *, asleep: int = 0, silent: int = 0) -> tuple[Fleet, Commanded]:
    miners = [
        Miner(f"{SITE}/m{n}", "new" if n % 2 else "old", "stock", "127.0.0.1", (), f"f{n % 4 // 2}")
        for n in range(units)
    ]
    table = {("new", "stock"): envelope("new", 3500.0, 234.0), ("old", "stock"): envelope("old", 3250.0, 104.0)}
    roster = roster_of(miners, table)
    seen: Observed = never_observed(roster)
    state = np.full(units, STATE_CODE["hashing"], dtype=np.int8)
    state[:asleep] = STATE_CODE["asleep"]
    mode = np.where(np.arange(units) < asleep, -1, 1).astype(np.int8)
    at_ms = np.where(np.arange(units) >= units - silent, 0, NOW - 1000)
    power = np.where(mode < 0, 25.0, roster.mode_power_w[roster.group, -2:].min(axis=1, initial=1e9))
    seen = replace(seen, at_ms=at_ms, state=state, mode=mode, power_w=power, has_power=np.ones(units, dtype=bool))
    asked = never_commanded(roster)
    return fleet_of(roster, seen, asked, NOW), asked


def tariff(currency: str = "USD") -> Tariff:
    edition = Dated("energy", Rate(0.0), date(2020, 1, 1), None, "test", "A")
    return Tariff("test", currency, ZoneInfo("UTC"), (Component("energy", Kind.MARKET, "energy", (edition,)),))


def curves(price: float = 40.0, *, unit: str = "USD/MWh", hours: int = 24, known_ms: int = NOW - HOUR) -> list[Curve]:
    starts = NOW - NOW % HOUR + HOUR * np.arange(-24, hours, dtype=np.int64)
    values = np.full(len(starts), price)
    market = Curve("price/day_ahead", unit, starts, starts + HOUR, values, known_ms, "test")
    slow = np.array([NOW - 86_400_000])
    hashprice = Curve("hashprice", "USD/PH/day", slow, slow + 2 * 86_400_000, np.array([45.0]), known_ms, "test")
    return [market, hashprice]


NUMBERS = SiteNumbers(site=SITE, currency="USD", import_cap_w=100_000.0)


def limit(power_w: float, *, scope: str = SITE, hours: float = 1.0, priority: Priority = Priority.DISPATCHER) -> Limit:
    return Limit(scope, power_w, Span(NOW, NOW + int(hours * HOUR)), priority, "order 7", "grid emergency")


def schedule(power_w: float) -> Schedule:
    return Schedule("plan-1", np.array([NOW - HOUR, NOW + HOUR]), np.array([power_w]), ("price",))
