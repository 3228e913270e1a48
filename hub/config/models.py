# SPDX-License-Identifier: Apache-2.0
"""The tables of a hub's configuration. Unknown keys are faults; values do not change after the start."""

import math
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator

from hub.config.devices import Container, Device, LoadPart, LoopPart, Meter, SwitchPart
from hub.config.feeds import FEEDS_BY_DEFAULT, FeedPart, Prices
from hub.config.lookup import look_up
from hub.config.types import Existing, Located, Name, Part, Port, Seconds, Watts, Zone
from kernel.units import S_PER_DAY


class Feeder(Part):
    """A branch of the site behind its own breaker. `phase_cap_w` is what each of its three phases may carry: single-phase
    miners (inventory column `phase`) are kept below it phase by phase."""

    name: Name
    cap_w: Watts
    phase_cap_w: Watts | None = None


class Dispatcher(Part):
    """Who may give orders over MQTT. Without `must_sign` the broker's access list must tie the topic to the credential."""

    name: Name
    sites: tuple[Name, ...] = ()
    public_key: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    must_sign: bool = True


class WakeRecoveryPart(Part):
    """Recovery of miners that do not hash after a wake: budgets of reboots and power cycles, how many ramp-up times each step
    is given, and when after a restore the report of missing miners is written."""

    enabled: bool = True
    reboots_per_day: int = Field(default=50, ge=0)
    reboots_at_once: int = Field(default=5, ge=0)
    power_cycles_per_day: int = Field(default=10, ge=0)
    power_cycles_at_once: int = Field(default=2, ge=0)
    margin_factor: float = Field(default=1.5, ge=1, le=10)
    report_after_s: Seconds = 1200.0


class TransformerPart(Part):
    """The site's transformer: nameplate, the hot spot's limit, the ambient that is taken where no weather curve is known.
    Rises and exponents as in `grid.transformer`."""

    rated_va: float = Field(gt=0, examples=[4_000_000.0])
    power_factor: float = Field(default=0.95, gt=0, le=1)
    hot_spot_limit_c: float = Field(default=110.0, gt=0, le=140)
    assumed_ambient_c: float = 40.0
    oil_rise_k: float = Field(default=55.0, gt=0)
    winding_rise_k: float = Field(default=23.0, gt=0)
    loss_ratio: float = Field(default=5.0, gt=0)
    oil_exponent: float = Field(default=0.8, gt=0)
    winding_exponent: float = Field(default=1.6, gt=0)
    max_load_share: float = Field(default=1.2, gt=0, le=2)


class WeatherPart(Part):
    """What heat and cold do to the site; nothing where a key is left out (`scheduling.problem.exogenous.Weather`)."""

    hot_c: float | None = None
    derate_from_c: float | None = None
    derate_per_k: float = Field(default=0.0, ge=0, le=0.2)
    cold_c: float | None = None
    cold_min_w: float = Field(default=0.0, ge=0)


class TakeOrPay(Part):
    """Energy of each civil day that is paid for whether used or not; each MWh that is missing costs `penalty_per_mwh`."""

    name: Name
    energy_mwh_per_day: float = Field(gt=0)
    penalty_per_mwh: float = Field(gt=0)
    source: str = Field(min_length=1)
    valid_from: date
    valid_to: date | None = None


class ReserveProduct(Part):
    """Reserve that is sold: down (load that can be shed) or up, at money per MW and hour, at most `max_w`, in blocks."""

    direction: Literal["down", "up"]
    price_per_mwh: float = Field(ge=0)
    max_w: Watts
    block_h: Literal[1, 2, 4, 6, 8, 12, 24] = 4


class Site(Located):
    """One site of the hub: its operator, zone, connection and devices."""

    name: Name
    operator: str = Field(min_length=1, examples=["North Mining LLP"])
    zone: Zone = Field(examples=["Asia/Almaty"])
    import_cap_w: Watts
    ramp_w_per_s: float | None = Field(default=None, gt=0)
    inrush_w_per_s: float = Field(default=200_000.0, gt=0)
    other_load_share: float = Field(default=0.0, ge=0, le=1)
    observe_only: bool = False
    third_party_owners: tuple[str, ...] = ()
    """Owners (of the inventory, or entered since) whose miners here are polled and counted as load, and never commanded."""
    simulated_speed_factor: float = Field(default=1.0, ge=1.0, le=1000.0)
    """Simulated sites only: their miners change this many times faster, and envelopes' times are divided by it."""
    inventory: Existing | None = None
    feeders: tuple[Feeder, ...] = Field(min_length=1)
    meters: tuple[Meter, ...] = ()
    containers: tuple[Container, ...] = ()
    sensors: tuple[Device, ...] = ()
    switches: tuple[SwitchPart, ...] = ()
    loads: tuple[LoadPart, ...] = ()
    cooling_loops: tuple[LoopPart, ...] = ()
    wake_recovery: WakeRecoveryPart = WakeRecoveryPart()
    run_on_s: Seconds = 300.0
    """Cooling runs on so long after the last miner that it serves fell asleep."""
    identification: Existing | None = None
    """What `mining-hub miners learn --write` wrote: learnt ramps, watts and hashes take the place of what is assumed."""
    heat_min_w: float = Field(default=0.0, ge=0)
    """Least power that heat consumers or loops need at all times."""
    take_or_pay: tuple[TakeOrPay, ...] = ()
    reserve: tuple[ReserveProduct, ...] = ()
    transformer: TransformerPart | None = None
    weather: WeatherPart = WeatherPart()
    passports: tuple[Existing, ...] = ()
    """Files of the meters' papers, one for each metering point (`telemetry.energy.passport`)."""

    def devices(self) -> tuple[tuple[str, Device], ...]:
        """(folder of its profile, device) of all that is no miner."""
        return (
            *(("meters", one) for one in self.meters),
            *(("containers", one) for one in self.containers),
            *(("sensors", one) for one in self.sensors),
            *(("switches", one) for one in self.switches),
        )

    def profile_file(self, kind: str, device: Device) -> Path:
        """The profile of a device; `kind` as given by `devices`. Raises ConfigError naming the places looked at."""
        return look_up(self.folder, f"profiles/{kind}/{device.profile}.toml")


