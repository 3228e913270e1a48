# SPDX-License-Identifier: Apache-2.0
"""Commands that prove racks against their feeders' meters by pulse, through a running hub."""

from typing import Annotated, Any

import typer

from hub.cli.act import HERE, Key, Site, Url, ask_hub
from hub.cli.output import put_json, put_table, say
from hub.cli.placement import show_learnt

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on the last line.")]


def add_to(miners: typer.Typer) -> None:
    """The commands of this room, under `miners`."""
    miners.command("map-feeders")(map_feeders)
    miners.command("feeder-mapping")(feeder_mapping)


def map_feeders(
    site: Site,
    racks: Annotated[list[str] | None, typer.Argument(help="Racks of the inventory, in the order to take.")] = None,
    off_s: Annotated[
        float, typer.Option(min=5.0, max=1800.0, help="Seconds that each sleeps, and is watched before and after.")
    ] = 60.0,
    stop: Annotated[bool, typer.Option("--stop", help="No further rack; the one that sleeps is woken.")] = False,
    key: Key = "",
    url: Url = HERE,
    json: Json = False,
) -> None:
    """Put one rack after the other to sleep, and see which feeder's meter falls. `feeder-mapping` shows the outcome."""
    if stop:
        reported = ask_hub("POST", url, key, f"/sites/{site}/feeder-mapping/stop", {})
    else:
        reported = ask_hub("POST", url, key, f"/sites/{site}/feeder-mapping", {"racks": racks or [], "off_s": off_s})
    if json:
        put_json(reported)
    else:
        _show(reported)


def feeder_mapping(
    site: Site,
    apply: Annotated[bool, typer.Option("--apply", help="Take the proven feeders in as facts of each miner.")] = False,
    key: Key = "",
    url: Url = HERE,
    json: Json = False,
) -> None:
    """Result of each rack by the meters. Exit code 1 where a rack hangs elsewhere than the register says."""
    reported = ask_hub("GET", url, key, f"/sites/{site}/feeder-mapping")
    if apply:
        show_learnt(ask_hub("POST", url, key, f"/sites/{site}/feeder-mapping/apply", {}), json)
        return
    if json:
        put_json(reported)
    else:
        _show(reported)
    if reported["mismatches"]:
        raise typer.Exit(1)


def _show(reported: dict[str, Any]) -> None:
    running = reported["running"]
    if running is not None:
        now = f", {running['rack']} {running['step']}" if running["rack"] else ""
        say(f"{running['done']} of {len(running['racks'])} racks done{now}")
    rows = []
    for one in reported["racks"]:
        result = one["result"] or {}
        watts = [round(result[name]) if result else None for name in ("moved_w", "expected_w")]
        ratio = round(result["noise_ratio"], 1) if result else None
        places = (result.get("declared"), result.get("feeder") or ("none" if result else None))
        rows.append((one["rack"], one["outcome"], *places, *watts, ratio, one["agrees"], one["why"]))
    columns = ("rack", "outcome", "declared", "moved", "W", "W expected", "of the noise", "agrees", "why")
    put_table("Racks", columns, rows)
    for one in reported["mismatches"]:
        typer.echo(f"rack {one['rack']}: {one['problem']}. {one['remedy']}")
