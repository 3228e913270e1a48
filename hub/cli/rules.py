# SPDX-License-Identifier: Apache-2.0
"""Dated rules of a jurisdiction by the command line: value, source, and which of them nobody has confirmed."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from hub.cli.folder import SiteFolder
from hub.cli.output import put_json, put_table

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on the last line.")]


def add_to(app: typer.Typer) -> None:
    """The commands of this module."""
    app.command("rules")(rules)


def rules(
    key: Annotated[str, typer.Argument(help="One rule, such as kz.mining_fee.rate; without it: all in force.")] = "",
    place: Annotated[str, typer.Option(help="A file of jurisdictions/ by its name.")] = "kazakhstan",
    folder: SiteFolder = Path(),
    file: Annotated[Path | None, typer.Option(help="Your own file instead.")] = None,
    day: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Without it: today there.")] = None,
    json: Json = False,
) -> None:
    """Rates, shares and deadlines in force on a day, what is unknown, and what a report may use only as a draft."""
    from zoneinfo import ZoneInfo

    from hub.config.lookup import look_up
    from kernel.clock import system_clock, to_datetime
    from treasury.rules import load_rules

    found = load_rules(file or look_up(folder, f"jurisdictions/{place}.toml"))
    on = day.date() if day else to_datetime(system_clock().now_ms()).astimezone(ZoneInfo(found.zone)).date()
    shown = [found.on(key, on)] if key else [rule for rule in found.rules if rule.holds(on)]
    unknown, draft = found.unknown(), found.unconfirmed(on)
    rows = [
        {
            "rule": rule.key, "value": rule.value, "unit": found.units[rule.key], "sure": rule.sure,
            "from": str(rule.valid_from), "to": str(rule.valid_to) if rule.valid_to else None,
            "draft": rule.key in draft, "confirmed_by": rule.confirmed_by, "source": rule.source,
        }
        for rule in shown
    ]  # fmt: skip
    if json:
        put_json({"jurisdiction": found.name, "day": str(on), "rules": rows, "unknown": unknown, "draft": draft})
        return
    table = [
        (row["rule"], "unknown" if row["value"] is None else row["value"], row["unit"], row["sure"], row["from"])
        for row in rows
    ]
    put_table(f"{found.name} on {on}", ("rule", "value", "unit", "sure", "since"), table)
    put_table("Only for drafts until confirmed by name", ("rule",), [(name,) for name in draft])
