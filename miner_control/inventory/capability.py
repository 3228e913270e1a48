# SPDX-License-Identifier: Apache-2.0
"""Firmware capabilities as data: one TOML per firmware family in `configs/profiles/firmware/`, by range of versions.

Available to the scheduler without a connection: intents, power target, percent, modes, dynamics, session, number of
connections. Each number has its provenance and source; assumed ones are marked and are replaced by learnt ones.
"""

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kernel.errors import ConfigError, Fault
from kernel.toml_model import read_toml, tables_in
from miner_control.fleet.envelope import Provenance

INTENTS: Final = frozenset(
    {"Sleep", "Wake", "PowerTarget", "PowerPercent", "SetMode", "Reboot", "Locate", "SetPools", "SetCredential"}
    | {"InstallFirmware", "RollBackFirmware"}
)
_DYNAMICS: Final = ("sleep_w", "ramp_up_s", "ramp_down_s", "start_lost_s", "min_on_s", "min_off_s")


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its source."""

    value: float
    provenance: Provenance
    source: str


@dataclass(frozen=True, slots=True)
class ModeShare:
    """A mode by its shares of the model's nameplate; `models` are name patterns of the models that have it."""

    name: str
    power: Figure
    hashrate: Figure
    models: tuple[str, ...]

    def fits(self, model: str) -> bool:
        return any(fnmatch.fnmatchcase(model, pattern) for pattern in self.models)


@dataclass(frozen=True, slots=True)
class Target:
    """A continuous power setting: bounds as shares of nameplate, step in watts, and whether setting it restarts mining.

    `temporary`: lost at the next restart. `models` as in `ModeShare`.
    """

    low: Figure
    high: Figure
    step_w: float
    needs_restart: bool
    temporary: bool
    models: tuple[str, ...]

    def fits(self, model: str) -> bool:
        return any(fnmatch.fnmatchcase(model, pattern) for pattern in self.models)


@dataclass(frozen=True, slots=True)
class Capability:
    """One firmware family in one range of versions (`low` <= version < `high`; empty: open)."""

    dialect: str
    name: str
    low: str
    high: str
    intents: frozenset[str]
    session: str
    joined_commands: str
    connections: int
    random_start_delay_s: float
    wakes_into_any_mode: bool
    modes: tuple[ModeShare, ...]
    power_target: Target | None
    percent: Target | None
    dynamics: Mapping[str, Figure]
    runs_on: tuple[str, ...]
    recovery_steps: tuple[str, ...]

    def holds(self, version: str) -> bool:
        """Whether a version lies in the range; an unknown one ("") counts as the newest."""
        if not version:
            return not self.high
        at = version_key(version)
        return (not self.low or at >= version_key(self.low)) and (not self.high or at < version_key(self.high))


def version_key(text: str) -> tuple[int, ...]:
    """Numbers of a version: 2.0.5 -> (2, 0, 5), 20251209.16.Rel -> (20251209, 16)."""
    return tuple(int(part) for part in re.findall(r"\d+", text))


