# SPDX-License-Identifier: Apache-2.0
"""The state that a journal tells: for start, restart, replay and reading."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from grid.order_book import OrderBook
from hub.config import Config, Site
from hub.config.lookup import listed
from hub.config.observe_only import no_orders
from hub.config.renamed import current
from hub.metering.energy import EnergyBook
from hub.state.auxiliaries import around
from hub.state.checkpoint import FILE_NAME, resumed
from hub.state.fold import HubState
from hub.state.site import SiteState, meters_of, places_of
from hub.wiring.devices import profile_of
from hub.wiring.plugins import DialectPorts
from kernel.clock import system_clock
from kernel.errors import ConfigError, Fault
from kernel.ids import device_key
from kernel.span import Span
from miner_control.control.auxiliary_load import LoadBook
from miner_control.fleet.command_state import CommandState
from miner_control.fleet.envelope import Envelope
from miner_control.fleet.fleet import roster_of
from miner_control.inventory.asset_register import AssetRegister, load_register
from miner_control.inventory.catalogue import Catalogue, load_catalogue
from miner_control.learning.batch import read_identification, refined
from telemetry.alarm.alarm import AlarmBook
from telemetry.alarm.condition import Places
from telemetry.alarm.rule import AlarmRule, Rate, load_rules
from telemetry.collect.snapshot import Snapshot
from telemetry.device.frames import frame_faults
from telemetry.device.profile import load as load_profile
from telemetry.energy.passport import Passport, load_passport
from telemetry.io.archive_files import export, export_rollup
from telemetry.io.archive_parquet import ParquetArchive
from telemetry.io.billing_sqlite import BillingStore
from telemetry.io.journal_sqlite import SqliteJournal, read_journal
from telemetry.store.archive import Archive, Step
from telemetry.store.journal import Journal
from treasury.io.ledger_sqlite import read_ledger
from treasury.ledger import Ledger

log = structlog.get_logger("hub")

NO_MINERS = AssetRegister(())
SAY_EACH_S = 10.0


def catalogue(folder: Path | None = None) -> Catalogue:
    """All known models and firmware capabilities: those in the folder of `hub.toml`, then those shipped."""
    return load_catalogue(
        listed(folder, "profiles/miners"),
        current(listed(folder, "profiles/firmware")),
        listed(folder, "profiles/names"),
    )


def check_profiles(config: Config) -> None:
    """Read the profile of every device, with its frames. Raises ConfigError with the faults of all of them."""
    faults: list[Fault] = []
    for site in config.sites:
        for kind, part in site.devices():
            try:
                profile_of(site, kind, part)
                # The frames are of the device as its maker describes it, without this site's ratios.
                found = frame_faults(load_profile(site.profile_file(kind, part)))
            except ConfigError as error:
                found = error.faults
            faults += [fault for fault in found if fault not in faults]
    if faults:
        raise ConfigError(faults)


def register_of_site(config: Config, site: Site) -> AssetRegister:
    """The site's inventory; feeders that the site does not have are faults."""
    if site.inventory is None:
        return NO_MINERS
    register = load_register(site.inventory, config.hub.name, site.name, dialects=DialectPorts())
    feeders = {feeder.name for feeder in site.feeders}
    wrong = sorted({miner.feeder for miner in register.miners} - feeders)
    if wrong:
        place, known = f"{site.inventory}", ", ".join(sorted(feeders))
        raise ConfigError(
            [Fault(place, f"no feeder {name!r} in {site.name}", f"Write one of: {known}") for name in wrong]
        )
    return register


def site_state(config: Config, site: Site, register: AssetRegister, models: Catalogue) -> SiteState:
    """A site before anything was heard of it."""
    pairs = sorted({(miner.model, miner.dialect) for miner in register.miners})
    envelopes = {
        pair: _paced(envelope, site.simulated_speed_factor) for pair, envelope in models.envelopes(pairs).items()
    }
    if site.identification is not None:
        envelopes = refined(
            envelopes, read_identification(site.identification.read_text(encoding="utf-8"), site.identification.name)
        )
    roster = roster_of(register.miners, envelopes, phases=register.phases, not_ours=site.third_party_owners)
    main, feeders = meters_of(config.hub.name, site)
    key = f"{config.hub.name}/{site.name}"
    starts_cap = config.planning.starts_per_day
    overhead = 1.0 + site.other_load_share
    auxiliaries = around(site, key, register, roster.index)
    return SiteState(
        site, key, envelopes, CommandState(roster), register, main, feeders, overhead, starts_cap=starts_cap,
        around=auxiliaries, load_book=LoadBook(load.key for load in auxiliaries.loads),
    )  # fmt: skip


def _paced(envelope: Envelope, pace: float) -> Envelope:
    """An envelope whose times are those of a simulated site that lives faster."""
    if pace == 1.0:
        return envelope
    times = ("ramp_up_s", "ramp_down_s", "start_lost_s", "min_on_s", "min_off_s", "random_start_delay_s")
    return replace(envelope, **{name: getattr(envelope, name) / pace for name in times})


