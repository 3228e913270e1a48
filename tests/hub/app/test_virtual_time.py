# SPDX-License-Identifier: Apache-2.0
import asyncio

import pytest

from hub.app.virtual_time import VirtualLoop, run
from kernel.clock import loop_clock
from kernel.errors import BrokenInvariant


def test_a_day_passes_at_once_and_in_order():
    loop = VirtualLoop()
    clock = loop_clock(1_000, loop.time)
    seen: list[tuple[str, int]] = []

    async def tick(name: str, every_s: float, times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(every_s)
            seen.append((name, clock.now_ms()))

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(tick("hour", 3600, 24))
            group.create_task(tick("quarter", 900, 96))

    run(main(), loop)
    assert seen[-1][1] == 1_000 + 86_400_000
    assert [at for _, at in seen] == sorted(at for _, at in seen)
    assert len(seen) == 120


def test_time_outs_work_in_virtual_time():
    loop = VirtualLoop()

    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(7200):
                await asyncio.sleep(1e6)
        return loop.time()

    assert run(main(), loop) == pytest.approx(7200)


def test_waiting_for_nothing_is_reported_and_does_not_hang():
    loop = VirtualLoop()

    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(BrokenInvariant, match="no timer"):
        run(main(), loop)
