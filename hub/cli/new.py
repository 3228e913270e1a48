# SPDX-License-Identifier: Apache-2.0
"""Skeletons of extensions: a meter profile in the site's folder; a dialect, price feed or report as a package of its own.

The texts stand in `skeletons/<kind>/`, one file each, with `${...}` where the name goes. What is written passes its test as
it is.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from hub.cli.output import put_json, say

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
METERS = Path("profiles", "meters")
SKELETONS = Path(__file__).with_name("skeletons")


class Kind(StrEnum):
    """What can be begun from a skeleton."""

    METER = "meter"
    DIALECT = "dialect"
    FEED = "feed"
    REPORT = "report"


OBJECTS: Mapping[Kind, str] = {Kind.DIALECT: "DIALECT", Kind.FEED: "feed", Kind.REPORT: "KIND"}
"""What the entry point names in the module."""

NEXT: Mapping[Kind, str] = {
    Kind.METER: (
        "Next: edit {files[0]}; it is the only file to edit. Set make, model, source_url and the points, and put registers"
        ' and the values on the display into [[checked.frame]]. Then write profile = "{name}" at the meter in hub.toml and'
        " run: mining-hub config check hub.toml"
    ),
    Kind.DIALECT: (
        "Next: edit {files[0]} (paths, keys, units) and {files[2]} (what the firmware can do); replace the answers in"
        " {files[1]} by recorded ones. Then: pip install -e {folder}; copy {files[2]} to profiles/firmware/ of the site's"
        ' folder; write "{name}" as the dialect in the inventory.'
    ),
    Kind.FEED: (
        "Next: edit {files[0]}: where the prices come from and how they are read. Then: pip install -e {folder}; add"
        ' [[feeds]] with kind = "{name}" to hub.toml.'
    ),
    Kind.REPORT: (
        "Next: edit {files[0]}: document and table. Then: pip install -e {folder}; mining-hub report make FOLDER {name}"
        " --from ... --until ..."
    ),
}


def add_to(app: typer.Typer) -> None:
    """The command of this module."""
    app.command("new")(new)


def new(
    kind: Annotated[Kind, typer.Argument(help="meter, dialect, feed or report.")],
    name: Annotated[str, typer.Argument(help="Its name in the configuration: small letters, digits, single dashes.")],
    folder: Annotated[Path, typer.Option(help="Where to write: the site's folder for a meter.")] = Path(),
    json: Annotated[bool, typer.Option("--json", help="Answer with one JSON object on the last line.")] = False,
) -> None:
    """Write the skeleton of a meter profile, dialect, price feed or report with its test, which passes as written."""
    from kernel.errors import ConfigError, Fault

    if not NAME.fullmatch(name):
        raise ConfigError(
            [Fault(name, "is no name", "Write small letters, digits and single dashes, such as acme-pm1")]
        )
    texts = skeleton(kind, name)
    taken = [path for path in texts if (folder / path).exists()]
    if taken:
        raise ConfigError([Fault(str(folder / path), "is there already", "Choose another name") for path in taken])
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    paths = [folder / path for path in texts]
    if json:
        put_json({"files": [str(path) for path in paths]})
        return
    for path in paths:
        say(str(path))
    test = next(path for path in paths if path.name.startswith("test_"))
    say(f"Its test passes as written: python -m pytest {test}")
    say(NEXT[kind].format(files=paths, folder=paths[0].parent, name=name))


def skeleton(kind: Kind, name: str) -> dict[Path, str]:
    """Texts by path below the folder; the file to edit comes first, its test second."""
    distribution = f"mining-hub-{name}-{kind}"
    module = distribution.replace("-", "_")
    fields = {
        "name": name,
        "distribution": distribution,
        "module": module,
        "class_name": "".join(part.capitalize() for part in name.split("-")),
        "object": OBJECTS.get(kind, ""),
    }

    def text(template: str) -> str:
        place = SKELETONS / kind.value / f"{template}.txt"
        return Template(place.read_text(encoding="utf-8")).substitute(fields)

    if kind is Kind.METER:
        test = f"test_{name.replace('-', '_')}.py"
        return {METERS / f"{name}.toml": text("meter.toml"), METERS / test: text("test_meter.py")}
    root = Path(distribution)
    found = {root / f"{module}.py": text("module.py"), root / f"test_{module}.py": text("test_module.py")}
    if kind is Kind.DIALECT:
        found[root / f"{name}.toml"] = text("firmware.toml")
    return {**found, root / "pyproject.toml": text("pyproject.toml")}
