# SPDX-License-Identifier: Apache-2.0
"""The composition root: the one room that knows every other, and the only one that imports `*.io`.

`live` talks to devices, `simulated` to simulated ones behind the same ports in virtual time; both give the same `Hub`.
`folded` builds the state that a journal tells, for restart, replay and reading.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from grid.io.dispatch_mqtt import DispatchMqtt, topics
from grid.io.dispatch_mqtt import OrderPort as DispatchDesk
from grid.order_book import Authority
from hub.config import Config, MqttSinkPart
from hub.control.alarm_duty import AlarmDuty
from hub.control.counters import (
    Counters,
    Loss,
    LossDuty,
    actuator_figures,
    poll_figures,
    recorder_figures,
    tick_figures,
)
from hub.control.loop_lag import LoopLag
from hub.control.plan_duty import PlanDuty
from hub.control.runtime import Components, Duty, Hub, Periods, broker_identifies
from hub.control.supervision import Supervisor, TaskHealth
from hub.fleet.condition_monitor import ConditionDuty
from hub.fleet.feeder_mapping import FeederMappingDuty
from hub.fleet.jobs import JobDuty
from hub.fleet.model_learning import LearningDuty
from hub.fleet.provisioning import Provisions
from hub.fleet.wake_recovery import WakeRecoveryDuty
from hub.journal.recorder import Recorder, in_thread
from hub.metering.energy import EnergyBook
from hub.reports.store import ReportStore
from hub.settlement.duty import SettleDuty
from hub.state.checkpoint import FILE_NAME, CheckpointDuty
from hub.state.site import SiteState
from hub.state.situation import Freshness, Situations
from hub.wiring.archive import RetentionDuty
from hub.wiring.buttons import button_ears
from hub.wiring.devices import (
    Connection,
    Feed,
    actuator_of,
    broker_of,
    feeds_of,
    miner_ports,
    periods,
    polled_sources,
    switch_ports,
)
from hub.wiring.duties import ReadyDuty, Stores, ground, price_duty, settle_duty, tariff_of
from hub.wiring.keeping import keeping
from hub.wiring.state import (
    catalogue,
    check_profiles,
    empty_state,
    exported,
    folded,
    passports_of,
    reading,
    reading_billing,
    reading_book,
    reading_ledger,
)
from kernel.clock import Clock, system_clock
from kernel.reading import Reading
from kernel.receipt import Receipt
from miner_control.control.actuator import Actuator
from miner_control.fleet.command import Command
from miner_control.fleet.driver import MinerDriver
from miner_control.inventory.asset_register import AssetRegister
from miner_control.io.miner_socket import Exchanges
from telemetry.collect.collector import Collector
from telemetry.collect.source import Source, Subscription
from telemetry.io.arrow import use_system_memory
from telemetry.io.broker import EmbeddedBroker
from telemetry.io.devices import Lines
from telemetry.io.mqtt import MqttFeed, MqttLink

LANE_WAIT_S = 60.0
"""A poll waits for its turn behind a write on the same lane, and some firmwares take 20 s to write."""


@dataclass(slots=True)
class Assembly:
    """A hub put together, not yet started. `opened` is started before the loops and stopped after them."""

    hub: Hub
    report_store: ReportStore
    provisions: Provisions
    settling: SettleDuty | None
    planners: dict[str, PlanDuty]
    registers: dict[str, AssetRegister]
    book: EnergyBook
    opened: list[Connection]
    checkpoint: CheckpointDuty | None = None


Devices = Callable[[SiteState, AssetRegister], tuple[dict[str, MinerDriver], list[Source], dict[str, MinerDriver]]]
"""The miners of a site by device key, its other sources, and the auxiliary loads by device key."""


def put_together(
    base: Stores,
    devices: Devices,
    subscriptions: Sequence[Subscription],
    *,
    wiring: str,
    tick_s: float,
    rhythm: Periods = Periods(),
    keep: Sequence[Duty] = (),
    closers: Sequence[Callable[[], Any]] = (),
    board: dict[str, TaskHealth] | None = None,
    counters: Sequence[Counters] = (),
) -> Assembly:
    """The hub over whatever devices stand behind the ports: the same for live and simulated."""
    config, clock, state, offload = base.config, base.clock, base.state, base.offload
    recorder = Recorder(base.journal, clock, state.apply, offload)
    sources: list[Source] = []
    actuators: dict[str, Actuator] = {}
    made: list[Hub] = []

    def on_receipt(key: str, command: Command, receipt: Receipt) -> None:
        made[0].receipt(key, command, receipt)

    for site in state.sites.values():
        drivers, others, loads = devices(site, base.registers[site.key])
        sources += [*drivers.values(), *others]
        actuators[site.key] = actuator_of(site, drivers | loads, clock, state, on_receipt, config.control.uploads)

    def hear(readings: Sequence[Reading]) -> None:
        recorder.enqueue(readings)
        for actuator in actuators.values():
            if actuator.under_way:
                actuator.observe(readings)

    collector = Collector(
        sources,
        hear,
        recorder.emit,
        clock,
        base.rng,
        periods(config),
        at_once=config.polling.in_flight,
        time_out_s=LANE_WAIT_S,
        most_back_off_s=config.polling.back_off_s,
        spread_s=config.polling.spread_s,
        tick_s=tick_s,
    )
    tariff, situations = tariff_of(config), Situations(state, Freshness.of(config))
    planners = {
        site.key: PlanDuty(config, site, tariff, situations, recorder, clock, offload.apart(), rhythm.plan_s)
        for site in state.sites.values()
        if tariff is not None
    }
    settling = settle_duty(base, recorder)
    report_store = ReportStore(base.ledger, base.data, clock, None if settling is None else settling.open_items)
    feeds = price_duty(base, recorder, rhythm.feeds_s)
    duties: list[Duty] = [feeds, *planners.values(), *keep]
    duties.append(AlarmDuty(state.alarms, state, recorder, clock, rhythm.alarms_s))
    fresh_s = max(rhythm.watch_s, 2.0 * config.polling.miner_slow_s)
    provisions = Provisions(config, base.folder, base.data, state.miners)
    pools, soon = provisions.pool_rule, collector.poll_soon
    duties.append(ConditionDuty(state, recorder, clock, offload, rhythm.watch_s, fresh_s, pools, soon))
    duties.append(WakeRecoveryDuty(situations, recorder, clock, actuators, max(rhythm.work_s, 5.0)))
    duties.append(JobDuty(situations, recorder, clock, offload, provisions, actuators, rhythm.work_s))
    deadline_s = config.control.command_deadline_s
    duties.append(FeederMappingDuty(situations, recorder, clock, actuators, rhythm.work_s, deadline_s))
    duties.append(LearningDuty(situations, recorder, clock, offload, base.book.archive, rhythm.learn_s))
    duties += [RetentionDuty(config, base.data, state, recorder, clock, offload)] if keep else []
    duties += [ReadyDuty(key, actuators[key], site.roster.devices) for key, site in state.sites.items() if keep]
    duties += [settling] if settling else []
    parts: list[Counters] = [lambda: poll_figures(collector.counts), lambda: recorder_figures(recorder), *counters]
    losses: dict[str, Loss] = {}
    duties.append(LossDuty(config.hub.name, parts, recorder, clock, losses, max(rhythm.alarms_s, 60.0)))
    hub = Hub(
        Components(
            config=config,
            clock=clock,
            offload=offload,
            recorder=recorder,
            state=state,
            situations=situations,
            collector=collector,
            actuators=actuators,
            subscriptions=subscriptions,
            duties=duties,
            closers=[*closers, base.ledger.close, base.journal.close],
            tariff=tariff,
            wiring=wiring,
            rhythm=rhythm,
            health={} if board is None else board,
            counters=parts,
            losses=losses,
            feeds=feeds.health,
        )
    )
    made.append(hub)
    parts += [lambda: tick_figures(hub.ticks), lambda: actuator_figures(actuators)]
    return Assembly(hub, report_store, provisions, settling, planners, base.registers, base.book, [])


async def live(config: Config, folder: Path, data: Path) -> Assembly:
    """A hub on real devices. `folder` holds the configuration file and what it refers to, `data` journal and ledger."""
    clock = system_clock()
    use_system_memory()  # docs/decisions/0020
    base = await ground(config, folder, data, clock, in_thread(), np.random.default_rng())
    exchanges = Exchanges()
    board: dict[str, TaskHealth] = {}
    feeds = feeds_of(config, clock, folder, lambda up, text: broker_identifies(board, up, text, clock.now_ms()))

    link = next((feed.link for feed in feeds if isinstance(feed, MqttFeed)), None)
    lines = Lines()

    def devices(
        site: SiteState, register: AssetRegister
    ) -> tuple[dict[str, MinerDriver], list[Source], dict[str, MinerDriver]]:
        ports = miner_ports(config, site, register, clock, exchanges, folder)
        loads = switch_ports(config, base.state, site, lines, link, clock, folder)
        return dict(ports), polled_sources(config, site.config, lines, base.journal.keep, clock, folder), loads

    kept, checkpoint = keeping(base), CheckpointDuty(base.state, config, data / FILE_NAME, base.offload)
    loop = LoopLag(clock, lambda kind, body: wired.hub.components.recorder.emit(config.hub.name, kind, body))
    closers, keep = [exchanges.close, *kept.closers], [*kept.duties, checkpoint, loop]
    rotten = base.journal.rotten.figures
    counters = [lines.figures, loop.figures, rotten, *(feed.figures for feed in feeds), *kept.counters]
    wired = put_together(
        base, devices, feeds, wiring="live", tick_s=0.05, keep=keep, closers=closers, board=board, counters=counters
    )
    wired.checkpoint = checkpoint
    republishes = any(isinstance(sink, MqttSinkPart) and sink.host is None for sink in config.sinks)
    if config.mqtt.embedded and (feeds or config.dispatchers or republishes):
        wired.opened.append(EmbeddedBroker(config.mqtt.port))
    wired.opened += [Feed(feed) for feed in feeds]
    wired.opened += button_ears(config, wired.hub.components)
    return wired


class OrdersByMqtt:
    """The dispatchers' topic as something opened: its link, and the loop that takes orders from it."""

    def __init__(
        self,
        link: MqttLink,
        desk: DispatchDesk,
        authorities: Sequence[Authority],
        root: str,
        clock: Clock,
        supervisor: Supervisor,
    ) -> None:
        self._link, self._supervisor = link, supervisor
        self._orders = DispatchMqtt(link, desk, authorities, root, clock)
        self._task: asyncio.Task[None] | None = None
        self.figures = self._orders.figures

    async def start(self) -> None:
        self._link.start()
        self._task = asyncio.create_task(self._supervisor.forever("orders by MQTT", self._orders.run))

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._link.stop()


def orders_by_mqtt(
    config: Config, folder: Path, desk: DispatchDesk, clock: Clock, counters: list[Counters], supervisor: Supervisor
) -> list[Connection]:
    """The way for dispatchers over MQTT, where the configuration names any; its counters join `counters`."""
    if not config.dispatchers:
        return []
    authorities = [
        Authority(
            who=one.name,
            scopes=tuple(f"{config.hub.name}/{site}" for site in one.sites or [site.name for site in config.sites]),
            public_key=one.public_key,
            must_sign=one.must_sign,
        )
        for one in config.dispatchers
    ]
    root = config.mqtt.orders_topic
    broker = replace(broker_of(config, folder), client_id=f"{config.hub.name}-orders")
    orders = OrdersByMqtt(MqttLink(broker, topics(root)), desk, authorities, root, clock, supervisor)
    counters.append(orders.figures)
    return [orders]


__all__ = [
    "Assembly",
    "catalogue",
    "check_profiles",
    "empty_state",
    "exported",
    "folded",
    "live",
    "orders_by_mqtt",
    "passports_of",
    "reading",
    "reading_billing",
    "reading_book",
    "reading_ledger",
]
