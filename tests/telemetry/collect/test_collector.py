# SPDX-License-Identifier: Apache-2.0
import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hub.app.virtual_time import VirtualLoop, run
from kernel.clock import Clock, loop_clock
from kernel.errors import DecodeError, TransportError
from kernel.reading import Absence, Missing, Reading
from telemetry.collect.collector import Collector, Periods
from telemetry.collect.source import Tier

EPOCH_MS = 1_767_225_600_000
FAST_5: Periods = {"miner": {Tier.FAST: 5.0}}


@dataclass
class Device:
    """A source that answers, fails or hangs as told; it counts how many reads of its lane overlap."""

    clock: Clock
    device: str = "hub/site/m1"
    kind: str = "miner"
    lane: str = ""
    takes_s: float = 0.0
    fails: Callable[[float], Exception | None] = lambda now_s: None
    asked: list[tuple[float, Tier]] = field(default_factory=list)
    lane_busy: dict[str, int] = field(default_factory=dict)
    overlaps: int = 0

    def __post_init__(self) -> None:
        self.lane = self.lane or self.device

    async def read(self, tier: Tier) -> Reading:
        now_s = self.clock.monotonic_s()
        self.asked.append((now_s, tier))
        self.lane_busy[self.lane] = self.lane_busy.get(self.lane, 0) + 1
        self.overlaps += self.lane_busy[self.lane] > 1
        try:
            if self.takes_s:
                await asyncio.sleep(self.takes_s)
            error = self.fails(now_s)
            if error is not None:
                raise error
            return Reading(self.device, self.kind, self.clock.now_ms(), {"power_w": 3000.0, "state": "hashing"})
        finally:
            self.lane_busy[self.lane] -= 1


@dataclass
class Heard:
    readings: list[Reading] = field(default_factory=list)
    events: list[tuple[str, str, Mapping[str, Any]]] = field(default_factory=list)

    def hear(self, readings: Sequence[Reading]) -> None:
        self.readings.extend(readings)

    def tell(self, site: str, kind: str, body: Mapping[str, Any]) -> None:
        self.events.append((site, kind, body))

    def kinds(self) -> list[str]:
        return [kind for _, kind, _ in self.events]


