# SPDX-License-Identifier: Apache-2.0
"""Tables of the configuration about curves from outside: the feeds, and which power prices are believed."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from hub.config.types import Name, Part
from kernel.units import S_PER_DAY


class FeedPart(Part):
    """A source of curves such as the power price: `kind` is a row of `hub.wiring.feeds.FEEDS`, `options` are that kind's own.
    `curve` is the one curve that it gives, such as `price/day_ahead`; left out, its data name them."""

    kind: str = Field(min_length=1, examples=["csv_folder"])
    name: Name
    curve: str | None = Field(default=None, min_length=1)
    options: Mapping[str, Any] = Field(default_factory=dict)


class Prices(Part):
    """The currency, and which power prices are believed."""

    currency: str = Field(default="KZT", pattern=r"[A-Z]{3}")
    stale_after_s: float = Field(default=S_PER_DAY, gt=0)
    lowest_per_mwh: float = -500_000.0
    highest_per_mwh: float = 5_000_000.0


FEEDS_BY_DEFAULT = (
    FeedPart(kind="csv_folder", name="files", options={"path": "feeds"}),
    FeedPart(kind="hashprice", name="hashprice", curve="hashprice"),
)
