# SPDX-License-Identifier: Apache-2.0
"""Feed what was heard and compare what was commanded: each tick is asked again from the journal alone.

A tick names the position that it was decided at. The state is folded up to there, the control step is asked for the same
instant, and its answer must be the journalled one, byte for byte. A difference is a failing test, or the answer to a "why".
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from hub.config import Config, load
from hub.control.tick import TICK_VERSION, TickSettings, decide
from hub.state.situation import Freshness, situation_at
from hub.wiring import catalogue, empty_state, reading
from hub.wiring.duties import tariff_of
from kernel.clock import iso
from kernel.event import Event, EventKind
from telemetry.store.journal import Journal, Record


@dataclass(frozen=True, slots=True)
class Difference:
    """The first tick whose answer is another now: where, and both answers for the first key that differs."""

    position: int
    at_ms: int
    site: str
    key: str
    then: Any
    now: Any


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many ticks and commands were the same, and the first difference if there is one."""

    ticks: int
    commands: int
    difference: Difference | None

    def to_json(self) -> dict[str, Any]:
        found = self.difference
        body = None if found is None else {
            "position": found.position, "at": iso(found.at_ms), "site": found.site, "key": found.key,
            "then": found.then, "now": found.now,
        }  # fmt: skip
        return {"ticks": self.ticks, "commands": self.commands, "same": found is None, "difference": body}

    def text(self) -> str:
        if self.difference is None:
            return f"{self.ticks} ticks and {self.commands} commands: every one the same"
        d = self.difference
        where = f"tick at {iso(d.at_ms)} of {d.site}, journal position {d.position}"
        return f"after {self.ticks} ticks the same, {where} differs in {d.key}:\n  then {d.then}\n  now  {d.now}"


def replay_folder(folder: Path) -> Replayed:
    """Replay the journal of a folder that holds hub.toml."""
    config = load(folder / "hub.toml", environment={})
    return replay(config, reading(folder / config.hub.data))


def replay(config: Config, journal: Journal) -> Replayed:
    """Replay a journal under the configuration it was lived with."""
    state = empty_state(config, catalogue(config.folder))
    settings, freshness = TickSettings.of(config, tariff_of(config)), Freshness.of(config)
    waiting: dict[int, list[tuple[int, Event]]] = {}
    for position, event in journal.events([EventKind.TICK_DECIDED]):
        waiting.setdefault(int(event.body["position"]), []).append((position, event))

    ticks = commands = 0
    records = iter(journal.records())
    held: Record | None = next(records, None)
    for at in sorted(waiting):
        while held is not None and held.position <= at:
            state.apply(held)
            held = next(records, None)
        for position, event in waiting[at]:
            site = state.sites[event.site]
            now = situation_at(state, site, int(event.body["tick_ms"]), freshness)
            again = decide(state, site, now, settings)
            found = _difference(position, event, dict(again.body))
            if found is not None:
                return Replayed(ticks, commands, found)
            ticks += 1
            commands += len(again.commands)
    return Replayed(ticks, commands, None)


def _difference(position: int, event: Event, now: dict[str, Any]) -> Difference | None:
    then = dict(event.body)
    now = orjson.loads(orjson.dumps(now))
    # A tick of an older form is held to all that it tells; what it had no key for, it did not tell.
    for key in sorted(set(then) | (set(now) if event.version >= TICK_VERSION else set())):
        if then.get(key) != now.get(key):
            return Difference(position, event.at_ms, event.site, key, then.get(key), now.get(key))
    return None