def collect(
    make: Callable[[Clock], list[Device]],
    seconds: float,
    periods: Periods = FAST_5,
    *,
    during: Callable[[Collector], None] | None = None,
    **options: Any,
) -> tuple[list[Device], Heard, Collector]:
    loop = VirtualLoop()
    clock = loop_clock(EPOCH_MS, loop.time)
    devices, heard = make(clock), Heard()

    async def main() -> Collector:
        collector = Collector(devices, heard.hear, heard.tell, clock, np.random.default_rng(3), periods, **options)
        task = asyncio.create_task(collector.run())
        await asyncio.sleep(seconds / 2)
        if during:
            during(collector)
        await asyncio.sleep(seconds / 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert len(asyncio.all_tasks()) == 1, "polls left running"
        return collector

    return devices, heard, run(main(), loop)


def test_each_tier_is_polled_at_its_period_without_drift() -> None:
    periods: Periods = {"miner": {Tier.FAST: 5.0, Tier.SLOW: 60.0, Tier.DAILY: 86_400.0}}
    (device,), heard, collector = collect(lambda clock: [Device(clock, takes_s=0.1)], 3600, periods)
    tiers = [tier for _, tier in device.asked]
    assert 715 <= tiers.count(Tier.FAST) <= 725
    assert 59 <= tiers.count(Tier.SLOW) <= 62
    assert tiers.count(Tier.DAILY) == 1
    assert len(heard.readings) == collector.counts.ok == len(tiers)
    assert heard.events == []


def test_polls_of_many_devices_are_spread_over_the_period() -> None:
    devices, _, _ = collect(lambda clock: [Device(clock, f"hub/site/m{i}") for i in range(500)], 10)
    per_second = np.bincount([int(at_s) for device in devices for at_s, _ in device.asked], minlength=10)
    assert per_second[:10].max() < 2 * 100


def test_a_small_site_is_polled_completely_within_its_spread() -> None:
    periods: Periods = {"miner": {Tier.FAST: 5.0, Tier.SLOW: 300.0, Tier.DAILY: 86_400.0}}
    devices, _, _ = collect(lambda clock: [Device(clock, f"hub/site/m{i}") for i in range(9)], 4, periods, spread_s=2.0)
    assert all({tier for _, tier in device.asked} == set(periods["miner"]) for device in devices)


def test_one_lane_runs_one_poll_at_a_time_and_others_do_not_wait() -> None:
    busy: dict[str, int] = {}

    def make(clock: Clock) -> list[Device]:
        shared = [Device(clock, f"hub/site/a{i}", lane="gateway", takes_s=1.0, lane_busy=busy) for i in range(4)]
        return [*shared, Device(clock, "hub/site/b", takes_s=0.1, lane_busy=busy)]

    devices, _, collector = collect(make, 600)
    assert sum(device.overlaps for device in devices) == 0
    assert min(len(device.asked) for device in devices) >= 115
    assert collector.counts.failed == 0


def test_a_lane_that_cannot_keep_pace_is_late_and_its_queue_stays_bounded() -> None:
    devices, _, collector = collect(
        lambda clock: [Device(clock, f"hub/site/a{i}", lane="gateway", takes_s=2.0) for i in range(10)], 600
    )
    counts = [len(device.asked) for device in devices]
    assert sum(counts) <= 301 and max(counts) - min(counts) <= 1
    assert collector.counts.late > 0


def test_polls_in_flight_are_bounded() -> None:
    running, most = [0], [0]

    class Slow(Device):
        async def read(self, tier: Tier) -> Reading:
            running[0] += 1
            most[0] = max(most[0], running[0])
            try:
                return await super().read(tier)
            finally:
                running[0] -= 1

    devices, _, _ = collect(
        lambda clock: [Slow(clock, f"hub/site/m{i}", takes_s=1.0) for i in range(200)], 60, at_once=16
    )
    assert most[0] == 16
    assert min(len(device.asked) for device in devices) >= 2


def test_loss_and_return_of_a_source_are_reported_once_and_polls_back_off() -> None:
    def fails(now_s: float) -> Exception | None:
        return TransportError(Absence.UNREACHABLE, "refused") if 100 <= now_s < 2000 else None

    periods: Periods = {"miner": {Tier.FAST: 5.0, Tier.SLOW: 30.0}}
    (device,), heard, collector = collect(lambda clock: [Device(clock, fails=fails)], 3600, periods)

    assert heard.kinds() == ["source.silent", "source.returned"]
    site, _, body = heard.events[0]
    assert site == "hub/site" and body["device"] == "hub/site/m1" and body["reason"] == "unreachable"
    assert 1890 < heard.events[1][2]["silent_s"] < 2000

    while_silent = [(at_s, tier) for at_s, tier in device.asked if 120 <= at_s < 2000]
    assert {tier for _, tier in while_silent} == {Tier.FAST}
    gaps = np.diff([at_s for at_s, _ in while_silent])
    assert gaps[0] < 45 and 55 < gaps[-1] < 65

    missed = [r for r in heard.readings if r.values["state"] == "unreachable"]
    assert len(missed) == collector.counts.failed == collector.counts.reasons[Absence.UNREACHABLE]
    assert all(r.values["power_w"] == Missing(Absence.UNREACHABLE, "refused") for r in missed)


def test_one_lost_answer_is_a_missing_reading_but_no_silence() -> None:
    def fails(now_s: float) -> Exception | None:
        return TransportError(Absence.TIMED_OUT, "late") if 100 <= now_s < 105 else None

    _, heard, collector = collect(lambda clock: [Device(clock, fails=fails)], 600)
    assert collector.counts.failed == 1
    assert heard.events == []


def test_what_answers_nonsense_is_malformed_not_unreachable() -> None:
    _, heard, _ = collect(lambda clock: [Device(clock, fails=lambda now_s: DecodeError("power", "no number"))], 60)
    assert heard.kinds() == ["source.silent"]
    first = heard.readings[0]
    assert first.values["state"] == Missing(Absence.MALFORMED)
    found = first.get("power_w")
    assert isinstance(found, Missing) and found.reason is Absence.MALFORMED and "no number" in found.detail


def test_a_defect_of_one_driver_does_not_end_the_polling_of_others() -> None:
    def make(clock: Clock) -> list[Device]:
        return [Device(clock, "hub/site/bad", fails=lambda now_s: ZeroDivisionError("oops")), Device(clock)]

    (_, good), heard, _ = collect(make, 300)
    assert len(good.asked) >= 59
    assert heard.events[0][2]["text"] == "ZeroDivisionError: oops"


def test_a_source_that_hangs_times_out_and_lets_its_lane_go_on() -> None:
    def make(clock: Clock) -> list[Device]:
        return [Device(clock, "hub/site/hangs", takes_s=1e9, lane="line"), Device(clock, lane="line")]

    (hangs, good), heard, collector = collect(make, 600, time_out_s=4.0)
    assert len(hangs.asked) - collector.counts.reasons[Absence.TIMED_OUT] in (0, 1)
    assert heard.kinds() == ["source.silent"] and heard.events[0][2]["reason"] == "timed_out"
    assert len(good.asked) > 90


def test_polled_soon_added_and_removed() -> None:
    late: list[Device] = []

    def during(collector: Collector) -> None:
        collector.poll_soon("hub/site/daily", Tier.DAILY)
        collector.remove("hub/site/goes")
        late.append(Device(collector._clock, "hub/site/comes"))
        collector.add(late[0])

    def make(clock: Clock) -> list[Device]:
        return [Device(clock, "hub/site/daily"), Device(clock, "hub/site/goes")]

    periods: Periods = {"miner": {Tier.FAST: 5.0, Tier.DAILY: 86_400.0}}
    (daily, goes), heard, _ = collect(make, 600, periods, during=during)
    assert [tier for _, tier in daily.asked].count(Tier.DAILY) == 2
    assert max(at_s for at_s, _ in goes.asked) <= 301
    assert len(late[0].asked) >= 59
    assert {r.device for r in heard.readings} == {"hub/site/daily", "hub/site/goes", "hub/site/comes"}


def test_the_same_seed_polls_in_the_same_order() -> None:
    def order() -> list[tuple[str, int]]:
        _, heard, _ = collect(lambda clock: [Device(clock, f"hub/site/m{i}") for i in range(50)], 120)
        return [(r.device, r.at_ms) for r in heard.readings]

    assert order() == order()


def _stepping(loop: VirtualLoop, step_ms: int) -> Clock:
    return Clock(lambda: EPOCH_MS + round(loop.time() * 1000) + (step_ms if loop.time() > 150 else 0), loop.time)


def test_steps_of_the_clock_change_neither_pace_nor_silence() -> None:
    """The wall clock jumps an hour forward and back; polls and durations go by the other one."""
    for step_ms in (3_600_000, -3_600_000):
        loop = VirtualLoop()
        clock = _stepping(loop, step_ms)

        def fails(now_s: float) -> Exception | None:
            return TransportError(Absence.UNREACHABLE, "refused") if 100 <= now_s < 200 else None

        device, heard = Device(clock, fails=fails), Heard()

        async def main(clock: Clock = clock, device: Device = device, heard: Heard = heard) -> None:
            collector = Collector([device], heard.hear, heard.tell, clock, np.random.default_rng(3), FAST_5)
            task = asyncio.create_task(collector.run())
            await asyncio.sleep(600)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        run(main(), loop)
        assert heard.kinds() == ["source.silent", "source.returned"]
        assert 95 < heard.events[1][2]["silent_s"] < 200
        gaps = np.diff([at_s for at_s, _ in device.asked if at_s > 250])
        assert gaps.max() < 5.5
