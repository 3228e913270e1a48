# SPDX-License-Identifier: Apache-2.0
"""Commands for work in the field: find miners, see what a command would send, list faulty miners."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hub.cli.output import put_json, put_table, say
from kernel.units import HS_PER_THS

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on the last line.")]
Folder = Annotated[Path, typer.Argument(help="The folder that holds hub.toml.")]


def add_to(miners: typer.Typer) -> None:
    """The commands of this room, under `miners`."""
    miners.command("scan")(scan)
    miners.command("rehearse")(dry_run_of)
    miners.command("health")(health)


def _redirects(pairs: list[str]) -> dict[int, int] | None:
    from kernel.errors import ConfigError, Fault
    from miner_control.inventory.identify import KNOWN_PORTS

    if not pairs:
        return None
    found = {}
    for pair in pairs:
        known, _, port = pair.partition("=")
        if not (known.isdigit() and port.isdigit() and int(known) in KNOWN_PORTS):
            listed = ", ".join(map(str, KNOWN_PORTS))
            raise ConfigError([Fault(f"--port {pair}", "is no redirection", f"Write 4028=14028; known: {listed}")])
        found[int(known)] = int(port)
    return found


def scan(
    ranges: Annotated[list[str], typer.Argument(help="10.0.0.0/16, 10.0.0.5-10.0.0.9, fd00::/120, one address.")],
    allow: Annotated[list[str], typer.Option(help="Networks that may be asked at all; repeat it.")],
    inventory: Annotated[Path | None, typer.Option(help="CSV to compare with, and to write with --write.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Write the inventory; a person's edits are kept.")] = False,
    hub: Annotated[str, typer.Option()] = "hub-1",
    site: Annotated[str, typer.Option()] = "site-1",
    port: Annotated[list[str] | None, typer.Option(help="Redirected port, such as 4028=14028; repeat it.")] = None,
    json: Json = False,
) -> None:
    """Ask a network who its miners are, and show the difference with the inventory. Nothing is written to any miner."""
    from hub.wiring.plugins import DialectPorts
    from hub.wiring.scan import scan_network
    from miner_control.inventory.asset_register import AssetRegister, inventory_csv, load_register
    from miner_control.inventory.discover import compare, targets

    asked = targets(ranges, allow)
    known = AssetRegister(())
    if inventory is not None and inventory.exists():
        known = load_register(inventory, hub, site, dialects=DialectPorts())
    with typer.progressbar(length=len(asked), label=f"{len(asked)} addresses", file=_stderr()) as bar:
        shown = 0

        def progress(done: int, total: int) -> None:
            nonlocal shown
            bar.update(done - shown)
            shown = done

        found = scan_network(asked, _redirects(port or []), progress)
    difference = compare(known, asked, found, hub, site)
    if write and inventory is not None:
        part = inventory.with_suffix(".part")
        part.write_text(inventory_csv(difference.register), encoding="utf-8")
        part.replace(inventory)
        say(f"{inventory}: {len(difference.register.miners)} miners")
    if json:
        put_json(
            {
                "asked": len(asked),
                "found": [_seen(one.host, one.identity) for one in found if one.identity is not None],
                "new": difference.new,
                "moved": difference.moved,
                "swapped": difference.swapped,
                "doubled": difference.doubled,
                "gone": difference.gone,
                "unknown": difference.unknown,
            }
        )
        return
    rows = [
        (o.host, o.identity.dialect, o.identity.model, o.identity.firmware) for o in found if o.identity is not None
    ]
    put_table(f"{len(rows)} miners", ("address", "dialect", "model", "firmware"), rows)
    for line in difference.lines():
        typer.echo(line)


def _seen(host: str, identity: Any) -> dict[str, str]:
    return {"host": host, "dialect": identity.dialect, "model": identity.model, "serial": identity.serial}


def _stderr() -> Any:
    import sys

    return sys.stderr


def dry_run_of(
    folder: Folder,
    device: Annotated[str, typer.Argument(help="The miner's key, hub/site/device.")],
    intent: Annotated[
        str,
        typer.Argument(
            help="sleep, wake, reboot, locate, mode=, power=, percent=, pools=, credential=, firmware=, rollback."
        ),
    ],
    json: Json = False,
) -> None:
    """Show the wire steps of a command without sending its writes: reads are carried out, secrets are masked."""
    from hub.config import load
    from hub.fleet.provisioning import Provisions
    from hub.wiring.scan import dry_run_of as played
    from hub.wiring.state import register_of_site
    from kernel.errors import ConfigError, Fault
    from miner_control.fleet.command import intent_text, receipt_json

    config = load(folder / "hub.toml", environment={})
    miners = {miner.device: miner for site in config.sites for miner in register_of_site(config, site).miners}
    if device not in miners:
        raise ConfigError([Fault(device, "is not in the inventory", "See `mining-hub miners list`")])
    provisions = Provisions(config, folder, folder / config.hub.data, miners)
    asked = provisions.armed(provisions.named(device, provisions.intent(intent)[0]))
    steps, receipt = played(config, folder, miners[device], asked)
    if json:
        put_json({"device": device, "intent": intent_text(asked), "steps": steps, "outcome": receipt_json(receipt)})
        return
    typer.echo(f"{device}: {intent_text(asked)}, nothing was written")
    for step in steps:
        typer.echo(f"  {step}")
    typer.echo(f"  -> {receipt_json(receipt)['outcome']}")


def health(folder: Folder, json: Json = False) -> None:
    """What is wrong with which miner, with the evidence, costliest first, from what the journal last heard."""
    from hub.config import load
    from hub.wiring import folded, reading
    from miner_control.fleet.observed import evidence
    from miner_control.health.health import PerformanceReference, examine

    config = load(folder / "hub.toml", environment={})
    state = folded(config, reading(folder / config.hub.data))
    table = state.snapshot.kind("miner")
    found = []
    for site in state.sites.values():
        for unit, device in enumerate(site.roster.devices):
            if device in table.index:
                envelope = site.roster.groups[int(site.roster.group[unit])].envelope
                reported = table.reading(device)
                started_ms = reported.at_ms - round((reported.number("uptime_s") or 1e9) * 1000)
                since_ms = min(reported.at_ms, started_ms + round(envelope.ramp_up_s * 1000))
                found += examine(evidence(table, device, since_ms), envelope, PerformanceReference())
    found.sort(key=lambda one: -one.loss_hs)
    if json:
        put_json({"findings": [_reported(one) for one in found]})
        return
    rows = [(f.device, f.what, f.text, f.loss_hs / HS_PER_THS, f.remedy) for f in found]
    put_table(f"{len(rows)} findings", ("device", "what", "finding", "TH/s lost", "remedy"), rows)


def _reported(found: Any) -> dict[str, Any]:
    return {
        "device": found.device,
        "what": found.what,
        "words": found.text,
        "remedy": found.remedy,
        "loss_hs": found.loss_hs,
        "evidence": dict(found.evidence),
    }
