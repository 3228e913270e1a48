# SPDX-License-Identifier: Apache-2.0
"""Feeds of curves by the kind that `[[feeds]]` names: one row each; entry points of `mining_hub.feeds` add rows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, Field

from grid.curve_feed import CurveFeed
from grid.hashprice import load_subsidies
from grid.io.price_file import PriceFolder
from hub.config import Config
from hub.config.feeds import FeedPart
from hub.config.lookup import look_up
from hub.config.types import Part
from hub.market.hashprice_feed import HashpriceFeed
from hub.market.price_duty import OUTSIDE, ConfiguredFeed, faults_of
from hub.wiring.named import Maker, Named, not_callable
from kernel.curve import Curve, known
from kernel.errors import ConfigError, Fault
from kernel.toml_model import checked, read_text, within

M = TypeVar("M", bound=BaseModel)

Latest = Callable[[str, int], Curve | None]
"""The newest curve of a name that was known at an instant (ms); None where there is none."""


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """One table of `[[feeds]]` with what a feed may need: the folder of `hub.toml`, and the curves of the other feeds."""

    part: FeedPart
    folder: Path
    latest: Latest


class FolderOptions(Part):
    """Options of a `csv_folder`: its path from the folder of `hub.toml`."""

    path: Path = Field(examples=["feeds"])


class HashpriceOptions(Part):
    """Options of `hashprice`: the dated block subsidies."""

    subsidies: Path = Path("tariffs/bitcoin_subsidy.toml")


def options_of(settings: FeedSettings, model: type[M]) -> M:
    """The options of a feed as the model of its kind. Raises ConfigError with every fault, at places such as `options.path`."""
    options, faults = checked(model, settings.part.options)
    if options is None:
        raise ConfigError(within("options.", faults))
    return options


def _csv_folder(settings: FeedSettings) -> CurveFeed:
    return PriceFolder(settings.folder / options_of(settings, FolderOptions).path)


def _hashprice(settings: FeedSettings) -> CurveFeed:
    path = look_up(settings.folder, options_of(settings, HashpriceOptions).subsidies)
    return HashpriceFeed(settings.latest, *load_subsidies(read_text(path), str(path)))


FEEDS: Named[Callable[[FeedSettings], CurveFeed]] = Named(
    "feed", "mining_hub.feeds", {"csv_folder": _csv_folder, "hashprice": _hashprice}, not_callable
)

feed_of = Maker(FEEDS, ("poll",)).make


def configured_feeds(config: Config, folder: Path, latest: Latest) -> list[ConfiguredFeed]:
    """The feeds of the configuration, in their order. Raises ConfigError with the faults of all of them."""
    feeds: list[ConfiguredFeed] = []
    faults: list[Fault] = []
    for number, part in enumerate(config.feeds):
        place = f"feeds.{number}."
        try:
            made = feed_of(part.kind, "kind", FeedSettings(part, folder, latest))
        except ConfigError as error:
            faults += within(place, error.faults)
        else:
            feeds.append(ConfiguredFeed(part.name, part.curve, made))
    if faults:
        raise ConfigError(faults)
    return feeds


def check_feeds(config: Config, folder: Path) -> None:
    """Make every feed once, ask none. Raises ConfigError with the faults of all of them."""
    configured_feeds(config, folder, lambda name, now_ms: None)


def poll_once(config: Config, folder: Path, now_ms: int) -> Iterator[tuple[str, list[Fault], list[str]]]:
    """(feed, faults, curves given) of each feed, asked once in their order. Raises ConfigError where one cannot be made."""
    curves: list[Curve] = []

    def latest(name: str, at_ms: int) -> Curve | None:
        return known(curves, name, at_ms)

    for feed in configured_feeds(config, folder, latest):
        try:
            found = feed.source.poll(now_ms)
        except OUTSIDE as error:
            yield feed.name, [Fault(f"feed {feed.name}", str(error), "Check its source")], []
            continue
        faults = [fault for one in found for fault in (one.faults or faults_of(feed, one.curve, config.prices, now_ms))]
        given = [one.curve for one in found if one.curve is not None]
        curves += given
        yield feed.name, faults, sorted({curve.name for curve in given})