def empty_state(config: Config, models: Catalogue) -> HubState:
    """The state of a hub whose journal is empty. Raises ConfigError with the faults of every inventory."""
    sites: list[SiteState] = []
    faults: list[Fault] = []
    for site in config.sites:
        try:
            sites.append(site_state(config, site, register_of_site(config, site), models))
        except ConfigError as error:
            faults += error.faults
        except KeyError as error:
            faults.append(
                Fault(
                    f"{site.inventory}",
                    str(error.args[0]),
                    "Use models of profiles/miners: shipped, or in the site's folder",
                )
            )
    if faults:
        raise ConfigError(faults)
    capacity = {site.key: site.config.import_cap_w for site in sites}
    capacity |= {f"{site.key}/{feeder.name}": feeder.cap_w for site in sites for feeder in site.config.feeders}
    rules = alarm_rules(max((site.simulated_speed_factor for site in config.sites), default=1.0), config.folder)
    observing = {site.key: no_orders(site.config) for site in sites if site.config.observe_only}
    book = OrderBook(capacity, observing=observing)
    return HubState(sites, book, Snapshot(), AlarmBook(rules, standing_places(sites)))


def passports_of(config: Config) -> dict[str, Passport]:
    """The papers of all metering points, by device key. Raises ConfigError with the faults of every file."""
    found: dict[str, Passport] = {}
    faults: list[Fault] = []
    for site in config.sites:
        meters = {device_key(config.hub.name, site.name, meter.name) for meter in site.meters}
        for path in site.passports:
            try:
                passport = load_passport(path)
            except ConfigError as error:
                faults += error.faults
                continue
            if passport.device not in meters:
                known = ", ".join(sorted(meters)) or "none"
                faults.append(Fault(f"{path} point", f"no meter {passport.device!r}", f"Name one of: {known}"))
            elif passport.device in found:
                faults.append(
                    Fault(f"{path} point", f"a second passport of {passport.device}", "Put all facts in one file")
                )
            found[passport.device] = passport
    if faults:
        raise ConfigError(faults)
    return found


def reading_book(config: Config, data: Path, journal: Journal) -> EnergyBook:
    """Energy of a data folder, for reading only, also while a hub writes to it."""
    assert isinstance(journal, SqliteJournal)
    return EnergyBook(ParquetArchive(data / "archive", journal), passports_of(config))


def exported(
    archive: Archive, kind: str, span: Span, target: Path, devices: Sequence[str] | None, metric: str, step: Step | None
) -> int:
    """Readings of a span, or one metric per step, as a file for others; returns the rows."""
    if step is not None:
        return export_rollup(archive, kind, metric, step, span, target, devices)
    return export(archive, kind, span, target, devices=devices)


def reading_billing(data: Path) -> BillingStore:
    """The billed energy of a data folder."""
    return BillingStore(data / "billing.sqlite")


def alarm_rules(pace: float = 1.0, folder: Path | None = None) -> list[AlarmRule]:
    """The rules of the site's folder and those shipped; a file of the site replaces the shipped one of its name.

    `pace`: rates of change are multiplied by it (simulated sites that run faster).
    """
    rules = load_rules(current(listed(folder, "alarms")))
    return [
        replace(rule, when=replace(rule.when, per_s=rule.when.per_s * pace)) if isinstance(rule.when, Rate) else rule
        for rule in rules
    ]


def standing_places(sites: Sequence[SiteState]) -> Places:
    """Where devices stand, for alarms: rack and feeder of miners, feeder and role of meters."""
    rack, feeder, role = dict[str, str](), dict[str, str](), dict[str, str]()
    for site in sites:
        racks, feeders = places_of(site.key, site.register.miners)
        rack |= racks
        feeder |= feeders
        for meter in site.config.meters:
            device = f"{site.key}/{meter.name}"
            role[device] = meter.role
            if meter.feeder:
                feeder[device] = f"{site.key}/{meter.feeder}"
    return Places(rack, feeder, role)


def folded(config: Config, journal: Journal, models: Catalogue | None = None) -> HubState:
    """The state that a journal tells, from its checkpoint on where one fits."""
    state = empty_state(config, models or catalogue(config.folder))
    if isinstance(journal, SqliteJournal):
        state = resumed(config, journal, journal.path.with_name(FILE_NAME), state)
    clock, whole = system_clock(), journal.position()
    said_s = clock.monotonic_s()
    for record in journal.records(after=state.position):
        state.apply(record)
        if clock.monotonic_s() - said_s > SAY_EACH_S:
            said_s = clock.monotonic_s()
            log.info("reading the journal", position=record.position, of=whole)
    return state


def reading(folder: Path) -> Journal:
    """The journal of a data folder, for reading only, also while a hub writes to it."""
    return read_journal(folder)


def reading_ledger(folder: Path) -> Ledger:
    """The ledger of a data folder, for reading only, also while a hub writes to it."""
    return read_ledger(folder / "ledger.sqlite")
