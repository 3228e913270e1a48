# SPDX-License-Identifier: Apache-2.0
"""The price folder through the duty, journal and state to the line on the page: fresh, refused, mended, stale, gone."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grid.io.price_file import PriceFolder
from grid.order_book import OrderBook
from hub.config import Prices
from hub.journal.recorder import Recorder
from hub.market.price_duty import PriceDuty
from hub.query.feed_health import price_feeds
from hub.query.schema import Feed
from hub.state.fold import HubState
from kernel.clock import Clock, iso
from telemetry.alarm.alarm import AlarmBook
from telemetry.collect.snapshot import Snapshot
from telemetry.io.journal_sqlite import open_journal

START_MS = 1_770_000_000_000
HOUR_MS = 3_600_000


async def at_once(call: Callable[..., Any], *values: Any) -> Any:
    return call(*values)


class World:
    """A folder, a journal and the duty between them."""

    def __init__(self, folder: Path) -> None:
        self.now_ms = START_MS
        self.clock = Clock(lambda: self.now_ms, lambda: self.now_ms / 1000)
        self.prices = Prices(folder=folder / "feeds", stale_after_s=86_400.0)
        (folder / "feeds").mkdir(exist_ok=True)
        self.file = folder / "feeds" / "day_ahead.csv"
        self.journal = open_journal(folder / "data")
        self.restart()

    def restart(self) -> None:
        self.state = HubState([], OrderBook({}), Snapshot(), AlarmBook([]))
        for record in self.journal.records():
            self.state.apply(record)
        self.recorder = Recorder(self.journal, self.clock, self.state.apply, at_once)
        scan = PriceFolder(self.prices.folder).scan
        self.duty = PriceDuty(scan, self.prices, [], 600.0, self.state, self.recorder, self.clock, at_once, "h/s", 5.0)

    def write(self, price: str) -> None:
        rows = "".join(f"{iso(START_MS + i * HOUR_MS)},{price}\n" for i in range(48))
        head = f"# name: price/day_ahead\n# unit: KZT/kWh\n# known_at: {iso(self.now_ms)}\n"
        self.file.write_text(f"{head}start,value\n{rows}")

    def look(self) -> Feed:
        asyncio.run(self.duty.do())
        return next(feed for feed in price_feeds(self.state, self.prices, self.now_ms) if feed["name"] == "price")

    def said(self) -> int:
        return sum(1 for _ in self.journal.events(["price.curve"]))


def test_from_the_file_to_the_line(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.look()["state"] == "dead", "none was ever received"
    world.write("14.5")
    assert world.look()["state"] == "ok" and world.said() == 1

    world.now_ms += 60_000
    world.write("9999999")
    line = world.look()
    assert line["state"] == "refused" and "above" in line["text"] and "the last good curve holds" in line["text"]
    known = world.state.curves["price/day_ahead"]
    assert len(known) == 1 and known[0].values[0] == 14_500
    world.look()
    assert world.said() == 2, "told once"
    world.restart()
    assert world.look()["state"] == "refused" and world.said() == 2, "also after a restart"

    world.file.write_text("# name: price/day_ahead\nstart,value\nnonsense,1\n")
    assert "day_ahead.csv:3 start" in world.look()["text"] and world.said() == 3
    world.file.write_text("start,value\nnonsense,1\n")
    assert any(feed["title"] == "File day_ahead.csv" for feed in _lines(world)) and world.said() == 4
    world.now_ms += 60_000
    world.write("15")
    assert world.look()["state"] == "ok" and world.state.refused == {}
    world.now_ms += 30 * HOUR_MS
    stale = world.look()
    assert stale["state"] == "stale" and "30.0 h ago" in stale["text"]
    world.now_ms += 30 * HOUR_MS
    assert "ends at" in world.look()["text"]


def _lines(world: World) -> list[Feed]:
    asyncio.run(world.duty.do())
    return price_feeds(world.state, world.prices, world.now_ms)
