# SPDX-License-Identifier: Apache-2.0
"""Commands about where miners stand and what stands around them: say it, read its history, plan it, write it down."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.act import HERE, Key, Site, Url, ask_hub
from hub.cli.folder import opened, table_text
from hub.cli.output import put_json, put_table, say

if TYPE_CHECKING:
    from miner_control.inventory.asset_register import Fact

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on the last line.")]
Folder = Annotated[Path, typer.Argument(help="The folder that holds hub.toml.")]
Apply = Annotated[bool, typer.Option("--apply", help="Tell the running hub; without it nothing is changed.")]
AT_ONCE = 400
"""Facts in one request: a longer list goes in several, each of them whole or not at all."""


def add_to(miners: typer.Typer) -> None:
    """The commands of this room, under `miners`."""
    miners.command("place")(place)
    miners.command("facts")(facts)
    miners.command("auxiliaries")(auxiliaries)
    miners.command("inventory")(inventory)
    miners.command("plan-addresses")(plan_addresses)


def place(
    site: Site,
    device: Annotated[str, typer.Argument(help="The miner's name within the site.")],
    given: Annotated[
        list[str],
        typer.Argument(help="feeder=f2 rack=r3 slot=7 phase=0 owner=acme container=c1; nothing after = for unknown."),
    ],
    since: Annotated[str | None, typer.Option("--from", help="RFC 3339 with offset; without it: from now on.")] = None,
    source: Annotated[str, typer.Option(help="Who says so.")] = "a person",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be new.")] = False,
    key: Key = "",
    url: Url = HERE,
    json: Json = False,
) -> None:
    """Say where a miner stands, as facts from now or an earlier day on. The running hub goes by it at once."""
    from kernel.errors import ConfigError, Fault

    if wrong := [pair for pair in given if "=" not in pair]:
        raise ConfigError([Fault(pair, "says nothing", "Write what=value, such as rack=r3") for pair in wrong])
    dated = {} if since is None else {"from": since}
    rows = [{"device": device, "what": what, "value": value, **dated} for what, _, value in map(_split, given)]
    body = {"facts": rows, "source": source, "dry_run": dry_run}
    show_learnt(ask_hub("POST", url, key, f"/sites/{site}/facts", body), json)


def auxiliaries(folder: Folder, json: Json = False) -> None:
    """Pumps, fans, heaters, sockets and contactors with their last states, and the loops with their wake interlocks."""
    from hub.cli.folder import last_ms
    from hub.query.auxiliaries import auxiliary_lines
    from hub.state.situation import Freshness, situation_at

    config, journal, state = opened(folder)
    now_ms, freshness = last_ms(journal), Freshness.of(config)
    found = {
        site.config.name: auxiliary_lines(state.snapshot, site, situation_at(state, site, now_ms, freshness))
        for site in state.sites.values()
    }
    if json:
        put_json({"sites": found})
        return
    names = {True: "on", False: "off", None: "not known"}
    rows = [
        (
            site, one["name"], one["kind"], f"{one['device'].rpartition('/')[2]} {one['output']}", names[one["on"]],
            one["power_w"], one["measured_w"], one["serves"],
        )
        for site, reported in found.items() for one in reported["loads"]
    ]  # fmt: skip
    put_table(f"{len(rows)} loads", ("site", "load", "kind", "switched by", "is", "W", "W measured", "serves"), rows)
    loops = [
        (site, one["name"], one["supply_c"], one["ambient_c"], names[one["flow_ok"]], one["heat_w"], one["holds"])
        for site, reported in found.items()
        for one in reported["loops"]
    ]
    put_table(f"{len(loops)} loops", ("site", "loop", "inlet C", "outside C", "flow", "heat W", "holds wakes"), loops)


def _split(pair: str) -> tuple[str, str, str]:
    return pair.partition("=")


def tell_hub(site: str, found: "list[Fact]", key: str, url: str, dry: bool) -> dict[str, Any]:
    """Send facts of one source to a running hub, some hundred at a time; its answers as one."""
    from hub.fleet.placement import fact_line

    reported: dict[str, Any] = {"dry_run": dry, "known": 0, "recorded": []}
    for at in range(0, len(found), AT_ONCE):
        some = found[at : at + AT_ONCE]
        rows = [{name: value for name, value in fact_line(one).items() if name != "source"} for one in some]
        body = {"facts": rows, "source": some[0].source, "dry_run": dry}
        answer = ask_hub("POST", url, key, f"/sites/{site}/facts", body)
        reported["known"] += answer["known"]
        reported["recorded"] += answer["recorded"]
    return reported


def show_learnt(reported: dict[str, Any], json: bool) -> None:
    """What was, or would be, new of some facts."""
    if json:
        put_json(reported)
        return
    rows = [tuple(one[name] for name in ("device", "what", "value", "from", "source")) for one in reported["recorded"]]
    title = "Would be new" if reported["dry_run"] else "Learnt"
    put_table(f"{title}; {reported['known']} were known", ("miner", "what", "value", "from", "source"), rows)


def facts(
    folder: Folder,
    device: Annotated[str | None, typer.Option(help="Only of this miner, by hub/site/device or its name.")] = None,
    json: Json = False,
) -> None:
    """What was learnt of where miners stand, oldest first: what held last month is still known."""
    from hub.fleet.placement import fact_line

    _, _, state = opened(folder)
    found = [fact for site in state.sites.values() for fact in site.register.facts]
    found = [one for one in found if device is None or device in (one.device, one.device.rpartition("/")[2])]
    found.sort(key=lambda one: (one.from_ms, one.device, one.what))
    if json:
        put_json({"facts": [{**fact_line(one), "device": one.device} for one in found]})
        return
    rows = [tuple({**fact_line(one), "device": one.device}.values()) for one in found]
    put_table(f"{len(rows)} facts", ("miner", "what", "value", "from", "source"), rows)


def inventory(
    folder: Folder,
    site: Annotated[str | None, typer.Option(help="Which site, where the hub has several.")] = None,
    write: Annotated[Path | None, typer.Option("--write", help="File (CSV); without it: standard output.")] = None,
    dated: Annotated[Path | None, typer.Option("--facts", help="Also write every fact to this file (TOML).")] = None,
) -> None:
    """The inventory with the facts that hold now, as the CSV that a hub starts from."""
    from miner_control.inventory.asset_register import facts_toml, inventory_csv

    register = site_of_folder(folder, site).register
    text = inventory_csv(register)
    if write is None:
        typer.echo(text, nl=False)
    else:
        put_file(write, text)
        say(f"{write}: {len(register.miners)} miners")
    if dated is not None:
        put_file(dated, facts_toml(register))
        say(f"{dated}: {len(register.facts)} facts")


def put_file(path: Path, text: str) -> None:
    """A file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def site_of_folder(folder: Path, name: str | None) -> Any:
    """The named site as the journal tells it; the only one where none is named."""
    from kernel.errors import ConfigError, Fault

    _, _, state = opened(folder)
    found = [site for site in state.sites.values() if name is None or site.config.name == name]
    if len(found) != 1:
        known = ", ".join(site.config.name for site in state.sites.values())
        raise ConfigError([Fault("site", "no such site" if name else "is missing", f"Name one of: {known}")])
    return found[0]


