# SPDX-License-Identifier: Apache-2.0
"""Description of `/api/v1` as clients rely on it: paths, parameters, bodies, answers. It only grows.

    python -m tests.architecture.openapi          adds what is new to openapi.json; changes and drops nothing

Texts (descriptions, titles, examples) are left out: they may be improved at any time.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from hub.api.access import Access
from hub.api.shell import Shell
from hub.app.web import create_app, description
from kernel.clock import system_clock
from tests.architecture.frozen import changes
from tests.builders.fake_hub import FakeHub

HELD = Path(__file__).with_name("openapi.json")
TEXTS = frozenset({"description", "summary", "title", "example", "examples", "operationId", "tags", "info"})
BY_NAME = frozenset({"properties", "schemas", "paths"})
"""Maps whose keys are names and not keywords: a field may be called `description`."""


@cache
def document() -> dict[str, Any]:
    """The document that the hub answers under `/api/v1/openapi.json`."""
    with tempfile.TemporaryDirectory() as made:
        shell = create_app(
            FakeHub(system_clock(), miners=4).ports(), Access(Path(made), system_clock()), system_clock()
        )
    assert isinstance(shell, Shell) and isinstance(shell._app, FastAPI)
    return description(shell._app)


def plain(value: Any, names: bool = False) -> Any:
    """A document without its texts; parameters are keyed by name and place."""
    if isinstance(value, Mapping):
        kept = {key: one for key, one in value.items() if names or key not in TEXTS}
        return {
            key: {f"{one['in']} {one['name']}": plain(one) for one in part}
            if key == "parameters" and not names
            else plain(part, key in BY_NAME and not names)
            for key, part in kept.items()
        }
    return [plain(one) for one in value] if isinstance(value, list) else value


def required(value: Any, place: str = "") -> Iterator[str]:
    """Every field and parameter that a request must bring: none may be added."""
    if isinstance(value, Mapping):
        if value.get("required") is True:
            yield place
        elif isinstance(value.get("required"), list):
            yield from (f"{place}/{name}" for name in value["required"])
        for key, part in value.items():
            yield from required(part, f"{place}/{key}")


def asked(held: Mapping[str, Any]) -> set[str]:
    """What requests must bring: bodies and parameters, and the schemas of bodies."""
    bodies = {ref for path in held["paths"].values() for ref in _bodies(path)}
    schemas: dict[str, Any] = {}
    while bodies:
        name = bodies.pop()
        schemas[name] = held["components"]["schemas"][name]
        bodies |= set(_bodies(schemas[name], inside=True)) - set(schemas)
    parts = {
        f"{path} {method}": {key: one for key, one in route.items() if key in ("parameters", "requestBody")}
        for path, methods in held["paths"].items()
        for method, route in methods.items()
    }
    return set(required({**parts, **schemas}))


def _bodies(value: Any, inside: bool = False) -> Iterator[str]:
    if isinstance(value, Mapping):
        if inside and "$ref" in value:
            yield value["$ref"].rpartition("/")[2]
        for key, part in value.items():
            yield from _bodies(part, inside or key == "requestBody")


def lost(now: Mapping[str, Any], held: Mapping[str, Any]) -> list[str]:
    """What clients of the description held would miss: gone, changed, or newly required of them."""
    known = {place.partition("/")[0] for place in asked(held)}
    fresh = [place for place in asked(now) - asked(held) if place.partition("/")[0] in known | set(_names(held))]
    return changes(now, held) + [f"{place} is required now" for place in sorted(fresh)]


def _names(held: Mapping[str, Any]) -> Iterator[str]:
    """Requests and schemas of a description."""
    yield from held["components"]["schemas"]
    yield from (f"{path} {method}" for path, methods in held["paths"].items() for method in methods)


def present() -> dict[str, Any]:
    """The description as it is now, without texts."""
    found: dict[str, Any] = json.loads(json.dumps(plain(document())))
    return found


def main() -> None:
    now = present()
    if HELD.exists() and (lines := lost(now, json.loads(HELD.read_text()))):
        sys.exit("nothing was written, for /api/v1 only grows:\n" + "\n".join(lines))
    HELD.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
