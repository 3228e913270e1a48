# SPDX-License-Identifier: Apache-2.0
"""The adapter of pyasic-rs never believes more than what was measured of the library."""

import asyncio
import importlib.util
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from kernel.clock import system_clock
from kernel.errors import ConfigError, TransportError
from kernel.reading import Absence
from kernel.receipt import Accepted, Refused, Unknown, Unreachable, Unsupported
from miner_control.fleet.command import PowerTarget, Sleep, Wake
from miner_control.fleet.miner import Miner
from miner_control.io.asic_rs import AsicRsLibrary, AsicRsPort
from telemetry.collect.source import Tier


@dataclass
class Rate:
    value: float
    unit: str = "TH/s"


@dataclass
class Fan:
    rpm: float


@dataclass
class Board:
    hashrate: Rate | None = None
    board_temperature: float | None = None
    outlet_chip_temperature: float | None = None


@dataclass
class Data:
    """The library's answer; as it stands here, the one of a host that never answered: empty, and `is_mining` true."""

    hashrate: Rate | None = None
    expected_hashrate: Rate | None = None
    wattage: float | None = None
    uptime: timedelta | None = None
    hashboards: list[Board] = field(default_factory=lambda: [Board(), Board()])
    fans: list[Fan] = field(default_factory=list)
    is_mining: bool = True
    expected_hashboards: int | None = 2
    total_chips: int | None = None
    expected_chips: int | None = 200
    device_info: Any = None
    firmware_version: str | None = None
    serial_number: str | None = None
    mac: str | None = None


class Library:
    """A make-believe pyasic_rs: one miner that gives `data`, and says `word` to every write."""

    def __init__(self, data: Data | None, word: Any = True) -> None:
        self.data, self.word, self.most, self.now = data, word, 0, 0

    def MinerFactory(self) -> "Library":
        return self

    async def get_miner(self, host: str) -> "Library | None":
        return self if self.data is not None else None

    async def get_data(self) -> Data | None:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.01)
        self.now -= 1
        return self.data

    async def pause(self) -> Any:
        if isinstance(self.word, Exception):
            raise self.word
        return self.word

    async def resume(self) -> Any:
        await asyncio.sleep(30)


def port(library: Library, tail: AsicRsLibrary | None = None) -> AsicRsPort:
    return AsicRsPort(
        Miner("h/s/m", "", "asic_rs", "127.0.0.1", (), "f1"), system_clock(), tail or AsicRsLibrary(library)
    )


def hashing() -> Data:
    board = Board(Rate(40.0), 60.0, 70.0)
    return Data(Rate(80.0), Rate(81.0), 2500.0, timedelta(hours=2), [board, board], [Fan(4000.0), Fan(4100.0)])


def test_reads_with_its_units() -> None:
    reading = asyncio.run(port(Library(hashing())).read(Tier.DAILY))
    assert reading.number("hashrate_hs") == 80e12 and reading.number("uptime_s") == 7200
    assert reading.get("state") == "hashing" and reading.number("temp_chip_max_c") == 70


def test_an_empty_answer_is_silence_and_never_mining() -> None:
    with pytest.raises(TransportError) as caught:
        asyncio.run(port(Library(Data())).read(Tier.FAST))
    assert caught.value.reason is Absence.TIMED_OUT


def test_zero_rate_is_fault_whatever_is_mining_says() -> None:
    data = hashing()
    data.hashrate = Rate(0.0)
    assert asyncio.run(port(Library(data)).read(Tier.FAST)).get("state") == "fault"


def test_no_more_than_fifty_at_once() -> None:
    async def run() -> int:
        library = Library(hashing())
        tail = AsicRsLibrary(library)
        await asyncio.gather(*(port(library, tail).read(Tier.FAST) for _ in range(120)))
        return library.most

    assert 10 < asyncio.run(run()) <= 50


@pytest.mark.parametrize(
    ("word", "meant"), [(True, Accepted), (False, Refused), (RuntimeError("lost"), Unknown)], ids=["yes", "no", "lost"]
)
def test_a_write_is_accepted_at_best(word: Any, meant: type) -> None:
    assert isinstance(asyncio.run(port(Library(hashing(), word)).carry_out(Sleep(), 5)), meant)


def test_writes_that_never_end_or_cannot_begin() -> None:
    assert isinstance(asyncio.run(port(Library(hashing())).carry_out(Wake(), 0.1)), Unknown)
    assert isinstance(asyncio.run(port(Library(None)).carry_out(Sleep(), 1)), Unreachable)
    assert isinstance(asyncio.run(port(Library(hashing())).carry_out(PowerTarget(2000), 1)), Unsupported)


@pytest.mark.skipif(importlib.util.find_spec("pyasic_rs") is not None, reason="pyasic-rs is installed here")
def test_its_absence_is_reported_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"mining-hub\[asic-rs\]"):
        AsicRsLibrary()
