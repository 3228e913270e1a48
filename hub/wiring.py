# SPDX-License-Identifier: Apache-2.0
"""The composition root: the one file that knows every room, and the only one that imports `*.io`.

`live` talks to devices, `simulated` to make-believe ones behind the same ports in virtual time; both give the same `Hub`.
`folded` builds the state that a journal tells, for restart, replay and whoever only reads.
"""

import contextlib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from grid.dispatch import OrderBook
from grid.hashprice import load_subsidies
from grid.io.price_file import PriceFolder
from grid.tariff import Tariff
from grid.tariff import load as load_tariff
from hub.config import CONFIGS, Config, Credential, Site, secret
from hub.energy import meter_energy, whole
from hub.feeds import PriceDuty
from hub.office import Office
from hub.planning import PlanDuty
from hub.recorder import Offload, Recorder, at_once, in_thread
from hub.runtime import Duty, Hub, Rhythm, Rooms
from hub.settle import Desk, posted_ids
from hub.settling import SettleDuty
from hub.simulation import SimulatedSite
from hub.state import HubState, SiteState, meters_of
from hub.twin.spec import TwinSpec
from kernel.clock import Clock, system_clock
from kernel.errors import ConfigError, Fault
from kernel.ids import device_key
from kernel.reading import Reading
from kernel.receipt import Receipt
from kernel.span import Span
from miner_control.actuator import Actuator
from miner_control.catalogue import Catalogue, load_catalogue
from miner_control.command import Command
from miner_control.dialect import DIALECTS
from miner_control.driver import Access as DeviceAccess
from miner_control.driver import MinerDriver
from miner_control.envelope import Envelope
from miner_control.fleet import Roster, roster_of
from miner_control.io.miner_socket import Exchanges, MinerPort
from miner_control.register import Register, load_register
from miner_control.standing import Standing
from telemetry.collector import Collector
from telemetry.io.broker import EmbeddedBroker
from telemetry.io.journal_sqlite import open_journal, read_journal
from telemetry.io.modbus import Address, ModbusLine, ModbusSource
from telemetry.io.mqtt import Broker, MqttFeed
from telemetry.journal import Journal
from telemetry.profile import load as load_profile
from telemetry.snapshot import Snapshot
from telemetry.source import Source, Subscription, Tier
from telemetry.topic import Channel
from treasury.contract import load_contract
from treasury.io.ledger_sqlite import open_ledger, read_ledger
from treasury.io.pool_braiins import BraiinsPool
from treasury.io.rates_nbk import NationalBank
from treasury.io.venue_http import VenueHttp
from treasury.ledger import Ledger

LANE_WAIT_S = 60.0
"""A poll waits for its turn behind a write on the same lane, and some firmwares take 20 s to write."""

BILLABLE = 0.999
"""Energy of a span is billed once the meter has told at least this share of it; until then the payout waits."""

NO_MINERS = Register(())


def profile_path(folder: str, name: str) -> Path:
    """The file of a device profile that ships with the hub."""
    return CONFIGS / "profiles" / folder / f"{name}.toml"


def catalogue() -> Catalogue:
    """All known models and firmware capabilities."""
    return load_catalogue(CONFIGS / "profiles" / "miners", CONFIGS / "profiles" / "firmware")


def register_of_site(config: Config, site: Site) -> Register:
    """The site's inventory; feeders that the site does not have are faults."""
    if site.inventory is None:
        return NO_MINERS
    register = load_register(site.inventory, config.hub.name, site.name)
    feeders = {feeder.name for feeder in site.feeders}
    wrong = sorted({miner.feeder for miner in register.miners} - feeders)
    if wrong:
        place, known = f"{site.inventory}", ", ".join(sorted(feeders))
        raise ConfigError(
            [Fault(place, f"no feeder {name!r} in {site.name}", f"Write one of: {known}") for name in wrong]
        )
    return register


def site_state(config: Config, site: Site, register: Register, models: Catalogue) -> SiteState:
    """A site before anything was heard of it."""
    pairs = sorted({(miner.model, miner.dialect) for miner in register.miners})
    envelopes = {pair: _paced(envelope, site.pace) for pair, envelope in models.envelopes(pairs).items()}
    roster = roster_of(register.miners, envelopes, phases=register.phases)
    main, feeders = meters_of(config.hub.name, site)
    key = f"{config.hub.name}/{site.name}"
    return SiteState(site, key, roster, Standing(roster), main, feeders, 1.0 + site.other_load_share)


