# SPDX-License-Identifier: Apache-2.0
"""State of one site: its part of the fold of the journal."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from grid.limit import PHASES, Limit, Priority
from hub.config import Site
from hub.state.auxiliaries import Auxiliaries, moved
from hub.state.meter import MeterRef
from hub.state.shadow import ShadowBook
from hub.state.tickets import TicketBook
from hub.state.trace import MonthPeak
from kernel.event import Event
from kernel.ids import device_key
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
from miner_control.inventory.feeder_mapping import FeederMappingBook
from miner_control.inventory.identity import Names, names_of
from miner_control.jobs.job import JobBook
from miner_control.learning.batch import refined
from miner_control.learning.dynamics import Key
from miner_control.learning.windows import IdentificationBook
from scheduling.plan import Schedule

ROLES = ("main", "feeder", "generation", "sub")
FOREVER = Span(0, 1 << 47)


@dataclass(slots=True)
class SiteState:
    """Everything that the journal says of one site."""

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
    third_parties: dict[str, Event] = field(default_factory=dict)
    """Control by other systems, by device or container key: the newest event on it."""
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
        """Envelope of a miner or of an auxiliary load. KeyError where it is neither in the inventory nor configured."""
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
