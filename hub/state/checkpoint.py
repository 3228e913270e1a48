# SPDX-License-Identifier: Apache-2.0
"""What the fold had come to at a position of the journal, kept next to it: a restart folds only what came after.

It is a memory and never a source. What does not fit (other code, another configuration, another journal, a damaged file) is
left unread, and the journal is folded as if it were not there. It has two parts: what readings made (snapshot, traces,
peaks), which costs nearly all of a fold and rests on little code; and the rest. Where only the second does not fit, such as
after a change of configuration, events alone are folded anew.
"""

import hashlib
import importlib
import io
import json
import os
import pickle
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

import structlog
import zstandard

from hub.config import Config
from hub.config.lookup import data_files
from hub.journal.recorder import Offload
from hub.state.fold import HubState
from hub.state.trace import MonthPeak, Trace
from kernel.event import Event
from telemetry.collect.snapshot import Snapshot
from telemetry.store.journal import Journal, Record

log = structlog.get_logger("hub")

T = TypeVar("T")

FILE_NAME: Final = "state.checkpoint"
EVERY_S: Final = 300.0
_MAGIC: Final = b"mining-hub checkpoint 1\n"
_ROOMS: Final = ("kernel", "telemetry", "grid", "miner_control", "scheduling", "treasury", "hub")
_READINGS_CODE: Final = ("telemetry.collect.snapshot", "hub.state.trace", "kernel.reading")
_PLAIN: Final = frozenset(
    {
        ("collections", "Counter"), ("collections", "OrderedDict"), ("collections", "defaultdict"), ("collections", "deque"),
        ("datetime", "date"), ("datetime", "datetime"), ("datetime", "time"), ("datetime", "timedelta"), ("decimal", "Decimal"),
        ("numpy", "dtype"), ("numpy", "ndarray"), ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "scalar"), ("numpy._core.numeric", "_frombuffer"), ("pathlib", "PosixPath"), ("uuid", "UUID"),
    }
)  # fmt: skip
"""Nothing but the classes of the project's own packages is made from a checkpoint: it is data, and runs no code of its own."""


@dataclass(frozen=True, slots=True)
class Readings:
    """What readings made of a state: the newest of each device, the meters' recent past by key, the month's peak by site."""

    snapshot: Snapshot
    traces: dict[str, Trace]
    peaks: dict[str, MonthPeak]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A state as bytes, at a position. `event` is the newest event's position, key and instant: it names the journal."""

    position: int
    event: tuple[int, str, str, int, int]
    readings: bytes
    rest: bytes


def zone(key: str) -> ZoneInfo:
    """A time zone by its name: what stands for one in a checkpoint."""
    return ZoneInfo(key)


def taken(state: HubState) -> Checkpoint | None:
    """The state now; None before the first event. Called where the state changes, so that it is of one position."""
    if state.newest is None:
        return None
    parts = Readings(state.snapshot, state.traces, {key: site.peak for key, site in state.sites.items()})
    readings = _packed(parts)
    try:
        state.snapshot, state.traces = Snapshot(), {}
        for site in state.sites.values():
            site.peak = MonthPeak(ZoneInfo("UTC"))
        rest = _packed(state)
    finally:
        _give(state, parts)
    position, event = state.newest
    return Checkpoint(state.position, (position, *event.key, event.at_ms), readings, rest)


def _give(state: HubState, parts: Readings) -> None:
    state.snapshot, state.traces = parts.snapshot, parts.traces
    for key, site in state.sites.items():
        site.peak = parts.peaks[key]


class _Pickler(pickle.Pickler):
    dispatch_table = {ZoneInfo: lambda one: (zone, (one.key,))}


