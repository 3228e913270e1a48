# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a configuration, each fault with file, line and key, and what to do."""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hub.config.lookup import listed, places
from hub.config.models import Config
from kernel.errors import Fault


def cross_faults(raw: Mapping[str, Any], environment: Mapping[str, str], folder: Path) -> Iterator[Fault]:
    """What one table cannot know of another. Works on the raw tables, so that it finds its faults beside the others."""
    sites = (
        [site for site in raw.get("sites", []) if isinstance(site, dict)] if isinstance(raw.get("sites"), list) else []
    )
    names = [site.get("name") for site in sites]
    for index, site in enumerate(sites):
        place = f"sites.{index}"
        if site.get("name") is not None and names.index(site.get("name")) < index:
            yield Fault(f"{place}.name", f"a second site {site['name']!r}", "Give each site its own name")
        feeders = [feeder.get("name") for feeder in site.get("feeders", []) if isinstance(feeder, dict)]
        seen: set[str] = set()
        for number, meter in enumerate(m for m in site.get("meters", []) if isinstance(m, dict)):
            here = f"{place}.meters.{number}"
            name, feeder = meter.get("name"), meter.get("feeder")
            if name in seen:
                yield Fault(f"{here}.name", f"a second meter {name!r}", "Give each meter of a site its own name")
            seen.add(str(name))
            if feeder is not None and feeder not in feeders:
                known = ", ".join(map(str, feeders)) or "none"
                yield Fault(f"{here}.feeder", f"no feeder {feeder!r} in this site", f"Write one of: {known}")
            if meter.get("role") == "feeder" and feeder is None:
                yield Fault(f"{here}.feeder", "a feeder's meter names no feeder", 'Add feeder = "..."')
            if meter.get("role") == "generation" and meter.get("billing"):
                text = "energy of a generation meter is not billed"
                yield Fault(f"{here}.billing", text, "Leave it out: billed is what the main meter draws")
            profile = meter.get("profile")
            if isinstance(profile, str):
                yield from _profile_faults(folder, "meters", profile, f"{here}.profile")
        mains = [m for m in site.get("meters", []) if isinstance(m, dict) and m.get("role") == "main"]
        if len(mains) > 1:
            yield Fault(f"{place}.meters", f"{len(mains)} main meters", "Mark one as main; the others are sub meters")
        for kind in ("meters", "containers", "sensors", "switches"):
            for number, device in enumerate(d for d in site.get(kind, []) if isinstance(d, dict)):
                ways = [way for way in ("host", "topic", "sparkplug") if device.get(way)]
                here = f"{place}.{kind}.{number}"
                profile = device.get("profile")
                if kind != "meters" and isinstance(profile, str):
                    yield from _profile_faults(folder, kind, profile, f"{here}.profile")
                if not ways:
                    example = 'Add host = "192.0.2.10", or topic or sparkplug where it speaks unasked'
                    yield Fault(f"{here}.host", "is missing", example)
                elif len(ways) > 1:
                    yield Fault(
                        f"{here}.{ways[1]}", f"{' and '.join(ways)}: two ways to one device", "Keep one of them"
                    )
    for key, table in (raw.get("credentials") or {}).items() if isinstance(raw.get("credentials"), dict) else ():
        if not isinstance(table, dict):
            continue
        env, file = table.get("password_env"), table.get("password_file")
        here = f"credentials.{key}"
        if not env and not file:
            yield Fault(here, "no password source", "Add password_env or password_file")
        elif env and env not in environment:
            yield Fault(f"{here}.password_env", f"{env} is not set", "Set it in the environment of the hub")
        elif file and not env and not (folder / str(file)).is_file():
            yield Fault(
                f"{here}.password_file", f"no such file {file}", "Create it, readable by the hub alone (mode 600)"
            )
    sinks = [sink for sink in raw.get("sinks") or [] if isinstance(sink, dict)]
    named = [sink.get("name") for sink in sinks]
    for number, sink in enumerate(sinks):
        if sink.get("name") is not None and named.index(sink.get("name")) < number:
            yield Fault(
                f"sinks.{number}.name", f"a second sink {sink['name']!r}", "Its mark in the journal goes by its name"
            )
        env = sink.get("token_env")
        if env and env not in environment:
            yield Fault(f"sinks.{number}.token_env", f"{env} is not set", "Set it in the environment of the hub")


