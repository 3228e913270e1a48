# SPDX-License-Identifier: Apache-2.0
"""The loops of a running hub: record, collect, decide, plan, watch orders, read feeds, settle, keep and forward.

Each loop keeps its own pace; they meet in the state alone, which changes only through the recorder. What happens when one of
them fails: `supervision`. All of it runs live and in virtual time alike.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import structlog

from grid.compliance import Outcome, Samples, Terms, judge
from grid.order_book import Happening
from grid.order_entry import LIVE, Entry
from grid.tariff import Tariff
from hub.config import Config
from hub.control.counters import Counters, Loss
from hub.control.supervision import Supervisor, TaskHealth
from hub.control.tick import TICK_VERSION, TickSettings, decide
from hub.journal.issue import issue
from hub.journal.payloads import ClockStepped, HubStarted, HubStopped
from hub.journal.recorder import Offload, Recorder
from hub.market.price_duty import FeedHealth
from hub.state.fold import HubState
from hub.state.site import SiteState
from hub.state.site_generation import awaits_meter
from hub.state.situation import Situations
from kernel.clock import Clock, ClockWatch
from kernel.event import EventKind
from kernel.receipt import HubCause, Receipt, Unknown
from miner_control.control.actuator import Actuator
from miner_control.fleet.command import CUT_SHORT, Command, command_json, receipt_json
from telemetry.collect.collector import Collector
from telemetry.collect.source import Subscription

log = structlog.get_logger("hub")

CLOCK_TOLERANCE_S = 2.0
FIRST_READING_S = 0.2
VERDICT_FOR_MS = 600_000


class Duty(Protocol):
    """A periodic task next to the control loop: plan, read feeds, settle, seal, forward."""

    @property
    def name(self) -> str: ...

    @property
    def every_s(self) -> float: ...

    async def do(self) -> None:
        """One turn. Raises one of `supervision.OUTSIDE` where the world does not answer."""


@dataclass(frozen=True, slots=True)
class Periods:
    """How often the small loops turn. Live: at a person's pace. Virtual time takes them further apart."""

    record_s: float = 0.25
    orders_s: float = 1.0
    clock_s: float = 1.0
    plan_s: float = 1.0
    feeds_s: float = 5.0
    alarms_s: float = 5.0
    watch_s: float = 60.0
    work_s: float = 1.0
    learn_s: float = 60.0


