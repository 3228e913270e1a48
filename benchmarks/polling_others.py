# SPDX-License-Identifier: Apache-2.0
"""Reader by pyasic-rs or pyasic for the polling benchmark, in an interpreter that has them; imports nothing of ours."""

import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

IN_FLIGHT = 40
SIX = ("Hashrate", "Wattage", "IsMining", "Fans", "Uptime", "Hashboards")
"""Temperature is reported by the boards alone: requested by itself (`AverageTemperature`) it stays empty."""


async def asic_rs(hosts: list[str]) -> list[Callable[[], Awaitable[Any]]]:
    from pyasic_rs import MinerFactory
    from pyasic_rs.asic_rs import DataField

    every = [getattr(DataField, name) for name in dir(DataField) if name[0].isupper()]
    leave_out = [field for field in every if str(field) not in {str(getattr(DataField, name)) for name in SIX}]
    miners = [await MinerFactory().get_miner(host) for host in hosts]
    return [lambda miner=miner: miner.get_data(exclude=leave_out) for miner in miners if miner is not None]


async def asic_rs_getters(hosts: list[str]) -> list[Callable[[], Awaitable[Any]]]:
    from pyasic_rs import MinerFactory

    class Six:
        def __init__(self, miner: Any) -> None:
            self.miner = miner

        async def __call__(self) -> Any:
            self.ip = self.miner.ip
            self.hashrate = await self.miner.get_hashrate()
            self.wattage = await self.miner.get_wattage()
            self.is_mining = await self.miner.get_is_mining()
            self.fans = await self.miner.get_fans()
            self.uptime = await self.miner.get_uptime()
            boards = await self.miner.get_hashboards_no_chips()
            self.average_temperature = boards and boards[0].board_temperature
            return self

    miners = [await MinerFactory().get_miner(host) for host in hosts]
    return [Six(miner) for miner in miners if miner is not None]


async def pyasic(hosts: list[str]) -> list[Callable[[], Awaitable[Any]]]:
    import pyasic as library

    miners = [await library.get_miner(host) for host in hosts]
    include = [
        library.DataOptions.HASHRATE,
        library.DataOptions.WATTAGE,
        library.DataOptions.IS_MINING,
        library.DataOptions.FANS,
        library.DataOptions.UPTIME,
        library.DataOptions.HASHBOARDS,
    ]
    return [lambda miner=miner: miner.get_data(include=include) for miner in miners if miner is not None]


def _filled(data: Any) -> bool:
    """Whether all requested fields have values, as far as the miner reports them: a stock S19 Pro reports no power."""
    antminer = str(data.ip).startswith("127.0.2.")
    watts, celsius = data.wattage, getattr(data, "average_temperature", None) or getattr(data, "temperature_avg", None)
    if not antminer and (watts is None or int(watts) != 3200):
        return False
    return bool(data.hashrate is not None and data.is_mining and len(data.fans) and data.uptime and celsius)


async def run(library: str, polls: int, hosts: list[str]) -> dict[str, Any]:
    reads = await {"asic_rs": asic_rs, "asic_rs_getters": asic_rs_getters, "pyasic": pyasic}[library](hosts)
    if not reads:
        raise SystemExit(f"{library} identified no miner")
    turn, wrong = iter(range(polls)), [0]

    async def worker() -> None:
        for index in turn:
            data = await reads[index % len(reads)]()
            wrong[0] += not _filled(data)

    cpu_s, wall_s = time.process_time(), time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    return {
        "wrong": wrong[0],
        "polls_per_cpu_s": round(polls / cpu_s),
        "ms_cpu": round(cpu_s / polls * 1e3, 4),
        "wall_s": round(wall_s, 3),
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(sys.argv[1], int(sys.argv[2]), sys.argv[3].split(",")))))