def _paced(envelope: Envelope, pace: float) -> Envelope:
    """An envelope whose times are those of a make-believe site that lives faster."""
    if pace == 1.0:
        return envelope
    times = ("ramp_up_s", "ramp_down_s", "start_lost_s", "min_on_s", "min_off_s", "random_start_delay_s")
    return replace(envelope, **{name: getattr(envelope, name) / pace for name in times})


def empty_state(config: Config, models: Catalogue) -> HubState:
    """The state of a hub whose journal is empty. Raises ConfigError with the faults of every inventory."""
    sites, faults = [], []
    for site in config.sites:
        try:
            sites.append(site_state(config, site, register_of_site(config, site), models))
        except ConfigError as error:
            faults += error.faults
        except KeyError as error:
            faults.append(Fault(f"{site.inventory}", str(error.args[0]), "Use models of configs/profiles/miners"))
    if faults:
        raise ConfigError(faults)
    capacity = {site.key: site.config.import_cap_w for site in sites}
    capacity |= {f"{site.key}/{feeder.name}": feeder.cap_w for site in sites for feeder in site.config.feeders}
    return HubState(sites, OrderBook(capacity), Snapshot())


def folded(config: Config, journal: Journal, models: Catalogue | None = None) -> HubState:
    """The state that a journal tells."""
    state = empty_state(config, models or catalogue())
    for record in journal.records():
        state.apply(record)
    return state


def reading(folder: Path) -> Journal:
    """The journal of a data folder, for reading only, also while a hub writes to it."""
    return read_journal(folder)


def reading_ledger(folder: Path) -> Ledger:
    """The ledger of a data folder, for reading only, also while a hub writes to it."""
    return read_ledger(folder / "ledger.sqlite")


def envelope_finder(roster: Roster) -> Callable[[str], Envelope]:
    """Device key to what that miner can do."""
    return lambda device: roster.groups[int(roster.group[roster.index[device]])].envelope


# ---- live -------------------------------------------------------------------------------------------------------------


def _credential(config: Config, name: str, folder: Path) -> tuple[str, str]:
    held = config.credentials.get(name, Credential(account="root"))
    password = secret(held.password_env, held.password_file, folder)
    return held.account, password or ""


def _miner_ports(
    config: Config, register: Register, clock: Clock, exchanges: Exchanges, folder: Path
) -> dict[str, MinerPort]:
    ports = {}
    for miner in register.miners:
        account, password = _credential(config, miner.credential, folder)
        access = DeviceAccess(account, password, dict(miner.ports))
        ports[miner.device] = MinerPort(miner, DIALECTS[miner.dialect], access, clock, exchanges)
    return ports


def _meter_sources(config: Config, site: Site, journal: Journal, clock: Clock) -> list[ModbusSource]:
    lines: dict[tuple[str, int], ModbusLine] = {}
    sources = []
    for meter in site.meters:
        line = lines.setdefault((meter.host, meter.port), ModbusLine(Address("tcp", meter.host, meter.port)))
        profile = load_profile(profile_path("meters", meter.profile))
        keep = journal.keep if meter.billing else None
        device = device_key(config.hub.name, site.name, meter.name)
        sources.append(ModbusSource(device, profile, line, clock, unit_id=meter.unit, keep=keep))
    return sources


def _feeds(config: Config, clock: Clock, folder: Path) -> list[MqttFeed]:
    channels = [
        Channel(
            device_key(config.hub.name, site.name, container.name),
            load_profile(profile_path("containers", container.profile)),
            container.topic,
        )
        for site in config.sites
        for container in site.containers
    ]
    if not channels:
        return []
    return [MqttFeed(broker_of(config, folder), channels, clock)]


def broker_of(config: Config, folder: Path) -> Broker:
    """The broker that the configuration names; the embedded one speaks MQTT 3.1.1."""
    mqtt = config.mqtt
    account = password = None
    if mqtt.credential:
        account, password = _credential(config, mqtt.credential, folder)
    return Broker(mqtt.host, mqtt.port, version=3 if mqtt.embedded else 5, username=account, password=password)


def periods(config: Config) -> dict[str, dict[Tier, float]]:
    """Seconds between polls by kind and tier."""
    polling = config.polling
    meter = {Tier.FAST: polling.meter_s, Tier.SLOW: max(60.0, polling.meter_s), Tier.DAILY: 86_400.0}
    miner = {Tier.FAST: polling.miner_fast_s, Tier.SLOW: polling.miner_slow_s, Tier.DAILY: 86_400.0}
    return {"miner": miner, "meter": meter, "sensor": meter, "container": meter}


