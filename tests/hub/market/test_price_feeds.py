# SPDX-License-Identifier: Apache-2.0
"""Feeds of curves through the duty, journal and state to the lines on the page: fresh, refused, corrected, stale, gone, down."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grid.curve_feed import FoundCurve
from grid.hashprice import Subsidy
from grid.io.price_file import PriceFolder
from grid.order_book import OrderBook
from hub.config import Prices
from hub.journal.recorder import Recorder
from hub.market.hashprice_feed import HashpriceFeed
from hub.market.price_duty import ConfiguredFeed, PriceDuty
from hub.query.feed_health import configured_feeds, price_feeds
from hub.query.schema import Feed
from hub.state.fold import HubState
from kernel.clock import Clock, iso
from kernel.curve import Curve, known
from kernel.errors import ConfigError
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
        self.prices = Prices(stale_after_s=86_400.0)
        self.feeds = folder / "feeds"
        self.feeds.mkdir(exist_ok=True)
        self.file = folder / "feeds" / "day_ahead.csv"
        self.journal = open_journal(folder / "data")
        self.restart()

    def restart(self) -> None:
        self.state = HubState([], OrderBook({}), Snapshot(), AlarmBook([]))
        for record in self.journal.records():
            self.state.apply(record)
        self.recorder = Recorder(self.journal, self.clock, self.state.apply, at_once)
        self.poll(ConfiguredFeed("files", None, PriceFolder(self.feeds)))

    def poll(self, *feeds: ConfiguredFeed) -> None:
        """The duty over other feeds."""
        self.duty = PriceDuty(feeds, self.prices, self.state, self.recorder, self.clock, at_once, "h/s", 5.0)

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


def flat(name: str, unit: str, value: float, known_at_ms: int = START_MS) -> Curve:
    """One piece of a day."""
    starts, ends = np.array([START_MS]), np.array([START_MS + 24 * HOUR_MS])
    return Curve(name, unit, starts, ends, np.array([value]), known_at_ms, "test")


class Scripted:
    """A feed that gives what it is set to, or raises it."""

    def __init__(self, *answers: Curve | Exception) -> None:
        self.answers: tuple[Curve | Exception, ...] = answers

    def poll(self, now_ms: int) -> Sequence[FoundCurve]:
        for answer in self.answers:
            if isinstance(answer, Exception):
                raise answer
        return [FoundCurve(one.name, one) for one in self.answers if isinstance(one, Curve)]


def lines(world: World) -> dict[str, Feed]:
    """One turn of the duty, then the line of each configured feed."""
    asyncio.run(world.duty.do())
    return {line["name"]: line for line in configured_feeds(world.duty.health, world.now_ms)}


@pytest.mark.parametrize("error", [OSError("no route to host"), ValueError("no number"), ConfigError([])])
def test_a_feed_that_does_not_answer_holds_up_no_other_and_is_named(tmp_path: Path, error: Exception) -> None:
    world = World(tmp_path)
    broken, good = Scripted(error), Scripted(flat("difficulty", "1", 1e14))
    world.poll(ConfiguredFeed("first", None, broken), ConfiguredFeed("second", "difficulty", good))
    found = lines(world)
    assert list(found) == ["feed first", "feed second"]
    assert found["feed first"]["state"] == "dead" and str(error) in found["feed first"]["text"]
    assert found["feed second"]["state"] == "ok" and found["feed second"]["text"] == "gives difficulty"
    assert "difficulty" in world.state.curves
    broken.answers = ()
    assert lines(world)["feed first"]["state"] == "stale", "it answers, and has given nothing"
    broken.answers = (flat("height", "block", 840_000.0),)
    assert lines(world)["feed first"]["state"] == "ok" and world.said() == 2
    assert lines(world)["feed first"]["age_s"] == 0.0 and world.said() == 2, "the same again is not journalled"


def test_a_feed_gives_the_one_curve_that_it_names(tmp_path: Path) -> None:
    world = World(tmp_path)
    source = Scripted(flat("difficulty", "1", 1e14))
    world.poll(ConfiguredFeed("height", "height", source))
    found = lines(world)["feed height"]
    assert found["state"] == "refused" and "its curve is difficulty" in found["text"] and world.state.curves == {}
    world.restart()
    assert list(world.state.refused) == ["difficulty"]
    world.poll(ConfiguredFeed("height", None, source))
    assert lines(world)["feed height"]["state"] == "ok" and world.state.refused == {}


def test_frost_and_a_negative_price_are_believed_and_nonsense_is_not(tmp_path: Path) -> None:
    world = World(tmp_path)
    frost, below = flat("weather/ambient", "C", -35.0), flat("price/real_time", "KZT/MWh", -400.0)
    world.poll(ConfiguredFeed("any", None, Scripted(frost, below)))
    assert lines(world)["feed any"]["state"] == "ok" and len(world.state.curves) == 2
    later = START_MS + 1000
    world.now_ms = later
    nonsense = [flat("weather/ambient", "C", 350.0, later), flat("coin_price", "KZT/BTC", -1.0, later)]
    world.poll(ConfiguredFeed("any", None, Scripted(*nonsense)))
    found = lines(world)["feed any"]
    assert found["state"] == "refused" and "(and 1 more)" in found["text"] and len(world.state.curves) == 2


def test_the_hashprice_follows_the_feeds_before_it_in_one_turn(tmp_path: Path) -> None:
    world = World(tmp_path)
    parts = [
        flat("coin_price", "KZT/BTC", 5e7), flat("difficulty", "1", 1e14), flat("fees_sat", "SAT/block", 1e7),
        flat("height", "block", 850_000.0),
    ]  # fmt: skip
    source = Scripted(*parts)

    def latest(name: str, now_ms: int) -> Curve | None:
        return known(world.state.all_curves(), name, now_ms)

    made = HashpriceFeed(latest, [Subsidy(840_000, 312_500_000, "test")], 600.0)
    world.poll(ConfiguredFeed("facts", None, source), ConfiguredFeed("hashprice", "hashprice", made))
    assert lines(world)["feed hashprice"]["text"] == "gives hashprice"
    (curve,) = world.state.curves["hashprice"]
    assert curve.unit == "KZT/(H/s)/day" and world.said() == 5
    lines(world)
    assert world.said() == 5
    world.now_ms += 1000
    source.answers = (flat("coin_price", "KZT/BTC", 6e7, world.now_ms),)
    lines(world)
    assert [round(one.values[0] / curve.values[0], 9) for one in world.state.curves["hashprice"]] == [1.0, 1.2]
    world.now_ms += 1000
    at_ms = world.now_ms
    source.answers = (flat("height", "block", 100.0, at_ms), flat("coin_price", "KZT/BTC", 7e7, at_ms))
    found = lines(world)["feed hashprice"]
    assert found["state"] == "dead" and "no subsidy edition covers it" in found["text"]
