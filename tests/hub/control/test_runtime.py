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
from hub.control.runtime import Hub
from hub.wiring import Assembly
from kernel.clock import from_iso, loop_clock
from kernel.receipt import Refused
from miner_control.control.actuator import Actuator
from miner_control.fleet.command import Sleep, command, command_json
from tests.builders.spine import KEY, T0_MS, Spine, unit
from tests.builders.spine import lived as settled
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


def ordered() -> Spine:
    """A site in memory under an order that all its miners have to follow."""
    spine = Spine()
    spine.hear()
    spine.meter(24_000.0)
    spine.order(12_000.0)
    return spine


def ticked(spine: Spine) -> Hub:
    """One tick of a hub over it, with what it sets in motion."""
    hub = spine.hub()
    settled(lambda: hub.tick(spine.site))
    return hub


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


# ---- one tick, on a site in memory ----


def test_what_a_tick_decides_is_on_disk_before_it_reaches_a_miner(monkeypatch: pytest.MonkeyPatch) -> None:
    spine = ordered()
    held_when_sent: list[list[str]] = []
    plain = Actuator.start
    monkeypatch.setattr(
        Actuator, "start", lambda self, issued: held_when_sent.append(spine.kinds()) or plain(self, issued)
    )
    hub = ticked(spine)
    (kinds,) = held_when_sent
    assert kinds[2:] == ["tick.decided", *["command.issued"] * 8] and hub.ticks == 1
    assert len(spine.sent()) == 8 and len(spine.receipts) == 8
    (body,) = spine.bodies("tick.decided")
    assert body["position"] == 4, "what it was decided on, before itself"


def test_nothing_reaches_a_miner_while_the_journal_cannot_be_written() -> None:
    spine = ordered()
    spine.journal.down = True
    with pytest.raises(OSError, match="no space"):
        ticked(spine)
    assert spine.sent() == {} and spine.site.issued == 0
    with pytest.raises(OSError, match="no space"):
        ticked(spine)
    spine.journal.down = False
    asyncio.run(spine.recorder.flush(required=True))
    assert spine.kinds().count("tick.decided") == 1, "the second tick was not decided at all"
    assert spine.site.unanswered == {} and spine.sent() == {}
    ticked(spine)
    assert len(spine.sent()) == 8, "once it can be written they are asked again"


def test_an_actuator_takes_nothing_but_what_the_journal_holds() -> None:
    spine = Spine()
    asked: Any = [command(T0_MS, unit(0), Sleep(), "test")]

    async def story() -> None:
        spine.hub().components.actuators[KEY].start(asked)

    with pytest.raises(AttributeError):
        settled(story)
    assert spine.sent() == {}


def test_a_tick_without_a_change_is_journalled_and_sends_nothing() -> None:
    spine = Spine()
    spine.hear()
    spine.meter(24_000.0)
    ticked(spine)
    assert spine.kinds() == ["tick.decided"] and spine.sent() == {}


def test_a_site_that_only_observes_is_ticked_and_sends_nothing() -> None:
    spine = Spine("observe_only = true")
    spine.hear()
    spine.meter(24_000.0)
    spine.plan(9_000.0)
    ticked(spine)
    assert spine.sent() == {} and spine.kinds() == ["plan.made", "tick.decided"]


def test_commands_that_a_killed_hub_left_are_answered_as_unknown_at_the_start() -> None:
    spine = Spine()
    left, done = (command(T0_MS, unit(at), Sleep(), "test") for at in (0, 1))
    spine.say("command.issued", command_json(left))
    spine.done(done)
    asyncio.run(spine.hub()._answer_orphans())
    assert spine.site.unanswered == {}
    last = spine.bodies("command.receipt")[-1]
    assert (last["id"], last["outcome"], last["cause"]) == (str(left.id), "unknown", "cut_short")
    assert len(spine.bodies("command.receipt")) == 2


def test_a_receipt_is_journalled_with_the_command_that_it_answers() -> None:
    spine = Spine()
    made = command(T0_MS, unit(0), Sleep(), "test")
    spine.hub().receipt(KEY, made, Refused("45", "access denied"))
    asyncio.run(spine.recorder.flush())
    (body,) = spine.bodies("command.receipt")
    assert body == {**command_json(made), "outcome": "refused", "code": "45", "text": "access denied"}


def test_a_sample_before_the_begin_of_an_order_is_valid_until_the_next_one() -> None:
    """24 kW were metered 10 s before the begin: 5 s after it, 12 kW are exceeded, by a sample that is valid for 30 s."""
    spine = Spine()
    spine.hear()
    spine.meter(24_000.0)
    spine.later(10.0)
    spine.order(12_000.0)
    spine.later(20.0)
    spine.meter(11_000.0)
    hub = spine.hub()
    hub.terms = replace(hub.terms, response_s=5.0, forgiven_s=0.0)
    asyncio.run(hub.watch_orders())
    (verdict,) = spine.bodies("order.verdict")
    assert (verdict["outcome"], verdict["over_s"]) == ("breached", 15.0)


def test_the_system_s_clock_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    spine = Spine()
    steps = iter([0.5, -1.9, 2.1, 0.0, -2.1])
    monkeypatch.setattr(runtime.ClockWatch, "divergence_s", lambda self: next(steps))

    async def story() -> None:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await spine.hub()._watch_clock()
        await spine.recorder.flush()

    run(story(), VirtualLoop())
    assert [body["seconds"] for body in spine.bodies("clock.stepped")] == [2.1, -2.1]
