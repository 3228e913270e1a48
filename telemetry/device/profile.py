# SPDX-License-Identifier: Apache-2.0
"""Device model as data: one TOML file in `configs/profiles`.

Required: `make`, `model`, `kind` (schema of `kernel.metric`), `wire`, `source_url`, `[checked]` (what the file was really
checked against) and `[points]`, each with its `unit`. All addresses are wire addresses (0-based). All faults of a file are
reported at once, with file and key. The full list of keys is in `docs/reference/profiles.md`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from kernel.errors import ConfigError, Fault
from kernel.metric import SCHEMAS
from kernel.toml_model import read_toml
from telemetry.collect.source import Tier
from telemetry.device.block import Block, Limits, blocks, registers_of
from telemetry.device.point import Point
from telemetry.device.points import Defaults, Faults, read_point
from telemetry.device.switch import Order, Switch, read_orders, read_switches

WIRES = frozenset({"modbus", "sunspec", "mqtt", "http", "mercury", "iec61107", "sparkplug"})
_TOP = frozenset(
    {"make", "model", "kind", "wire", "source_url", "notes", "checked", "modbus", "documents", "parameters",
     "points", "switch", "sunspec", "command"}
)  # fmt: skip
_MODBUS = frozenset({"function", "word_order", "byte_order", "max_registers", "max_gap", "unit_id", "offset"})


class Checked(StrEnum):
    """Degree of verification. FRAME: decodes a frame with known values. SOURCE: read in the named source. Else unverified."""

    FRAME = "frame"
    SOURCE = "source"
    UNVERIFIED = "unverified"


@dataclass(frozen=True, slots=True)
class Frame:
    """Raw registers, documents or answers with the values that they must decode to (canonical units)."""

    raw: Mapping[str, Any]
    expect: Mapping[str, float | str]


@dataclass(frozen=True, slots=True)
class Check:
    """What the profile was checked against. `unverified` names metrics that the check does not cover."""

    status: Checked
    by: str
    frames: tuple[Frame, ...] = ()
    unverified: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """One device model. `name` is the stem of the file name; `parameters` are values given by the site (ratios, linear ranges).

    `documents`: topics or paths by document name, each at one or several places; a document in `partial` omits unchanged
    values.
    """

    name: str
    make: str
    model: str
    kind: str
    wire: str
    source_url: str
    check: Check
    points: tuple[Point, ...]
    limits: Limits
    unit_id: int = 1
    documents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    partial: frozenset[str] = frozenset()
    parameters: Mapping[str, float] = field(default_factory=dict)
    switches: Mapping[str, Switch] = field(default_factory=dict)
    orders: Mapping[str, Order] = field(default_factory=dict)
    sunspec_models: tuple[int, ...] = ()
    notes: str = ""

    def metrics(self, tier: Tier | None = None) -> tuple[str, ...]:
        """Metrics that this model reports, of one tier or of all."""
        return tuple(point.metric for point in self.points if tier is None or point.tier is tier)

    def tiers(self) -> frozenset[Tier]:
        """Tiers that have points."""
        return frozenset(point.tier for point in self.points)

    def reads(self, tier: Tier | None = None) -> tuple[Block, ...]:
        """Modbus read requests of a tier, or of all tiers."""
        return blocks(registers_of(self.points, tier), self.limits)


def load(path: Path, parameters: Mapping[str, float] | None = None) -> Profile:
    """Read and check one profile; `parameters` replaces defaults of its `[parameters]` (site data such as ratios).

    ConfigError with every fault of the file.
    """
    data = read_toml(path, "Name an existing profile")
    return parse(path.stem, data, Faults(path.name), parameters or {})


FOLDERS = ("meters", "containers", "sensors", "switches")


def catalogue(folder: Path) -> dict[str, Profile]:
    """All profiles in the `FOLDERS` of a folder, by name (stem of the file name).

    ConfigError with the faults of all files.
    """
    found: dict[str, Profile] = {}
    faults: list[Fault] = []
    for path in sorted(path for name in FOLDERS for path in (folder / name).glob("*.toml")):
        try:
            profile = load(path)
        except ConfigError as error:
            faults += error.faults
            continue
        if profile.name in found:
            faults.append(Fault(str(path), f"a second profile is named {profile.name}", "Give each file its own name"))
        found[profile.name] = profile
    if faults:
        raise ConfigError(faults)
    return found


def parse(name: str, data: Mapping[str, Any], faults: Faults, given: Mapping[str, float]) -> Profile:
    """A profile from parsed TOML. ConfigError with all faults."""
    faults.unknown("", data, _TOP)
    kind, wire = faults.text(data, "kind"), faults.text(data, "wire")
    faults.one_of("kind", kind, frozenset(SCHEMAS) - {"miner"})
    faults.one_of("wire", wire, WIRES)
    source_url = faults.text(data, "source_url")
    if source_url and not source_url.startswith(("https://", "http://")):
        faults.add("source_url", f"{source_url!r} is no address", "Name the page or file that the map was read in")

    modbus = faults.table(data, "modbus")
    faults.unknown("modbus", modbus, _MODBUS)
    parameters = _parameters(faults, data, given)
    defaults = Defaults(
        kind=kind,
        wire=wire,
        function=faults.whole("modbus", modbus, "function", 3),
        word_order=str(modbus.get("word_order", "big")),
        byte_order=str(modbus.get("byte_order", "big")),
        documents=frozenset(faults.table(data, "documents")),
        parameters=parameters,
        first=_first(faults, modbus, parameters),
    )
    points = [
        made
        for metric, entry in faults.table(data, "points", required=True).items()
        if (made := read_point(faults, metric, entry, defaults)) is not None
    ]
    if not points and not faults.found:
        faults.add("points", "there is none", "Declare at least one")
    limits = Limits(faults.whole("modbus", modbus, "max_registers", 125), faults.whole("modbus", modbus, "max_gap", 16))
    if not 1 <= limits.max_count <= 125:
        faults.add("modbus.max_registers", f"{limits.max_count} is outside 1 to 125", "The protocol allows 125")
    switches = read_switches(faults, data, defaults.first, parameters)
    documents, partial = _documents(faults, data)
    profile = Profile(
        name=name,
        make=faults.text(data, "make"),
        model=faults.text(data, "model"),
        kind=kind,
        wire=wire,
        source_url=source_url,
        check=_check(faults, data),
        points=tuple(point for point in points if not _beyond(point.metric, switches)),
        limits=limits,
        unit_id=faults.whole("modbus", modbus, "unit_id", 1),
        documents=documents,
        partial=partial,
        parameters=parameters,
        switches=switches,
        orders=read_orders(faults, data, wire),
        sunspec_models=tuple(faults.listed("sunspec", faults.table(data, "sunspec"), "models")),
        notes=str(data.get("notes", "")),
    )
    faults.finish()
    return profile


def _beyond(metric: str, switches: Mapping[str, Switch]) -> bool:
    """Whether a metric belongs to an output that the site's device does not have."""
    outputs, index = switches.get("output"), metric.removeprefix("output_").partition("_")[0]
    return outputs is not None and metric.startswith("output_") and int(index) > outputs.count


