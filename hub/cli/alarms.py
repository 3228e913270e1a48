# SPDX-License-Identifier: Apache-2.0
"""Alarms by the command line: list, roll-up, quality; acknowledge, shelve, set out of service."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hub.cli.act import HERE, Key, Site, Url, ask_hub
from hub.cli.folder import last_ms, opened
from hub.cli.output import put_json, put_table
from kernel.event import EventKind
from kernel.units import MS_PER_DAY

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on the last line.")]
Folder = Annotated[Path, typer.Argument(help="The folder that holds hub.toml.")]
Rule = Annotated[str, typer.Argument(help="The alarm's rule.")]
Scope = Annotated[str | None, typer.Option(help="The one place; without it: wherever the rule stands at the site.")]


def add_to(app: typer.Typer) -> None:
    """The commands of this room."""
    alarms = typer.Typer(
        help="Alarms after ISA-18.2: list, answer, judge them.", no_args_is_help=True, rich_markup_mode=None
    )
    alarms.command("list")(alarms_list)
    alarms.command("rules")(rules)
    alarms.command("kpi")(kpi)
    alarms.command("ack")(acknowledge)
    alarms.command("shelve")(shelve)
    alarms.command("unshelve")(unshelve)
    alarms.command("out-of-service")(out_of_service)
    alarms.command("in-service")(in_service)
    app.add_typer(alarms, name="alarms")


def alarms_list(
    folder: Folder,
    every: Annotated[bool, typer.Option("--all", help="Also the shelved and the suppressed.")] = False,
    json: Json = False,
) -> None:
    """What stands by the journal, most urgent first, and how it rolls up to rack, feeder and site."""
    from kernel.clock import iso

    _, _, state = opened(folder)
    book = state.alarms
    found = sorted(
        book.alarms(annunciated=not every), key=lambda one: (book.rules[one.rule].priority.rank, one.raised_ms)
    )
    rows = [
        {
            "rule": one.rule, "scope": one.scope, "priority": str(one.priority.value), "state": str(one.state.value),
            "raised": iso(one.raised_ms), "text": book.rules[one.rule].text, "action": book.rules[one.rule].action,
        }
        for one in found
    ]  # fmt: skip
    if json:
        put_json({"alarms": rows, "roll_up": book.roll_up()})
        return
    table = [
        (row["priority"], row["scope"].partition("/")[2], row["text"], row["state"], row["raised"][5:16])
        for row in rows
    ]
    put_table(f"{len(rows)} alarms", ("priority", "where", "what", "state", "since (UTC)"), table)
    places = [
        (scope, ", ".join(f"{count} {state}" for state, count in counts.items()))
        for scope, counts in book.roll_up().items()
    ]
    if places:
        put_table("Rolled up", ("place", "standing"), places)


def rules(folder: Folder, json: Json = False) -> None:
    """Every rule: what it watches, how urgent it is, what to do."""
    _, _, state = opened(folder)
    rows = [
        {
            "rule": rule.id,
            "kind": rule.kind,
            "priority": str(rule.priority.value),
            "text": rule.text,
            "action": rule.action,
        }
        for rule in state.alarms.rules.values()
    ]
    if json:
        put_json({"rules": rows})
        return
    put_table("Rules", ("rule", "of", "priority", "text"), [tuple(row.values())[:4] for row in rows])


def kpi(
    folder: Folder,
    days: Annotated[float, typer.Option(min=0.01, help="How far back.")] = 7.0,
    json: Json = False,
) -> None:
    """Rate, floods, standing, chattering, the worst places, the time to acknowledgement."""
    from dataclasses import asdict

    from kernel.span import Span
    from telemetry.alarm.kpi import kpis

    _, journal, _ = opened(folder)
    now_ms = last_ms(journal)
    changes = [(event.at_ms, event.body) for _, event in journal.events([EventKind.ALARM_CHANGED])]
    found = asdict(kpis(changes, Span(now_ms - round(days * MS_PER_DAY), now_ms + 1), now_ms))
    if json:
        put_json(found)
        return
    plain = [(name, value) for name, value in found.items() if not isinstance(value, list | tuple | dict)]
    put_table(f"Alarms of {days:g} days", ("figure", "value"), plain)
    put_table("Worst places", ("rule and place", "times"), list(found["bad_actors"]))


def acknowledge(
    site: Site, rule: Rule, scope: Scope = None, key: Key = "", url: Url = HERE, json: Json = False
) -> None:
    """Acknowledge an alarm; the person is journalled."""
    body = {"rule": rule} | ({} if scope is None else {"scope": scope})
    _show(ask_hub("POST", url, key, f"/sites/{site}/alarms/acknowledge", body), json)


def shelve(
    site: Site,
    rule: Rule,
    why: Annotated[str, typer.Option(help="The reason; it is journalled.")],
    minutes: Annotated[int, typer.Option(min=1, max=10_080, help="It comes back by itself after so long.")],
    scope: Scope = None,
    key: Key = "",
    url: Url = HERE,
    json: Json = False,
) -> None:
    """Put it out of sight for some minutes, for a reason."""
    body = {"rule": rule, "why": why, "minutes": minutes} | ({} if scope is None else {"scope": scope})
    _show(ask_hub("POST", url, key, f"/sites/{site}/alarms/shelve", body), json)


def unshelve(site: Site, rule: Rule, scope: Scope = None, key: Key = "", url: Url = HERE, json: Json = False) -> None:
    """Bring it back before its time."""
    body = {"rule": rule} | ({} if scope is None else {"scope": scope})
    _show(ask_hub("POST", url, key, f"/sites/{site}/alarms/unshelve", body), json)


def out_of_service(
    site: Site,
    rule: Rule,
    why: Annotated[str, typer.Option(help="The reason; it is journalled.")],
    scope: Scope = None,
    key: Key = "",
    url: Url = HERE,
    json: Json = False,
) -> None:
    """Take it out of service until `in-service` is given, for a reason (a meter in the laboratory)."""
    body = {"rule": rule, "why": why} | ({} if scope is None else {"scope": scope})
    _show(ask_hub("POST", url, key, f"/sites/{site}/alarms/out-of-service", body), json)


def in_service(site: Site, rule: Rule, scope: Scope = None, key: Key = "", url: Url = HERE, json: Json = False) -> None:
    """Back in service."""
    body = {"rule": rule} | ({} if scope is None else {"scope": scope})
    _show(ask_hub("POST", url, key, f"/sites/{site}/alarms/in-service", body), json)


def _show(lines: Any, json: bool) -> None:
    if json:
        put_json({"alarms": lines})
        return
    rows = [(line["rule"], line["scope"].partition("/")[2], line["state"], line["who"]) for line in lines]
    put_table(f"{len(rows)} alarms", ("rule", "where", "state", "by"), rows)
