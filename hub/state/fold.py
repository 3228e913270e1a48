# SPDX-License-Identifier: Apache-2.0
"""What the hub knows: a fold of its journal, record by record, and nothing else.

Live, the recorder folds what it has just appended; a restart and a replay fold what is on disk. The same records give
the same state, on any machine.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from grid.limit import PHASES, Limit, Priority
from grid.order_book import OrderBook
from hub.config import Site
from hub.state.auxiliaries import Auxiliaries, moved
from hub.state.curve_body import curve_from_json
from hub.state.legal_holds import HoldBook
from hub.state.meter import MeterRef
from hub.state.shadow import ShadowBook
from hub.state.tickets import TicketBook
from hub.state.trace import MonthPeak, Trace
from kernel.curve import Curve
from kernel.errors import NotFound
from kernel.event import Event, EventKind
from kernel.ids import device_key
from kernel.reading import ReadingBatch
from kernel.span import Span
from miner_control.control.auxiliary_load import LoadBook
from miner_control.control.changing import Changing
from miner_control.fleet.command_state import CommandState
from miner_control.fleet.envelope import Envelope
from miner_control.fleet.fleet import Roster, roster_of, with_envelopes
from miner_control.fleet.miner import Miner
from miner_control.health.performance_reference import PerformanceReferences
from miner_control.health.wake_recovery import Budget, Recoveries
from miner_control.inventory.asset_register import AssetRegister, facts_of
from miner_control.inventory.commissioning import ButtonBook
from miner_control.inventory.feeder_mapping import FeederMappingBook
from miner_control.inventory.identity import Names, names_of
from miner_control.jobs.job import JobBook
from miner_control.learning.batch import refined
from miner_control.learning.dynamics import Key
from miner_control.learning.windows import IdentificationBook
from scheduling.plan import Schedule
from telemetry.alarm.alarm import AlarmBook
from telemetry.alarm.condition import Places
from telemetry.collect.snapshot import Snapshot
from telemetry.store.journal import Record

TRACE_SAMPLES = 100_000
ROLES = ("main", "feeder", "generation", "sub")
CURVES_KEPT = 40
"""Newest curves of each name that are remembered: a month of days, from which forecast errors are learnt."""
FOREVER = Span(0, 1 << 47)
OVERHEAD_MEMORY = 0.05
OVERHEAD_RANGE = (1.0, 1.6)


@dataclass(slots=True)
class SiteState:
    """One site as the journal tells it."""

    config: Site
    key: str
    assumed: Mapping[Key, Envelope]
    """What each model can do under its firmware by catalogue and configuration, before the hub learnt anything."""
    standing: CommandState
    register: AssetRegister
    """The inventory, and what was learnt since of where its miners stand: the newest facts hold."""
    main: str | None
    feeder_meters: Mapping[str, str]
    overhead_factor: float
    feeder_factor: float = 1.0
    starts_cap: int | None = None
    schedule: Schedule | None = None
    plan: Mapping[str, Any] | None = None
    tick: Mapping[str, Any] | None = None
    receipts: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=2_000))
    outcomes: dict[str, int] = field(default_factory=dict)
    issued: int = 0
    unanswered: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Commands by their id, as issued, whose receipt is not there yet."""
    log: deque[Event] = field(default_factory=lambda: deque(maxlen=500))
    silent: dict[str, Event] = field(default_factory=dict)
    tickets: TicketBook = field(default_factory=TicketBook)
    credentials: dict[str, str] = field(default_factory=dict)
    """Credential by device key, where it was changed by a command: names of the configuration."""
    around: Auxiliaries = field(default_factory=Auxiliaries)
    load_book: LoadBook = field(default_factory=LoadBook)
    changing: Changing = field(init=False)
    ladder: Recoveries = field(init=False)
    restores: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Reports of who was missing after a restore, by order."""
    jobs: JobBook = field(default_factory=JobBook)
    pulses: FeederMappingBook = field(default_factory=FeederMappingBook)
    hands: dict[str, Event] = field(default_factory=dict)
    """Who else commands here, by device or container key: the newest word of it."""
    identification: IdentificationBook = field(default_factory=IdentificationBook)
    peak: MonthPeak = field(init=False)
    shadow: ShadowBook = field(init=False)
    usual: PerformanceReferences = field(init=False)
    names: Names = field(init=False)

    def __post_init__(self) -> None:
        self.peak = MonthPeak(ZoneInfo(self.config.zone))
        self.shadow = ShadowBook(ZoneInfo(self.config.zone))
        part = self.config.wake_recovery
        budget = Budget(
            part.reboots_per_day, part.reboots_at_once, part.power_cycles_per_day, part.power_cycles_at_once
        )
        self.ladder = Recoveries(budget, part.margin_factor)
        self.usual = PerformanceReferences(self.roster.index)
        self.changing = Changing(len(self.roster))
        self.names = names_of(self.register.miners)

    @property
    def roster(self) -> Roster:
        """Who there is, and what each can do as far as it is known now: made again with each lesson."""
        return self.standing.roster

    def envelope(self, device: str) -> Envelope:
        """What a miner, or a load beside them, can do. KeyError where it is neither in the inventory nor configured."""
        if (load := self.around.by_key.get(device)) is not None:
            return load.envelope()
        return self.roster.envelope(self.roster.index[device])

    def learn(self, body: Mapping[str, Any]) -> None:
        """Take an event `dynamics.identified`: from here on the envelopes say what was learnt well enough."""
        self.identification.apply(body)
        self.standing.roster = with_envelopes(self.roster, self._known())

    def place(self, body: Mapping[str, Any]) -> list[Miner]:
        """Take an event `asset.fact_recorded`: from here on its miners stand where it says, in the same order of units. Returns
        those that stand elsewhere now."""
        before, self.register = self.register, self.register.learn(facts_of(body))
        pairs = [(old, new) for old, new in zip(before.miners, self.register.miners, strict=True) if new is not old]
        elsewhere = any(old.feeder != new.feeder or old.owner != new.owner for old, new in pairs)
        if elsewhere or before.phases != self.register.phases:
            phases, not_ours = self.register.phases, self.config.third_party_owners
            self.standing.roster = roster_of(self.register.miners, self._known(), phases=phases, not_ours=not_ours)
        if pairs:
            self.around = moved(self.around, self.config, self.register, self.roster.index)
        return [new for _, new in pairs]

    def _known(self) -> dict[Key, Envelope]:
        return refined(self.assumed, self.identification.reported)

    def kept_apart(self) -> frozenset[str]:
        """Units that the plan leaves alone: a campaign or a rack's pulse has them."""
        return self.jobs.held() | self.pulses.held()

    def scopes(self) -> dict[str, str]:
        """Scope to the meter that judges it: the site's main meter, and a feeder's own."""
        found = {f"{self.key}/{feeder}": meter for feeder, meter in self.feeder_meters.items()}
        return found | ({self.key: self.main} if self.main else {})

    def meter_refs(self) -> list[MeterRef]:
        """All meters of the site, the main one first."""
        return [
            MeterRef(f"{self.key}/{meter.name}", meter.role, meter.feeder)
            for meter in sorted(self.config.meters, key=lambda one: (ROLES.index(one.role), one.name))
        ]

    def standing_limits(self) -> list[Limit]:
        """What always holds: the connection and the feeders' breakers."""
        caps = [Limit(self.key, self.config.import_cap_w, FOREVER, Priority.SAFETY, "connection", "grid connection")]
        for feeder in self.config.feeders:
            scope, rule = f"{self.key}/{feeder.name}", f"feeder {feeder.name}"
            caps.append(Limit(scope, feeder.cap_w, FOREVER, Priority.FEEDER, rule, "breaker"))
            if feeder.phase_cap_w is not None:
                caps += [
                    Limit(f"{scope}/{phase}", feeder.phase_cap_w, FOREVER, Priority.FEEDER, f"{rule} {phase}", "phase")
                    for phase in PHASES
                ]
        return caps


