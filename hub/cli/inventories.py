# SPDX-License-Identifier: Apache-2.0
"""Commands for what is used today: another system's export as our inventory, and the pools' worker names."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from hub.cli.folder import SiteFolder, opened, table_text
from hub.cli.output import put_json, put_table, say
from hub.cli.placement import put_file

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on the last line.")]
Folder = Annotated[Path, typer.Argument(help="The folder that holds hub.toml.")]


def add_to(miners: typer.Typer) -> None:
    """The commands of this room, under `miners`."""
    miners.command("import")(take_in)
    miners.command("workers")(workers)


def take_in(
    export: Annotated[Path, typer.Argument(help="CSV of another system; usual column names are known.")],
    write: Annotated[
        Path | None, typer.Option("--write", help="The inventory to write; what did not fit: *.left.csv.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Write although the inventory is there already.")] = False,
    feeder: Annotated[str, typer.Option(help="The feeder of lines that name none.")] = "unassigned",
    hub: Annotated[str, typer.Option()] = "hub-1",
    site: Annotated[str, typer.Option()] = "site-1",
    folder: SiteFolder = Path(),
    json: Json = False,
) -> None:
    """Another system's inventory as ours. Exit code 1 where lines did not fit: each is named, and none is lost."""
    from hub.wiring import catalogue
    from kernel.errors import ConfigError, Fault
    from miner_control.inventory.asset_register import inventory_csv
    from miner_control.inventory.import_inventory import imported, left_csv

    models = catalogue(folder)
    found = imported(table_text(export), export.name, hub, site, lambda text: models.find(text) is not None, feeder)
    if write is not None:
        if write.exists() and not replace:
            raise ConfigError([Fault(str(write), "is there already", "Name another file, or give --replace")])
        put_file(write, inventory_csv(found.register))
        say(f"{write}: {len(found.register.miners)} miners")
        if found.left:
            rest = write.with_suffix(".left.csv")
            put_file(rest, left_csv(found.left))
            say(f"{rest}: {len(found.left)} lines that did not fit; mend and import them")
    faults = [{"place": f.place, "problem": f.problem, "remedy": f.remedy} for f in found.faults]
    groups = Counter(miner.feeder for miner in found.register.miners)
    if json:
        put_json({"miners": len(found.register.miners), "left": len(found.left), "groups": groups, "faults": faults})
    else:
        put_table("Taken in", ("feeder", "miners"), sorted(groups.items()))
        put_table(f"{len(found.left)} lines did not fit", ("where", "what", "do"), [tuple(f.values()) for f in faults])
    if found.left:
        raise typer.Exit(1)


def workers(
    folder: Folder,
    template: Annotated[
        str, typer.Option(help="Such as account.{rack}x{position}; without it the one of [[pools.*]] in hub.toml.")
    ] = "",
    site: Annotated[str | None, typer.Option(help="Which site; without it all.")] = None,
    differing: Annotated[bool, typer.Option("--differing", help="Only miners that work under another name.")] = False,
    json: Json = False,
) -> None:
    """The pool's worker name of each miner by a template, and what it tells that it works as. Exit code 1 where two share one."""
    from kernel.errors import ConfigError, Fault
    from miner_control.health.third_party_control import worker_name

    config, _, state = opened(folder)
    templates = [template] if template else sorted({p.worker for parts in config.pools.values() for p in parts})
    if len(templates) != 1:
        known = ", ".join(templates) or "none stands in hub.toml"
        raise ConfigError([Fault("--template", "is missing", f"Give one; {known}")])
    table = state.snapshot.kind("miner")
    rows: list[dict[str, Any]] = []
    for here in state.sites.values():
        for miner in here.register.miners if site in (None, here.config.name) else ():
            try:
                named = worker_name(templates[0], miner)
            except (KeyError, ValueError, IndexError) as error:
                raise ConfigError([Fault("--template", str(error.args[0]), "Correct it")]) from None
            reported = table.reading(miner.device).get("pool_user") if miner.device in table.index else None
            reported = reported if isinstance(reported, str) else None
            differs = reported is not None and reported != named
            rows.append({"device": miner.device, "worker": named, "told": reported, "differs": differs})
    shared = sorted(name for name, count in Counter(row["worker"] for row in rows).items() if count > 1)
    shown = [row for row in rows if row["differs"] or not differing]
    if json:
        put_json({"template": templates[0], "workers": shown, "shared": shared})
    else:
        count = sum(row["differs"] for row in rows)
        title = f"{len(rows)} workers, {count} of them under another name now"
        put_table(title, ("miner", "worker", "works as", "differs"), [tuple(row.values()) for row in shown])
        for name in shared:
            typer.echo(f"{name}: several miners would share it; place them, or use another template")
    if shared:
        raise typer.Exit(1)
