# SPDX-License-Identifier: Apache-2.0
"""Devices under the shipped alarm rules, fed reading by reading."""

import json
from collections.abc import Mapping, Set
from pathlib import Path

from kernel.reading import Reading
from telemetry.alarm.alarm import Alarm, AlarmBook, Change
from telemetry.alarm.condition import Places
from telemetry.alarm.rule import AlarmRule
from telemetry.collect.snapshot import Snapshot
from tests.telemetry.store.journal_cases import T0_MS, batch

SHIPPED = sorted((Path(__file__).parents[2] / "configs" / "alarms").glob("*.toml"))


RACKS = {f"hub/site/m{i}": f"hub/site/rack-{i // 10}" for i in range(100)}


PLACES = Places(
    rack=RACKS,
    feeder=dict.fromkeys(RACKS, "hub/site/feeder-1"),
    role={"hub/site/main": "main", "hub/site/f1": "feeder", "hub/site/f2": "feeder"},
)


class Plant:
    """Snapshot, book and journal of alarm changes, moved by hand."""

    def __init__(self, rules: list[AlarmRule], places: Places = PLACES) -> None:
        self.snapshot, self.book, self.rules, self.places = Snapshot(), AlarmBook(rules, places), rules, places
        self.now_ms = T0_MS
        self.journal: list[tuple[int, Change]] = []

    def hear(self, kind: str, values: Mapping[str, Mapping[str, float | str]]) -> None:
        rows = [Reading(f"hub/site/{name}", kind, self.now_ms, dict(found)) for name, found in values.items()]
        self.snapshot.update(batch(kind, rows))

    def judge(self, after_s: float = 0.0, designed: Mapping[str, Set[str]] | None = None) -> list[tuple[str, str]]:
        self.now_ms += round(after_s * 1000)
        return self.tell(self.book.judge(self.snapshot, self.now_ms, designed))

    def tell(self, changes: list[Change]) -> list[tuple[str, str]]:
        for change in changes:
            assert json.loads(json.dumps(change)) == change
            self.journal.append((self.now_ms, change))
            self.book.apply(change, self.now_ms)
        folded = AlarmBook(self.rules, self.places)
        for at_ms, body in self.journal:
            folded.apply(body, at_ms)
        same = folded.alarms(annunciated=False) == self.book.alarms(annunciated=False)
        assert same, "the journal alone makes the same book"
        return [(change["what"], change["scope"].rpartition("/")[2]) for change in changes]

    def one(self) -> Alarm:
        (alarm,) = self.book.alarms(annunciated=False)
        return alarm