@dataclass(slots=True)
class Components:
    """All that the wiring put together."""

    config: Config
    clock: Clock
    offload: Offload
    recorder: Recorder
    state: HubState
    situations: Situations
    collector: Collector
    actuators: Mapping[str, Actuator]
    subscriptions: Sequence[Subscription] = ()
    duties: Sequence[Duty] = ()
    closers: Sequence[Callable[[], Any]] = ()
    tariff: Tariff | None = None
    wiring: str = "live"
    rhythm: Periods = Periods()
    health: dict[str, TaskHealth] = field(default_factory=dict)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by an act of a person or a dispatcher: each is decided against the result of the one before."""
    counters: list[Counters] = field(default_factory=list)
    losses: dict[str, Loss] = field(default_factory=dict)
    feeds: Mapping[str, FeedHealth] = field(default_factory=dict)
    """State of each configured feed of curves, by its name."""


class Hub:
    """A hub that runs. `run` ends when it is cancelled or `stop` is called."""

    def __init__(self, components: Components) -> None:
        self.components = components
        self.terms = Terms()
        self.ticks = 0
        self._urgent: dict[str, asyncio.Event] = {key: asyncio.Event() for key in components.state.sites}
        self._stop = asyncio.Event()
        self._settings = TickSettings.of(components.config, components.tariff)
        self._verdicts: dict[str, tuple[str, bool]] = {}
        hub = components.config.hub.name
        self.supervisor = Supervisor(components.health, components.clock, partial(components.recorder.emit, hub))

    async def run(self) -> None:
        """Start every loop in one group; the first fault of ours ends them all."""
        components = self.components
        now_ms = components.clock.now_ms()
        hub = components.config.hub.name
        await components.recorder.commit(
            hub, EventKind.HUB_STARTED, HubStarted(wiring=components.wiring, position=components.recorder.position)
        )
        await self._answer_orphans()
        # Before the first control step: an order that is not carried out here must not move anything once.
        await self.watch_orders()
        log.info("started", wiring=components.wiring, position=components.recorder.position, at_ms=now_ms)
        every, rhythm = self.supervisor.every, components.rhythm
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(every("record", rhythm.record_s, components.recorder.flush, core=True)),
                    group.create_task(components.collector.run()),
                    group.create_task(every("orders", rhythm.orders_s, self.watch_orders, core=True)),
                    group.create_task(self._watch_clock()),
                    *(group.create_task(self._control(site)) for site in components.state.sites.values()),
                    *(
                        group.create_task(self.supervisor.forever(f"meters {at}", partial(self._listen, feed)))
                        for at, feed in enumerate(components.subscriptions, start=1)
                    ),
                    *(group.create_task(every(duty.name, duty.every_s, duty.do)) for duty in components.duties),
                ]
                await self._stop.wait()
                for task in tasks:
                    task.cancel()
        finally:
            for actuator in components.actuators.values():
                await actuator.close()
            components.recorder.emit(hub, EventKind.HUB_STOPPED, HubStopped(ticks=self.ticks))
            await components.recorder.flush()
            for close in components.closers:
                close()

    def stop(self) -> None:
        """End in order: the loops are cancelled, what was heard is written."""
        self._stop.set()

    def hurry(self, site: str) -> None:
        """Bring the site's next tick forward: an order came."""
        self._urgent[site].set()

    # ---- loops ----

    async def _control(self, site: SiteState) -> None:
        tick_s = self.components.config.control.tick_s
        urgent = self._urgent[site.key]

        async def tick_until_due() -> None:
            urgent.clear()
            await self.tick(site)
            try:
                async with asyncio.timeout(tick_s):
                    await urgent.wait()
            except TimeoutError:
                pass

        await self._first_reading(site)
        await self.supervisor.every(f"control {site.config.name}", 0.0, tick_until_due, core=True)

    async def _first_reading(self, site: SiteState) -> None:
        """After a start a site that generates waits for its meter, no longer than a reading is fresh: without it a limit holds on
        demand, and miners that generation carries would be put to sleep."""
        fresh_s = self.components.situations.freshness.meter_s
        for _ in range(round(fresh_s / FIRST_READING_S)):
            if not awaits_meter(self.components.state, site, self.components.clock.now_ms(), fresh_s):
                return
            await asyncio.sleep(FIRST_READING_S)

    async def tick(self, site: SiteState) -> None:
        """Decide, write it down, then act: commands leave only after the journal holds them."""
        components = self.components
        if components.recorder.fault is not None:
            # Nothing is decided while nothing can be written: each tick would wait in memory as an event.
            await components.recorder.flush(required=True)
        now = components.situations.at(site, components.clock.now_ms())
        decided = decide(components.state, site, now, self._settings)
        components.recorder.emit(site.key, EventKind.TICK_DECIDED, decided.body, TICK_VERSION)
        issued = await issue(components.recorder, site.key, decided.commands)
        self.ticks += 1
        if issued.commands:
            components.actuators[site.key].start(issued)

    async def _answer_orphans(self) -> None:
        """Commands that a killed hub left without a receipt get one: whether they were done, nobody knows."""
        lost = receipt_json(Unknown(CUT_SHORT, HubCause.CUT_SHORT))
        for site in self.components.state.sites.values():
            for body in site.unanswered.values():
                self.components.recorder.emit(site.key, EventKind.COMMAND_RECEIPT, {**body, **lost})
        await self.components.recorder.flush(required=True)

    def receipt(self, site: str, made: Command, receipt: Receipt) -> None:
        """Journal the receipt of a command."""
        self.components.recorder.emit(site, EventKind.COMMAND_RECEIPT, {**command_json(made), **receipt_json(receipt)})

    async def _listen(self, feed: Subscription) -> None:
        recorder = self.components.recorder
        while True:
            readings, token = await feed.next()
            recorder.enqueue(readings)
            recorder.when_durable(lambda feed=feed, token=token: feed.acknowledge(token))  # type: ignore[misc]

    async def _watch_clock(self) -> None:
        watch = ClockWatch(self.components.clock)
        while True:
            await asyncio.sleep(self.components.rhythm.clock_s)
            stepped_s = watch.divergence_s()
            if abs(stepped_s) > CLOCK_TOLERANCE_S:
                log.warning("the system's clock stepped", seconds=round(stepped_s, 3))
                self.components.recorder.emit(
                    self.components.config.hub.name, EventKind.CLOCK_STEPPED, ClockStepped(seconds=stepped_s)
                )

    # ---- orders ----

    async def take(self, happenings: Sequence[Happening], site: str) -> None:
        """Journal what the book decided; the fold changes the book; the site's next tick comes at once."""
        if not happenings:
            return
        for kind, body in happenings:
            self.components.recorder.emit(site, kind, body)
        await self.components.recorder.flush(required=True)
        if site in self._urgent:
            self.hurry(site)

    async def watch_orders(self) -> None:
        """What time and the meter make of the orders: phases, ends, verdicts."""
        components, now_ms = self.components, self.components.clock.now_ms()
        state = components.state
        newest = {}
        for site in state.sites.values():
            for scope, device in site.scopes().items():
                last = state.traces[device].last()
                if last is not None:
                    newest[scope] = last
        for kind, body in state.book.tick(now_ms, newest):
            entry = state.book.get(body["id"])
            assert entry is not None
            await self.take([(kind, body)], site_of(entry.order.scope))
        for entry in state.book.entries():
            over = entry.phase not in LIVE
            if entry.accepted_ms is None or (over and (entry.ended_ms or 0) < now_ms - VERDICT_FOR_MS):
                continue
            if entry.verdict and entry.verdict["outcome"] != Outcome.OPEN and not _counts_observing(entry):
                continue
            await self._judge(entry.order.id, now_ms)

    async def _judge(self, order_id: str, now_ms: int) -> None:
        state = self.components.state
        entry = state.book.get(order_id)
        assert entry is not None
        key = site_of(entry.order.scope)
        here = state.sites.get(key)
        device = None if here is None else here.scopes().get(entry.order.scope)
        if device is None:
            return
        gap_ms = round(self.terms.gap_s * 1000)
        at_ms, power_w = state.traces[device].between(entry.order.span.start_ms - gap_ms, now_ms + 1)
        verdict = judge(entry.order, Samples(at_ms, power_w), self.terms, now_ms, entry.caps, entry.observed_ms)
        seen = (str(verdict.outcome), verdict.obeyed_by_meter_s is not None)
        news = seen != (str(Outcome.OPEN), False) or _counts_observing(entry)
        if self._verdicts.get(order_id) != seen and news:
            self._verdicts[order_id] = seen
            await self.components.recorder.commit(key, EventKind.ORDER_VERDICT, {"id": order_id, **verdict.to_json()})


def _counts_observing(entry: Entry) -> bool:
    """Whether the verdict counts time when the site only observed: it is judged anew."""
    until_ms = int(entry.verdict.get("judged_until_ms", 0))
    return entry.observed_ms is not None and until_ms > entry.observed_ms


def broker_identifies(board: dict[str, TaskHealth], up: bool, text: str, now_ms: int) -> None:
    """State of the broker's link: kept for the page, and logged once per change."""
    health = board.setdefault("broker", TaskHealth())
    if up:
        if health.down_ms is not None:
            log.info("returned", what="broker", after_s=round((now_ms - health.down_ms) / 1000, 1))
        health.well_ms, health.down_ms = now_ms, None
    elif health.down_ms is None:
        health.down_ms = now_ms
        log.warning("down", what="broker", why=text)
    health.text = "" if text == "connected" else text


def site_of(scope: str) -> str:
    """The site's key of a scope (`hub/site` or `hub/site/feeder`)."""
    return "/".join(scope.split("/")[:2])
