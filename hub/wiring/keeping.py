# SPDX-License-Identifier: Apache-2.0
"""Duties that keep and forward readings: archive, billed energy, sinks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hub.config import Config, MqttSinkPart, StoreSink, secret
from hub.control.counters import Counters
from hub.control.runtime import Duty
from hub.journal.recorder import Offload
from hub.metering.billing_duty import BillingDuty
from hub.wiring.devices import credential
from hub.wiring.duties import Stores
from hub.wiring.plugins import SinkSettings, sink_of
from kernel.units import MS_PER_DAY
from telemetry.io.archive_parquet import ParquetArchive
from telemetry.io.billing_sqlite import BillingStore
from telemetry.io.marks_sqlite import SqliteMarks
from telemetry.store.sink import Aside, Forwarder, Sink


@dataclass(frozen=True, slots=True)
class Kept:
    """The keeping duties, what is to be closed when the hub ends, and counters of the sinks."""

    duties: list[Duty] = field(default_factory=list)
    closers: list[Callable[[], Any]] = field(default_factory=list)
    counters: list[Counters] = field(default_factory=list)


class SealDuty:
    """Closes hours into Parquet; lets the journal go of batches that are sealed, forwarded and older than `keep_days`."""

    name = "archive"
    every_s = 60.0

    def __init__(
        self, base: Stores, archive: ParquetArchive, forwarders: Sequence[Forwarder], keep_days: float
    ) -> None:
        self._base, self._archive, self._forwarders, self._keep_days = base, archive, forwarders, keep_days

    async def do(self) -> None:
        await self._base.offload(self._seal, self._base.clock.now_ms())

    def _seal(self, now_ms: int) -> None:
        self._archive.seal(now_ms)
        journal = self._base.journal
        old = journal.position_before(now_ms - round(self._keep_days * MS_PER_DAY))
        sent = [forwarder.health().sent for forwarder in self._forwarders]
        journal.trim(min([old, self._archive.sealed_position(), *sent]))


class ForwardDuty:
    """Moves one sink along the journal, in a thread; its own watermark outlives an outage and a restart."""

    def __init__(self, forwarder: Forwarder, name: str, every_s: float, offload: Offload) -> None:
        self.name, self.every_s = f"sink {name}", every_s
        self._forwarder, self._offload = forwarder, offload

    async def do(self) -> None:
        while await self._offload(self._forwarder.step) == 0:
            pass
        health = self._forwarder.health()
        if health.text:
            raise OSError(health.text)


def keeping(base: Stores) -> Kept:
    """The configured sinks, the archive that trims the journal behind them, billed energy."""
    config, kept = base.config, Kept()
    forwarders: list[Forwarder] = []
    for number, part in enumerate(config.sinks):
        sink = _sink(part, number, config, base.folder)
        close = getattr(sink, "close", None)
        if callable(close):
            kept.closers.append(close)
        forwarder = Forwarder(base.journal, sink, SqliteMarks(base.data / "sinks.sqlite"), base.clock)
        forwarders.append(forwarder)
        kept.counters.append(forwarder.figures)
        kept.duties.append(ForwardDuty(forwarder, part.name, part.every_s, base.offload))
    archive = base.book.archive
    assert isinstance(archive, ParquetArchive)
    kept.duties.append(SealDuty(base, archive, forwarders, config.hub.journal_days))
    billed = [
        f"{site.key}/{meter.name}"
        for site in base.state.sites.values()
        for meter in site.config.meters
        if meter.billing
    ]
    store = BillingStore(base.data / "billing.sqlite")
    kept.closers.append(store.close)
    slot_s, grace_s = config.billing.slot_s, config.billing.grace_s
    kept.duties.append(BillingDuty(base.book, store, billed, slot_s, grace_s, base.clock, base.offload))
    return kept


def set_aside(config: Config, data: Path) -> list[tuple[Aside, list[str]]]:
    """What the configured sinks refused for good, oldest first, each with the devices of its rows."""
    path = data / "sinks.sqlite"
    if not path.exists():
        return []
    marks = SqliteMarks(path)
    try:
        return [
            (aside, sorted({device for batch in marks.rows_of(aside) for device in batch.devices}))
            for sink in config.sinks
            for aside in marks.asides(sink.name)
        ]
    finally:
        marks.close()


def _sink(part: StoreSink | MqttSinkPart, number: int, config: Config, folder: Path) -> Sink:
    token = account = password = ""
    if isinstance(part, StoreSink):
        token = secret(part.token_env, part.token_file, folder) or ""
    else:
        name = config.mqtt.credential if part.host is None else part.credential
        account, password = credential(config, name, folder) if name else ("", "")
    settings = SinkSettings(part, token, account, password, config, folder)
    return sink_of(part.kind, f"sinks.{number}.kind", settings)
