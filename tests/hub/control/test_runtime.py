# SPDX-License-Identifier: Apache-2.0
"""The control loop while the journal cannot be written: nothing is decided, nothing leaves, nothing is left unanswered."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hub.app.demo_site import write_simulated_site
from hub.app.simulate import simulated
from hub.app.virtual_time import VirtualLoop, run
from hub.config import load
from hub.control import runtime
from hub.wiring import Assembly
from kernel.clock import from_iso, loop_clock
from miner_control.fleet.command import Sleep, command
from twin.site import Site
from twin.spec import TwinSpec

EPOCH_MS = from_iso("2026-03-02T00:00:00+05:00")


def down(*_: Any) -> int:
    raise OSError("No space left on device")


def lived(folder: Path, story: Callable[[Assembly], Any]) -> None:
    """A simulated hub of four miners in virtual time."""
    loop = VirtualLoop()
    clock = loop_clock(EPOCH_MS, loop.time)
    spec = TwinSpec(miners=4, rack_size=4, seed=3, hub="alatau", site="north", feeders=1, faults={})
    config = load(write_simulated_site(folder, Site(spec, EPOCH_MS), spec, EPOCH_MS), environment={})

    async def main() -> None:
        await story(await simulated(config, folder, folder / config.hub.data, spec, clock))

    run(main(), loop)


def test_a_loop_whose_journal_is_down_neither_spins_nor_piles_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(wired: Assembly) -> None:
        components = wired.hub.components
        running = asyncio.create_task(wired.hub.run())
        await asyncio.sleep(600.0)
        append, ticks = components.recorder.journal.append, wired.hub.ticks
        monkeypatch.setattr(components.recorder.journal, "append", down)
        await asyncio.sleep(1800.0)
        assert wired.hub.ticks == ticks and components.recorder.fault, "nothing is decided meanwhile"
        monkeypatch.setattr(components.recorder.journal, "append", append)
        await asyncio.sleep(600.0)
        decided = [event for _, event in components.recorder.journal.events(["tick.decided"])]
        assert ticks < len(decided) < ticks + 15 and components.recorder.fault is None
        wired.hub.stop()
        await running

    lived(tmp_path, story)


def test_commands_of_a_tick_that_could_not_be_journalled_do_not_leave_and_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(wired: Assembly) -> None:
        components, site = wired.hub.components, wired.hub.components.state.sites["alatau/north"]
        now_ms = components.clock.now_ms()
        asked = command(now_ms, site.roster.devices[0], Sleep(), "test", deadline_s=30.0)
        plain = runtime.decide
        monkeypatch.setattr(runtime, "decide", lambda *given: replace(plain(*given), commands=(asked,)))
        append = components.recorder.journal.append
        monkeypatch.setattr(components.recorder.journal, "append", down)
        with pytest.raises(OSError, match="No space"):
            await wired.hub.tick(site)
        monkeypatch.setattr(components.recorder.journal, "append", append)
        await components.recorder.flush(required=True)
        assert site.issued == 1 and site.unanswered == {}
        assert site.receipts[0]["outcome"] == "unreachable" and "withdrawn" in site.receipts[0]["text"]
        assert components.actuators[site.key].under_way == 0
        for close in components.closers:
            close()

    lived(tmp_path, story)
