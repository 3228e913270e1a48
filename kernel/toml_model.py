# SPDX-License-Identifier: Apache-2.0
"""TOML files as tables and pydantic models, with all faults of a file: place, problem, remedy.

A place is a path of keys with indices from 0, such as `sites.0.meters.1.host`; `placed` adds file and line to it.
"""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from kernel.errors import ConfigError, Fault
from kernel.toml_keys import line_of

MOST_KEY_PARTS: Final = 32

M = TypeVar("M", bound=BaseModel)


def parse_toml(text: str | bytes, place: str) -> dict[str, Any]:
    """Tables of a TOML text. ConfigError, with the line, where it is not TOML or not UTF-8."""
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        for number, line in enumerate(text.splitlines(), start=1):
            # The reader of the standard library is quadratic in the parts of a dotted key.
            key = line.partition("=")[0]
            if key.count(".") > MOST_KEY_PARTS and "," not in key:
                raise ConfigError([Fault(f"{place} line {number}", "has a key of too many parts", "Write a table")])
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([Fault(place, f"is not TOML: {error}", "Correct the syntax at that line")]) from None
    except RecursionError:
        raise ConfigError([Fault(place, "is nested too deep to be read", "Write at most a few levels")]) from None


def read_text(path: Path, remedy: str = "Give the path of a TOML file") -> str:
    """Text of a file. ConfigError where it cannot be read or is not UTF-8."""
    try:
        return path.read_bytes().decode("utf-8")  # line ends are kept: a file may be written back
    except OSError as error:
        fault = Fault(str(path), f"cannot be read: {error.strerror or error}", remedy)
    except UnicodeDecodeError as error:
        fault = Fault(str(path), f"is not TOML: {error}", "Save it as UTF-8")
    raise ConfigError([fault])


def read_toml(path: Path, remedy: str = "Give the path of a TOML file") -> dict[str, Any]:
    """Tables of a TOML file. ConfigError where it cannot be read or is not TOML."""
    return parse_toml(read_text(path, remedy), str(path))


def checked(
    model: type[M], raw: Mapping[str, Any], context: Mapping[str, Any] | None = None
) -> tuple[M | None, list[Fault]]:
    """(model of a table, all its faults); the model is None where there is a fault."""
    try:
        return model.model_validate(raw, context=context), []
    except ValidationError as error:
        items = [dict(item) for item in error.errors()]
        return None, [_fault(item, model) for item in items if not _follows(item, items)]


def tables_in(raw: Mapping[str, Any], key: str, place: str, faults: list[Fault]) -> list[Mapping[str, Any]]:
    """Tables of `[[key]]`, empty where there are none; anything else is a fault at `place`."""
    found = raw.get(key, [])
    if isinstance(found, list) and all(isinstance(one, Mapping) for one in found):
        return found
    faults.append(Fault(place, f"{key} is no list of tables", f"Write each as a [[{key}]] table"))
    return []


def table_in(raw: Mapping[str, Any], key: str, place: str, faults: list[Fault]) -> Mapping[str, Any]:
    """Table `[key]`, empty where there is none; anything else is a fault at `place`."""
    found = raw.get(key, {})
    if isinstance(found, Mapping):
        return found
    faults.append(Fault(place, f"{key} is no table", f"Write a [{key}] table"))
    return {}


def within(place: str, faults: Sequence[Fault]) -> list[Fault]:
    """The same faults with their place inside another: a key of a file, a table of a list."""
    return [Fault(f"{place}{fault.place}", fault.problem, fault.remedy) for fault in faults]


def nearest(name: str, known: Sequence[str]) -> str:
    """Remedy for an unknown name: similar names, or the known ones."""
    near = difflib.get_close_matches(name, known, n=3)
    return f"Did you mean {' or '.join(near)}?" if near else f"Write one of: {', '.join(known[:8]) or 'none known'}"


def _model_at(model: type[BaseModel], loc: Sequence[Any]) -> tuple[type[BaseModel] | None, str]:
    """Model that contains the last named key of a location, and that key."""
    inner: type[BaseModel] | None = model
    owner, last = inner, ""
    for step in loc:
        if isinstance(step, int) or inner is None:
            continue
        owner, last = inner, str(step)
        info = inner.model_fields.get(last)
        inner = _inner(info.annotation) if info else None
    return owner, last


def _inner(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _inner(part)
        if found:
            return found
    return None


def _follows(error: Mapping[str, Any], all_errors: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a list is reported as too short only because its entries have faults."""
    loc = error["loc"]
    return error["type"] == "too_short" and any(
        len(e["loc"]) > len(loc) and e["loc"][: len(loc)] == loc for e in all_errors
    )


def _fault(error: Mapping[str, Any], root: type[BaseModel]) -> Fault:
    loc = tuple(error["loc"])
    place = ".".join(map(str, loc)) or "(whole file)"
    model, key = _model_at(root, loc)
    info = model.model_fields.get(key) if model else None
    example = f", for example {key} = {info.examples[0]!r}" if info and info.examples else ""
    kind, given = error["type"], error.get("input")
    if kind == "missing":
        return Fault(place, "is missing", f"Add it{example}")
    if kind == "extra_forbidden":
        return Fault(place, "is not known here", nearest(key, sorted(model.model_fields) if model else []))
    message = str(error["msg"]).removeprefix("Value error, ")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    return Fault(place, f"{message[0].lower()}{message[1:]}{shown}", f"Correct the value{example}")


def placed(fault: Fault, path: Path, text: str) -> Fault:
    """A fault with the file and, where its key stands in the text, the line."""
    line = line_of(text, tuple(int(step) if step.isdigit() else step for step in fault.place.split(".")))
    return Fault(f"{path}:{line}, {fault.place}" if line else f"{path}, {fault.place}", fault.problem, fault.remedy)
