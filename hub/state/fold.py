# SPDX-License-Identifier: Apache-2.0
"""State of the hub: a fold of its journal, record by record, and nothing else.

Live, the recorder folds what it has just appended; a restart and a replay fold what is on disk. The same records give
the same state, on any machine. `hub/state/event_table.py` says which books fold an event.
"""

import numpy as np

from hub.state.books import HubBooks
from hub.state.event_table import EVENTS
from kernel.event import Event
from kernel.reading import ReadingBatch
from telemetry.store.journal import Record


class HubState(HubBooks):
    """The books, and how a record changes them."""

    def apply(self, record: Record) -> None:
        """Take in one record. Records come in order of position; one that is already held changes nothing."""
        if record.position <= self.position:
            return
        if isinstance(record.content, ReadingBatch):
            self._measured(record.content)
        else:
            self._recorded(record.content)
            self.newest = record.position, record.content
        self.position = record.position

    def _measured(self, batch: ReadingBatch) -> None:
        self.snapshot.update(batch)
        if batch.kind != "meter" or "power_w" not in batch.columns:
            return
        power = batch.columns["power_w"]
        for row in np.flatnonzero(power.present()):
            trace = self.traces.get(batch.devices[row])
            if trace is not None:
                value = power.field(int(row))
                assert isinstance(value, float)
                trace.add(int(batch.at_ms[row]), value)
                site = self.by_main.get(batch.devices[row])
                if site is not None:
                    site.peak.add(int(batch.at_ms[row]), value)

    def _recorded(self, event: Event) -> None:
        """One event, into the books of its row. An event of an unknown kind is kept in the site's log."""
        row = EVENTS.get(event.kind)
        for book in () if row is None else row.books:
            book.fold(self, event)
        site = self.sites.get(event.site)
        if site is not None and (row is None or row.logged):
            site.log.appendleft(event)