def plan_addresses(
    folder: Folder,
    plan: Annotated[Path, typer.Argument(help="CSV of first, slots, rack, feeder: a rack's addresses run from first.")],
    site: Annotated[str | None, typer.Option(help="Which site, where the hub has several.")] = None,
    apply: Apply = False,
    key: Key = "",
    url: Url = HERE,
    json: Json = False,
) -> None:
    """Rack, slot and feeder of each miner from its address. A dry run unless --apply; addresses in no row are listed."""
    from kernel.clock import system_clock
    from miner_control.inventory.position import by_address, read_plan

    here = site_of_folder(folder, site)
    feeders = {feeder.name for feeder in here.config.feeders}
    rows = read_plan(table_text(plan), plan.name, feeders)
    found, lost = by_address(here.register, rows, system_clock().now_ms())
    if apply:
        reported = tell_hub(here.config.name, found, key, url, False)
    else:
        from hub.fleet.placement import fact_line

        news = here.register.learn(found).facts[len(here.register.facts) :]
        reported = {"dry_run": True, "known": len(found) - len(news), "recorded": [fact_line(fact) for fact in news]}
    reported["lost"] = [device.rpartition("/")[2] for device in lost]
    show_learnt(reported, json)
    if lost and not json:
        say(f"in no row: {', '.join(reported['lost'])}")