def _documents(faults: Faults, data: Mapping[str, Any]) -> tuple[dict[str, tuple[str, ...]], frozenset[str]]:
    """(topics or paths of each document, documents that contain changed values only)."""
    documents: dict[str, tuple[str, ...]] = {}
    partial: set[str] = set()
    for name, given in faults.table(data, "documents").items():
        entry = given if isinstance(given, dict) else {"at": given}
        places = [entry.get("at")] if isinstance(entry.get("at"), str) else entry.get("at")
        faults.unknown(f"documents.{name}", entry, frozenset({"at", "partial"}))
        if not isinstance(places, list) or not places or not all(isinstance(place, str) for place in places):
            faults.add(
                f"documents.{name}", "it has no topic or path", 'Write "topic", or { at = ["a", "b"], partial = true }'
            )
            continue
        if data.get("wire") == "http" and len(places) > 1:
            faults.add(f"documents.{name}", "is fetched at one path", "Name a document for each path")
        documents[name] = tuple(places)
        if entry.get("partial"):
            partial.add(name)
    return documents, frozenset(partial)


def _first(faults: Faults, modbus: Mapping[str, Any], parameters: Mapping[str, float]) -> int:
    """Offset that a site adds to every address of the file: the parameter named by `[modbus] offset`; 0 without one."""
    name = modbus.get("offset")
    if name is None:
        return 0
    if name not in parameters or parameters[name] != int(parameters[name]) or parameters[name] < 0:
        faults.add(
            "modbus.offset", f"{name!r} is no whole parameter", "Name one of [parameters], a whole number from 0"
        )
        return 0
    return int(parameters[name])


def _parameters(faults: Faults, data: Mapping[str, Any], given: Mapping[str, float]) -> dict[str, float]:
    parameters: dict[str, float] = {}
    for key, value in faults.table(data, "parameters").items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            faults.add(f"parameters.{key}", f"{value!r} is no number", "Give the default as a number")
            continue
        parameters[key] = float(value)
    for key, value in given.items():
        if key not in parameters:
            known = ", ".join(sorted(parameters)) or "none"
            faults.add(f"parameters.{key}", "the profile has no such parameter", f"Known: {known}")
        parameters[key] = float(value)
    return parameters


def _check(faults: Faults, data: Mapping[str, Any]) -> Check:
    table = faults.table(data, "checked", required=True)
    faults.unknown("checked", table, frozenset({"status", "by", "frame", "unverified"}))
    status = faults.text(table, "status", "checked.")
    faults.one_of("checked.status", status, frozenset(Checked))
    frames = []
    for index, entry in enumerate(faults.listed("checked", table, "frame")):
        place = f"checked.frame[{index}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("expect"), dict) or not entry["expect"]:
            faults.add(place, "it has no table of expected values", "Give `expect = { metric = value }`")
            continue
        frames.append(Frame({key: value for key, value in entry.items() if key != "expect"}, entry["expect"]))
    if status == Checked.FRAME and not frames:
        faults.add("checked.frame", "status is 'frame' and no frame is given", "Give the frame, or write 'source'")
    by = faults.text(table, "by", "checked.")
    unverified = tuple(str(metric) for metric in faults.listed("checked", table, "unverified"))
    for metric in unverified:
        if metric not in faults.table(data, "points"):
            faults.add("checked.unverified", f"{metric!r} is no point of this file", "Name points only")
    known = Checked(status) if status in frozenset(Checked) else Checked.UNVERIFIED
    return Check(known, by, tuple(frames), unverified)
