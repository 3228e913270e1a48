# SPDX-License-Identifier: Apache-2.0
"""Lag of the event loop, in virtual time: what blocks it is seen and said once a minute."""

import asyncio
from typing import Any

from hub.control.loop_lag import LoopLag
from kernel.clock import Clock
from kernel.event import EventKind


def test_a_loop_that_stands_still_is_measured_and_is_an_alarm_once_a_minute() -> None:
    now_s, said = [0.0], list[tuple[EventKind, Any]]()
    watch = LoopLag(Clock(lambda: 0, lambda: now_s[0]), lambda kind, body: said.append((kind, body)))
    assert watch.figures() == []

    def turn(after_s: float) -> None:
        now_s[0] += after_s
        asyncio.run(watch.do())

    for _ in range(200):
        turn(0.1)
    figures = {one.name: one.value for one in watch.figures()}
    assert figures["loop_lag_max_s"] < 1e-6 and figures["loop_late"] == 0.0 and said == []
    for _ in range(3):
        turn(2.6)
    figures = {one.name: round(one.value, 3) for one in watch.figures()}
    assert figures["loop_lag_max_s"] == 2.5 and 2.0 < figures["loop_lag_p99_s"] <= 2.5 and figures["loop_late"] == 3.0
    assert said == [(EventKind.HUB_LATE, {"lag_s": 2.5})]
    for _ in range(700):
        turn(0.1)
    turn(1.2)
    assert [body["lag_s"] for _, body in said] == [2.5, 1.1]
