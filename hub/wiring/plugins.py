# SPDX-License-Identifier: Apache-2.0
"""Dialects, feeds, pools, rates, venues, report kinds and sinks by the names that the configuration uses.

One row each; an installed distribution adds rows by entry points of the group named in the table
(docs/contributing/plug-ins.md). A dialect and a report kind are values; everything else is made from its settings.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub import __version__
from hub.config import Config, MqttSinkPart, StoreSink
from hub.reports import site_energy, treasury_statement
from hub.reports.kind import ReportKind
from hub.wiring.feeds import FEEDS
from hub.wiring.named import Maker, Named, installed, lacks, not_callable
from kernel.clock import Clock
from kernel.errors import ConfigError, Fault
from miner_control.dialect import DIALECTS as SHIPPED_DIALECTS
from miner_control.fleet.driver import Dialect
from miner_control.inventory.asset_register import DEFAULT_PORTS, Ports
from telemetry.io.mqtt import tls_context
from telemetry.io.sink_influx import InfluxSink, InfluxV1Sink
from telemetry.io.sink_mqtt import MqttSink
from telemetry.store.sink import Sink
from telemetry.wire.homeassistant import Topics
from treasury.exchange import Venue
from treasury.io.pool_braiins import BraiinsPool
from treasury.io.rates_nbk import NationalBank
from treasury.io.venue_http import VenueHttp
from treasury.payout import PoolFeed
from treasury.settlement import RateFeed


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """A pool account. `name` is the contract's name of the pool: payouts under any other are not divided."""

    url: str
    account: str
    token: str
    name: str
    clock: Clock


@dataclass(frozen=True, slots=True)
class RatesSettings:
    """A source of official rates."""

    url: str


@dataclass(frozen=True, slots=True)
class VenueSettings:
    """A venue under the name that the contract's licence gives it."""

    url: str
    name: str


@dataclass(frozen=True, slots=True)
class SinkSettings:
    """A sink's table in the configuration, with its secrets read. `config` and `folder` are the hub's."""

    part: StoreSink | MqttSinkPart
    token: str
    account: str
    password: str
    config: Config
    folder: Path


def _braiins(pool: PoolSettings) -> PoolFeed:
    return BraiinsPool(pool.url, pool.account, pool.token, pool.clock)


def _influx(sink: SinkSettings, *, texts: bool = True) -> Sink:
    part = sink.part
    assert isinstance(part, StoreSink)
    return InfluxSink(part.name, part.url, org=part.org, bucket=part.bucket, token=sink.token, texts=texts)


def _influx1(sink: SinkSettings) -> Sink:
    part = sink.part
    assert isinstance(part, StoreSink)
    return InfluxV1Sink(part.name, part.url, database=part.bucket)


def _mqtt(sink: SinkSettings) -> Sink:
    part, broker = sink.part, sink.config.mqtt
    assert isinstance(part, MqttSinkPart)
    ca = broker.tls_ca if part.host is None else part.tls_ca
    return MqttSink(
        part.name,
        broker.host if part.host is None else part.host,
        broker.port if part.host is None else part.port,
        version=__version__,
        protocol=3 if part.host is None and broker.embedded else 5,
        topics=Topics(part.prefix, part.discovery),
        account=sink.account,
        password=sink.password,
        tls=None if ca is None else tls_context(str(ca)),
    )


DIALECT_METHODS = ("read", "carry_out", "prepare", "supports")


def _unfit_dialect(value: Any) -> str:
    return lacks(value, DIALECT_METHODS)


def _unfit_report(value: Any) -> str:
    return "" if isinstance(value, ReportKind) else "it is no hub.reports.kind.ReportKind"


DIALECTS: Named[Dialect] = Named(
    "dialect", "mining_hub.dialects", SHIPPED_DIALECTS, _unfit_dialect, contained=DIALECT_METHODS
)

POOLS: Named[Callable[[PoolSettings], PoolFeed]] = Named(
    "pool", "mining_hub.pools", {"braiins": _braiins}, not_callable
)

RATES: Named[Callable[[RatesSettings], RateFeed]] = Named(
    "rates", "mining_hub.rates", {"nbk": lambda rates: NationalBank(rates.url)}, not_callable
)

VENUES: Named[Callable[[VenueSettings], Venue]] = Named(
    "venue", "mining_hub.venues", {"http": lambda venue: VenueHttp(venue.url, venue.name)}, not_callable
)

SINKS: Named[Callable[[SinkSettings], Sink]] = Named(
    "sink",
    "mining_hub.sinks",
    {
        "influx": _influx,
        "influx1": _influx1,
        "victoria": lambda sink: _influx(sink, texts=False),
        "mqtt": _mqtt,
    },
    not_callable,
)

REPORTS: Named[ReportKind] = Named(
    "report",
    "mining_hub.reports",
    {
        site_energy.REPORT: site_energy.KIND,
        treasury_statement.REPORT: treasury_statement.KIND,
    },
    _unfit_report,
)

TABLES: tuple[Named[Any], ...] = (DIALECTS, FEEDS, POOLS, RATES, VENUES, REPORTS, SINKS)

pool_of = Maker(POOLS, ("read",)).make
rates_of = Maker(RATES, ("rate",)).make
venue_of = Maker(VENUES, ("quote", "sell")).make
sink_of = Maker(SINKS, ("send",)).make


def check_kinds(config: Config) -> None:
    """Whether each `kind` that the configuration names can be used. Raises ConfigError with every fault."""
    money = config.money
    asked: list[tuple[Named[Any], str, str]] = [
        (SINKS, sink.kind, f"sinks.{number}.kind") for number, sink in enumerate(config.sinks)
    ]
    if money.pool_url and money.contract is not None:
        asked.append((POOLS, money.pool_kind, "money.pool_kind"))
        asked += [(RATES, money.rates_kind, "money.rates_kind")] if money.rates_url else []
        asked += [(VENUES, money.venue_kind, "money.venue_kind")] if money.venue_url else []
    faults: list[Fault] = []
    for table, kind, place in asked:
        try:
            table.find(kind, place)
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError(faults)


class DialectPorts(Mapping[str, Ports]):
    """The usual ports of each dialect; a plug-in's own are its `ports`, ((name, number), ...), and it is loaded for them."""

    def __getitem__(self, name: str) -> Ports:
        dialect = DIALECTS[name]
        return DEFAULT_PORTS[name] if name in DEFAULT_PORTS else tuple(getattr(dialect, "ports", ()))

    def __contains__(self, name: object) -> bool:
        return name in DIALECTS

    def __iter__(self) -> Iterator[str]:
        return iter(DIALECTS)

    def __len__(self) -> int:
        return len(DIALECTS)


def unreadable() -> tuple[str, ...]:
    """Distributions whose entry points for the hub cannot be read."""
    return installed().unreadable
