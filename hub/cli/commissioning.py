# SPDX-License-Identifier: Apache-2.0
"""The command for walking along racks and pressing the miners' IP-report buttons, through a running hub."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hub.cli.act import HERE, Key, Site, Url, ask_hub
from hub.cli.folder import table_text
from hub.cli.output import put_json, put_table, say
from hub.cli.placement import show_learnt

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on the last line.")]
COLUMNS = ("rack", "position", "feeder")


def add_to(miners: typer.Typer) -> None:
    """The command of this room, under `miners`."""
    miners.command("commissioning")(commissioning)


def commissioning(
    site: Site,
    slots: Annotated[
        Path | None, typer.Option(help="Begin: CSV of rack, position (or slot), feeder, in the order of the walk.")
    ] = None,
    end: Annotated[bool, typer.Option("--end", help="Take in what was pressed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --end: only tell what it would be.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Forget what was pressed.")] = False,
    key: Key = "",
    url: Url = HERE,
    json: Json = False,
) -> None:
    """Walk along racks, pressing each miner's IP-report button; without an option: the last presses, and what comes next."""
    from kernel.errors import ConfigError, Fault

    if (slots is not None) + end + cancel > 1:
        raise ConfigError(
            [Fault("commissioning", "is asked for several things", "Give one of --slots, --end, --cancel")]
        )
    if end:
        _ended(ask_hub("POST", url, key, f"/sites/{site}/commissioning/end", {"dry_run": dry_run}), json)
        return
    if slots is not None:
        reported = ask_hub("POST", url, key, f"/sites/{site}/commissioning", {"slots": _slots(slots)})
    elif cancel:
        reported = ask_hub("POST", url, key, f"/sites/{site}/commissioning/cancel")
    else:
        reported = ask_hub("GET", url, key, f"/sites/{site}/commissioning")
    if json:
        put_json(reported)
    else:
        _show(reported)


def _slots(path: Path) -> list[dict[str, str]]:
    from kernel.errors import ConfigError, Fault
    from miner_control.inventory.spreadsheet import rows_of

    rows = rows_of(table_text(path))
    named = {column: "slot" if column == "position" and rows and "slot" in rows[0] else column for column in COLUMNS}
    lacking = [column for column, name in named.items() if not rows or name not in rows[0]]
    if lacking:
        raise ConfigError([Fault(path.name, f"has no column {', '.join(lacking)}", f"Write {', '.join(COLUMNS)}")])
    return [{column: str(row[name] or "").strip() for column, name in named.items()} for row in rows]


def _ended(reported: dict[str, Any], json: bool) -> None:
    show_learnt(reported, json)
    if not json:
        for fault in reported["faults"]:
            typer.echo(f"{fault['place']}: {fault['problem']}. {fault['remedy']}")
        if not reported["ended"]:
            say("the walk goes on")
    if reported["faults"]:
        raise typer.Exit(1)


def _show(reported: dict[str, Any]) -> None:
    from kernel.clock import iso

    walk = reported["commissioning"]
    if walk is not None:
        place = walk["next"]
        comes = "all slots had theirs" if place is None else f"next is {place['rack']}/{place['position']}"
        say(f"{walk['pressed']} of {walk['slots']} slots pressed, {comes}")
    elif not reported["listening"]:
        say("no button is heard: set ip_report.listen in hub.toml")
    rows = []
    for one in reported["presses"]:
        who = one["device"] or "nobody known"
        at = iso(one["pressed_ms"])[11:19]
        rows.append((at, who, one["host"], one["mac"], one.get("rack"), one.get("position")))
    put_table("Last presses", ("UTC", "miner", "address", "MAC", "rack now", "slot now"), rows)