class Credential(Part):
    """An account at devices; the password comes from the environment or a file, never from here."""

    account: str
    password_env: str | None = None
    password_file: Path | None = None


class PoolPart(Part):
    """A pool that miners may be pointed at. `worker` is a template: {name}, {model}, {rack}, {position}, {feeder}, {serial},
    {host}. What stands in no list of `pools` cannot be set, and a miner found there is a finding."""

    url: str = Field(pattern=r"^[a-z0-9+]+://[^/\s]+:\d+(/.*)?$", examples=["stratum+tcp://pool.example:3333"])
    worker: str = Field(min_length=1, examples=["account.{rack}x{position}"])
    password_env: str | None = None
    password_file: Path | None = None

    @field_validator("worker")
    @classmethod
    def _known_fields(cls, worker: str) -> str:
        try:
            worker.format(**dict.fromkeys(("name", "model", "rack", "position", "feeder", "serial", "host"), "x"))
        except (KeyError, ValueError, IndexError):
            raise ValueError("use {name} {model} {rack} {position} {feeder} {serial} {host}") from None
        return worker


class Polling(Part):
    """How often each kind is asked, per tier. First polls are spread over `spread_s`. Who is silent is tried ever more rarely,
    at last each `back_off_s`."""

    miner_fast_s: Seconds = 5.0
    miner_slow_s: Seconds = 300.0
    meter_s: Seconds = 1.0
    timeout_s: Seconds = 5.0
    spread_s: Seconds = 30.0
    back_off_s: Seconds = 60.0
    in_flight: int = Field(default=500, ge=1, le=20_000)


class Mqtt(Part):
    """The broker; `embedded` starts one of our own on loopback (MQTT 3.1.1) where no other is configured. `tls_ca` switches
    TLS on; `tls_cert` and `tls_key` are ours where the broker asks for one."""

    embedded: bool = True
    version: Literal[3, 5] | None = None
    host: str = "127.0.0.1"
    port: Port = 1883
    credential: Name | None = None
    tls_ca: Existing | None = None
    tls_cert: Existing | None = None
    tls_key: Existing | None = None
    host_id: Name = "mining-hub"
    """The Sparkplug host application's id: `spBv1.0/STATE/<host_id>`."""
    orders_topic: str = "mining-hub/orders"