_LOGGED = (
    "hub.", "clock.", "source.", "order.", "plan.", "owner.", "third_party.", "ticket.", "job.", "wake_recovery.",
    "alarm.", "payout.", "report.", "operator.", "dynamics.", "asset.", "feeder_mapping.", "button.", "commissioning.",
    EventKind.ACCESS_DENIED,
)  # fmt: skip


class HubState:
    """The fold over all sites. `position` is the last record that it holds."""

    def __init__(self, sites: Sequence[SiteState], book: OrderBook, snapshot: Snapshot, alarms: AlarmBook) -> None:
        self.sites = {site.key: site for site in sites}
        self.book = book
        self.snapshot = snapshot
        self.alarms = alarms
        self.holds = HoldBook()
        self.buttons = ButtonBook()
        self.position = 0
        self.newest: tuple[int, Event] | None = None
        """The last event that it holds, with its position."""
        self.curves: dict[str, list[Curve]] = {}
        self.refused: dict[str, Event] = {}
        self.traces: dict[str, Trace] = {
            ref.device: Trace(TRACE_SAMPLES) for site in sites for ref in site.meter_refs() if ref.role != "sub"
        }
        self._by_main = {site.main: site for site in sites if site.main}
        self.miners: dict[str, Miner] = {m.device: m for site in sites for m in site.register.miners}
        """Every miner as it stands now, by device key: one mapping for all who ask, changed in place."""
        self.reports: list[Event] = []
        self.last_payout: Event | None = None

    def site(self, name: str) -> SiteState:
        """The site of a short name. Raises NotFound."""
        for site in self.sites.values():
            if site.config.name == name:
                return site
        raise NotFound(f"no site {name!r}")

    def apply(self, record: Record) -> None:
        """Take in one record. Records come in order of position; one that is already held changes nothing."""
        if record.position <= self.position:
            return
        if isinstance(record.content, ReadingBatch):
            self._heard(record.content)
        else:
            self._reported(record.content)
            self.newest = record.position, record.content
        self.position = record.position

    def _heard(self, batch: ReadingBatch) -> None:
        self.snapshot.update(batch)
        if batch.kind != "meter" or "power_w" not in batch.columns:
            return
        power = batch.columns["power_w"]
        for row in np.flatnonzero(power.present()):
            trace = self.traces.get(batch.devices[row])
            if trace is not None:
                value = power.field(int(row))
                assert isinstance(value, float)
                trace.add(int(batch.at_ms[row]), value)
                site = self._by_main.get(batch.devices[row])
                if site is not None:
                    site.peak.add(int(batch.at_ms[row]), value)

    def _reported(self, event: Event) -> None:
        kind, body = event.kind, event.body
        site = self.sites.get(event.site)
        if kind.startswith("order."):
            self.book.apply(event)
        elif kind == EventKind.PRICE_CURVE:
            self._curve(event)
        elif kind == EventKind.ALARM_CHANGED:
            self.alarms.apply(body, event.at_ms)
        elif kind.startswith("hold."):
            self.holds.apply(kind, body, event.at_ms)
        elif kind.startswith(("button.", "commissioning.")):
            self.buttons.apply(kind, event.site, body, event.at_ms)
        elif kind == EventKind.CLOCK_STEPPED:
            self.snapshot.clock_stepped(float(body["seconds"]))
        elif kind == EventKind.HUB_STARTED:
            self.book.restarted()
        elif kind in (EventKind.REPORT_MADE, EventKind.PAYOUT_POSTED):
            if kind == EventKind.REPORT_MADE:
                self.reports.append(event)
            else:
                self.last_payout = event
        if site is None:
            return
        if kind.startswith(_LOGGED):
            site.log.appendleft(event)
        if kind == EventKind.SOURCE_SILENT:
            site.silent[str(body["device"])] = event
        elif kind == EventKind.SOURCE_RETURNED:
            site.silent.pop(str(body["device"]), None)
        elif kind.startswith("ticket."):
            site.tickets.apply(kind, body, event.at_ms)
        elif kind.startswith("job."):
            site.jobs.apply(kind, body, event.at_ms)
        elif kind.startswith("feeder_mapping."):
            site.pulses.apply(kind, body, event.at_ms)
        elif kind == EventKind.DYNAMICS_IDENTIFIED:
            site.learn(body)
        elif kind == EventKind.PERFORMANCE_UPDATED:
            site.usual.apply(body)
        elif kind == EventKind.ASSET_FACT_RECORDED:
            self._moved(site, site.place(body))
        elif kind == EventKind.WAKE_RECOVERY_STEP:
            site.ladder.tried(body, event.at_ms)
        elif kind == EventKind.WAKE_RECOVERY_REPORTED:
            site.restores[str(body["order"])] = body
        elif kind == EventKind.THIRD_PARTY_DETECTED:
            site.hands[str(body["scope"])] = event
        elif kind == EventKind.THIRD_PARTY_CLEARED:
            site.hands.pop(str(body["scope"]), None)
        elif kind == EventKind.PLAN_MADE:
            site.plan, site.schedule = body, Schedule.from_json(body)
        elif kind == EventKind.TICK_DECIDED:
            site.tick = body
            site.standing.restored(body.get("restored", ()))
            self.book.stepped(site.key, int(body["tick_ms"]), observing="shadow" in body)
            self._learn_overhead(site, body)
            site.shadow.apply(body, site.roster)
        elif kind in (EventKind.COMMAND_ISSUED, EventKind.COMMAND_RECEIPT, EventKind.OWNER_CHANGED):
            if kind == EventKind.COMMAND_ISSUED:
                site.ladder.issued(body, site.standing.slept(str(body["device"])))
            elif kind == EventKind.COMMAND_RECEIPT:
                site.ladder.received(body, event.at_ms)
            site.standing.apply(event)
            if kind != EventKind.OWNER_CHANGED:
                site.changing.apply(kind, body, event.at_ms, site.roster, site.around.by_key)
                site.load_book.apply(kind, body, event.at_ms)
                if site.load_book.on(str(body["device"]))[0]:
                    site.ladder.closed(str(body["device"]), event.at_ms)
            if kind == EventKind.OWNER_CHANGED:
                self._owner(site, event)
            elif kind == EventKind.COMMAND_ISSUED:
                site.issued += 1
                site.unanswered[str(body["id"])] = body
            elif kind == EventKind.COMMAND_RECEIPT:
                site.unanswered.pop(str(body["id"]), None)
                site.jobs.apply(kind, body, event.at_ms)
                site.pulses.apply(kind, body, event.at_ms)
                if body["intent"] == "SetCredential" and body["outcome"] == "accepted" and body.get("name"):
                    site.credentials[str(body["device"])] = str(body["name"])
                outcome = str(body["outcome"])
                if outcome == "verified" and body["intent"] in ("InstallFirmware", "RollBackFirmware"):
                    site.usual.forget(str(body["device"]))
                site.outcomes[outcome] = site.outcomes.get(outcome, 0) + 1
                site.receipts.appendleft({**body, "at_ms": event.at_ms})

    def _moved(self, site: SiteState, miners: Sequence[Miner]) -> None:
        """Whoever asks for a miner's place, and the alarms, see it where it stands now."""
        self.miners |= {miner.device: miner for miner in miners}
        held, (rack, feeder) = self.alarms.places, places_of(site.key, miners)
        known = {**held.rack, **rack}
        for miner in miners:
            if not miner.rack:
                known.pop(miner.device, None)
        self.alarms.places = Places(known, {**held.feeder, **feeder}, held.role)

    def _owner(self, site: SiteState, event: Event) -> None:
        device = str(event.body["device"])
        if event.body["hands_off"]:
            site.hands[device] = event
        else:
            site.hands.pop(device, None)

    def _curve(self, event: Event) -> None:
        body = event.body
        if "refused" in body:
            self.refused[str(body.get("file", body["name"]))] = event
            return
        curve = curve_from_json(body)
        held = [one for one in self.curves.get(curve.name, []) if one.known_at_ms != curve.known_at_ms]
        self.curves[curve.name] = sorted([*held, curve], key=lambda one: one.known_at_ms)[-CURVES_KEPT:]
        self.refused.pop(str(body.get("file", body["name"])), None)

    def _learn_overhead(self, site: SiteState, body: Mapping[str, Any]) -> None:
        """Meter over miners, learnt slowly and only from steady ticks: cooling, cables, transformer."""
        seen = body.get("overhead_seen")
        if seen is not None:
            low, high = OVERHEAD_RANGE
            held = min(max(float(seen), low), high)
            site.overhead_factor += OVERHEAD_MEMORY * (held - site.overhead_factor)

    def all_curves(self) -> list[Curve]:
        return [curve for curves in self.curves.values() for curve in curves]


def places_of(site: str, miners: Sequence[Miner]) -> tuple[dict[str, str], dict[str, str]]:
    """(rack, feeder) of a site's miners by device key, as keys under the site; no rack where none is known."""
    racks = {miner.device: f"{site}/{miner.rack}" for miner in miners if miner.rack}
    return racks, {miner.device: f"{site}/{miner.feeder}" for miner in miners}


def meters_of(hub: str, site: Site) -> tuple[str | None, dict[str, str]]:
    """(device key of the main meter or None, feeder name to its meter's key)."""
    main = next((device_key(hub, site.name, meter.name) for meter in site.meters if meter.role == "main"), None)
    feeders = {
        meter.feeder: device_key(hub, site.name, meter.name)
        for meter in site.meters
        if meter.role == "feeder" and meter.feeder
    }
    return main, feeders
