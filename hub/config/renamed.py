# SPDX-License-Identifier: Apache-2.0
"""Keys of configuration and data files that have another name now: refused with the new name, and rewritten in place.

Paths are written for every element of a list: `sites[].loops[].low_c`. A key keeps its table; only its last segment changes.
"""

import copy
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kernel.errors import ConfigError, Fault
from kernel.toml_keys import Key, keys_of, shown
from kernel.toml_model import parse_toml, placed, read_text

HUB: Final[Mapping[str, str]] = {
    "sites[].lessons": "sites[].identification",
    "sites[].not_ours": "sites[].third_party_owners",
    "sites[].pace": "sites[].simulated_speed_factor",
    "sites[].heat_least_w": "sites[].heat_min_w",
    "sites[].weather.cold_least_w": "sites[].weather.cold_min_w",
    "sites[].transformer.most_load_share": "sites[].transformer.max_load_share",
    "sites[].ladder": "sites[].wake_recovery",
    "sites[].ladder.reboots_a_day": "sites[].wake_recovery.reboots_per_day",
    "sites[].ladder.cycles_a_day": "sites[].wake_recovery.power_cycles_per_day",
    "sites[].ladder.cycles_at_once": "sites[].wake_recovery.power_cycles_at_once",
    "sites[].loops": "sites[].cooling_loops",
    "sites[].loops[].low_c": "sites[].cooling_loops[].inlet_min_c",
    "sites[].loops[].high_c": "sites[].cooling_loops[].inlet_max_c",
    "sites[].loops[].keep_c": "sites[].cooling_loops[].frost_protection_c",
    "sites[].loops[].return_high_c": "sites[].cooling_loops[].return_max_c",
    "sites[].loops[].flow_least_lpm": "sites[].cooling_loops[].flow_min_lpm",
    "sites[].loops[].pressure_low_bar": "sites[].cooling_loops[].pressure_min_bar",
}
"""Former path to path, in `hub.toml`."""

FIRMWARE: Final[Mapping[str, str]] = {"versions[].ladder": "versions[].recovery_steps"}
"""In `profiles/firmware`."""

ALARMS: Final[Mapping[str, str]] = {"rule[].when.least": "rule[].when.min_devices"}
"""In `alarms`."""

FOLDER: Final = "prices.folder"
"""The price folder, which is the first of `[[feeds]]` now."""

REMEDY: Final = "Rename it, or let it be rewritten: mining-hub config migrate {file} --write"


@dataclass(frozen=True, slots=True)
class Migrated:
    """A file as it is written now, with (former path, path) of each key that was changed."""

    text: str
    changed: tuple[tuple[str, str], ...]


def names_of(raw: Mapping[str, Any]) -> Mapping[str, str]:
    """The renamed keys of a file by what it holds; empty where none of its kind was renamed."""
    if "hub" in raw or "sites" in raw:
        return HUB
    if "versions" in raw:
        return FIRMWARE
    return ALARMS if "rule" in raw and "jurisdiction" not in raw else {}


def refused(raw: Mapping[str, Any], file: str) -> list[Fault]:
    """A fault for each former key, at its concrete place."""
    names, remedy = names_of(raw), REMEDY.format(file=file)
    faults = [
        Fault(".".join(map(str, path)), f"is named {names[shown(path)].rpartition('.')[2]} now", remedy)
        for path in _paths(raw)
        if shown(path) in names
    ]
    if names is HUB and "folder" in _table(raw, "prices"):
        faults.append(Fault(FOLDER, "is the feed of kind csv_folder now: options.path of [[feeds]]", remedy))
    return faults


