# SPDX-License-Identifier: Apache-2.0
"""Commands for faulty miners and third-party control: tickets, other control systems, taking a miner back."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hub.cli.act import HERE, Key, Site, Url, ask_hub
from hub.cli.folder import opened
from hub.cli.output import put_json, put_table, say
from kernel.units import HS_PER_THS

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on the last line.")]
Folder = Annotated[Path, typer.Argument(help="The folder that holds hub.toml.")]


def add_to(miners: typer.Typer) -> None:
    """The commands of this room, under `miners`."""
    miners.command("tickets")(tickets)
    miners.command("third-party")(third_party)
    miners.command("release")(release)
    miners.command("missing")(missing_now)
    miners.command("wake-recovery")(wake_recovery)


def tickets(
    folder: Folder,
    every: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    json: Json = False,
) -> None:
    """Work tickets of faulty miners, costliest first, with the evidence."""
    from kernel.clock import iso

    _, _, state = opened(folder)
    found = [ticket.to_json() for site in state.sites.values() for ticket in site.tickets.tickets(closed=every)]
    if json:
        put_json({"tickets": found})
        return
    rows = [
        (
            one["device"].partition("/")[2], one["what"], one["text"], one["loss_hs"] / HS_PER_THS,
            iso(one["opened_ms"])[5:16], "open" if one["closed_ms"] is None else iso(one["closed_ms"])[5:16], one["remedy"],
        )
        for one in found
    ]  # fmt: skip
    put_table(f"{len(rows)} tickets", ("miner", "what", "finding", "TH/s lost", "since", "until", "remedy"), rows)


def third_party(folder: Folder, json: Json = False) -> None:
    """Who else commands here: miners that are left alone, containers with tactics of their own."""
    from hub.query.rows import third_party_line

    _, _, state = opened(folder)
    found = [
        third_party_line(scope, event)
        for site in state.sites.values()
        for scope, event in sorted(site.third_parties.items())
    ]
    if json:
        put_json({"third_party": found})
        return
    rows = [(one["scope"].partition("/")[2], one["who"], one["text"]) for one in found]
    put_table(f"{len(rows)} under other control", ("where", "system", "evidence"), rows)


def release(
    site: Site,
    device: Annotated[str, typer.Argument(help="The miner's name within the site.")],
    why: Annotated[str, typer.Option(help="The reason; it is journalled.")],
    key: Key = "",
    url: Url = HERE,
    json: Json = False,
) -> None:
    """Take back a miner that was left to another control system; the hub commands it again."""
    reported: Any = ask_hub("POST", url, key, f"/sites/{site}/miners/{device}/release", {"why": why})
    if json:
        put_json(reported)
    else:
        say(f"{reported['device']} is commanded again")


def missing_now(
    folder: Folder,
    after_s: Annotated[float, typer.Option(min=0.0, help="Late once so many seconds have passed.")] = 1200.0,
    json: Json = False,
) -> None:
    """Who was woken and did not come back, what came of the wake, and the hashrate that is not there."""
    from hub.cli.folder import last_ms
    from hub.query.missing_miners import missing
    from hub.state.situation import Freshness, situation_at

    config, journal, state = opened(folder)
    now_ms, freshness = last_ms(journal), Freshness.of(config)
    sites = [(site, situation_at(state, site, now_ms, freshness)) for site in state.sites.values()]
    found = [one for site, now in sites for one in missing(site, now, after_s)]
    if json:
        put_json({"as_of_ms": now_ms, "missing": found})
        return
    put_table(f"{len(found)} did not come back", _MISSING, map(_missing_row, found))


_MISSING = ("miner", "state", "minutes late", "wake was", "text", "tried", "TH/s lost")


def _missing_row(one: dict[str, Any]) -> tuple[Any, ...]:
    minutes, tried = round(one["late_s"] / 60, 1), ", ".join(one["tried"])
    device, lost_ths = one["device"].partition("/")[2], one["lost_hs"] / HS_PER_THS
    return device, one["state"], minutes, one["outcome"], one["text"], tried, lost_ths


def wake_recovery(folder: Folder, json: Json = False) -> None:
    """After each order that ended: how many were woken, how many came back, who is missing and what was tried."""
    from hub.query.missing_miners import restores
    from kernel.clock import iso

    _, _, state = opened(folder)
    found = [body for site in state.sites.values() for body in restores(site)]
    if json:
        put_json({"wake_recovery": found})
        return
    rows = [
        (
            one["order"],
            iso(one["ended_ms"])[5:16],
            round(one["after_s"] / 60),
            one["woken"],
            one["back"],
            one["lost_hs"] / HS_PER_THS,
        )
        for one in found
    ]
    put_table(f"{len(rows)} restores", ("order", "ended", "minutes after", "woken", "back", "TH/s lost"), rows)
    for one in found[:1]:
        put_table("Missing after the last", _MISSING, map(_missing_row, one["missing"]))
