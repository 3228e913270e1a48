# SPDX-License-Identifier: Apache-2.0
"""Commands of the archive: what is held and why, what was deleted and what proves it, legal holds set and released."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hub.cli.act import HERE, Key, Url, ask_hub
from hub.cli.output import put_json, put_table, say

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on the last line.")]
Folder = Annotated[Path, typer.Argument(help="The folder that holds hub.toml.")]


def add_to(app: typer.Typer) -> None:
    """The commands of this room."""
    archive = typer.Typer(
        help="The archive: what is held and why, what was deleted.", no_args_is_help=True, rich_markup_mode=None
    )
    archive.command("show")(show)
    archive.command("deleted")(deleted)
    archive.command("check")(check)
    archive.command("hold")(hold)
    archive.command("release")(release)
    app.add_typer(archive, name="archive")


def _data(folder: Path) -> tuple[Any, Path]:
    """(configuration, data folder)."""
    from hub.config import load

    config = load(folder / "hub.toml", environment={})
    return config, folder / config.hub.data


def show(folder: Folder, json: Json = False) -> None:
    """What the archive holds by layer and kind, for how many days, and the legal holds on it."""
    from hub.wiring import folded, reading
    from hub.wiring.archive import days_of, holds_of, shelves

    config, data = _data(folder)
    state = folded(config, reading(data))
    found = shelves(data / "archive", days_of(config), holds_of(config, state))
    entries = state.holds.entries()
    if json:
        put_json({"shelves": [one.to_json() for one in found], "holds": [entry.to_json() for entry in entries]})
        return
    rows = [
        (
            f"{one.layer} {one.kind}",
            one.files,
            one.bytes_used / 2**20,
            one.first if one.first == one.last else f"{one.first} to {one.last}",
            "for ever" if one.days is None else f"{one.days:g} days",
            _held_by(one.held_by),
        )
        for one in found
    ]
    put_table("Archive", ("what", "files", "MiB", "UTC days", "kept", "held by"), rows)
    standing = [entry for entry in entries if entry.released_ms is None]
    names = ("id", "from (UTC)", "to (UTC)", "kinds", "by", "why")
    put_table("Holds", names, [_hold_row(entry.to_json()) for entry in standing])


def _held_by(holders: Mapping[str, int]) -> str | None:
    """Holders in a table: reports are many, and counted; the JSON names each."""
    reports = sum(who.startswith("report ") for who in holders)
    named = [who for who in holders if not who.startswith("report ")]
    return ", ".join([*named, *([f"{reports} report{'s' * (reports != 1)}"] if reports else [])]) or None


def _hold_row(line: Mapping[str, Any]) -> tuple[str, ...]:
    cited = "" if not line["cited_by"] or line["by"] == "hub" else f"{line['cited_by']}: "
    days = [_minute(line[name]) for name in ("from", "to")]
    return line["id"], *days, ", ".join(line["kinds"]) or "all", line["by"], f"{cited}{line['why']}"


def _minute(instant: str) -> str:
    return instant[:16].replace("T", " ")


def deleted(folder: Folder, json: Json = False) -> None:
    """Every file that was deleted: its SHA-256, the rule, and whether its Merkle path proves it. Exit code 1 where not."""
    from hub.wiring.archive import gone
    from kernel.clock import iso

    found = gone(_data(folder)[1])
    if json:
        put_json({"deleted": [{**stone.to_json(), "proven": proven} for stone, proven in found]})
    else:
        rows = [(stone.path, stone.sha256[:12], stone.rule, iso(stone.deleted_ms)[:10], ok) for stone, ok in found]
        put_table("Deleted", ("file", "SHA-256", "rule", "on", "proven"), rows)
    if not all(proven for _, proven in found):
        raise typer.Exit(1)


def check(
    folder: Folder, copy: Annotated[Path, typer.Argument(help="A file that turned up.")], json: Json = False
) -> None:
    """Whether a file is one that was deleted here, by its SHA-256 and a proven path. Exit code 1 where it is none."""
    from hub.wiring.archive import known_copy
    from kernel.errors import ConfigError, Fault

    if not copy.is_file():
        raise ConfigError([Fault(str(copy), "no such file", "Give the copy's path")])
    stone = known_copy(_data(folder)[1], copy)
    if json:
        put_json({"known": stone is not None, "tombstone": None if stone is None else stone.to_json()})
    else:
        say(f"{copy}: not known here" if stone is None else f"{copy}: was {stone.path}, deleted by: {stone.rule}")
    if stone is None:
        raise typer.Exit(1)


def hold(
    start: Annotated[str, typer.Option("--from", help="RFC 3339 with offset.")],
    end: Annotated[str, typer.Option("--until", help="RFC 3339 with offset; not included.")],
    why: Annotated[str, typer.Option(help="Why these readings are kept.")],
    cited_by: Annotated[str, typer.Option(help="The paper or the case that rests on them.")] = "",
    kind: Annotated[list[str] | None, typer.Option(help="Kinds of readings; without it: all.")] = None,
    key: Key = "",
    url: Url = HERE,
    json: Json = False,
) -> None:
    """Keep readings of a running hub from deletion, until released by name."""
    body = {"from": start, "until": end, "why": why, "cited_by": cited_by, "kinds": kind or []}
    _show(ask_hub("POST", url, key, "/archive/holds", body), json)


def release(
    hold_id: Annotated[str, typer.Argument(help="The hold's id, as `mining-hub archive show` names it.")],
    why: Annotated[str, typer.Option(help="Why they need not be kept any more.")],
    key: Key = "",
    url: Url = HERE,
    json: Json = False,
) -> None:
    """Let go of a person's hold. A report's hold is never released."""
    from urllib.parse import quote

    _show(ask_hub("POST", url, key, f"/archive/holds/{quote(hold_id, safe='')}/release", {"why": why}), json)


def _show(line: dict[str, Any], json: bool) -> None:
    if json:
        put_json(line)
    else:
        put_table("Hold", ("field", "value"), [(name, str(value)) for name, value in line.items() if value])
