# SPDX-License-Identifier: Apache-2.0
"""What the code of today makes of a recorded folder: the state, the replay, and what leaves the hub as files.

The test compares it with what the code of then made of the same folder.
"""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from hub.app.replay import replay
from hub.config import Config, load
from hub.reports.site_energy import hours_of, site_energy
from hub.reports.treasury_statement import treasury_statement
from hub.wiring import catalogue, empty_state, exported, reading, reading_billing, reading_book, reading_ledger
from hub.wiring.archive import gone
from kernel.clock import from_iso
from kernel.event import Event
from kernel.reading import Missing
from kernel.span import Span, even_slots
from telemetry.store.archive import Archive, Step
from telemetry.store.journal import Journal
from tests.recorded.state_dump import state_dump
from treasury.export import FORMS, export
from treasury.ledger import Head
from treasury.listing import balance_rows, check_report, journal_rows

SEALED = Span(from_iso("2026-03-03T05:00:00Z"), from_iso("2026-03-03T06:00:00Z"))
"""The hour that stands in the archive's files; what came later is in the journal alone."""
AFTER = Span(SEALED.end_ms, SEALED.end_ms + 3_600_000)
MAIN = "alatau/north/meter-main"


def opened(folder: Path) -> tuple[Config, Journal]:
    """Configuration and journal of an unpacked folder."""
    config = load(folder / "hub.toml", environment={})
    return config, reading(folder / config.hub.data)


def look(folder: Path) -> dict[str, Any]:
    """Everything, as JSON values."""
    config, journal = opened(folder)
    data = folder / config.hub.data
    return {
        "records": records(journal),
        "states": states(config, journal),
        "replay": replayed(config, journal),
        "ledger": ledger(data),
        "archive": archive(folder, config, journal),
        "billing": billing(data),
    }


def records(journal: Journal) -> dict[str, Any]:
    """How many events, and of each kind how many readings; a digest of all readings."""
    events, readings, digest = 0, Counter[str](), hashlib.sha256()
    for record in journal.records():
        if isinstance(record.content, Event):
            events += 1
            continue
        readings[record.content.kind] += len(record.content)
        for one in record.content.readings():
            values = {
                name: int(value.reason) if isinstance(value, Missing) else value for name, value in one.values.items()
            }
            reported = [one.device, one.kind, one.at_ms, values, one.evidence]
            digest.update(json.dumps(reported, sort_keys=True).encode())
    return {"events": events, "readings": dict(readings), "sha256": digest.hexdigest()}


def marks(journal: Journal) -> list[int]:
    """Positions in the middle of things, and the last one: jobs, a power cycle, a changed order, a rack's proof."""
    found = {journal.position()}
    for kind, chosen in (
        ("order.changed", lambda body: body["accepted"]),
        ("feeder_mapping.step", lambda body: body["step"] == "woken"),
        ("job.wave", lambda body: body["step"] == "restore"),
        ("command.issued", lambda body: body["intent"] == "InstallFirmware"),
        ("wake_recovery.step", lambda body: body["rung"] == "pdu"),
        ("owner.changed", lambda body: body["owner"] == "another manager"),
    ):
        found.add(next(position for position, event in journal.events([kind]) if chosen(event.body)))
    return sorted(found)


def states(config: Config, journal: Journal, at: list[int] | None = None) -> list[Any]:
    """The state at some positions of the journal, in their order; without any: at `marks`."""
    wanted = set(marks(journal) if at is None else at)
    state, found = empty_state(config, catalogue()), []
    for record in journal.records():
        state.apply(record)
        if record.position in wanted:
            found.append(json.loads(json.dumps(state_dump(state))))
    return found


class Chosen:
    """A journal that is replayed in a part of its ticks: all records are folded, and only chosen ticks are asked again."""

    def __init__(self, journal: Journal, chosen: Callable[[int], bool]) -> None:
        self._journal, self._chosen = journal, chosen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    def events(self, kinds: Iterable[str], after: int = 0) -> Iterator[tuple[int, Event]]:
        return ((position, event) for position, event in self._journal.events(kinds, after) if self._chosen(position))


