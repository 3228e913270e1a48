# SPDX-License-Identifier: Apache-2.0
"""The stores a hub stands on, and its duties next to the control loop: feeds, treasury, archive, forwarding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from grid.tariff import Tariff
from grid.tariff import load as load_tariff
from hub.config import Config, secret
from hub.journal.recorder import Offload, Recorder
from hub.market.price_duty import PriceDuty
from hub.metering.energy import EnergyBook
from hub.settlement.duty import SettleDuty
from hub.settlement.round import SettlementContext, posted_ids
from hub.state.fold import HubState
from hub.wiring.feeds import configured_feeds
from hub.wiring.plugins import (
    PoolSettings,
    RatesSettings,
    VenueSettings,
    check_kinds,
    pool_of,
    rates_of,
    venue_of,
)
from hub.wiring.state import catalogue, check_profiles, empty_state, folded, passports_of, register_of_site
from kernel.clock import Clock
from kernel.curve import Curve, known
from kernel.event import EventKind
from kernel.toml_model import read_text
from miner_control.control.actuator import Actuator
from miner_control.inventory.asset_register import AssetRegister
from telemetry.io.journal_sqlite import SqliteJournal, open_journal
from telemetry.io.seal import ApartArchive
from treasury.contract import load_contract
from treasury.io.ledger_sqlite import open_ledger
from treasury.ledger import Ledger


def tariff_of(config: Config) -> Tariff | None:
    """The tariff that the configuration names."""
    path = config.planning.tariff
    return load_tariff(read_text(path, "Give the path of a tariff"), path.name) if path else None


@dataclass(frozen=True, slots=True)
class Stores:
    """What a wiring stands on: clock, where blocking work runs, chance, stores, and the state folded from the journal."""

    config: Config
    folder: Path
    data: Path
    clock: Clock
    offload: Offload
    rng: np.random.Generator
    journal: SqliteJournal
    ledger: Ledger
    state: HubState
    registers: dict[str, AssetRegister]
    book: EnergyBook


async def ground(
    config: Config, folder: Path, data: Path, clock: Clock, offload: Offload, rng: np.random.Generator
) -> Stores:
    """Open the stores of a data folder and fold what they hold. Raises ConfigError before anything is started."""
    check_kinds(config)
    models = catalogue(config.folder)
    registers = {f"{config.hub.name}/{site.name}": register_of_site(config, site) for site in config.sites}
    empty_state(config, models)
    check_profiles(config)
    passports = passports_of(config)
    journal = open_journal(data)
    ledger = open_ledger(data / "ledger.sqlite")
    state = await offload(folded, config, journal, models)
    book = EnergyBook(ApartArchive(data / "archive", journal), passports)
    return Stores(config, folder, data, clock, offload, rng, journal, ledger, state, registers, book)


def price_duty(base: Stores, recorder: Recorder, every_s: float) -> PriceDuty:
    """The configured feeds, polled in their order. Raises ConfigError with the faults of all of them."""

    def latest(name: str, now_ms: int) -> Curve | None:
        return known(tuple(base.state.curves.get(name, ())), name, now_ms)

    config, hub = base.config, base.config.hub.name
    feeds = configured_feeds(config, base.folder, latest)
    return PriceDuty(feeds, config.prices, base.state, recorder, base.clock, base.offload, hub, every_s)


def settle_duty(base: Stores, recorder: Recorder) -> SettleDuty | None:
    """Pool, rates, venue and contract; None where no pool or no contract is configured."""
    money, clock, hub = base.config.money, base.clock, base.config.hub.name
    if not money.pool_url or money.contract is None:
        return None
    contract = load_contract(money.contract)
    token = secret(money.pool_token_env, money.pool_token_file, base.folder) or ""
    venues = [edition.sale.venue for edition in contract.editions if edition.sale is not None]
    posted = [event.body for _, event in base.journal.events([EventKind.PAYOUT_POSTED, EventKind.SALE_POSTED])]
    mains = [site.main for site in base.state.sites.values() if site.main]

    def begin() -> int | None:
        # Of archive and journal: the journal alone begins where it was trimmed, and a payout before that would be passed over.
        found = [first_ms for device in mains if (first_ms := base.book.archive.first_ms(device)) is not None]
        return min(found, default=None)

    async def commit(kind: EventKind, body: Mapping[str, Any]) -> object:
        return await recorder.commit(hub, kind, body)

    desk = SettlementContext(
        ledger=base.ledger,
        contract=contract,
        pool=pool_of(
            money.pool_kind,
            "money.pool_kind",
            PoolSettings(money.pool_url, money.pool_account, token, contract.pool, clock),
        ),
        rates=rates_of(money.rates_kind, "money.rates_kind", RatesSettings(money.rates_url))
        if money.rates_url
        else None,
        venue=venue_of(money.venue_kind, "money.venue_kind", VenueSettings(money.venue_url, venues[0]))
        if money.venue_url and venues
        else None,
        keep=base.journal.keep,
        commit=commit,
        energy=lambda span: base.book.billed(mains, span),
        clock=clock,
        since_ms=clock.now_ms(),
        posted=posted_ids(posted),
        offload=base.offload,
    )
    return SettleDuty(desk, money.settle_every_s, begin)


class ReadyDuty:
    """Tokens and nonces made beforehand, so that a shed costs one exchange per miner."""

    every_s = 1200.0

    def __init__(self, site: str, actuator: Actuator, devices: Sequence[str]) -> None:
        self.name = f"ready {site}"
        self._actuator, self._devices = actuator, devices

    async def do(self) -> None:
        await self._actuator.make_ready(self._devices)
