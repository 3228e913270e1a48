# SPDX-License-Identifier: Apache-2.0
"""Asset register: miners with position, feeder and owner from an inventory file, as dated facts.

The inventory is CSV or TOML that a person can edit; every fault is reported at once. Position, feeder and owner are dated
facts: past ones are kept, because energy and money are settled on them.
"""

import csv
import io
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from kernel.address import plain_address
from kernel.clock import from_iso, iso
from kernel.errors import ConfigError, Fault
from kernel.ids import device_key
from kernel.toml_model import parse_toml, tables_in
from miner_control.fleet.miner import Miner
from miner_control.inventory.inventory_events import AssetFactRecorded
from miner_control.inventory.spreadsheet import decoded, kept, rows_of

COLUMNS: Final = (
    "device", "model", "dialect", "host", "ports", "feeder", "credential", "rack", "position", "phase", "owner", "serial", "mac",
)  # fmt: skip
_PLACES: Final = ("feeder", "rack", "position", "owner")
FACTS: Final = ("site", "container", "rack", "position", "feeder", "phase", "owner")
"""Kinds of fact. Site and container are kept and shown; the others also change the hub's decisions."""
_REQUIRED: Final = ("device", "dialect", "host", "feeder")
Ports = tuple[tuple[str, int], ...]
"""(rpc or http, number) of each port of a miner."""