def replayed(config: Config, journal: Journal, chosen: Callable[[int], bool] = lambda position: True) -> dict[str, Any]:
    """Ticks and commands that came out the same; `chosen`: the positions of the ticks that are asked again."""
    found = replay(config, cast(Journal, Chosen(journal, chosen)))
    return {
        "ticks": found.ticks,
        "commands": found.commands,
        "difference": None if found.difference is None else found.text(),
    }


def ledger(data: Path) -> dict[str, Any]:
    """Rows, balances, findings, and the journal in the forms of three other programs."""
    book = reading_ledger(data)
    return {
        "rows": list(journal_rows(book)),
        "balances": balance_rows(book),
        "check": check_report(book),
        **{form: _sha256("\n".join(export(book, form)).encode()) for form in FORMS},
    }


def reports(folder: Path, config: Config, journal: Journal) -> dict[str, Any]:
    """Both reports made anew of the span of those that stand, by their files' names."""
    book, data = reading_ledger(folder / config.hub.data), folder / config.hub.data
    energy = reading_book(config, data, journal)
    state = empty_state(config, catalogue())
    made: dict[str, Any] = {}
    for path in sorted((data / "reports").glob("*.json")):
        stands = json.loads(path.read_bytes())
        span = Span(stands["period"]["start_ms"], stands["period"]["end_ms"])
        if stands["report"] == "treasury-statement":
            made[path.name] = treasury_statement(book, span, config.hub.name, Head(**_head(stands)))
            continue
        figures = [energy.figure(ref, hours_of(span)) for ref in state.sites[stands["site"]].meter_refs()]
        made[path.name] = site_energy(figures, span, stands["site"], stands["journal_position"])
    return {name: json.loads(json.dumps(one)) for name, one in made.items()}


def _head(stands: Any) -> dict[str, Any]:
    return {"size": stands["head"]["size"], "chain": bytes.fromhex(stands["head"]["chain"])}


def deletions(folder: Path) -> list[bool]:
    """Whether the tombstone of each file that retention deleted proves it."""
    return [proven for _, proven in gone(folder / "data")]


def archive(folder: Path, config: Config, journal: Journal) -> dict[str, Any]:
    """Readings as exported, rollups and energy, of an hour in files and of one that is in the journal alone."""
    book = reading_book(config, folder / config.hub.data, journal)
    store, found = book.archive, dict[str, Any]()
    for name, span in (("sealed", SEALED), ("journal", AFTER)):
        for kind in ("miner", "meter", "container", "sensor", "switch"):
            target = folder / f"{name}-{kind}.csv"
            rows = exported(store, kind, span, target, None, None, None)
            found[f"{name} {kind}"] = [rows, *_table(target)]
        found[f"{name} rollup"] = _rollup(store, span)
        energy = store.energy(MAIN, even_slots(span, 900.0))
        found[f"{name} energy"] = [energy.energy_uwh.tolist(), energy.coverage.tolist()]
    return found


def _table(target: Path) -> tuple[list[str], str]:
    """Heading of a CSV file, and a digest of what its cells say, however numbers are written."""
    heading, *lines = csv.reader(target.read_text().splitlines())
    cells = [[_cell(cell) for cell in line] for line in lines]
    return heading, _sha256(json.dumps(cells).encode())


def _cell(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _rollup(store: Archive, span: Span) -> Any:
    return json.loads(json.dumps(store.rollup("meter", "power_w", Step.QUARTER, span, [MAIN]).to_pylist(), default=str))


def billing(data: Path) -> list[Any]:
    """Billed energy of the main meter, in versions."""
    store = reading_billing(data)
    try:
        return [list(row) for row in store.held()]
    finally:
        store.close()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
