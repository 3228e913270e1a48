# SPDX-License-Identifier: Apache-2.0
"""What the miners really do, as the running hub has learnt it, or learnt afresh from a stretch of its journal."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.folder import opened
from hub.cli.output import put_json, put_table, say
from kernel.event import EventKind
from kernel.units import MS_PER_DAY

if TYPE_CHECKING:
    from miner_control.learning.dynamics import Dynamics, Key
    from telemetry.store.journal import Journal

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on the last line.")]
Folder = Annotated[Path, typer.Argument(help="The folder that holds hub.toml.")]


_NAMES = {"mode_power_w": ("W", 1.0), "mode_hashrate_hs": ("TH/s", 1e-12), "mode_j_per_th": ("J/TH", 1.0)}


def add_to(miners: typer.Typer) -> None:
    """The command of this room, under `miners`."""
    miners.command("learn")(learn)


def learn(
    folder: Folder,
    days: Annotated[
        float | None, typer.Option(min=0.01, help="Learn afresh from so many days of the journal instead.")
    ] = None,
    write: Annotated[Path | None, typer.Option("--write", help="File for what was learnt (JSON).")] = None,
    json: Json = False,
) -> None:
    """What the miners really do, against what was assumed: ramps, standby, watts, hashes and J/TH per mode.

    Without --days: what the running hub has learnt of itself and uses now.
    """
    from hub.query.learnt import learnt_lines
    from miner_control.learning.batch import identification_text

    _, journal, state = opened(folder)
    assumed = {key: one for site in state.sites.values() for key, one in site.assumed.items()}
    found: dict[Key, Dynamics] = {
        key: one for site in state.sites.values() for key, one in site.identification.reported.items()
    }
    if days is not None:
        found = _afresh(
            journal, {d: site.envelope(d).key for site in state.sites.values() for d in site.roster.devices}, days
        )
    if write is not None:
        write.write_text(identification_text(found), encoding="utf-8")
        say(f"{write}: {len(found)} models")
    lines = learnt_lines(found, assumed)
    if json:
        put_json({"dynamics": lines})
        return
    rows = [
        (
            f"{line['model']} ({line['firmware']})", *_shown(line), line["count"], round(line["confidence"], 2),
            line["in_use"],
        )
        for line in lines
    ]  # fmt: skip
    put_table("Dynamics", ("model", "what", "learnt", "assumed", "count", "confidence", "in use"), rows)


def _shown(line: "dict[str, Any]") -> "tuple[str, float, float | None]":
    """(what, learnt, assumed) as people read them."""
    name, scale = _NAMES.get(line["what"], (line["what"], 1.0))
    what = f"{name} in {line['mode']}" if line["mode"] else name
    assumed = line["assumed"]
    return what, round(line["identified"] * scale, 1), None if assumed is None else round(assumed * scale, 1)


def _afresh(journal: "Journal", key_of: "dict[str, Key]", days: float) -> "dict[Key, Dynamics]":
    from miner_control.learning.batch import identification

    newest_ms = max((one.at_ms for one in journal.last("miner")), default=0)
    batches = journal.batches("miner", newest_ms - round(days * MS_PER_DAY), newest_ms + 1)
    events = (event for _, event in journal.events([EventKind.COMMAND_ISSUED, EventKind.COMMAND_RECEIPT]))
    return identification(batches, events, key_of)
