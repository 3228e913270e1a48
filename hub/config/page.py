# SPDX-License-Identifier: Apache-2.0
"""The page `docs/reference/configuration.md`: every table and key of `hub.toml`, made from the models.

Run `python -m hub.config.page > docs/reference/configuration.md`.
"""

import sys
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from hub.config.models import Config
from hub.config.renamed import ALARMS, FIRMWARE, FOLDER, HUB

HEAD = """\
# Configuration

Every table and key of `hub.toml`. This page is made from the models (`python -m hub.config.page`). Any key can be overridden
by the environment (`MINING_HUB__HUB__PORT=9000`). All faults of a file are shown at once, each with line, key and what to do:
`mining-hub config check hub.toml`. `configs/hub.example.toml` is a commented example.

Data files that it names (profiles, tariffs, contracts, ...) are looked up in the folder of `hub.toml`, then among those shipped.
"""


def page() -> str:
    """The page as Markdown."""
    parts = [HEAD]
    for name, model in _tables(Config, ""):
        parts.append(f"\n## `{name or 'hub.toml'}`\n\n{' '.join((model.__doc__ or '').split())}\n")
        parts.append("\n| key | type | default |\n|---|---|---|\n")
        parts += [f"| `{key}` | {kind} | {default} |\n" for key, kind, default in _rows(model)]
    parts.append("\n## Former keys\n\n`mining-hub config migrate hub.toml --write` renames them.\n")
    parts.append("\n| former key | key |\n|---|---|\n")
    parts += [f"| `{old}` | `{new}` |\n" for old, new in HUB.items()]
    parts.append(f"| `{FOLDER}` | `feeds[].options.path` |\n")
    for title, names in (("firmware files", FIRMWARE), ("alarm rules", ALARMS)):
        parts.append(f"\nIn {title} (`mining-hub config migrate FILE --write`):\n\n| former key | key |\n|---|---|\n")
        parts += [f"| `{old}` | `{new}` |\n" for old, new in names.items()]
    return "".join(parts)


def _tables(model: type[BaseModel], name: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """(header, model) of a table and of those inside it, in the order of their keys."""
    yield name, model
    for key, field in model.model_fields.items():
        listed = "tuple" in str(field.annotation) and "Mapping" not in str(field.annotation)
        for inner in _models(field.annotation):
            shown = field.alias or key
            yield from _tables(inner, f"{name}.{shown}{'[]' if listed else ''}".lstrip("."))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _models(part)


def _rows(model: type[BaseModel]) -> Iterator[tuple[str, str, str]]:
    for key, field in model.model_fields.items():
        kind = "table" if any(_models(field.annotation)) else _kind(field.annotation)
        yield field.alias or key, kind, _default(field.default, field.default_factory)


NAMES: Final[Mapping[Any, str]] = {
    str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path", date: "date", Any: "any",
}  # fmt: skip


def _kind(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(args[0])
    if origin is Literal:
        return " or ".join(f"`{one}`" for one in args)
    if origin in (Union, UnionType):
        return " or ".join(_kind(one) for one in args if one is not type(None))
    if origin is tuple:
        return f"list of {_kind(args[0])}" if Ellipsis in args else f"[{', '.join(map(_kind, args))}]"
    return f"table of {_kind(args[1])}" if args else NAMES[annotation]


def _default(value: Any, factory: Any) -> str:
    if value is PydanticUndefined:
        return "required" if factory is None else ""
    if value is None or isinstance(value, BaseModel) or value == () or value == "":
        return ""
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        return "see below"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    sys.stdout.write(page())
