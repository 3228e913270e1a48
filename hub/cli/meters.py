# SPDX-License-Identifier: Apache-2.0
"""Commands around meters: their papers, their energy, losses, readings for others."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hub.cli import utility_data
from hub.cli.meter_options import Folder, From, Json, Meter, Step, Until, chosen, opened, slots_of_step, span_of
from hub.cli.output import put_json, put_table, say
from kernel.units import UWH_PER_WH, WH_PER_KWH


def add_to(app: typer.Typer) -> None:
    """The commands of this room."""
    meters = typer.Typer(
        help="Meters: papers, energy, the utility's figures against ours.", no_args_is_help=True, rich_markup_mode=None
    )
    meters.command("list")(meters_list)
    meters.command("energy")(energy)
    meters.command("losses")(losses)
    utility_data.add_to(meters)
    meters.command("export")(export)
    app.add_typer(meters, name="meters")


def meters_list(folder: Folder, json: Json = False) -> None:
    """Each meter: role, profile, the meter that hangs there by its papers, date of the next verification, last reading."""
    from kernel.clock import iso
    from kernel.span import Span

    config, journal, book, refs = opened(folder)
    last = {reading.device: reading.at_ms for reading in journal.last("meter")}
    now_ms = max(last.values(), default=0)
    profiles = {
        f"{config.hub.name}/{site.name}/{meter.name}": (meter.profile, meter.billing)
        for site in config.sites
        for meter in site.meters
    }
    rows: list[dict[str, Any]] = []
    for device, ref in refs.items():
        passport = book.passports.get(device)
        papers = None if passport is None else passport.cited(Span(now_ms, now_ms + 1))
        unfit = [] if passport is None else [why for _, why in passport.unfit(Span(now_ms, now_ms + 1))]
        rows.append(
            {
                "meter": device, "role": ref.role, "feeder": ref.feeder, "profile": profiles[device][0],
                "billing": profiles[device][1], "papers": papers, "unfit": unfit,
                "last": iso(last[device]) if device in last else None,
            }
        )  # fmt: skip
    if json:
        put_json({"meters": rows})
        return
    table = []
    for row in rows:
        papers = row["papers"] or {"meters": [], "verifications": []}
        serial = papers["meters"][-1]["serial"] if papers["meters"] else "no papers"
        until = (papers["verifications"][-1]["expires"] or "open")[:10] if papers["verifications"] else "-"
        newest = row["last"][5:19].replace("T", " ") if row["last"] else "never"
        fit = "; ".join(row["unfit"]) or "yes"
        table.append((row["meter"].partition("/")[2], row["role"], row["profile"], serial, until, fit, newest))
    put_table("Meters", ("meter", "role", "profile", "serial", "verified to", "fit", "last reading (UTC)"), table)


def energy(
    folder: Folder, start: From, end: Until, meter: Meter = None, step: Step = "hour", json: Json = False
) -> None:
    """Energy per slot by the register, with coverage, basis, and the papers that it rests on."""
    from hub.metering.energy import unfit_text
    from kernel.clock import iso
    from telemetry.energy.energy_figure import figure

    config, _, book, refs = opened(folder)
    slots = slots_of_step(span_of(start, end), step)
    answers: list[dict[str, Any]] = []
    for ref in chosen(config, refs, meter):
        found = book.figure(ref, slots)
        rows = [
            {
                "start": iso(slot.start_ms), "end": iso(slot.end_ms),
                "energy_wh": float(found.energy.energy_wh[at]) if found.energy.reported[at] > 0 else None,
                "coverage": round(float(found.energy.coverage[at]), 4), "told": round(float(found.energy.reported[at]), 4),
                "basis": found.energy.basis(at), "unfit": unfit_text(found.unfit, slot),
            }
            for at, slot in enumerate(slots)
        ]  # fmt: skip
        oddities = [{"at": iso(one.at_ms), "what": one.what, "text": one.text} for one in found.energy.oddities]
        answers.append(
            {
                "meter": ref.device, "role": ref.role, "slots": rows, "oddities": oddities, "papers": found.papers,
                "total": figure(ref.device, found.energy, book.passports.get(ref.device)).to_json(),
            }
        )  # fmt: skip
    if json:
        put_json({"meters": answers})
        return
    for answer in answers:
        papers = answer["papers"]
        serials = (
            "no papers on file" if papers is None else "meters " + ", ".join(m["serial"] for m in papers["meters"])
        )
        lines = [
            (
                row["start"][:16], None if row["energy_wh"] is None else row["energy_wh"] / 1000, row["told"],
                row["basis"], "; ".join(row["unfit"]) or "yes",
            )
            for row in answer["slots"]
        ]  # fmt: skip
        put_table(
            f"{answer['meter']} ({serials})", ("from (UTC)", "kWh", "coverage", "basis", "fit for billing"), lines
        )
        total = answer["total"]
        fit = "fit for billing" if total["fit_for_billing"] else "not fit for billing as it stands"
        say(f"  together {total['energy_wh'] / WH_PER_KWH:.3f} kWh, coverage {total['told']:.2%}: {fit}")
        for oddity in answer["oddities"]:
            say(f"  {oddity['at']}: {oddity['what']} {oddity['text']}")


def losses(
    folder: Folder,
    site: Annotated[str, typer.Argument(help="The site's name.")],
    start: From,
    end: Until,
    step: Step = "hour",
    json: Json = False,
) -> None:
    """The main meter (with what is generated on site) against the feeders' and the sub-meters' sum, and against the miners' own
    figures; drifts named."""
    from hub.app.run_figures import miners_wh
    from hub.metering.energy import BILLABLE
    from hub.wiring import folded
    from kernel.clock import iso
    from kernel.errors import ConfigError, Fault
    from telemetry.energy.losses import drift
    from telemetry.energy.losses import losses as losses_of

    config, journal, book, refs = opened(folder)
    here = [ref for ref in refs.values() if ref.device.split("/")[1] == site]
    mains = [ref for ref in here if ref.role in ("main", "generation")]
    slots = slots_of_step(span_of(start, end), step)
    whole = {ref.device: book.energy(ref.device, slots) for ref in mains}
    answers: list[dict[str, Any]] = []
    for role in ("feeder", "sub"):
        parts = {ref.device: book.energy(ref.device, slots) for ref in here if ref.role == role}
        if not whole or not parts:
            continue
        found = losses_of(whole, parts)
        moved = drift(found)
        rows = [
            {
                "start": iso(slot.start_ms), "main_wh": float(found.whole_uwh[at] / UWH_PER_WH),
                "parts_wh": float(found.parts_uwh[at] / UWH_PER_WH),
                "loss_share": float(found.loss_share[at]) if found.judged[at] else None, "missing": found.missing[at],
            }
            for at, slot in enumerate(slots)
        ]  # fmt: skip
        step_reported = None if moved is None else {
            "from": iso(slots[moved.slot].start_ms), "before_share": moved.before_share, "after_share": moved.after_share,
        }  # fmt: skip
        answers.append({"parts": f"{role}s", "slots": rows, "total_share": found.total_share(), "drift": step_reported})
    if not answers:
        raise ConfigError([Fault(site, "has no main meter with feeders or sub-meters behind it", "See hub.toml")])
    state = folded(config, journal)
    own_wh = miners_wh(journal, state.sites[f"{config.hub.name}/{site}"], slots.span)
    main_wh = sum(found.total_wh() for found in whole.values())
    reported = all(float(found.reported.min()) >= BILLABLE for found in whole.values())
    share = (main_wh - own_wh) / main_wh if main_wh and reported else None
    miners = {"main_wh": main_wh, "miners_wh": own_wh, "difference_share": share}
    if json:
        put_json({"site": site, "losses": answers, "miners": miners})
        return
    for answer in answers:
        lines = [
            (
                row["start"][:16], row["main_wh"] / 1000, row["parts_wh"] / 1000,
                None if row["loss_share"] is None else round(100 * row["loss_share"], 3), ", ".join(row["missing"]),
            )
            for row in answer["slots"]
        ]  # fmt: skip
        columns = ("from (UTC)", "main kWh", f"{answer['parts']} kWh", "loss %", "did not tell all")
        put_table(f"{site}: main against {answer['parts']}", columns, lines)
        if answer["drift"]:
            reported = answer["drift"]
            say(
                f"  losses moved at {reported['from']}: {reported['before_share']:.2%} to {reported['after_share']:.2%}"
            )
    if share is None:
        say("  against the miners' own figures: not judged, the main meter did not tell all of it")
    else:
        say(
            f"  against the miners' own figures: {share:.2%} of the main meter is not theirs (cooling, cables, transformer)"
        )


def export(
    folder: Folder,
    target: Annotated[Path, typer.Argument(help="The file to write: .parquet or .csv.")],
    start: From,
    end: Until,
    kind: Annotated[str, typer.Option(help="meter, miner, container or sensor.")] = "meter",
    device: Annotated[list[str] | None, typer.Option(help="hub/site/device; repeat it; without it: all.")] = None,
    metric: Annotated[str, typer.Option(help="One metric per step (see --per) in place of readings.")] = "",
    per: Annotated[str, typer.Option(help="1m, 15m or 1h: least, most and mean; of a counter first and last.")] = "15m",
    json: Json = False,
) -> None:
    """Readings of a span, sealed and fresh alike, as Parquet or CSV. What is missing is empty, never zero."""
    from hub.wiring import exported
    from kernel.errors import ConfigError, Fault
    from kernel.metric import SCHEMAS
    from telemetry.store.archive import Step

    _, _, book, _ = opened(folder)
    faults = []
    if kind not in SCHEMAS:
        faults.append(Fault(f"--kind {kind}", "is none", f"Write one of: {', '.join(SCHEMAS)}"))
    if target.suffix not in (".parquet", ".csv"):
        faults.append(Fault(str(target), "has another ending", "Name it .parquet or .csv"))
    if per not in set(Step):
        faults.append(Fault(f"--per {per}", "is none", f"Write one of: {', '.join(Step)}"))
    if faults:
        raise ConfigError(faults)
    step = Step(per) if metric else None
    try:
        rows = exported(book.archive, kind, span_of(start, end), target, device, metric, step)
    except KeyError as error:
        raise ConfigError([Fault(f"--metric {metric}", str(error.args[0]), "Export its readings instead")]) from None
    if json:
        put_json({"file": str(target), "rows": rows})
    else:
        say(f"{target}: {rows} readings")
