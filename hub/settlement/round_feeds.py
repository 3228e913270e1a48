# SPDX-License-Identifier: Apache-2.0
"""Outside feeds of one treasury round: pool, rates and venue, each asked once, with the reason where one fails."""

from collections.abc import Awaitable, Callable
from datetime import date
from typing import TypeVar

from kernel.errors import DecodeError, Fault, TransportError
from treasury import settlement
from treasury.exchange import Quote, Venue
from treasury.settlement import RateFeed, RecordedRate

T = TypeVar("T")


class RoundFeeds:
    """`faults` are the failures of the round in order. `record` is called with each rate before anything rests on it."""

    def __init__(
        self, rates: RateFeed | None, venue: Venue | None, record: Callable[[RecordedRate], Awaitable[object]]
    ) -> None:
        self.faults: list[Fault] = []
        self._feed, self._venue, self._record = rates, venue, record
        self._quotes: list[Quote | None] = []
        self._rates: dict[date, RecordedRate | None] = {}
        self._down: dict[str, str] = {}

    async def ask(self, what: str, asked: Awaitable[T]) -> T | None:
        """The answer, or None with the failure among `faults`."""
        try:
            return await asked
        except (TransportError, DecodeError) as error:
            self._down[what] = f"{what}: {error}"
            self.faults.append(Fault(what, str(error), "It is asked again in the next round"))
            return None

    async def price(self) -> Quote | None:
        """The venue's price."""
        if not self._quotes:
            self._quotes.append(await self.ask("venue", self._venue.quote()) if self._venue is not None else None)
        return self._quotes[0]

    async def rate(self, day: date) -> RecordedRate | None:
        """The official rate of a day in dollars."""
        if day not in self._rates:
            found = (
                await self.ask("rates", settlement.rate_for(self._feed, "USD", day)) if self._feed is not None else None
            )
            self._rates[day] = found
            if found is not None:
                await self._record(found)
        return self._rates[day]

    def why(self, what: str) -> str:
        """Why a feed gave nothing: how it failed, or that there is none."""
        return self._down.get(what, f"no {what} is configured")

    def why_no_rate(self, day: date) -> str:
        """Why there is no rate of a day."""
        if "rates" in self._down or self._feed is None:
            return self.why("rates")
        return f"rates: none was published for {day} nor in the {settlement.DAYS_BACK_MOST} days before it"