def renamed(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The tables under the names of now. Raises ConfigError where both names of a key stand."""
    names = names_of(raw)
    faults: list[Fault] = []
    found: dict[str, Any] = _renamed(raw, (), names, faults)
    if names is HUB and "folder" in _table(raw, "prices"):
        folder = found["prices"].pop("folder")
        if "feeds" in raw:
            faults.append(Fault(FOLDER, "stands next to [[feeds]]", "Keep [[feeds]]"))
        found["feeds"] = _feeds(folder)
    if faults:
        raise ConfigError(faults)
    return found


def migrated(text: str, place: str) -> Migrated:
    """A file rewritten; comments, order and layout stay. Raises ConfigError where it cannot be done, with the reason."""
    raw = parse_toml(text, place)
    names = names_of(raw)
    wanted = renamed(raw)
    keys = [key for key in keys_of(text) if shown(key.path) in names]
    changed = dict.fromkeys((shown(key.path), names[shown(key.path)]) for key in keys)
    made = text
    for key in sorted(keys, key=lambda one: -one.start):
        made = made[: key.start] + names[shown(key.path)].rpartition(".")[2] + made[key.end :]
    if wanted.get("feeds") != raw.get("feeds"):
        made = _with_feeds(made, place, str(raw["prices"]["folder"]))
        changed[(FOLDER, "feeds[].options.path")] = None
    if tomllib.loads(made) != wanted:
        raise ConfigError([Fault(place, "cannot be rewritten without a change of meaning", "Rename the keys yourself")])
    return Migrated(made, tuple(changed))


def current(paths: Sequence[Path]) -> Sequence[Path]:
    """The files themselves. Raises ConfigError with every former key of any of them: line, new name and remedy."""
    faults: list[Fault] = []
    for path in paths:
        try:
            text = read_text(path)
            faults += [placed(fault, path, text) for fault in refused(parse_toml(text, str(path)), str(path))]
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError(faults)
    return paths


def _feeds(folder: Any) -> list[dict[str, Any]]:
    return [
        {"kind": "csv_folder", "name": "files", "options": {"path": folder}},
        {"kind": "hashprice", "name": "hashprice", "curve": "hashprice"},
    ]


def _with_feeds(text: str, place: str, folder: str) -> str:
    """The folder of `[prices]` as the first of `[[feeds]]`, before that table; the comment of its line goes with it."""
    keys = list(keys_of(text))
    header = next((key for key in keys if key.header and key.path == ("prices",)), None)
    key = next((one for one in keys if shown(one.path) == FOLDER), None)
    if header is None or key is None or _line(text, key) == _line(text, header):
        remedy = 'Write [[feeds]] with kind = "csv_folder", name = "files" and options = { path = ... }'
        raise ConfigError([Fault(f"{place}, {FOLDER}", "does not stand on a line of its own in [prices]", remedy)])
    lines = text.splitlines(keepends=True)
    end = "\r\n" if lines[0].endswith("\r\n") else "\n"
    at, table = _line(text, key), _line(text, header)
    given = re.match(r"""\s*folder\s*=\s*("(?:[^"\\]|\\.)*"|'[^']*')[ \t]*(#[^\n]*)?""", lines[at])
    if given is None:
        raise ConfigError([Fault(f"{place}, {FOLDER}", "is no text on one line", "Write the path in quotes")])
    comment = f" {given[2].rstrip()}" if given[2] else ""
    made = (
        f'[[feeds]]\nkind = "csv_folder"\nname = "files"\noptions = {{ path = {given[1]} }}{comment}\n\n'
        '[[feeds]]\nkind = "hashprice"\nname = "hashprice"\ncurve = "hashprice"\n\n'
    )
    return "".join([*lines[:table], made.replace("\n", end), *lines[table:at], *lines[at + 1 :]])


def _line(text: str, key: Key) -> int:
    return text.count("\n", 0, key.start)


def _table(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = raw.get(name)
    return found if isinstance(found, Mapping) else {}


def _paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every key of parsed TOML with its path."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield (*path, key)
            yield from _paths(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _paths(inner, (*path, number))


def _renamed(value: Any, path: tuple[str | int, ...], names: Mapping[str, str], faults: list[Fault]) -> Any:
    if isinstance(value, list):
        return [_renamed(inner, (*path, number), names, faults) for number, inner in enumerate(value)]
    if not isinstance(value, Mapping):
        return copy.copy(value)
    found: dict[str, Any] = {}
    for key, inner in value.items():
        here = (*path, key)
        name = names[shown(here)].rpartition(".")[2] if shown(here) in names else key
        if name != key and name in value:
            place = ".".join(map(str, here))
            faults.append(Fault(place, f"stands next to {name}, its name now", f"Keep {name} alone"))
        found[name] = _renamed(inner, here, names, faults)
    return found
