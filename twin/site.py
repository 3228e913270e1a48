# SPDX-License-Identifier: Apache-2.0
"""Simulated site: its units, their faults, commands, and its meters.

Both the socket server (`twin.serve`) and virtual time (`twin.in_memory`) use this module, which depends on neither.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kernel.ids import device_key
from kernel.units import MS_PER_DAY, WS_PER_WH
from twin.faults import CURED_BY_POWER, METER_FAULTS, MINER_FAULTS, SERVICE_FAULTS
from twin.generation import Generation
from twin.look import Look
from twin.machines import Machines
from twin.models import Model
from twin.spec import Place, TwinSpec, feeder_name, layout

Floats = NDArray[np.float64]
FOREIGN_MS = 30_000
WORN_POWER = 7.0 / 6.0
FILTER_VAR = 40.0
"""Of each supply's input filter, hashing or asleep."""
MAGNETISING_SHARE = 0.015
"""A transformer's magnetising power, as a share of the site's draw at full load."""


@dataclass(slots=True)
class Pool:
    """One pool entry of a unit, as stored by its firmware."""

    url: str
    user: str
    password: str = "x"


@dataclass(slots=True)
class Unit:
    """One miner of the site: its firmware's state in addition to the physics. `memory` belongs to its responder."""

    place: Place
    pools: list[Pool]
    password: str
    faults: set[str] = field(default_factory=set)
    memory: dict[str, object] = field(default_factory=dict)
    installed: str = ""
    frozen: Look | None = None
    plugged: bool = True
    slept_ms: int | None = None
    coolant_loss_c: float = 0.0
    open_now: int = 0
    open_most: int = 0
    answers: int = 0
    writes: int = 0

    @property
    def index(self) -> int:
        return self.place.index

    @property
    def serial(self) -> str:
        """The serial number it reports; with the fault `duplicate_serial` its neighbour's."""
        return self.place.rival_serial if "duplicate_serial" in self.faults else self.place.serial

    @property
    def model(self) -> Model:
        return self.place.model

    @property
    def firmware(self) -> str:
        """The running version: the one installed last, else the model's original."""
        return self.installed or self.model.firmware


@dataclass(frozen=True, slots=True)
class MeterPlace:
    """One meter: `feeder` None is the main meter. `start_wh` is its counter at the start of the twin."""

    device: str
    name: str
    unit_id: int
    feeder: int | None
    serial: str
    start_wh: float