def actuator_of(
    site: SiteState,
    drivers: dict[str, MinerDriver],
    clock: Clock,
    state: HubState,
    on_receipt: Callable[[str, Command, Receipt], None],
) -> Actuator:
    """The hands of one site."""

    def latest(device: str):  # type: ignore[no-untyped-def]
        with contextlib.suppress(KeyError):
            return state.snapshot.kind("miner").reading(device)
        return None

    return Actuator(
        drivers,
        clock,
        envelope_finder(site.roster),
        lambda made, receipt, at_ms: on_receipt(site.key, made, receipt),
        latest=latest,
        inrush_w_per_s=site.config.inrush_w_per_s,
    )


class Opened(Protocol):
    """Something with a life around the loops: a broker, a connection to one."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


@dataclass(slots=True)
class Wired:
    """A hub put together, not yet started. `opened` is started before the loops and stopped after them."""

    hub: Hub
    office: Office
    settling: SettleDuty | None
    planners: dict[str, PlanDuty]
    registers: dict[str, Register]
    opened: list[Opened]


class _Feed:
    """An MQTT feed as something opened."""

    def __init__(self, feed: MqttFeed) -> None:
        self._feed = feed

    async def start(self) -> None:
        self._feed.start()

    async def stop(self) -> None:
        await self._feed.stop()


def tariff_of(config: Config) -> Tariff | None:
    """The tariff that the configuration names."""
    path = config.planning.tariff
    return load_tariff(path.read_text(encoding="utf-8"), path.name) if path else None


@dataclass(frozen=True, slots=True)
class Ground:
    """What a wiring stands on: clock, where blocking work runs, chance, stores, and what the journal told."""

    config: Config
    folder: Path
    data: Path
    clock: Clock
    offload: Offload
    rng: np.random.Generator
    journal: Journal
    ledger: Ledger
    state: HubState
    registers: dict[str, Register]


async def ground(
    config: Config, folder: Path, data: Path, clock: Clock, offload: Offload, rng: np.random.Generator
) -> Ground:
    """Open the stores of a data folder and fold what they hold. Raises ConfigError before anything is started."""
    models = catalogue()
    registers = {f"{config.hub.name}/{site.name}": register_of_site(config, site) for site in config.sites}
    empty_state(config, models)
    journal = open_journal(data)
    ledger = open_ledger(data / "ledger.sqlite")
    state = await offload(folded, config, journal, models)
    return Ground(config, folder, data, clock, offload, rng, journal, ledger, state, registers)


def price_duty(base: Ground, recorder: Recorder) -> Duty:
    """The price folder, with the subsidy's dated data."""
    path = CONFIGS / "tariffs" / "bitcoin_subsidy.toml"
    text = path.read_text(encoding="utf-8")
    prices = PriceFolder(base.folder / base.config.prices.folder)
    subsidies, block_s = load_subsidies(text, path.name), float(tomllib.loads(text)["block_s"])
    return PriceDuty(
        prices.scan,
        base.config.prices,
        subsidies,
        block_s,
        base.state,
        recorder,
        base.clock,
        base.offload,
        base.config.hub.name,
    )


def settle_duty(base: Ground, recorder: Recorder) -> SettleDuty | None:
    """Pool, rates, venue and contract; None where no pool or no contract is configured."""
    money, clock, hub = base.config.money, base.clock, base.config.hub.name
    if not money.pool_url or money.contract is None:
        return None
    contract = load_contract(money.contract)
    token = secret(money.pool_token_env, money.pool_token_file, base.folder) or ""
    venues = [edition.sale.venue for edition in contract.editions if edition.sale is not None]
    posted = [event.body for _, event in base.journal.events(["payout.posted", "sale.posted"])]
    mains = [site.main for site in base.state.sites.values() if site.main]

    def energy_wh(span: Span) -> int | None:
        found = [meter_energy(base.journal, device, whole(span)) for device in mains]
        if not found or any(energy.told[0] < BILLABLE for energy in found):
            return None
        return round(sum(energy.total_wh() for energy in found))

    def begin() -> int | None:
        for batch in base.journal.batches("meter", 0, clock.now_ms() + 1):
            heard = [int(batch.at_ms[row]) for row, device in enumerate(batch.devices) if device in mains]
            if heard:
                return min(heard)
        return None

    async def commit(kind: str, body: Mapping[str, Any]) -> object:
        return await recorder.commit(hub, kind, body)

    desk = Desk(
        ledger=base.ledger,
        contract=contract,
        pool=BraiinsPool(money.pool_url, money.pool_account, token, clock),
        rates=NationalBank(money.rates_url) if money.rates_url else None,
        venue=VenueHttp(money.venue_url, venues[0]) if money.venue_url and venues else None,
        keep=base.journal.keep,
        commit=commit,
        energy_wh=energy_wh,
        clock=clock,
        since_ms=clock.now_ms(),
        said=posted_ids(posted),
        offload=base.offload,
    )
    return SettleDuty(desk, money.settle_every_s, begin)


