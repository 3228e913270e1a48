# SPDX-License-Identifier: Apache-2.0
"""Supervision: what the outside does to a task ends neither it nor the hub; a fault in the core ends the hub."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from hub.app.virtual_time import VirtualLoop, run
from hub.control.supervision import LONGEST_PAUSE_S, Supervisor, TaskHealth
from kernel.clock import loop_clock
from kernel.errors import BrokenInvariant, TransportError
from kernel.event import EventKind
from kernel.reading import Absence

T0_MS = 1_780_000_000_000


class World:
    """A supervisor in virtual time; `answers` are given turn by turn: None for a good one, or what is raised."""

    def __init__(self, *answers: Exception | None, for_s: float = 60.0) -> None:
        self.left, self.turns_s, self.for_s = list(answers), list[float](), for_s
        self.events: list[tuple[EventKind, Any]] = []
        self.board: dict[str, TaskHealth] = {}
        self.loop = VirtualLoop()
        clock = loop_clock(T0_MS, self.loop.time)
        self.supervisor = Supervisor(self.board, clock, lambda kind, body: self.events.append((kind, body)))

    async def work(self) -> None:
        self.turns_s.append(self.loop.time())
        answer = self.left.pop(0) if self.left else None
        if answer is not None:
            raise answer

    def live(self, task: Callable[[], Any]) -> TaskHealth:
        async def bounded() -> None:
            async with asyncio.timeout(self.for_s):
                await task()

        with pytest.raises(TimeoutError):
            run(bounded(), self.loop)
        return self.board["pool"]


def test_what_the_world_does_is_reported_once_and_tried_again() -> None:
    down = TransportError(Absence.UNREACHABLE, "no route")
    world = World(down, down, None)
    health = world.live(lambda: world.supervisor.every("pool", 5.0, world.work))
    assert len(world.turns_s) == 12 and world.events == []
    assert (health.state, health.text, health.restarts) == ("ok", "", 0)


def test_a_defect_met_by_the_outside_is_restarted_with_back_off_and_alarmed_once() -> None:
    world = World(*[KeyError("x")] * 4, None, ZeroDivisionError(), for_s=40.0)
    health = world.live(lambda: world.supervisor.every("pool", 5.0, world.work))
    assert world.turns_s[:5] == [0.0, 5.0, 10.0, 15.0, 23.0], "never sooner than its period, then later and later"
    assert [body["error"] for _, body in world.events] == ["KeyError: 'x'", "ZeroDivisionError: "]
    assert {kind for kind, _ in world.events} == {EventKind.TASK_FAILED} and world.events[0][1]["task"] == "pool"
    assert health.restarts == 5
    ill = World(*[KeyError("x")] * 100, for_s=7200.0)
    health = ill.live(lambda: ill.supervisor.every("pool", 5.0, ill.work))
    assert (health.state, health.text) == ("failed", "KeyError: 'x'") and len(ill.events) == 1
    assert max(b - a for a, b in zip(ill.turns_s, ill.turns_s[1:], strict=False)) == LONGEST_PAUSE_S


def test_a_listener_that_ends_in_any_way_is_begun_again() -> None:
    world = World(None, KeyError("x"), TransportError(Absence.UNREACHABLE, "gone"), for_s=10.0)
    health = world.live(lambda: world.supervisor.forever("pool", world.work))
    assert len(world.turns_s) > 5 and health.restarts == 1


@pytest.mark.parametrize(("error", "core"), [(ZeroDivisionError(), True), (BrokenInvariant("never"), False)])
def test_a_fault_of_the_core_and_a_broken_invariant_end_the_hub(error: Exception, core: bool) -> None:
    world = World(None, error)

    async def bounded() -> None:
        async with asyncio.timeout(60.0):
            await world.supervisor.every("pool", 5.0, world.work, core=core)

    with pytest.raises(type(error)):
        run(bounded(), world.loop)