DEFAULT_PORTS: Final[Mapping[str, Ports]] = {
    "antminer": (("rpc", 4028), ("http", 80)),
    "whatsminer": (("rpc", 4028),),
    "whatsminer_v3": (("rpc", 4433),),
    "luxos": (("rpc", 4028), ("http", 80)),
    "braiins": (("http", 80), ("rpc", 4028)),
    "vnish": (("http", 80), ("rpc", 4028)),
    "avalon": (("rpc", 4028),),
    "epic": (("http", 4028),),
    "auradine": (("http", 8080), ("rpc", 4028)),
    "bitaxe": (("http", 80),),
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One dated fact of a device: `what` (site, container, rack, position, feeder, phase, owner) is `value` from `from_ms` on.

    `source`: inventory, address plan, IP-report button, rack pulse, a person. An empty `value`: no longer known.
    """

    device: str
    what: str
    value: str
    from_ms: int
    source: str


@dataclass(frozen=True, slots=True)
class AssetRegister:
    """The miners of a site, their phases, and the dated facts of position and owner."""

    miners: tuple[Miner, ...]
    phases: Mapping[str, int] = field(default_factory=dict)
    facts: tuple[Fact, ...] = ()

    def at(self, device: str, what: str, at_ms: int) -> Fact | None:
        """The fact valid at an instant: the latest from at or before it (of two from the same instant, the one learnt last);
        None where nothing was known."""
        held = [f for f in reversed(self.facts) if f.device == device and f.what == what and f.from_ms <= at_ms]
        return max(held, key=lambda fact: fact.from_ms, default=None)

    def learn(self, facts: Iterable[Fact]) -> "AssetRegister":
        """The register with more facts; miners take the newest feeder, rack, position and owner. A known fact (same device,
        `what` and value as valid then) is not repeated."""
        facts, kept = list(facts), list(self.facts)
        named = {fact.device for fact in facts}
        known: dict[tuple[str, str], list[Fact]] = {}
        for fact in sorted((one for one in kept if one.device in named), key=_from):
            known.setdefault((fact.device, fact.what), []).append(fact)
        for fact in facts:
            held = known.setdefault((fact.device, fact.what), [])
            at = bisect_right(held, fact.from_ms, key=_from)
            if not at or held[at - 1].value != fact.value:
                held.insert(at, fact)
                kept.append(fact)
        newest = {place: held[-1] for place, held in known.items()}
        phases = dict(self.phases)
        for (device, what), fact in newest.items():
            if what == "phase":
                phases.pop(device, None)
                if fact.value.isdigit():
                    phases[device] = int(fact.value)
        miners = (_with_newest(miner, newest) if miner.device in named else miner for miner in self.miners)
        return AssetRegister(tuple(miners), phases, tuple(kept))


def _from(fact: Fact) -> int:
    return fact.from_ms


def _with_newest(miner: Miner, newest: Mapping[tuple[str, str], Fact]) -> Miner:
    held = {what: newest[miner.device, what].value for what in _PLACES if (miner.device, what) in newest}
    if all(getattr(miner, what) == value for what, value in held.items()):
        return miner
    return replace(
        miner,
        feeder=held.get("feeder", miner.feeder),
        rack=held.get("rack", miner.rack),
        position=held.get("position", miner.position),
        owner=held.get("owner", miner.owner),
    )


def load_register(
    path: Path,
    hub: str,
    site: str,
    *,
    facts_at_ms: int | None = None,
    dialects: Mapping[str, Ports] = DEFAULT_PORTS,
) -> AssetRegister:
    """Read an inventory (`.csv`, or `.toml` with `[[miners]]` and `[[facts]]`). Raises ConfigError with every fault.

    `device` in the file is the last part of the key. With `facts_at_ms` each place in the file becomes a fact from then on.
    """
    text = decoded(path.read_bytes())
    if path.suffix == ".toml":
        document, faults = parse_toml(text, path.name), list[Fault]()
        miners = tables_in(document, "miners", path.name, faults)
        rows = [(f"{path.name} miners[{at}]", row) for at, row in enumerate(miners)]
        dated = tables_in(document, "facts", path.name, faults)
        if faults:
            raise ConfigError(faults)
    else:
        rows = [(f"{path.name}:{at}", row) for at, row in enumerate(rows_of(text), start=2)]
        dated = []
    return register_of(rows, hub, site, dated=dated, facts_at_ms=facts_at_ms, place=path.name, dialects=dialects)


def register_of(
    rows: Sequence[tuple[str, Mapping[str, Any]]],
    hub: str,
    site: str,
    *,
    dated: Sequence[Mapping[str, Any]] = (),
    facts_at_ms: int | None = None,
    place: str = "inventory",
    dialects: Mapping[str, Ports] = DEFAULT_PORTS,
) -> AssetRegister:
    """A register from (place, row) pairs; `dialects` are those known, with their usual ports.

    Raises ConfigError with every fault of every row."""
    faults: list[Fault] = []
    miners: list[Miner] = []
    phases: dict[str, int] = {}
    seen: dict[str, str] = {}
    for where, row in rows:
        miner = _miner(where, row, hub, site, dialects, faults)
        if miner is None:
            continue
        for what, value in (("device", miner.device), ("address", _address(miner)), ("serial", miner.serial)):
            if value and f"{what} {value}" in seen:
                faults.append(Fault(where, f"{what} {value} stands already in {seen[f'{what} {value}']}", "Keep one"))
            seen[f"{what} {value}"] = where
        phase = str(row.get("phase") or "").strip()
        if phase:
            if phase not in ("0", "1", "2"):
                faults.append(Fault(where, f"phase is {phase!r}", "Write 0, 1, 2, or nothing for three phases"))
            else:
                phases[miner.device] = int(phase)
        miners.append(miner)
    facts = [fact for at, row in enumerate(dated) if (fact := _fact(f"{place} facts[{at}]", row, hub, site, faults))]
    if faults:
        raise ConfigError(faults)
    if facts_at_ms is not None:
        facts += [
            Fact(miner.device, what, getattr(miner, what), facts_at_ms, "inventory")
            for miner in miners
            for what in _PLACES
            if getattr(miner, what)
        ]
    return AssetRegister(tuple(miners), phases, ()).learn(facts)


def _address(miner: Miner) -> str:
    return f"{miner.host} {','.join(str(port) for _, port in miner.ports)}"


def _miner(
    where: str, row: Mapping[str, Any], hub: str, site: str, dialects: Mapping[str, Ports], faults: list[Fault]
) -> Miner | None:
    before = len(faults)
    unknown = sorted(set(map(str, row)) - set(COLUMNS))
    if unknown:
        faults.append(Fault(where, f"has unknown columns {', '.join(unknown)}", f"Use {', '.join(COLUMNS)}"))
    text = {column: str(row.get(column) or "").strip() for column in COLUMNS if column != "ports"}
    faults.extend(Fault(f"{where} {column}", "is empty", "Fill it in") for column in _REQUIRED if not text[column])
    key = ""
    if text["device"]:
        try:
            key = device_key(hub, site, text["device"])
        except ValueError as error:
            faults.append(Fault(f"{where} device", str(error), "Rename it"))
    if text["dialect"] and text["dialect"] not in dialects:
        faults.append(Fault(f"{where} dialect", f"{text['dialect']!r} is none", f"Use one of {', '.join(dialects)}"))
    try:
        host = plain_address(text["host"]) if text["host"] else ""
    except ValueError:
        # A host name would need a look-up at each poll, which delays every other miner.
        host, remedy = "", "Write 10.0.0.5 or fd00::5; names are not looked up"
        faults.append(Fault(f"{where} host", f"{text['host'][:60]!r} is no address", remedy))
    ports = _ports(f"{where} ports", row.get("ports"), dialects.get(text["dialect"], ()), faults)
    if len(faults) > before:
        return None
    return Miner(
        device=key,
        model=text["model"],
        dialect=text["dialect"],
        host=host,
        ports=ports,
        feeder=text["feeder"],
        credential=text["credential"] or "default",
        rack=text["rack"],
        position=text["position"],
        owner=text["owner"],
        serial=text["serial"],
        mac=text["mac"].lower(),
    )


def _ports(where: str, found: Any, usual: Ports, faults: list[Fault]) -> Ports:
    """Ports as `rpc=4028 http=80` in CSV, as a table in TOML; the dialect's own where nothing is given."""
    if not found:
        return usual
    pairs = list(found.items()) if isinstance(found, Mapping) else [p.partition("=")[::2] for p in str(found).split()]
    ports = []
    for name, number in pairs:
        if name not in ("rpc", "http") or not str(number).isdigit() or not 1 <= int(number) <= 65535:
            faults.append(Fault(where, f"has {name}={number}", "Write rpc=4028 http=80, numbers of 1 to 65535"))
        else:
            ports.append((str(name), int(number)))
    return tuple(ports)


def _fact(where: str, row: Mapping[str, Any], hub: str, site: str, faults: list[Fault]) -> Fact | None:
    try:
        return Fact(
            device_key(hub, site, str(row["device"])),
            str(row["what"]),
            str(row["value"]),
            from_iso(str(row["from"])),
            str(row.get("source", "inventory")),
        )
    except (KeyError, ValueError) as error:
        faults.append(Fault(where, f"cannot be read: {error}", "Give device, what, value and from (RFC 3339)"))
        return None


def inventory_csv(register: AssetRegister) -> str:
    """The register as CSV for editing; `load_register` reads it back."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for miner in register.miners:
        row = {column: getattr(miner, column, "") for column in COLUMNS if column not in ("device", "ports", "phase")}
        row["device"] = miner.device.rpartition("/")[2]
        row["ports"] = " ".join(f"{name}={port}" for name, port in miner.ports)
        row["phase"] = register.phases.get(miner.device, "")
        writer.writerow([kept(row[column]) for column in COLUMNS])
    return out.getvalue()


def facts_toml(register: AssetRegister) -> str:
    """The dated facts as TOML `[[facts]]`, oldest first."""
    parts = [
        f'[[facts]]\ndevice = "{f.device.rpartition("/")[2]}"\nwhat = "{f.what}"\nvalue = "{f.value}"\n'
        f'from = "{iso(f.from_ms)}"\nsource = "{f.source}"\n'
        for f in sorted(register.facts, key=lambda fact: (fact.from_ms, fact.device, fact.what))
    ]
    return "\n".join(parts)


def facts_body(facts: Sequence[Fact], by: str) -> AssetFactRecorded:
    """The body of an event `asset.fact_recorded`: facts of one source, with the person that entered them."""
    (source,) = {fact.source for fact in facts}
    return {"by": by, "source": source, "facts": [[f.device, f.what, f.value, f.from_ms] for f in facts]}


def facts_of(body: Mapping[str, Any]) -> list[Fact]:
    """The inverse of `facts_body`."""
    source = str(body["source"])
    return [Fact(str(d), str(what), str(value), int(from_ms), source) for d, what, value, from_ms in body["facts"]]
