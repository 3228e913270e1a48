# SPDX-License-Identifier: Apache-2.0
"""The stores a hub stands on, and its duties beside the control loop: prices, treasury, archive, forwarding."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from grid.hashprice import load_subsidies
from grid.io.price_file import PriceFolder
from grid.tariff import Tariff
from grid.tariff import load as load_tariff
from hub.config import CONFIGS, Config, secret
from hub.energy import meter_energy, whole
from hub.feeds import PriceDuty
from hub.recorder import Offload, Recorder
from hub.runtime import Duty
from hub.settle import Desk, posted_ids
from hub.settling import SettleDuty
from hub.state import HubState
from hub.wiring.state import catalogue, empty_state, folded, register_of_site
from kernel.clock import Clock
from kernel.span import Span
from miner_control.actuator import Actuator
from miner_control.register import Register
from telemetry.io.archive_parquet import ParquetArchive
from telemetry.io.journal_sqlite import SqliteJournal, open_journal
from telemetry.io.marks_sqlite import SqliteMarks
from telemetry.io.seal import ApartArchive
from telemetry.io.sink_influx import InfluxSink, InfluxV1Sink
from telemetry.sink import Forwarder
from treasury.contract import load_contract
from treasury.io.ledger_sqlite import open_ledger
from treasury.io.pool_braiins import BraiinsPool
from treasury.io.rates_nbk import NationalBank
from treasury.io.venue_http import VenueHttp
from treasury.ledger import Ledger

MS_PER_DAY = 86_400_000
BILLABLE = 0.999
"""Energy of a span is billed once the meter has told at least this share of it; until then the payout waits."""


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
    journal: SqliteJournal
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


def price_duty(base: Ground, recorder: Recorder, every_s: float) -> Duty:
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
        every_s,
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


class SealDuty:
    """Closes hours into Parquet; lets the journal go of batches that are sealed, forwarded and older than `keep_days`."""

    name = "archive"
    every_s = 60.0

    def __init__(
        self, base: Ground, archive: ParquetArchive, forwarders: Sequence[Forwarder], keep_days: float
    ) -> None:
        self._base, self._archive, self._forwarders, self._keep_days = base, archive, forwarders, keep_days

    async def do(self) -> None:
        await self._base.offload(self._seal, self._base.clock.now_ms())

    def _seal(self, now_ms: int) -> None:
        self._archive.seal(now_ms)
        journal = self._base.journal
        old = journal.position_before(now_ms - round(self._keep_days * MS_PER_DAY))
        sent = [forwarder.health().sent for forwarder in self._forwarders]
        journal.trim(min([old, self._archive.sealed_position(), *sent]))


class ReadyDuty:
    """Tokens and nonces made beforehand, so that a shed costs one exchange per miner."""

    every_s = 1200.0

    def __init__(self, site: str, actuator: Actuator, devices: Sequence[str]) -> None:
        self.name = f"ready {site}"
        self._actuator, self._devices = actuator, devices

    async def do(self) -> None:
        await self._actuator.make_ready(self._devices)


class ForwardDuty:
    """Moves one sink along the journal, in a thread; its own watermark outlives an outage and a restart."""

    def __init__(self, forwarder: Forwarder, name: str, every_s: float, offload: Offload) -> None:
        self.name, self.every_s = f"sink {name}", every_s
        self._forwarder, self._offload = forwarder, offload

    async def do(self) -> None:
        while await self._offload(self._forwarder.step) == 0:
            pass
        health = self._forwarder.health()
        if health.text:
            raise OSError(health.text)


def keeping_duties(base: Ground) -> list[Duty]:
    """What keeps and forwards: the configured sinks, and the archive that trims the journal behind them."""
    forwarders: list[Forwarder] = []
    duties: list[Duty] = []
    influx = base.config.influx
    if influx is not None:
        token = secret(influx.token_env, None, base.folder) or ""
        sink = (
            InfluxSink("influx", influx.url, org=influx.org, bucket=influx.bucket, token=token, texts=influx.texts)
            if influx.path == "v2"
            else InfluxV1Sink("influx", influx.url, database=influx.bucket)
        )
        forwarders.append(Forwarder(base.journal, sink, SqliteMarks(base.data / "sinks.sqlite"), base.clock))
        duties.append(ForwardDuty(forwarders[0], "influx", influx.every_s, base.offload))
    archive = ApartArchive(base.data / "archive", base.journal)
    return [*duties, SealDuty(base, archive, forwarders, base.config.hub.journal_days)]
