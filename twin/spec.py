# SPDX-License-Identifier: Apache-2.0
"""Specification of a simulated site, and its layout: ids, addresses, serial numbers, faults.

The same spec gives the same site. A port of 0 is chosen by the system; `ready.json` names the one in use.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from kernel.ids import device_key
from twin.faults import MINER_FAULTS
from twin.models import MODELS, Model
from twin.weather import Weather


class Losses(BaseModel):
    """Losses between miners and meters. Linear on purpose: energies then agree exactly.

    feeder = miners * (1 + cooling_share) * (1 + cable_share);
    main = sum of feeders * (1 + transformer_share) + transformer_fixed_w.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cooling_share: float = Field(default=0.035, ge=0, le=1)
    cable_share: float = Field(default=0.008, ge=0, le=1)
    transformer_share: float = Field(default=0.009, ge=0, le=1)
    transformer_fixed_w: float = Field(default=1800.0, ge=0)

    @property
    def feeder_factor(self) -> float:
        return (1 + self.cooling_share) * (1 + self.cable_share)


class TwinSpec(BaseModel):
    """A simulated site. `models` and `faults` map a name to a share (models: weights; faults: part of all miners).

    For a scan, `strewn_over` spreads the miners over that many addresses from `miner_host` on, `silent_hosts` accept and
    never answer, and `half_open_hosts` have a port whose queue is full. `generation` is power in W behind the main meter,
    each entry from its seconds after the start.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hub: str = "hub-1"
    site: str = "site-1"
    miners: int = Field(default=100, ge=0, le=100_000)
    seed: int = 1
    pace: float = Field(default=1.0, gt=0, le=10_000)
    models: Mapping[str, float] = Field(
        default_factory=lambda: {
            "antminer-s21": 0.4,
            "antminer-s19-pro": 0.1,
            "whatsminer-m50s": 0.35,
            "whatsminer-m30s++": 0.15,
        }
    )
    faults: Mapping[str, float] = Field(default_factory=lambda: {"hashless": 0.004, "dead": 0.004, "board": 0.004})
    feeders: int = Field(default=4, ge=1, le=200)
    containers: int = Field(default=1, ge=0, le=200)
    rack_size: int = Field(default=40, ge=1)
    losses: Losses = Losses()
    generation: tuple[tuple[float, float], ...] = ()
    weather: Weather = Weather()
    spread: float = Field(default=0.02, ge=0, le=0.2)

    host: str = "127.0.0.1"
    miner_host: str = "127.64.0.1"
    strewn_over: int = Field(default=0, ge=0, le=1 << 20)
    silent_hosts: int = Field(default=0, ge=0)
    half_open_hosts: int = Field(default=0, ge=0)
    rpc_port: int = Field(default=4028, ge=0, le=65_535)
    http_port: int = Field(default=8080, ge=0, le=65_535)
    v3_port: int = Field(default=4433, ge=0, le=65_535)
    meter_port: int = Field(default=0, ge=0, le=65_535)
    pool_port: int = Field(default=0, ge=0, le=65_535)
    rates_port: int = Field(default=0, ge=0, le=65_535)
    venue_port: int = Field(default=0, ge=0, le=65_535)
    control_port: int | None = None
    mqtt_host: str | None = None
    mqtt_port: int = 1883
    mqtt_period_s: float = Field(default=5.0, gt=0)
    latency_s: tuple[float, float] = (0.02, 0.2)
    meter_latency_s: tuple[float, float] = (0.01, 0.05)
    write_s: tuple[float, float] = (0.3, 1.5)
    main_meter_profile: str = "schneider_iem3000"
    feeder_meter_profile: str = "abb_b23"
    container_profile: str = "bitdeer_d40"
    finance: bool = True
    payout_every_s: float = Field(default=20.0, gt=0)
    pool_url: str = "stratum+tcp://pool.invalid:3333"
    pool_account: str = "hub1"
    password: str = Field(default="simulated", repr=False)

    @field_validator("models")
    @classmethod
    def _known_models(cls, models: Mapping[str, float]) -> Mapping[str, float]:
        unknown = sorted(set(models) - set(MODELS))
        if unknown or not models or min(models.values()) < 0 or sum(models.values()) <= 0:
            raise ValueError(f"models {unknown or dict(models)}: give weights above 0 for some of {sorted(MODELS)}")
        return models

    @field_validator("faults")
    @classmethod
    def _known_faults(cls, faults: Mapping[str, float]) -> Mapping[str, float]:
        unknown = sorted(set(faults) - set(MINER_FAULTS))
        if unknown or sum(faults.values()) > 1.0 or min(faults.values(), default=0.0) < 0:
            raise ValueError(
                f"faults {unknown or dict(faults)}: give shares that sum to at most 1 for {sorted(MINER_FAULTS)}"
            )
        return faults

    @field_validator("generation")
    @classmethod
    def _in_order(cls, profile: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        seconds = [at_s for at_s, _ in profile]
        if sorted(set(seconds)) != seconds or min((watts for _, watts in profile), default=0.0) < 0:
            raise ValueError("generation: give [seconds, W] by rising seconds, W at least 0")
        return profile

    @model_validator(mode="after")
    def _loopback(self) -> "TwinSpec":
        for name in ("host", "miner_host"):
            if not IPv4Address(getattr(self, name)).is_loopback:
                raise ValueError(f"{name} {getattr(self, name)}: the twin serves on loopback (127.0.0.0/8) alone")
        return self


@dataclass(frozen=True, slots=True)
class Place:
    """One miner of the layout. `phase` 0 to 2 is L1 to L3, -1 all three."""

    index: int
    device: str
    name: str
    model: Model
    host: str
    feeder: int
    rack: str
    position: str
    phase: int
    serial: str
    rival_serial: str
    mac: str
    faults: frozenset[str]


def feeder_name(feeder: int) -> str:
    return f"f{feeder + 1}"


def serial_number(spec: TwinSpec, index: int) -> str:
    return f"TW{spec.seed % 1000:03d}{index + 1:08d}"


def addresses(first: str, count: int) -> list[str]:
    """`count` host addresses from `first` on, without those that end in .0 and .255."""
    found: list[str] = []
    at = int(IPv4Address(first))
    while len(found) < count:
        if 0 < at & 0xFF < 0xFF:
            found.append(str(IPv4Address(at)))
        at += 1
    return found


def host_addresses(spec: TwinSpec) -> tuple[list[str], list[str]]:
    """(the miners' addresses, those of other hosts), spread by the seed where the spec requests it."""
    others = spec.silent_hosts + spec.half_open_hosts
    if not spec.strewn_over:
        found = addresses(spec.miner_host, spec.miners + others)
        return found[: spec.miners], found[spec.miners :]
    if spec.miners + others > spec.strewn_over:
        raise ValueError(f"strewn_over {spec.strewn_over}: {spec.miners + others} hosts do not fit; strew over more")
    first = int(IPv4Address(spec.miner_host))
    chosen = np.random.default_rng([spec.seed, 6]).permutation(spec.strewn_over)[: spec.miners + others]
    found = [str(IPv4Address(first + int(at))) for at in chosen]
    return found[: spec.miners], found[spec.miners :]


def shares_to_counts(weights: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers that sum to `total`, by largest remainder."""
    whole = sum(weights.values())
    exact = {name: weight / whole * total for name, weight in weights.items()}
    counts = {name: int(value) for name, value in exact.items()}
    by_rest = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_rest[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def layout(spec: TwinSpec) -> list[Place]:
    """The miners of a spec, always the same. Racks hold one feeder's units; models and faults are spread by the seed."""
    rng = np.random.default_rng([spec.seed, 1])
    counts = shares_to_counts(spec.models, spec.miners)
    names = [name for name, count in counts.items() for _ in range(count)]
    order = rng.permutation(spec.miners)
    models = [MODELS[names[int(at)]] for at in order]

    broken: dict[int, str] = {}
    strewn = iter(rng.permutation(spec.miners))
    for fault, share in sorted(spec.faults.items()):
        wanted = round(share * spec.miners)
        if share > 0 and spec.miners >= 50:
            wanted = max(wanted, 1)
        for _ in range(wanted):
            broken[int(next(strewn))] = fault

    places = []
    hosts, _ = host_addresses(spec)
    per_feeder = -(-spec.miners // spec.feeders)
    for index, model in enumerate(models):
        feeder, within = divmod(index, per_feeder)
        name = f"miner-{index + 1:05d}"
        places.append(
            Place(
                index=index,
                device=device_key(spec.hub, spec.site, name),
                name=name,
                model=model,
                host=hosts[index],
                feeder=feeder,
                rack=f"{feeder_name(feeder)}-r{within // spec.rack_size + 1:02d}",
                position=str(within % spec.rack_size + 1),
                phase=-1 if model.cooling != "air" else within % 3,
                serial=serial_number(spec, index),
                rival_serial=serial_number(spec, index - 1 if index else 1),
                mac="02:" + ":".join(f"{(index + 1 >> shift) & 0xFF:02X}" for shift in (24, 16, 8, 0)) + ":01",
                faults=frozenset({broken[index]} if index in broken else ()),
            )
        )
    return places
