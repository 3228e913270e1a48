# SPDX-License-Identifier: Apache-2.0
"""Commands for bulk work through a running hub, and for the shelf of firmware images."""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from hub.cli.act import HERE, Key, Site, Url, ask_hub
from hub.cli.output import put_json, put_table, say

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on the last line.")]
JobId = Annotated[str, typer.Argument(help="The job's id.")]
Why = Annotated[str, typer.Option(help="The reason; it is journalled.")]
Config = Annotated[Path, typer.Argument(help="The hub's TOML file.")]


def add_to(app: typer.Typer) -> None:
    """The commands of this room."""
    job = typer.Typer(help="Bulk work: canary first, then waves.", no_args_is_help=True, rich_markup_mode=None)
    job.command("start")(start)
    job.command("list")(listed)
    for name in ("approve", "pause", "resume", "retry", "restore", "end"):
        job.command(name, help=_HELP[name])(_act(name))
    app.add_typer(job, name="job")
    firmware = typer.Typer(help="Firmware images that may be rolled out.", no_args_is_help=True, rich_markup_mode=None)
    firmware.command("add")(firmware_add)
    firmware.command("list")(firmware_list)
    app.add_typer(firmware, name="firmware")


_HELP = {
    "approve": "Approval by a second person, where two are needed. An own vote never counts.",
    "pause": "No further wave; what was sent takes its course.",
    "resume": "Go on with the next wave, whatever the last one brought: a person has looked.",
    "retry": "Ask those that failed once more, and no others.",
    "restore": "Bring every miner that was asked back to what it was.",
    "end": "Let go of what it holds: the plan has these miners again.",
}


def start(
    site: Site,
    name: Annotated[str, typer.Argument(help="What this work is called.")],
    intent: Annotated[
        str,
        typer.Argument(
            help="sleep, wake, reboot, locate, mode=, power=, percent=, pools=, credential=, firmware=, rollback."
        ),
    ],
    device: Annotated[list[str] | None, typer.Option(help="A miner by name; repeat it.")] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="rack=r01, model=S19*, feeder=, firmware=, state=; repeat.")
    ] = None,
    canary: Annotated[int, typer.Option(min=0, help="How many go first.")] = 3,
    wave_share: Annotated[float, typer.Option(min=0.001, max=1.0, help="Share of the rest in each wave.")] = 0.2,
    failure_share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="It pauses where more of a wave failed.")
    ] = 0.1,
    gap_s: Annotated[float, typer.Option(min=0.0, help="Seconds between waves.")] = 60.0,
    deadline_s: Annotated[
        float | None,
        typer.Option(min=10.0, help="Seconds that each miner has to show the effect: 300, and 1200 for firmware."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell who would be asked, in which waves.")] = False,
    key: Key = "",
    url: Url = HERE,
    json: Json = False,
) -> None:
    """Ask many miners for one thing. `--where state=*` is every miner of the site."""
    body: dict[str, Any] = {
        "name": name, "intent": intent, "canary": canary, "wave_share": wave_share, "failure_share": failure_share,
        "gap_s": gap_s, "dry_run": dry_run,
    }  # fmt: skip
    if deadline_s is not None:
        body["deadline_s"] = deadline_s
    if device:
        body["devices"] = device
    if where:
        body["where"] = dict(pair.partition("=")[::2] for pair in where)
    reported = ask_hub("POST", url, key, f"/sites/{site}/jobs", body)
    if json:
        put_json(reported)
        return
    for line in reported["preview"]:
        typer.echo(line)
    if dry_run:
        say("nothing was sent")
    else:
        say(f"job {reported['id']}" + ("; it waits for a second person" if reported["needs_two"] else ""))


def listed(site: Site, key: Key = "", url: Url = HERE, json: Json = False) -> None:
    """All bulk work of the site, newest first."""
    found = ask_hub("GET", url, key, f"/sites/{site}/jobs")
    if json:
        put_json({"jobs": found})
        return
    _table(found)


def _table(found: list[dict[str, Any]]) -> None:
    rows = [
        (
            one["id"], one["name"], one["intent"], one["state"], f"{one['wave']}/{one['waves']}",
            ", ".join(f"{count} {outcome}" for outcome, count in one["outcomes"].items()), one["waiting"], one["holds"],
            one["ended"] or one["paused"] or ("approved by " + one["approved_by"] if one["approved_by"] else ""),
        )
        for one in found
    ]  # fmt: skip
    put_table("Jobs", ("id", "name", "asked", "state", "waves", "outcomes", "waiting", "held", "remark"), rows)


def _act(act: str):  # type: ignore[no-untyped-def]
    def command(site: Site, job: JobId, why: Why = "", key: Key = "", url: Url = HERE, json: Json = False) -> None:
        body = {"why": why} if why else {}
        reported = ask_hub("POST", url, key, f"/sites/{site}/jobs/{quote(job, safe='')}/{act}", body)
        if json:
            put_json(reported)
        else:
            _table([reported])

    return command


def firmware_add(
    config: Config,
    file: Annotated[Path, typer.Argument(help="The image as its maker gives it out.")],
    sha256: Annotated[str, typer.Option(help="Its SHA-256 from the maker's page.")],
    version: Annotated[str, typer.Option(help="What a miner tells as its firmware once it runs it.")],
    dialect: Annotated[str, typer.Option(help="The firmware it replaces, such as antminer; patterns are fine.")],
    model: Annotated[str, typer.Option(help="The models it is for, such as 'Antminer S19*'.")],
    source: Annotated[str, typer.Option(help="Where it comes from.")] = "",
    json: Json = False,
) -> None:
    """Put an image on the shelf of a hub's data folder: only with the hash that its maker publishes."""
    from dataclasses import asdict

    from hub.config import load
    from hub.fleet.firmware_store import FirmwareStore
    from kernel.clock import system_clock

    shelf = FirmwareStore(config.parent / load(config, environment={}).hub.data)
    now_ms = system_clock().now_ms()
    image = shelf.add(file, sha256, version=version, dialect=dialect, model=model, source=source, added_ms=now_ms)
    if json:
        put_json(asdict(image))
    else:
        say(f"{image.version} for {image.dialect} {image.model}: {image.size_bytes} bytes, {image.sha256}")


def firmware_list(config: Config, json: Json = False) -> None:
    """The images on the shelf, the newest first."""
    from dataclasses import asdict

    from hub.config import load
    from hub.fleet.firmware_store import FirmwareStore

    images = FirmwareStore(config.parent / load(config, environment={}).hub.data).images()
    if json:
        put_json({"images": [asdict(image) for image in images]})
        return
    rows = [(one.version, one.dialect, one.model, one.size_bytes, one.sha256[:16], one.source) for one in images]
    put_table("Firmware images", ("version", "firmware", "models", "bytes", "sha256", "source"), rows)