class Table:
    """One TOML table whose faults are collected instead of raised."""

    def __init__(self, place: str, found: Mapping[str, Any], faults: list[Fault]) -> None:
        self.place, self.found, self.faults = place, found, faults

    def fault(self, key: str, problem: str, remedy: str) -> None:
        self.faults.append(Fault(f"{self.place} {key}".strip(), problem, remedy))

    def get(self, key: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        """The value of a key; a fault where it is absent without default, or of another type."""
        if key not in self.found:
            if default is None:
                self.fault(key, "is missing", f"Add {key}")
            return default
        found = self.found[key]
        if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
            self.fault(
                key, f"is {found!r}", f"Write {'a number' if float in _kinds(kind) else _kinds(kind)[0].__name__}"
            )
            return default
        return found

    def tables(self, key: str, *, needed: bool = False) -> list[Mapping[str, Any]]:
        """The tables of a list; a fault where they are anything else, or needed and absent."""
        if needed and key not in self.found:
            self.fault(key, "is missing", f"Add {key}")
        return tables_in(self.found, key, f"{self.place} {key}".strip(), self.faults)

    def texts(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        found = self.get(key, list, list(default) if default is not None else None)
        return tuple(str(text) for text in found or ())

    def figure(self, key: str, default_source: str = "") -> Figure:
        """A number alone (with the provenance of its table), or {value, provenance, source}."""
        found = self.found.get(key)
        if isinstance(found, Mapping):
            inner = Table(f"{self.place} {key}", found, self.faults)
            value = inner.get("value", (int, float))
            provenance = inner.get("provenance", str)
            source = inner.get("source", str, default_source)
        else:
            value, provenance, source = (
                self.get(key, (int, float)),
                self.found.get("provenance", ""),
                self.found.get("source", ""),
            )
        if value is None:
            return Figure(0.0, Provenance.ASSUMED, str(source))
        if provenance not in tuple(Provenance):
            self.fault(key, f"has provenance {provenance!r}", f"Use one of {', '.join(Provenance)}")
            provenance = "assumed"
        if value < 0:
            self.fault(key, f"is {value}", "Write a number of at least 0")
        if provenance != "assumed" and not source:
            self.fault(key, f"is {provenance} without a source", "Name the source, or mark it assumed")
        return Figure(float(value), Provenance(str(provenance)), str(source))


def _kinds(kind: type | tuple[type, ...]) -> tuple[type, ...]:
    return kind if isinstance(kind, tuple) else (kind,)


def document(path: Path, faults: list[Fault]) -> Mapping[str, Any] | None:
    """The tables of a file, or None with its faults added to the others."""
    try:
        return read_toml(path, "Check the file and its rights")
    except ConfigError as error:
        faults += error.faults
        return None


def load_capabilities(files: Iterable[Path]) -> dict[str, tuple[Capability, ...]]:
    """Capabilities by dialect, in the order of their files. Raises ConfigError with every fault of every file."""
    faults: list[Fault] = []
    found: dict[str, tuple[Capability, ...]] = {}
    for path in files:
        held = document(path, faults)
        if held is not None:
            editions = _editions(path.name, held, faults)
            if editions and editions[0].dialect in found:
                faults.append(Fault(path.name, f"dialect {editions[0].dialect} is declared twice", "Keep one file"))
            elif editions:
                found[editions[0].dialect] = editions
    if faults:
        raise ConfigError(faults)
    return found


def _editions(place: str, document: Mapping[str, Any], faults: list[Fault]) -> tuple[Capability, ...]:
    head = Table(place, document, faults)
    dialect, name = head.get("dialect", str), head.get("name", str)
    head.get("unit", str)
    head.get("source_url", str)
    head.get("checked", dict)
    runs_on = head.texts("runs_on")
    tables = head.tables("versions", needed=True)
    editions = []
    for at, table in enumerate(tables):
        part = Table(f"{place} versions[{at}]", table, faults)
        intents = frozenset(part.texts("intents"))
        for unknown in sorted(intents - INTENTS):
            part.fault("intents", f"names {unknown!r}", f"Use {', '.join(sorted(INTENTS))}")
        dynamics = Table(f"{part.place} dynamics", part.get("dynamics", dict) or {}, faults)
        editions.append(
            Capability(
                dialect=str(dialect),
                name=str(name),
                low=str(part.get("low", str, "")),
                high=str(part.get("high", str, "")),
                intents=intents & INTENTS,
                session=str(part.get("session", str)),
                joined_commands=str(part.get("joined_commands", str)),
                connections=int(part.get("connections", int) or 1),
                random_start_delay_s=float(part.get("random_start_delay_s", (int, float), 0.0)),
                wakes_into_any_mode=bool(part.get("wakes_into_any_mode", bool, False)),
                modes=tuple(_mode(f"{part.place} modes[{k}]", m, faults) for k, m in enumerate(part.tables("modes"))),
                power_target=_target(part, "power_target", faults),
                percent=_target(part, "percent", faults),
                dynamics={key: dynamics.figure(key) for key in _DYNAMICS},
                runs_on=runs_on,
                recovery_steps=part.texts("recovery_steps", ("retry", "reboot", "ticket")),
            )
        )
    if not editions:
        head.fault("versions", "is empty", "Declare at least one range of versions")
    return tuple(editions)


def _mode(place: str, table: Mapping[str, Any], faults: list[Fault]) -> ModeShare:
    part = Table(place, table, faults)
    return ModeShare(
        str(part.get("name", str)),
        part.figure("power_share"),
        part.figure("hashrate_share"),
        part.texts("models", ("*",)),
    )


def _target(part: Table, key: str, faults: list[Fault]) -> Target | None:
    if key not in part.found:
        return None
    table = Table(f"{part.place} {key}", part.get(key, dict) or {}, faults)
    return Target(
        table.figure("low_share"),
        table.figure("high_share"),
        float(table.get("step_w", (int, float), 1.0)),
        bool(table.get("needs_restart", bool)),
        bool(table.get("temporary", bool, False)),
        table.texts("models", ("*",)),
    )
