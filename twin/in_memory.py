# SPDX-License-Identifier: Apache-2.0
"""Simulated devices as in-memory drivers, for virtual time: the twin's physics without sockets.

A read answers at once with the firmware's report. Steady units answer from columns made once per grid step of the physics; a
unit in transition is evaluated at its own instant. Faults of the wire become the errors that a driver would raise.
"""

import asyncio
from collections.abc import Mapping

from kernel.clock import Clock
from kernel.errors import DecodeError, TransportError
from kernel.reading import Absence, Field, Missing, Reading
from kernel.receipt import Accepted, Receipt, Refused, Unknown, Unreachable, Unsupported, Verified
from miner_control.fleet.command import (
    STOCK,
    InstallFirmware,
    Intent,
    Locate,
    PowerPercent,
    PowerTarget,
    Reboot,
    RollBackFirmware,
    SetMode,
    SetPools,
    Sleep,
    Wake,
)
from telemetry.collect.source import Tier
from twin import firmware
from twin.container import Container
from twin.meters import figures
from twin.models import Model
from twin.physics import HEAT_MS
from twin.site import MeterPlace, Pool, Site, Unit
from twin.spec import TwinSpec

NO_POWER = Missing(Absence.UNSUPPORTED, "this stock firmware tells no power")
NOT_APPLICABLE = Missing(Absence.NOT_APPLICABLE)
READ_TIME_OUT_S = 5.0
_MALFORMED = frozenset({"garbage", "truncated", "huge"})
_SILENT = frozenset({"hung", "slow"})
_ODD = frozenset({"hashless", "dead", "refused", "reboot_mid_reply", "frozen", "inf_nan"}) | _MALFORMED | _SILENT


def reports_power(model: Model) -> bool:
    """Whether a model reports watts: stock Antminers before the new API do not."""
    return model.dialect != "antminer" or "new_api" in model.traits


class _Columns:
    """Reports of steady units between two grid steps: one list per figure, plain floats."""

    __slots__ = ("at_ms", "board", "chip", "fan", "hashrate", "moving", "power", "touched")

    def __init__(self, site: Site) -> None:
        machines = site.machines
        self.at_ms = machines.at_ms
        self.power: list[float] = (machines.power() * machines.report_bias).tolist()
        self.hashrate: list[float] = (machines.hashrate() * (1.0 + machines.noise)).tolist()
        self.board: list[float] = machines.board_c.tolist()
        self.chip: list[float] = machines.chip_c.tolist()
        self.fan: list[float] = machines.fan_rpm().tolist()
        self.moving: list[bool] = machines.moving().tolist()
        self.touched: set[int] = set()


