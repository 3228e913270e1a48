# SPDX-License-Identifier: Apache-2.0
"""The archive under its rules: what is held and why, what may go, what went; the duty that deletes and says so."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson

from hub.config import Config
from hub.journal.payloads import ArchiveDeleted
from hub.journal.recorder import Offload, Recorder
from hub.state.fold import HubState
from hub.state.legal_holds import SETTLEMENT, hold_of_payouts, hold_of_report, holders
from kernel.clock import Clock
from kernel.errors import ConfigError, Fault
from kernel.event import EventKind
from kernel.span import Span
from telemetry.io.archive_files import deleted, keep_within
from telemetry.store.retention import DEFAULT_DAYS, Hold, Tombstone, file_span, proves

EVERY_S = 3_600.0
Days = Mapping[tuple[str, str], float | None]


def days_of(config: Config) -> Days:
    """Days that each layer of each kind is kept: the defaults, with what the configuration says; None is for ever."""
    return {**DEFAULT_DAYS, **config.retention.days()}


def holds_of(config: Config, state: HubState) -> list[Hold]:
    """All that holds now: of reports, of people, of the settlement where there is one, and of every payout ever posted."""
    settles = config.money.pool_url is not None and config.money.contract is not None
    paid = state.last_payout
    payouts = [hold_of_payouts(int(paid.body["at_ms"]))] if paid is not None else []
    return [*state.holds.standing(), *payouts, *([SETTLEMENT] if settles else [])]


def cited(reports: Path) -> dict[str, Hold]:
    """Report name to what it holds, of every report in the folder.

    Raises ConfigError where one cannot be read: then nothing may be deleted.
    """
    found: dict[str, Hold] = {}
    faults: list[Fault] = []
    for path in sorted(reports.glob("*.json")):
        try:
            hold = hold_of_report(path.stem, orjson.loads(path.read_bytes()))
        except (orjson.JSONDecodeError, KeyError, ValueError, TypeError, OSError) as error:
            faults.append(Fault(str(path), f"is no report: {error}", "Restore it; until then nothing is deleted"))
            continue
        if hold is not None:
            found[path.stem] = hold
    if faults:
        raise ConfigError(faults)
    return found


class RetentionDuty:
    """Each hour: every report's hold into the journal, then what is neither held nor within its days goes."""

    name = "retention"
    every_s = EVERY_S

    def __init__(
        self, config: Config, data: Path, state: HubState, recorder: Recorder, clock: Clock, offload: Offload
    ) -> None:
        self._config, self._data, self._state = config, data, state
        self._recorder, self._clock, self._offload = recorder, clock, offload

    async def do(self) -> None:
        """One round. Raises ConfigError where a report cannot be read; then nothing is deleted."""
        hub = self._config.hub.name
        for report, hold in (await self._offload(cited, self._data / "reports")).items():
            held = self._state.holds.cite(report, hold)
            if held is not None:
                await self._recorder.commit(hub, EventKind.HOLD_ADDED, held)
        stones = await self._offload(self._delete, holds_of(self._config, self._state))
        for rule, group in groupby(sorted(stones, key=_rule_and_root), key=_rule_and_root):
            gone = list(group)
            body: ArchiveDeleted = {
                "rule": rule[0],
                "merkle_root": rule[1],
                "files": len(gone),
                "first": gone[0].path,
                "last": gone[-1].path,
            }
            await self._recorder.commit(hub, EventKind.ARCHIVE_DELETED, body)

    def _delete(self, holds: Sequence[Hold]) -> list[Tombstone]:
        folder = self._data / "archive"
        if not folder.is_dir():
            return []
        # A report made since the last look holds too, though its event is written in the next round.
        fresh = cited(self._data / "reports").values()
        return keep_within(folder, self._clock.now_ms(), [*holds, *fresh], days_of(self._config))


def _rule_and_root(stone: Tombstone) -> tuple[str, str]:
    return stone.rule, stone.merkle_root


@dataclass(frozen=True, slots=True)
class ArchiveLayer:
    """One layer of one kind in the archive: what stands there, how long it is kept, and who holds parts of it."""

    layer: str
    kind: str
    files: int
    bytes_used: int
    first: str
    last: str
    days: float | None
    held_by: Mapping[str, int]
    """Holder to files that it holds."""

    def to_json(self) -> dict[str, Any]:
        return {
            "layer": self.layer, "kind": self.kind, "files": self.files, "bytes": self.bytes_used, "first": self.first,
            "last": self.last, "kept_days": self.days, "held_by": dict(self.held_by),
        }  # fmt: skip


def shelves(folder: Path, days: Days, holds: Sequence[Hold]) -> list[ArchiveLayer]:
    """What the archive in `folder` holds, by layer and kind."""
    found: dict[tuple[str, str], list[tuple[str, int, Span]]] = {}
    for path in sorted(folder.glob("*/*/*/*.parquet")):
        name = path.relative_to(folder).as_posix()
        layer, kind, span = file_span(name)
        found.setdefault((layer, kind), []).append((name, path.stat().st_size, span))
    made: list[ArchiveLayer] = []
    for (layer, kind), files in sorted(found.items()):
        held: dict[str, int] = {}
        for _, _, span in files:
            for who in holders(span, kind, holds):
                held[who] = held.get(who, 0) + 1
        first, last = (Path(files[at][0]).parent.name for at in (0, -1))
        size = sum(size for _, size, _ in files)
        made.append(ArchiveLayer(layer, kind, len(files), size, first, last, days.get((layer, kind)), held))
    return made


def gone(data: Path) -> list[tuple[Tombstone, bool]]:
    """All that was deleted from a data folder's archive, and whether each tombstone's path leads to its root."""
    return [(stone, proves(stone)) for stone in deleted(data / "archive")]


def known_copy(data: Path, copy: Path) -> Tombstone | None:
    """The tombstone of a file that turned up again, by its SHA-256 and a path that proves it; None where there is none."""
    digest = sha256(copy.read_bytes()).hexdigest()
    return next((stone for stone, proven in gone(data) if proven and stone.sha256 == digest), None)
