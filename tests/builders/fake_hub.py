# SPDX-License-Identifier: Apache-2.0
"""Fake hub behind the ports of the API: a plausible site with faults that are switched on; orders pass a real book."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from grid.availability import Headroom, Units, available
from grid.limit import Limit, Priority, cap_at
from grid.order import read_change, read_order
from grid.order_book import Authority, Happening, OrderBook
from hub.api.ports import Ports
from hub.query.schema import (
    STATE_CODES,
    AlarmLine,
    Counts,
    EventLine,
    Feed,
    Fleet,
    Ledger,
    LimitLine,
    Measure,
    OrderLine,
    ReceiptLine,
    ReportLine,
    Series,
    SiteInfo,
    Status,
)
from hub.state.legal_holds import HoldBook
from kernel.actor import Actor
from kernel.clock import Clock
from kernel.errors import NotFound
from kernel.event import Event, EventKind
from kernel.span import Span
from telemetry.alarm.alarm import AlarmBook
from telemetry.alarm.rule import load_rules

KEY = "h1/alma"
CAP_W = 3.6e6
MINUTE_MS = 60_000
STEP_MS = 15 * MINUTE_MS


def measure(value: float | None, source: str, age_s: float | None = 1.0, why: str = "") -> Measure:
    return {"value": value, "source": source, "age_s": age_s, "why": why}


class FakeHub:
    """`faults` holds any of: price, meter, broker, miners, pool, ledger, observing."""

    def __init__(self, clock: Clock, miners: int = 1000, faults: frozenset[str] = frozenset()) -> None:
        self.clock, self.faults = clock, faults
        self.book = OrderBook({KEY: CAP_W, "h1/beta": 1e6})
        self.events: list[Event] = []
        self.holds = HoldBook()
        self.rng = np.random.default_rng(7)
        self.miners = miners
        self.states = self.rng.choice([1, 1, 1, 1, 1, 1, 1, 1, 2, 3, 4], size=miners)
        odd = self.rng.choice(miners, size=max(1, miners // 50), replace=False)
        self.states[odd] = self.rng.choice([5, 6, 7, 0], size=len(odd))
        if "miners" in faults:
            self.states[: miners // 2] = 7
        self.started_ms = clock.now_ms()
        self.alarm_book = AlarmBook(load_rules(sorted(Path("configs/alarms").glob("*.toml"))))
        for rule, scope in (("meter-silent", f"{KEY}/meter-f2"), ("container-supply-hot", f"{KEY}/container-1")):
            self.alarm_book.apply({"rule": rule, "scope": scope, "what": "raised", "value": 47.5}, self.started_ms)

    def ports(self) -> Ports:
        """The ports of the API over this hub; what it has nothing of is empty, for a known site."""
        nothing: Any = self._nothing
        absent = dict.fromkeys(
            ("answer", "apply", "begin", "cancel", "end", "propose", "record", "start", "stop"), self._absent
        )
        empty = SimpleNamespace(
            **absent,
            tickets=nothing, missing=nothing, restores=nothing, third_parties=nothing, learnt=nothing, jobs=nothing,
            facts=nothing, loads=self._object, walk=self._object, status=self._object,
        )  # fmt: skip
        reports = SimpleNamespace(
            lines=self.reports, look=lambda: self.ledger(), file=lambda report, form: (f"{report}.{form}", b'{"a": 1}')
        )
        health = SimpleNamespace(
            health=self.health, exposition=lambda: "# HELP mining_hub_control_ticks Control steps taken.\n"
        )
        made: dict[str, Any] = {
            "sites": SimpleNamespace(sites=self.sites, status=lambda site: self.status(site), key=self.key),
            "fleet": SimpleNamespace(**{**vars(empty), "fleet": self.fleet, "miner": self.miner, "receipts": self.receipts}),
            "plans": SimpleNamespace(
                plan=self.plan, series=self.series, availability=self.availability, explain=self.explain,
                offers=self.offers, shadow=self.shadow,
            ),
            "orders": SimpleNamespace(orders=self.orders, order=self.order, line=self._line),
            "order_desk": SimpleNamespace(submit=self.submit, change=self.change, end=self.end),
            "alarms": SimpleNamespace(alarms=self.alarms, log=self.log),
            "alarm_desk": SimpleNamespace(acknowledge=self.acknowledge, shelve=self.shelve, set=self.set),
            "reports": reports, "health": health, "holds": self.holds, "journal": SimpleNamespace(record=self.record),
        }  # fmt: skip
        return Ports(**{field.name: made.get(field.name, empty) for field in fields(Ports)})

    def _nothing(self, site: str, *_: Any) -> list[Any]:
        self._site(site)
        return []

    async def _absent(self, site: str, *_: Any) -> dict[str, Any]:
        raise NotFound(f"nothing of that name at {site}")

    def _object(self, site: str) -> dict[str, Any]:
        self._site(site)
        return {}

    def key(self, site: str) -> str:
        self._site(site)
        return f"h1/{site}"

    def order(self, site: str, order: str) -> OrderLine:
        found = [line for line in self.orders(site) if line["id"] == order]
        if not found:
            raise NotFound(f"no order {order!r} at {site}")
        return found[0]

    def shadow(self, site: str) -> dict[str, Any]:
        self._site(site)
        return {"currency": "KZT", "days": [], "total": {}, "unpriced": ""}

    async def explain(self, site: str) -> dict[str, Any]:
        self._site(site)
        return {"site": site, "groups": [], "what_if": []}

    async def offers(self, site: str, reserve_w: float | None) -> dict[str, Any]:
        self._site(site)
        return {"site": site, "availability": [], "bids": [], "reserve": [] if reserve_w is None else [reserve_w]}

    def _site(self, site: str) -> None:
        if site not in ("alma", "beta"):
            raise NotFound(f"no site {site!r}")

    def sites(self) -> list[SiteInfo]:
        alma: SiteInfo = {
            "site": "alma", "key": KEY, "title": "Almaty North", "zone": "Asia/Almaty", "currency": "KZT", "capacity_w": CAP_W,
            "observe_only": "observing" in self.faults,
        }  # fmt: skip
        beta: SiteInfo = {
            "site": "beta", "key": "h1/beta", "title": "Beta <yard>", "zone": "UTC", "currency": "KZT", "capacity_w": 1e6,
            "observe_only": False,
        }  # fmt: skip
        return [alma, beta]

    def power_w(self, at_ms: int) -> float:
        """What the simulated site draws."""
        hours = at_ms / 3_600_000
        free_w = 2.9e6 + 0.35e6 * math.sin(hours / 24 * 2 * math.pi) + 0.02e6 * math.sin(at_ms / 7000)
        cap = cap_at(self._limits(at_ms), KEY, at_ms)
        return min(free_w, cap.power_w * 0.985) if cap else free_w

    def _limits(self, now_ms: int) -> list[Limit]:
        ever = Span(0, 2**42)
        evening = Span(self.started_ms + 90 * MINUTE_MS, self.started_ms + 210 * MINUTE_MS)
        return [
            Limit(KEY, CAP_W, ever, Priority.FEEDER, "connection", "what the connection carries"),
            Limit(KEY, 3.2e6, evening, Priority.CONTRACT, "contract 4.2", "evening hours"),
            *self.book.limits(now_ms),
        ]  # fmt: skip

    def status(self, site: str) -> Status:
        self._site(site)
        now_ms = self.clock.now_ms()
        power_w, cap = self.power_w(now_ms), cap_at(self._limits(now_ms), KEY, now_ms)
        meter_dead = "meter" in self.faults
        main = (
            measure(None, "main meter", 341.0, "last heard 341 s ago")
            if meter_dead
            else measure(power_w, "main meter", 0.8)
        )
        feeders = measure(power_w * 0.997, "sum of 4 feeder meters", 1.1)
        miners = measure(power_w * 0.962, f"sum of {self.miners} miners", 3.0)
        limits: list[LimitLine] = [
            {
                "scope": limit.scope, "power_w": limit.power_w, "start_ms": limit.span.start_ms,
                "end_ms": limit.span.end_ms, "priority": limit.priority.name.lower(),
                "rule": limit.rule, "reason": limit.reason, "active": limit.span.holds(now_ms),
                "binding": cap is not None and limit == cap.binding,
            }
            for limit in self._limits(now_ms)
        ]  # fmt: skip
        binding = cap.binding if cap else None
        ordered = binding is not None and binding.rule.startswith("order")
        return {
            "as_of_ms": now_ms,
            "position": 40_000 + (now_ms - self.started_ms) // 1000,
            "site": site,
            "observe_only": "observing" in self.faults,
            "power": {
                "best": feeders if meter_dead else main, "main": main, "feeders": feeders, "miners": miners,
                "gap_pct": None if meter_dead else 3.8,
            },
            "hashrate_hs": measure(power_w / 22 * 1e12, f"sum of {self.miners} miners", 3.0),
            "cap_w": cap.power_w if cap else None,
            "limits": limits,
            "why": {
                "text": f"Held at {cap.power_w / 1e6:.2f} MW by {binding.reason}" if ordered and cap and binding
                else "Running by the plan: power is below what a kilowatt-hour earns",
                "rule": binding.rule if ordered and binding else "plan",
                "until_ms": binding.span.end_ms if ordered and binding else None,
            },
            "counts": self._counts(),
            "feeds": self._feeds(),
            "price": measure(None, "price/day_ahead", 90_000.0, "refused: 9 000 000 is above 5 000 000; the last plan holds")
            if "price" in self.faults else measure(21_350.0, "price/day_ahead", 5400.0),
            "hashprice": measure(2.61e-11, "hashprice", 900.0),
            "breakeven_price": measure(49_800.0, "hashprice and the fleet's best mode", 900.0),
            "available_down_w": measure(power_w * 0.91, "fleet"),
            "available_up_w": measure(0.2e6, "fleet"),
        }  # fmt: skip

    def _counts(self) -> Counts:
        seen = [int((self.states == code).sum()) for code in range(len(STATE_CODES))]
        return {
            "total": self.miners, "unknown": seen[0], "hashing": seen[1], "ramping": seen[2], "tuning": seen[3],
            "asleep": seen[4], "stopped": seen[5], "faulty": seen[6], "unreachable": seen[7],
        }  # fmt: skip

    def _feeds(self) -> list[Feed]:
        said: list[tuple[str, str, str, str]] = [
            ("price", "Price file", "refused", "9 000 000 KZT/MWh at 14:00 is above 5 000 000; yesterday's curve holds"),
            ("meter", "Main meter", "dead", "nothing for 341 s: power is taken from the feeder meters"),
            ("broker", "MQTT broker", "dead", "connection refused; containers and orders by MQTT wait, REST orders work"),
            ("pool", "Pool", "stale", "no answer for 25 min: payouts are settled when it returns"),
            ("miners", "Miners", "stale", "500 of 1000 are silent: they count as load that is still on"),
        ]  # fmt: skip
        feeds: list[Feed] = []
        for name, title, state, text in said:
            if name in self.faults:
                feeds.append({"name": name, "title": title, "state": state, "age_s": 341.0, "text": text})  # type: ignore[typeddict-item]
            else:
                feeds.append({"name": name, "title": title, "state": "ok", "age_s": 2.0, "text": "heard 2 s ago"})
        feeds.append({"name": "influx", "title": "InfluxDB", "state": "off", "age_s": None, "text": "not configured"})
        return feeds

    def fleet(self, site: str) -> Fleet:
        self._site(site)
        temps = np.round(58 + 12 * np.sin(np.arange(self.miners) / 31) + self.rng.normal(0, 1.5, self.miners))
        quiet = np.isin(self.states, (0, 6, 7))
        power = np.where(self.states == 1, 3400.0, np.where(self.states == 4, 25.0, 1800.0))
        return {
            "as_of_ms": self.clock.now_ms(),
            "observe_only": "observing" in self.faults,
            "layout": "l1",
            "devices": [f"{KEY}/m{i:04d}" for i in range(self.miners)],
            "racks": [f"rack-{i // 40 + 1:02d}" for i in range(self.miners)],
            "models": ["Antminer S19j Pro" if i % 3 else "Whatsminer M50S" for i in range(self.miners)],
            "state": [int(code) for code in self.states],
            "temp_c": [None if q else float(t) for q, t in zip(quiet, temps, strict=True)],
            "power_w": [None if q else float(p) for q, p in zip(quiet, power, strict=True)],
            "hashrate_hs": [None if q else 1e14 for q in quiet],
        }

    def miner(self, site: str, device: str) -> dict[str, Any]:
        self._site(site)
        if not device.startswith("m") or not device[1:].isdigit() or int(device[1:]) >= self.miners:
            raise NotFound(f"no miner {device!r}")
        return {
            "device": f"{KEY}/{device}", "model": "Antminer S19j Pro", "rack": "rack-01", "state": "hashing", "mode": "normal",
            "at_ms": self.clock.now_ms(), "values": {"power_w": 3421.0, "temp_board_max_c": {"missing": "not reported"}},
            "why": "planned: normal", "commands": self.receipts(site, 1),
        }  # fmt: skip

    def series(self, site: str, start_ms: int, end_ms: int, width: int) -> Series:
        self._site(site)
        now_ms = self.clock.now_ms()
        rows = np.linspace(start_ms, min(end_ms, now_ms), max(2, width // 2)).astype(int).tolist()
        power: list[float | None] = [self.power_w(at) for at in rows]
        if "meter" in self.faults:
            power[len(power) // 3 : len(power) // 2] = [None] * (len(power) // 2 - len(power) // 3)
        edges = list(range(start_ms - start_ms % STEP_MS, end_ms + STEP_MS, STEP_MS))
        caps = [cap_at(self._limits(now_ms), KEY, at) for at in edges]
        return {
            "start_ms": start_ms, "end_ms": end_ms, "observe_only": "observing" in self.faults,
            "power_at_ms": rows, "power_w": power,
            "power_low_w": [None if p is None else p - 4e4 for p in power],
            "power_high_w": [None if p is None else p + 4e4 for p in power],
            "plan_at_ms": edges, "plan_w": [self.power_w(at) for at in edges],
            "price_at_ms": edges, "price_per_mwh": [21_000 + 9_000 * math.sin(at / 9e6) for at in edges],
            "limit_at_ms": edges, "limit_w": [cap.power_w if cap else None for cap in caps],
        }  # fmt: skip

    def plan(self, site: str) -> dict[str, Any] | None:
        self._site(site)
        start_ms = self.clock.now_ms() // STEP_MS * STEP_MS
        edges = [start_ms + i * STEP_MS for i in range(25)]
        why = [
            "earns more than it costs",
            "earns more than it costs",
            "price above breakeven: low mode",
            "order D-117 caps the site",
        ]
        return {
            "id": "p", "method": "tranche", "status": "optimal", "made_ms": start_ms, "why_now": "a new slot began",
            "currency": "KZT", "value": 1_234_567.0, "parts": {"hash_income": 2_234_567.0, "energy": -1e6, "starts": 0.0},
            "bound": 1_234_900.0, "gap": 0.00027, "edges_ms": edges,
            "power_w": [3.0e6 if i % 8 < 5 else 2.1e6 for i in range(24)], "reasons": [why[i // 2 % 4] for i in range(24)],
            "site_price_per_wh": [0.0] * 24, "groups": [], "modes": [], "counts": [], "violations": [], "facts": {}, "notes": [],
        }  # fmt: skip

    def orders(self, site: str) -> list[OrderLine]:
        self._site(site)
        return [self._line(entry.order.id) for entry in self.book.entries() if entry.order.scope.split("/")[1] == site]

    def receipts(self, site: str, count: int) -> list[ReceiptLine]:
        now_ms = self.clock.now_ms() // 10_000 * 10_000
        outcomes = ["verified", "verified", "accepted", "refused", "unreachable", "unknown"]
        lines: list[ReceiptLine] = [
            {
                "at_ms": now_ms - i * 1700, "command": f"c{i}", "device": f"{KEY}/m{i:04d}",
                "intent": "sleep" if i % 2 else "mode low", "reason": "order D-117",
                "outcome": outcomes[i % 6], "text": "code 45, permission denied" if i % 6 == 3 else "",
                "took_s": 14.2 if i % 6 < 2 else None,
            }
            for i in range(min(count, 12))
        ]  # fmt: skip
        return lines

    def log(self, site: str, count: int) -> list[EventLine]:
        now_ms = self.started_ms
        lines: list[EventLine] = [
            {"at_ms": now_ms, "kind": "hub.started", "level": "info", "text": "The hub started, version 0.1.0"},
            {"at_ms": now_ms - 5000, "kind": "source.silent", "level": "warning", "text": "m0412 is silent: timed out"},
            {
                "at_ms": now_ms - 9000,
                "kind": "alarm.changed",
                "level": "alarm",
                "text": "rack-07: supply 49 °C <script>alert(1)</script>",
            },
        ]
        return lines[:count]

    def availability(self, site: str) -> dict[str, Any]:
        n = self.miners
        known = ~np.isin(self.states, (0, 7))
        units = Units(
            np.full(n, 3300.0), np.full(n, 25.0), np.full(n, 3500.0), np.full(n, 20.0), np.full(n, 280.0), np.zeros(n),
            np.where(self.states == 4, 300.0, 0.0), known, np.ones(n, dtype=bool), self.states == 6, np.zeros(n, dtype=bool),
        )  # fmt: skip
        return available(
            units, self.clock.now_ms(), notice_s=5, headroom=Headroom.of_site(n, 2e5, "connection")
        ).to_json()

    def ledger(self) -> Ledger:
        return {
            "as_of_ms": self.clock.now_ms(), "transfers": 48, "balanced": True, "head": "9f" * 32,
            "findings": ["1 payout is 3 days late: expected 120 000 sat"] if "ledger" in self.faults else [],
            "waiting": [
                {
                    "payout": "0193f0a2-0000-8000-8000-000000000001", "key": "ab" * 32, "step": "division", "amount_sat": 1_304,
                    "since_ms": self.clock.now_ms() - 5_000,
                    "reason": "energy_wh is unknown: a reading of billing meter alatau/north/main is awaited",
                }
            ] if "pool" in self.faults else [],
            "held": ["pool: no answer within 20 s"] if "pool" in self.faults else [],
            "balances": [
                {"account": "treasury/btc", "unit": "SAT", "net": 12_345_678},
                {"account": "city/tenge", "unit": "TIYN", "net": 98_765_432},
            ],
            "last_payout": None,
        }  # fmt: skip

    def reports(self, site: str) -> list[ReportLine]:
        self._site(site)
        return [
            {
                "id": f"r-{site}", "kind": "site energy", "site": site, "period_start_ms": self.started_ms - 86_400_000,
                "period_end_ms": self.started_ms, "made_ms": self.started_ms, "sha256": "ab" * 32, "signed_by": "ed25519 7f3a…",
                "draft": True, "files": {"json": 20, "csv": 10, "sig": 64},
            }
        ]  # fmt: skip

    def health(self) -> dict[str, Any]:
        tasks = [{"name": "control alma", "state": "ok"}, {"name": "prices", "state": "failed"}]
        return {"ok": True, "version": "0.1.0", "as_of_ms": self.clock.now_ms(), "faults": [], "tasks": tasks}

    def _say(self, happenings: list[Happening], site: str) -> None:
        for kind, body in happenings:
            assert isinstance(kind, EventKind)
            event = Event(
                kind, 1, site, "fake", len(self.events) + 1, self.clock.now_ms(), json.loads(json.dumps(body))
            )
            self.events.append(event)
            self.book.apply(event)
            if kind.startswith("hold."):
                self.holds.apply(kind, event.body, event.at_ms)

    def _line(self, order: str) -> OrderLine:
        entry = self.book.get(order)
        if entry is None:
            raise NotFound(f"no order {order!r}")
        return {**entry.to_json(), "observe_only": "observing" in self.faults}  # type: ignore[return-value,typeddict-item]

    async def submit(self, body: Mapping[str, Any], by: Authority, actor: Actor) -> str:
        now_ms = self.clock.now_ms()
        order, happenings = self.book.receive(read_order(body, by.who, actor.entry, now_ms), by, now_ms, body)
        self._say([(kind, actor.on(body)) for kind, body in happenings], "alma")
        self._say(self.book.tick(now_ms, {}), "alma")
        self._line(order)
        return order

    async def change(self, order: str, body: Mapping[str, Any], by: Authority, actor: Actor) -> str:
        self._line(order)
        happenings = self.book.change(order, read_change(body), by, self.clock.now_ms(), body)
        self._say([(kind, actor.on(body)) for kind, body in happenings], "alma")
        return order

    async def end(
        self, order: str, by: Authority, actor: Actor, why: str, body: Mapping[str, Any] | None = None
    ) -> str:
        self._line(order)
        happenings = self.book.end(order, by, why, self.clock.now_ms(), body)
        self._say([(kind, actor.on(body)) for kind, body in happenings], "alma")
        return order

    def alarms(self, site: str) -> list[AlarmLine]:
        self._site(site)
        book = self.alarm_book
        lines: list[AlarmLine] = [
            {
                "rule": one.rule, "scope": one.scope, "priority": str(one.priority), "state": str(one.state),
                "raised_ms": one.raised_ms, "value": one.value, "text": book.rules[one.rule].text,
                "action": book.rules[one.rule].action, "who": one.who, "why": one.why,
                "shelved_until_ms": one.shelved_until_ms,
            }
            for one in book.alarms(annunciated=False)
        ]  # fmt: skip
        return lines if site == "alma" else []

    async def acknowledge(self, site: str, rule: str, scope: str, by: Actor) -> None:
        try:
            changes = self.alarm_book.acknowledge(rule, scope, by.person)
        except KeyError:
            raise NotFound(f"no such alarm at {scope}") from None
        for change in changes:
            self.alarm_book.apply(change, self.clock.now_ms())

    async def shelve(self, site: str, rule: str, scope: str, by: Actor, why: str, until_ms: int) -> None:
        for change in self.alarm_book.shelve(rule, scope, by.person, why, until_ms, self.clock.now_ms()):
            self.alarm_book.apply(change, self.clock.now_ms())

    async def set(self, site: str, rule: str, scope: str, by: Actor, what: str, why: str) -> None:
        book = self.alarm_book
        changes = (
            book.out_of_service(rule, scope, by.person, why)
            if what == "out-of-service"
            else (book.unshelve if what == "unshelve" else book.in_service)(rule, scope, by.person)
        )
        for change in changes:
            book.apply(change, self.clock.now_ms())

    async def record(self, kind: str, body: Mapping[str, Any], site: str | None = None) -> None:
        if "journal" in self.faults:
            raise OSError("disk full")
        self._say([(kind, dict(body))], site or "hub")
