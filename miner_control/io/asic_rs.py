# SPDX-License-Identifier: Apache-2.0
"""Driver for further miner models through pyasic-rs, an optional extra: `pip install "mining-hub[asic-rs]"`.

It identifies and reads miners that the hub's own dialects do not know. Not relied upon: its `is_mining` (true for a host
that never answered), a set of empty fields (treated as silence), more than 50 connections at once (fields vanish), and the
result True after a write (returned where the miner refused): a write is Accepted at best, and read back.
"""

import asyncio
import importlib
from typing import Any

from kernel.clock import Clock
from kernel.errors import ConfigError, Fault, TransportError
from kernel.reading import Absence, Missing, Reading
from kernel.receipt import Accepted, Receipt, Refused, Unknown, Unreachable, Unsupported
from miner_control.dialect.evidence import state_of
from miner_control.dialect.figures import ESTIMATE, NOT_REPORTED, Values, put, put_fans, put_max, put_text
from miner_control.fleet.command import Intent, Reboot, Sleep, Wake, intent_text
from miner_control.fleet.miner import Miner
from telemetry.collect.source import Tier

IN_FLIGHT = 50
TOTAL_S = 20.0


class AsicRsLibrary:
    """The library with its limit of concurrent calls; one for all its miners."""

    def __init__(self, library: Any = None) -> None:
        if library is None:
            try:
                library = importlib.import_module("pyasic_rs")
            except ImportError:
                remedy = 'Install the extra: pip install "mining-hub[asic-rs]"'
                raise ConfigError([Fault("dialect asic_rs", "pyasic-rs is not installed", remedy)]) from None
        self.factory = library.MinerFactory()
        self.turns = asyncio.Semaphore(IN_FLIGHT)

    async def identify(self, host: str) -> Any:
        """The library's miner at an address, or None. Raises TransportError where the library fails or takes too long."""
        try:
            async with asyncio.timeout(TOTAL_S), self.turns:
                return await self.factory.get_miner(host)
        except TimeoutError:
            raise TransportError(Absence.TIMED_OUT, f"{host}: not identified within {TOTAL_S:g} s") from None
        except Exception as error:  # the library's own errors have no common class
            raise TransportError(Absence.UNREACHABLE, f"{host}: {error}") from error


class AsicRsPort:
    """One miner behind pyasic-rs: a Source, and a driver whose writes are no proof by themselves."""

    kind = "miner"

    def __init__(self, miner: Miner, clock: Clock, tail: AsicRsLibrary) -> None:
        self.miner, self._clock, self._tail = miner, clock, tail
        self._found: Any = None
        self._lock = asyncio.Lock()

    @property
    def device(self) -> str:
        return self.miner.device

    @property
    def lane(self) -> str:
        return self.miner.device

    async def read(self, tier: Tier) -> Reading:
        """One poll. Raises TransportError, also for the library's form of silence: an answer with every field empty."""
        async with self._lock:
            data = await self._ask("get_data")
        values = decode(data, tier)
        reported = [values[name] for name in ("hashrate_hs", "power_w", "uptime_s", "fan_max_rpm")]
        if all(isinstance(value, Missing) for value in reported):
            self._found = None
            raise TransportError(Absence.TIMED_OUT, "every field is empty: no answer")
        return Reading(self.device, "miner", self._clock.now_ms(), values)

    async def carry_out(self, intent: Intent, deadline_s: float) -> Receipt:
        match intent:
            case Sleep():
                name = "pause"
            case Wake():
                name = "resume"
            case Reboot():
                name = "restart"
            case _:
                return Unsupported(f"{intent_text(intent)} is not done through pyasic-rs")
        try:
            async with asyncio.timeout(deadline_s), self._lock:
                await self._identified()
                if not getattr(self._found, f"supports_{name}", True):
                    return Unsupported(f"{self._found} has no {name}")
                done = await getattr(self._found, name)()
        except TimeoutError:
            return Unknown(f"no answer within {deadline_s:g} s")
        except TransportError as error:
            return Unreachable(str(error))
        except Exception as error:  # as above; the write may have left
            return Unknown(str(error))
        return (
            Accepted("accepted by the library; only a reading proves it")
            if done
            else Refused("false", "refused by the library")
        )

    async def _identified(self) -> None:
        if self._found is None:
            self._found = await self._tail.identify(self.miner.host)
        if self._found is None:
            raise TransportError(Absence.UNREACHABLE, f"{self.miner.host}: no miner that pyasic-rs knows")

    async def _ask(self, name: str) -> Any:
        await self._identified()
        try:
            async with asyncio.timeout(TOTAL_S), self._tail.turns:
                return await getattr(self._found, name)()
        except TimeoutError:
            raise TransportError(Absence.TIMED_OUT, f"no answer within {TOTAL_S:g} s") from None
        except Exception as error:
            self._found = None
            raise TransportError(Absence.UNREACHABLE, str(error)) from error


def decode(data: Any, tier: Tier) -> Values:
    """The library's MinerData as values. Its rates carry their unit; `is_mining` is ignored."""
    values: Values = {}
    put(values, "hashrate_hs", _hs(data.hashrate))
    values["hashrate_window_s"] = NOT_REPORTED
    put(values, "hashrate_nominal_hs", _hs(data.expected_hashrate))
    put(values, "power_w", data.wattage)
    values["power_source"] = ESTIMATE if isinstance(values["power_w"], float | int) else NOT_REPORTED
    uptime = data.uptime
    put(values, "uptime_s", uptime.total_seconds() if hasattr(uptime, "total_seconds") else uptime)
    boards = list(data.hashboards or ())
    put_max(values, "temp_board_max_c", [board.board_temperature for board in boards])
    put_max(values, "temp_chip_max_c", [board.outlet_chip_temperature for board in boards])
    put_fans(values, [fan.rpm for fan in data.fans or ()])
    values["mode"] = NOT_REPORTED
    values["state"] = state_of(values["hashrate_hs"], uptime=values["uptime_s"])
    if tier is not Tier.FAST:
        hashing = [board for board in boards if _hs(board.hashrate)]
        put(values, "boards_hashing", float(len(hashing)) if any(board.hashrate for board in boards) else None)
        put(values, "boards_expected", data.expected_hashboards)
        put(values, "chips_hashing", data.total_chips)
        put(values, "chips_expected", data.expected_chips)
    if tier is Tier.DAILY:
        device = data.device_info
        put_text(values, "make", getattr(device, "make", None))
        put_text(values, "model", getattr(device, "model", None))
        put_text(values, "firmware", data.firmware_version)
        put_text(values, "serial", data.serial_number)
        put_text(values, "mac", data.mac)
    return values


_UNITS = {"H/s": 1.0, "KH/s": 1e3, "MH/s": 1e6, "GH/s": 1e9, "TH/s": 1e12, "PH/s": 1e15, "EH/s": 1e18}


def _hs(rate: Any) -> float | None:
    """A rate of the library in H/s; None where there is none, or its unit is not known."""
    if rate is None:
        return None
    scale = _UNITS.get(str(rate.unit))
    return None if scale is None else float(rate.value) * scale