Devices = Callable[[SiteState, Register], tuple[dict[str, MinerDriver], list[Source]]]
"""The miners of a site by device key, and its other sources."""


def put_together(
    base: Ground,
    devices: Devices,
    subscriptions: Sequence[Subscription],
    *,
    wiring: str,
    tick_s: float,
    rhythm: Rhythm = Rhythm(),
    closers: Sequence[Callable[[], Any]] = (),
) -> Wired:
    """The hub over whatever devices stand behind the ports: the same for live and simulated."""
    config, clock, state, offload = base.config, base.clock, base.state, base.offload
    recorder = Recorder(base.journal, clock, state.apply, offload)
    sources: list[Source] = []
    actuators: dict[str, Actuator] = {}
    made: list[Hub] = []

    def on_receipt(key: str, command: Command, receipt: Receipt) -> None:
        made[0].receipt(key, command, receipt)

    for site in state.sites.values():
        drivers, others = devices(site, base.registers[site.key])
        sources += [*drivers.values(), *others]
        actuators[site.key] = actuator_of(site, drivers, clock, state, on_receipt)

    def hear(readings: Sequence[Reading]) -> None:
        recorder.hear(readings)
        for actuator in actuators.values():
            if actuator.under_way:
                actuator.observe(readings)

    collector = Collector(
        sources,
        hear,
        recorder.tell,
        clock,
        base.rng,
        periods(config),
        at_once=config.polling.in_flight,
        time_out_s=LANE_WAIT_S,
        tick_s=tick_s,
    )
    tariff = tariff_of(config)
    planners = {
        site.key: PlanDuty(config, site, tariff, state, recorder, clock, offload, rhythm.plan_s)
        for site in state.sites.values()
        if tariff is not None
    }
    office = Office(base.ledger, base.data, clock)
    settling = settle_duty(base, recorder)
    duties: list[Duty] = [price_duty(base, recorder), *planners.values(), *([settling] if settling else [])]
    hub = Hub(
        Rooms(
            config=config,
            clock=clock,
            offload=offload,
            recorder=recorder,
            state=state,
            collector=collector,
            actuators=actuators,
            subscriptions=subscriptions,
            duties=duties,
            closers=[*closers, base.ledger.close, base.journal.close],
            wiring=wiring,
            rhythm=rhythm,
        )
    )
    made.append(hub)
    return Wired(hub, office, settling, planners, base.registers, [])


async def live(config: Config, folder: Path, data: Path) -> Wired:
    """A hub on real devices. `folder` holds the configuration file and what it refers to, `data` journal and ledger."""
    clock = system_clock()
    base = await ground(config, folder, data, clock, in_thread(), np.random.default_rng())
    exchanges = Exchanges()
    feeds = _feeds(config, clock, folder)

    def devices(site: SiteState, register: Register) -> tuple[dict[str, MinerDriver], list[Source]]:
        ports = _miner_ports(config, register, clock, exchanges, folder)
        return dict(ports), list(_meter_sources(config, site.config, base.journal, clock))

    wired = put_together(base, devices, feeds, wiring="live", tick_s=0.05, closers=[exchanges.close])
    wired.opened += [EmbeddedBroker(config.mqtt.port)] if config.mqtt.embedded and feeds else []
    wired.opened += [_Feed(feed) for feed in feeds]
    return wired


async def simulated(config: Config, folder: Path, data: Path, spec: TwinSpec, clock: Clock) -> Wired:
    """The same hub on make-believe devices behind the ports, for virtual time. `spec` is of the configuration's one site."""
    base = await ground(config, folder, data, clock, at_once(), np.random.default_rng([spec.seed, 17]))
    world = SimulatedSite(spec, clock)

    def devices(site: SiteState, register: Register) -> tuple[dict[str, MinerDriver], list[Source]]:
        return {miner.device: miner for miner in world.miners}, [*world.meters, *world.containers]

    return put_together(base, devices, (), wiring="simulated", tick_s=1.0, rhythm=Rhythm(30.0, 10.0, 60.0, 60.0))