class SimulatedSite:
    """All devices of a spec as drivers for the hub."""

    def __init__(self, spec: TwinSpec, clock: Clock) -> None:
        self.spec = spec
        self.clock = clock
        self.site = Site(spec, clock.now_ms())
        self._columns = _Columns(self.site)
        self.miners = [SimulatedMiner(self, unit) for unit in self.site.units]
        self.meters = [SimulatedMeter(self, at, meter) for at, meter in enumerate(self.site.meters)]
        self.containers = [SimulatedContainer(self, Container(self.site, at)) for at in range(spec.containers)]

    def columns(self) -> _Columns:
        """Columns of the present grid step."""
        now_ms, made = self.clock.now_ms(), self._columns
        if now_ms // HEAT_MS != made.at_ms // HEAT_MS:
            self.site.machines.advance(now_ms // HEAT_MS * HEAT_MS)
            self.site.tick(now_ms)
            made = self._columns = _Columns(self.site)
        return made

    def now(self) -> int:
        """The instant, with the machines advanced to it."""
        now_ms = self.clock.now_ms()
        self.site.machines.advance(now_ms)
        return now_ms

    def hashes_done(self) -> float:
        """Hashes of the whole site from its start to now."""
        self.now()
        return self.site.hashes_done()

    def touch(self, index: int) -> None:
        """After a command: until the next grid step this unit is evaluated at its own instant."""
        self._columns.touched.add(index)


class SimulatedMiner:
    """One miner: a Source that can be commanded (`miner_control.fleet.driver.MinerDriver`)."""

    kind = "miner"

    def __init__(self, simulated: SimulatedSite, unit: Unit) -> None:
        self._simulated, self._unit, self._index = simulated, unit, unit.index
        self.device = unit.place.device
        self.lane = unit.place.host
        model = unit.model
        self._watts = reports_power(model)
        self._fixed: dict[str, Field] = {
            "hashrate_window_s": 5.0, "hashrate_nominal_hs": model.hashrate_hs, "boards_expected": float(model.boards),
            "power_source": ("psu" if model.make == "MicroBT" else "estimate") if self._watts else NO_POWER,
        }  # fmt: skip

    async def read(self, tier: Tier) -> Reading:
        """The firmware's report now. Raises TransportError or DecodeError as its driver would."""
        unit, index = self._unit, self._index
        columns = self._simulated.columns()
        if unit.faults or columns.moving[index] or index in columns.touched:
            return await self._look(tier)
        now_ms = self._simulated.clock.now_ms()
        site = self._simulated.site
        rate = columns.hashrate[index]
        values = dict(self._fixed)
        values["hashrate_hs"] = rate
        values["power_w"] = columns.power[index] if self._watts else NO_POWER
        values["state"] = "hashing" if rate > 0.0 else "asleep"
        values["mode"] = site.machines.modes[index]
        values["temp_chip_max_c"] = columns.chip[index]
        values["temp_board_max_c"] = columns.board[index]
        values["fan_max_rpm"] = columns.fan[index]
        values["boards_hashing"] = values["boards_expected"] if rate > 0.0 else 0.0
        if rate <= 0.0:
            values["hashrate_window_s"] = NOT_APPLICABLE
        if tier is not Tier.FAST:
            self._slow(values, tier, now_ms)
        return Reading(self.device, "miner", now_ms, values)

    async def _look(self, tier: Tier) -> Reading:
        unit, index = self._unit, self._index
        site, now_ms = self._simulated.site, self._simulated.now()
        machines = site.machines
        faults = unit.faults & _ODD
        if "refused" in faults or not machines.board_up(index):
            raise TransportError(Absence.UNREACHABLE, "connection refused")
        if faults & _SILENT:
            await asyncio.sleep(READ_TIME_OUT_S)
            raise TransportError(Absence.TIMED_OUT, f"no answer within {READ_TIME_OUT_S:g} s")
        if "reboot_mid_reply" in faults:
            machines.reboot(index, now_ms)
            raise TransportError(Absence.UNREACHABLE, "connection lost in the middle of an answer")
        if faults & _MALFORMED:
            raise DecodeError("reply", "no answer that can be read")
        look = site.look(unit)
        rate: Field = look.hashrate_hs
        if "inf_nan" in faults:
            rate = Missing(Absence.NONSENSE, "inf")
        state = look.state
        if look.average_hs > 0.0 and state in ("asleep", "fault"):
            state = "hashing"
        values = dict(self._fixed)
        values |= {
            "hashrate_hs": rate, "power_w": look.power_w if self._watts else NO_POWER, "state": state, "mode": look.mode,
            "temp_chip_max_c": look.chip_c, "temp_board_max_c": look.board_c, "fan_max_rpm": float(look.fan_rpm),
            "boards_hashing": float(unit.model.boards - look.dead_boards) if look.average_hs > 0.0 else 0.0,
        }  # fmt: skip
        if look.average_hs <= 0.0:
            values["hashrate_window_s"] = NOT_APPLICABLE
        if tier is not Tier.FAST:
            self._slow(values, tier, now_ms)
        return Reading(self.device, "miner", now_ms, values)

    def _slow(self, values: dict[str, Field], tier: Tier, now_ms: int) -> None:
        unit, machines = self._unit, self._simulated.site.machines
        look = machines.look(self._index)
        values |= {
            "power_limit_w": look.limit_w, "temp_inlet_c": look.inlet_c, "uptime_s": float(look.uptime_s),
            "shares_accepted": float(look.accepted), "shares_rejected": float(look.rejected),
            "shares_stale": float(look.stale), "hw_errors": float(look.hw_errors), "pool_url": unit.pools[0].url,
            "pool_user": unit.pools[0].user, "pool_state": "alive",
        }  # fmt: skip
        if tier is Tier.DAILY:
            place, model = unit.place, unit.model
            values |= {"make": model.make, "model": model.label, "firmware": self._unit.firmware, "serial": place.serial,
                       "mac": place.mac}  # fmt: skip

    async def carry_out(self, intent: Intent, deadline_s: float) -> Receipt:
        """The firmware's answer: unknown intents are Unsupported, silence is Unknown."""
        simulated, unit = self._simulated, self._unit
        now_ms = simulated.now()
        if "refused" in unit.faults or not simulated.site.machines.board_up(self._index):
            return Unreachable("connection refused")
        if unit.faults & _SILENT:
            await asyncio.sleep(min(READ_TIME_OUT_S, deadline_s))
            return Unknown("no answer")
        if unit.faults & {"refuses_writes", "write_404"}:
            return Refused("45", "permission denied")
        simulated.touch(self._index)
        done = self._apply(intent, now_ms)
        if isinstance(done, Accepted) and unit.faults & {"lost_reply", "reboots_on_write"}:
            return Unknown("connection lost before the answer")
        return done

    def _apply(self, intent: Intent, now_ms: int) -> Receipt:
        site, unit = self._simulated.site, self._unit
        stock = unit.model.dialect == "antminer"
        match intent:
            case Sleep():
                site.sleep(unit, now_ms)
            case Wake():
                site.wake(unit, now_ms)
            case PowerTarget(power_w) if not stock:
                site.set_power(unit, power_w, now_ms)
            case PowerPercent(percent) if not stock:
                site.set_percent(unit, percent, now_ms)
            case SetMode(mode) if mode in {name for name, _, _ in unit.model.modes}:
                site.set_mode(unit, mode, now_ms)
                if stock and bool(site.machines.asleep[self._index]):
                    # On stock firmware sleep is one of the modes: another mode ends it.
                    site.wake(unit, now_ms)
            case Reboot():
                site.reboot(unit, now_ms)
            case Locate(on):
                site.locate(unit, on, now_ms)
            case SetPools(pools):
                site.set_pools(unit, [Pool(pool.url, pool.user, pool.password) for pool in pools], now_ms)
            case InstallFirmware(_, sha256, data) if unit.model.dialect in firmware.TAKES_IMAGES:
                problem = firmware.take(site, unit, data, now_ms, sha256.lower())
                if problem:
                    return Refused("image", problem)
            case RollBackFirmware(version) if unit.model.dialect in firmware.KEEPS_STOCK and version == STOCK:
                firmware.back_to_stock(site, unit, now_ms)
            case _:
                return Unsupported(f"{unit.model.label} has no {type(intent).__name__}")
        return Accepted()


class SimulatedMeter:
    """One meter: its counter is the miners' energy plus the losses between."""

    kind = "meter"

    def __init__(self, simulated: SimulatedSite, at: int, meter: MeterPlace) -> None:
        self._simulated, self._at, self.meter = simulated, at, meter
        self.device = meter.device
        self.lane = "meters"
        self._last: Mapping[str, Field] | None = None

    async def read(self, tier: Tier) -> Reading:
        """Power, counter and grid figures now. Raises TransportError where the meter is dead."""
        now_ms = self._simulated.now()
        site = self._simulated.site
        faults = site.meter_faults[self.meter.name]
        if "dead" in faults:
            raise TransportError(Absence.TIMED_OUT, "no answer")
        if "exception" in faults:
            raise TransportError(Absence.REFUSED, "Modbus exception 4")
        if self._last is None or "frozen" not in faults:
            energy = float(site.meter_energy_wh()[self._at])
            out_wh, idle = site.exported_wh(self._at), site.meter_idle(self._at)
            phases_w = site.meter_phases_w(self._at)
            self._last = figures(phases_w, energy, self.meter.serial, out_wh, idle=idle)
        return Reading(self.device, "meter", now_ms, self._last)


class SimulatedContainer:
    """One container as a source."""

    kind = "container"

    def __init__(self, simulated: SimulatedSite, container: Container) -> None:
        self._simulated, self._container = simulated, container
        self.device = container.device
        self.lane = container.name

    async def switch(self, name: str, index: int, on: bool, *, deadline_s: float) -> Receipt:
        """Pump, fan, or socket `index` of `pdu01`, `pdu02` ...; its next report is the proof."""
        now_ms = self._simulated.now()
        if "container_silent" in self._simulated.site.service_faults:
            return Unreachable("no report")
        number = name.removeprefix("pdu")
        if name == "pump":
            self._container.set_pump(on, now_ms)
        elif name == "fan":
            self._container.fan_on = on
        elif not number.isdigit() or not self._container.switch(int(number), index, on, now_ms):
            return Unsupported(f"no output {name} {index}")
        else:
            unit = self._container.socket(int(number), index)
            assert unit is not None
            self._simulated.touch(unit.index)
        return Verified(await self.read(Tier.SLOW), 0.0)

    async def read(self, tier: Tier) -> Reading:
        now_ms = self._simulated.now()
        if "container_silent" in self._simulated.site.service_faults:
            raise TransportError(Absence.TIMED_OUT, "publishes nothing")
        return Reading(self.device, "container", now_ms, self._container.figures(tier is not Tier.FAST))
