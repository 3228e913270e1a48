# SPDX-License-Identifier: Apache-2.0
"""Modules that the call of one tick enters, counted by tracing, and how often it makes the situation.

    python -m tests.architecture.tick_walk

A simulated hub lives half an hour in virtual time, so that it has readings, a plan and limits. Then two ticks are traced from
`Hub.tick` to the commands handed over: one that changes nothing, and one under an order for half the power. The last line is
one JSON object.
"""

import asyncio
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from grid.order import read_order
from grid.order_book import Authority
from hub.app.demo_site import write_simulated_site
from hub.app.simulate import simulated
from hub.app.virtual_time import VirtualLoop, run
from hub.config import load
from kernel.clock import from_iso, iso, loop_clock
from tests.architecture.source import PACKAGES, ROOT
from twin.site import Site
from twin.spec import TwinSpec

EPOCH_MS = from_iso("2026-03-02T00:00:00+05:00")
LIVED_S = 1_800.0
SITE = "alatau/north"


@dataclass(frozen=True, slots=True)
class Walk:
    """One tick: modules of the project entered, calls of functions there, calls of `situation_at`, commands handed over."""

    modules: tuple[str, ...]
    calls: int
    situations: int
    commands: int


async def walked(tick: Callable[[], Awaitable[None]]) -> tuple[tuple[str, ...], Counter[str]]:
    """(modules entered, calls by function) of an awaited call. Nothing else may run meanwhile: it must not wait for anything."""
    entered: Counter[tuple[str, str]] = Counter()
    roots = tuple(f"{ROOT / package}/" for package in PACKAGES)

    def enter(frame: FrameType, event: str, argument: Any) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(roots):
            entered[file, frame.f_code.co_name] += 1

    sys.setprofile(enter)
    try:
        await tick()
    finally:
        sys.setprofile(None)
    files = sorted({file for file, _ in entered})
    names = tuple(Path(file).relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for file in files)
    calls: Counter[str] = Counter()
    for (_, function), count in entered.items():
        calls[function] += count
    return names, calls


def walks(miners: int = 40) -> dict[str, Walk]:
    """A tick that changes nothing, and one under an order for half the power."""
    loop = VirtualLoop()
    clock = loop_clock(EPOCH_MS, loop.time)
    spec = TwinSpec(miners=miners, seed=5, hub="alatau", site="north")

    async def main(folder: Path) -> dict[str, Walk]:
        config = load(write_simulated_site(folder, Site(spec, EPOCH_MS), spec, EPOCH_MS), environment={})
        wired = await simulated(config, folder, folder / config.hub.data, spec, clock)
        hub, components = wired.hub, wired.hub.components
        running = asyncio.create_task(hub.run())
        await asyncio.sleep(LIVED_S)
        site = components.state.sites[SITE]

        async def one() -> Walk:
            before = site.issued
            modules, calls = await walked(lambda: hub.tick(site))
            return Walk(modules, calls.total(), calls["situation_at"], site.issued - before)

        found = {"quiet": await one()}
        drawn = components.state.traces[site.main or ""].last()
        assert drawn is not None
        now_ms = clock.now_ms()
        body = {"scope": SITE, "power_w": drawn[1] / 2, "until": iso(now_ms + 3_600_000)}
        by = Authority("test", (SITE,))
        await hub.take(
            components.state.book.receive(read_order(body, "test", "test", now_ms), by, now_ms, body)[1], SITE
        )
        found["order"] = await one()
        hub.stop()
        await running
        return found

    with tempfile.TemporaryDirectory() as made:
        return run(main(Path(made)), loop)


if __name__ == "__main__":
    seen = walks()
    for name in seen["order"].modules:
        print(name)
    print(
        json.dumps(
            {
                name: {
                    "modules": len(walk.modules),
                    "calls": walk.calls,
                    "situations": walk.situations,
                    "commands": walk.commands,
                }
                for name, walk in seen.items()
            }
        )
    )
