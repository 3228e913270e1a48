# SPDX-License-Identifier: Apache-2.0
"""Models of miners that have no profile."""

from pathlib import Path
from typing import Annotated

import typer

from hub.cli.folder import last_ms, opened, say_observing
from hub.cli.output import put_json, put_table, say
from kernel.units import HS_PER_THS

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on the last line.")]
Folder = Annotated[Path, typer.Argument(help="The folder that holds hub.toml.")]


def add_to(miners: typer.Typer) -> None:
    """The command of this room, under `miners`."""
    miners.command("models")(miners_models)


def miners_models(
    folder: Folder,
    write: Annotated[
        bool, typer.Option("--write", help="Write a profile of each measured one into profiles/miners of the folder.")
    ] = False,
    json: Json = False,
) -> None:
    """Model names without a profile, with what their miners report: such miners run, on assumed figures."""
    from dataclasses import asdict

    from hub.query.unprofiled import profile_text, unprofiled
    from hub.state.situation import Freshness, situation_at

    config, journal, known = opened(folder)
    now_ms = journal.position() and last_ms(journal)
    say_observing(known.sites.values())
    found = {
        site.key: unprofiled(situation_at(known, site, now_ms, Freshness.of(config))) for site in known.sites.values()
    }
    rows = [(key, one) for key, ones in found.items() for one in ones]
    if write:
        for one in {(one.model, one.dialect): one for _, one in rows if one.measured and one.model}.values():
            path = folder / "profiles" / "miners" / f"{_file_name(one.model)}.toml"
            if path.exists():
                say(f"{path}: is there already, left alone")
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(profile_text(one), encoding="utf-8")
            say(f"{path}: written; correct what says EDIT")
    if json:
        put_json({"as_of_ms": now_ms, "models": [{"site": key, **asdict(one)} for key, one in rows]})
        return
    table = [
        (
            *([key] if len(found) > 1 else []), one.model or "(no name)", one.dialect, one.miners,
            None if one.power_w is None else round(one.power_w),
            None if one.hashrate_hs is None else round(one.hashrate_hs / HS_PER_THS, 1), one.measured,
        )
        for key, one in rows
    ]  # fmt: skip
    columns = [*(["site"] if len(found) > 1 else []), "model", "dialect", "miners", "W", "TH/s", "measured"]
    put_table(f"{len(rows)} models without a profile", columns, table)


def _file_name(model: str) -> str:
    """`Antminer S99 Pro+` -> `antminer-s99-pro-plus`; no part of a path."""
    plain = model.lower().replace("+", "-plus")
    return "-".join("".join(c if c.isascii() and c.isalnum() else " " for c in plain).split()) or "model"