class Site:
    """Units, machines and meters of one spec, from `now_ms` on."""

    def __init__(self, spec: TwinSpec, now_ms: int) -> None:
        self.spec = spec
        self.began_ms = now_ms
        self.places = layout(spec)
        models = [place.model for place in self.places]
        self.machines = Machines(
            models,
            rng=np.random.default_rng([spec.seed, 2]),
            now_ms=now_ms,
            pace=spec.pace,
            weather=spec.weather,
            spread=spec.spread,
        )
        self.units = [
            Unit(place, [Pool(spec.pool_url, f"{spec.pool_account}.{place.name}")], spec.password)
            for place in self.places
        ]
        self.by_device = {unit.place.device: unit for unit in self.units}
        self.feeder_of = np.array([place.feeder for place in self.places], dtype=np.int64)
        phases = np.array([place.phase for place in self.places], dtype=np.int64)
        self._cell_of = self.feeder_of * 4 + np.where(phases < 0, 3, phases)
        rng = np.random.default_rng([spec.seed, 3])
        self.meters = [
            MeterPlace(
                device=device_key(spec.hub, spec.site, name),
                name=name,
                unit_id=at + 1,
                feeder=feeder,
                serial=f"MT{spec.seed % 1000:03d}{at + 1:05d}",
                start_wh=float(rng.integers(1_000_000, 90_000_000)),
            )
            for at, (name, feeder) in enumerate(
                [("meter-main", None)] + [(f"meter-{feeder_name(f)}", f) for f in range(spec.feeders)]
            )
        ]
        self.meter_faults: dict[str, set[str]] = {meter.name: set() for meter in self.meters}
        self.service_faults: set[str] = set()
        self.generation = Generation(spec.generation, now_ms)
        self.plugs = 0
        self._foreign: list[Unit] = []
        for unit in self.units:
            if unit.place.faults:
                self.set_faults(unit, unit.place.faults, now_ms)

    # --- what is wrong ------------------------------------------------------------------------------------------------

    def set_faults(self, unit: Unit, faults: frozenset[str] | set[str], now_ms: int) -> None:
        """Give a unit exactly these faults from now on. Raises ValueError that names unknown ones."""
        unknown = faults - set(MINER_FAULTS)
        if unknown:
            raise ValueError(f"unknown faults {sorted(unknown)}; known: {', '.join(sorted(MINER_FAULTS))}")
        self.machines.advance(now_ms)
        unit.faults = set(faults)
        self._foreign = [each for each in self._foreign if each is not unit] + ([unit] if "foreign" in faults else [])
        self._apply_faults(unit)
        unit.frozen = self.machines.look(unit.index) if "frozen" in faults else None

    def _apply_faults(self, unit: Unit) -> None:
        """Effect of the unit's faults and its socket on the machine."""
        machines, index, boards = self.machines, unit.index, unit.model.boards
        powered = unit.plugged and "dead" not in unit.faults
        machines.dead_boards[index] = 1 if "board" in unit.faults else 0
        left = (boards - 1) / boards if "board" in unit.faults and boards > 1 else 1.0
        machines.fault_hash[index] = left if powered and "hashless" not in unit.faults else 0.0
        worn = WORN_POWER if "worn" in unit.faults else 1.0
        machines.fault_power[index] = (1.0 - (1.0 - left) * 0.9) * worn if powered else 0.0
        machines.take_shares(index, "no_shares" not in unit.faults)
        machines.fault_heat_c[index] = 60.0 if "overheat" in unit.faults else unit.coolant_loss_c

    def plug(self, unit: Unit, on: bool, now_ms: int) -> None:
        """Switch the socket of the unit: off, it has no power; on again, it boots, and a hang ends."""
        self.machines.advance(now_ms)
        if unit.plugged == on:
            return
        unit.plugged = on
        self.plugs += 1
        if on:
            unit.faults -= CURED_BY_POWER
            self.machines.reboot(unit.index, now_ms)
        self._apply_faults(unit)

    def cool(self, units: Iterable[Unit], on: bool, now_ms: int) -> None:
        """Coolant flow of liquid-cooled units: without it their chips run hot until the protective stop."""
        self.machines.advance(now_ms)
        for unit in units:
            if unit.model.cooling != "air":
                unit.coolant_loss_c = 0.0 if on else 70.0
                self._apply_faults(unit)

    def set_meter_faults(self, meter: str, faults: set[str]) -> None:
        unknown = faults - set(METER_FAULTS)
        if unknown or meter not in self.meter_faults:
            raise ValueError(
                f"meter {meter!r}, faults {sorted(faults)}: known {sorted(self.meter_faults)}, {sorted(METER_FAULTS)}"
            )
        self.meter_faults[meter] = set(faults)

    def set_service_faults(self, faults: set[str]) -> None:
        unknown = faults - set(SERVICE_FAULTS)
        if unknown:
            raise ValueError(f"unknown faults {sorted(unknown)}; known: {', '.join(sorted(SERVICE_FAULTS))}")
        self._count()
        self.service_faults = set(faults)
        self.generation.tripped = "generation_off" in faults

    def tick(self, now_ms: int) -> None:
        """Spontaneous events: commands of other control systems."""
        for unit in self._foreign:
            slept_ms = unit.slept_ms
            if slept_ms is not None and now_ms - slept_ms >= FOREIGN_MS / self.spec.pace:
                unit.slept_ms = None
                self.machines.wake(unit.index, now_ms)

    # --- what is seen -------------------------------------------------------------------------------------------------

    def look(self, unit: Unit) -> Look:
        """Report of a unit; a frozen one repeats its last."""
        return unit.frozen or self.machines.look(unit.index)

    def clock_ms(self, unit: Unit) -> int:
        """The unit's own clock; a wrong one is a day ahead (even units) or behind."""
        wrong = (-MS_PER_DAY if unit.index % 2 else MS_PER_DAY) if "clock_off" in unit.faults else 0
        return self.machines.at_ms + wrong

    def reachable(self) -> NDArray[np.bool_]:
        """Units whose control board is powered and on the network, [miner]."""
        machines = self.machines
        return (machines.fault_power > 0.0) & (machines.board_up_ms <= machines.at_ms)

    # --- what is metered ----------------------------------------------------------------------------------------------

    def _per_feeder(self, per_miner: Floats) -> Floats:
        return np.bincount(self.feeder_of, weights=per_miner, minlength=self.spec.feeders).astype(np.float64)

    def _metered(self, per_miner: Floats, fixed: float) -> Floats:
        """[main, feeder...] from the miners' draw (W or Wh), and the fixed part in the same unit."""
        losses = self.spec.losses
        feeders = self._per_feeder(per_miner) * losses.feeder_factor
        main = feeders.sum() * (1 + losses.transformer_share) + fixed
        return np.concatenate([[main], feeders])

    def meter_power_w(self) -> Floats:
        """True power at each meter, in the order of `meters`; negative at the main one where generation flows out."""
        power = self._metered(self.machines.power(), self.spec.losses.transformer_fixed_w)
        power[0] -= self.generation.power_w(self.machines.at_ms)
        return power

    def meter_phases_w(self, at: int) -> tuple[float, float, float]:
        """True power of each phase at one meter: single-phase units on one, three-phase units on all."""
        cells = np.bincount(self._cell_of, weights=self.machines.power(), minlength=4 * self.spec.feeders)
        table = cells.reshape(self.spec.feeders, 4)
        mine = table.sum(axis=0) if self.meters[at].feeder is None else table[self.meters[at].feeder]
        losses = self.spec.losses
        factor, fixed_w = losses.feeder_factor, 0.0
        if self.meters[at].feeder is None:
            factor, fixed_w = factor * (1 + losses.transformer_share), losses.transformer_fixed_w
            fixed_w -= self.generation.power_w(self.machines.at_ms)
        even = float(mine[3]) / 3
        first, second, third = (factor * (float(mine[phase]) + even) + fixed_w / 3 for phase in range(3))
        return first, second, third

    def meter_energy_wh(self) -> Floats:
        """Each meter's counter of inflow, in the order of `meters`."""
        counted = self._count()
        if self.spec.generation:
            counted[0] = self.generation.import_wh
        return np.array([meter.start_wh for meter in self.meters]) + counted

    def exported_wh(self, at: int) -> float:
        """A meter's counter of outflow, as of the last reading of `meter_energy_wh`."""
        return self.generation.export_wh if self.meters[at].feeder is None else 0.0

    def _count(self) -> Floats:
        """Consumption behind each meter since the start of the site; updates the main meter's counters."""
        fixed = self.spec.losses.transformer_fixed_w * (self.machines.at_ms - self.began_ms) / 1000.0 / WS_PER_WH
        consumed = self._metered(self.machines.energy_wh(), fixed)
        self.generation.count(self.machines.at_ms, float(consumed[0]))
        return consumed

    def meter_idle(self, at: int) -> tuple[float, float]:
        """(var, varh since the start) at one meter that do not follow the load: cause of an idle site's poor power factor."""
        feeder, machines = self.meters[at].feeder, self.machines
        units = machines.n if feeder is None else int((self.feeder_of == feeder).sum())
        idle_var = FILTER_VAR * units + (MAGNETISING_SHARE * float(machines.nominal_w.sum()) if feeder is None else 0.0)
        return idle_var, idle_var * (machines.at_ms - self.began_ms) / 1000.0 / WS_PER_WH

    def hashes_done(self) -> float:
        """Hashes of the whole site since the twin began."""
        return float(self.machines.hashes.sum())

    # --- what is commanded --------------------------------------------------------------------------------------------

    def obeys(self, unit: Unit, now_ms: int) -> bool:
        """Whether an accepted command has any effect; a unit may reboot instead."""
        unit.writes += 1
        if "reboots_on_write" in unit.faults:
            self.machines.reboot(unit.index, now_ms)
            return False
        return "deaf" not in unit.faults

    def sleep(self, unit: Unit, now_ms: int, late_s: float = 0.0) -> None:
        if self.obeys(unit, now_ms):
            self.fall_asleep(unit, now_ms, late_s)

    def fall_asleep(self, unit: Unit, now_ms: int, late_s: float = 0.0) -> None:
        """Effect of an accepted sleep, at once or at the requested instant."""
        unit.slept_ms = now_ms
        if "half_shed" in unit.faults:
            self.machines.half_sleep(unit.index, now_ms)
        else:
            self.machines.sleep(unit.index, now_ms, late_s)

    def wake(self, unit: Unit, now_ms: int, seconds: float | None = None, late_s: float = 0.0) -> None:
        if self.obeys(unit, now_ms):
            self.machines.wake(unit.index, now_ms, seconds, late_s)

    def set_mode(self, unit: Unit, mode: str, now_ms: int, restart: bool | None = None) -> None:
        if self.obeys(unit, now_ms):
            self.machines.set_mode(unit.index, mode, now_ms, restart)

    def set_power(self, unit: Unit, power_w: float, now_ms: int, restart: bool | None = None) -> None:
        if self.obeys(unit, now_ms):
            self.machines.set_power(unit.index, power_w, now_ms, restart)

    def set_percent(self, unit: Unit, percent: float, now_ms: int) -> None:
        if self.obeys(unit, now_ms):
            self.machines.set_percent(unit.index, percent, now_ms)

    def reboot(self, unit: Unit, now_ms: int, keeps_sleep: bool = True) -> None:
        if self.obeys(unit, now_ms):
            self.machines.reboot(unit.index, now_ms, keeps_sleep)

    def set_pools(self, unit: Unit, pools: list[Pool], now_ms: int) -> None:
        if self.obeys(unit, now_ms) and pools:
            unit.pools = pools

    def locate(self, unit: Unit, on: bool, now_ms: int) -> None:
        if self.obeys(unit, now_ms):
            self.machines.locating[unit.index] = on