class Auction(Part):
    """A central auction of tomorrow's energy: its clock in its own zone, by which rule and since when. Bids are in MWh and
    money per MWh; `input_until` is when they must stand, `prepay_until` when they must be paid for."""

    zone: Zone
    input_until: str = Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$", examples=["09:15"])
    prepay_until: str | None = Field(default=None, pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    source: str = Field(min_length=1)
    valid_from: date
    valid_to: date | None = None


class Risk(Part):
    """Tomorrow's energy bought ahead, and reserve promised, on scenarios of past forecast errors (`scheduling.offer.hedge`)."""

    scenarios: int = Field(default=50, ge=2, le=1000)
    tail: float = Field(default=0.05, gt=0, le=1)
    weight: float = Field(default=0.5, ge=0, le=1)
    reserve_price_per_mwh: float = Field(default=0.0, ge=0)
    reserve_max_w: float = Field(default=0.0, ge=0)
    block_h: Literal[1, 2, 4, 6, 8, 12, 24] = 4


class Planning(Part):
    """The planner's horizon and cadence; limits of the solver count iterations, never seconds."""

    horizon: tuple[tuple[float, float], ...] = ((300.0, 7_200.0), (900.0, S_PER_DAY), (3_600.0, 259_200.0))
    every_s: Seconds = 300.0
    tariff: Existing | None = None
    start_cost: float = Field(default=0.0, ge=0)
    starts_per_day: int | None = Field(default=None, ge=0)
    milp_nodes: int = Field(default=200, ge=0)
    auctions: tuple[Auction, ...] = ()
    risk: Risk | None = None


class Control(Part):
    """The pace of the control step."""

    tick_s: Seconds = 5.0
    stale_after_s: Seconds = 30.0
    policy: Literal["modes_first", "merit"] = "modes_first"
    command_deadline_s: Seconds = 120.0
    uploads: int = Field(default=4, ge=1, le=100)
    """How many firmware images are on their way at once, at each site."""


class Money(Part):
    """Pool, rate feed, venue and the contract that divides what is mined. Without a pool nothing is settled. A `kind` is one
    that ships or a plug-in's (`mining-hub plugins`)."""

    contract: Existing | None = None
    pool_kind: str = "braiins"
    pool_url: str | None = None
    pool_account: str = "hub"
    pool_token_env: str | None = None
    pool_token_file: Path | None = None
    rates_kind: str = "nbk"
    rates_url: str | None = None
    venue_kind: str = "http"
    venue_url: str | None = None
    settle_every_s: Seconds = 600.0


class StoreSink(Part):
    """A store that all readings are forwarded to: InfluxDB 2 (`influx`), InfluxDB 1 (`influx1`), VictoriaMetrics
    (`victoria`), or a plug-in's kind."""

    name: Name
    kind: str = Field(min_length=1, examples=["influx"])
    url: str = Field(examples=["http://127.0.0.1:8086"])
    org: str = "mining-hub"
    bucket: str = "mining-hub"
    token_env: str | None = None
    token_file: Path | None = None
    every_s: Seconds = 10.0


class MqttSinkPart(Part):
    """All readings republished over MQTT, with Home Assistant's discovery; the hub's own broker where no host is given."""

    name: Name
    kind: Literal["mqtt"]
    host: str | None = None
    port: Port = 1883
    credential: Name | None = None
    tls_ca: Existing | None = None
    prefix: str = "mining-hub"
    discovery: str = "homeassistant"
    every_s: Seconds = 2.0


def _sink_model(table: Any) -> str:
    """Which model reads a table of `sinks`: MQTT has keys of its own, every other kind those of a store."""
    kind = table.get("kind") if isinstance(table, Mapping) else getattr(table, "kind", None)
    return "mqtt" if kind == "mqtt" else "store"


class Billing(Part):
    """Energy of billing meters per slot, kept for good: closed `grace_s` after the slot's end; a change is a new version."""

    slot_s: Literal[900, 1800, 3600] = 900
    grace_s: float = Field(default=300.0, ge=0, le=86_400)


KeptDays = Annotated[float, BeforeValidator(lambda days: math.inf if days == "forever" else days), Field(ge=1)]


class KindDays(Part):
    """Days by kind of reading, or "forever"; what is not named keeps its default."""

    miner: KeptDays | None = None
    meter: KeptDays | None = None
    container: KeptDays | None = None
    sensor: KeptDays | None = None
    switch: KeptDays | None = None


class IpReport(Part):
    """The IP-report buttons of miners. `listen` is the hub's own address in the miners' network (a broadcast reaches only a
    socket bound there, or to 0.0.0.0); nothing is listened to without it, and nothing is ever answered."""

    listen: str | None = Field(default=None, examples=["10.0.0.2"])
    port: Port = 14235


class Retention(Part):
    """How long the archive keeps raw readings and rollups. What a report, a payout or a hold cites is kept in any case."""

    raw: KindDays = KindDays()
    minute: KindDays = KindDays()
    quarter: KindDays = KindDays()
    hour: KindDays = KindDays()

    def days(self) -> dict[tuple[str, str], float | None]:
        """(layer of the archive, kind) to days; None is for ever."""
        layers = {"raw": self.raw, "1m": self.minute, "15m": self.quarter, "1h": self.hour}
        named = {(layer, kind): days for layer, part in layers.items() for kind, days in part if days is not None}
        return {place: None if days == math.inf else days for place, days in named.items()}


class HubPart(Part):
    """The hub itself."""

    name: Name
    data: Path = Path("data")
    host: str = "127.0.0.1"
    port: Port = 8787
    journal_days: float = Field(default=40.0, ge=1)


class Config(Located):
    """The whole configuration of a hub."""

    hub: HubPart
    sites: tuple[Site, ...] = Field(min_length=1)
    credentials: Mapping[str, Credential] = Field(default_factory=dict)
    dispatchers: tuple[Dispatcher, ...] = ()
    pools: Mapping[Name, tuple[PoolPart, ...]] = Field(default_factory=dict)
    polling: Polling = Polling()
    mqtt: Mqtt = Mqtt()
    feeds: tuple[FeedPart, ...] = FEEDS_BY_DEFAULT
    prices: Prices = Prices()
    planning: Planning = Planning()
    control: Control = Control()
    money: Money = Money()
    sinks: tuple[
        Annotated[
            Annotated[MqttSinkPart, Tag("mqtt")] | Annotated[StoreSink, Tag("store")], Discriminator(_sink_model)
        ],
        ...,
    ] = ()
    billing: Billing = Billing()
    retention: Retention = Retention()
    ip_report: IpReport = IpReport()

    @field_validator("hub")
    @classmethod
    def _loopback_by_default(cls, hub: HubPart) -> HubPart:
        if hub.host in ("", "*"):
            raise ValueError("write the address to listen on, such as 127.0.0.1")
        return hub
