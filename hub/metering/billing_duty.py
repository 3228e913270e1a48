# SPDX-License-Identifier: Apache-2.0
"""Energy per slot of the billing meters, written for good once a slot is over and the meter has reported it.

The rollups stand in a file of their own, outlive archive and journal, and are never changed: what later readings or papers
change is a further version. A slot that was not reported stays absent; it is looked for again as long as `BACK_SLOTS` reaches,
and after that when someone asks (`mining-hub meters bill`).
"""

from collections.abc import Sequence

from hub.journal.recorder import Offload
from hub.metering.energy import BILLABLE, EnergyBook
from kernel.clock import MS_PER_S, Clock
from kernel.span import Slots, Span, even_slots, floor_ms
from telemetry.energy.utility_data import OURS, MeteredSeries, MeteredStore

BACK_SLOTS = 8
MOST_SLOTS = 3_000
"""Slots of one turn: a month of quarter hours. What is older waits for the next turn."""


def bill(book: EnergyBook, store: MeteredStore, device: str, slots: Slots, made_ms: int) -> int:
    """Put the reported slots of a meter in the store; returns how many were new or changed."""
    found = book.energy(device, slots)
    reported = found.reported >= BILLABLE
    if not reported.any():
        return 0
    length_ms = int(slots.edges_ms[1] - slots.edges_ms[0])
    series = MeteredSeries(device, slots.starts_ms[reported], length_ms, found.energy_uwh[reported])
    passport = book.passports.get(device)
    papers = "no papers on file" if passport is None else ", ".join(one.serial for one in passport.installations)
    return store.put(OURS, series, made_ms, f"register of {device}; meters: {papers}")


def slots_between(start_ms: int, end_ms: int, length_ms: int) -> Slots:
    """Slots of one length; both ends are edges of it."""
    return even_slots(Span(start_ms, end_ms), length_ms / MS_PER_S)


class BillingDuty:
    """Each minute, what closed since the newest slot that is held."""

    name = "billing"
    every_s = 60.0

    def __init__(
        self,
        book: EnergyBook,
        store: MeteredStore,
        devices: Sequence[str],
        slot_s: int,
        grace_s: float,
        clock: Clock,
        offload: Offload,
    ) -> None:
        self._book, self._store, self._devices = book, store, tuple(devices)
        self._length_ms, self._grace_ms = slot_s * MS_PER_S, round(grace_s * MS_PER_S)
        self._clock, self._offload = clock, offload
        self._done_ms: dict[str, int] = {}

    async def do(self) -> None:
        await self._offload(self.turn)

    def turn(self) -> int:
        """All meters once; returns the slots that are new or changed."""
        now_ms, length_ms = self._clock.now_ms(), self._length_ms
        end_ms = floor_ms(now_ms - self._grace_ms, length_ms)
        return sum(
            self._meter(device, end_ms, now_ms) for device in self._devices if self._done_ms.get(device) != end_ms
        )

    def _meter(self, device: str, end_ms: int, now_ms: int) -> int:
        length_ms = self._length_ms
        newest_ms = self._store.newest(OURS, device, length_ms)
        if newest_ms is None:
            oldest_ms = self._book.archive.first_ms(device)
            if oldest_ms is None:
                return 0
            start_ms = floor_ms(oldest_ms, length_ms)
        else:
            start_ms = newest_ms - BACK_SLOTS * length_ms
        last_ms = min(end_ms, start_ms + MOST_SLOTS * length_ms)
        made = 0
        if last_ms > start_ms:
            made = bill(self._book, self._store, device, slots_between(start_ms, last_ms, length_ms), now_ms)
        if last_ms == end_ms:
            self._done_ms[device] = end_ms
        return made