class _Known(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PLAIN or (module, name) == (__name__, "zone"):
            return super().find_class(module, name)
        # Only a class under its own name in its own module: through a dotted or imported name one would reach any other.
        own = module.partition(".")[0] in _ROOMS and "." not in name
        found = super().find_class(module, name) if own else None
        if not isinstance(found, type) or found.__module__ != module:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a checkpoint")
        return found


def _packed(part: object) -> bytes:
    out = io.BytesIO()
    _Pickler(out, protocol=5).dump(part)
    return out.getvalue()


def write(checkpoint: Checkpoint, config: Config, path: Path) -> None:
    """Keep it, in one step, for the owner's eyes only."""
    press = zstandard.ZstdCompressor(level=1)
    readings, rest = press.compress(checkpoint.readings), press.compress(checkpoint.rest)
    head = {
        "position": checkpoint.position,
        "event": checkpoint.event,
        "prints": [_code_print(_READINGS_CODE), _print(config)],
        "sizes": [len(readings), len(rest)],
        "sha256": hashlib.sha256(readings + rest).hexdigest(),
    }
    fresh = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(_MAGIC + json.dumps(head).encode() + b"\n" + readings + rest)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def resumed(config: Config, journal: Journal, path: Path, empty: HubState) -> HubState:
    """The state at the checkpoint, or as near to it as fits, for the journal's records after its position; `empty` where
    nothing of it fits."""
    try:
        return _resumed(config, journal, path, empty)
    except FileNotFoundError:
        return empty
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        ImportError,
        EOFError,
        pickle.UnpicklingError,
    ) as why:
        log.warning("checkpoint left unread", file=path.name, why=str(why))
        return empty


def _resumed(config: Config, journal: Journal, path: Path, empty: HubState) -> HubState:
    magic, line, body = path.read_bytes().split(b"\n", 2)
    head = json.loads(line)
    if magic + b"\n" != _MAGIC or hashlib.sha256(body).hexdigest() != head["sha256"]:
        raise ValueError("it is damaged, or of another form")
    position, (at, *key, at_ms) = int(head["position"]), head["event"]
    held = next((r.content for r in journal.records(after=at - 1, until=at)), None)
    if position > journal.position() or not isinstance(held, Event) or [*held.key, held.at_ms] != [*key, at_ms]:
        raise ValueError("it is of another journal")
    readings_print, whole_print = head["prints"]
    if readings_print != _code_print(_READINGS_CODE):
        raise ValueError("it was made by other code")
    parts = _loaded(body[: head["sizes"][0]], Readings)
    if whole_print == _print(config):
        state = _loaded(body[head["sizes"][0] :], HubState)
        _give(state, parts)
        return state
    for at, event in journal.events(None):
        if at > position:
            break
        empty.apply(Record(at, event))
    empty.snapshot, empty.position = parts.snapshot, position
    empty.traces = {meter: parts.traces.get(meter, new) for meter, new in empty.traces.items()}
    for key, site in empty.sites.items():
        site.peak = parts.peaks.get(key, site.peak)
    return empty


def _loaded(blob: bytes, kind: type[T]) -> T:
    found = _Known(io.BytesIO(zstandard.ZstdDecompressor().decompress(blob))).load()
    if not isinstance(found, kind):
        raise ValueError(f"it holds no {kind.__name__}")
    return found


def _print(config: Config) -> str:
    """Inputs of a state other than the journal: all code, all shipped data, the configuration and every file that it names."""
    found = hashlib.sha256(_code_print(_ROOMS).encode())
    found.update(config.model_dump_json().encode())
    for path in [*data_files(config.folder), *sorted(set(_files(config.model_dump())))]:
        found.update(path.name.encode() + b"\0" + path.read_bytes())  # an empty file of the site replaces a shipped one
    return found.hexdigest()


def _files(reported: object) -> Iterator[Path]:
    if isinstance(reported, Path):
        if reported.is_file():
            yield reported
    elif isinstance(reported, Mapping):
        for one in reported.values():
            yield from _files(one)
    elif isinstance(reported, Iterable) and not isinstance(reported, str | bytes):
        for one in reported:
            yield from _files(one)


@lru_cache
def _code_print(components: tuple[str, ...]) -> str:
    """A digest of the sources of packages and modules."""
    found = hashlib.sha256()
    for room in components:
        file = Path(str(importlib.import_module(room).__file__))
        for source in sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]:
            found.update(source.read_bytes())
    return found.hexdigest()


class CheckpointDuty:
    """Keeps a checkpoint every few minutes."""

    name = "checkpoint"
    every_s = EVERY_S

    def __init__(self, state: HubState, config: Config, path: Path, offload: Offload) -> None:
        self._state, self._config, self._path, self._offload = state, config, path, offload

    async def do(self) -> None:
        """One checkpoint. Raises OSError where it cannot be written."""
        found = taken(self._state)
        if found is not None:
            await self._offload(write, found, self._config, self._path)

    def last(self) -> None:
        """One more, when the hub has stopped in order."""
        found = taken(self._state)
        if found is not None:
            write(found, self._config, self._path)