def _profile_faults(folder: Path, kind: str, name: str, place: str) -> Iterator[Fault]:
    """A device profile that stands neither in the site's folder nor among those shipped."""
    known = [path.stem for path in listed(folder, f"profiles/{kind}")]
    if name not in known:
        looked = " and ".join(str(one) for one in places(folder, f"profiles/{kind}/{name}.toml"))
        yield Fault(place, f"no profile {name!r}: looked for {looked}", _nearest(name, known))


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    return f"Did you mean {' or '.join(near)}?" if near else f"Write one of: {', '.join(known[:8]) or 'none known'}"


def _model_at(loc: tuple[Any, ...]) -> tuple[type[BaseModel] | None, str]:
    """The model that holds the last named key of a location, and that key."""
    model: type[BaseModel] | None = Config
    owner, last = model, ""
    for step in loc:
        if isinstance(step, int) or model is None:
            continue
        owner, last = model, str(step)
        info = model.model_fields.get(last)
        model = _inner(info.annotation) if info else None
    return owner, last


def _inner(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _inner(part)
        if found:
            return found
    return None


def is_echo(error: dict[str, Any], all_errors: list[dict[str, Any]]) -> bool:
    """Whether a list is called too short only because its own entries are at fault."""
    loc = error["loc"]
    return error["type"] == "too_short" and any(
        len(e["loc"]) > len(loc) and e["loc"][: len(loc)] == loc for e in all_errors
    )


def fault_of(error: dict[str, Any]) -> Fault:
    loc = tuple(error["loc"])
    place = ".".join(map(str, loc)) or "(whole file)"
    model, key = _model_at(loc)
    info = model.model_fields.get(key) if model else None
    example = f", for example {key} = {info.examples[0]!r}" if info and info.examples else ""
    kind, given = error["type"], error.get("input")
    if kind == "missing":
        return Fault(place, "is missing", f"Add it{example}")
    if kind == "extra_forbidden":
        return Fault(place, "is not known here", _nearest(key, sorted(model.model_fields) if model else []))
    message = str(error["msg"]).removeprefix("Value error, ")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    return Fault(place, f"{message[0].lower()}{message[1:]}{shown}", f"Correct the value{example}")


def placed(fault: Fault, path: Path, text: str, overlaid: Mapping[str, Any]) -> Fault:
    if fault.place in overlaid:
        return Fault(f"environment or flag, {fault.place}", fault.problem, fault.remedy)
    line = _line_of(text, fault.place.split("."))
    where = f"{path}:{line}" if line else str(path)
    return Fault(f"{where}, {fault.place}", fault.problem, fault.remedy)


def _line_of(text: str, keys: list[str]) -> int | None:
    """The line of a key path such as sites.0.meters.1.host; of its table where the key itself is absent."""
    counts: dict[str, int] = {}
    best, wanted = None, list(keys)
    current: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if header := re.match(r"(\[\[?)\s*([A-Za-z0-9_.\-\"]+)\s*\]", stripped):
            current = _indexed(header[2].replace('"', ""), header[1] == "[[", counts)
            if current == wanted[: len(current)]:
                best = number
            if current == wanted:
                return number
        elif (assigned := re.match(r"([A-Za-z0-9_\-]+)\s*=", stripped)) and [*current, assigned[1]] == wanted[
            : len(current) + 1
        ]:
            return number
    return best


def _indexed(header: str, array: bool, counts: dict[str, int]) -> list[str]:
    """A table header with the indexes of the array tables that it stands in."""
    parts, path, plain = header.split("."), [], ""
    for position, part in enumerate(parts):
        plain = f"{plain}.{part}" if plain else part
        path.append(part)
        last = position == len(parts) - 1
        if array and last:
            scope = ".".join(path)
            counts[scope] = counts.get(scope, -1) + 1
            path.append(str(counts[scope]))
        elif ".".join(path) in counts:
            path.append(str(counts[".".join(path)]))
    return path
